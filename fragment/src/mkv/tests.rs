//! The reader against documents built here: what the format allows, and what it does not.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::ebml::{write_element, write_id, write_master, write_unsigned};
use super::*;
use crate::{AccessUnit, Codec, MediaTime, Track, TrackKind, TrackNumber, Tracks};

const KEY: u8 = 0x80;

proptest! {
    #[test]
    fn what_is_written_is_read_back(start in 0i64..1 << 40, units in units(), tags in tags()) {
        let (bytes, units) = written(start, units, &tags);
        let read = document(bytes).unwrap();
        prop_assert_eq!(read.tracks, two_tracks());
        prop_assert_eq!(read.start, Some(MediaTime::from_millis(start)));
        prop_assert_eq!(read.units, units);
        prop_assert_eq!(read.tags, tags);
        prop_assert!(read.complete);
    }

    #[test]
    fn the_events_are_the_same_in_every_split(units in units(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let (bytes, _) = written(5, units, &[]);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for to in cuts.into_iter().chain([bytes.len()]) {
            pieces.push(bytes.slice(from..to));
            from = to;
        }
        prop_assert_eq!(read_all(pieces), read_all([bytes]));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_all([Bytes::from(bytes.clone())]);
        let behind_header = [header(), bytes].concat();
        let _ = read_all([Bytes::from(behind_header)]);
    }

    #[test]
    fn a_damaged_document_never_panics(units in units(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = written(5, units, &[]).0.to_vec();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let whole = read_all([Bytes::from(bytes.clone())]);
        let bytewise = read_all(bytes.chunks(1).map(Bytes::copy_from_slice));
        prop_assert_eq!(whole, bytewise);
    }
}

#[test]
fn one_byte_at_a_time_gives_the_same_events() {
    let bytes = everything();
    let whole = read_all([bytes.clone()]);
    assert_eq!(whole.1, None);
    for size in [1, 2, 3, 7, 11, 600] {
        let pieces = bytes.chunks(size).map(Bytes::copy_from_slice);
        assert_eq!(read_all(pieces), whole, "pieces of {size}");
    }
}

#[test]
fn a_block_is_given_before_its_cluster_is_complete() {
    let mut reader = Reader::new(Limits::default());
    let mut bytes = header();
    bytes.extend(cluster_start(None, 7));
    bytes.extend(simple_block(1, 3, KEY, b"abc"));
    reader.push(bytes.into());
    let events = drain(&mut reader).unwrap();
    assert_eq!(blocks(&events), [(1, 10, true, None, "abc".into())]);
    assert!(!events.iter().any(|event| matches!(event, Event::ClusterEnd { .. })));
}

#[test]
fn a_payload_is_a_slice_of_what_was_pushed() {
    let mut bytes = header();
    bytes.extend(cluster_start(None, 0));
    bytes.extend(simple_block(1, 0, KEY, &[9; 1000]));
    let bytes = Bytes::from(bytes);
    let mut reader = Reader::new(Limits::default());
    let (head, tail) = (bytes.slice(..bytes.len() - 600), bytes.slice(bytes.len() - 600..));
    reader.push(head.clone());
    drain(&mut reader).unwrap();
    reader.push(tail.clone());
    let events = drain(&mut reader).unwrap();
    let [Event::Block(block)] = &events[..] else { panic!("{events:?}") };
    let inside = |piece: &Bytes, whole: &Bytes| whole.as_ptr_range().contains(&piece.as_ptr());
    let [first, second] = block.data.pieces() else { panic!("{block:?}") };
    assert!(inside(second, &tail) && second.len() == 600);
    assert!(inside(first, &bytes) && first.len() == 400);
}

#[test]
fn unknown_and_known_sizes_of_all_lengths_are_read() {
    let (events, error) = read_all([everything()]);
    assert_eq!(error, None);
    assert_eq!(events.iter().filter(|event| **event == Event::Ebml).count(), 3);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::ClusterEnd { .. })).count(), 5);
    let texts: Vec<String> = blocks(&events).into_iter().map(|block| block.4).collect();
    assert_eq!(texts, ["one", "two", "three", "four", "five"]);
}

#[test]
fn a_cluster_says_whether_its_size_ended_it() {
    let mut bytes = header();
    bytes.extend(cluster_start(None, 0));
    bytes.extend(simple_block(1, 0, KEY, b"a"));
    write_master(&mut bytes, Id::CLUSTER, |out| write_unsigned(out, Id::TIMESTAMP, 1));
    bytes.extend(cluster_start(None, 2));
    let (events, _) = read_all([Bytes::from(bytes)]);
    let ends = events.iter().filter_map(|event| match event {
        Event::ClusterEnd { sized } => Some(*sized),
        _ => None,
    });
    assert_eq!(ends.collect::<Vec<_>>(), [false, true, false], "by what follows, by its size, by the end");
}

