//! One camera's part of the status: its counters, its coding, and the last trouble that it had.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fragment::{AccessUnit, Codec, Track, Tracks};
use serde::{Deserialize, Serialize};

use crate::reason::Reason;
use crate::recorder::Recorded;
use crate::service::Pulse;
use crate::timekeeper::Reading;

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
    /// Pictures since the agent, a command or a new configuration started the camera.
    pub pictures: u64,
    /// Bytes of pictures and sound since then.
    pub bytes: u64,
    /// Units that belong to no fragment.
    pub dropped: u64,
    /// Pictures among them that came before a key frame: the list of drops has them as `waiting-for-key-frame`.
    pub pictures_left_out: u64,
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
    /// Its time.
    pub clock: ClockSnapshot,
}

/// A camera's time in `status.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClockSnapshot {
    /// What wall time comes from at capture: `unsynchronised`, `synchronised` or `sender-report`. What was unsynchronised is
    /// mapped when it is sent.
    pub quality: String,
    /// How far fragments will be moved yet, since arrivals or reports say so, in milliseconds.
    pub correction_ms: i64,
    /// By how much the camera counts faster than this device, in millionths.
    pub drift_ppm: Option<i64>,
    /// How far the camera's own calendar is ahead of this device's, in milliseconds, where both have one.
    pub camera_ahead_ms: Option<i64>,
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
    left_out: AtomicU64,
    failures: AtomicU64,
    packets_lost: AtomicU64,
    units_damaged: AtomicU64,
    details: Mutex<Details>,
    /// Moved by each call of the camera's thread.
    pulse: Pulse,
    /// Moved by the thread that writes what the camera gives.
    scribe: Mutex<Option<Arc<Pulse>>>,
    /// How the pictures are coded, and the newest that stands alone.
    picture: Mutex<(Option<Track>, Option<KeyFrame>)>,
}

/// The newest picture of a camera that can be decoded alone.
#[derive(Clone, Debug)]
pub struct KeyFrame {
    /// How it is coded.
    pub track: Track,
    /// The picture.
    pub unit: AccessUnit,
}

#[derive(Debug, Default)]
struct Details {
    codec: Option<String>,
    size: Option<(u32, u32)>,
    troubles: BTreeMap<Reason, u64>,
    last_trouble: Option<Trouble>,
    clock: Reading,
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
        *self.picture() = (tracks.video().cloned(), None);
        self.pulse.beat(Instant::now());
        self.up.store(true, Relaxed);
    }

    /// It gives none.
    pub fn down(&self) {
        self.up.store(false, Relaxed);
        *self.picture() = (None, None);
        self.pulse.beat(Instant::now());
    }

    /// Its thread has nothing more to do.
    pub fn over(&self) {
        self.pulse.rest();
    }

    /// Whether its thread has ended.
    pub(super) fn is_over(&self) -> bool {
        self.pulse.rests()
    }

    /// Whether its thread works.
    pub(super) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// What is recorded is written by a thread with this pulse.
    pub fn written_by(&self, scribe: Arc<Pulse>) {
        *self.scribe.lock().unwrap_or_else(PoisonError::into_inner) = Some(scribe);
    }

    /// Whether the thread that writes hangs: its disk does not answer.
    pub(super) fn scribe_hangs(&self, now: Instant) -> bool {
        let scribe = self.scribe.lock().unwrap_or_else(PoisonError::into_inner);
        scribe.as_ref().is_some_and(|pulse| pulse.stands_still(now))
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

    /// It gave a unit.
    pub fn came(&self, unit: &AccessUnit) {
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

    /// How its time stands.
    pub fn clock(&self, reading: Reading) {
        self.details().clock = reading;
    }

    /// What it has recorded so far.
    pub fn recorded(&self, recorded: Recorded) {
        self.pulse.beat(Instant::now());
        self.pictures.store(recorded.pictures, Relaxed);
        self.dropped.store(recorded.dropped, Relaxed);
        self.left_out.store(recorded.left_out, Relaxed);
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
            bytes,
            dropped: self.dropped.load(Relaxed),
            pictures_left_out: self.left_out.load(Relaxed),
            failures: self.failures.load(Relaxed),
            packets_lost: self.packets_lost.load(Relaxed),
            units_damaged: self.units_damaged.load(Relaxed),
            troubles: details.troubles.clone(),
            last_trouble: details.last_trouble.clone(),
            clock: details.clock.into(),
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

    fn picture(&self) -> MutexGuard<'_, (Option<Track>, Option<KeyFrame>)> {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn details(&self) -> MutexGuard<'_, Details> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Reading> for ClockSnapshot {
    fn from(reading: Reading) -> Self {
        let Reading { quality, correction_ms, drift_ppm, camera_ahead_ms } = reading;
        Self { quality: quality.to_string(), correction_ms, drift_ppm, camera_ahead_ms }
    }
}
