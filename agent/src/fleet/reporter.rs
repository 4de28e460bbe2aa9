//! Makes a status for the server out of what the agent knows, with rates since the last one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spool::{Entry, Spool};
use upload::FragmentKey;
use upload::fleet::{CameraReport, ClockReport, SpoolReport, Status};

use super::machine;
use crate::clock::{Clock, Instant};
use crate::status::{CameraSnapshot, Snapshot};
use crate::wanted;

/// What the last status said, for the rates of the next.
#[derive(Debug)]
pub struct Reporter {
    spool: Spool,
    bytes_max: u64,
    clock: Clock,
    folder: PathBuf,
    before: HashMap<String, (u64, u64)>,
    at: Option<Duration>,
    oldest: Option<(FragmentKey, i64)>,
}

impl Reporter {
    /// For this spool in this state folder.
    pub fn new(spool: Spool, bytes_max: u64, clock: Clock, folder: &Path) -> Self {
        Self { spool, bytes_max, clock, folder: folder.to_owned(), before: HashMap::new(), at: None, oldest: None }
    }

    /// How the device is now; `oldest` waits for the server. Blocks for a few reads of small files.
    pub fn status(&mut self, snapshot: &Snapshot, oldest: Option<Entry>) -> Status {
        let now = self.clock.now();
        let since_boot = now.monotonic.since_boot;
        let passed = self.at.replace(since_boot).map(|at| since_boot.saturating_sub(at));
        let cameras = rates(&mut self.before, &snapshot.cameras, passed);
        let (counters, waiting, held) = (snapshot.spool, snapshot.waiting(), snapshot.held);
        let ranges_wanted = wanted::list(&self.folder).map_or(0, |ranges| ranges.len());
        Status {
            cameras_total: u32::try_from(cameras.len()).unwrap_or(u32::MAX),
            cameras_up: u32::try_from(cameras.iter().filter(|camera| camera.up).count()).unwrap_or(u32::MAX),
            cameras,
            spool: SpoolReport {
                bytes: waiting.bytes,
                fragments: waiting.fragments,
                oldest_unsent_ns: oldest.and_then(|oldest| self.captured(oldest, now)),
                dropped: counters.dropped,
                lost: counters.lost,
                bytes_max: self.bytes_max,
                rejected: counters.rejected,
                held_bytes: held.bytes,
                held_fragments: held.fragments,
                kept_bytes: counters.kept_bytes,
                kept_fragments: counters.kept,
                stopped: counters.stopped,
                ranges_wanted: u32::try_from(ranges_wanted).unwrap_or(u32::MAX),
            },
            clock: ClockReport { device_time_ns: now.wall.as_nanos(), quality: now.quality.to_string() },
            machine: machine::read(Path::new("/"), &self.folder),
        }
        .fitted()
    }

    /// When the oldest fragment was captured, by the clock that the status gives: its header is read once.
    fn captured(&mut self, entry: Entry, now: Instant) -> Option<i64> {
        if let Some((_, at)) = self.oldest.as_ref().filter(|(key, _)| *key == entry.key) {
            return Some(*at);
        }
        let start = self.spool.read(&entry.key).ok()?.header().start;
        let age = start.monotonic.and_then(|at| now.monotonic.since(at));
        let at = age.map_or(start.wall, |age| now.wall - age).as_nanos();
        self.oldest = Some((entry.key, at));
        Some(at)
    }
}

/// The cameras' reports; their rates are those since the last time, and 0 the first time.
fn rates(
    before: &mut HashMap<String, (u64, u64)>,
    cameras: &[CameraSnapshot],
    passed: Option<Duration>,
) -> Vec<CameraReport> {
    let earlier = std::mem::take(before);
    let millis = passed.map_or(0, |passed| passed.as_millis()).max(1);
    let per_second = |now: u64, then: u64, scale: u128| {
        let gained = u128::from(now.saturating_sub(then));
        u64::try_from(gained * scale * 1000 / millis).unwrap_or(u64::MAX)
    };
    let report = |camera: &CameraSnapshot| {
        let now = (camera.pictures, camera.bytes);
        let then = earlier.get(&camera.stream).copied().filter(|_| passed.is_some()).unwrap_or(now);
        before.insert(camera.stream.clone(), now);
        CameraReport {
            stream: camera.stream.clone(),
            up: camera.up,
            milli_fps: u32::try_from(per_second(now.0, then.0, 1000)).unwrap_or(u32::MAX),
            bits_per_second: per_second(now.1, then.1, 8),
            failures: camera.failures,
            last_failure: camera
                .last_trouble
                .as_ref()
                .map(|last| format!("{}: {}", last.reason, last.words))
                .unwrap_or_default(),
            pictures: camera.pictures,
        }
    };
    cameras.iter().map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_since_the_last_status() {
        let mut before = HashMap::new();
        rates(&mut before, &[camera("a", 100, 1000)], None);
        let five = Some(Duration::from_secs(5));
        let told = rates(&mut before, &[camera("a", 225, 626_000), camera("b", 50, 1)], five);
        assert_eq!((told[0].milli_fps, told[0].bits_per_second), (25_000, 1_000_000));
        assert_eq!(told[1].milli_fps, 0, "b has only just been seen");
        let told = rates(&mut before, &[camera("a", 3, 3)], five);
        assert_eq!(told[0].milli_fps, 0, "it was started again and counts anew");
        assert_eq!(before.len(), 1, "cameras that are gone are forgotten");
    }

    fn camera(stream: &str, pictures: u64, bytes: u64) -> CameraSnapshot {
        CameraSnapshot { stream: stream.to_owned(), pictures, bytes, ..CameraSnapshot::default() }
    }
}