#[test]
fn what_is_cut_out_of_a_document_keeps_its_tracks() {
    let mut reader = Reader::new(Limits::default());
    assert!(Writer::cutting(&reader).is_none());
    reader.push(header().into());
    let events = drain(&mut reader).unwrap();
    let mut writer = Writer::cutting(&reader).unwrap();
    let time = MediaTime::from_millis(1_700_000_000_123);
    let head = writer.block_head(TrackNumber::VIDEO, time, true, 3);
    assert_eq!(head, Err(WriteError::NoCluster));
    let mut cut = [writer.header(), writer.cluster(time)].concat();
    cut.extend(writer.block_head(TrackNumber::VIDEO, time, true, 3).unwrap());
    cut.extend([b"abc", &writer.end(&[])[..]].concat());
    let document = document(cut.into()).unwrap();
    assert!(events.contains(&Event::Tracks(document.tracks)));
    assert_eq!((document.start, document.units[0].pts, document.complete), (Some(time), time, true));
}

#[test]
fn block_groups_tell_duration_and_key_frames() {
    let mut bytes = header();
    bytes.extend(cluster_start(None, 100));
    write_master(&mut bytes, Id::BLOCK_GROUP, |out| {
        write_element(out, Id::BLOCK, &block(1, 0, 0, b"key"));
        write_unsigned(out, Id::BLOCK_DURATION, 40);
    });
    write_master(&mut bytes, Id::BLOCK_GROUP, |out| {
        write_element(out, Id::REFERENCE_BLOCK, &[0xd8]);
        write_element(out, Id::BLOCK, &block(1, 40, 0, b"not"));
    });
    let (events, error) = read_all([Bytes::from(bytes)]);
    assert_eq!(error, None);
    let duration = Some(Duration::from_millis(40));
    assert_eq!(blocks(&events), [(1, 100, true, duration, "key".into()), (1, 140, false, None, "not".into())]);
}

#[test]
fn every_lacing_is_taken_apart() {
    let frames = ["a".repeat(300), "b".repeat(255), "c".repeat(20), "d".to_owned()];
    let joined = frames.concat();
    let xiph = [&[3, 255, 45, 255, 0, 20][..], joined.as_bytes()].concat();
    // 300 in two bytes; then -45 and -235 as two-byte differences.
    let difference = |by: i64| 0x4000u16.wrapping_add_signed(i16::try_from(by + 8191).unwrap()).to_be_bytes();
    let ebml = [&[3, 0x41, 0x2c][..], &difference(-45), &difference(-235), joined.as_bytes()].concat();
    for (flags, data) in [(0x02, xiph), (0x06, ebml)] {
        let read = read_laced(flags, &data).unwrap();
        assert_eq!(read, frames, "flags {flags:#x}");
    }
    assert_eq!(read_laced(0x04, b"\x02aabbcc").unwrap(), ["aa", "bb", "cc"]);
}

#[test]
fn lacing_that_does_not_add_up_is_an_error() {
    for (flags, data) in [
        (0x02, &b"\x01\x05abc"[..]),
        (0x02, b"\x02\xff"),
        (0x02, b""),
        (0x04, b"\x02aabbc"),
        (0x06, b"\x01\x85abc"),
        (0x06, b"\x02\x81\x81abcdef"),
        (0x06, b"\x01\x00"),
        (0x06, b"\x01\x01\xff\xff\xff\xff\xff\xff\xff"),
    ] {
        let error = read_laced(flags, data).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Lacing { .. }), "{flags:#x} {data:?}: {error}");
    }
}

#[test]
fn laced_frames_follow_each_other_by_the_default_duration() {
    let mut bytes = ebml_and_segment();
    write_master(&mut bytes, Id::TRACKS, |out| {
        write_master(out, Id::TRACK_ENTRY, |out| {
            write_unsigned(out, Id::TRACK_NUMBER, 1);
            write_unsigned(out, Id::TRACK_TYPE, 2);
            write_element(out, Id::CODEC_ID, b"A_OPUS");
            write_unsigned(out, Id::DEFAULT_DURATION, 20_000_000);
        });
    });
    bytes.extend(cluster_start(None, 0));
    bytes.extend(simple_block(1, 0, KEY | 0x04, b"\x01ab"));
    let (events, _) = read_all([Bytes::from(bytes)]);
    let duration = Some(Duration::from_millis(20));
    assert_eq!(blocks(&events), [(1, 0, true, duration, "a".into()), (1, 20, true, duration, "b".into())]);
}

