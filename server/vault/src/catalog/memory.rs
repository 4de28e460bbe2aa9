//! The catalog in memory: for tests and simulation. Durable only as long as its handle.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::batch::{Batch, Change};
use super::{Catalog, Direction, KeyRange, Row, Snapshot};
use crate::error::{CatalogError, CommitError};
use crate::key::Key;
use crate::limits;

type Rows = BTreeMap<Key, Bytes>;

/// A map behind a lock. A snapshot shares the map; the next commit then copies it.
#[derive(Default)]
pub struct MemoryCatalog {
    rows: Mutex<Arc<Rows>>,
}

impl MemoryCatalog {
    fn current(&self) -> Arc<Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Catalog for MemoryCatalog {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, CatalogError> {
        Ok(self.current().get(key).cloned())
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        Box::new(MemorySnapshot(self.current()))
    }

    fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let mut guard = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        batch.check(|key| Ok(guard.get(key).cloned()))?;
        let rows = Arc::make_mut(&mut guard);
        for change in batch.changes {
            match change {
                Change::Insert(key, value) => rows.insert(key, value),
                Change::Remove(key) => rows.remove(&key),
            };
        }
        Ok(())
    }
}

struct MemorySnapshot(Arc<Rows>);

impl Snapshot for MemorySnapshot {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, CatalogError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, range: &KeyRange, direction: Direction, limit: usize) -> Result<Vec<Row>, CatalogError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let end = range.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.0.range::<Key, _>((Bound::Included(&range.start), end));
        let row = |(key, value): (&Key, &Bytes)| Row { key: key.clone(), value: value.clone() };
        let limit = limit.min(limits::SCAN_ROWS_MAX);
        Ok(match direction {
            Direction::Ascending => rows.take(limit).map(row).collect(),
            Direction::Descending => rows.rev().take(limit).map(row).collect(),
        })
    }
}
