//! Sessions as producers send them, in any split, and what breaks the rules.

use std::time::Duration;

use bytes::Bytes;
use fragment::mkv::{self, Tag};
use fragment::{Codec, MediaTime, WallTime};
use proptest::prelude::*;

use super::{END_OF_FRAGMENT, Error, Event, Fragment, IMAGE_GENERATION, Limits, Splitter, Timecodes};
use crate::ErrorCode;

/// 2023-11-14, in ms since 1970.
const START: u64 = 1_700_000_000_000;

#[test]
fn a_session_of_kvssink_gives_its_fragments_with_frames_and_tags_as_they_were_put() {
    let events = split(&session(), 1000).unwrap();
    assert_eq!(outline(&events), ["begun +0", "whole +0", "begun +2000", "whole +2000", "begun +4000", "whole +4000"]);
    let documents: Vec<_> = fragments(&events).iter().map(|one| mkv::document(one.document.clone()).unwrap()).collect();
    let tags: Vec<_> = documents.iter().map(|document| document.tags.clone()).collect();
    let image = tag(IMAGE_GENERATION, "");
    assert_eq!(tags, [vec![], vec![tag("place", "door"), tag("place", "yard"), image], vec![tag("last", "")]]);
    let times: Vec<Vec<i64>> = documents
        .iter()
        .map(|one| one.units.iter().map(|unit| unit.pts.as_millis() - START as i64).collect())
        .collect();
    assert_eq!(times, [vec![0, 10, 40, 80], vec![2000, 2010, 2040], vec![4000, 4010, 4040]]);
    let frame = &documents[1].units[2];
    assert_eq!((frame.track.get(), frame.key, &frame.data[..]), (1, false, &[9; 200][..]));
    assert!(documents.iter().all(|document| document.start.is_some() && document.complete));
    assert!(fragments(&events).iter().all(|fragment| fragment.independent));
}

#[test]
fn a_fragment_lasts_to_the_next_or_as_long_as_its_frames() {
    let events = split(&session(), 1000).unwrap();
    let lasted: Vec<_> = fragments(&events).iter().map(|fragment| fragment.duration.as_millis()).collect();
    assert_eq!(lasted, [120, 80, 80], "the next begins seconds later, as after a pause: frames of 40 ms");

    let mut steady = head(&[VIDEO]);
    for timecode in [START, START + 120] {
        steady
            .extend([cluster(timecode), block(1, 0, KEY, b"a"), block(1, 40, 0, b"b"), block(1, 75, 0, b"c")].concat());
    }
    let events = split(&steady, 1000).unwrap();
    let lasted: Vec<_> = fragments(&events).iter().map(|fragment| fragment.duration).collect();
    assert_eq!(lasted, [Duration::from_millis(120), Duration::from_micros(75_000 + 37_500)]);

    let single = [head(&[VIDEO]), cluster(START), block(1, 0, KEY, b"a")].concat();
    assert_eq!(fragments(&split(&single, 1000).unwrap())[0].duration, Duration::from_millis(1));
}

#[test]
fn a_fragment_is_whole_by_its_end_tag_by_its_size_or_by_what_follows() {
    let begun = [head(&[VIDEO]), cluster(START), block(1, 0, KEY, b"a")].concat();
    let ended = [&begun[..], &tags(&[(END_OF_FRAGMENT, "")])].concat();
    let tagged = [&begun[..], &tags(&[("of", "the next")])].concat();
    let followed = [&begun[..], &cluster(START + 1000)].concat();
    let sized = [head(&[VIDEO]), sized_cluster(START, &block(1, 0, KEY, b"a"))].concat();
    for (bytes, whole) in [(&begun, 0), (&ended, 1), (&tagged, 1), (&followed, 1), (&sized, 1)] {
        let mut splitter = Splitter::new(Limits::AWS, Timecodes::Absolute);
        splitter.push(Bytes::copy_from_slice(bytes));
        let events = drain(&mut splitter).unwrap();
        assert_eq!(fragments(&events).len(), whole, "{:02x?}", &bytes[begun.len() - 8..]);
    }
}