#[test]
fn subtitles_are_passed_over() {
    let mut bytes = ebml_and_segment();
    write_master(&mut bytes, Id::TRACKS, |out| {
        track_entry(out, 1, 1);
        track_entry(out, 2, 0x11);
    });
    bytes.extend(cluster_start(None, 0));
    bytes.extend(simple_block(2, 0, KEY, b"words"));
    bytes.extend(simple_block(1, 0, KEY, b"picture"));
    let (events, error) = read_all([Bytes::from(bytes)]);
    assert_eq!(error, None);
    assert_eq!(blocks(&events).len(), 1);
}

#[test]
fn hostile_sizes_are_refused_by_their_header() {
    let huge = [0x01, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff];
    for id in [Id::INFO, Id::TRACKS, Id::TAGS, Id::SIMPLE_BLOCK] {
        let mut bytes = if id == Id::SIMPLE_BLOCK { header() } else { ebml_and_segment() };
        if id == Id::SIMPLE_BLOCK {
            bytes.extend(cluster_start(None, 0));
        }
        let offset = bytes.len() as u64;
        write_id(&mut bytes, id);
        bytes.extend(huge);
        let mut reader = Reader::new(Limits::default());
        reader.push(bytes.into());
        let error = drain(&mut reader).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::TooLarge { .. }), "{id}: {error}");
        assert_eq!(error.offset, offset);
        assert_eq!(reader.next(), Err(error), "the error stays");
    }
}

#[test]
fn what_is_passed_over_is_not_kept() {
    let mut reader = Reader::new(Limits::default());
    let mut bytes = header();
    write_id(&mut bytes, Id::CUES);
    bytes.extend([0x01, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff]);
    reader.push(bytes.into());
    drain(&mut reader).unwrap();
    for _ in 0..100 {
        reader.push(Bytes::from(vec![0; 100_000]));
        assert_eq!(reader.next(), Ok(None));
        assert_eq!(reader.buffered(), 0);
    }
    assert!(matches!(reader.finish().unwrap_err().kind, ErrorKind::Truncated { element: Id::CUES }));
}

#[test]
fn tags_nested_beyond_the_limit_do_not_overflow_the_stack() {
    let mut tag = Vec::new();
    write_element(&mut tag, Id::TAG_NAME, b"n");
    for _ in 0..20_000 {
        let mut outer = Vec::new();
        write_element(&mut outer, Id::TAG_NAME, b"n");
        write_element(&mut outer, Id::SIMPLE_TAG, &tag);
        tag = outer;
        if tag.len() > 100_000 {
            break;
        }
    }
    let mut bytes = header();
    write_master(&mut bytes, Id::TAGS, |out| {
        write_master(out, Id::TAG, |out| write_element(out, Id::SIMPLE_TAG, &tag));
    });
    let (events, error) = read_all([Bytes::from(bytes)]);
    assert_eq!(error, None);
    let Some(Event::Tags(tags)) = events.last() else { panic!("{events:?}") };
    assert_eq!(tags.len(), crate::limits::TAG_DEPTH_MAX);
}

#[test]
fn errors_name_the_place_and_what_was_expected() {
    let undeclared = [header(), cluster_start(None, 0), simple_block(3, 0, KEY, b"x")].concat();
    let early = [header(), vec![0x1f, 0x43, 0xb6, 0x75, 0xff], simple_block(1, 0, KEY, b"x")].concat();
    let past = [header(), cluster_start(Some(3 + 4), 0), simple_block(1, 0, KEY, b"long")].concat();
    let tracks = header()[header().windows(4).position(|four| four == Id::TRACKS.0.to_be_bytes()).unwrap()..].to_vec();
    let second = [header(), tracks].concat();
    let place = header().len();
    let cases = [
        (b"RIFF1234WAVE".to_vec(), "at byte 0: expected an EBML header, found the unknown element 0x5249".to_owned()),
        (
            b"\x00\x00\x00\x01".to_vec(),
            "at byte 0: expected an element id of 1 to 4 bytes, found the byte 0x00".to_owned(),
        ),
        (undeclared, format!("at byte {}: a block of track 3, which Tracks does not declare", place + 17)),
        (
            early,
            format!("at byte {}: expected the Cluster's Timestamp before its blocks, found SimpleBlock", place + 7),
        ),
        (
            past,
            format!(
                "at byte {}: SimpleBlock ends at byte {}, beyond its parent's end at byte {}",
                place + 15,
                place + 25,
                place + 19
            ),
        ),
        (second, format!("at byte {place}: expected no second Tracks in a Segment, found Tracks")),
    ];
    for (bytes, message) in cases {
        let (_, error) = read_all([Bytes::from(bytes)]);
        assert_eq!(error.map(|error| error.to_string()), Some(message));
    }
}

