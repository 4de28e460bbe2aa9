//! Memory for fragments under way: a server-wide budget and a part of it per connection.
//!
//! A fragment draws on both as its bytes come and gives everything back when it is stored or given up.
//! What finds no room is not read, QUIC's windows close, and the device slows down. Fragments that hold room
//! while they wait for more could wait for each other for ever; so the wait ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits;

/// A semaphore's permits are counted in this unit, so that they fit its counter.
const PERMIT_BYTES: usize = 1024;

/// The server-wide budget.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

/// One connection's part.
#[derive(Clone)]
pub(crate) struct Share {
    whole: Arc<Semaphore>,
    own: Arc<Semaphore>,
    wait: Duration,
}

/// What a fragment holds.
pub(crate) struct Reservation {
    share: Share,
    held: usize,
    permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

/// There was no room for too long.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server has as many bytes of fragments under way as it takes")]
pub(crate) struct NoRoom;

impl Budget {
    /// A budget of so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / PERMIT_BYTES)))
    }

    /// The part of a new connection: at most so many bytes of the whole.
    pub(crate) fn share(&self, bytes: usize, wait: Duration) -> Share {
        Share { whole: self.0.clone(), own: Arc::new(Semaphore::new(bytes / PERMIT_BYTES)), wait }
    }
}

impl Share {
    /// An empty reservation for a new fragment.
    pub(crate) fn reservation(&self) -> Reservation {
        Reservation { share: self.clone(), held: 0, permits: None }
    }
}

impl Reservation {
    /// Makes sure that `bytes` are held in all.
    pub(crate) async fn hold(&mut self, bytes: usize) -> Result<(), NoRoom> {
        if bytes <= self.held {
            return Ok(());
        }
        let more = (bytes - self.held).next_multiple_of(limits::RESERVATION_STEP);
        let permits = u32::try_from(more / PERMIT_BYTES).map_err(|_| NoRoom)?;
        let acquire = async {
            // Own part first: a device that has used it up must not hold room of others while it waits.
            let own = self.share.own.clone().acquire_many_owned(permits).await.ok()?;
            let whole = self.share.whole.clone().acquire_many_owned(permits).await.ok()?;
            Some((own, whole))
        };
        let acquired = tokio::time::timeout(self.share.wait, acquire).await.ok().flatten();
        let (own, whole) = acquired.ok_or(NoRoom)?;
        match &mut self.permits {
            Some((held_own, held_whole)) => {
                held_own.merge(own);
                held_whole.merge(whole);
            }
            None => self.permits = Some((own, whole)),
        }
        self.held += more;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: usize = limits::RESERVATION_STEP;

    #[tokio::test]
    async fn what_is_held_comes_back_when_the_fragment_goes() {
        let budget = Budget::new(2 * STEP);
        let share = budget.share(2 * STEP, Duration::from_millis(10));
        let mut first = share.reservation();
        first.hold(1).await.unwrap();
        first.hold(STEP).await.unwrap();
        first.hold(2 * STEP).await.unwrap();
        let mut second = share.reservation();
        assert_eq!(second.hold(1).await, Err(NoRoom));
        drop(first);
        assert_eq!(second.hold(1).await, Ok(()));
    }

    #[tokio::test]
    async fn one_connection_leaves_room_for_others() {
        let budget = Budget::new(4 * STEP);
        let greedy = budget.share(2 * STEP, Duration::from_millis(10));
        let other = budget.share(2 * STEP, Duration::from_millis(10));
        let mut held = greedy.reservation();
        held.hold(2 * STEP).await.unwrap();
        assert_eq!(greedy.reservation().hold(1).await, Err(NoRoom));
        assert_eq!(other.reservation().hold(1).await, Ok(()));
    }
}