#[test]
fn times_count_from_1970_or_from_the_start_in_units_of_the_scale() {
    // 100 ns a unit.
    let scaled = |timecode: u64| {
        let block = block(1, 7, KEY, b"a");
        [head_with(100, &[VIDEO]), cluster(timecode), block].concat()
    };
    let fragment = |bytes: &[u8], timecodes| {
        let mut splitter = Splitter::new(Limits::AWS, timecodes);
        splitter.push(Bytes::copy_from_slice(bytes));
        drain(&mut splitter).unwrap();
        splitter.finish();
        fragments(&drain(&mut splitter).unwrap()).remove(0)
    };
    let whole = fragment(&scaled(START * 10_000 + 3), Timecodes::Absolute);
    assert_eq!(whole.timecode, START * 10_000 + 3);
    assert_eq!(whole.start, WallTime::from_nanos(START as i64 * 1_000_000 + 300));
    let unit = mkv::document(whole.document).unwrap().units.remove(0);
    assert_eq!(unit.pts, MediaTime::from_nanos(START as i64 * 1_000_000 + 1000), "nothing is rounded");

    let start = WallTime::from_millis(START as i64);
    let whole = fragment(&scaled(30_000), Timecodes::Relative(start));
    assert_eq!((whole.timecode, whole.start), (30_000, start + Duration::from_millis(3)));
}

#[test]
fn what_only_the_producers_tracks_tell_is_kept() {
    let whole = fragments(&split(&session(), 100).unwrap()).remove(0);
    let holds = |text: &[u8]| whole.document.windows(text.len()).any(|window| window == text);
    assert!(holds(b"kinesis_video") && holds(b"Kinesis Video SDK"));
    // A CodecPrivate that nobody can read is for those to complain of who play.
    let document = mkv::document(whole.document.clone()).unwrap();
    let Codec::Other { id, private, .. } = &document.tracks.video().unwrap().codec else { panic!("it is broken") };
    assert_eq!((id.as_str(), &private[..]), ("V_MPEG4/ISO/AVC", &[0xba, 0xd0][..]));
}

