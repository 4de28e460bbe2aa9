//! The queue between GStreamer's threads and the reader of events.
//!
//! Bounded by number and by bytes: a full queue holds up the thread that pushes, and so the file or the
//! camera behind it. Unlike a channel's, a push that waits can be called off from the side ([`Sender::close`]),
//! which is what lets a pipeline stop while its reader does not read.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Instant;

use crate::limits;

/// The queue takes nothing more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// How much of the byte bound a thing takes.
pub(crate) trait Weight {
    /// In bytes.
    fn weight(&self) -> usize;
}

/// The pushing end; clones push to the same queue.
pub(crate) struct Sender<T>(Arc<Shared<T>>);

/// The reading end. Dropping it calls off every push.
pub struct Receiver<T>(Arc<Shared<T>>);

struct Shared<T> {
    inner: Mutex<Inner<T>>,
    /// Told when there may be room, and when the queue closes.
    room: Condvar,
}

struct Inner<T> {
    /// Each with its weight.
    items: VecDeque<(usize, T)>,
    bytes: usize,
    /// No push succeeds any more.
    closed: bool,
    /// Nothing will come after the items.
    ended: bool,
    reader: Option<Waker>,
}

/// A new queue.
pub(crate) fn queue<T>() -> (Sender<T>, Receiver<T>) {
    let inner = Inner { items: VecDeque::new(), bytes: 0, closed: false, ended: false, reader: None };
    let shared = Arc::new(Shared { inner: Mutex::new(inner), room: Condvar::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T: Weight> Sender<T> {
    /// Pushes, waiting for room.
    pub(crate) fn push(&self, item: T) -> Result<(), Closed> {
        let mut inner = self.0.lock();
        while !inner.closed && inner.is_full() {
            inner = self.0.room.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        if inner.closed {
            return Err(Closed);
        }
        inner.put(item);
        wake(inner);
        Ok(())
    }

    /// Waits until `instant`, or less if the queue closes.
    pub(crate) fn wait_until(&self, instant: Instant) -> Result<(), Closed> {
        let mut inner = self.0.lock();
        while !inner.closed {
            let left = instant.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            inner = self.0.room.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Err(Closed)
    }

    /// Calls off every push, now and later. What is queued can still be read.
    pub(crate) fn close(&self) {
        self.0.lock().closed = true;
        self.0.room.notify_all();
    }

    /// Closes, and puts `last` after all else, whether there is room or not.
    pub(crate) fn end(&self, last: Option<T>) {
        let mut inner = self.0.lock();
        inner.closed = true;
        if let Some(last) = last.filter(|_| !inner.ended) {
            inner.put(last);
        }
        inner.ended = true;
        wake(inner);
        self.0.room.notify_all();
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Receiver<T> {
    /// The next item, when there is one; `None` when nothing will come any more. Can be cancelled without loss.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| {
            let mut inner = self.0.lock();
            match inner.take() {
                Some(item) => {
                    self.0.room.notify_all();
                    Poll::Ready(Some(item))
                }
                None if inner.ended => Poll::Ready(None),
                None => {
                    inner.reader = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The next item if one is there now.
    pub fn try_recv(&mut self) -> Option<T> {
        let item = self.0.lock().take();
        self.0.room.notify_all();
        item
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.closed = true;
        inner.items.clear();
        self.0.room.notify_all();
    }
}

impl<T> Shared<T> {
    /// A panic of another thread leaves the queue whole: every change is one step.
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Inner<T> {
    /// An item larger than the bound passes alone.
    fn is_full(&self) -> bool {
        self.items.len() >= limits::QUEUE_EVENTS_MAX || self.bytes >= limits::QUEUE_BYTES_MAX
    }

    fn put(&mut self, item: T)
    where
        T: Weight,
    {
        let weight = item.weight();
        self.bytes += weight;
        self.items.push_back((weight, item));
    }

    fn take(&mut self) -> Option<T> {
        let (weight, item) = self.items.pop_front()?;
        self.bytes -= weight;
        Some(item)
    }
}

/// Wakes the reader, once it can have the lock: otherwise it would only wait for that.
fn wake<T>(mut inner: MutexGuard<'_, Inner<T>>) {
    let reader = inner.reader.take();
    drop(inner);
    if let Some(reader) = reader {
        reader.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    impl Weight for usize {
        fn weight(&self) -> usize {
            *self
        }
    }

    #[test]
    fn a_full_queue_holds_up_the_push_until_something_is_read() {
        let (sender, mut receiver) = queue();
        sender.push(limits::QUEUE_BYTES_MAX).unwrap();
        let pushing = thread::spawn(move || sender.push(1));
        thread::sleep(Duration::from_millis(20));
        assert!(!pushing.is_finished());
        assert_eq!(receiver.try_recv(), Some(limits::QUEUE_BYTES_MAX));
        assert_eq!(pushing.join().unwrap(), Ok(()));
    }

    #[test]
    fn closing_calls_off_a_push_that_waits() {
        let (sender, _receiver) = queue();
        sender.push(limits::QUEUE_BYTES_MAX).unwrap();
        let waiting = sender.clone();
        let pushing = thread::spawn(move || waiting.push(1));
        thread::sleep(Duration::from_millis(20));
        sender.close();
        assert_eq!(pushing.join().unwrap(), Err(Closed));
    }

    #[test]
    fn the_last_item_is_read_after_all_others_and_then_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (sender, mut receiver) = queue();
        sender.push(1usize).unwrap();
        sender.end(Some(2));
        sender.end(Some(3));
        assert_eq!(sender.push(4), Err(Closed));
        let read = runtime.block_on(async { [receiver.recv().await, receiver.recv().await, receiver.recv().await] });
        assert_eq!(read, [Some(1), Some(2), None]);
    }

    #[test]
    fn dropping_the_reader_calls_off_pushes() {
        let (sender, receiver) = queue();
        drop(receiver);
        assert_eq!(sender.push(1usize), Err(Closed));
    }
}
