//! How much one client may have of a stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::limits;

/// How much may be read of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadQuotas {
    /// Connections of GetMedia.
    pub(crate) get_media: usize,
    /// How long GetMedia waits for the next fragment before it ends.
    pub(crate) get_media_wait: Duration,
    /// Connections of GetMediaForFragmentList.
    pub(crate) fragment_list: usize,
    /// Fragments in a clip.
    pub(crate) clip_fragments: usize,
    /// Bytes of fragments in a clip.
    pub(crate) clip_bytes: u64,
}

impl Default for ReadQuotas {
    fn default() -> Self {
        Self {
            get_media: limits::GET_MEDIA_PER_STREAM_MAX,
            get_media_wait: limits::GET_MEDIA_WAIT,
            fragment_list: limits::FRAGMENT_LISTS_PER_STREAM_MAX,
            clip_fragments: limits::CLIP_FRAGMENTS_MAX,
            clip_bytes: u64::MAX,
        }
    }
}

impl ReadQuotas {
    /// Those that AWS has.
    pub(crate) const AWS: Self = Self {
        get_media: 3,
        get_media_wait: Duration::from_secs(3),
        fragment_list: 5,
        clip_fragments: 200,
        clip_bytes: 100_000_000,
    };
}

/// Places that connections take, so many for each stream.
#[derive(Clone)]
pub(super) struct Places {
    max: usize,
    taken: Arc<Mutex<HashMap<u64, usize>>>,
}

/// One of them. It is free again when this is dropped.
pub(super) struct Place {
    places: Places,
    stream: u64,
}

impl Places {
    pub(super) fn new(max: usize) -> Self {
        Self { max, taken: Arc::default() }
    }

    /// A place at a stream; or how many there are, if all are taken.
    pub(super) fn take(&self, stream: u64) -> Result<Place, usize> {
        let mut taken = self.taken();
        let count = taken.entry(stream).or_default();
        if *count >= self.max {
            return Err(self.max);
        }
        *count += 1;
        Ok(Place { places: self.clone(), stream })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        let count = taken.remove(&self.stream).unwrap_or_default().saturating_sub(1);
        if count > 0 {
            taken.insert(self.stream, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_stream_and_come_back() {
        let places = Places::new(2);
        let first = places.take(1).unwrap();
        let _second = places.take(1).unwrap();
        assert_eq!(places.take(1).err(), Some(2));
        let other = places.take(2).unwrap();
        drop(first);
        assert!(places.take(1).is_ok());
        drop(other);
        assert_eq!(places.taken().len(), 1, "nothing is kept of a stream that nobody reads");
    }
}
