//! How fast a session may go. What comes faster is not refused, but waits on the producer's side.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{self, Profile};

/// When the session may go on.
#[derive(Debug)]
pub(super) struct Pace {
    bytes: Option<Meter>,
    fragments: Option<Meter>,
}

/// Lets so many pass in a second, and lets a second's worth of them pass at once.
#[derive(Debug)]
struct Meter {
    per_second: u64,
    /// When what has passed would have passed evenly.
    until: Instant,
}

impl Pace {
    /// What the profile allows, from now on.
    pub(super) fn new(profile: &Profile, now: Instant) -> Self {
        let meter = |per_second: Option<u64>| per_second.map(|per_second| Meter { per_second, until: now });
        Self { bytes: meter(profile.bytes_per_second), fragments: meter(profile.fragments_per_second) }
    }

    /// Notes what has come.
    pub(super) fn took(&mut self, bytes: usize, fragments: u64, now: Instant) {
        self.bytes.iter_mut().for_each(|meter| meter.pass(bytes as u64, now));
        self.fragments.iter_mut().for_each(|meter| meter.pass(fragments, now));
    }

    /// When the next may come.
    pub(super) fn goes_on_at(&self) -> Option<Instant> {
        self.bytes.iter().chain(&self.fragments).map(|meter| meter.until - limits::PACE_SLACK).max()
    }
}

impl Meter {
    fn pass(&mut self, count: u64, now: Instant) {
        let nanos = u128::from(count) * 1_000_000_000 / u128::from(self.per_second.max(1));
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.until = self.until.max(now) + time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_it_passes_at_once_and_the_rest_in_its_time() {
        let began = Instant::now();
        let mut pace = Pace::new(&Profile::AWS, began);
        pace.took(12_500_000, 1, began);
        assert!(pace.goes_on_at().unwrap() <= began);
        pace.took(12_500_000, 1, began);
        assert_eq!(pace.goes_on_at(), Some(began + Duration::from_secs(1)));
        let later = began + Duration::from_secs(60);
        pace.took(0, 10, later);
        assert_eq!(pace.goes_on_at(), Some(later + Duration::from_secs(1)), "five fragments a second");
    }

    #[test]
    fn without_a_limit_there_is_nothing_to_wait_for() {
        let began = Instant::now();
        let mut pace = Pace::new(&Profile::OWN, began);
        pace.took(usize::MAX, u64::MAX, began);
        assert_eq!(pace.goes_on_at(), None);
    }
}
