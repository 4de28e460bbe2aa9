//! The agent's core without a camera and without a server: units in, whole fragments on disk, whatever
//! happens to the process in between.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail with it")]

use std::path::Path;
use std::time::Duration;

use agent::clock::Clock;
use agent::recorder::{Recorder, TimeSource};
use bytes::Bytes;
use fragment::cutter::Settings;
use fragment::{AccessUnit, ClockQuality, Codec, MediaTime, Track, TrackKind, TrackNumber, Tracks, WallTime, mkv};
use spool::Spool;
use spool::drops::{self, Reason, Run};

const ROOM: u64 = 1 << 30;
const START: WallTime = WallTime::from_millis(1_700_000_000_000);

#[test]
fn what_is_recorded_is_spooled_as_documents_of_its_units() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    record(&spool, 0..100);
    let documents = documents(&spool);
    assert_eq!(documents.iter().map(|document| document.units.len()).collect::<Vec<_>>(), [50, 50]);
    let frames: Vec<u8> = documents.iter().flat_map(|document| &document.units).map(|unit| unit.data[0]).collect();
    assert_eq!(frames, (0..100).collect::<Vec<_>>());
}

#[test]
fn a_crash_in_the_middle_of_a_fragment_leaves_a_shorter_one() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    let mut recorder = recorder(&spool);
    (0..60).for_each(|frame| recorder.unit(picture(frame)));
    let copy = copy_of_spool(state.path());
    let recovered = Spool::open(copy.path(), ROOM).unwrap();
    let documents = documents(&recovered);
    assert_eq!(documents.iter().map(|document| document.units.len()).collect::<Vec<_>>(), [50, 10]);
    let (_, torn) = recovered.next(Some(0)).unwrap();
    assert_eq!(torn.trailer.unwrap().duration, Duration::from_millis(400));
}

#[test]
fn a_jump_in_time_begins_a_new_session() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    let mut recorder = recorder(&spool);
    (0..50).for_each(|frame| recorder.unit(picture(frame)));
    let later = Duration::from_secs(3600);
    (50..100).for_each(|frame| recorder.unit(AccessUnit { pts: picture(frame).pts + later, ..picture(frame) }));
    recorder.end();
    let (first, second) = (spool.next(None).unwrap().1.key.id, spool.next(Some(0)).unwrap().1.key.id);
    assert_ne!(first.session, second.session);
    assert_eq!(second.sequence.0, 0);
}

#[test]
fn sessions_of_a_camera_that_starts_again_at_once_do_not_overlap() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    let mut recorder =
        Recorder::new("front".parse().unwrap(), spool.clone(), TimeSource::Arrival(Clock::open().unwrap()), settings());
    for _ in 0..2 {
        recorder.tracks(&tracks());
        (0..50).for_each(|frame| recorder.unit(picture(frame)));
        recorder.end();
    }
    // What it has taken is written when it is gone.
    drop(recorder);
    let starts: Vec<_> =
        keys(&spool).iter().map(|key| spool.read(key).unwrap().header().start.monotonic.unwrap()).collect();
    let apart = starts[1].since(starts[0]).unwrap();
    assert!(apart >= Duration::from_secs(2), "{apart:?}");
}

#[test]
fn nor_do_those_of_a_camera_that_a_command_closes_and_opens_again() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    for _ in 0..2 {
        let arrival = TimeSource::Arrival(Clock::open().unwrap());
        let mut recorder = Recorder::new("front".parse().unwrap(), spool.clone(), arrival, settings());
        recorder.tracks(&tracks());
        (0..50).for_each(|frame| recorder.unit(picture(frame)));
        recorder.end();
    }
    let starts: Vec<_> =
        keys(&spool).iter().map(|key| spool.read(key).unwrap().header().start.monotonic.unwrap()).collect();
    let apart = starts[1].since(starts[0]).unwrap();
    assert!(apart >= Duration::from_secs(2), "{apart:?}");
}

