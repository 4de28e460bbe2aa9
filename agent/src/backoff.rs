//! How long to wait before the next attempt: doubling, capped, jittered.
//!
//! Half of each pause is random, so that a hundred devices that lost the same server at the same
//! instant do not return at the same instant.

use std::time::{Duration, Instant};

use crate::limits;

/// How long an attempt worked: from the first thing that it gave to the last. The wait for one that gives nothing
/// is no part of it, or a silent camera would pass for one that recovered each time that it was given up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Worked {
    first_and_last: Option<(Instant, Instant)>,
}

impl Worked {
    /// It gave something now.
    pub fn note(&mut self, now: Instant) {
        let (first, _) = self.first_and_last.unwrap_or((now, now));
        self.first_and_last = Some((first, now));
    }

    /// How long it did.
    pub fn lasted(&self) -> Duration {
        self.first_and_last.map_or(Duration::ZERO, |(first, last)| last.saturating_duration_since(first))
    }
}

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

    /// The attempt has ended. It worked for long enough, and the count begins anew.
    pub fn ended(&mut self, worked: Worked) {
        if worked.lasted() >= limits::STEADY_AFTER {
            self.recovered();
        }
    }

    /// The attempt did what it was for: the count begins anew.
    pub fn recovered(&mut self) {
        self.failures = 0;
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
        backoff.ended(worked_for(Duration::from_secs(1)));
        assert!(backoff.pause() >= limits::PAUSE_MAX / 2);
        backoff.ended(worked_for(limits::STEADY_AFTER));
        assert!(backoff.pause() <= limits::PAUSE_MIN);
    }

    #[test]
    fn what_never_gave_anything_did_not_work_however_long_it_was_waited_for() {
        let mut backoff = Backoff::new(7);
        for _ in 0..20 {
            backoff.pause();
            backoff.ended(Worked::default());
        }
        assert!(backoff.pause() >= limits::PAUSE_MAX / 2);
    }

    fn worked_for(lasted: Duration) -> Worked {
        let mut worked = Worked::default();
        let began = Instant::now();
        worked.note(began);
        worked.note(began + lasted);
        worked
    }
}
