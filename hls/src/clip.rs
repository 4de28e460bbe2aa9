//! A clip: any number of fragments as one MP4 that any player opens, without a playlist.
//!
//! ```text
//! [ftyp][moov: mvhd, trak per track with the tables of all its samples][mdat: of each fragment, its samples track by track]
//! ```
//!
//! The tables stand before the media, so that players can begin at once, and the media are too many to be held. So the fragments
//! are gone through twice: [`Clip::add`] notes what the tables say of each, [`Clip::head`] gives everything before the first
//! sample, and then [`media()`] gives the samples of each fragment in the same order.
//!
//! Times are those of the fragments, from the first of them on. One that begins further than [`limits::SEAM_MAX`] from where the
//! one before ended follows that without a hole: nobody wants to see a picture stand still for the hour that a camera was away.
//! Tracks of other codecs than H.264, H.265 and AAC are left out.

mod table;

use std::time::Duration;

use bytes::Bytes;
use fragment::{AccessUnit, Tracks, WallTime};
use mp4_atom::{Encode as _, Moov, Mvhd, Trak};

use crate::cmaf::{Placement, Run, runs, sample_entry, timescale};
use crate::error::{ClipError, SegmentError};
use crate::limits;
use table::{MOVIE_TIMESCALE, Table};

/// Where a clip begins on its own timeline: sound that is a little earlier than the first picture is after zero.
const BEGIN: WallTime = WallTime::from_millis(3_600_000);

/// Media up to here are surely below 4 GiB, their tables included.
const NARROW_BYTES_MAX: u64 = 3 << 30;

/// What every file begins with: the box `ftyp`.
pub const FILE_TYPE: &[u8] = b"\0\0\0\x1cftypisom\0\0\x02\0isomiso2mp41";

/// A box that means nothing: for who has to wait for the tables.
pub const PADDING: &[u8] = b"\0\0\0\x08free";

/// A clip as far as it is known: tables, and no media.
#[derive(Default)]
pub struct Clip {
    before: Option<Before>,
    tables: Vec<Table>,
    samples: usize,
    media_bytes: u64,
}

/// The last fragment.
#[derive(Clone, Copy)]
struct Before {
    /// When it began.
    start: WallTime,
    /// Where that is in the clip.
    placed: WallTime,
    duration: Duration,
}

impl Clip {
    /// Notes the next fragment. One that is refused is not in the clip.
    pub fn add(&mut self, tracks: &Tracks, units: &[AccessUnit], placement: Placement) -> Result<(), ClipError> {
        let mut placed = Placement { start: self.place(placement.start), ..placement };
        let mut placed_runs = runs(tracks, units, placed)?;
        let overlap = self.overlap(&placed_runs);
        if !overlap.is_zero() {
            placed.start = placed.start + overlap;
            placed_runs = runs(tracks, units, placed)?;
        }
        let samples = self.samples + placed_runs.iter().map(|run| run.samples.len()).sum::<usize>();
        if samples > limits::CLIP_SAMPLES_MAX {
            return Err(ClipError::Full);
        }
        let mut described = Vec::with_capacity(placed_runs.len());
        for run in placed_runs {
            let track = tracks.find(run.track).expect("runs are of the fragment's tracks");
            let timescale = timescale(track).expect("runs are of tracks that are played");
            let entry = sample_entry(track)?;
            if let Some(table) = self.tables.iter().find(|table| table.track == run.track) {
                table.check(track, timescale, &entry)?;
            }
            described.push((run, track, timescale, entry));
        }
        for (run, track, timescale, entry) in described {
            let at = self.tables.iter().position(|table| table.track == run.track).unwrap_or_else(|| {
                self.tables.push(Table::new(track, timescale));
                self.tables.len() - 1
            });
            self.tables[at].push(&run, entry, self.media_bytes);
            self.media_bytes += run.bytes as u64;
        }
        self.samples = samples;
        self.before = Some(Before { start: placement.start, placed: placed.start, duration: placement.duration });
        Ok(())
    }

    /// The bytes of all samples.
    pub fn media_bytes(&self) -> u64 {
        self.media_bytes
    }

    /// Everything that is still to come before the first sample, tables and the head of the media, where `before` bytes of the file are
    /// there: [`FILE_TYPE`], and any number of [`PADDING`].
    pub fn head(self, before: u64) -> Result<Bytes, ClipError> {
        // The first of the tracks begins at zero.
        let zero = self.tables.iter().map(Table::begin).min().ok_or(SegmentError::NothingPlayable)?;
        let wide = self.media_bytes > NARROW_BYTES_MAX;
        let next_track_id = self.tables.iter().map(|table| u32::from(table.track.get()) + 1).max();
        let trak: Vec<Trak> =
            self.tables.into_iter().map(|table| table.into_trak(zero, wide)).collect::<Result<_, _>>()?;
        let mvhd = Mvhd {
            timescale: MOVIE_TIMESCALE,
            duration: trak.iter().map(|trak| trak.tkhd.duration).max().unwrap_or(0),
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: next_track_id.unwrap_or(1),
            ..Mvhd::default()
        };
        let mut moov = Moov { mvhd, trak, ..Moov::default() };

        let mut bytes = Vec::new();
        // Offsets count from the file's beginning, and depend on the size of the tables that they are in: they are written twice,
        // the second time moved by it.
        moov.encode(&mut bytes)?;
        let media_head = media_head(self.media_bytes);
        table::move_chunks(&mut moov, before + (bytes.len() + media_head.len()) as u64)?;
        bytes.clear();
        moov.encode(&mut bytes)?;
        bytes.extend_from_slice(&media_head);
        Ok(bytes.into())
    }

    /// Where a fragment that begins at `start` lies in the clip.
    fn place(&self, start: WallTime) -> WallTime {
        let Some(Before { start: before, placed, duration }) = self.before else { return BEGIN };
        let (end, begin) = (before + duration, placed + duration);
        if start.since(end).max(end.since(start)) > limits::SEAM_MAX {
            return begin;
        }
        begin + start.since(end) - end.since(start)
    }

    /// By how much these runs would have to begin later, so as not to begin before what is there has been decoded.
    fn overlap(&self, runs: &[Run<'_>]) -> Duration {
        let overlap = |run: &Run<'_>| {
            let table = self.tables.iter().find(|table| table.track == run.track)?;
            Some(table.overlap(run))
        };
        runs.iter().filter_map(overlap).max().unwrap_or_default()
    }
}

/// The samples of a fragment, as the tables have them.
pub fn media(tracks: &Tracks, units: &[AccessUnit]) -> Bytes {
    let mut samples = Vec::new();
    for track in tracks.iter().filter(|track| timescale(track).is_some()) {
        samples.extend(units.iter().filter(|unit| unit.track == track.number).map(|unit| &unit.data[..]));
    }
    samples.concat().into()
}

/// The head of the box of the media, whose size has 32 bits if that is enough.
fn media_head(media_bytes: u64) -> Vec<u8> {
    match u32::try_from(media_bytes + 8) {
        Ok(size) => [&size.to_be_bytes()[..], b"mdat"].concat(),
        Err(_) => [&1_u32.to_be_bytes()[..], b"mdat", &(media_bytes + 16).to_be_bytes()].concat(),
    }
}
