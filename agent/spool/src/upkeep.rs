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
}

impl Spool {
    /// What time brings: drops what has waited for too long, lets go what was kept for long enough, and syncs what is due. To be called
    /// each second or so. It may wait for the disk.
    pub fn tend(&self, now: Now) {
        self.drop_aged(now);
        let keep = self.shared.settings.keep.unwrap_or_default();
        while let Some(key) = self.let_go(|index| index.let_go_of_older(keep, now)) {
            tracing::debug!(fragment = %key, "a recording was kept for long enough");
        }
        if self.is_due(now.monotonic) {
            self.flush();
        }
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

    /// Makes room for one more fragment, or refuses it.
    pub(crate) fn make_room(&self) -> Result<(), CreateError> {
        let bytes_max = self.shared.settings.bytes_max;
        let mut dropped = 0u64;
        while self.index().is_over(bytes_max) {
            if self.let_go(Index::let_go).is_some() {
                continue;
            }
            if self.shared.settings.when_full == WhenFull::StopRecording {
                if self.index().note_stopped(true) {
                    tracing::error!(bytes_max, "the spool is full: recording stops until there is room");
                }
                return Err(CreateError::Full);
            }
            let oldest = self.index().oldest_whole();
            if !oldest.is_some_and(|oldest| self.drop_one(&oldest, Reason::Quota)) {
                break;
            }
            dropped += 1;
        }
        if dropped > 0 {
            tracing::warn!(dropped, bytes_max, "the spool is full: dropped its oldest fragments");
        }
        if self.index().note_stopped(false) {
            tracing::info!("the spool has room again: recording goes on");
        }
        Ok(())
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

    fn drop_aged(&self, now: Now) {
        let Some(age_max) = self.shared.settings.age_max else {
            return;
        };
        let mut dropped = 0u64;
        loop {
            let oldest = self.index().oldest_whole_beyond(age_max, now);
            if !oldest.is_some_and(|oldest| self.drop_one(&oldest, Reason::Age)) {
                break;
            }
            dropped += 1;
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