#[test]
fn the_first_session_after_a_crash_does_not_overlap_the_last_one_before_it() {
    let state = tempfile::tempdir().unwrap();
    let arrival = || TimeSource::Arrival(Clock::open().unwrap());
    let spool = Spool::open(state.path(), ROOM).unwrap();
    let mut recorder = Recorder::new("front".parse().unwrap(), spool.clone(), arrival(), settings());
    recorder.tracks(&tracks());
    // A second and a half of media, which arrives at once as after a slow start.
    (0..37).for_each(|frame| recorder.unit(picture(frame)));
    while spool.counters().bytes < 37_000 {
        std::thread::yield_now();
    }
    let copy = copy_of_spool(state.path());
    let spool = Spool::open(copy.path(), ROOM).unwrap();
    let mut recorder = Recorder::new("front".parse().unwrap(), spool.clone(), arrival(), settings());
    recorder.tracks(&tracks());
    (0..50).for_each(|frame| recorder.unit(picture(frame)));
    recorder.end();
    drop(recorder);
    let starts: Vec<_> =
        keys(&spool).iter().map(|key| spool.read(key).unwrap().header().start.monotonic.unwrap()).collect();
    let apart = starts[1].since(starts[0]).unwrap();
    assert!(apart >= Duration::from_millis(37 * 40), "{apart:?}");
}

#[test]
fn audio_in_front_of_the_first_picture_is_kept() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    let mut recorder = recorder(&spool);
    recorder.unit(sound(0));
    recorder.unit(picture(0));
    recorder.unit(sound(20));
    recorder.end();
    let [document] = &documents(&spool)[..] else { panic!("one fragment") };
    let sounds = document.units.iter().filter(|unit| unit.track == TrackNumber::AUDIO).count();
    assert_eq!(sounds, 2);
}

#[test]
fn pictures_before_the_key_frame_that_begins_a_session_are_in_the_list_of_drops() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    let arrival = TimeSource::Arrival(Clock::open().unwrap());
    let mut recorder = Recorder::new("front".parse().unwrap(), spool.clone(), arrival, settings());
    recorder.tracks(&tracks());
    // Begun between two key frames, as after a reconnect.
    (15..50).for_each(|frame| recorder.unit(picture(frame)));
    // A stall that ends the session, and ends between two key frames.
    let stall = Duration::from_secs(6);
    let later = |frame| AccessUnit { pts: picture(frame).pts + stall, ..picture(frame) };
    (55..80).for_each(|frame| recorder.unit(later(frame)));
    // The camera goes before its next key frame.
    recorder.tracks(&tracks());
    (80..83).for_each(|frame| recorder.unit(picture(frame)));
    recorder.end();
    assert_eq!((recorder.recorded().left_out, recorder.recorded().pictures), (10 + 20 + 3, 35 + 25 + 3));
    drop(recorder);

    let [begun, stalled, ended] = &drops::read(&disk::OsDisk, state.path()).unwrap()[..] else { panic!("three runs") };
    let told = |run: &Run| (run.reason, run.pictures, run.duration.as_millis());
    assert_eq!(told(begun), (Reason::WaitingForKeyFrame, 10, 400));
    assert_eq!(told(stalled), (Reason::WaitingForKeyFrame, 20, 800));
    assert_eq!(told(ended), (Reason::WaitingForKeyFrame, 3, 120));
    assert_eq!(spool.counters().drops.waiting_for_key_frame, 3);
    assert_eq!((spool.counters().dropped, spool.counters().lost), (0, 0), "no fragment was");
    // Each is named by the fragment behind it, and ends where that begins.
    let documents = documents(&spool);
    assert_eq!(documents.iter().map(|document| document.units.len()).collect::<Vec<_>>(), [25, 5]);
    for (run, key) in [begun, stalled].into_iter().zip(keys(&spool)) {
        assert_eq!((run.session, run.first), (key.id.session, key.id.sequence));
        let start = spool.read(&key).unwrap().header().start.wall;
        assert_eq!(run.start + run.duration, start);
    }
}

