//! What the agent is doing, in numbers: `status.json` in the state folder, and one line on a terminal.
//!
//! Replaced each second by rename, without a sync: it is for a look, and is made anew at each start.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use spool::{Counters, Spool};
use tokio_util::sync::CancellationToken;

use crate::recorder::Recorded;
use crate::service::{Pulse, Report};
use crate::uplink::Notice;

/// How often it is written.
const INTERVAL: Duration = Duration::from_secs(1);

/// The content of `status.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Whether the server has answered on the present connection.
    pub connected: bool,
    /// What the server calls this device.
    pub device: Option<String>,
    /// Why there is no connection.
    pub disconnected_because: Option<String>,
    /// The spool.
    pub spool: Counters,
    /// Each camera.
    pub cameras: Vec<CameraSnapshot>,
}

/// One camera in `status.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CameraSnapshot {
    /// Its stream.
    pub stream: String,
    /// Whether it gives video.
    pub up: bool,
    /// Pictures in the last second.
    pub fps: f64,
    /// Pictures since the agent started.
    pub pictures: u64,
    /// Units that belong to no fragment.
    pub dropped: u64,
    /// How often it failed and was started again.
    pub failures: u64,
}

/// The counters of one camera, written by its thread.
#[derive(Debug, Default)]
pub struct CameraStatus {
    stream: String,
    up: AtomicBool,
    pictures: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
    /// Moved by each call of the camera's thread.
    pulse: Pulse,
}

/// The state of the connection, written by the uplink.
#[derive(Debug, Default)]
struct Connection {
    device: Option<String>,
    why_not: Option<String>,
}

/// All counters.
#[derive(Clone, Debug)]
pub struct Status {
    cameras: Vec<Arc<CameraStatus>>,
    connection: Arc<Mutex<Connection>>,
    uplink: Arc<Pulse>,
    spool: Spool,
    path: PathBuf,
}

impl CameraStatus {
    /// The counters of the camera of `stream`.
    pub fn new(stream: &str) -> Self {
        Self { stream: stream.to_owned(), ..Self::default() }
    }

    /// It gives video.
    pub fn up(&self) {
        self.pulse.beat(Instant::now());
        self.up.store(true, Relaxed);
    }

    /// It gives none.
    pub fn down(&self) {
        self.pulse.beat(Instant::now());
        self.up.store(false, Relaxed);
    }

    /// It failed.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    /// Its thread has nothing more to do.
    pub fn over(&self) {
        self.pulse.end();
    }

    /// What it has recorded so far.
    pub fn recorded(&self, recorded: Recorded) {
        self.pulse.beat(Instant::now());
        self.pictures.store(recorded.pictures, Relaxed);
        self.dropped.store(recorded.dropped, Relaxed);
    }
}

impl Status {
    /// Counters for these cameras, to be written to `status.json` in the folder `state`.
    pub fn new(state: &std::path::Path, spool: Spool, cameras: Vec<Arc<CameraStatus>>) -> Self {
        Self { cameras, connection: Arc::default(), uplink: Arc::default(), spool, path: state.join("status.json") }
    }

    /// What the uplink moves while it works.
    pub fn uplink_pulse(&self) -> Arc<Pulse> {
        self.uplink.clone()
    }

    /// What hangs, if something does.
    fn hangs(&self, now: Instant) -> Option<&str> {
        let cameras = self.cameras.iter().map(|camera| (camera.stream.as_str(), &camera.pulse));
        let mut parts = cameras.chain([("uplink", &*self.uplink)]);
        parts.find(|(_, pulse)| pulse.stands_still(now)).map(|(part, _)| part)
    }

    /// The uplink tells.
    pub fn note(&self, notice: &Notice) {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        match notice {
            Notice::Connected { device } => {
                *connection = Connection { device: Some(device.clone()), why_not: None };
            }
            Notice::Disconnected { why, .. } => {
                *connection = Connection { device: None, why_not: Some(why.clone()) };
            }
            _ => {}
        }
    }

    /// Writes until `stop`, and once more; tells the service manager too.
    pub async fn run(self, stop: CancellationToken) {
        let on_terminal = std::io::stderr().is_terminal();
        let mut report = Report::default();
        let mut before = vec![0; self.cameras.len()];
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => {}
            }
            let snapshot = self.snapshot(&mut before);
            if let Err(error) = self.write(&snapshot) {
                tracing::debug!(%error, "status.json can't be written");
            }
            if on_terminal {
                let _ = write!(std::io::stderr(), "\r\x1b[K{}", snapshot.line());
            }
            let now = Instant::now();
            report.tell(now, &snapshot.line(), self.hangs(now));
            if stop.is_cancelled() {
                return;
            }
        }
    }

    fn snapshot(&self, before: &mut [u64]) -> Snapshot {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let cameras = self.cameras.iter().zip(before).map(|(camera, before)| {
            let pictures = camera.pictures.load(Relaxed);
            let since = pictures - std::mem::replace(before, pictures);
            CameraSnapshot {
                stream: camera.stream.clone(),
                up: camera.up.load(Relaxed),
                #[expect(clippy::cast_precision_loss, reason = "pictures of one second are few")]
                fps: since as f64 / INTERVAL.as_secs_f64(),
                pictures,
                dropped: camera.dropped.load(Relaxed),
                failures: camera.failures.load(Relaxed),
            }
        });
        Snapshot {
            connected: connection.device.is_some(),
            device: connection.device.clone(),
            disconnected_because: connection.why_not.clone(),
            cameras: cameras.collect(),
            spool: self.spool.counters(),
        }
    }

    fn write(&self, snapshot: &Snapshot) -> std::io::Result<()> {
        let beside = self.path.with_extension("json.new");
        std::fs::write(&beside, serde_json::to_vec_pretty(snapshot)?)?;
        std::fs::rename(&beside, &self.path)
    }
}

impl Snapshot {
    /// All that matters, in one line.
    pub fn line(&self) -> String {
        let up = self.cameras.iter().filter(|camera| camera.up).count();
        let fps: f64 = self.cameras.iter().map(|camera| camera.fps).sum();
        let Counters { fragments, bytes, spooled, persisted, dropped, lost, .. } = self.spool;
        let link = if self.connected { "connected" } else { "offline" };
        let mut line = format!(
            "{link} · cameras {up}/{} · {fps:.0} fps · captured {spooled} · persisted {persisted} · in the spool {fragments} ({:.1} MB)",
            self.cameras.len(),
            f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) / 1024.0,
        );
        if dropped + lost > 0 {
            line += &format!(" · dropped {dropped} · lost {lost}");
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    #[test]
    fn a_camera_or_an_uplink_that_stands_still_is_what_hangs() {
        let (folder, now) = (tempfile::tempdir().unwrap(), Instant::now());
        let later = now + 2 * limits::PULSE_MAX;
        let (garden, film) = (Arc::new(CameraStatus::new("garden")), Arc::new(CameraStatus::new("film")));
        let spool = Spool::open(folder.path(), limits::SPOOL_BYTES_MIN).unwrap();
        let status = Status::new(folder.path(), spool, vec![garden.clone(), film.clone()]);
        assert_eq!(status.hangs(now), None);
        assert_eq!(status.hangs(later), Some("garden"));

        garden.pulse.beat(later);
        assert_eq!(status.hangs(later), Some("film"));
        film.over();
        assert_eq!(status.hangs(later), Some("uplink"));
        status.uplink_pulse().beat(later);
        assert_eq!(status.hangs(later), None);
    }
}
