//! A session as kvssink sends it, built by hand after captures of one: unknown sizes of one byte,
//! 8-byte sizes and integers everywhere else, absolute times, tags between Clusters.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and its helpers with it")]

use bytes::Bytes;
use fragment::mkv::{Event, Limits, Reader};
use fragment::{Codec, MediaTime};

const START_MS: u64 = 1_613_136_724_987;
/// 1920x1080 High.
const AVCC: &[u8] = &[
    0x01, 0x64, 0x00, 0x28, 0xff, 0xe1, 0x00, 0x1b, 0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5,
    0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58, 0x01, 0x00, 0x06,
    0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0,
];

#[test]
fn a_session_is_read_in_every_split() {
    let session = session("V_MPEG4/ISO/AVC", AVCC);
    for piece in [session.len(), 1, 2, 5, 64] {
        let events = read(&session, piece);
        let clusters: Vec<MediaTime> = events.iter().filter_map(cluster_time).collect();
        let start = i64::try_from(START_MS).unwrap();
        assert_eq!(clusters, [MediaTime::from_millis(start), MediaTime::from_millis(start + 2000)]);
        assert_eq!(outline(&events), "E S I T(2) C B+ B+ B e T[place] C B+ e T[AWS_KINESISVIDEO_END_OF_FRAGMENT]");
    }
}

#[test]
fn the_codec_ids_of_the_documentation_are_taken_too() {
    for id in ["V_MPEG4/ISO/AVC", "V_MPEG/ISO/AVC"] {
        assert!(matches!(video_codec(&session(id, AVCC)), Codec::H264(config) if config.height() == 1080), "{id}");
    }
}

#[test]
fn a_producer_without_nal_adaptation_can_be_stored() {
    let annex_b = &[0, 0, 0, 1, 0x67, 0x64, 0, 0x28];
    for private in [&annex_b[..], &[]] {
        assert!(matches!(video_codec(&session("V_MPEG4/ISO/AVC", private)), Codec::Other { .. }));
    }
}

fn session(video_id: &str, video_private: &[u8]) -> Bytes {
    let mut out = Vec::new();
    let ebml = [
        short(&[0x42, 0x86], &[1]),
        short(&[0x42, 0xf7], &[1]),
        short(&[0x42, 0xf2], &[4]),
        short(&[0x42, 0xf3], &[8]),
        short(&[0x42, 0x82], b"matroska"),
        short(&[0x42, 0x87], &[2]),
        short(&[0x42, 0x85], &[2]),
    ];
    out.extend(short(&[0x1a, 0x45, 0xdf, 0xa3], &ebml.concat()));
    out.extend([0x18, 0x53, 0x80, 0x67, 0xff]);
    let info = [
        long(&[0x73, 0xa4], &[7; 16]),
        long(&[0x2a, 0xd7, 0xb1], &1_000_000u64.to_be_bytes()),
        long(&[0x7b, 0xa9], b"Kinesis Video SDK"),
        long(&[0x4d, 0x80], b"Kinesis Video SDK 1.0.0"),
        long(&[0x57, 0x41], b"Kinesis Video SDK 1.0.0"),
    ];
    out.extend(long(&[0x15, 0x49, 0xa9, 0x66], &info.concat()));
    let video = [long(&[0xb0], &1920u16.to_be_bytes()), long(&[0xba], &1080u16.to_be_bytes())].concat();
    let audio = [long(&[0xb5], &44_100f64.to_be_bytes()), long(&[0x9f], &[2])].concat();
    let tracks = [
        track(1, 1, "kinesis_video", video_id, &long(&[0xe0], &video), video_private),
        track(2, 2, "audio", "A_AAC", &long(&[0xe1], &audio), &[0x12, 0x10]),
    ];
    out.extend(long(&[0x16, 0x54, 0xae, 0x6b], &tracks.concat()));
    out.extend(cluster(START_MS));
    out.extend(block(1, 0, true, &[1; 900]));
    out.extend(block(2, 1, true, &[2; 30]));
    out.extend(block(1, 40, false, &[3; 200]));
    out.extend(tags("place", "door"));
    out.extend(cluster(START_MS + 2000));
    out.extend(block(1, 0, true, &[4; 900]));
    out.extend(tags("AWS_KINESISVIDEO_END_OF_FRAGMENT", ""));
    out.into()
}

