//! What the agent is doing, in numbers: `status.json` in the state folder, and one line on a terminal.
//!
//! Replaced each second by rename, without a sync: it is for a look, and is made anew at each start.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use spool::{Amount, Counters, Entry, Spool};
use tokio_util::sync::CancellationToken;

use crate::config::LeftOut;
use crate::plan::Rules;
use crate::reason::Reason;
use crate::service::{Pulse, Report};
use crate::uplink::Notice;

mod camera;

use camera::Before;
pub use camera::{CameraSnapshot, CameraStatus, ClockSnapshot, KeyFrame, Trouble};

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
    /// What is wrong with this device's clock, and what to do.
    #[serde(default)]
    pub clock_problem: Option<String>,
    /// The spool.
    pub spool: Counters,
    /// What of it is held: recordings of cameras that only record, which wait for their hours or until somebody asks for
    /// them. What else the server does not have waits for the server.
    #[serde(default)]
    pub held: Amount,
    /// Each camera.
    pub cameras: Vec<CameraSnapshot>,
}

/// The state of the connection, written by the uplink.
#[derive(Debug, Default)]
struct Connection {
    device: Option<String>,
    why_not: Option<String>,
    clock_problem: Option<String>,
}

/// All counters.
#[derive(Clone, Debug)]
pub struct Status {
    cameras: Arc<Mutex<Vec<Arc<CameraStatus>>>>,
    /// Those that did not end when they were told to: what they write may not be at its end.
    left: Arc<Mutex<Vec<Arc<CameraStatus>>>>,
    /// Those that the configuration has and that can't be recorded for a file that is missing.
    left_out: Arc<Mutex<Vec<Arc<CameraStatus>>>>,
    latest: Arc<Mutex<Snapshot>>,
    connection: Arc<Mutex<Connection>>,
    uplink: Arc<Pulse>,
    /// Which streams only record.
    rules: Arc<Mutex<Rules>>,
    spool: Spool,
    path: PathBuf,
}

impl Status {
    /// Counters that are to be written to `status.json` in the folder `state`.
    pub fn new(state: &std::path::Path, spool: Spool) -> Self {
        let (cameras, left, left_out, latest, connection, uplink, rules) = Default::default();
        Self { cameras, left, left_out, latest, connection, uplink, rules, spool, path: state.join("status.json") }
    }

    /// From now on these rules say which streams are held.
    pub fn go_by(&self, rules: Rules) {
        *self.rules() = rules;
    }

    /// The oldest fragment that waits for the server.
    pub fn oldest_waiting(&self) -> Option<Entry> {
        let rules = self.rules();
        self.spool.oldest_of(|stream| rules.is_live(stream))
    }

    /// From now on these are the cameras.
    pub fn watch(&self, cameras: Vec<Arc<CameraStatus>>) {
        *self.cameras.lock().unwrap_or_else(PoisonError::into_inner) = cameras;
    }

