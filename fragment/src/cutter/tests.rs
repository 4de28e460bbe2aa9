use super::*;
use crate::{Codec, Track, TrackKind};
use bytes::Bytes;

const VIDEO: TrackNumber = TrackNumber::VIDEO;
const AUDIO: TrackNumber = TrackNumber::AUDIO;

#[test]
fn cuts_at_the_first_key_frame_after_the_target() {
    let mut cutter = cutter(&[TrackKind::Video]);
    let fragments = run(&mut cutter, (0..100).map(|i| video(i * 40, i % 10 == 0)));
    let starts: Vec<i64> = fragments.iter().map(|f| f.start).collect();
    assert_eq!(starts, [0, 2000], "key frames each 400 ms, target 2 s");
    assert_eq!(fragments[0].end, Some((2000, FinishReason::KeyFrame)));
    assert_eq!(fragments[1].end, Some((2000, FinishReason::EndOfStream)));
}

#[test]
fn a_key_frame_that_jitter_brings_a_little_early_still_cuts() {
    let mut cutter = cutter(&[TrackKind::Video]);
    let fragments = run(&mut cutter, [video(0, true), video(1000, true), video(1990, true), video(2990, true)]);
    assert_eq!(fragments.iter().map(|f| f.start).collect::<Vec<_>>(), [0, 1990]);
}

#[test]
fn units_before_the_first_key_frame_are_dropped_and_counted() {
    let mut cutter = cutter(&[TrackKind::Video, TrackKind::Audio]);
    let fragments = run(&mut cutter, [video(0, false), audio(10), video(40, true), audio(41)]);
    assert_eq!(cutter.dropped(), 2);
    assert_eq!(fragments.len(), 1);
    assert_eq!((fragments[0].start, fragments[0].units.len()), (40, 2));
}

#[test]
fn audio_never_cuts_where_there_is_video() {
    let mut cutter = cutter(&[TrackKind::Video, TrackKind::Audio]);
    let units = std::iter::once(video(0, true)).chain((1..200).map(|i| audio(i * 20)));
    assert_eq!(run(&mut cutter, units).len(), 1);
}

#[test]
fn audio_alone_cuts_at_any_packet() {
    let mut cutter = cutter(&[TrackKind::Audio]);
    let unit = |i: i64| AccessUnit { track: VIDEO, ..audio(i * 20) };
    let fragments = run(&mut cutter, (0..300).map(unit));
    assert_eq!(fragments.iter().map(|f| f.end.unwrap().0).collect::<Vec<_>>(), [1800, 1800, 1800, 600]);
}

#[test]
fn without_key_frames_the_hard_limit_cuts_and_nothing_is_lost() {
    let mut cutter = cutter(&[TrackKind::Video]);
    let fragments = run(&mut cutter, (0..600).map(|i| video(i * 100, i == 0 || i == 450)));
    let ends: Vec<_> = fragments.iter().map(|f| f.end.unwrap()).collect();
    assert_eq!(
        ends,
        [
            (20_000, FinishReason::DurationMax),
            (20_000, FinishReason::DurationMax),
            (5_000, FinishReason::KeyFrame),
            (15_000, FinishReason::EndOfStream),
        ]
    );
    assert_eq!(fragments.iter().map(|f| f.units.len()).sum::<usize>(), 600);
    assert_eq!(cutter.dropped(), 0);
}

