//! What the agent is doing, in numbers: `status.json` in the state folder, and one line on a terminal.
//!
//! Replaced each second by rename, without a sync: it is for a look, and is made anew at each start.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fragment::{AccessUnit, Track, Tracks};
use serde::{Deserialize, Serialize};
use spool::{Counters, Spool};
use tokio_util::sync::CancellationToken;

use crate::recorder::Recorded;
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
    /// Pictures since the agent, a command or a new configuration started the camera.
    pub pictures: u64,
    /// Bytes of pictures and sound since then.
    pub bytes: u64,
    /// Units that belong to no fragment.
    pub dropped: u64,
    /// How often it failed and was started again.
    pub failures: u64,
    /// Why it failed last.
    pub last_failure: Option<String>,
}

/// The newest picture of a camera that can be decoded alone.
#[derive(Clone, Debug)]
pub struct KeyFrame {
    /// How it is coded.
    pub track: Track,
    /// The picture.
    pub unit: AccessUnit,
}

/// The counters of one camera, written by its thread.
#[derive(Debug, Default)]
pub struct CameraStatus {
    stream: String,
    up: AtomicBool,
    pictures: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
    last_failure: Mutex<Option<String>>,
    /// How the pictures are coded, and the newest that stands alone.
    picture: Mutex<(Option<Track>, Option<KeyFrame>)>,
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
    cameras: Arc<Mutex<Vec<Arc<CameraStatus>>>>,
    latest: Arc<Mutex<Snapshot>>,
    connection: Arc<Mutex<Connection>>,
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
        self.up.store(true, Relaxed);
    }

    /// It gives none.
    pub fn down(&self) {
        self.up.store(false, Relaxed);
        *self.picture() = (None, None);
    }

    /// It failed.
    pub fn failed(&self, why: &str) {
        self.failures.fetch_add(1, Relaxed);
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }

    /// It gives units of these tracks from now on.
    pub fn tracks(&self, tracks: &Tracks) {
        *self.picture() = (tracks.video().cloned(), None);
        self.up();
    }

    /// It gave a unit.
    pub fn unit(&self, unit: &AccessUnit) {
        self.bytes.fetch_add(unit.data.len() as u64, Relaxed);
        if !unit.key {
            return;
        }
        let mut picture = self.picture();
        if let Some(track) = picture.0.clone().filter(|track| track.number == unit.track) {
            picture.1 = Some(KeyFrame { track, unit: unit.clone() });
        }
    }

    /// The newest picture that stands alone, while it gives any.
    pub fn key_frame(&self) -> Option<KeyFrame> {
        self.picture().1.clone()
    }

    /// The stream that it feeds.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    fn picture(&self) -> MutexGuard<'_, (Option<Track>, Option<KeyFrame>)> {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it has recorded so far.
    pub fn recorded(&self, recorded: Recorded) {
        self.pictures.store(recorded.pictures, Relaxed);
        self.dropped.store(recorded.dropped, Relaxed);
    }
}

impl Status {
    /// Counters that are to be written to `status.json` in the folder `state`.
    pub fn new(state: &std::path::Path, spool: Spool) -> Self {
        let path = state.join("status.json");
        Self { cameras: Arc::default(), latest: Arc::default(), connection: Arc::default(), spool, path }
    }

    /// From now on these are the cameras.
    pub fn watch(&self, cameras: Vec<Arc<CameraStatus>>) {
        *self.cameras.lock().unwrap_or_else(PoisonError::into_inner) = cameras;
    }

    /// What was written last.
    pub fn latest(&self) -> Snapshot {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

    /// Writes until `stop`, and once more.
    pub async fn run(self, stop: CancellationToken) {
        let on_terminal = std::io::stderr().is_terminal();
        let mut before = HashMap::new();
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => {}
            }
            let snapshot = self.snapshot(&mut before);
            *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = snapshot.clone();
            if let Err(error) = self.write(&snapshot) {
                tracing::debug!(%error, "status.json can't be written");
            }
            if on_terminal {
                let _ = write!(std::io::stderr(), "\r\x1b[K{}", snapshot.line());
            }
            if stop.is_cancelled() {
                return;
            }
        }
    }

    fn snapshot(&self, before: &mut HashMap<String, u64>) -> Snapshot {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = self.cameras.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let earlier = std::mem::take(before);
        let cameras = watched.iter().map(|camera| {
            let pictures = camera.pictures.load(Relaxed);
            // One that was started again counts anew.
            let since = pictures.saturating_sub(earlier.get(&camera.stream).copied().unwrap_or(0));
            before.insert(camera.stream.clone(), pictures);
            CameraSnapshot {
                stream: camera.stream.clone(),
                up: camera.up.load(Relaxed),
                #[expect(clippy::cast_precision_loss, reason = "pictures of one second are few")]
                fps: since as f64 / INTERVAL.as_secs_f64(),
                pictures,
                bytes: camera.bytes.load(Relaxed),
                dropped: camera.dropped.load(Relaxed),
                failures: camera.failures.load(Relaxed),
                last_failure: camera.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
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