    /// From now on these cameras are left out.
    pub fn leave_out<'a>(&self, cameras: impl Iterator<Item = &'a LeftOut>) {
        let left_out = cameras.map(|camera| {
            let status = CameraStatus::new(camera.stream.as_str());
            status.noted(Reason::FileMissing, &camera.why);
            Arc::new(status)
        });
        *self.left_out.lock().unwrap_or_else(PoisonError::into_inner) = left_out.collect();
    }

    /// This camera was told to end, and is not waited for any more.
    pub fn leave(&self, camera: Arc<CameraStatus>) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).push(camera);
    }

    /// What the uplink moves while it works.
    pub fn uplink_pulse(&self) -> Arc<Pulse> {
        self.uplink.clone()
    }

    /// What hangs, if something does.
    fn hangs(&self, now: Instant) -> Option<String> {
        let cameras = self.cameras.lock().unwrap_or_else(PoisonError::into_inner);
        let mut parts =
            cameras.iter().map(|camera| (camera.stream(), camera.pulse())).chain([("uplink", &*self.uplink)]);
        if let Some((part, _)) = parts.find(|(_, pulse)| pulse.stands_still(now)) {
            return Some(part.to_owned());
        }
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|camera| !camera.is_over());
        let hanging = cameras.iter().chain(left.iter()).find(|camera| camera.scribe_hangs(now))?;
        Some(format!("writing {} to the disk", hanging.stream()))
    }

    /// The uplink tells.
    pub fn note(&self, notice: &Notice) {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        match notice {
            Notice::Connected { device } => {
                (connection.device, connection.why_not) = (Some(device.clone()), None);
            }
            Notice::Disconnected { why, .. } => {
                (connection.device, connection.why_not) = (None, Some(why.clone()));
            }
            Notice::Clock { problem } => connection.clock_problem.clone_from(problem),
            _ => {}
        }
    }

    /// What was written last.
    pub fn latest(&self) -> Snapshot {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes until `stop`, and once more; tells the service manager too.
    pub async fn run(self, stop: CancellationToken) {
        let on_terminal = std::io::stderr().is_terminal();
        let mut report = Report::default();
        let mut before = HashMap::new();
        let mut looked = Instant::now();
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => {}
            }
            let snapshot = self.snapshot(&mut before, looked.elapsed());
            looked = Instant::now();
            self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&snapshot);
            if let Err(error) = self.write(&snapshot) {
                tracing::debug!(%error, "status.json can't be written");
            }
            if on_terminal {
                let _ = write!(std::io::stderr(), "\r\x1b[K{}", snapshot.line());
            }
            let now = Instant::now();
            report.tell(now, &snapshot.line(), self.hangs(now).as_deref());
            if stop.is_cancelled() {
                return;
            }
        }
    }

    fn snapshot(&self, before: &mut HashMap<String, Before>, interval: Duration) -> Snapshot {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = self.cameras.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut earlier = std::mem::take(before);
        let cameras = watched.iter().chain(&left_out).map(|camera| {
            let mut last = earlier.remove(camera.stream()).unwrap_or_default();
            let snapshot = camera.snapshot(&mut last, interval);
            before.insert(camera.stream().to_owned(), last);
            snapshot
        });
        Snapshot {
            connected: connection.device.is_some(),
            device: connection.device.clone(),
            disconnected_because: connection.why_not.clone(),
            clock_problem: connection.clock_problem.clone(),
            cameras: cameras.collect(),
            spool: self.spool.counters(),
            held: {
                let rules = self.rules();
                self.spool.amount_of(|stream| !rules.is_live(stream))
            },
        }
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, snapshot: &Snapshot) -> std::io::Result<()> {
        let beside = self.path.with_extension("json.new");
        std::fs::write(&beside, serde_json::to_vec_pretty(snapshot)?)?;
        std::fs::rename(&beside, &self.path)
    }
}

impl Snapshot {
    /// What waits for the server.
    pub fn waiting(&self) -> Amount {
        Amount {
            fragments: self.spool.fragments.saturating_sub(self.held.fragments),
            bytes: self.spool.bytes.saturating_sub(self.held.bytes),
        }
    }

    /// All that matters, in one line.
    pub fn line(&self) -> String {
        let up = self.cameras.iter().filter(|camera| camera.up).count();
        let fps: f64 = self.cameras.iter().map(|camera| camera.fps).sum();
        let Counters { kept, kept_bytes, spooled, persisted, dropped, lost, .. } = self.spool;
        let Amount { fragments, bytes } = self.waiting();
        let link = if self.connected { "connected" } else { "offline" };
        let mut line = format!(
            "{link} · cameras {up}/{} · {fps:.0} fps · captured {spooled} · persisted {persisted} · in the spool {fragments} ({:.1} MB)",
            self.cameras.len(),
            megabytes(bytes),
        );
        for (what, fragments, bytes) in [("held", self.held.fragments, self.held.bytes), ("kept", kept, kept_bytes)] {
            if fragments > 0 {
                line += &format!(" · {what} {fragments} ({:.1} MB)", megabytes(bytes));
            }
        }
        if self.spool.stopped {
            line += " · FULL: recording stopped";
        }
        if dropped + lost > 0 {
            line += &format!(" · dropped {dropped} · lost {lost}");
        }
        line
    }
}

