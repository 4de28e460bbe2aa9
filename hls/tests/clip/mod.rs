//! A small MP4 file taken apart into the fragments that a camera would have sent: what the tests put
//! together again.
//!
//! Made by: `ffmpeg -f lavfi -i testsrc=size=160x96:rate=25:duration=2 -f lavfi -i
//! sine=frequency=440:sample_rate=48000:duration=2 -c:v libx264 -bf 2 -g 25 -keyint_min 25
//! -sc_threshold 0 -x264-params open-gop=0 -pix_fmt yuv420p -b:v 60k -c:a aac -ac 1 -b:a 24k`

use std::io::Cursor;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use fragment::codec::{aac, h264};
use fragment::{AccessUnit, Codec, MediaTime, Track, TrackNumber, Tracks};

/// The length of each fragment: one group of pictures.
pub(crate) const FRAGMENT: Duration = Duration::from_secs(1);

/// When the first fragment begins: B-frames shift all pictures of the clip by two.
pub(crate) const BEGIN: MediaTime = MediaTime::from_millis(80);

/// Where the clip lies.
pub(crate) fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clips/h264-bframes-aac.mp4")
}

/// The clip's tracks, and the units of each of its fragments as Matroska would give them back: in
/// decoding order, with presentation times in whole milliseconds.
pub(crate) fn fragments() -> (Tracks, Vec<Vec<AccessUnit>>) {
    let file = std::fs::read(path()).unwrap();
    let size = file.len() as u64;
    let mut reader = mp4::Mp4Reader::read_header(Cursor::new(file), size).unwrap();
    let video = units(&mut reader, 1, TrackNumber::VIDEO);
    let audio = units(&mut reader, 2, TrackNumber::AUDIO);
    let fragments = (0..2)
        .map(|i| {
            let begin = BEGIN + FRAGMENT * i;
            let video = video.iter().skip(25 * i as usize).take(25);
            let audio = audio.iter().filter(|unit| unit.pts >= begin && unit.pts < begin + FRAGMENT);
            video.chain(audio).cloned().collect()
        })
        .collect();
    (tracks(&reader), fragments)
}

fn tracks(reader: &mp4::Mp4Reader<Cursor<Vec<u8>>>) -> Tracks {
    let avc = &reader.tracks()[&1];
    let (sps, pps) = (avc.sequence_parameter_set().unwrap(), avc.picture_parameter_set().unwrap());
    let mut record = vec![1, sps[1], sps[2], sps[3], 0xff, 0xe1];
    record.extend_from_slice(&u16::try_from(sps.len()).unwrap().to_be_bytes());
    record.extend_from_slice(sps);
    record.push(1);
    record.extend_from_slice(&u16::try_from(pps.len()).unwrap().to_be_bytes());
    record.extend_from_slice(pps);
    // AAC-LC, 48 kHz, mono.
    let aac = Bytes::from_static(&[0x11, 0x88]);
    Tracks::new(vec![
        Track { number: TrackNumber::VIDEO, codec: Codec::H264(h264::Config::parse(record.into()).unwrap()) },
        Track { number: TrackNumber::AUDIO, codec: Codec::Aac(aac::Config::parse(aac).unwrap()) },
    ])
    .unwrap()
}

fn units(reader: &mut mp4::Mp4Reader<Cursor<Vec<u8>>>, id: u32, track: TrackNumber) -> Vec<AccessUnit> {
    let timescale = i64::from(reader.tracks()[&id].timescale());
    let count = reader.sample_count(id).unwrap();
    (1..=count)
        .map(|i| {
            let sample = reader.read_sample(id, i).unwrap().unwrap();
            let ticks = i64::try_from(sample.start_time).unwrap() + i64::from(sample.rendering_offset);
            AccessUnit {
                track,
                pts: MediaTime::from_millis((ticks * 1000 + timescale / 2) / timescale),
                duration: None,
                key: sample.is_sync || track == TrackNumber::AUDIO,
                data: sample.bytes,
            }
        })
        .collect()
}
