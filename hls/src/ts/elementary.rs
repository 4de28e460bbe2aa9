//! Elementary streams as MPEG-TS carries them, in PES packets (ISO/IEC 13818-1, 2.4.3.6): Annex B with delimiters and parameter
//! sets, and AAC with ADTS headers.
//!
//! ```text
//! [00 00 01][stream id: 1][length: 2, 0 if it is too long to say][10, aligned: 1][which times: 1][header bytes: 1][PTS: 5][DTS: 5]
//! ```

use bytes::Buf as _;
use fragment::{AccessUnit, Codec, Track, TrackKind, Tracks, codec};

use super::TIMESCALE;
use super::packet::Pes;
use super::tables::Kind;
use crate::error::SegmentError;
use crate::placement::{Clock, Placement, audio_times, video_times};

const STREAM_VIDEO: u8 = 0xe0;
const STREAM_AUDIO: u8 = 0xc0;
const START_CODE: [u8; 4] = [0, 0, 0, 1];
/// Access unit delimiters that allow slices of all kinds.
const DELIMITER_H264: &[u8] = &[0x09, 0xf0];
const DELIMITER_H265: &[u8] = &[0x46, 0x01, 0x50];

/// One stream of the program.
pub(super) struct Elementary {
    pub(super) kind: Kind,
    pub(super) packets: Vec<Pes>,
}

/// The streams of a fragment: the first video and the first audio track that there is a form for. The first of them carries the clock.
pub(super) fn streams(
    tracks: &Tracks,
    units: &[AccessUnit],
    placement: Placement,
) -> Result<Vec<Elementary>, SegmentError> {
    let clock = Clock { placement, timescale: TIMESCALE };
    let mut streams = Vec::new();
    for kind in [TrackKind::Video, TrackKind::Audio] {
        let mut playable = tracks.iter().filter(|track| track.codec.kind() == kind && is_carried(&track.codec));
        let Some(track) = playable.next() else { continue };
        let units: Vec<_> = units.iter().filter(|unit| unit.track == track.number).collect();
        if !units.is_empty() {
            let carries_clock = streams.is_empty();
            streams.push(match &track.codec {
                Codec::Aac(config) => audio(track, config, &units, clock, carries_clock)?,
                _ => video(track, &units, clock)?,
            });
        }
    }
    if streams.is_empty() { Err(SegmentError::NothingPlayable) } else { Ok(streams) }
}

fn is_carried(codec: &Codec) -> bool {
    match codec {
        Codec::H264(_) | Codec::H265(_) => true,
        Codec::Aac(config) => config.adts_header(0).is_some(),
        Codec::Other { .. } => false,
    }
}

fn video(track: &Track, units: &[&AccessUnit], clock: Clock) -> Result<Elementary, SegmentError> {
    let (kind, form) = match &track.codec {
        Codec::H265(config) => (Kind::H265, Form::of_h265(config)),
        Codec::H264(config) => (Kind::H264, Form::of_h264(config)),
        Codec::Aac(_) | Codec::Other { .. } => return Err(SegmentError::NothingPlayable),
    };
    let shown: Vec<i64> = units.iter().map(|unit| clock.ticks(unit.pts)).collect();
    let times = video_times(&shown, clock.ticks(clock.placement.origin + clock.placement.duration));
    // Nothing may be shown before it is decoded: all of it is decoded earlier by what reordering takes.
    let early = times.iter().zip(&shown).map(|(decoded, shown)| decoded - shown).max().unwrap_or(0).max(0);
    let mut packets = Vec::with_capacity(units.len());
    for ((unit, shown), decoded) in units.iter().zip(&shown).zip(&times) {
        let at = At { shown: ticks(*shown)?, decoded: ticks(decoded - early)? };
        let mut bytes = pes_header(STREAM_VIDEO, at);
        let payload = bytes.len();
        form.write(unit, &mut bytes).ok_or(SegmentError::BrokenUnit(track.number))?;
        say_length(&mut bytes, payload);
        packets.push(Pes { decoded: at.decoded, key: unit.key, clock: true, bytes });
    }
    Ok(Elementary { kind, packets })
}

fn audio(
    track: &Track,
    config: &codec::aac::Config,
    units: &[&AccessUnit],
    clock: Clock,
    carries_clock: bool,
) -> Result<Elementary, SegmentError> {
    // Counted in samples, so that packets follow each other without rounding.
    let samples = Clock { timescale: config.sampling_frequency(), ..clock };
    let shown: Vec<i64> = units.iter().map(|unit| samples.ticks(unit.pts)).collect();
    let times = audio_times(&shown, i64::from(config.samples_per_frame()));
    let mut packets = Vec::with_capacity(units.len());
    for (unit, time) in units.iter().zip(times) {
        let wide = i128::from(time) * i128::from(TIMESCALE) / i128::from(config.sampling_frequency());
        let time = ticks(i64::try_from(wide).unwrap_or(i64::MAX))?;
        let mut bytes = pes_header(STREAM_AUDIO, At { shown: time, decoded: time });
        let payload = bytes.len();
        let header = config.adts_header(unit.data.len()).ok_or(SegmentError::BrokenUnit(track.number))?;
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&unit.data);
        say_length(&mut bytes, payload);
        packets.push(Pes { decoded: time, key: carries_clock, clock: carries_clock, bytes });
    }
    Ok(Elementary { kind: Kind::Adts, packets })
}

