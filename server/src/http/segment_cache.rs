//! Finished segments in memory, bounded by bytes; the one that was not asked for longest goes first.
//!
//! Building a segment means reading, opening and rewriting a fragment; viewers of a live stream all ask
//! for the same ones. What may be read is decided before the cache is asked: it knows no retention. But it holds
//! pictures in the clear, so it keeps them no longer than the vault keeps the keys that they were opened with.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use fragment::{FragmentNumber, WallTime};
use vault::limits::KEY_CACHED_TIME_MAX;

use super::segments::Form;

/// What a segment is made of, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The stream's id.
    pub(crate) stream: u64,
    pub(crate) number: FragmentNumber,
    pub(crate) form: Form,
    /// When it begins by the clock that it is placed by.
    pub(crate) start: WallTime,
}

/// A cache of finished segments.
pub(crate) struct SegmentCache {
    bytes_max: usize,
    contents: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    segments: HashMap<Key, Slot>,
    /// By the tick of their last use, the oldest first.
    order: BTreeMap<u64, Key>,
    tick: u64,
    bytes: usize,
}

struct Slot {
    segment: Bytes,
    used: u64,
    opened: Opened,
}

/// Under which circumstances a segment's fragment was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// How often the vault had dropped keys before.
    pub(crate) key_drops: u64,
    /// When.
    pub(crate) at: Instant,
}

impl Opened {
    /// Whether the vault would still have the key in memory that it had then.
    fn holds(self, now: Self) -> bool {
        self.key_drops == now.key_drops && now.at.saturating_duration_since(self.at) < KEY_CACHED_TIME_MAX
    }
}

impl SegmentCache {
    /// An empty cache for at most `bytes_max` bytes of segments.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, contents: Mutex::default() }
    }

    /// The segment, if it is here.
    pub(crate) fn find(&self, key: Key, now: Opened) -> Option<Bytes> {
        let mut contents = self.lock();
        if contents.segments.get(&key).is_some_and(|slot| !slot.opened.holds(now)) {
            contents.remove(key);
        }
        contents.tick += 1;
        let tick = contents.tick;
        let slot = contents.segments.get_mut(&key)?;
        let before = std::mem::replace(&mut slot.used, tick);
        let segment = slot.segment.clone();
        contents.order.remove(&before);
        contents.order.insert(tick, key);
        Some(segment)
    }

    /// Keeps a segment of which `opened` was noted before its fragment was opened, at the cost of the oldest. One larger than a quarter of the cache is not kept.
    pub(crate) fn insert(&self, key: Key, segment: Bytes, opened: Opened) {
        if segment.len() > self.bytes_max / 4 {
            return;
        }
        let mut contents = self.lock();
        contents.remove(key);
        contents.tick += 1;
        let used = contents.tick;
        contents.bytes += segment.len();
        contents.order.insert(used, key);
        contents.segments.insert(key, Slot { segment, used, opened });
        while contents.bytes > self.bytes_max {
            let Some(oldest) = contents.order.first_key_value().map(|(_, key)| *key) else { break };
            contents.remove(oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        // A cache is right in any state that a panic elsewhere could leave it in, or merely smaller.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn remove(&mut self, key: Key) {
        if let Some(slot) = self.segments.remove(&key) {
            self.order.remove(&slot.used);
            self.bytes -= slot.segment.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_kept_is_found() {
        let cache = SegmentCache::new(100);
        cache.insert(key(1), segment(10), opened());
        assert_eq!(cache.find(key(1), opened()), Some(segment(10)));
        assert_eq!(cache.find(key(2), opened()), None);
    }

    #[test]
    fn the_longest_unused_goes_first() {
        let cache = SegmentCache::new(40);
        for i in 0..4 {
            cache.insert(key(i), segment(10), opened());
        }
        cache.find(key(0), opened());
        cache.insert(key(4), segment(10), opened());
        assert!(cache.find(key(0), opened()).is_some());
        assert!(cache.find(key(1), opened()).is_none());
    }

    #[test]
    fn replacing_a_segment_counts_it_once() {
        let cache = SegmentCache::new(40);
        for _ in 0..10 {
            cache.insert(key(1), segment(10), opened());
        }
        cache.insert(key(2), segment(10), opened());
        assert!(cache.find(key(1), opened()).is_some());
        assert_eq!(cache.lock().bytes, 20);
    }

    #[test]
    fn one_huge_segment_does_not_clear_the_cache() {
        let cache = SegmentCache::new(40);
        cache.insert(key(1), segment(10), opened());
        cache.insert(key(2), segment(11), opened());
        assert!(cache.find(key(1), opened()).is_some());
        assert!(cache.find(key(2), opened()).is_none());
    }

    #[test]
    fn a_segment_is_not_found_after_keys_were_dropped_even_if_it_was_being_built_then() {
        let cache = SegmentCache::new(100);
        let before = opened();
        cache.insert(key(1), segment(10), before);
        let after = Opened { key_drops: before.key_drops + 1, ..before };
        assert_eq!(cache.find(key(1), after), None);
        assert_eq!(cache.lock().bytes, 0, "and is in memory no more");
        cache.insert(key(2), segment(10), before);
        assert_eq!(cache.find(key(2), after), None);
    }

    #[test]
    fn a_segment_is_kept_no_longer_than_the_key_that_opened_it() {
        let cache = SegmentCache::new(100);
        let then = opened();
        cache.insert(key(1), segment(10), then);
        assert!(cache.find(key(1), later(then, KEY_CACHED_TIME_MAX - Duration::from_millis(1))).is_some());
        assert!(cache.find(key(1), later(then, KEY_CACHED_TIME_MAX)).is_none());
    }

    fn later(opened: Opened, by: Duration) -> Opened {
        Opened { at: opened.at + by, ..opened }
    }

    fn opened() -> Opened {
        Opened { key_drops: 3, at: Instant::now() }
    }

    fn key(number: u64) -> Key {
        let (number, start) = (FragmentNumber(number), WallTime::from_nanos(0));
        Key { stream: 1, number, form: Form::Whole, start }
    }

    fn segment(bytes: usize) -> Bytes {
        vec![7; bytes].into()
    }
}
