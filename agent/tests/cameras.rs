//! A camera that misbehaves, recorded by the agent: whatever it does, the recording goes on when it is back.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agent::clock::Clock;
use agent::config::{Camera, Source, TlsTrust, Transport};
use agent::status::CameraStatus;
use agent::{capture, limits};
use fragment::SessionId;
use samples::rtsp::{self, Command};
use spool::Spool;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Longer than a camera's silence, its longest pause and its start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_drops_its_viewers_is_recorded_on() {
    recorded_on_after(Command::Drop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_starts_again_is_recorded_on() {
    recorded_on_after(Command::Restart(Duration::from_secs(2))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_freezes_is_started_again_and_recorded_on() {
    recorded_on_after(Command::Stall(limits::CAMERA_SILENCE_MAX)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_whose_time_jumps_is_recorded_on_in_a_new_session() {
    recorded_on_after(Command::Jump { nanos: 3_600_000_000_000 }).await;
}

/// Records a camera, lets it misbehave, and waits for a whole fragment of a session that began after that.
async fn recorded_on_after(command: Command) {
    let stage = Stage::start();
    let before = stage.sessions_recorded(|sessions| !sessions.is_empty()).await;
    stage.camera.control(command);
    let after = stage.sessions_recorded(|sessions| sessions.difference(&before).next().is_some()).await;
    assert!(after.is_superset(&before), "what was recorded before is still there");
    stage.stop().await;
}

/// A camera and its recording.
struct Stage {
    camera: rtsp::Camera,
    spool: Spool,
    stop: CancellationToken,
    recording: tokio::task::JoinHandle<()>,
    _state: TempDir,
}

impl Stage {
    fn start() -> Self {
        let camera = rtsp::Camera::start(&rtsp::Settings::new(samples::clip("h264-aac.mp4"))).unwrap();
        let state = tempfile::tempdir().unwrap();
        let spool = Spool::open(state.path(), 1 << 30).unwrap();
        let stop = CancellationToken::new();
        let config = Camera {
            stream: "yard".parse().unwrap(),
            source: Source::Rtsp {
                url: camera.url(),
                transport: Transport::Tcp,
                credentials: None,
                latency: None,
                trust: TlsTrust::System,
            },
            fragment_target: Duration::from_secs(1),
            frozen_picture: None,
        };
        let recording = tokio::task::spawn_blocking({
            let (spool, stop) = (spool.clone(), stop.clone());
            let status = Arc::new(CameraStatus::new("yard"));
            move || capture::run(&config, &spool, Clock::open().unwrap(), &status, &stop)
        });
        Self { camera, spool, stop, recording, _state: state }
    }

    /// The sessions of which a whole fragment is spooled, once they are as wanted.
    async fn sessions_recorded(&self, wanted: impl Fn(&BTreeSet<SessionId>) -> bool) -> BTreeSet<SessionId> {
        let look = async {
            loop {
                let sessions = self.sessions();
                if wanted(&sessions) {
                    return sessions;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("the camera is recorded")
    }

    fn sessions(&self) -> BTreeSet<SessionId> {
        let (mut sessions, mut after) = (BTreeSet::new(), None);
        while let Some((ordinal, entry)) = self.spool.next(after) {
            if entry.trailer.is_some() {
                sessions.insert(entry.key.id.session);
            }
            after = Some(ordinal);
        }
        sessions
    }

    /// Ends the recording, which has to end.
    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.recording).await.expect("it stops").unwrap();
    }
}
