//! How long fragments have waited: pure bookkeeping over the boots that captured them.
//!
//! Within a boot the monotonic clock tells. Across boots nobody knows how long the device was off, unless its
//! calendar was synchronised in both; so what is counted is the time that it is known to have run since: the rest of
//! the fragment's own boot, the boots between, and this one. That is never more than the truth. A calendar that is set, from
//! 1970 or by a year, makes nothing older.

use std::collections::HashMap;
use std::time::Duration;

use fragment::{BootId, ClockQuality, MonotonicTime, WallTime};

use crate::file::Start;

/// The present, as the owner of the spool knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// By the monotonic clock.
    pub monotonic: MonotonicTime,
    /// By the calendar, where that is synchronised.
    pub wall: Option<WallTime>,
}

/// When a fragment began, by one of the boots that are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) boot: u32,
    pub(crate) since_boot: Duration,
}

/// The boots that captured what the spool holds.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    boots: Vec<Boot>,
    numbers: HashMap<BootId, u32>,
}

#[derive(Debug)]
struct Boot {
    id: BootId,
    /// The place of its first fragment: boots follow each other as these do.
    first: u64,
    /// It ran at least so long.
    ran: Duration,
    /// When it began, if its calendar was ever synchronised, and the place of the last fragment that says so.
    began: Option<(u64, WallTime)>,
}

impl Ages {
    /// Takes note of the fragment at this place, in any order. One that was not captured but read from a file has no age.
    pub(crate) fn note(&mut self, place: u64, start: &Start) -> Option<Moment> {
        let MonotonicTime { boot: id, since_boot } = start.monotonic?;
        let boot = *self.numbers.entry(id).or_insert_with(|| {
            self.boots.push(Boot { id, first: place, ran: Duration::ZERO, began: None });
            u32::try_from(self.boots.len() - 1).expect("a spool holds less than 2^32 fragments")
        });
        let known = &mut self.boots[boot as usize];
        known.first = known.first.min(place);
        known.ran = known.ran.max(since_boot);
        if start.quality == ClockQuality::Synchronised && known.began.is_none_or(|(last, _)| last <= place) {
            known.began = Some((place, start.wall - since_boot));
        }
        Some(Moment { boot, since_boot })
    }

    /// How long ago that was, at the least.
    pub(crate) fn age(&self, moment: Moment, now: Now) -> Duration {
        let boot = &self.boots[moment.boot as usize];
        let MonotonicTime { boot: present, since_boot } = now.monotonic;
        if boot.id == present {
            return since_boot.saturating_sub(moment.since_boot);
        }
        let between = self.boots.iter().filter(|other| other.first > boot.first && other.id != present);
        let ran = between.map(|other| other.ran).sum::<Duration>();
        let ran = boot.ran.saturating_sub(moment.since_boot) + ran + since_boot;
        match (boot.began, now.wall) {
            (Some((_, began)), Some(wall)) => ran.max(wall.since(began + moment.since_boot)),
            _ => ran,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    #[test]
    fn within_a_boot_the_monotonic_clock_tells_whatever_the_calendar_says() {
        let mut ages = Ages::default();
        let moment = ages.note(0, &start(1, 10, WallTime::from_millis(0), ClockQuality::Unsynchronised)).unwrap();
        let set = Some(WallTime::from_millis(1_700_000_000_000));
        assert_eq!(ages.age(moment, now(1, 70, set)), Duration::from_secs(60));
    }

    #[test]
    fn across_boots_the_time_that_the_device_ran_counts() {
        let mut ages = Ages::default();
        // In any order.
        ages.note(3, &in_1970(3, 60));
        let moment = ages.note(0, &in_1970(1, 0)).unwrap();
        ages.note(2, &in_1970(2, HOUR));
        ages.note(1, &in_1970(1, 2 * HOUR));
        assert_eq!(ages.age(moment, now(3, 120, None)), Duration::from_secs(3 * HOUR + 120));
        assert_eq!(ages.age(moment, now(4, 10, None)), Duration::from_secs(3 * HOUR + 70));
    }

    #[test]
    fn a_calendar_that_was_synchronised_in_both_boots_counts_the_time_between_them() {
        let mut ages = Ages::default();
        let day = WallTime::from_millis(1_700_000_000_000);
        let moment = ages.note(0, &start(1, 10, day, ClockQuality::Synchronised)).unwrap();
        let week = Duration::from_secs(7 * 24 * HOUR);
        assert_eq!(ages.age(moment, now(2, 60, Some(day + week))), week);
        assert_eq!(ages.age(moment, now(2, 60, None)), Duration::from_secs(60));
        assert_eq!(ages.age(moment, now(2, 60, Some(day - week))), Duration::from_secs(60), "set back");
    }

    #[test]
    fn a_week_of_1970_is_not_aged_by_a_calendar_that_is_set() {
        let mut ages = Ages::default();
        let moment = ages.note(0, &in_1970(1, 10)).unwrap();
        let set = Some(WallTime::from_millis(1_700_000_000_000));
        assert_eq!(ages.age(moment, now(2, 60, set)), Duration::from_secs(60));
    }

    fn in_1970(boot: u128, secs: u64) -> Start {
        start(boot, secs, WallTime::from_millis(0) + Duration::from_secs(secs), ClockQuality::Unsynchronised)
    }

    fn start(boot: u128, secs: u64, wall: WallTime, quality: ClockQuality) -> Start {
        Start { monotonic: Some(at(boot, secs)), wall, quality }
    }

    fn now(boot: u128, secs: u64, wall: Option<WallTime>) -> Now {
        Now { monotonic: at(boot, secs), wall }
    }

    fn at(boot: u128, secs: u64) -> MonotonicTime {
        MonotonicTime { boot: BootId(boot), since_boot: Duration::from_secs(secs) }
    }
}
