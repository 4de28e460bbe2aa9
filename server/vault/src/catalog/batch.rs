//! A batch of changes to the catalog with the conditions under which they hold.

use bytes::Bytes;

use crate::error::{CatalogError, CommitError};
use crate::key::Key;

/// Changes that happen together or not at all. A later change of the same key wins.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(super) changes: Vec<Change>,
    pub(super) conditions: Vec<Condition>,
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The row has this value now.
    Insert(Key, Bytes),
    /// The row does not exist now.
    Remove(Key),
}

#[derive(Clone, Debug)]
pub(super) enum Condition {
    Absent(Key),
    Value(Key, Bytes),
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a row.
    pub fn insert(&mut self, key: Key, value: impl Into<Bytes>) -> &mut Self {
        self.changes.push(Change::Insert(key, value.into()));
        self
    }

    /// Removes a row, if it exists.
    pub fn remove(&mut self, key: Key) -> &mut Self {
        self.changes.push(Change::Remove(key));
        self
    }

    /// The batch holds only if this row does not exist.
    pub fn require_absent(&mut self, key: Key) -> &mut Self {
        self.conditions.push(Condition::Absent(key));
        self
    }

    /// The batch holds only if this row has exactly this value.
    pub fn require_value(&mut self, key: Key, value: impl Into<Bytes>) -> &mut Self {
        self.conditions.push(Condition::Value(key, value.into()));
        self
    }

    /// The changes in their order, for a backend.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// How many changes it holds.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The value that this batch gives to `key`.
    pub(crate) fn inserted(&self, key: &Key) -> Option<Bytes> {
        self.changes.iter().rev().find_map(|change| match change {
            Change::Insert(k, value) if k == key => Some(value.clone()),
            _ => None,
        })
    }

    /// Checks the conditions against what `get` finds. For a backend, which lets no other commit happen until this one
    /// is applied.
    pub fn check(&self, get: impl Fn(&Key) -> Result<Option<Bytes>, CatalogError>) -> Result<(), CommitError> {
        for condition in &self.conditions {
            let holds = match condition {
                Condition::Absent(key) => get(key).map_err(CommitError::NotCommitted)?.is_none(),
                Condition::Value(key, value) => get(key).map_err(CommitError::NotCommitted)?.as_ref() == Some(value),
            };
            if !holds {
                return Err(CommitError::Precondition);
            }
        }
        Ok(())
    }
}
