//! The catalog on fjall, an embedded LSM store: one keyspace, synced at each commit.
//!
//! fjall has no conditional batch outside its transactions, and its transactions serialise writers as
//! the lock here does. The lock is held over check and commit, so a condition still holds when applied.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ::fjall::config::PartitioningPolicy;
use ::fjall::{Database, Iter, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use bytes::Bytes;

use super::batch::{Batch, Change};
use super::{Catalog, Direction, KeyRange, Row, Snapshot};
use crate::error::{CatalogError, CommitError};
use crate::key::Key;
use crate::limits;

/// A fjall database in a folder. fjall's own lock keeps a second process out.
pub struct FjallCatalog {
    database: Database,
    rows: Keyspace,
    commit: Mutex<()>,
}

impl FjallCatalog {
    /// Opens the database in `folder`, which is created if it does not exist.
    pub fn open(folder: &Path) -> Result<Self, CatalogError> {
        let database = Database::builder(folder)
            .cache_size(limits::CATALOG_CACHE_BYTES)
            .max_journaling_size(limits::CATALOG_JOURNAL_BYTES_MAX)
            .open()?;
        // By default a table of the upper levels has one filter and one index block, each read and checked as a whole:
        // a megabyte for a row that is not there, once they outgrow the cache. Of level 0 they stay in memory.
        let in_parts = || PartitioningPolicy::new([false, true]);
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(limits::CATALOG_MEMTABLE_BYTES_MAX)
                .filter_block_partitioning_policy(in_parts())
                .index_block_partitioning_policy(in_parts())
        };
        let rows = database.keyspace("rows", options)?;
        Ok(Self { database, rows, commit: Mutex::new(()) })
    }
}

impl Catalog for FjallCatalog {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, CatalogError> {
        Ok(self.rows.get(key.as_bytes())?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        Box::new(FjallSnapshot { snapshot: self.database.snapshot(), rows: self.rows.clone() })
    }

    fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let _serial = self.commit.lock().unwrap_or_else(PoisonError::into_inner);
        batch.check(|key| self.get(key))?;
        // fdatasync puts the data and the length of the file on disk, which is all that recovery reads.
        let mut changes = self.database.batch().durability(Some(PersistMode::SyncData));
        for change in batch.changes {
            match change {
                Change::Insert(key, value) => changes.insert(&self.rows, key.as_bytes(), &*value),
                Change::Remove(key) => changes.remove(&self.rows, key.as_bytes()),
            }
        }
        changes.commit().map_err(|e| CommitError::Broken(e.into()))
    }
}

struct FjallSnapshot {
    snapshot: ::fjall::Snapshot,
    rows: Keyspace,
}

impl FjallSnapshot {
    fn range(&self, range: &KeyRange) -> Iter {
        let start = range.start.as_bytes();
        match &range.end {
            Some(end) => self.snapshot.range(&self.rows, start..end.as_bytes()),
            None => self.snapshot.range(&self.rows, start..),
        }
    }
}

impl Snapshot for FjallSnapshot {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, CatalogError> {
        let value = self.snapshot.get(&self.rows, key.as_bytes())?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, range: &KeyRange, direction: Direction, limit: usize) -> Result<Vec<Row>, CatalogError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let limit = limit.min(limits::SCAN_ROWS_MAX);
        let rows = self.range(range);
        match direction {
            Direction::Ascending => rows.take(limit).map(row).collect(),
            Direction::Descending => rows.rev().take(limit).map(row).collect(),
        }
    }
}

fn row(guard: ::fjall::Guard) -> Result<Row, CatalogError> {
    let (key, value) = guard.into_inner()?;
    Ok(Row { key: Key::from_stored(Bytes::copy_from_slice(&key)), value: Bytes::copy_from_slice(&value) })
}

impl From<::fjall::Error> for CatalogError {
    fn from(error: ::fjall::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