#[test]
fn a_truncated_document_is_told_at_the_end() {
    let (bytes, _) = written(0, vec![(0, 0, true, vec![1; 50])], &[]);
    let tags = Writer::new(&two_tracks()).end(&[]).len();
    let whole_block = bytes.len() - tags;
    for end in 1..bytes.len() {
        let (_, error) = read_all([bytes.slice(..end)]);
        // Between elements of a Segment of unknown size any end is as good as another.
        let between = document(bytes.slice(..end)).is_ok_and(|document| !document.complete) || error.is_none();
        assert!(error.is_some() || between, "{end} bytes");
    }
    let torn = document(bytes.slice(..whole_block)).unwrap();
    assert_eq!((torn.units.len(), torn.complete), (1, false));
    assert!(document(bytes.slice(..whole_block - 1)).is_err());
}

#[test]
fn a_unit_out_of_a_block_s_reach_can_t_be_written() {
    let mut writer = Writer::new(&two_tracks());
    let unit = |ms| AccessUnit {
        track: TrackNumber::VIDEO,
        pts: MediaTime::from_millis(ms),
        duration: None,
        key: true,
        data: Bytes::new(),
    };
    assert_eq!(writer.block(&unit(0)), Err(WriteError::NoCluster));
    writer.cluster(MediaTime::from_millis(-20));
    assert!(writer.block(&unit(-20)).is_ok(), "before zero");
    assert!(writer.block(&unit(32_767)).is_ok());
    assert_eq!(writer.block(&unit(32_768)), Err(WriteError::OutOfReach { distance_ms: 32_768 }));
}

/// Clusters of known and unknown size in Segments of known and unknown size, with everything between
/// that may be passed over, in three documents.
fn everything() -> Bytes {
    let mut out = header();
    write_element(&mut out, Id::SEEK_HEAD, &[0xec, 0x80]);
    write_element(&mut out, Id::VOID, &[0; 700]);
    out.extend(cluster_start(None, 1));
    write_element(&mut out, Id::CRC_32, &[1, 2, 3, 4]);
    out.extend(simple_block(1, 0, KEY, b"one"));
    out.extend(cluster_start(None, 2));
    out.extend([0xa3, 0x01, 0, 0, 0, 0, 0, 0, 7, 0x81, 0, 0, KEY]);
    out.extend(b"two");
    tags::write(&mut out, [("name", "value"), ("empty", "")].into_iter());
    out.extend(cluster_start(Some(3 + 2 + 4 + 5), 3));
    out.extend(simple_block(2, 0, KEY, b"three"));
    write_element(&mut out, Id::CUES, &[0; 20]);

    let mut inner = header()[ebml_and_segment().len()..].to_vec();
    inner.extend(cluster_start(None, 4));
    inner.extend(simple_block(1, 0, KEY, b"four"));
    out.extend(&ebml_and_segment()[..ebml_and_segment().len() - 12]);
    write_element(&mut out, Id::SEGMENT, &inner);

    out.extend(header());
    out.extend(cluster_start(None, 5));
    out.extend(simple_block(1, 0, KEY, b"five"));
    out.into()
}

fn header() -> Vec<u8> {
    Writer::new(&two_tracks()).header().to_vec()
}

/// The header without Info and Tracks: it ends with the Segment's id and size, 12 bytes.
fn ebml_and_segment() -> Vec<u8> {
    let header = header();
    let info = Id::INFO.0.to_be_bytes();
    let end = header.windows(4).position(|four| four == info).unwrap();
    header[..end].to_vec()
}

fn track_entry(out: &mut Vec<u8>, number: u64, kind: u64) {
    write_master(out, Id::TRACK_ENTRY, |out| {
        write_unsigned(out, Id::TRACK_NUMBER, number);
        write_unsigned(out, Id::TRACK_TYPE, kind);
        write_element(out, Id::CODEC_ID, b"X_TEST");
    });
}