#[test]
fn a_camera_that_never_sends_a_key_frame_makes_one_run_and_not_one_of_each_picture() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    let mut recorder = recorder(&spool);
    let picture = |i: i64| AccessUnit { pts: MediaTime::from_millis(40 * i), ..picture(1) };
    (0..10_000).for_each(|i| recorder.unit(picture(i)));
    recorder.end();
    let [run] = &drops::read(&disk::OsDisk, state.path()).unwrap()[..] else { panic!("one run") };
    assert_eq!((run.pictures, run.duration), (10_000, Duration::from_secs(400)));
    assert_eq!(spool.counters().drops.waiting_for_key_frame, 7, "listed each minute, so that a kill costs no more");
}

#[test]
fn a_given_start_time_is_kept_with_its_quality() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    record(&spool, 0..100);
    let starts: Vec<_> = keys(&spool).iter().map(|key| spool.read(key).unwrap().header().start).collect();
    assert_eq!(starts.iter().map(|start| start.wall).collect::<Vec<_>>(), [START, START + Duration::from_secs(2)]);
    assert!(starts.iter().all(|start| start.quality == ClockQuality::Given));
}

fn settings() -> Settings {
    Settings { target: Duration::from_secs(2), ..Settings::default() }
}

fn recorder(spool: &Spool) -> Recorder {
    let mut recorder = Recorder::new("front".parse().unwrap(), spool.clone(), TimeSource::Given(START), settings());
    recorder.tracks(&tracks());
    recorder
}

fn record(spool: &Spool, frames: std::ops::Range<u8>) {
    let mut recorder = recorder(spool);
    frames.for_each(|frame| recorder.unit(picture(frame)));
    recorder.end();
}

fn tracks() -> Tracks {
    let track = |number, id: &str, kind| Track {
        number,
        codec: Codec::Other { id: id.to_owned(), private: Bytes::new(), kind },
    };
    Tracks::new(vec![
        track(TrackNumber::VIDEO, "V_TEST", TrackKind::Video),
        track(TrackNumber::AUDIO, "A_TEST", TrackKind::Audio),
    ])
    .unwrap()
}

/// 25 pictures a second, each 25th a key frame.
fn picture(frame: u8) -> AccessUnit {
    AccessUnit {
        track: TrackNumber::VIDEO,
        pts: MediaTime::from_millis(40 * i64::from(frame)),
        duration: Some(Duration::from_millis(40)),
        key: frame.is_multiple_of(25),
        data: vec![frame; 1000].into(),
    }
}

fn sound(millis: i64) -> AccessUnit {
    let (track, pts) = (TrackNumber::AUDIO, MediaTime::from_millis(millis));
    AccessUnit { track, pts, duration: None, key: true, data: Bytes::from_static(b"sound") }
}

fn keys(spool: &Spool) -> Vec<upload::FragmentKey> {
    let (mut keys, mut after) = (Vec::new(), None);
    while let Some((ordinal, entry)) = spool.next(after) {
        keys.push(entry.key);
        after = Some(ordinal);
    }
    keys
}

fn documents(spool: &Spool) -> Vec<mkv::Document> {
    let (mut documents, mut after) = (Vec::new(), None);
    while let Some((ordinal, entry)) = spool.next(after) {
        let bytes = usize::try_from(entry.trailer.expect("it is whole").bytes).unwrap();
        let pieces = spool.read(&entry.key).unwrap().read(bytes).unwrap();
        let payload: Vec<u8> = pieces.into_iter().flatten().collect();
        documents.push(mkv::document(payload.into()).expect("a spooled fragment is a document"));
        after = Some(ordinal);
    }
    documents
}

/// What a crash now would leave behind.
fn copy_of_spool(state: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let folder = copy.path().join("spool/front");
    std::fs::create_dir_all(&folder).unwrap();
    for file in std::fs::read_dir(state.join("spool/front")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    copy
}
