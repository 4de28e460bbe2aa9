//! What a batch comes to, once later changes of a key have won over earlier ones, in the order in which
//! PostgreSQL is told.
//!
//! PostgreSQL takes rows in bulk and does not allow one statement to touch a row twice, so the changes are
//! sorted out here. All keys ascend: two commits that lock the same rows lock them in the same order.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::catalog::batch::{Batch, Change, Condition};
use crate::error::CatalogError;
use crate::key::Key;
use crate::limits;

/// A batch, sorted out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Rows that must have these values. They are locked, so that they still have them at the end.
    pub(super) held: BTreeSet<(Key, Bytes)>,
    /// Rows that must not exist, and what is put in their place. The uniqueness of the key is the lock.
    pub(super) fresh: BTreeMap<Key, Bytes>,
    /// Rows that are set, whether they exist or not.
    pub(super) set: BTreeMap<Key, Bytes>,
    /// Rows that are removed, with those of `fresh` that were wanted only for their absence.
    pub(super) removed: BTreeSet<Key>,
}

impl Plan {
    /// Sorts out a batch, unless it is too large to be sent.
    pub(super) fn of(batch: Batch) -> Result<Self, CatalogError> {
        let mut plan = Self::default();
        let mut last = BTreeMap::new();
        for change in batch.changes {
            match change {
                Change::Insert(key, value) => last.insert(key, Some(value)),
                Change::Remove(key) => last.insert(key, None),
            };
        }
        for condition in batch.conditions {
            match condition {
                Condition::Value(key, value) => {
                    plan.held.insert((key, value));
                }
                Condition::Absent(key) => {
                    if !plan.fresh.contains_key(&key) {
                        plan.hold_absent(last.remove(&key).flatten(), key);
                    }
                }
            }
        }
        for (key, value) in last {
            match value {
                Some(value) => drop(plan.set.insert(key, value)),
                None => drop(plan.removed.insert(key)),
            }
        }
        plan.check_size()?;
        Ok(plan)
    }

    /// Whether it asks and changes nothing.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn hold_absent(&mut self, value: Option<Bytes>, key: Key) {
        if value.is_none() {
            self.removed.insert(key.clone());
        }
        self.fresh.insert(key, value.unwrap_or_default());
    }

    fn check_size(&self) -> Result<(), CatalogError> {
        let pairs = self.held.iter().map(|(key, value)| (key, value)).chain(&self.fresh).chain(&self.set);
        let bytes: usize = pairs.map(|(key, value)| key.as_bytes().len() + value.len()).sum();
        if bytes > limits::CATALOG_BATCH_BYTES_MAX {
            let max = limits::CATALOG_BATCH_BYTES_MAX;
            return Err(CatalogError::Failed(format!("a batch of {bytes} bytes; {max} are allowed, cut it")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Space;

    #[test]
    fn the_last_change_of_a_key_wins() {
        let mut batch = Batch::new();
        batch.insert(key("a"), "1").remove(key("a")).insert(key("a"), "2");
        batch.insert(key("b"), "1").remove(key("b"));
        let plan = Plan::of(batch).unwrap();
        assert_eq!(plan.set, [(key("a"), Bytes::from("2"))].into());
        assert_eq!(plan.removed, [key("b")].into());
    }

    #[test]
    fn a_row_that_must_be_absent_is_put_there_once_and_not_set_again() {
        let mut batch = Batch::new();
        batch.require_absent(key("a")).require_absent(key("a")).insert(key("a"), "1");
        let plan = Plan::of(batch).unwrap();
        assert_eq!(plan.fresh, [(key("a"), Bytes::from("1"))].into());
        assert!(plan.set.is_empty() && plan.removed.is_empty());
    }

    #[test]
    fn a_row_that_must_only_be_absent_leaves_nothing() {
        let mut batch = Batch::new();
        batch.require_absent(key("a")).require_absent(key("b")).remove(key("b"));
        let plan = Plan::of(batch).unwrap();
        assert_eq!(plan.fresh.keys().cloned().collect::<BTreeSet<_>>(), plan.removed);
        assert_eq!(plan.removed, [key("a"), key("b")].into());
    }

    #[test]
    fn a_batch_too_large_to_send_is_refused_and_no_retry_promised() {
        let value = Bytes::from(vec![0; limits::CATALOG_BATCH_BYTES_MAX / 4]);
        let mut batch = Batch::new();
        for name in ["a", "b", "c", "d"] {
            batch.insert(key(name), value.clone());
        }
        assert!(!Plan::of(batch).unwrap_err().retryable());
    }

    fn key(name: &str) -> Key {
        Key::new(Space::Archive, name.as_bytes())
    }
}
