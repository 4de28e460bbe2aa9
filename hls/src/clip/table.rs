//! The tables of a track: of each of its samples the size, how long it lasts, when it is shown and whether decoding can begin
//! there, and where in the file they lie. As compact as MP4 has them, since a day has millions of samples.

use std::time::Duration;

use fragment::{Track, TrackKind, TrackNumber};
use mp4_atom::{
    Co64, Ctts, CttsEntry, Edts, Elst, ElstEntry, Moov, Stco, StscEntry, Stss, Stsz, StszSamples, SttsEntry, Trak,
};

use crate::cmaf::{Run, trak};
use crate::error::ClipError;
use crate::limits;

/// Ticks per second of what is said of the whole clip: those of video, which all of its times are multiples of.
pub(super) const MOVIE_TIMESCALE: u32 = 90_000;

/// What is known of a track.
pub(super) struct Table {
    pub(super) track: TrackNumber,
    kind: TrackKind,
    timescale: u32,
    /// Each configuration of the decoder that occurs.
    entries: Vec<mp4_atom::Codec>,
    durations: Vec<SttsEntry>,
    offsets: Vec<CttsEntry>,
    sizes: Vec<u32>,
    /// The samples at which decoding can begin, counted from 1.
    keys: Vec<u32>,
    /// Where the samples of each fragment begin, in the media.
    chunks: Vec<u64>,
    /// Chunks of equal numbers of samples, and of the same configuration.
    layout: Vec<StscEntry>,
    /// When the first sample is decoded, in ticks of the clip's timeline.
    begin: u64,
    /// The last sample. How long it lasts is known when the next fragment is.
    last: Option<Last>,
}

#[derive(Clone, Copy)]
struct Last {
    /// When it is decoded.
    at: u64,
    /// How long it lasts by itself.
    duration: u32,
}

impl Table {
    pub(super) fn new(track: &Track, timescale: u32) -> Self {
        Self {
            track: track.number,
            kind: track.codec.kind(),
            timescale,
            entries: Vec::new(),
            durations: Vec::new(),
            offsets: Vec::new(),
            sizes: Vec::new(),
            keys: Vec::new(),
            chunks: Vec::new(),
            layout: Vec::new(),
            begin: 0,
            last: None,
        }
    }

    /// Whether samples of this track, with this configuration, can follow.
    pub(super) fn check(&self, track: &Track, timescale: u32, entry: &mp4_atom::Codec) -> Result<(), ClipError> {
        if track.codec.kind() != self.kind || timescale != self.timescale {
            return Err(ClipError::Changed(track.number));
        }
        if self.entries.len() >= limits::CLIP_CONFIGURATIONS_MAX && !self.entries.contains(entry) {
            return Err(ClipError::Full);
        }
        Ok(())
    }

    /// When the track begins, as time of the clip.
    pub(super) fn begin(&self) -> Duration {
        self.time(self.begin)
    }

    /// By how much a run begins too early to follow: samples are decoded one after another. Packets of sound may begin a little
    /// early, as they are moved behind the last one.
    pub(super) fn overlap(&self, run: &Run<'_>) -> Duration {
        let Some(last) = self.last else { return Duration::ZERO };
        let earliest = match self.kind {
            TrackKind::Video => last.at + 1,
            TrackKind::Audio => last.at,
        };
        // A tick more, as time is rounded on its way.
        let late = earliest.saturating_sub(run.decode_time);
        if late == 0 { Duration::ZERO } else { self.time(late + 1) }
    }

    /// Takes the samples of a fragment, which begin at `at` of the media.
    pub(super) fn push(&mut self, run: &Run<'_>, entry: mp4_atom::Codec, at: u64) {
        let begin = self.join(run);
        self.chunks.push(at);
        self.lay_out(run.samples.len(), entry);
        let mut time = begin;
        for (i, sample) in run.samples.iter().enumerate() {
            let duration = sample.duration.unwrap_or(0);
            self.sizes.push(sample.size.unwrap_or(0));
            if self.kind == TrackKind::Video {
                self.shift(sample.cts.unwrap_or(0));
                if run.units[i].key {
                    self.keys.push(u32::try_from(self.sizes.len()).expect("samples are limited"));
                }
            }
            if i + 1 < run.samples.len() {
                self.last_for(duration);
                time += u64::from(duration);
            }
            self.last = Some(Last { at: time, duration });
        }
    }

