//! What makes room, what is too old, and what is synced together.
//!
//! What the server has goes first, which is no loss. Then the settings decide: the oldest fragment, or the newest. A
//! file is removed after its drop was listed.

use std::collections::BTreeSet;
use std::time::Duration;

use fragment::MonotonicTime;
use upload::FragmentKey;

use crate::age::Now;
use crate::drops::Reason;
use crate::index::Index;
use crate::{CreateError, Spool, SyncTime, WhenFull, limits, recovery};

/// What waits to be synced.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The ordinals of fragments that were finished since the last sync.
    finished: BTreeSet<u64>,
    /// Since when, about.
    since: Option<MonotonicTime>,
    /// Since when the list of drops has waited.
    drops_since: Option<MonotonicTime>,
    /// The spool is far too large, as after a start with a smaller bound: it becomes smaller step by step.
    is_shrinking: bool,
}

/// How far [`Spool::tend`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tended {
    /// All is done.
    Whole,
    /// There is more to drop: it is to be called again without a pause.
    InPart,
}

impl Spool {
    /// What time brings: drops what has waited for too long, lets go what was kept for long enough, goes on to make room where a
    /// beginning has left that to it, and syncs what is due. To be called each second or so. It may wait for the disk, but
    /// removes no more than a step's number of files.
    pub fn tend(&self, now: Now) -> Tended {
        let mut left = limits::DROPS_PER_STEP_MAX;
        self.drop_aged(now, &mut left);
        let keep = self.shared.settings.keep.unwrap_or_default();
        while left > 0
            && let Some(key) = self.let_go(|index| index.let_go_of_older(keep, now))
        {
            left -= 1;
            tracing::debug!(fragment = %key, "a recording was kept for long enough");
        }
        if self.upkeep().is_shrinking {
            self.shrink(&mut left);
        }
        if self.is_due(now.monotonic) {
            self.flush();
        }
        if left == 0 { Tended::InPart } else { Tended::Whole }
    }

    /// Syncs what was finished since the last sync, and the list of drops: (1) each file, (2) each folder, (3) the list.
    pub fn flush(&self) {
        let finished = {
            let mut upkeep = self.upkeep();
            (upkeep.since, upkeep.drops_since) = (None, None);
            std::mem::take(&mut upkeep.finished)
        };
        // What is persisted by now needs no sync.
        let waiting: Vec<FragmentKey> = {
            let index = self.index();
            finished.iter().filter_map(|&ordinal| index.entry(ordinal)).map(|entry| entry.key).collect()
        };
        let disk = &*self.shared.disk;
        for key in &waiting {
            if let Err(error) = disk.open(&self.path(key)).and_then(|file| file.sync())
                && self.holds(key)
            {
                tracing::error!(fragment = %key, %error, "a fragment could not be synced to disk");
            }
        }
        let streams: BTreeSet<_> = waiting.iter().map(|key| &key.stream).collect();
        for stream in streams {
            if let Err(error) = disk.sync_folder(&self.shared.folder.join(stream.as_str())) {
                tracing::error!(%stream, %error, "a folder of the spool could not be synced to disk");
            }
        }
        self.drops().sync();
        let unsynced = self.upkeep().finished.len();
        self.index().note_unsynced(unsynced);
    }

    pub(crate) fn syncs_each(&self) -> bool {
        self.shared.settings.sync == SyncTime::Fragment
    }

    /// A fragment is finished.
    pub(crate) fn note_unsynced(&self, ordinal: u64) {
        if self.syncs_each() {
            let mut drops = self.drops();
            if drops.is_unsynced() {
                drops.sync();
            }
            return;
        }
        let unsynced = {
            let mut upkeep = self.upkeep();
            upkeep.finished.insert(ordinal);
            upkeep.finished.len()
        };
        self.index().note_unsynced(unsynced);
        if unsynced >= limits::UNSYNCED_FRAGMENTS_MAX {
            self.flush();
        }
    }