#[test]
fn what_breaks_the_rules_has_a_number_and_what_was_whole_before_it_comes_first() {
    let good = || [head(&[VIDEO]), cluster(START), block(1, 0, KEY, b"a"), block(1, 2000, 0, b"b")].concat();
    let after = |more: &[&[u8]]| [good(), cluster(START + 3000), more.concat()].concat();
    let many: Vec<_> = (0..11).map(|i| (format!("name-{i}"), String::new())).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let four: Vec<_> = (1..=4).map(|number| Track { number, ..VIDEO }).collect();
    let two_good = [head(&[VIDEO, AUDIO]), cluster(START), block(1, 0, KEY, b"a"), block(2, 50, KEY, b"a")].concat();
    let of_next = Some(START + 3000);
    let cases: Vec<Breach> = vec![
        ("a second document", [good(), head(&[VIDEO])].concat(), ErrorCode::InvalidMkv, None, 1),
        ("no Matroska", b"not at all".to_vec(), ErrorCode::InvalidMkv, None, 0),
        ("a byte that begins no element", after(&[&[0]]), ErrorCode::InvalidMkv, of_next, 1),
        (
            "a Cluster before the Tracks",
            [&head(&[VIDEO])[..46], &cluster(START)].concat(),
            ErrorCode::InvalidMkv,
            Some(START),
            0,
        ),
        (
            "an end within a Cluster of known size",
            [&good()[..], &sized_cluster(START + 3000, &block(1, 0, KEY, b"a"))[..35]].concat(),
            ErrorCode::InvalidMkv,
            of_next,
            1,
        ),
        ("four tracks", head(&four), ErrorCode::TooManyTracks, None, 0),
        ("a track that is not declared", after(&[&block(2, 0, KEY, b"a")]), ErrorCode::TrackMismatch, of_next, 1),
        (
            "a track without a frame",
            [two_good.clone(), cluster(START + 3000), block(1, 0, KEY, b"a")].concat(),
            ErrorCode::FramesMissing,
            of_next,
            1,
        ),
        ("a Cluster without any frame", after(&[]), ErrorCode::FramesMissing, of_next, 1),
        ("the same time again", [good(), cluster(START)].concat(), ErrorCode::OutOfOrder, Some(START), 1),
        (
            "a frame before the end of the fragment before",
            after(&[&block(1, -1000, KEY, b"a")]),
            ErrorCode::OutOfOrder,
            of_next,
            1,
        ),
        (
            "sound before the last picture",
            [two_good, cluster(START + 45), block(1, 15, KEY, b"a"), block(2, 0, KEY, b"a")].concat(),
            ErrorCode::OutOfOrder,
            Some(START + 45),
            1,
        ),
        (
            "too long",
            after(&[&block(1, 0, KEY, b"a"), &block(1, 20_001, 0, b"b")]),
            ErrorCode::FragmentTooLong,
            of_next,
            1,
        ),
        ("too many tags", [good(), tags(&many)].concat(), ErrorCode::Metadata, None, 1),
        (
            "too many tags at the end",
            [good(), tags(&[many.as_slice(), &[(END_OF_FRAGMENT, "")]].concat())].concat(),
            ErrorCode::Metadata,
            Some(START),
            0,
        ),
        ("a reserved name", [good(), tags(&[("AWS_KINESISVIDEO_OTHER", "")])].concat(), ErrorCode::Metadata, None, 1),
        (
            "a time that no calendar has",
            [head_with(1_000_000_000, &[VIDEO]), cluster(1 << 60)].concat(),
            ErrorCode::InvalidTimestamp,
            None,
            0,
        ),
        ("a block of more than 50 MB", after(&[&[0xa3, 0x18, 0, 0, 0]]), ErrorCode::FragmentTooLarge, of_next, 1),
    ];
    for (what, bytes, code, timecode, whole) in cases {
        for piece in [1, 7, usize::MAX] {
            let (events, error) = split_to_error(&bytes, piece, Limits::AWS);
            let error = error.unwrap_or_else(|| panic!("{what} is taken"));
            assert_eq!(
                (error.code, error.timecode, fragments(&events).len()),
                (code, timecode, whole),
                "{what}: {error}"
            );
        }
    }
}

#[test]
fn sound_may_lie_across_the_border_where_tracks_are_looked_at_one_by_one() {
    let across = [
        head(&[VIDEO, AUDIO]),
        [cluster(START), block(1, 0, KEY, b"a"), block(2, 30, KEY, b"a")].concat(),
        [cluster(START + 25), block(1, 0, KEY, b"a"), block(2, 20, KEY, b"a")].concat(),
    ]
    .concat();
    let (events, error) = split_to_error(&across, 100, Limits::WIDE);
    assert_eq!((fragments(&events).len(), error), (2, None));
    let (_, error) = split_to_error(&across, 100, Limits::AWS);
    assert_eq!(error.map(|error| error.code), Some(ErrorCode::OutOfOrder));
}

#[test]
fn a_fragment_that_grows_too_large_is_refused_as_soon_as_it_is_and_kept_no_longer() {
    let limits = Limits { fragment_bytes_max: 4000, ..Limits::WIDE };
    let mut splitter = Splitter::new(limits, Timecodes::Absolute);
    splitter.push([head(&[VIDEO]), cluster(START), block(1, 0, KEY, &[1; 100])].concat().into());
    drain(&mut splitter).unwrap();
    let error = loop {
        splitter.push(block(1, 0, 0, &[2; 1000]).into());
        match drain(&mut splitter) {
            Ok(_) => assert!(splitter.buffered() <= 4000),
            Err(error) => break error,
        }
    };
    assert_eq!((error.code, error.timecode), (ErrorCode::FragmentTooLarge, Some(START)));
    // One that says so is not even waited for.
    let mut splitter = Splitter::new(limits, Timecodes::Absolute);
    splitter.push([head(&[VIDEO]), cluster(START), [0xa3, 0x50, 0x00].to_vec()].concat().into());
    assert_eq!(drain(&mut splitter).map(drop).map_err(|error| error.code), Err(ErrorCode::FragmentTooLarge));
}

