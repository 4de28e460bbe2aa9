//! What the owner of a spool decides.

use std::time::Duration;

/// How a spool behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How large it may grow. A fragment is begun only below this, and what is being captured is ended.
    pub bytes_max: u64,
    /// How long a fragment may wait; what has waited longer is dropped.
    pub age_max: Option<Duration>,
    /// What gives way when it is full.
    pub when_full: WhenFull,
    /// When what was captured is synced to disk.
    pub sync: SyncTime,
    /// How long a fragment stays after its capture although the server has it.
    pub keep: Option<Duration>,
}

impl Settings {
    /// The same, but so that nothing which is recorded is dropped that would not be by `other` too.
    #[must_use]
    pub fn and_no_less_than(self, other: Self) -> Self {
        let when_full = if other.when_full == WhenFull::StopRecording { other.when_full } else { self.when_full };
        Self {
            bytes_max: self.bytes_max.max(other.bytes_max),
            // None is without a bound.
            age_max: self.age_max.zip(other.age_max).map(|(own, other)| own.max(other)),
            when_full,
            sync: self.sync,
            // None keeps nothing.
            keep: self.keep.max(other.keep),
        }
    }
}

/// What gives way when the spool or its disk is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest fragment.
    #[default]
    DropOldest,
    /// The newest: none is begun until there is room.
    StopRecording,
}

/// When a fragment that was captured to its end is synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncTime {
    /// Then.
    #[default]
    Fragment,
    /// Together with others, so often. What is persisted before that is never synced.
    Interval(Duration),
}

/// A spool of this size, that drops the oldest, syncs each fragment and keeps nothing.
impl From<u64> for Settings {
    fn from(bytes_max: u64) -> Self {
        Self { bytes_max, age_max: None, when_full: WhenFull::default(), sync: SyncTime::default(), keep: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bound_is_smaller_than_the_other_ones_and_what_is_recorded_stays() {
        let hours = |hours: u64| Some(Duration::from_secs(3600 * hours));
        let small = Settings { bytes_max: 1, age_max: hours(1), keep: None, ..Settings::from(0) };
        let large = Settings { bytes_max: 9, age_max: None, keep: hours(2), ..Settings::from(0) };
        assert_eq!(small.and_no_less_than(large), large);
        assert_eq!(large.and_no_less_than(small), large);
        let older = Settings { age_max: hours(5), when_full: WhenFull::StopRecording, ..small };
        assert_eq!(small.and_no_less_than(older), older);
        let stops = Settings { when_full: WhenFull::StopRecording, ..small };
        assert_eq!(stops.and_no_less_than(small), stops, "this one drops nothing that is recorded, either");
    }
}
