//! `millrace-agent run`: all cameras and the uplink, until a signal.
//!
//! Order of stopping: cameras first, so that their last fragments are ended and synced; then the uplink.
//! What is not persisted by then stays in the spool for the next start.

use std::sync::Arc;

use spool::Spool;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::destination::Destination;
use crate::enrol::{self, EnrolError};
use crate::limits;
use crate::state::{self, StateFolder};
use crate::status::{CameraStatus, Status};
use crate::uplink::Notice;

/// Why the agent can't run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The state folder can't be used.
    #[error(transparent)]
    State(#[from] state::OpenError),
    /// The spool can't be opened.
    #[error("the spool can't be opened: {0}")]
    Spool(std::io::Error),
    /// The device's clocks can't be read.
    #[error("the device's clocks can't be read: {0}")]
    Clock(std::io::Error),
    /// Signals can't be awaited.
    #[error("signals can't be awaited: {0}")]
    Signal(std::io::Error),
    /// The device can't become or stay known to its server.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// There is nothing to do.
    #[error(
        "the configuration has no camera: add one, as in\n\n  [[camera]]\n  stream = \"front\"\n  url = \"rtsp://192.168.1.20/stream1\"\n"
    )]
    NoCamera,
}

/// Captures and uploads until SIGTERM or SIGINT.
pub async fn run(config: Config) -> Result<(), RunError> {
    if config.cameras.is_empty() {
        return Err(RunError::NoCamera);
    }
    let folder = StateFolder::open(&config.state)?;
    // Anything else that is wrong here may be mended while the cameras are recorded.
    if config.aws.is_none()
        && let Err(error @ EnrolError::NoToken) = enrol::standing(folder.path(), config.server.token.as_ref())
    {
        return Err(error.into());
    }
    let clock = Clock::open().map_err(RunError::Clock)?;
    let spool = Spool::open(folder.path(), config.spool_bytes_max).map_err(RunError::Spool)?;
    let mut signals = Signals::new().map_err(RunError::Signal)?;
    let cameras: Vec<_> =
        config.cameras.iter().map(|camera| Arc::new(CameraStatus::new(camera.stream.as_str()))).collect();
    let status = Status::new(folder.path(), spool.clone(), cameras.clone());
    let (stop_capture, stop_rest) = (CancellationToken::new(), CancellationToken::new());

    let destination = {
        let status = status.clone();
        let observer = Arc::new(move |notice: &Notice| status.note(notice));
        Destination::new(&config, folder.path(), spool.clone(), clock, observer)
    };

    let mut capture = JoinSet::new();
    for (camera, status) in config.cameras.into_iter().zip(cameras) {
        start_camera(&mut capture, camera, spool.clone(), clock, status, stop_capture.clone());
    }
    let mut rest = JoinSet::new();
    rest.spawn(status.run(stop_rest.clone()));
    rest.spawn(keep_uploading(destination, stop_rest.clone()));

    let name = signals.recv().await;
    tracing::info!(signal = name, "stopping");
    stop_capture.cancel();
    while capture.join_next().await.is_some() {}
    stop_rest.cancel();
    while rest.join_next().await.is_some() {}
    let counters = spool.counters();
    tracing::info!(
        captured = counters.spooled,
        persisted = counters.persisted,
        waiting = counters.fragments,
        "stopped"
    );
    Ok(())
}

/// A refused token or a damaged certificate needs a person; until then, capture is what matters.
async fn keep_uploading(destination: Destination, stop: CancellationToken) {
    while let Err(error) = destination.run(stop.clone()).await {
        tracing::error!(%error, "uploads are not possible; what is captured waits in the spool");
        destination.tell(&Notice::Disconnected { why: error.to_string(), pause: limits::PAUSE_MAX });
        tokio::select! {
            () = tokio::time::sleep(limits::PAUSE_MAX) => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(feature = "capture")]
fn start_camera(
    capture: &mut JoinSet<()>,
    camera: crate::config::Camera,
    spool: Spool,
    clock: Clock,
    status: Arc<CameraStatus>,
    stop: CancellationToken,
) {
    capture.spawn_blocking(move || crate::capture::run(&camera, &spool, clock, &status, &stop));
}

#[cfg(not(feature = "capture"))]
#[expect(clippy::needless_pass_by_value, reason = "the same signature as with the feature")]
fn start_camera(
    _: &mut JoinSet<()>,
    camera: crate::config::Camera,
    _: Spool,
    _: Clock,
    _: Arc<CameraStatus>,
    _: CancellationToken,
) {
    tracing::error!(stream = %camera.stream, "this agent was built without capture; it only uploads its spool");
}

/// The signals that ask for an end.
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one, and names it.
    pub async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
