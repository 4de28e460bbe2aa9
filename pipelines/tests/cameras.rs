//! The RTSP source on GStreamer against the simulated camera, and the sources that encode.

use std::time::{Duration, Instant};

use fragment::{AccessUnit, Codec, TrackNumber, Tracks};
use pipelines::rtsp::{Source, Transport};
use pipelines::{ClockReading, Error, Event, Handle, Pipeline, Receiver, test_pattern};
use samples::rtsp::{Camera, Command, Scheme, Settings};
use tokio::time::timeout;

/// Longer than any of these should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test]
async fn a_camera_is_watched_over_tcp() {
    let camera = camera("h264-aac.mp4");
    assert_watchable(Source::new(camera.url())).await;
}

#[tokio::test]
async fn a_camera_is_watched_over_udp() {
    let camera = camera("h264-aac.mp4");
    assert_watchable(Source::new(camera.url()).transport(Transport::Udp)).await;
}

#[tokio::test]
async fn a_camera_with_h265_is_watched() {
    let camera = camera("h265-aac.mp4");
    let (tracks, _) = watch(Source::new(camera.url()), Duration::from_secs(2)).await;
    assert!(matches!(tracks.video().unwrap().codec, Codec::H265(_)));
    assert!(matches!(tracks.audio().unwrap().codec, Codec::Aac(_)));
}

#[tokio::test]
async fn a_camera_with_telephone_audio_gives_aac() {
    let camera = camera("h264-g711.mkv");
    let (tracks, units) = watch(Source::new(camera.url()), Duration::from_secs(2)).await;
    assert!(matches!(tracks.audio().unwrap().codec, Codec::Aac(_)));
    assert!(units.iter().filter(|unit| unit.track == TrackNumber::AUDIO).count() > 20);
}

#[tokio::test]
async fn a_camera_without_audio_is_fine() {
    let camera = camera("h264-bframes.mp4");
    let (tracks, units) = watch(Source::new(camera.url()), Duration::from_secs(2)).await;
    assert!(tracks.audio().is_none());
    assert!(units.len() > 40);
}

#[tokio::test]
async fn pictures_with_b_frames_keep_their_times() {
    let camera = camera("h264-bframes.mp4");
    let (_, units) = watch(Source::new(camera.url()), Duration::from_secs(6)).await;
    let mut times: Vec<_> = units.iter().map(|unit| unit.pts).collect();
    times.sort_unstable();
    let steps: Vec<Duration> = times.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    let exact = steps.iter().filter(|step| step.abs_diff(Duration::from_millis(40)) < Duration::from_millis(2)).count();
    assert!(exact * 20 > steps.len() * 19, "{exact} of {}: {steps:?}", steps.len());
}

#[tokio::test]
async fn a_camera_loops_without_a_seam() {
    let camera = camera("h264-vfr.mkv");
    let (_, units) = watch(Source::new(camera.url()), Duration::from_secs(12)).await;
    assert_even(&units, Duration::from_millis(67));
}

