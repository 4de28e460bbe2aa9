//! What we write as MP4, read by an independent reader (the `mp4` crate).

#![cfg(test)]

mod clip;

use std::io::Cursor;
use std::time::Duration;

use bytes::Bytes;
use fragment::{AccessUnit, Codec, MediaTime, Track, TrackKind, TrackNumber, Tracks, WallTime};
use hls::cmaf::{self, Placement};
use hls::{InitError, SegmentError};

const START: WallTime = WallTime::from_millis(1_700_000_000_000);

const PLACEMENT: Placement =
    Placement { origin: clip::BEGIN, start: START, duration: clip::FRAGMENT, sequence_number: 1 };

#[test]
fn the_init_segment_describes_both_tracks() {
    let (tracks, _) = clip::fragments();
    let init = cmaf::init(&tracks).unwrap();
    let moov = read(&init).moov;
    let [video, audio] = &moov.traks[..] else { panic!("{} tracks", moov.traks.len()) };
    let avc1 = video.mdia.minf.stbl.stsd.avc1.as_ref().unwrap();
    assert_eq!((avc1.width, avc1.height, video.mdia.mdhd.timescale), (160, 96, 90_000));
    let mp4a = audio.mdia.minf.stbl.stsd.mp4a.as_ref().unwrap();
    assert_eq!((mp4a.channelcount, audio.mdia.mdhd.timescale), (1, 48_000));
    assert!(moov.mvex.is_some());
}

#[test]
fn the_decoder_configuration_is_written_byte_for_byte() {
    let (tracks, _) = clip::fragments();
    let init = cmaf::init(&tracks).unwrap();
    let Codec::H264(config) = &tracks.video().unwrap().codec else { panic!("not H.264") };
    assert!(init.windows(config.as_bytes().len()).any(|window| window == &config.as_bytes()[..]));
}

#[test]
fn a_segment_holds_every_unit_of_the_fragment_unchanged() {
    let (tracks, fragments) = clip::fragments();
    let (moof, media) = open(&segment(&tracks, &fragments[0], 0));
    for traf in &moof.trafs {
        let number = TrackNumber::new(u64::from(traf.tfhd.track_id)).unwrap();
        let trun = traf.trun.as_ref().unwrap();
        let mut at = usize::try_from(trun.data_offset.unwrap()).unwrap();
        let expected: Vec<_> = fragments[0].iter().filter(|unit| unit.track == number).collect();
        assert_eq!(trun.sample_sizes.len(), expected.len());
        for (size, unit) in trun.sample_sizes.iter().zip(expected) {
            assert_eq!(&media[at..at + *size as usize], &unit.data[..]);
            at += *size as usize;
        }
    }
}

#[test]
fn each_unit_is_shown_when_the_fragment_says() {
    let (tracks, fragments) = clip::fragments();
    let units: Vec<_> = fragments[0].iter().filter(|unit| unit.track == TrackNumber::VIDEO).collect();
    let (moof, _) = open(&segment(&tracks, &fragments[0], 0));
    let trun = moof.trafs[0].trun.as_ref().unwrap();
    let mut decode_time = moof.trafs[0].tfdt.as_ref().unwrap().base_media_decode_time.cast_signed();
    let origin = START.as_millis() * 90;
    for (i, unit) in units.iter().enumerate() {
        let shown = decode_time + i64::from(trun.sample_cts[i].cast_signed());
        assert_eq!(shown - origin, (unit.pts.as_millis() - units[0].pts.as_millis()) * 90, "unit {i}");
        decode_time += i64::from(trun.sample_durations[i]);
    }
    assert!(trun.sample_cts.iter().any(|cts| cts.cast_signed() < 0), "the clip has B-frames");
}

#[test]
fn segments_of_one_session_meet_without_a_hole() {
    let (tracks, fragments) = clip::fragments();
    let (first, _) = open(&segment(&tracks, &fragments[0], 0));
    let (second, _) = open(&segment(&tracks, &fragments[1], 1));
    let begin = |moof: &mp4::MoofBox| moof.trafs[0].tfdt.as_ref().unwrap().base_media_decode_time;
    let length: u32 = first.trafs[0].trun.as_ref().unwrap().sample_durations.iter().sum();
    assert_eq!(begin(&first) + u64::from(length), begin(&second));
}

#[test]
fn audio_packets_keep_their_nominal_length() {
    let (tracks, fragments) = clip::fragments();
    let (moof, _) = open(&segment(&tracks, &fragments[0], 0));
    assert!(moof.trafs[1].trun.as_ref().unwrap().sample_durations.iter().all(|duration| *duration == 1024));
}