#[test]
fn the_size_limit_cuts_before_the_unit_that_would_exceed_it() {
    let settings = Settings { bytes_max: 25, ..Settings::default() };
    let mut cutter = Cutter::new(settings, tracks(&[TrackKind::Video]));
    let fragments = run(&mut cutter, (0..5).map(|i| video(i * 40, i == 0)));
    assert_eq!(fragments.iter().map(|f| f.units.len()).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(fragments[0].end, Some((80, FinishReason::BytesMax)));
}

#[test]
fn a_unit_larger_than_a_fragment_is_refused() {
    let settings = Settings { bytes_max: 9, ..Settings::default() };
    let mut cutter = Cutter::new(settings, tracks(&[TrackKind::Video]));
    assert_eq!(cutter.push(video(0, true)), Err(PushError::TooLarge { bytes: 10, bytes_max: 9 }));
    assert_eq!(cutter.push(audio(0)), Err(PushError::UnknownTrack(AUDIO)));
    assert_eq!(cutter.poll(), None);
}

#[test]
fn a_jump_forwards_ends_the_session_and_the_sequence_begins_again() {
    let mut cutter = cutter(&[TrackKind::Video]);
    let fragments = run(&mut cutter, [video(0, true), video(40, false), video(60_000, false), video(60_040, true)]);
    assert_eq!(fragments.len(), 2);
    assert_eq!(fragments[0].end, Some((80, FinishReason::Jump)));
    assert_eq!(fragments[0].session_end, Some(SessionEndReason::JumpForwards));
    assert_eq!((fragments[1].sequence, fragments[1].start), (0, 60_040));
    assert_eq!(
        (cutter.dropped(), &fragments[0].left_out[..]),
        (1, &[60_000][..]),
        "between the jump and the key frame"
    );
}

#[test]
fn a_jump_backwards_ends_the_session() {
    let mut cutter = cutter(&[TrackKind::Video]);
    let fragments = run(&mut cutter, [video(60_000, true), video(60_040, false), video(0, true)]);
    assert_eq!(fragments[0].session_end, Some(SessionEndReason::JumpBackwards));
    assert_eq!(fragments[1].start, 0);
}

#[test]
fn audio_left_over_from_before_a_jump_is_dropped() {
    let mut cutter = cutter(&[TrackKind::Video, TrackKind::Audio]);
    let units = [video(0, true), audio(0), video(60_000, true), audio(20), audio(60_000), video(60_040, false)];
    let fragments = run(&mut cutter, units);
    assert_eq!(fragments.len(), 2);
    assert_eq!(fragments[1].units, [60_000, 60_000, 60_040]);
    assert_eq!(cutter.dropped(), 1);
}

#[test]
fn sound_that_pauses_beside_a_picture_that_goes_on_is_not_a_jump() {
    let mut cutter = cutter(&[TrackKind::Video, TrackKind::Audio]);
    let silent = 2_000..9_000;
    let units = (0..300i64).flat_map(|i| [video(i * 40, i % 25 == 0), audio(i * 40)]);
    let units = units.filter(|unit| unit.track == VIDEO || !silent.contains(&unit.pts.as_millis()));
    let fragments = run(&mut cutter, units);
    assert!(fragments.iter().all(|fragment| fragment.session_end.is_none()));
    assert_eq!(fragments.iter().map(|fragment| fragment.units.len()).sum::<usize>(), 300 + 300 - 175);
    assert_eq!(cutter.dropped(), 0);
}

#[test]
fn a_jump_of_both_tracks_is_one_even_if_the_sound_shows_it_first() {
    let mut cutter = cutter(&[TrackKind::Video, TrackKind::Audio]);
    let units = [video(0, true), audio(0), audio(60_000), video(60_000, true), audio(60_020)];
    let fragments = run(&mut cutter, units);
    assert_eq!(fragments[0].session_end, Some(SessionEndReason::JumpForwards));
    assert_eq!(fragments[1].units, [60_000, 60_020]);
}

#[test]
fn a_picture_that_stops_for_long_is_a_jump_even_if_the_sound_goes_on() {
    let mut cutter = cutter(&[TrackKind::Video, TrackKind::Audio]);
    let sound = (1..400).map(|i| audio(i * 20));
    let units = std::iter::once(video(0, true)).chain(sound).chain([video(8_000, true), audio(8_010)]);
    let fragments = run(&mut cutter, units);
    assert_eq!(fragments[0].session_end, Some(SessionEndReason::JumpForwards));
    assert_eq!(fragments.len(), 2);
}

#[test]
fn reordered_pictures_are_not_a_jump() {
    let mut cutter = cutter(&[TrackKind::Video]);
    let fragments = run(&mut cutter, [0, 160, 80, 40, 120, 320].map(|ms| video(ms, ms == 0)));
    assert_eq!(fragments.len(), 1);
    assert_eq!(fragments[0].units.len(), 6);
}

struct Cut {
    sequence: u32,
    start: i64,
    units: Vec<i64>,
    end: Option<(u128, FinishReason)>,
    session_end: Option<SessionEndReason>,
    /// What came behind it and before the next one.
    left_out: Vec<i64>,
}

fn run(cutter: &mut Cutter, units: impl IntoIterator<Item = AccessUnit>) -> Vec<Cut> {
    let mut cuts: Vec<Cut> = Vec::new();
    for unit in units {
        cutter.push(unit).unwrap();
        drain(cutter, &mut cuts);
    }
    cutter.finish();
    drain(cutter, &mut cuts);
    cuts
}

fn drain(cutter: &mut Cutter, cuts: &mut Vec<Cut>) {
    while let Some(event) = cutter.poll() {
        if let Event::LeftOut(unit) = event {
            cuts.last_mut().into_iter().for_each(|cut| cut.left_out.push(unit.pts.as_millis()));
            continue;
        }
        if let Event::Started { sequence, start } = event {
            assert!(cuts.last().is_none_or(|cut| cut.end.is_some()), "started before the last one finished");
            let (sequence, start) = (sequence.0, start.as_millis());
            cuts.push(Cut { sequence, start, units: Vec::new(), end: None, session_end: None, left_out: Vec::new() });
            continue;
        }
        let cut = cuts.last_mut().expect("a fragment has been started");
        match event {
            Event::Started { .. } | Event::LeftOut(_) => unreachable!("handled above"),
            Event::Unit(unit) => cut.units.push(unit.pts.as_millis()),
            Event::Finished { duration, reason } => cut.end = Some((duration.as_millis(), reason)),
            Event::SessionEnded(reason) => cut.session_end = Some(reason),
        }
    }
}

fn cutter(kinds: &[TrackKind]) -> Cutter {
    Cutter::new(Settings::default(), tracks(kinds))
}

fn tracks(kinds: &[TrackKind]) -> Tracks {
    let track = |(i, &kind): (usize, &TrackKind)| Track {
        number: TrackNumber::new(i as u64 + 1).unwrap(),
        codec: Codec::Other { id: "X_TEST".into(), private: Bytes::new(), kind },
    };
    Tracks::new(kinds.iter().enumerate().map(track).collect()).unwrap()
}

fn video(ms: i64, key: bool) -> AccessUnit {
    let data = Bytes::from_static(&[0; 10]);
    AccessUnit { track: VIDEO, pts: MediaTime::from_millis(ms), duration: None, key, data }
}

fn audio(ms: i64) -> AccessUnit {
    let duration = Some(Duration::from_millis(20));
    AccessUnit { track: AUDIO, duration, ..video(ms, true) }
}
