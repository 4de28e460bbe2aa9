//! Clips that we write, read by an independent reader (the `mp4` crate).

#![cfg(test)]

mod clip;

use std::io::Cursor;
use std::time::Duration;

use bytes::Bytes;
use fragment::{AccessUnit, Codec, Track, TrackKind, TrackNumber, Tracks, WallTime};
use hls::ClipError;
use hls::clip::{Clip, FILE_TYPE, PADDING, media};
use hls::cmaf::Placement;

const START: WallTime = WallTime::from_millis(1_700_000_000_000);
const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn a_clip_holds_every_unit_unchanged_and_shows_it_when_it_was_shown() {
    let (tracks, fragments) = clip::fragments();
    let file = file(&tracks, &fragments, &[0, 1000]);
    let mut reader = read(file);
    assert_eq!(reader.tracks().len(), 2);
    for track in &tracks {
        let expected: Vec<&AccessUnit> = fragments.iter().flatten().filter(|unit| unit.track == track.number).collect();
        let samples = samples(&mut reader, track.number);
        assert_eq!(samples.len(), expected.len());
        for (sample, unit) in samples.iter().zip(expected) {
            assert_eq!(sample.bytes, unit.data);
            let shown = unit.pts.since(clip::BEGIN);
            assert!(sample.shown.abs_diff(shown) <= MILLISECOND, "{:?} is shown at {:?}", unit.pts, sample.shown);
            assert!(sample.is_key == unit.key || track.number == TrackNumber::AUDIO);
        }
    }
}

#[test]
fn sound_is_continuous_over_fragments() {
    let (tracks, fragments) = clip::fragments();
    let mut reader = read(file(&tracks, &fragments, &[0, 1000]));
    let sound = samples(&mut reader, TrackNumber::AUDIO);
    let packet = Duration::from_nanos(1_000_000_000 * 1024 / 48_000);
    for pair in sound.windows(2) {
        assert!((pair[1].shown - pair[0].shown).abs_diff(packet) < Duration::from_micros(1));
    }
}

#[test]
fn a_fragment_after_a_hole_follows_without_it_and_one_that_overlaps_behind_what_is_there() {
    let (tracks, fragments) = clip::fragments();
    for (begin, expected) in [
        // An hour later, and long before.
        (3_600_000, 999..=1001),
        (-60_000, 999..=1001),
        // Within what a seam may be.
        (1200, 1199..=1201),
        // The first has more to be decoded until its end.
        (900, 960..=1001),
    ] {
        let mut reader = read(file(&tracks, &fragments, &[0, begin]));
        let pictures = samples(&mut reader, TrackNumber::VIDEO);
        assert!(expected.contains(&pictures[25].shown.as_millis()), "{begin}: {:?}", pictures[25].shown);
        assert!(pictures.iter().map(|sample| sample.decoded).is_sorted_by(|a, b| a < b), "{begin}");
        let sound = samples(&mut reader, TrackNumber::AUDIO);
        assert!(sound.iter().map(|sample| sample.decoded).is_sorted_by(|a, b| a < b), "{begin}");
        let first_of_second = fragments[0].iter().filter(|unit| unit.track == TrackNumber::AUDIO).count();
        let apart = sound[first_of_second].shown.abs_diff(pictures[25].shown);
        assert!(apart < Duration::from_millis(45), "{begin}: sound and picture are {apart:?} apart");
    }
}

#[test]
fn sound_that_comes_later_stays_behind_by_as_much() {
    let (tracks, mut fragments) = clip::fragments();
    let half = clip::BEGIN + Duration::from_millis(500);
    fragments[0].retain(|unit| unit.track == TrackNumber::VIDEO || unit.pts >= half);
    let mut reader = read(file(&tracks, &fragments, &[0, 1000]));
    let sound = samples(&mut reader, TrackNumber::AUDIO);
    assert!(sound[0].decoded.is_zero(), "within its track it is the first");
    assert!((500..525).contains(&sound[0].shown.as_millis()), "{:?}", sound[0].shown);
    assert!(samples(&mut reader, TrackNumber::VIDEO)[0].shown.is_zero());
}

#[test]
fn a_change_of_configuration_is_told_at_the_first_sample_that_needs_it() {
    let (tracks, fragments) = clip::fragments();
    let other = Tracks::new(tracks.iter().map(with_other_level).collect()).unwrap();
    let mut clip = Clip::default();
    for (i, tracks) in [&tracks, &other, &other, &tracks].into_iter().enumerate() {
        clip.add(tracks, &fragments[0], placement(0, 1000 * i as i64)).unwrap();
    }
    let head = clip.head(FILE_TYPE.len() as u64).unwrap();
    let moov = read([FILE_TYPE, &head, &media(&tracks, &fragments[0]).repeat(4)].concat()).moov;
    let entries: Vec<_> = moov.traks[0].mdia.minf.stbl.stsc.entries.iter().collect();
    let described: Vec<_> = entries.iter().map(|entry| (entry.first_chunk, entry.sample_description_index)).collect();
    assert_eq!(described, [(1, 1), (2, 2), (4, 1)]);
}

