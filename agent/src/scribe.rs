//! Writes the fragments of one camera into the spool, without ever holding up the camera.
//!
//! A disk can be slower than a camera, or stand still for half a minute while a card tidies up. So what is recorded
//! goes through a queue with a bound in bytes to a thread of its own. A fragment that finds no room in it is dropped as
//! a whole: what of it is on disk is removed, nothing more of it is taken, and the list of drops says *slow-disk*.
//! The recorder never waits, and GStreamer's threads behind it do not either, which would gather what the camera sends.
//!
//! A file has no such hurry: its reader waits for the disk, on the same thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use spool::drops::{Reason, Run};
use spool::{Spool, Start, Writer};
use upload::FragmentKey;

use crate::limits;
use crate::service::Pulse;

/// Takes one fragment after another.
pub struct Scribe {
    desk: Desk,
    /// Moved while something is being written.
    pulse: Arc<Pulse>,
}

enum Desk {
    /// On the caller's thread.
    Here(Page),
    /// On a thread of its own.
    There { spool: Spool, queue: Arc<Queue>, thread: Option<JoinHandle<()>>, open: Option<Ahead> },
}

/// The open fragment, as its recorder sees it.
enum Ahead {
    /// It is on its way.
    Queued(Arc<Fate>),
    /// There was no room when it began.
    Refused { key: FragmentKey, start: Start, elapsed: Duration },
}

/// What happens to a fragment that is in the queue.
#[derive(Debug, Default)]
struct Fate {
    /// There was no room for all of it.
    overrun: AtomicBool,
}

enum Order {
    Begin {
        key: FragmentKey,
        start: Start,
        closing: Bytes,
        fate: Arc<Fate>,
    },
    Append {
        elapsed: Duration,
        pieces: Vec<Bytes>,
    },
    Finish {
        duration: Duration,
    },
    /// The source went before its end.
    Leave,
    /// What never was in the queue.
    Dropped(Run),
}

impl Scribe {
    /// One that waits for the disk.
    pub fn waiting(spool: Spool) -> Self {
        Self { desk: Desk::Here(Page::new(spool)), pulse: Arc::new(Pulse::at_rest()) }
    }

    /// One that does not. Dropping it waits until everything that it took is written.
    pub fn hurried(spool: Spool) -> Self {
        let (queue, pulse) = (Arc::new(Queue::default()), Arc::new(Pulse::at_rest()));
        let (reading, counting, beating) = (queue.clone(), spool.clone(), pulse.clone());
        let thread = std::thread::Builder::new().name("scribe".to_owned()).spawn(move || {
            let mut page = Page::new(spool);
            while let Some(order) = reading.next() {
                beating.beat(Instant::now());
                page.carry_out(order);
                beating.rest();
            }
        });
        let thread = match thread {
            Ok(thread) => Some(thread),
            Err(error) => {
                tracing::error!(%error, "no thread for writing can be started: nothing will be recorded");
                queue.close();
                None
            }
        };
        Self { desk: Desk::There { spool: counting, queue, thread, open: None }, pulse }
    }

    /// Stands still while one order hangs: of a scribe on its caller's thread it is the caller that does.
    pub fn pulse(&self) -> Arc<Pulse> {
        self.pulse.clone()
    }

    /// What it has taken and the disk has not.
    pub fn bytes_ahead(&self) -> usize {
        match &self.desk {
            Desk::Here(_) => 0,
            Desk::There { queue, .. } => queue.bytes(),
        }
    }

    /// Begins a fragment. Answers whether it is taken, as far as that is known now.
    pub fn begin(&mut self, key: FragmentKey, start: Start, closing: Bytes) -> bool {
        match &mut self.desk {
            Desk::Here(page) => page.begin(key, start, closing, Arc::default()),
            Desk::There { spool, queue, open, .. } => {
                // Half of the room, so that a queue that was full does not take the beginnings of fragments only.
                if queue.bytes() > limits::SCRIBE_BYTES_MAX / 2 {
                    tracing::warn!(fragment = %key, "the disk is slower than the camera: a fragment is dropped");
                    spool.count_dropped(Reason::SlowDisk);
                    *open = Some(Ahead::Refused { key, start, elapsed: Duration::ZERO });
                    return false;
                }
                let fate = Arc::new(Fate::default());
                queue.push(Order::Begin { key, start, closing, fate: fate.clone() });
                *open = Some(Ahead::Queued(fate));
                true
            }
        }
    }

