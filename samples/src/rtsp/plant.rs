//! The camera behind its network: the clip, the camera's time, and the faults that it was told.

use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::clip::Clip;
use super::clocks::Clocks;

/// What all viewers' pipelines share.
pub(super) struct Plant {
    /// What it can show; the first is what it begins with, and all have the same kinds of tracks.
    clips: Vec<Clip>,
    pub(super) clocks: Clocks,
    condition: Mutex<Condition>,
    /// Packets of the picture that it had to send.
    packets: AtomicU64,
    /// How many of those it left out.
    lost: AtomicU64,
    /// Requests that viewers sent to keep their sessions.
    kept_alive: AtomicU64,
    /// Where each picture is noted that was sent.
    log: Option<File>,
}

struct Condition {
    /// When the camera was switched on.
    began: Instant,
    stalled_until: Option<Instant>,
    blind_until: Option<Instant>,
    vanished_until: Option<Instant>,
    jump_nanos: i64,
    calendar_nanos: i64,
    shown: usize,
    lose_every: u64,
}

impl Plant {
    /// Says no if the clips can't be shown one after the other.
    pub(super) fn new(clips: Vec<Clip>, clocks: Clocks, log: Option<File>) -> Option<Self> {
        let (first, others) = clips.split_first()?;
        let alike =
            |clip: &Clip| clip.tracks.iter().map(|t| &t.payloader).eq(first.tracks.iter().map(|t| &t.payloader));
        others.iter().all(alike).then_some(())?;
        let (packets, lost, kept_alive) = Default::default();
        let condition = Mutex::new(Condition::new(Instant::now(), clocks));
        Some(Self { clips, clocks, condition, packets, lost, kept_alive, log })
    }

    /// Notes that a picture of the clip was sent now.
    pub(super) fn note_sent(&self, picture: usize) {
        let Some(mut log) = self.log.as_ref() else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Err(error) = writeln!(log, "{} {picture}", now.as_millis()) {
            tracing::warn!(%error, "a picture could not be noted");
        }
    }

    /// The clip that it shows now, and its number.
    pub(super) fn clip(&self) -> (usize, &Clip) {
        let shown = self.condition().shown;
        (shown, &self.clips[shown])
    }

    /// The camera's time at `instant`.
    pub(super) fn time(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.condition().began)
    }

    /// Whether units are left out: all of them, or those of the picture.
    pub(super) fn leaves_out(&self, picture: bool) -> bool {
        let condition = self.condition();
        let on = |until: Option<Instant>| until.is_some_and(|until| Instant::now() < until);
        on(condition.stalled_until) || on(condition.vanished_until) || picture && on(condition.blind_until)
    }

    /// Whether nothing reaches it, and nothing leaves it.
    pub(super) fn has_vanished(&self) -> bool {
        self.condition().vanished_until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether the next packet of the picture is left out.
    pub(super) fn loses_packet(&self) -> bool {
        let every = self.condition().lose_every;
        let loses = every > 0 && self.packets.fetch_add(1, Relaxed) % every == every - 1;
        self.lost.fetch_add(u64::from(loses), Relaxed);
        loses
    }

    pub(super) fn packets_lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    pub(super) fn note_kept_alive(&self) {
        self.kept_alive.fetch_add(1, Relaxed);
    }

    pub(super) fn kept_alive(&self) -> u64 {
        self.kept_alive.load(Relaxed)
    }

    /// How far timestamps lie ahead of the camera's time: by its jumps, and by its crystal.
    pub(super) fn jump_nanos(&self) -> i64 {
        let condition = self.condition();
        let elapsed = Instant::now().saturating_duration_since(condition.began).as_micros();
        let drift = i64::try_from(elapsed).unwrap_or(i64::MAX).saturating_mul(self.clocks.drift_ppm) / 1000;
        condition.jump_nanos.saturating_add(drift)
    }

    /// How far its calendar is ahead.
    pub(super) fn calendar_nanos(&self) -> i64 {
        self.condition().calendar_nanos
    }

    pub(super) fn set_clock(&self, nanos: i64) {
        let mut condition = self.condition();
        condition.calendar_nanos = condition.calendar_nanos.saturating_add(nanos);
    }

    pub(super) fn stall(&self, time: Duration) {
        self.condition().stalled_until = Instant::now().checked_add(time);
    }

    pub(super) fn blind(&self, time: Duration) {
        self.condition().blind_until = Instant::now().checked_add(time);
    }

    pub(super) fn vanish(&self, time: Duration) {
        self.condition().vanished_until = Instant::now().checked_add(time);
    }

    /// Shows the clip with this number, or the last one.
    pub(super) fn show(&self, number: usize) {
        self.condition().shown = number.min(self.clips.len() - 1);
    }

    pub(super) fn lose(&self, every: u64) {
        self.condition().lose_every = every;
    }

    pub(super) fn jump(&self, nanos: i64) {
        let mut condition = self.condition();
        condition.jump_nanos = condition.jump_nanos.saturating_add(nanos);
    }

    /// Switched off now and on again after `time`.
    pub(super) fn begin_again(&self, time: Duration) {
        *self.condition() = Condition::new(Instant::now() + time, self.clocks);
    }

    fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condition {
    /// Switched on at `began`, and well.
    fn new(began: Instant, clocks: Clocks) -> Self {
        Self {
            began,
            stalled_until: None,
            blind_until: None,
            vanished_until: None,
            jump_nanos: 0,
            calendar_nanos: clocks.calendar_nanos,
            shown: 0,
            lose_every: 0,
        }
    }
}
