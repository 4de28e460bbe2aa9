//! One camera's part of the status: its counters, its coding, and the last trouble that it had.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fragment::{Codec, Tracks};
use serde::{Deserialize, Serialize};

use crate::reason::Reason;
use crate::recorder::Recorded;

/// One camera in `status.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CameraSnapshot {
    /// Its stream.
    pub stream: String,
    /// Whether it gives video.
    pub up: bool,
    /// Pictures in the last second.
    pub fps: f64,
    /// What its units came to in the last second.
    pub bits_per_second: u64,
    /// How the picture is coded, such as `H.264`.
    pub codec: Option<String>,
    /// Pixels in a row.
    pub width: Option<u32>,
    /// Rows.
    pub height: Option<u32>,
    /// Pictures since the agent started.
    pub pictures: u64,
    /// Units that belong to no fragment.
    pub dropped: u64,
    /// How often it failed and was started again.
    pub failures: u64,
    /// Packets that were lost on the way.
    pub packets_lost: u64,
    /// Units that are damaged or missing for it.
    pub units_damaged: u64,
    /// How often it was in trouble, by the reason; those that it went on from by itself included.
    pub troubles: BTreeMap<Reason, u64>,
    /// The last of them.
    pub last_trouble: Option<Trouble>,
}

/// What was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// In a word.
    pub reason: Reason,
    /// In words.
    pub words: String,
    /// When, by the device's clock.
    pub at: jiff::Timestamp,
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
    packets_lost: AtomicU64,
    units_damaged: AtomicU64,
    details: Mutex<Details>,
}

#[derive(Debug, Default)]
struct Details {
    codec: Option<String>,
    size: Option<(u32, u32)>,
    troubles: BTreeMap<Reason, u64>,
    last_trouble: Option<Trouble>,
}

/// The counters that rates are made of, as they were at the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    pictures: u64,
    bytes: u64,
}

impl CameraStatus {
    /// The counters of the camera of `stream`.
    pub fn new(stream: &str) -> Self {
        Self { stream: stream.to_owned(), ..Self::default() }
    }

    /// It gives video of this coding.
    pub fn up(&self, tracks: &Tracks) {
        let (codec, size) = match tracks.video().map(|track| &track.codec) {
            Some(Codec::H264(config)) => (Some("H.264"), Some((config.width(), config.height()))),
            Some(Codec::H265(config)) => (Some("H.265"), Some((config.width(), config.height()))),
            _ => (None, None),
        };
        let mut details = self.details();
        (details.codec, details.size) = (codec.map(str::to_owned), size);
        self.up.store(true, Relaxed);
    }

    /// It gives none.
    pub fn down(&self) {
        self.up.store(false, Relaxed);
    }

    /// It failed, and is started again.
    pub fn failed(&self, reason: Reason, words: &str) {
        self.failures.fetch_add(1, Relaxed);
        self.noted(reason, words);
    }

    /// Something was wrong, and it goes on.
    pub fn noted(&self, reason: Reason, words: &str) {
        let mut details = self.details();
        *details.troubles.entry(reason).or_default() += 1;
        details.last_trouble = Some(Trouble { reason, words: words.to_owned(), at: jiff::Timestamp::now() });
    }

    /// Packets were lost.
    pub fn lost(&self, packets: u64, units: u64) {
        self.packets_lost.fetch_add(packets, Relaxed);
        self.units_damaged.fetch_add(units, Relaxed);
    }

    /// A unit of this size came.
    pub fn came(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// What it has recorded so far.
    pub fn recorded(&self, recorded: Recorded) {
        self.pictures.store(recorded.pictures, Relaxed);
        self.dropped.store(recorded.dropped, Relaxed);
    }

    /// All of it, when `interval` has passed since the look that left `before`.
    pub(super) fn snapshot(&self, before: &mut Before, interval: Duration) -> CameraSnapshot {
        let (pictures, bytes) = (self.pictures.load(Relaxed), self.bytes.load(Relaxed));
        let last = std::mem::replace(before, Before { pictures, bytes });
        let since = |now: u64, last: u64| u32::try_from(now.saturating_sub(last)).unwrap_or(u32::MAX);
        let seconds = interval.as_secs_f64().max(0.001);
        let millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
        let details = self.details();
        CameraSnapshot {
            stream: self.stream.clone(),
            up: self.up.load(Relaxed),
            fps: (f64::from(since(pictures, last.pictures)) / seconds).round(),
            bits_per_second: u64::from(since(bytes, last.bytes)) * 8_000 / millis,
            codec: details.codec.clone(),
            width: details.size.map(|(width, _)| width),
            height: details.size.map(|(_, height)| height),
            pictures,
            dropped: self.dropped.load(Relaxed),
            failures: self.failures.load(Relaxed),
            packets_lost: self.packets_lost.load(Relaxed),
            units_damaged: self.units_damaged.load(Relaxed),
            troubles: details.troubles.clone(),
            last_trouble: details.last_trouble.clone(),
        }
    }

    /// How often it was in trouble for each reason.
    pub fn troubles(&self) -> BTreeMap<Reason, u64> {
        self.details().troubles.clone()
    }

    /// The last trouble that it had.
    pub fn last_trouble(&self) -> Option<Trouble> {
        self.details().last_trouble.clone()
    }

    /// Packets that were lost on the way.
    pub fn packets_lost(&self) -> u64 {
        self.packets_lost.load(Relaxed)
    }

    fn details(&self) -> MutexGuard<'_, Details> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
