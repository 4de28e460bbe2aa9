//! The end of a fragment that is being captured, in memory, for who reads it as it grows.
//!
//! What is live is sent a moment after it was written. To read it back, and to check it, would take as many instructions as to
//! write it, so the writer leaves it here too: the beginning, until somebody comes, and then as long as somebody reads along. It is a
//! short cut and no more: all of it is in the file before, and what does not fit here is read there.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

use crate::limits;

/// The last chunks of a fragment that one reader has not had.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    chunks: VecDeque<Chunk>,
    bytes: usize,
}

#[derive(Debug)]
struct Chunk {
    /// Where it begins in the payload.
    at: u64,
    pieces: Vec<Bytes>,
    bytes: usize,
}

/// The tails of the fragments that are being captured, by their ordinals.
#[derive(Debug, Default)]
pub(crate) struct Tails {
    by_ordinal: Mutex<HashMap<u64, Kept>>,
}

#[derive(Debug)]
enum Kept {
    /// All of it so far, which its first reader will want soon if it is to be sent live.
    Beginning(Arc<Tail>),
    /// What a reader wants, while there is one.
    Wanted(Weak<Tail>),
}

impl Tail {
    /// The chunk that begins at `at`. Those before it are let go.
    pub(crate) fn take(&self, at: u64) -> Option<Vec<Bytes>> {
        let mut inner = self.lock();
        while inner.chunks.front().is_some_and(|chunk| chunk.at < at) {
            inner.drop_first();
        }
        (inner.chunks.front()?.at == at).then(|| inner.drop_first()).flatten()
    }

    /// Answers whether there was room for all.
    fn push(&self, chunk: Chunk) -> bool {
        let mut inner = self.lock();
        inner.bytes += chunk.bytes;
        inner.chunks.push_back(chunk);
        let fits = inner.bytes <= limits::TAIL_BYTES_MAX;
        while inner.bytes > limits::TAIL_BYTES_MAX {
            inner.drop_first();
        }
        fits
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn drop_first(&mut self) -> Option<Vec<Bytes>> {
        let chunk = self.chunks.pop_front()?;
        self.bytes -= chunk.bytes;
        Some(chunk.pieces)
    }
}

impl Tails {
    /// A fragment begins.
    pub(crate) fn begin(&self, ordinal: u64) {
        self.lock().insert(ordinal, Kept::Beginning(Arc::default()));
    }

    /// It has this chunk at `at` too, which is in its file.
    pub(crate) fn push(&self, ordinal: u64, at: u64, pieces: &[Bytes]) {
        let mut by_ordinal = self.lock();
        let Some(kept) = by_ordinal.get_mut(&ordinal) else {
            return;
        };
        let chunk = || {
            let pieces: Vec<Bytes> = pieces.iter().filter(|piece| !piece.is_empty()).cloned().collect();
            let bytes = pieces.iter().map(Bytes::len).sum();
            Chunk { at, pieces, bytes }
        };
        match kept {
            Kept::Beginning(tail) if tail.push(chunk()) => {}
            // It has grown beyond that, and nobody came.
            Kept::Beginning(_) => *kept = Kept::Wanted(Weak::new()),
            Kept::Wanted(tail) => {
                if let Some(tail) = tail.upgrade() {
                    tail.push(chunk());
                }
            }
        }
    }

    /// It is at its end.
    pub(crate) fn end(&self, ordinal: u64) {
        self.lock().remove(&ordinal);
    }

    /// What a fragment gains from now on, if it is being captured, and what it has while that is little. Who followed it before reads its
    /// file from now on.
    pub(crate) fn follow(&self, ordinal: u64) -> Option<Arc<Tail>> {
        let mut by_ordinal = self.lock();
        let kept = by_ordinal.get_mut(&ordinal)?;
        let tail = match kept {
            Kept::Beginning(tail) => tail.clone(),
            Kept::Wanted(_) => Arc::default(),
        };
        *kept = Kept::Wanted(Arc::downgrade(&tail));
        Some(tail)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Kept>> {
        self.by_ordinal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
