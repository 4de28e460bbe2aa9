//! The media segment: one fragment's access units as a movie fragment.
//!
//! Composition offsets are signed (trun version 1), so a unit is shown exactly when Matroska says, however early it is
//! decoded.

use bytes::Bytes;
use fragment::{AccessUnit, Codec, Track, TrackNumber, Tracks};
use mp4_atom::{Encode, FourCC, Mfhd, Moof, Styp, Tfdt, Tfhd, Traf, Trun, TrunEntry, TrunSamples};

use super::timescale;
use crate::error::SegmentError;
use crate::limits;
use crate::placement::{Clock, Placement, audio_times, video_times};

/// Sample flags (ISO/IEC 14496-12, 8.8.3.1): depends on nothing; depends on others and is no sync point.
const FLAGS_KEY: u32 = 0x0200_0000;
const FLAGS_DELTA: u32 = 0x0101_0000;

/// The media segment of a fragment. Units of tracks that browsers don't play are left out.
pub fn segment(tracks: &Tracks, units: &[AccessUnit], placement: Placement) -> Result<Bytes, SegmentError> {
    let runs = runs(tracks, units, placement)?;
    let media_bytes: usize = runs.iter().map(|run| run.bytes).sum();
    if media_bytes > limits::SEGMENT_BYTES_MAX {
        return Err(SegmentError::TooLarge(media_bytes));
    }

    let mut bytes = Vec::with_capacity(media_bytes + 1024 + 20 * units.len());
    Styp {
        major_brand: FourCC::new(b"msdh"),
        minor_version: 0,
        compatible_brands: vec![FourCC::new(b"msdh"), FourCC::new(b"cmfs")],
    }
    .encode(&mut bytes)?;
    encode_moof(&mut bytes, &runs, placement.sequence_number)?;
    let mdat_bytes = u32::try_from(media_bytes + MDAT_HEADER_BYTES).map_err(|_| SegmentError::TooLarge(media_bytes))?;
    bytes.extend_from_slice(&mdat_bytes.to_be_bytes());
    bytes.extend_from_slice(b"mdat");
    for run in &runs {
        for unit in &run.units {
            bytes.extend_from_slice(&unit.data);
        }
    }
    Ok(bytes.into())
}

const MDAT_HEADER_BYTES: usize = 8;

/// The units of one track, placed in time.
pub(crate) struct Run<'a> {
    pub(crate) track: TrackNumber,
    pub(crate) units: Vec<&'a AccessUnit>,
    pub(crate) decode_time: u64,
    pub(crate) samples: Vec<TrunEntry>,
    pub(crate) bytes: usize,
}

/// The units of each track that browsers play.
pub(crate) fn runs<'a>(
    tracks: &Tracks,
    units: &'a [AccessUnit],
    placement: Placement,
) -> Result<Vec<Run<'a>>, SegmentError> {
    let mut runs = Vec::new();
    for track in tracks {
        let Some(timescale) = timescale(track) else {
            continue;
        };
        let units: Vec<_> = units.iter().filter(|unit| unit.track == track.number).collect();
        if !units.is_empty() {
            runs.push(run(track, units, Clock { placement, timescale })?);
        }
    }
    if runs.is_empty() {
        return Err(SegmentError::NothingPlayable);
    }
    Ok(runs)
}

fn run<'a>(track: &Track, units: Vec<&'a AccessUnit>, clock: Clock) -> Result<Run<'a>, SegmentError> {
    let shown: Vec<i64> = units.iter().map(|unit| clock.ticks(unit.pts)).collect();
    let end = clock.ticks(clock.placement.origin + clock.placement.duration);
    let jump = |_| SegmentError::TimeJump(track.number);
    let times = match &track.codec {
        Codec::Aac(config) => audio_times(&shown, i64::from(config.samples_per_frame())),
        _ => video_times(&shown, end),
    };
    let mut samples = Vec::with_capacity(units.len());
    let mut bytes = 0;
    for (i, unit) in units.iter().enumerate() {
        bytes += unit.data.len();
        samples.push(TrunEntry {
            duration: Some(u32::try_from(times[i + 1] - times[i]).map_err(jump)?),
            size: Some(u32::try_from(unit.data.len()).map_err(|_| SegmentError::TooLarge(bytes))?),
            flags: Some(if unit.key { FLAGS_KEY } else { FLAGS_DELTA }),
            cts: match track.codec {
                Codec::Aac(_) => None,
                _ => Some(i64::from(i32::try_from(shown[i] - times[i]).map_err(jump)?)),
            },
        });
    }
    let decode_time = u64::try_from(times[0]).map_err(|_| SegmentError::BeforeEpoch)?;
    Ok(Run { track: track.number, units, decode_time, samples, bytes })
}

/// Writes the moof box. Its sample offsets count from its own beginning, so its size must be known:
/// it is written twice, the second time with the offsets, which don't change its size.
fn encode_moof(bytes: &mut Vec<u8>, runs: &[Run<'_>], sequence_number: u32) -> Result<(), SegmentError> {
    let mut moof = Moof { mfhd: Mfhd { sequence_number }, traf: runs.iter().map(traf).collect() };
    let begin = bytes.len();
    moof.encode(bytes)?;
    let mut offset = bytes.len() - begin + MDAT_HEADER_BYTES;
    for (traf, run) in moof.traf.iter_mut().zip(runs) {
        traf.trun[0].data_offset = Some(i32::try_from(offset).map_err(|_| SegmentError::TooLarge(offset))?);
        offset += run.bytes;
    }
    bytes.truncate(begin);
    moof.encode(bytes)?;
    Ok(())
}

fn traf(run: &Run<'_>) -> Traf {
    Traf {
        tfhd: Tfhd { track_id: u32::from(run.track.get()), default_base_is_moof: true, ..Tfhd::default() },
        tfdt: Some(Tfdt { base_media_decode_time: run.decode_time }),
        trun: vec![Trun { data_offset: Some(0), samples: TrunSamples::Explicit(run.samples.clone()) }],
        ..Traf::default()
    }
}