    /// More of the open fragment.
    pub fn append(&mut self, elapsed: Duration, pieces: Vec<Bytes>) {
        match &mut self.desk {
            Desk::Here(page) => page.append(elapsed, &pieces),
            Desk::There { open: None, .. } => {}
            Desk::There { open: Some(Ahead::Refused { elapsed: so_far, .. }), .. } => *so_far = elapsed.max(*so_far),
            Desk::There { queue, open: Some(Ahead::Queued(fate)), .. } => {
                let order = Order::Append { elapsed, pieces };
                let room = limits::SCRIBE_BYTES_MAX.saturating_sub(queue.bytes());
                if fate.overrun.load(Relaxed) {
                    // It is dropped as a whole.
                } else if order.weight() <= room || queue.is_empty() {
                    // What is larger than the bound passes alone.
                    queue.push(order);
                } else {
                    fate.overrun.store(true, Relaxed);
                }
            }
        }
    }

    /// Pictures that are of no fragment were left out. Between two fragments.
    pub fn left_out(&mut self, run: Run) {
        match &mut self.desk {
            Desk::Here(page) => page.spool.note_left_out(&run),
            Desk::There { spool, queue, .. } => {
                spool.count_dropped(run.reason);
                queue.push(Order::Dropped(run));
            }
        }
    }

    /// The open fragment is at its end.
    pub fn finish(&mut self, duration: Duration) {
        match &mut self.desk {
            Desk::Here(page) => page.finish(duration),
            Desk::There { queue, open, .. } => match open.take() {
                Some(Ahead::Queued(_)) => queue.push(Order::Finish { duration }),
                Some(Ahead::Refused { key, start, .. }) => queue.push_dropped(&key, start, duration),
                None => {}
            },
        }
    }

    /// The open fragment ends where it is.
    pub fn leave(&mut self) {
        match &mut self.desk {
            Desk::Here(page) => page.leave(),
            Desk::There { queue, open, .. } => match open.take() {
                Some(Ahead::Queued(_)) => queue.push(Order::Leave),
                Some(Ahead::Refused { key, start, elapsed }) => queue.push_dropped(&key, start, elapsed),
                None => {}
            },
        }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.leave();
        if let Desk::There { queue, thread, .. } = &mut self.desk {
            queue.close();
            if let Some(thread) = thread.take() {
                // A thread that panicked has said so.
                let _ = thread.join();
            }
        }
    }
}

/// What writes: one fragment at a time, or the account of one that is dropped.
struct Page {
    spool: Spool,
    open: Option<Open>,
}

struct Open {
    key: FragmentKey,
    start: Start,
    fate: Arc<Fate>,
    /// How long it plays so far.
    elapsed: Duration,
    written: Result<Writer, Reason>,
}

