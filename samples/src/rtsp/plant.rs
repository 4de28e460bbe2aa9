//! The camera behind its network: the clip, the camera's time, and the faults that it was told.

use std::fs::File;
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::clip::Clip;

/// What all viewers' pipelines share.
pub(super) struct Plant {
    pub(super) clip: Clip,
    condition: Mutex<Condition>,
    /// Where each picture is noted that was sent.
    log: Option<File>,
}

struct Condition {
    /// When the camera was switched on.
    began: Instant,
    stalled_until: Option<Instant>,
    jump_nanos: i64,
}

impl Plant {
    pub(super) fn new(clip: Clip, log: Option<File>) -> Self {
        let condition = Condition { began: Instant::now(), stalled_until: None, jump_nanos: 0 };
        Self { clip, condition: Mutex::new(condition), log }
    }

    /// Notes that a picture of the clip was sent now.
    pub(super) fn note_sent(&self, picture: usize) {
        let Some(mut log) = self.log.as_ref() else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Err(error) = writeln!(log, "{} {picture}", now.as_millis()) {
            tracing::warn!(%error, "a picture could not be noted");
        }
    }

    /// The camera's time at `instant`.
    pub(super) fn time(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.condition().began)
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.condition().stalled_until.is_some_and(|until| Instant::now() < until)
    }

    /// How far timestamps lie ahead of the camera's time.
    pub(super) fn jump_nanos(&self) -> i64 {
        self.condition().jump_nanos
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
        *self.condition() = Condition { began: Instant::now() + time, stalled_until: None, jump_nanos: 0 };
    }

    fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
