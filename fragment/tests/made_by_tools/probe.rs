//! What ffprobe and our reader each find in a file, in one form to compare.

use std::path::Path;

use bytes::Bytes;
use fragment::mkv::{Event, Limits, Reader};
use fragment::{TrackKind, Tracks};

use crate::tool::run;

/// A frame: whether it is video, its time, whether it is a key frame, and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) video: bool,
    pub(crate) pts_ms: i64,
    pub(crate) key: bool,
    pub(crate) size: usize,
    pub(crate) crc: String,
}

/// The frames that ffprobe finds, those of each track in their order.
pub(crate) fn by_ffprobe(path: &Path) -> (Vec<Frame>, Vec<Frame>) {
    let arguments = "-v error -show_packets -show_data_hash crc32 -of compact=p=0:nk=0 {}";
    let packets = run("ffprobe", arguments, &[path]);
    let frame = |line: &str| {
        let field = |name: &str| {
            let found = line.split('|').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_else(|| panic!("{name} in {line}")).to_owned()
        };
        Frame {
            video: field("codec_type") == "video",
            pts_ms: millis(&field("pts_time")),
            key: field("flags").starts_with('K'),
            size: field("size").parse().unwrap(),
            crc: field("data_hash").trim_start_matches("CRC32:").to_owned(),
        }
    };
    packets.lines().filter(|line| !line.is_empty()).map(frame).partition(|frame| frame.video)
}

/// The frames that our reader finds when the file comes in pieces of `piece` bytes, with the tracks.
pub(crate) fn by_reader(path: &Path, piece: usize) -> (Tracks, Vec<Frame>, Vec<Frame>) {
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    let mut reader = Reader::new(Limits::default());
    let mut tracks: Option<Tracks> = None;
    let mut frames = Vec::new();
    let mut take = |reader: &mut Reader| {
        while let Some(event) = reader.next().unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
            match event {
                Event::Tracks(found) => tracks = Some(found),
                Event::Block(block) => {
                    let kind = tracks.as_ref().unwrap().find(block.track).unwrap().codec.kind();
                    let data = block.data.into_bytes();
                    frames.push(Frame {
                        video: kind == TrackKind::Video,
                        pts_ms: (block.pts.as_nanos() + 500_000).div_euclid(1_000_000),
                        key: block.key,
                        size: data.len(),
                        crc: format!("{:08x}", crc32(&data)),
                    });
                }
                _ => {}
            }
        }
    };
    let mut from = 0;
    while from < bytes.len() {
        let to = bytes.len().min(from + piece);
        reader.push(bytes.slice(from..to));
        from = to;
        take(&mut reader);
    }
    reader.finish().unwrap();
    take(&mut reader);
    let (video, audio) = frames.into_iter().partition(|frame| frame.video);
    (tracks.unwrap(), video, audio)
}

/// Insists that both find the same frames, in pieces small and large, and gives the tracks.
/// Matroska's times are milliseconds, and laced frames' are computed: `tolerance_ms` allows for it.
pub(crate) fn assert_same(path: &Path, tolerance_ms: i64) -> Tracks {
    let (video, audio) = by_ffprobe(path);
    assert!(!video.is_empty() || !audio.is_empty());
    let mut tracks = None;
    for piece in [usize::MAX / 2, 65_536, 1_200, 13, 1] {
        let (found, our_video, our_audio) = by_reader(path, piece);
        assert_near(&our_video, &video, tolerance_ms);
        assert_near(&our_audio, &audio, tolerance_ms);
        tracks = Some(found);
    }
    tracks.unwrap()
}

pub(crate) fn assert_near(ours: &[Frame], theirs: &[Frame], tolerance_ms: i64) {
    assert_eq!(ours.len(), theirs.len(), "number of frames");
    for (i, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let off = (ours.pts_ms - theirs.pts_ms).abs();
        assert!(off <= tolerance_ms, "frame {i}: {ours:?} {theirs:?}");
        assert_eq!(ours, &Frame { pts_ms: ours.pts_ms, ..theirs.clone() }, "frame {i}");
    }
}

/// ffprobe's seconds with six decimals, as milliseconds, rounded.
fn millis(seconds: &str) -> i64 {
    let micros: i64 = seconds.replace('.', "").parse().unwrap();
    (micros + 500).div_euclid(1000)
}

/// The CRC-32 of Ethernet and zlib, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}