    /// Whether a sync is due. What is seen to wait for the first time now may have waited since the last look.
    fn is_due(&self, now: MonotonicTime) -> bool {
        let drops_wait = self.drops().is_unsynced();
        let mut upkeep = self.upkeep();
        let has_waited = |since: &mut Option<MonotonicTime>, waits: bool, most: Duration| {
            if !waits {
                *since = None;
                return false;
            }
            now.since(*since.get_or_insert(now)).is_none_or(|waited| waited >= most)
        };
        let interval = match self.shared.settings.sync {
            SyncTime::Fragment => Duration::ZERO,
            SyncTime::Interval(interval) => interval,
        };
        let upkeep = &mut *upkeep;
        let finished = has_waited(&mut upkeep.since, !upkeep.finished.is_empty(), interval);
        let drops = has_waited(&mut upkeep.drops_since, drops_wait, limits::DROPS_UNSYNCED_MAX);
        finished || drops
    }

    /// Makes room for one more fragment, or refuses it. Where that takes many steps the fragment does not wait for them: it is
    /// begun above the bound, and [`Self::tend`] does the rest.
    pub(crate) fn make_room(&self) -> Result<(), CreateError> {
        let mut left = limits::DROPS_PER_BEGINNING_MAX;
        self.shrink(&mut left);
        let is_refused = left > 0 && self.index().is_over(self.shared.settings.bytes_max);
        if is_refused && self.shared.settings.when_full == WhenFull::StopRecording {
            if self.index().note_stopped(true) {
                let bytes_max = self.shared.settings.bytes_max;
                tracing::error!(bytes_max, "the spool is full: recording stops until there is room");
            }
            return Err(CreateError::Full);
        }
        if self.index().note_stopped(false) {
            tracing::info!("the spool has room again: recording goes on");
        }
        Ok(())
    }

    /// Removes what may go of a spool that is too large, with no more than so many steps.
    fn shrink(&self, left: &mut u32) {
        let bytes_max = self.shared.settings.bytes_max;
        let mut dropped = 0u64;
        let is_over = || self.index().is_over(bytes_max);
        while *left > 0 && is_over() {
            if self.let_go(Index::let_go).is_none() {
                let oldest =
                    (self.shared.settings.when_full == WhenFull::DropOldest).then(|| self.index().oldest_whole());
                if !oldest.flatten().is_some_and(|oldest| self.drop_one(&oldest, Reason::Quota)) {
                    break;
                }
                dropped += 1;
            }
            *left -= 1;
        }
        self.upkeep().is_shrinking = *left == 0 && is_over();
        if dropped > 0 {
            tracing::warn!(dropped, bytes_max, "the spool is full: dropped its oldest fragments");
        }
    }

    /// The disk is full: lets something old go, if anything may.
    pub(crate) fn give_way(&self) -> bool {
        if self.let_go(Index::let_go).is_some() {
            return true;
        }
        if self.shared.settings.when_full == WhenFull::StopRecording {
            return false;
        }
        let oldest = self.index().oldest_whole();
        oldest.is_some_and(|oldest| {
            tracing::warn!(fragment = %oldest, "the disk is full: dropping the oldest fragment");
            self.drop_one(&oldest, Reason::DiskFull)
        })
    }

    /// A fragment that was being captured is not to be there.
    pub(crate) fn forget(&self, key: &FragmentKey) {
        if self.index().remove(key).is_some() {
            self.shared.changed.notify_one();
        }
    }

    fn drop_aged(&self, now: Now, left: &mut u32) {
        let Some(age_max) = self.shared.settings.age_max else {
            return;
        };
        let mut dropped = 0u64;
        while *left > 0 {
            let oldest = self.index().oldest_whole_beyond(age_max, now);
            if !oldest.is_some_and(|oldest| self.drop_one(&oldest, Reason::Age)) {
                break;
            }
            dropped += 1;
            *left -= 1;
        }
        if dropped > 0 {
            tracing::warn!(dropped, ?age_max, "dropped fragments that have waited for too long");
        }
    }

    fn drop_one(&self, key: &FragmentKey, reason: Reason) -> bool {
        let Some(dropped) = self.index().remove(key) else {
            return false;
        };
        let duration = dropped.entry.trailer.map_or(Duration::ZERO, |trailer| trailer.duration);
        self.note_dropped(key, dropped.wall, duration, reason);
        self.remove_file(&self.path(key));
        self.shared.changed.notify_one();
        true
    }

    /// Removes the file of a fragment that the server has.
    fn let_go(&self, choose: impl FnOnce(&mut Index) -> Option<FragmentKey>) -> Option<FragmentKey> {
        let key = choose(&mut self.index())?;
        self.remove_file(&self.path(&key).with_extension(recovery::KEPT));
        Some(key)
    }

    fn upkeep(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.upkeep.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
