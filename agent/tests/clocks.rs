//! Cameras whose clocks are not right, recorded by the agent through GStreamer.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agent::capture;
use agent::clock::Clock;
use agent::config::{Camera, Source, TlsTrust, Transport};
use agent::status::CameraStatus;
use agent::timekeeper::Believed;
use fragment::{ClockQuality, MediaTime, SessionId, TrackNumber, WallTime, mkv};
use samples::rtsp::{self, Clocks, Command};
use spool::{Spool, Start};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Longer than all that a test waits for takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(150);

/// A picture of the clip lasts this long; Matroska counts milliseconds.
const PICTURE: Duration = Duration::from_millis(40);

const HOUR: i64 = 3_600_000_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn rtp_timestamps_that_wrap_around_are_one_session_and_no_picture_is_missing() {
    // Three seconds of picture, and some six of sound.
    let clocks = Clocks { rtp_offset: Some(u32::MAX - 3 * 90_000), ..Clocks::default() };
    let mut stage = Stage::start(clocks, Believed::Device);
    let fragments = stage.until(|fragments| media(fragments) > Duration::from_secs(10)).await;
    stage.stop().await;
    assert!(fragments.iter().all(|fragment| fragment.session == fragments[0].session), "one session");
    assert_no_picture_is_missing(&fragments);
}

