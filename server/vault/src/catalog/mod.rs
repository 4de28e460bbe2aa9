//! The catalog: an ordered key-value store with snapshots and an atomic, durable, conditional commit.
//!
//! Domain code is written once against [`Catalog`], and `tests.rs` holds every backend to the same promises.
//! A commit is on disk when it returns. All calls block; from async code use `spawn_blocking` for anything
//! but a point read.

mod batch;
mod fjall;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;

use std::sync::Arc;

use bytes::Bytes;

pub use self::batch::{Batch, Change};
pub use self::fjall::FjallCatalog;
pub use self::memory::MemoryCatalog;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresCatalog;
use crate::error::{CatalogError, CommitError};
use crate::key::Key;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: Key,
    /// Its value.
    pub value: Bytes,
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the smallest key up.
    Ascending,
    /// From the largest key down.
    Descending,
}

/// A half-open range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key in the range.
    pub start: Key,
    /// The first key after the range; `None` for no end.
    pub end: Option<Key>,
}

impl KeyRange {
    /// From `start` up to but without `end`.
    pub fn between(start: Key, end: Key) -> Self {
        Self { start, end: Some(end) }
    }

    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: Key) -> Self {
        let end = prefix.after_prefix();
        Self { start: prefix, end }
    }

    /// What remains of the range after `key` was seen, scanning in `direction`: how a caller continues a
    /// scan that was cut at its limit.
    pub fn beyond(&self, key: &Key, direction: Direction) -> Self {
        match direction {
            Direction::Ascending => {
                let mut next = key.as_bytes().to_vec();
                next.push(0);
                Self { start: Key::from_stored(next.into()), end: self.end.clone() }
            }
            Direction::Descending => Self { start: self.start.clone(), end: Some(key.clone()) },
        }
    }

    /// Whether no key can lie in the range.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
}

/// Reads of one state of the catalog.
pub trait Snapshot: Send {
    /// The value of a row.
    fn get(&self, key: &Key) -> Result<Option<Bytes>, CatalogError>;

    /// Rows of a range, at most `limit` and at most [`crate::limits::SCAN_ROWS_MAX`].
    fn scan(&self, range: &KeyRange, direction: Direction, limit: usize) -> Result<Vec<Row>, CatalogError>;
}

/// The store. Shared by handle; commits are serialised inside.
pub trait Catalog: Send + Sync {
    /// The value of a row as last committed.
    fn get(&self, key: &Key) -> Result<Option<Bytes>, CatalogError>;

    /// The state as last committed, held still. Where it can't be had, its reads say so.
    fn snapshot(&self) -> Box<dyn Snapshot>;

    /// Checks the batch's preconditions and applies it, all or nothing. On disk when it returns. The
    /// preconditions hold at the moment when the changes appear, also against other processes.
    fn commit(&self, batch: Batch) -> Result<(), CommitError>;

    /// Whether there is space for the rows of new entries, and more, so that what gives space back finds some too. A commit
    /// for which there is none at all is refused as [`CatalogError::Full`].
    fn has_room(&self) -> bool {
        true
    }

    /// Whether a read may take longer than a thread with other work should wait.
    fn is_remote(&self) -> bool {
        false
    }

    /// Decides the commits of this handle that ended in [`CommitError::Unknown`]: when it returns, each of
    /// them is in the catalog or never will be. A commit does so first by itself; call this before
    /// reading what the next commit builds upon.
    fn settle(&self) -> Result<(), CatalogError> {
        Ok(())
    }

    /// How many reads met damage since it was opened.
    fn damaged_reads(&self) -> u64 {
        0
    }

    /// Rows of a range as last committed; see [`Snapshot::scan`].
    fn scan(&self, range: &KeyRange, direction: Direction, limit: usize) -> Result<Vec<Row>, CatalogError> {
        self.snapshot().scan(range, direction, limit)
    }
}

impl<C: Catalog + ?Sized> Catalog for Arc<C> {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, CatalogError> {
        (**self).get(key)
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        (**self).snapshot()
    }

    fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        (**self).commit(batch)
    }

    fn has_room(&self) -> bool {
        (**self).has_room()
    }

    fn settle(&self) -> Result<(), CatalogError> {
        (**self).settle()
    }

    fn is_remote(&self) -> bool {
        (**self).is_remote()
    }

    fn damaged_reads(&self) -> u64 {
        (**self).damaged_reads()
    }

    fn scan(&self, range: &KeyRange, direction: Direction, limit: usize) -> Result<Vec<Row>, CatalogError> {
        (**self).scan(range, direction, limit)
    }
}

#[cfg(test)]
mod tests;