#[test]
fn a_track_that_becomes_another_is_refused_and_the_clip_is_as_before() {
    let (tracks, fragments) = clip::fragments();
    let mut clip = Clip::default();
    clip.add(&tracks, &fragments[0], placement(0, 0)).unwrap();
    let before = clip.media_bytes();
    let [video, audio] = &tracks.iter().collect::<Vec<_>>()[..] else { panic!("two tracks") };
    let crossed = [(TrackNumber::VIDEO, audio), (TrackNumber::AUDIO, video)];
    let crossed = crossed.map(|(number, track)| Track { number, codec: track.codec.clone() });
    let refused = clip.add(&Tracks::new(crossed.to_vec()).unwrap(), &fragments[1], placement(1, 1000));
    assert!(matches!(refused, Err(ClipError::Changed(TrackNumber::VIDEO))), "{refused:?}");
    assert_eq!(clip.media_bytes(), before);
    clip.add(&tracks, &fragments[1], placement(1, 1000)).unwrap();
}

#[test]
fn tracks_that_are_not_played_are_left_out() {
    let (tracks, fragments) = clip::fragments();
    let number = TrackNumber::new(3).unwrap();
    let other = Codec::Other { id: "A_MS/ACM".to_owned(), private: Bytes::new(), kind: TrackKind::Audio };
    let more = tracks.iter().cloned().chain([Track { number, codec: other }]).collect();
    let more = Tracks::new(more).unwrap();
    let unit =
        AccessUnit { track: number, pts: clip::BEGIN, duration: None, key: true, data: Bytes::from_static(b"pcm") };
    let with_more: Vec<_> = fragments[0].iter().cloned().chain([unit]).collect();
    assert_eq!(file(&more, &[with_more], &[0]), file(&tracks, &fragments[..1], &[0]));
    assert!(matches!(Clip::default().head(0), Err(ClipError::Units(_))));
}

#[test]
fn offsets_count_from_the_files_beginning_whatever_was_sent_before() {
    let (tracks, fragments) = clip::fragments();
    let mut clip = Clip::default();
    clip.add(&tracks, &fragments[0], placement(0, 0)).unwrap();
    let before = [FILE_TYPE, PADDING, PADDING].concat();
    let head = clip.head(before.len() as u64).unwrap();
    let mut reader = read([&before[..], &head, &media(&tracks, &fragments[0])].concat());
    let first = fragments[0].iter().find(|unit| unit.track == TrackNumber::AUDIO).unwrap();
    assert_eq!(samples(&mut reader, TrackNumber::AUDIO)[0].bytes, first.data);
}

/// A sample as a player sees it.
struct Sample {
    decoded: Duration,
    shown: Duration,
    is_key: bool,
    bytes: Bytes,
}

fn samples(reader: &mut mp4::Mp4Reader<Cursor<Vec<u8>>>, track: TrackNumber) -> Vec<Sample> {
    let id = u32::from(track.get());
    let timescale = reader.tracks()[&id].timescale();
    let delay = delay(reader, id);
    let time = |ticks: i64| Duration::from_secs(u64::try_from(ticks).unwrap()) / timescale;
    let count = reader.sample_count(id).unwrap();
    (1..=count)
        .map(|i| {
            let sample = reader.read_sample(id, i).unwrap().unwrap();
            let decoded = i64::try_from(sample.start_time).unwrap();
            Sample {
                decoded: time(decoded),
                shown: delay + time(decoded + i64::from(sample.rendering_offset)),
                is_key: sample.is_sync,
                bytes: sample.bytes,
            }
        })
        .collect()
}

/// How long after the clip the track begins: the length of an edit without media.
fn delay(reader: &mp4::Mp4Reader<Cursor<Vec<u8>>>, id: u32) -> Duration {
    let edits = reader.tracks()[&id].trak.edts.as_ref().and_then(|edits| edits.elst.as_ref());
    edits.map_or(Duration::ZERO, |edits| Duration::from_secs(edits.entries[0].segment_duration) / 90_000)
}

fn read(file: Vec<u8>) -> mp4::Mp4Reader<Cursor<Vec<u8>>> {
    let size = file.len() as u64;
    mp4::Mp4Reader::read_header(Cursor::new(file), size).unwrap()
}

/// The clip of fragments that begin so many milliseconds after the first.
fn file(tracks: &Tracks, fragments: &[Vec<AccessUnit>], begins: &[i64]) -> Vec<u8> {
    let mut clip = Clip::default();
    for (i, (units, begin)) in fragments.iter().zip(begins).enumerate() {
        clip.add(tracks, units, placement(u32::try_from(i).unwrap(), *begin)).unwrap();
    }
    let media_bytes = clip.media_bytes();
    let mut file = FILE_TYPE.to_vec();
    file.extend_from_slice(&clip.head(file.len() as u64).unwrap());
    let media_at = file.len() as u64;
    fragments.iter().for_each(|units| file.extend_from_slice(&media(tracks, units)));
    assert_eq!(file.len() as u64, media_at + media_bytes);
    file
}

/// The place of the fragment of this number, where it begins so many milliseconds after the first.
fn placement(number: u32, begin: i64) -> Placement {
    let start = WallTime::from_millis(START.as_millis() + begin);
    Placement { origin: clip::BEGIN + clip::FRAGMENT * number, start, duration: clip::FRAGMENT, sequence_number: 0 }
}

fn with_other_level(track: &Track) -> Track {
    let codec = match &track.codec {
        Codec::H264(config) => {
            let mut record = config.as_bytes().to_vec();
            record[3] += 1;
            Codec::H264(fragment::codec::h264::Config::parse(record.into()).unwrap())
        }
        other => other.clone(),
    };
    Track { number: track.number, codec }
}