#[tokio::test(flavor = "multi_thread")]
async fn media_time_follows_a_fast_crystal_and_wall_time_does_not() {
    // A minute of it is two seconds too long.
    let mut stage = Stage::start(Clocks { drift_ppm: 30_000, ..Clocks::default() }, Believed::Device);
    let fragments = stage.until(|fragments| media(fragments) > Duration::from_secs(60)).await;
    stage.stop().await;
    assert!(fragments.iter().all(|fragment| fragment.session == fragments[0].session), "one session");
    let (first, last) = (&fragments[0], &fragments[fragments.len() - 1]);
    let media = last.pictures[0].since(first.pictures[0]);
    let wall = last.start.wall.since(first.start.wall);
    // It is followed from a quarter of a second on.
    let behind = media.saturating_sub(wall);
    let expected = media * 3 / 103;
    assert!(
        behind + Duration::from_millis(500) > expected && behind < expected + Duration::from_millis(500),
        "{behind:?}"
    );
    // Within the session nothing overlaps and nothing is left out.
    for pair in fragments.windows(2) {
        assert_eq!(pair[0].start.wall + pair[0].duration, pair[1].start.wall);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_with_a_wrong_calendar_moves_nothing_unless_it_is_believed() {
    let clocks = Clocks { calendar_nanos: -6 * HOUR, ..Clocks::default() };
    let mut stage = Stage::start(clocks, Believed::Device);
    // Longer than the camera takes to its second report.
    let fragments = stage.until(|fragments| media(fragments) > Duration::from_secs(16)).await;
    stage.stop().await;
    assert!(fragments.iter().all(|fragment| fragment.session == fragments[0].session), "one session");
    assert!(fragments.iter().all(|fragment| is_near(fragment.behind(), 0)), "{fragments:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_believed_camera_gives_its_own_time_also_when_its_clock_is_set_and_no_picture_is_lost() {
    let clocks = Clocks { calendar_nanos: -6 * HOUR, ..Clocks::default() };
    let mut stage = Stage::start(clocks, Believed::Camera);
    let believed = |fragments: &[Fragment], hours| {
        let of_report = fragments.iter().filter(|fragment| fragment.start.quality == ClockQuality::SenderReport);
        of_report.filter(|fragment| is_near(fragment.behind(), hours * HOUR)).count()
    };
    stage.until(|fragments| believed(fragments, 6) >= 2).await;
    stage.camera.control(Command::SetClock { nanos: HOUR });
    let fragments = stage.until(|fragments| believed(fragments, 5) >= 2).await;
    stage.stop().await;
    let mut sessions: Vec<_> = fragments.iter().map(|fragment| fragment.session).collect();
    sessions.dedup();
    assert_eq!(sessions.len(), 3, "until the first report, until the clock was set, and since");
    assert_no_picture_is_missing_between_sessions(&fragments);
}

/// Within two seconds: the machine is busy.
fn is_near(nanos: i64, expected: i64) -> bool {
    (nanos - expected).abs() < 2_000_000_000
}

fn media(fragments: &[Fragment]) -> Duration {
    let shown = |fragment: &Fragment| fragment.pictures[0];
    fragments.last().map_or(Duration::ZERO, |last| shown(last).since(shown(&fragments[0])))
}

/// Media time goes on picture by picture. A busy machine's camera may leave one out, and its viewer is not to blame.
fn assert_no_picture_is_missing(fragments: &[Fragment]) {
    let mut pictures: Vec<MediaTime> =
        fragments.iter().flat_map(|fragment| fragment.pictures.iter().copied()).collect();
    pictures.sort_unstable();
    let holes: Vec<Duration> =
        pictures.windows(2).map(|pair| pair[1].since(pair[0])).filter(|step| is_hole(*step)).collect();
    assert!(holes.len() <= 2 && holes.iter().sum::<Duration>() < Duration::from_millis(500), "{holes:?}");
}

/// Media time goes on from session to session.
fn assert_no_picture_is_missing_between_sessions(fragments: &[Fragment]) {
    for pair in fragments.windows(2).filter(|pair| pair[0].session != pair[1].session) {
        let (last, first) = (pair[0].pictures[pair[0].pictures.len() - 1], pair[1].pictures[0]);
        assert!(!is_hole(first.since(last)), "{last:?} and {first:?}");
    }
}

/// Where the clip begins again, its sound is a little longer than its picture.
fn is_hole(step: Duration) -> bool {
    step > PICTURE * 2 - Duration::from_millis(5)
}

/// A recorded fragment.
#[derive(Clone, Debug)]
struct Fragment {
    session: SessionId,
    start: Start,
    duration: Duration,
    pictures: Vec<MediaTime>,
    /// By this machine's clock, when it was found whole.
    found: WallTime,
}

impl Fragment {
    /// How far its end lies behind the time when it was found.
    fn behind(&self) -> i64 {
        self.found.as_nanos() - (self.start.wall + self.duration).as_nanos()
    }
}

/// A camera and its recording.
struct Stage {
    camera: rtsp::Camera,
    spool: Spool,
    /// By their place in the order of capture.
    found: BTreeMap<u64, Fragment>,
    stop: CancellationToken,
    recording: tokio::task::JoinHandle<()>,
    _state: TempDir,
}

impl Stage {
    fn start(clocks: Clocks, clock: Believed) -> Self {
        // Without B-frames, so that pictures come in the order in which they are shown.
        let settings = rtsp::Settings { clocks, ..rtsp::Settings::new(samples::clip("h264-aac.mp4")) };
        let camera = rtsp::Camera::start(&settings).unwrap();
        let state = tempfile::tempdir().unwrap();
        let spool = Spool::open(state.path(), 1 << 30).unwrap();
        let stop = CancellationToken::new();
        let (url, transport, trust) = (camera.url(), Transport::Tcp, TlsTrust::System);
        let source = Source::Rtsp { url, transport, credentials: None, latency: None, trust };
        let fragment_target = Duration::from_secs(1);
        let config = Camera { fragment_target, clock, ..Camera::new("yard".parse().unwrap(), source) };
        let recording = tokio::task::spawn_blocking({
            let (spool, stop) = (spool.clone(), stop.clone());
            let status = Arc::new(CameraStatus::new("yard"));
            move || capture::run(&config, &spool, Clock::open().unwrap(), &status, &stop)
        });
        Self { camera, spool, found: BTreeMap::new(), stop, recording, _state: state }
    }

    /// The fragments recorded to their end, once they are as wanted.
    async fn until(&mut self, wanted: impl Fn(&[Fragment]) -> bool) -> Vec<Fragment> {
        let look = async {
            loop {
                self.look();
                let fragments: Vec<_> = self.found.values().cloned().collect();
                if wanted(&fragments) {
                    return fragments;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("it is recorded as wanted")
    }

    fn look(&mut self) {
        let mut after = self.found.keys().next_back().copied();
        while let Some((ordinal, entry)) = self.spool.next(after) {
            let Some(trailer) = entry.trailer else { return };
            let mut reader = self.spool.read(&entry.key).unwrap();
            let start = reader.header().start;
            let payload = reader.read(usize::try_from(trailer.bytes).unwrap()).unwrap();
            let document = mkv::document(payload.into_iter().flatten().collect::<Vec<u8>>().into()).unwrap();
            let of_video = document.units.iter().filter(|unit| unit.track == TrackNumber::VIDEO);
            let fragment = Fragment {
                session: entry.key.id.session,
                start,
                duration: trailer.duration,
                pictures: of_video.map(|unit| unit.pts).collect(),
                found: Clock::open().unwrap().now().wall,
            };
            self.found.insert(ordinal, fragment);
            after = Some(ordinal);
        }
    }

    /// Ends the recording, which has to end.
    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.recording).await.expect("it stops").unwrap();
    }
}
