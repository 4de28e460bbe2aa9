//! Room for segments on their way out: bounds what clients that take them slowly keep in memory.
//!
//! A segment stays in memory until its last byte has been sent, whatever the cache does meanwhile. Each
//! request for one takes room for it before it is read, and gives it back when the response has ended. Two
//! responses with the same cached segment are counted twice, which errs on the safe side.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room is given in KiB: a semaphore counts to less than 2^32 at once.
const UNIT_BYTES: u64 = 1024;

/// All the room there is. Clones share it.
#[derive(Clone)]
pub(crate) struct Outgoing {
    room: Arc<Semaphore>,
    units: u32,
}

/// Room for one segment.
pub(crate) struct Room {
    _permit: OwnedSemaphorePermit,
}

impl Outgoing {
    /// Room for so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT_BYTES).expect("the limit is far below 4 TiB");
        Self { room: Arc::new(Semaphore::new(units as usize)), units }
    }

    /// Waits until there is room for so many bytes; more than there is at all are given all.
    pub(crate) async fn room(&self, bytes: u64) -> Room {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).min(self.units);
        let permit = self.room.clone().acquire_many_owned(units).await.expect("the semaphore is never closed");
        Room { _permit: permit }
    }

    #[cfg(test)]
    pub(crate) fn free_bytes(&self) -> u64 {
        self.room.available_permits() as u64 * UNIT_BYTES
    }
}

impl Room {
    /// The same bytes, which give the room back when the last reference to them goes.
    pub(crate) fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held { bytes, _room: self })
    }
}

struct Held {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_finds_no_room_waits_until_a_response_has_ended() {
        let outgoing = Outgoing::new(10 * UNIT_BYTES);
        let first = outgoing.room(8 * UNIT_BYTES).await.hold(vec![7; 8 * 1024].into());
        let mut second = std::pin::pin!(outgoing.room(3 * UNIT_BYTES));
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut second).await.is_err());
        let part = first.slice(10..20);
        drop(first);
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut second).await.is_err(), "a part is still held");
        drop(part);
        second.await;
    }

    #[tokio::test]
    async fn what_is_larger_than_all_the_room_goes_alone() {
        let outgoing = Outgoing::new(10 * UNIT_BYTES);
        let room = outgoing.room(1 << 40).await;
        assert_eq!(outgoing.free_bytes(), 0);
        drop(room);
        assert_eq!(outgoing.free_bytes(), 10 * UNIT_BYTES);
    }
}