fn megabytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) / 1024.0
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};
    use spool::Start;
    use upload::FragmentKey;

    use super::*;
    use crate::config::Local;
    use crate::hours::Hours;
    use crate::limits;

    #[test]
    fn what_a_camera_only_records_is_held_and_waits_for_no_server() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), limits::SPOOL_BYTES_MIN).unwrap();
        let status = Status::new(folder.path(), spool.clone());
        record(&spool, "yard", 0);
        record(&spool, "yard", 1);
        record(&spool, "door", 0);
        let mut rules = Rules::default();
        rules.set("yard".parse().unwrap(), Some(Hours::never()));
        status.go_by(rules);
        let snapshot = status.snapshot(&mut HashMap::new(), Duration::ZERO);
        assert_eq!((snapshot.held.fragments, snapshot.waiting().fragments), (2, 1));
        assert_eq!(snapshot.held.bytes + snapshot.waiting().bytes, spool.counters().bytes);
        assert!(snapshot.line().contains("in the spool 1 (0.0 MB) · held 2 (0.0 MB)"), "{}", snapshot.line());
        assert_eq!(status.oldest_waiting().unwrap().key.stream.as_str(), "door");

        // Another configuration is in force: all of it is to be sent.
        status.go_by(Rules::default());
        assert_eq!(status.snapshot(&mut HashMap::new(), Duration::ZERO).held, Amount::default());
        assert_eq!(status.oldest_waiting().unwrap().key.stream.as_str(), "yard");
    }

    #[test]
    fn a_camera_or_an_uplink_that_stands_still_is_what_hangs() {
        let (folder, now) = (tempfile::tempdir().unwrap(), Instant::now());
        let later = now + 2 * limits::PULSE_MAX;
        let (garden, film) = (Arc::new(CameraStatus::new("garden")), Arc::new(CameraStatus::new("film")));
        let spool = Spool::open(folder.path(), limits::SPOOL_BYTES_MIN).unwrap();
        let status = Status::new(folder.path(), spool);
        status.watch(vec![garden.clone(), film.clone()]);
        assert_eq!(status.hangs(now).as_deref(), None);
        assert_eq!(status.hangs(later).as_deref(), Some("garden"));

        garden.pulse().beat(later);
        assert_eq!(status.hangs(later).as_deref(), Some("film"));
        film.over();
        assert_eq!(status.hangs(later).as_deref(), Some("uplink"));
        status.uplink_pulse().beat(later);
        assert_eq!(status.hangs(later).as_deref(), None);
    }

    #[test]
    fn a_thread_that_does_not_get_a_fragment_to_the_disk_is_what_hangs_also_when_its_camera_was_left() {
        let (folder, now) = (tempfile::tempdir().unwrap(), Instant::now());
        let later = now + 2 * limits::PULSE_MAX;
        let spool = Spool::open(folder.path(), limits::SPOOL_BYTES_MIN).unwrap();
        let status = Status::new(folder.path(), spool);
        let (garden, scribe) = (Arc::new(CameraStatus::new("garden")), Arc::new(Pulse::at_rest()));
        garden.written_by(scribe.clone());
        status.watch(vec![garden.clone()]);
        for pulse in [garden.pulse(), &status.uplink_pulse()] {
            pulse.beat(later);
        }
        assert_eq!(status.hangs(later), None, "it has nothing to write");
        scribe.beat(now);
        assert_eq!(status.hangs(later).as_deref(), Some("writing garden to the disk"));
        status.watch(Vec::new());
        assert_eq!(status.hangs(later), None);
        status.leave(garden.clone());
        assert_eq!(status.hangs(later).as_deref(), Some("writing garden to the disk"));
        scribe.rest();
        assert_eq!(status.hangs(later), None);
        // Once it has ended after all nobody remembers it.
        assert_eq!(Arc::strong_count(&garden), 2);
        garden.over();
        assert_eq!((status.hangs(later), Arc::strong_count(&garden)), (None, 1));
    }

    #[test]
    fn a_camera_that_is_left_out_is_one_that_gives_nothing_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let text = "server.address = \"s:1\"\n[[camera]]\nstream = \"front\"\nurl = \"rtsp://camera/1\"\nuser = \"me\"\n\
                    password_file = \"front.pass\"\n";
        let local = Local::parse_what_can_be_read(text, folder.path()).unwrap();
        let status = Status::new(folder.path(), Spool::open(folder.path(), limits::SPOOL_BYTES_MIN).unwrap());
        status.leave_out(local.missing().left_out().iter());
        let snapshot = status.snapshot(&mut HashMap::new(), Duration::ZERO);
        let [camera] = &snapshot.cameras[..] else { panic!("{snapshot:?}") };
        assert_eq!((camera.stream.as_str(), camera.up), ("front", false));
        let trouble = camera.last_trouble.as_ref().unwrap();
        assert!(
            trouble.reason == Reason::FileMissing && trouble.words.contains("front.pass can't be read"),
            "{trouble:?}"
        );
        assert_eq!(status.hangs(Instant::now()), None);
        status.leave_out(std::iter::empty());
        assert!(status.snapshot(&mut HashMap::new(), Duration::ZERO).cameras.is_empty());
    }

    fn record(spool: &Spool, stream: &str, sequence: u32) {
        let id = FragmentId { session: SessionId(7), sequence: Sequence(sequence) };
        let start = Start { monotonic: None, wall: WallTime::from_millis(1), quality: ClockQuality::Given };
        let key = FragmentKey { stream: stream.parse().unwrap(), id };
        let mut writer = spool.create(key, start, Bytes::from_static(b"</fragment>")).unwrap();
        writer.append(Duration::ZERO, &[Bytes::from_static(b"media")]).unwrap();
        writer.finish(Duration::from_secs(1)).unwrap();
    }
}
