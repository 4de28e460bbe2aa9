//! The camera behind its network: the clip, the camera's time, and the faults that it was told.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::clip::Clip;
use super::clocks::Clocks;

/// What all viewers' pipelines share.
pub(super) struct Plant {
    pub(super) clip: Clip,
    pub(super) clocks: Clocks,
    condition: Mutex<Condition>,
}

struct Condition {
    /// When the camera was switched on.
    began: Instant,
    stalled_until: Option<Instant>,
    jump_nanos: i64,
    calendar_nanos: i64,
}

impl Plant {
    pub(super) fn new(clip: Clip, clocks: Clocks) -> Self {
        let condition = Condition::new(Instant::now(), clocks);
        Self { clip, clocks, condition: Mutex::new(condition) }
    }

    /// The camera's time at `instant`.
    pub(super) fn time(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.condition().began)
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.condition().stalled_until.is_some_and(|until| Instant::now() < until)
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
    fn new(began: Instant, clocks: Clocks) -> Self {
        Self { began, stalled_until: None, jump_nanos: 0, calendar_nanos: clocks.calendar_nanos }
    }
}