    /// The track's box. The clip begins at `zero`.
    pub(super) fn into_trak(mut self, zero: Duration, wide: bool) -> Result<Trak, ClipError> {
        if let Some(last) = self.last {
            self.last_for(last.duration);
        }
        let media_duration =
            self.durations.iter().map(|run| u64::from(run.sample_count) * u64::from(run.sample_delta)).sum();
        let delay = movie_ticks(self.begin() - zero);
        let shown = movie_ticks(self.time(media_duration));
        let mut trak = trak(self.track, self.timescale, self.entries);
        trak.tkhd.duration = delay + shown;
        if delay > 0 {
            let edit = |segment_duration, media_time| ElstEntry { segment_duration, media_time, media_rate: 1.into() };
            trak.edts = Some(Edts { elst: Some(Elst { entries: vec![edit(delay, None), edit(shown, Some(0))] }) });
        }
        trak.mdia.mdhd.duration = media_duration;
        let table = &mut trak.mdia.minf.stbl;
        table.stts.entries = self.durations;
        let all_shown_when_decoded = self.offsets.iter().all(|run| run.sample_offset == 0);
        table.ctts = (!all_shown_when_decoded).then_some(Ctts { entries: self.offsets });
        let all_keys = self.kind == TrackKind::Audio || self.keys.len() == self.sizes.len();
        table.stss = (!all_keys).then_some(Stss { entries: self.keys });
        table.stsc.entries = self.layout;
        table.stsz = Stsz { samples: StszSamples::Different { sizes: self.sizes } };
        (table.stco, table.co64) = if wide {
            (None, Some(Co64 { entries: self.chunks }))
        } else {
            let narrow = self.chunks.iter().map(|chunk| u32::try_from(*chunk).expect("as it is not wide"));
            (Some(Stco { entries: narrow.collect() }), None)
        };
        Ok(trak)
    }

    /// Puts a run behind what is there, and gives where it begins.
    fn join(&mut self, run: &Run<'_>) -> u64 {
        let Some(last) = self.last else {
            self.begin = run.decode_time;
            return run.decode_time;
        };
        let end = last.at + u64::from(last.duration);
        // Packets of sound follow each other exactly, unless some were lost.
        let is_next_packet = run.decode_time.abs_diff(end) <= u64::from(last.duration);
        let begin = if self.kind == TrackKind::Audio && is_next_packet { end } else { run.decode_time.max(last.at) };
        self.last_for(u32::try_from(begin - last.at).unwrap_or(u32::MAX));
        begin
    }

    /// The last sample that has no duration yet has this one.
    fn last_for(&mut self, duration: u32) {
        match self.durations.last_mut() {
            Some(run) if run.sample_delta == duration => run.sample_count += 1,
            _ => self.durations.push(SttsEntry { sample_count: 1, sample_delta: duration }),
        }
    }

    /// The next sample is shown so much after it is decoded.
    fn shift(&mut self, offset: i64) {
        match self.offsets.last_mut() {
            Some(run) if run.sample_offset == offset => run.sample_count += 1,
            _ => self.offsets.push(CttsEntry { sample_count: 1, sample_offset: offset }),
        }
    }

    fn lay_out(&mut self, samples: usize, entry: mp4_atom::Codec) {
        let known = self.entries.iter().rposition(|known| *known == entry);
        let at = known.unwrap_or_else(|| {
            self.entries.push(entry);
            self.entries.len() - 1
        });
        let number = |count: usize| u32::try_from(count).expect("samples are limited");
        let (samples_per_chunk, sample_description_index) = (number(samples), number(at + 1));
        let is_same = self.layout.last().is_some_and(|last| {
            (last.samples_per_chunk, last.sample_description_index) == (samples_per_chunk, sample_description_index)
        });
        if !is_same {
            let first_chunk = number(self.chunks.len());
            self.layout.push(StscEntry { first_chunk, samples_per_chunk, sample_description_index });
        }
    }

    fn time(&self, ticks: u64) -> Duration {
        let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(self.timescale);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Moves all chunks by the size of what stands before the media.
pub(super) fn move_chunks(moov: &mut Moov, by: u64) -> Result<(), ClipError> {
    for trak in &mut moov.trak {
        let table = &mut trak.mdia.minf.stbl;
        if let Some(chunks) = &mut table.co64 {
            chunks.entries.iter_mut().for_each(|chunk| *chunk += by);
        }
        if let Some(chunks) = &mut table.stco {
            let by = u32::try_from(by).map_err(|_| ClipError::Full)?;
            for chunk in &mut chunks.entries {
                *chunk = chunk.checked_add(by).ok_or(ClipError::Full)?;
            }
        }
    }
    Ok(())
}

fn movie_ticks(time: Duration) -> u64 {
    let ticks = (time.as_nanos() * u128::from(MOVIE_TIMESCALE) + 500_000_000) / 1_000_000_000;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}