#[test]
fn the_tags_of_a_file_by_ffmpeg_are_too_many_for_aws_and_not_for_us() {
    let names: Vec<String> = (0..12).map(|i| format!("ENCODER-{i}")).collect();
    let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), "Lavf")).collect();
    let bytes = [head(&[VIDEO]), tags(&pairs), cluster(START), block(1, 0, KEY, b"a")].concat();
    assert_eq!(split_to_error(&bytes, 100, Limits::WIDE).1, None);
    assert!(split_to_error(&bytes, 100, Limits::AWS).1.is_some());
}

proptest! {
    #[test]
    fn what_comes_out_does_not_depend_on_how_the_bytes_were_split(sizes in prop::collection::vec(1_usize..300, 1..40)) {
        let bytes = session();
        let mut splitter = Splitter::new(Limits::AWS, Timecodes::Absolute);
        let (mut rest, mut events) = (&bytes[..], Vec::new());
        for size in sizes.iter().cycle() {
            let (piece, more) = rest.split_at(rest.len().min(*size));
            splitter.push(Bytes::copy_from_slice(piece));
            events.extend(drain(&mut splitter).unwrap());
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        splitter.finish();
        events.extend(drain(&mut splitter).unwrap());
        prop_assert_eq!(events, split(&bytes, usize::MAX).unwrap());
    }

    #[test]
    fn damage_is_found_or_does_no_harm_in_any_split(at in 0_usize..2000, byte: u8, piece in 1_usize..500) {
        let mut bytes = session();
        let at = at % bytes.len();
        bytes[at] = byte;
        prop_assert_eq!(split_to_error(&bytes, piece, Limits::AWS), split_to_error(&bytes, usize::MAX, Limits::AWS));
    }
}

/// What is wrong, the bytes, the error's code and timecode, and how many fragments were whole before.
type Breach = (&'static str, Vec<u8>, ErrorCode, Option<u64>, usize);

// --- Sessions

const KEY: u8 = 0x80;
const VIDEO: Track =
    Track { number: 1, kind: 1, name: "kinesis_video", codec: "V_MPEG4/ISO/AVC", private: &[0xba, 0xd0] };
const AUDIO: Track = Track { number: 2, kind: 2, name: "audio", codec: "A_AAC", private: &[0x12, 0x10] };

#[derive(Clone, Copy)]
struct Track {
    number: u8,
    kind: u8,
    name: &'static str,
    codec: &'static str,
    private: &'static [u8],
}

/// As kvssink writes it: three fragments, the second with tags before it, the last ended by a tag.
fn session() -> Vec<u8> {
    [
        head(&[VIDEO, AUDIO]),
        [cluster(START), block(1, 0, KEY, &[1; 900]), block(2, 10, 0, &[2; 30])].concat(),
        [block(1, 40, 0, &[3; 200]), block(1, 80, 0, &[3; 100])].concat(),
        tags(&[("place", "door"), ("place", "yard"), (IMAGE_GENERATION, "")]),
        [cluster(START + 2000), block(1, 0, KEY, &[8; 900]), block(2, 10, 0, &[2; 30]), block(1, 40, 0, &[9; 200])]
            .concat(),
        [cluster(START + 4000), block(1, 0, KEY, &[8; 900]), block(2, 10, 0, &[2; 30]), block(1, 40, 0, &[9; 200])]
            .concat(),
        tags(&[("last", ""), (END_OF_FRAGMENT, "")]),
    ]
    .concat()
}

fn head(tracks: &[Track]) -> Vec<u8> {
    head_with(1_000_000, tracks)
}

fn head_with(scale: u64, tracks: &[Track]) -> Vec<u8> {
    let ebml = [element(&[0x42, 0x82], b"matroska"), element(&[0x42, 0x85], &[2])].concat();
    let info =
        [element(&[0x2a, 0xd7, 0xb1], &scale.to_be_bytes()), element(&[0x7b, 0xa9], b"Kinesis Video SDK")].concat();
    let entry = |track: &Track| {
        let fields = [
            element(&[0xd7], &[track.number]),
            element(&[0x83], &[track.kind]),
            element(&[0x53, 0x6e], track.name.as_bytes()),
            element(&[0x86], track.codec.as_bytes()),
            element(&[0x63, 0xa2], track.private),
        ];
        element(&[0xae], &fields.concat())
    };
    let tracks: Vec<u8> = tracks.iter().flat_map(entry).collect();
    [
        element(&[0x1a, 0x45, 0xdf, 0xa3], &ebml),
        [0x18, 0x53, 0x80, 0x67, 0xff].to_vec(),
        element(&[0x15, 0x49, 0xa9, 0x66], &info),
        element(&[0x16, 0x54, 0xae, 0x6b], &tracks),
    ]
    .concat()
}

fn cluster(timecode: u64) -> Vec<u8> {
    [&[0x1f, 0x43, 0xb6, 0x75, 0xff][..], &element(&[0xe7], &timecode.to_be_bytes())].concat()
}

fn sized_cluster(timecode: u64, blocks: &[u8]) -> Vec<u8> {
    element(&[0x1f, 0x43, 0xb6, 0x75], &[&element(&[0xe7], &timecode.to_be_bytes()), blocks].concat())
}

fn block(track: u8, relative: i16, flags: u8, payload: &[u8]) -> Vec<u8> {
    element(&[0xa3], &[&[0x80 | track][..], &relative.to_be_bytes(), &[flags], payload].concat())
}

fn tags(pairs: &[(&str, &str)]) -> Vec<u8> {
    let simple = |(name, value): &(&str, &str)| {
        let fields = [element(&[0x45, 0xa3], name.as_bytes()), element(&[0x44, 0x87], value.as_bytes())];
        element(&[0x67, 0xc8], &fields.concat())
    };
    let simple: Vec<u8> = pairs.iter().flat_map(simple).collect();
    element(&[0x12, 0x54, 0xc3, 0x67], &element(&[0x73, 0x73], &simple))
}

/// With a size of eight bytes, as kvssink writes all of them.
fn element(id: &[u8], data: &[u8]) -> Vec<u8> {
    [id, &(data.len() as u64 | 1 << 56).to_be_bytes(), data].concat()
}

// --- What comes of them

fn split(bytes: &[u8], piece: usize) -> Result<Vec<Event>, Error> {
    let (events, error) = split_to_error(bytes, piece, Limits::AWS);
    error.map_or(Ok(events), Err)
}

fn split_to_error(bytes: &[u8], piece: usize, limits: Limits) -> (Vec<Event>, Option<Error>) {
    let mut splitter = Splitter::new(limits, Timecodes::Absolute);
    let mut events = Vec::new();
    for piece in bytes.chunks(piece.min(bytes.len())) {
        splitter.push(Bytes::copy_from_slice(piece));
        if let Err(error) = drain_into(&mut splitter, &mut events) {
            return (events, Some(error));
        }
    }
    splitter.finish();
    let error = drain_into(&mut splitter, &mut events).err();
    (events, error)
}

fn drain(splitter: &mut Splitter) -> Result<Vec<Event>, Error> {
    let mut events = Vec::new();
    drain_into(splitter, &mut events).map(|()| events)
}

fn drain_into(splitter: &mut Splitter, events: &mut Vec<Event>) -> Result<(), Error> {
    while let Some(event) = splitter.next()? {
        events.push(event);
    }
    Ok(())
}

fn fragments(events: &[Event]) -> Vec<Fragment> {
    let whole = events.iter().filter_map(|event| match event {
        Event::Whole(fragment) => Some(fragment.clone()),
        Event::Begun { .. } => None,
    });
    whole.collect()
}

fn outline(events: &[Event]) -> Vec<String> {
    let word = |event: &Event| match event {
        Event::Begun { timecode, .. } => format!("begun +{}", timecode - START),
        Event::Whole(fragment) => format!("whole +{}", fragment.timecode - START),
    };
    events.iter().map(word).collect()
}

fn tag(name: &str, value: &str) -> Tag {
    Tag { name: name.to_owned(), value: value.to_owned() }
}
