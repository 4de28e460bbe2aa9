//! The cameras that run, each in a thread of its own, and how one set of them becomes another.

use std::collections::BTreeMap;
use std::sync::Arc;

use fragment::StreamName;
use spool::Spool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Camera;
use crate::fleet::plan::{Plan, plan};
use crate::limits;
use crate::status::{CameraStatus, Status};

/// The cameras that run.
pub struct Cameras {
    running: BTreeMap<StreamName, Running>,
    spool: Spool,
    clock: Clock,
    status: Status,
}

struct Running {
    camera: Camera,
    status: Arc<CameraStatus>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Cameras {
    /// None yet.
    pub fn new(spool: Spool, clock: Clock, status: Status) -> Self {
        Self { running: BTreeMap::new(), spool, clock, status }
    }

    /// Has these cameras run, and no others. Those that run as wanted are not touched.
    pub async fn become_like(&mut self, wanted: &[Camera]) {
        let Plan { stop, start } = plan(&self.running.values().map(|running| &running.camera), wanted);
        self.stop(&stop).await;
        for camera in start {
            self.start(camera);
        }
        self.show();
    }

    /// Closes a camera and opens it again. `false`: there is none of this stream.
    pub async fn restart(&mut self, stream: &str) -> bool {
        let Some((stream, running)) = self.running.iter().find(|(name, _)| name.as_str() == stream) else {
            return false;
        };
        let (stream, camera) = (stream.clone(), running.camera.clone());
        self.stop(&[stream]).await;
        self.start(camera);
        self.show();
        true
    }

    /// The counters of the camera that feeds this stream.
    pub fn status(&self, stream: &str) -> Option<Arc<CameraStatus>> {
        self.running.values().map(|running| &running.status).find(|status| status.stream() == stream).cloned()
    }

    /// The streams that they feed.
    pub fn streams(&self) -> Vec<&str> {
        self.running.keys().map(StreamName::as_str).collect()
    }

    /// Stops all of them: their last fragments are ended and on disk when this is done.
    pub async fn stop_all(&mut self) {
        let all: Vec<_> = self.running.keys().cloned().collect();
        self.stop(&all).await;
    }

    async fn stop(&mut self, streams: &[StreamName]) {
        let stopped: Vec<_> = streams.iter().filter_map(|stream| self.running.remove_entry(stream)).collect();
        // All are told before the first is waited for.
        stopped.iter().for_each(|(_, running)| running.stop.cancel());
        for (stream, running) in stopped {
            if tokio::time::timeout(limits::CAMERA_STOP_MAX, running.task).await.is_err() {
                tracing::warn!(%stream, "the camera does not end in time; it is left to itself");
                self.status.leave(running.status);
            }
        }
    }

    fn start(&mut self, camera: Camera) {
        let (status, stop) = (Arc::new(CameraStatus::new(camera.stream.as_str())), CancellationToken::new());
        let task = start_camera(camera.clone(), self.spool.clone(), self.clock, status.clone(), stop.clone());
        self.running.insert(camera.stream.clone(), Running { camera, status, stop, task });
    }

    fn show(&self) {
        self.status.watch(self.running.values().map(|running| running.status.clone()).collect());
    }
}

#[cfg(feature = "capture")]
fn start_camera(
    camera: Camera,
    spool: Spool,
    clock: Clock,
    status: Arc<CameraStatus>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        crate::capture::run(&camera, &spool, clock, &status, &stop);
        status.over();
    })
}

#[cfg(not(feature = "capture"))]
#[expect(clippy::needless_pass_by_value, reason = "the same signature as with the feature")]
fn start_camera(camera: Camera, _: Spool, _: Clock, status: Arc<CameraStatus>, _: CancellationToken) -> JoinHandle<()> {
    status.over();
    tracing::error!(stream = %camera.stream, "this agent was built without capture; it only uploads its spool");
    tokio::spawn(async {})
}
