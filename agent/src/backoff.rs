//! How long to wait before the next attempt: doubling, capped, jittered.
//!
//! Half of each pause is random, so that a hundred devices that lost the same server at the same
//! instant do not return at the same instant.

use std::time::Duration;

use crate::limits;

/// The pauses between attempts at one thing.
#[derive(Debug)]
pub struct Backoff {
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    /// No failure so far. The seed is that of the jitter.
    pub fn new(seed: u64) -> Self {
        Self { failures: 0, random: fastrand::Rng::with_seed(seed) }
    }

    /// The attempt worked for `lasted` before it ended. Long enough, and the count begins anew.
    pub fn worked_for(&mut self, lasted: Duration) {
        if lasted >= limits::STEADY_AFTER {
            self.failures = 0;
        }
    }

    /// How long to wait now.
    pub fn pause(&mut self) -> Duration {
        let whole = limits::PAUSE_MIN.saturating_mul(1 << self.failures.min(16)).min(limits::PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(0.5 + self.random.f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_never_beyond_it() {
        for seed in 0..50 {
            let mut backoff = Backoff::new(seed);
            for attempt in 0..100u32 {
                let whole = (limits::PAUSE_MIN * (1 << attempt.min(10))).min(limits::PAUSE_MAX);
                let pause = backoff.pause();
                assert!(pause >= whole / 2 && pause <= whole, "attempt {attempt}: {pause:?}");
            }
        }
    }

    #[test]
    fn two_devices_do_not_return_at_the_same_instant() {
        assert_ne!(Backoff::new(1).pause(), Backoff::new(2).pause());
    }

    #[test]
    fn only_lasting_success_shortens_the_pause_again() {
        let mut backoff = Backoff::new(7);
        for _ in 0..20 {
            backoff.pause();
        }
        backoff.worked_for(Duration::from_secs(1));
        assert!(backoff.pause() >= limits::PAUSE_MAX / 2);
        backoff.worked_for(limits::STEADY_AFTER);
        assert!(backoff.pause() <= limits::PAUSE_MIN);
    }
}