fn ticks(ticks: i64) -> Result<u64, SegmentError> {
    u64::try_from(ticks).map_err(|_| SegmentError::BeforeEpoch)
}

/// When a unit is shown and decoded, in ticks.
#[derive(Clone, Copy)]
struct At {
    shown: u64,
    decoded: u64,
}

fn pes_header(stream: u8, at: At) -> Vec<u8> {
    let mut header = vec![0, 0, 1, stream, 0, 0, 0b1000_0100];
    if at.shown == at.decoded {
        header.extend_from_slice(&[0b1000_0000, 5]);
        header.extend_from_slice(&time(0b0010, at.shown));
    } else {
        header.extend_from_slice(&[0b1100_0000, 10]);
        header.extend_from_slice(&time(0b0011, at.shown));
        header.extend_from_slice(&time(0b0001, at.decoded));
    }
    header
}

/// `[mark: 4 bits][3 bits][1][15 bits][1][15 bits][1]`
fn time(mark: u64, ticks: u64) -> [u8; 5] {
    let field = mark << 36
        | (ticks >> 30 & 0x7) << 33
        | 1 << 32
        | (ticks >> 15 & 0x7fff) << 17
        | 1 << 16
        | (ticks & 0x7fff) << 1
        | 1;
    let [_, _, _, bytes @ ..] = field.to_be_bytes();
    bytes
}

/// Says how long the packet is, where 16 bits can; else a reader finds its end by the next one.
fn say_length(bytes: &mut [u8], payload: usize) {
    const BEFORE: usize = 6;
    debug_assert!(payload > BEFORE);
    let length = u16::try_from(bytes.len() - BEFORE).unwrap_or(0);
    bytes[4..BEFORE].copy_from_slice(&length.to_be_bytes());
}

/// How length-prefixed NAL units become Annex B.
struct Form {
    length_size: usize,
    delimiter: &'static [u8],
    parameter_sets: Vec<u8>,
    is_delimiter: fn(u8) -> bool,
}

impl Form {
    fn of_h264(config: &codec::h264::Config) -> Self {
        Self {
            length_size: config.nal_length_size().into(),
            delimiter: DELIMITER_H264,
            parameter_sets: annex_b(config.parameter_sets()),
            is_delimiter: |header| header & 0x1f == 9,
        }
    }

    fn of_h265(config: &codec::h265::Config) -> Self {
        Self {
            length_size: config.nal_length_size().into(),
            delimiter: DELIMITER_H265,
            parameter_sets: annex_b(config.parameter_sets()),
            is_delimiter: |header| header >> 1 & 0x3f == 35,
        }
    }

    /// Appends an access unit; `None` if its lengths don't add up.
    fn write(&self, unit: &AccessUnit, out: &mut Vec<u8>) -> Option<()> {
        out.reserve(unit.data.len() + self.parameter_sets.len() + 64);
        out.extend_from_slice(&START_CODE);
        out.extend_from_slice(self.delimiter);
        if unit.key {
            out.extend_from_slice(&self.parameter_sets);
        }
        let mut rest = &unit.data[..];
        while !rest.is_empty() {
            if rest.len() < self.length_size {
                return None;
            }
            let length = usize::try_from(rest.get_uint(self.length_size)).ok()?;
            let (nal, after) = rest.split_at_checked(length)?;
            rest = after;
            if nal.first().is_some_and(|header| !(self.is_delimiter)(*header)) {
                out.extend_from_slice(&START_CODE);
                out.extend_from_slice(nal);
            }
        }
        Some(())
    }
}

fn annex_b(nals: &[bytes::Bytes]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&START_CODE[..], nal].concat()).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fragment::{MediaTime, TrackNumber};

    use super::*;

    #[test]
    fn times_are_written_as_the_standard_lays_them_out() {
        // 2^33 - 1 has all bits set, 1 only the last.
        assert_eq!(time(0b0010, (1 << 33) - 1), [0x2f, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(time(0b0011, 1), [0x31, 0x00, 0x01, 0x00, 0x03]);
        assert_eq!(time(0b0001, 1 << 33 | 1 << 30), [0x13, 0x00, 0x01, 0x00, 0x01], "modulo 2^33");
    }

    #[test]
    fn a_unit_gets_one_delimiter_and_a_key_unit_the_parameter_sets() {
        let form =
            Form { length_size: 2, delimiter: DELIMITER_H264, parameter_sets: vec![7], is_delimiter: |h| h == 9 };
        let mut written = Vec::new();
        form.write(&unit(&[0, 1, 9, 0, 2, 5, 6], true), &mut written).unwrap();
        assert_eq!(written, [0, 0, 0, 1, 0x09, 0xf0, 7, 0, 0, 0, 1, 5, 6]);
        for broken in [&[0][..], &[0, 2, 5], &[0, 1, 5, 0]] {
            assert_eq!(form.write(&unit(broken, false), &mut Vec::new()), None, "{broken:?}");
        }
    }

    fn unit(data: &'static [u8], key: bool) -> AccessUnit {
        AccessUnit {
            track: TrackNumber::VIDEO,
            pts: MediaTime::ZERO,
            duration: None,
            key,
            data: Bytes::from_static(data),
        }
    }
}
