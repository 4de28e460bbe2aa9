//! Unwrapped data keys, for a while.
//!
//! Bounded by number and by time, because a key in memory is a key that a disabled master key no longer
//! guards. A key that goes is wiped as soon as no read or commit that has it is under way any more.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::id::KeyName;
use crate::keys::DataKey;
use crate::limits;

/// A bounded set of unwrapped keys.
pub(crate) struct KeyCache {
    clock: Clock,
    contents: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    keys: HashMap<KeyName, Slot>,
    generation: Generation,
}

struct Slot {
    key: Arc<DataKey>,
    unwrapped: Duration,
}

/// Counts the times that keys were dropped on purpose. Whoever unwraps a key notes it before, so that a
/// key that was being unwrapped meanwhile does not come in after the door was shut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Generation(pub(crate) u64);

impl KeyCache {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, contents: Mutex::default() }
    }

    /// The key, if it is here and not too old.
    pub(crate) fn find(&self, name: KeyName) -> Option<Arc<DataKey>> {
        let now = self.clock.now();
        let mut contents = self.contents();
        let slot = contents.keys.get(&name)?;
        if slot.is_young(now) {
            return Some(slot.key.clone());
        }
        contents.keys.remove(&name);
        None
    }

    /// To be noted before a key is unwrapped.
    pub(crate) fn generation(&self) -> Generation {
        self.contents().generation
    }

    /// Keeps a key that was asked for in `generation`; if keys were dropped since, it is not kept.
    pub(crate) fn keep(&self, generation: Generation, name: KeyName, key: &Arc<DataKey>) {
        let unwrapped = self.clock.now();
        let mut contents = self.contents();
        if contents.generation != generation {
            return;
        }
        if contents.keys.len() >= limits::KEYS_CACHED_MAX && !contents.keys.contains_key(&name) {
            contents.make_room(unwrapped);
        }
        contents.keys.insert(name, Slot { key: key.clone(), unwrapped });
    }

    /// Drops these keys.
    pub(crate) fn remove(&self, names: &[KeyName]) {
        let names: HashSet<KeyName> = names.iter().copied().collect();
        let mut contents = self.contents();
        contents.generation.0 += 1;
        contents.keys.retain(|name, _| !names.contains(name));
    }

    /// Drops all keys.
    pub(crate) fn clear(&self) {
        let mut contents = self.contents();
        contents.generation.0 += 1;
        contents.keys.clear();
    }

    /// Drops keys that are too old. Called now and then, so that one that nobody asks for goes too.
    pub(crate) fn expire(&self) {
        let now = self.clock.now();
        self.contents().keys.retain(|_, slot| slot.is_young(now));
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    /// Drops what is too old, or else the oldest.
    fn make_room(&mut self, now: Duration) {
        self.keys.retain(|_, slot| slot.is_young(now));
        if self.keys.len() >= limits::KEYS_CACHED_MAX
            && let Some(oldest) = self.keys.iter().min_by_key(|(_, slot)| slot.unwrapped).map(|(name, _)| *name)
        {
            self.keys.remove(&oldest);
        }
    }
}

impl Slot {
    fn is_young(&self, now: Duration) -> bool {
        now.saturating_sub(self.unwrapped) < limits::KEY_CACHED_TIME_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::id::{KeyEpoch, KeyId, OwnerId};

    #[test]
    fn a_key_is_kept_for_its_time_and_no_longer() {
        let (cache, time) = cache();
        keep(&cache, name(1, 1));
        advance(&time, limits::KEY_CACHED_TIME_MAX - Duration::from_millis(1));
        assert!(cache.find(name(1, 1)).is_some());
        advance(&time, Duration::from_millis(1));
        assert!(cache.find(name(1, 1)).is_none());
    }

    #[test]
    fn using_a_key_does_not_lengthen_its_time() {
        let (cache, time) = cache();
        keep(&cache, name(1, 1));
        for _ in 0..3 {
            advance(&time, limits::KEY_CACHED_TIME_MAX / 3);
            cache.find(name(1, 1));
        }
        assert!(cache.find(name(1, 1)).is_none());
    }

    #[test]
    fn a_key_that_nobody_asks_for_goes_when_old_keys_are_expired() {
        let (cache, time) = cache();
        let key = keep(&cache, name(1, 1));
        advance(&time, limits::KEY_CACHED_TIME_MAX);
        keep(&cache, name(1, 2));
        cache.expire();
        assert_eq!(Arc::strong_count(&key), 1, "the cache has let go of it");
        assert!(cache.find(name(1, 2)).is_some());
    }

    #[test]
    fn the_oldest_key_makes_room_for_a_new_one() {
        let (cache, time) = cache();
        for id in 0..=limits::KEYS_CACHED_MAX as u64 {
            keep(&cache, name(1, id));
            advance(&time, Duration::from_nanos(1));
        }
        assert!(cache.find(name(1, 0)).is_none());
        assert!(cache.find(name(1, 1)).is_some());
        assert_eq!(cache.contents().keys.len(), limits::KEYS_CACHED_MAX);
    }

    #[test]
    fn only_the_keys_that_were_named_go() {
        let (cache, _) = cache();
        keep(&cache, name(1, 1));
        keep(&cache, name(2, 1));
        cache.remove(&[name(1, 1)]);
        assert!(cache.find(name(1, 1)).is_none());
        assert!(cache.find(name(2, 1)).is_some());
        cache.clear();
        assert!(cache.find(name(2, 1)).is_none());
    }

    #[test]
    fn a_key_that_was_being_unwrapped_when_it_was_dropped_is_not_kept() {
        let (cache, _) = cache();
        let before = cache.generation();
        let key = Arc::new(DataKey::random().unwrap());
        cache.remove(&[name(1, 1)]);
        cache.keep(before, name(1, 1), &key);
        assert!(cache.find(name(1, 1)).is_none());
    }

    fn cache() -> (KeyCache, Arc<AtomicU64>) {
        let nanos = Arc::new(AtomicU64::new(0));
        let shown = nanos.clone();
        (KeyCache::new(Clock::new(move || Duration::from_nanos(shown.load(Ordering::SeqCst)))), nanos)
    }

    fn advance(nanos: &AtomicU64, by: Duration) {
        nanos.fetch_add(u64::try_from(by.as_nanos()).unwrap(), Ordering::SeqCst);
    }

    fn keep(cache: &KeyCache, name: KeyName) -> Arc<DataKey> {
        let key = Arc::new(DataKey::random().unwrap());
        cache.keep(cache.generation(), name, &key);
        key
    }

    fn name(owner: u64, id: u64) -> KeyName {
        KeyName { owner: OwnerId::from_u64(owner), epoch: KeyEpoch(1), id: KeyId(id) }
    }
}
