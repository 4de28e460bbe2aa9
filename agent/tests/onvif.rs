//! A camera that is asked by ONVIF where it streams: why it does not say, and an end of the agent meanwhile.

#![cfg(feature = "capture")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use agent::capture;
use agent::clock::Clock;
use agent::config::{Camera, Secret, Source, TlsTrust, Transport};
use agent::reason::Reason;
use agent::status::CameraStatus;
use onvif::Wanted;
use onvif::address::Place;
use samples::onvif::{Device, Settings};
use spool::Spool;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than a look-up may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn why_a_camera_does_not_say_where_it_streams_has_the_reason_that_rtsp_would_have() {
    let guarded = Settings { credentials: Some(("me".to_owned(), "secret".to_owned())), ..Settings::default() };
    let (guarded, open) = (Device::start(guarded).unwrap(), Device::start(Settings::default()).unwrap());
    for (address, reason) in [
        (guarded.address(), Reason::Unauthorized),
        (open.address(), Reason::NotFound),
        (SocketAddr::from(([127, 0, 0, 1], 1)), Reason::Refused),
    ] {
        let asking = Asking::begin(address);
        let found = async {
            while asking.status.last_trouble().is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap();
        let trouble = asking.status.last_trouble().unwrap();
        assert_eq!(trouble.reason, reason, "{trouble:?}");
        asking.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_of_the_agent_does_not_wait_for_a_camera_that_does_not_answer() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let asking = Asking::begin(mute.local_addr().unwrap());
    let question = tokio::task::spawn_blocking(move || mute.accept().unwrap());
    let _held = tokio::time::timeout(PATIENCE, question).await.unwrap().unwrap();
    let status = asking.end().await;
    // Whoever waits until the look-up gives up knows why it did.
    assert_eq!(status.troubles(), BTreeMap::new());
}

/// The recording of a camera that is asked for its stream.
struct Asking {
    status: Arc<CameraStatus>,
    stop: CancellationToken,
    recording: JoinHandle<()>,
    _state: TempDir,
}

impl Asking {
    fn begin(address: SocketAddr) -> Self {
        let source = Source::Onvif {
            place: Place::parse(&address.to_string()).unwrap(),
            profile: Wanted::parse("main").unwrap(),
            transport: Transport::Tcp,
            credentials: Some(("me".to_owned(), Secret("wrong".to_owned()))),
            latency: None,
            trust: TlsTrust::System,
        };
        let camera = Camera::new("yard".parse().unwrap(), source);
        let state = tempfile::tempdir().unwrap();
        let spool = Spool::open(state.path(), 1 << 30).unwrap();
        let (status, stop) = (Arc::new(CameraStatus::new("yard")), CancellationToken::new());
        let (told, stopping) = (status.clone(), stop.clone());
        let recording = tokio::task::spawn_blocking(move || {
            capture::run(&camera, &spool, Clock::open().unwrap(), &told, &stopping);
        });
        Self { status, stop, recording, _state: state }
    }

    async fn end(self) -> Arc<CameraStatus> {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.recording).await.expect("it ends").unwrap();
        self.status
    }
}