#[tokio::test]
async fn a_password_is_given_by_digest_and_in_the_clear_and_inside_the_address() {
    for scheme in [Scheme::Digest, Scheme::Basic] {
        let camera = guarded(scheme);
        watch(Source::new(camera.url()).credentials("admin", "s3cret"), Duration::from_millis(200)).await;
        let inside = camera.url().replace("rtsp://", "rtsp://admin:s3cret@");
        watch(Source::new(inside), Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_said_in_words() {
    let camera = guarded(Scheme::Digest);
    for source in [Source::new(camera.url()).credentials("admin", "wrong"), Source::new(camera.url())] {
        let (_handle, mut events) = Pipeline::start(source);
        let error = failure(&mut events).await;
        assert_eq!(error.to_string(), format!("the camera at {} refused the user name or the password", camera.url()));
    }
}

#[tokio::test]
async fn a_path_that_the_camera_does_not_have_is_said_in_words() {
    let camera = camera("h264-aac.mp4");
    let (_handle, mut events) = Pipeline::start(Source::new(camera.url().replace("/cam", "/attic")));
    let error = failure(&mut events).await;
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn a_camera_that_is_not_there_is_said_in_words() {
    let url = camera("h264-aac.mp4").url();
    let (_handle, mut events) = Pipeline::start(Source::new(url.clone()));
    let error = failure(&mut events).await;
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(error.to_string().starts_with(&format!("cannot open the camera at {url}")), "{error}");
}

#[tokio::test]
async fn a_camera_that_drops_its_viewers_ends_the_pipeline() {
    for transport in [Transport::Tcp, Transport::Udp] {
        let camera = camera("h264-aac.mp4");
        let (_handle, mut events) = Pipeline::start(Source::new(camera.url()).transport(transport));
        until_units(&mut events, 10).await;
        camera.control(Command::Restart(Duration::from_secs(60)));
        let last = last(&mut events).await;
        assert!(
            matches!(last, Event::EndOfStream | Event::Failed(Error::Lost { .. } | Error::Silent { .. })),
            "{last:?}"
        );
    }
}

#[tokio::test]
async fn a_camera_that_falls_silent_fails_and_says_so() {
    let camera = camera("h264-aac.mp4");
    let (_handle, mut events) = Pipeline::start(Source::new(camera.url()));
    until_units(&mut events, 10).await;
    camera.control(Command::Stall(Duration::from_secs(60)));
    let began = Instant::now();
    let last = last(&mut events).await;
    assert!(matches!(last, Event::Failed(Error::Silent { .. } | Error::Lost { .. })), "{last:?}");
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_camera_whose_time_jumps_is_watched_on_and_its_jump_is_not_hidden() {
    const HOUR: i64 = 3_600_000_000_000;
    let nanos = HOUR;
    let camera = camera("h264-aac.mp4");
    let (handle, mut events) = Pipeline::start(Source::new(camera.url()));
    let mut units = until_units(&mut events, 50).await;
    camera.control(Command::Jump { nanos });
    let jumps_in = |units: &[AccessUnit]| -> Vec<(usize, i64)> {
        let video: Vec<_> = units.iter().filter(|unit| unit.track == TrackNumber::VIDEO).collect();
        let steps = video.windows(2).map(|pair| pair[1].pts.as_nanos() - pair[0].pts.as_nanos());
        steps.enumerate().filter(|(_, step)| step.abs() > HOUR / 60).collect()
    };
    // On a busy machine the camera takes its time to jump, and the receiver to believe it.
    for _ in 0..8 {
        units.extend(until_units(&mut events, 200).await);
        if !jumps_in(&units).is_empty() {
            break;
        }
    }
    units.extend(until_units(&mut events, 150).await);
    handle.stop();
    let video: Vec<_> = units.iter().filter(|unit| unit.track == TrackNumber::VIDEO).collect();
    let jumps = jumps_in(&units);
    let [(at, step)] = jumps[..] else { panic!("{nanos}: {jumps:?}") };
    assert!((step - nanos).abs() < 5_000_000_000, "{nanos}: it jumped by {step}");
    assert!(video[at + 1..].iter().any(|unit| unit.key), "{nanos}: it is watched on");
}

#[tokio::test]
async fn a_camera_whose_time_steps_back_is_watched_on() {
    let camera = camera("h264-bframes.mp4");
    let (handle, mut events) = Pipeline::start(Source::new(camera.url()));
    until_units(&mut events, 50).await;
    camera.control(Command::Jump { nanos: -3_600_000_000_000 });
    // The jitter buffer takes them for late packets, and soon the new time for its base; where the first ones lie is its affair.
    let after = until_units(&mut events, 300).await;
    handle.stop();
    let mut times: Vec<_> = after[100..].iter().map(|unit| unit.pts).collect();
    times.sort_unstable();
    let longest = times.windows(2).map(|pair| pair[1].since(pair[0])).max().expect("there are units");
    assert!(longest < Duration::from_secs(1), "no picture is missing, and none lies elsewhere: {longest:?}");
    assert!(after[100..].iter().any(|unit| unit.key));
}

#[tokio::test]
async fn a_short_stall_leaves_a_gap_of_its_length() {
    let camera = camera("h264-bframes.mp4");
    let (handle, mut events) = Pipeline::start(Source::new(camera.url()));
    let mut units = until_units(&mut events, 50).await;
    camera.control(Command::Stall(Duration::from_secs(3)));
    units.extend(until_units(&mut events, 100).await);
    handle.stop();
    let mut times: Vec<_> = units.iter().map(|unit| unit.pts).collect();
    times.sort_unstable();
    let gap = times.windows(2).map(|pair| pair[1].since(pair[0])).max().expect("there are units");
    assert!(gap > Duration::from_millis(2_500) && gap < Duration::from_millis(4_000), "{gap:?}");
}

#[tokio::test]
async fn a_camera_can_be_watched_again_after_its_restart() {
    let camera = camera("h264-aac.mp4");
    watch(Source::new(camera.url()), Duration::from_millis(200)).await;
    camera.control(Command::Restart(Duration::from_millis(500)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    watch(Source::new(camera.url()), Duration::from_millis(200)).await;
}

#[tokio::test]
async fn two_viewers_see_the_same_pictures() {
    let camera = camera("h264-aac.mp4");
    let first = watch(Source::new(camera.url()), Duration::from_secs(3));
    let second = watch(Source::new(camera.url()).transport(Transport::Udp), Duration::from_secs(3));
    let ((_, first), (_, second)) = tokio::join!(first, second);
    let shared = first.iter().filter(|unit| second.iter().any(|other| other.data == unit.data)).count();
    assert!(shared > 30, "{shared} of {} and {}", first.len(), second.len());
}

#[tokio::test]
async fn a_cameras_clock_is_told() {
    let camera = camera("h264-aac.mp4");
    let (handle, mut events) = Pipeline::start(Source::new(camera.url()));
    let reading = timeout(PATIENCE, async {
        loop {
            match events.recv().await.expect("the camera goes on") {
                Event::Clock(ClockReading::Camera { wall, .. }) => return wall,
                Event::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
    });
    let wall = reading.await.expect("cameras send reports every few seconds");
    let now = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap();
    assert!((now - wall.as_nanos()).abs() < 20_000_000_000, "{wall:?} at {now}");
    handle.stop();
}

#[tokio::test]
async fn the_test_pattern_is_encoded() {
    let source = test_pattern::Source { width: 320, height: 180, fps: 10, audio: true };
    let (handle, mut events) = Pipeline::start(source);
    let units = until_units(&mut events, 60).await;
    handle.stop();
    assert!(units.iter().any(|unit| unit.track == TrackNumber::VIDEO && unit.key));
    assert!(units.iter().any(|unit| unit.track == TrackNumber::AUDIO));
}

#[tokio::test]
async fn a_device_that_is_not_there_is_said_in_words() {
    let (_handle, mut events) = Pipeline::start(pipelines::v4l2::Source::new("/dev/video99"));
    let error = failure(&mut events).await;
    assert!(error.to_string().contains("the camera /dev/video99"), "{error}");
}

fn camera(clip: &str) -> Camera {
    Camera::start(&Settings::new(samples::clip(clip))).expect("the camera starts")
}

fn guarded(scheme: Scheme) -> Camera {
    let credentials = Some(("admin".to_owned(), "s3cret".to_owned()));
    Camera::start(&Settings { credentials, scheme, ..Settings::new(samples::clip("h264-aac.mp4")) })
        .expect("the camera starts")
}

/// Watches for three seconds: key frames come, time ascends by the clip's steps, sound goes with it.
async fn assert_watchable(source: Source) {
    let (tracks, units) = watch(source, Duration::from_secs(3)).await;
    assert!(matches!(&tracks.video().expect("it has video").codec, Codec::H264(_)));
    let video: Vec<AccessUnit> = units.iter().filter(|unit| unit.track == TrackNumber::VIDEO).cloned().collect();
    assert!(video.iter().filter(|unit| unit.key).count() >= 2);
    assert_even(&video, Duration::from_millis(40));
    assert!(units.iter().filter(|unit| unit.track == TrackNumber::AUDIO).count() > 80);
}

/// Time ascends, by `step` in the mean, so none is missing. A single step may be off: where a busy machine
/// delays packets by more than the latency, the jitter buffer starts afresh.
fn assert_even(units: &[AccessUnit], step: Duration) {
    for pair in units.windows(2) {
        let step = pair[1].pts.since(pair[0].pts);
        assert!(pair[1].pts > pair[0].pts && step < Duration::from_secs(1), "{step:?} at {:?}", pair[0].pts);
    }
    let (first, last) = (&units[0], &units[units.len() - 1]);
    let mean = last.pts.since(first.pts) / u32::try_from(units.len() - 1).expect("few units");
    assert!(mean > step * 9 / 10 && mean < step * 11 / 10, "{mean:?}");
}

/// What a camera gives until media time has come to `length`.
async fn watch(source: Source, length: Duration) -> (Tracks, Vec<AccessUnit>) {
    let (handle, mut events): (Handle, Receiver<Event>) = Pipeline::start(source);
    let watched = timeout(PATIENCE, async {
        let mut units: Vec<AccessUnit> = Vec::new();
        let mut tracks = None;
        while units.last().is_none_or(|unit| unit.pts.since(fragment::MediaTime::ZERO) < length) {
            match events.recv().await.expect("the camera goes on") {
                Event::Tracks(new) => tracks = Some(new),
                Event::Unit(unit) => units.push(unit),
                Event::Clock(_) | Event::Lost(..) => {}
                Event::EndOfStream => panic!("the camera ended"),
                Event::Failed(error) => panic!("{error}"),
            }
        }
        (tracks.expect("tracks come first"), units)
    });
    let watched = watched.await.expect("units come");
    handle.stop();
    watched
}

async fn until_units(events: &mut Receiver<Event>, count: usize) -> Vec<AccessUnit> {
    let mut units = Vec::new();
    while units.len() < count {
        match timeout(PATIENCE, events.recv()).await.expect("units come") {
            Some(Event::Unit(unit)) => units.push(unit),
            Some(Event::Tracks(_) | Event::Clock(_) | Event::Lost(..)) => {}
            other => panic!("{other:?}"),
        }
    }
    units
}

async fn last(events: &mut Receiver<Event>) -> Event {
    let mut last = None;
    while let Some(event) = timeout(PATIENCE, events.recv()).await.expect("it ends") {
        last = Some(event);
    }
    last.expect("there is a last event")
}

async fn failure(events: &mut Receiver<Event>) -> Error {
    match last(events).await {
        Event::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}
