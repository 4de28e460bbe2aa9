//! A mapping of media time that follows what is known better by and by.

use std::time::Duration;

use fragment::MediaTime;

use super::signed;
use crate::limits;

/// What another clock shows at media time zero, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Follower {
    zero: i64,
}

impl Follower {
    pub(super) fn new(zero: i64) -> Self {
        Self { zero }
    }

    pub(super) fn zero(self) -> i64 {
        self.zero
    }

    /// What the other clock shows at `media`.
    pub(super) fn at(self, media: MediaTime) -> i64 {
        self.zero.saturating_add(media.as_nanos())
    }

    /// How far it is from `target`.
    pub(super) fn behind(self, target: i64) -> i64 {
        target.saturating_sub(self.zero)
    }

    /// Moves towards `target`, at the end of a fragment of this length.
    pub(super) fn follow(&mut self, target: i64, length: Duration) {
        let behind = self.behind(target);
        let is_far = u128::from(behind.unsigned_abs()) > limits::SLEW_FAST_FROM.as_nanos();
        let step = length / if is_far { limits::SLEW_FAST } else { limits::SLEW };
        let step = signed(step.min(limits::SLEW_STEP_MAX));
        self.zero = self.zero.saturating_add(behind.clamp(-step, step));
    }
}
