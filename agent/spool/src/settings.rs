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