fn short(id: &[u8], data: &[u8]) -> Vec<u8> {
    [id, &[0x80 | u8::try_from(data.len()).unwrap()], data].concat()
}

fn long(id: &[u8], data: &[u8]) -> Vec<u8> {
    let size = (data.len() as u64 | 1 << 56).to_be_bytes();
    [id, &size, data].concat()
}

fn track(number: u8, kind: u8, name: &str, codec: &str, settings: &[u8], private: &[u8]) -> Vec<u8> {
    let fields = [
        long(&[0xd7], &[number]),
        long(&[0x73, 0xc5], &u64::from(number).to_be_bytes()),
        long(&[0x83], &[kind]),
        long(&[0x53, 0x6e], name.as_bytes()),
        long(&[0x86], codec.as_bytes()),
        settings.to_vec(),
        long(&[0x63, 0xa2], private),
    ];
    long(&[0xae], &fields.concat())
}

fn cluster(timestamp: u64) -> Vec<u8> {
    let head = [0x1f, 0x43, 0xb6, 0x75, 0xff];
    [&head[..], &long(&[0xe7], &timestamp.to_be_bytes()), &long(&[0xa7], &[0])].concat()
}

fn block(track: u8, relative: i16, key: bool, payload: &[u8]) -> Vec<u8> {
    let flags = if key { 0x80 } else { 0 };
    long(&[0xa3], &[&[0x80 | track][..], &relative.to_be_bytes(), &[flags], payload].concat())
}

fn tags(name: &str, value: &str) -> Vec<u8> {
    let simple = [long(&[0x45, 0xa3], name.as_bytes()), long(&[0x44, 0x87], value.as_bytes())].concat();
    long(&[0x12, 0x54, 0xc3, 0x67], &long(&[0x73, 0x73], &long(&[0x67, 0xc8], &simple)))
}

fn read(session: &Bytes, piece: usize) -> Vec<Event> {
    let mut reader = Reader::new(Limits::default());
    let mut events = Vec::new();
    for piece in session.chunks(piece) {
        reader.push(Bytes::copy_from_slice(piece));
        while let Some(event) = reader.next().unwrap() {
            events.push(event);
        }
    }
    reader.finish().unwrap();
    events
}

fn cluster_time(event: &Event) -> Option<MediaTime> {
    match event {
        Event::Cluster { time } => Some(*time),
        _ => None,
    }
}

fn video_codec(session: &Bytes) -> Codec {
    let tracks = read(session, 64).into_iter().find_map(|event| match event {
        Event::Tracks(tracks) => Some(tracks),
        _ => None,
    });
    tracks.unwrap().video().unwrap().codec.clone()
}

/// One word per event: `B+` is a block at which decoding can begin, `e` the end of a Cluster.
fn outline(events: &[Event]) -> String {
    let word = |event: &Event| match event {
        Event::Ebml => "E".to_owned(),
        Event::Segment => "S".to_owned(),
        Event::Info(_) => "I".to_owned(),
        Event::Tracks(tracks) => format!("T({})", tracks.iter().count()),
        Event::Cluster { .. } => "C".to_owned(),
        Event::Block(block) if block.key => "B+".to_owned(),
        Event::Block(_) => "B".to_owned(),
        Event::ClusterEnd { .. } => "e".to_owned(),
        Event::Tags(tags) => format!("T[{}]", tags.iter().map(|tag| tag.name.as_str()).collect::<Vec<_>>().join(",")),
    };
    events.iter().map(word).collect::<Vec<_>>().join(" ")
}