impl Page {
    fn new(spool: Spool) -> Self {
        Self { spool, open: None }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Begin { key, start, closing, fate } => {
                self.begin(key, start, closing, fate);
            }
            Order::Append { elapsed, pieces } => self.append(elapsed, &pieces),
            Order::Finish { duration } => self.finish(duration),
            Order::Leave => self.leave(),
            Order::Dropped(run) => self.spool.list_run(&run),
        }
    }

    fn begin(&mut self, key: FragmentKey, start: Start, closing: Bytes, fate: Arc<Fate>) -> bool {
        self.leave();
        let written = self.spool.create(key.clone(), start, closing).map_err(|error| {
            let reason = error.reason();
            // Of a spool that is full the log is told once, when it becomes so.
            if reason != Reason::RefusedFull {
                tracing::error!(fragment = %key, %error, "a fragment can't be spooled and is lost");
            }
            reason
        });
        if let Err(reason) = written {
            self.note(&key, start, reason);
        }
        let begun = written.is_ok();
        self.open = Some(Open { key, start, fate, elapsed: Duration::ZERO, written });
        begun
    }

    fn append(&mut self, elapsed: Duration, pieces: &[Bytes]) {
        self.look_for_overrun();
        let Some(open) = &mut self.open else {
            return;
        };
        open.elapsed = open.elapsed.max(elapsed);
        if let Ok(writer) = &mut open.written
            && let Err(error) = writer.append(elapsed, pieces)
        {
            tracing::error!(fragment = %open.key, %error, "the spool can't be written: a fragment is lost");
            self.give_up(spool::reason_of(&error));
        }
    }

    fn finish(&mut self, duration: Duration) {
        self.look_for_overrun();
        let Some(Open { key, start, written, .. }) = self.open.take() else {
            return;
        };
        match written {
            Ok(writer) => {
                if let Err(error) = writer.finish(duration) {
                    if self.spool.holds(&key) {
                        tracing::error!(fragment = %key, %error, "a fragment could not be synced to disk");
                    } else {
                        tracing::error!(fragment = %key, %error, "the spool can't be written: a fragment is lost");
                        self.spool.note_dropped(&key, start.wall, duration, spool::reason_of(&error));
                    }
                }
            }
            Err(reason) => self.spool.note_duration(&key, start.wall, duration, reason),
        }
    }

    fn leave(&mut self) {
        self.look_for_overrun();
        if let Some(Open { key, start, elapsed, written: Err(reason), .. }) = self.open.take() {
            self.spool.note_duration(&key, start.wall, elapsed, reason);
        }
    }

    fn look_for_overrun(&mut self) {
        if self.open.as_ref().is_some_and(|open| open.written.is_ok() && open.fate.overrun.load(Relaxed)) {
            self.give_up(Reason::SlowDisk);
        }
    }

    /// Nothing of the open fragment is to stay. It is listed before it goes.
    fn give_up(&mut self, reason: Reason) {
        let Some(open) = &mut self.open else {
            return;
        };
        let (key, start) = (open.key.clone(), open.start);
        let written = std::mem::replace(&mut open.written, Err(reason));
        self.note(&key, start, reason);
        if let Ok(writer) = written {
            writer.discard();
        }
    }

    fn note(&self, key: &FragmentKey, start: Start, reason: Reason) {
        if reason == Reason::SlowDisk {
            tracing::warn!(fragment = %key, "the disk is slower than the camera: a fragment is dropped");
        }
        self.spool.note_dropped(key, start.wall, Duration::ZERO, reason);
    }
}

#[derive(Default)]
struct Queue {
    inner: Mutex<Inner>,
    news: Condvar,
}

#[derive(Default)]
struct Inner {
    orders: VecDeque<Order>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    /// Takes an order, whether there is room or not: who brings many bytes has looked.
    fn push(&self, order: Order) {
        let mut inner = self.lock();
        if !inner.closed {
            inner.bytes += order.weight();
            inner.orders.push_back(order);
            // Who is woken wants the lock.
            drop(inner);
            self.news.notify_one();
        }
    }

    /// A fragment that was never taken. What follows one like it joins it, so that a disk that stands still for days
    /// gathers no list in memory.
    fn push_dropped(&self, key: &FragmentKey, start: Start, duration: Duration) {
        let run = Run::of(key, start.wall, duration, Reason::SlowDisk);
        let mut inner = self.lock();
        if let Some(Order::Dropped(before)) = inner.orders.back_mut()
            && before.join(&run)
        {
            return;
        }
        drop(inner);
        self.push(Order::Dropped(run));
    }

    /// The next order; `None` once it is closed and empty.
    fn next(&self) -> Option<Order> {
        let mut inner = self.lock();
        loop {
            if let Some(order) = inner.orders.pop_front() {
                inner.bytes -= order.weight();
                return Some(order);
            }
            if inner.closed {
                return None;
            }
            inner = self.news.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn is_empty(&self) -> bool {
        self.lock().orders.is_empty()
    }

    fn close(&self) {
        self.lock().closed = true;
        self.news.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Order {
    /// What it takes of the queue's bound: its bytes, and itself, so that small orders are bounded, too.
    fn weight(&self) -> usize {
        let bytes = match self {
            Self::Append { pieces, .. } => pieces.iter().map(Bytes::len).sum(),
            _ => 0,
        };
        bytes + 256
    }
}