#[test]
fn a_lost_audio_packet_leaves_the_others_in_their_place() {
    let (tracks, mut fragments) = clip::fragments();
    let lost = fragments[0].iter().position(|unit| unit.track == TrackNumber::AUDIO).unwrap() + 5;
    fragments[0].drain(lost..lost + 3);
    let (moof, _) = open(&segment(&tracks, &fragments[0], 0));
    let durations = &moof.trafs[1].trun.as_ref().unwrap().sample_durations;
    assert!(durations[4].abs_diff(4 * 1024) < 96, "{}", durations[4]);
    assert!(durations.iter().enumerate().all(|(i, duration)| i == 4 || *duration == 1024));
}

#[test]
fn only_key_frames_are_marked_as_such() {
    let (tracks, fragments) = clip::fragments();
    let (moof, _) = open(&segment(&tracks, &fragments[0], 0));
    let flags = &moof.trafs[0].trun.as_ref().unwrap().sample_flags;
    assert_eq!(flags[0], 0x0200_0000);
    assert!(flags[1..].iter().all(|flags| *flags == 0x0101_0000));
}

#[test]
fn tracks_that_browsers_do_not_play_are_left_out() {
    let (tracks, fragments) = clip::fragments();
    let (number, subtitle) = other(3);
    let mut all: Vec<Track> = tracks.iter().cloned().collect();
    all.push(subtitle);
    let all = Tracks::new(all).unwrap();
    let mut units = fragments[0].clone();
    units.push(AccessUnit { track: number, ..units[0].clone() });
    assert_eq!(read(&cmaf::init(&all).unwrap()).moov.traks.len(), 2);
    assert_eq!(segment(&all, &units, 0), segment(&tracks, &fragments[0], 0));
}

#[test]
fn a_fragment_without_a_playable_track_is_refused() {
    let (number, track) = other(1);
    let tracks = Tracks::new(vec![track]).unwrap();
    let unit =
        AccessUnit { track: number, pts: MediaTime::ZERO, duration: None, key: true, data: Bytes::from_static(b"x") };
    assert!(matches!(cmaf::init(&tracks), Err(InitError::NothingPlayable)));
    let placement = PLACEMENT;
    assert!(matches!(cmaf::segment(&tracks, &[unit], placement), Err(SegmentError::NothingPlayable)));
    assert!(matches!(cmaf::segment(&tracks, &[], placement), Err(SegmentError::NothingPlayable)));
}

#[test]
fn a_fragment_before_1970_is_refused() {
    let (tracks, fragments) = clip::fragments();
    let placement = Placement { start: WallTime::from_millis(-5000), ..PLACEMENT };
    assert!(matches!(cmaf::segment(&tracks, &fragments[0], placement), Err(SegmentError::BeforeEpoch)));
}

#[test]
fn units_centuries_apart_are_refused_and_do_not_overflow() {
    let (tracks, mut fragments) = clip::fragments();
    fragments[0][3].pts = MediaTime::from_nanos(i64::MAX);
    let placement = PLACEMENT;
    assert!(matches!(cmaf::segment(&tracks, &fragments[0], placement), Err(SegmentError::TimeJump(_))));
}

fn other(number: u64) -> (TrackNumber, Track) {
    let number = TrackNumber::new(number).unwrap();
    let codec = Codec::Other { id: "A_OPUS".into(), private: Bytes::new(), kind: TrackKind::Audio };
    (number, Track { number, codec })
}

fn segment(tracks: &Tracks, units: &[AccessUnit], sequence: u32) -> Bytes {
    let placement = Placement {
        origin: clip::BEGIN + clip::FRAGMENT * sequence,
        start: START + Duration::from_secs(u64::from(sequence)),
        duration: clip::FRAGMENT,
        sequence_number: sequence + 1,
    };
    cmaf::segment(tracks, units, placement).unwrap()
}

/// The movie fragment of a segment, and the segment's bytes from the beginning of that box, which is
/// what sample offsets count from.
fn open(segment: &Bytes) -> (mp4::MoofBox, Bytes) {
    let (tracks, _) = clip::fragments();
    let file = [&cmaf::init(&tracks).unwrap()[..], &segment[..]].concat();
    let moof = read(&file).moofs.remove(0);
    let begin = segment.windows(4).position(|window| window == b"moof").unwrap() - 4;
    (moof, segment.slice(begin..))
}

fn read(file: &[u8]) -> mp4::Mp4Reader<Cursor<Vec<u8>>> {
    mp4::Mp4Reader::read_header(Cursor::new(file.to_vec()), file.len() as u64).unwrap()
}