/// A Cluster of unknown size (8 bytes of it) or a known one that counts from after its size.
fn cluster_start(size: Option<u8>, timestamp: u64) -> Vec<u8> {
    let mut out = Vec::new();
    write_id(&mut out, Id::CLUSTER);
    match size {
        Some(size) => out.extend([0x01, 0, 0, 0, 0, 0, 0, size]),
        None => out.extend([0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    }
    let length = out.len();
    write_unsigned(&mut out, Id::TIMESTAMP, timestamp);
    assert_eq!(out.len() - length + 1, 4, "test timestamps have one byte");
    out
}

fn block(track: u8, relative: i16, flags: u8, payload: &[u8]) -> Vec<u8> {
    [&[0x80 | track][..], &relative.to_be_bytes(), &[flags], payload].concat()
}

fn simple_block(track: u8, relative: i16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_element(&mut out, Id::SIMPLE_BLOCK, &block(track, relative, flags, payload));
    out
}

fn read_laced(flags: u8, data: &[u8]) -> Result<Vec<String>, Error> {
    let mut bytes = header();
    bytes.extend(cluster_start(None, 0));
    bytes.extend(simple_block(1, 0, flags, data));
    let (events, error) = read_all(bytes.chunks(5).map(Bytes::copy_from_slice));
    match error {
        Some(error) => Err(error),
        None => Ok(blocks(&events).into_iter().map(|block| block.4).collect()),
    }
}

/// Track, time in ms, key, duration and payload of each block.
fn blocks(events: &[Event]) -> Vec<(u8, i64, bool, Option<Duration>, String)> {
    let block = |event: &Event| match event {
        Event::Block(block) => {
            let text = String::from_utf8(block.data.clone().into_bytes().to_vec()).unwrap();
            Some((block.track.get(), block.pts.as_millis(), block.key, block.duration, text))
        }
        _ => None,
    };
    events.iter().filter_map(block).collect()
}

fn drain(reader: &mut Reader) -> Result<Vec<Event>, Error> {
    let mut events = Vec::new();
    while let Some(event) = reader.next()? {
        events.push(event);
    }
    Ok(events)
}

/// All events, with payloads in one piece so that splits compare, and the error that ended them.
fn read_all(pieces: impl IntoIterator<Item = Bytes>) -> (Vec<Event>, Option<Error>) {
    let mut reader = Reader::new(Limits::default());
    let mut events = Vec::new();
    let error = feed(&mut reader, pieces, &mut events).err();
    for event in &mut events {
        if let Event::Block(block) = event {
            block.data = Payload::from(block.data.clone().into_bytes());
        }
    }
    (events, error)
}

fn feed(reader: &mut Reader, pieces: impl IntoIterator<Item = Bytes>, events: &mut Vec<Event>) -> Result<(), Error> {
    for piece in pieces {
        reader.push(piece);
        while let Some(event) = reader.next()? {
            events.push(event);
        }
    }
    reader.finish()?;
    while let Some(event) = reader.next()? {
        events.push(event);
    }
    Ok(())
}

fn two_tracks() -> Tracks {
    let track = |number, kind| Track {
        number,
        codec: Codec::Other { id: "X_TEST".into(), private: Bytes::from_static(b"private"), kind },
    };
    Tracks::new(vec![track(TrackNumber::VIDEO, TrackKind::Video), track(TrackNumber::AUDIO, TrackKind::Audio)]).unwrap()
}

/// Track, ms from the start, key, payload.
type Unit = (usize, i16, bool, Vec<u8>);

fn units() -> impl Strategy<Value = Vec<Unit>> {
    let payload = prop::collection::vec(any::<u8>(), 0..700);
    prop::collection::vec((0..2usize, any::<i16>(), any::<bool>(), payload), 0..12)
}

fn tags() -> impl Strategy<Value = Vec<Tag>> {
    prop::collection::vec(("[a-zA-Z_]{1,20}", "[^\0]{0,20}"), 0..5)
        .prop_map(|pairs| pairs.into_iter().map(|(name, value)| Tag { name, value }).collect())
}

fn written(start: i64, units: Vec<Unit>, tags: &[Tag]) -> (Bytes, Vec<AccessUnit>) {
    let mut writer = Writer::new(&two_tracks());
    let mut out = writer.header().to_vec();
    out.extend(writer.cluster(MediaTime::from_millis(start)));
    let unit = |(track, ms, key, data): Unit| AccessUnit {
        track: [TrackNumber::VIDEO, TrackNumber::AUDIO][track],
        pts: MediaTime::from_millis(start + i64::from(ms)),
        duration: None,
        // Every audio packet is a key.
        key: key || track == 1,
        data: data.into(),
    };
    let units: Vec<AccessUnit> = units.into_iter().map(unit).collect();
    for unit in &units {
        let (head, payload) = writer.block(unit).unwrap();
        out.extend(head);
        out.extend(payload);
    }
    out.extend(writer.end(tags));
    (out.into(), units)
}
