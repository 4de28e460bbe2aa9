//! What must be true, as the callers were told.

use std::collections::BTreeMap;

use bytes::Bytes;
use vault::{Entry, ExpirySlot, OwnerId};

use super::key;

/// What the callers know.
#[derive(Default)]
pub(super) struct Model {
    pub(super) entries: BTreeMap<String, Known>,
    /// Owners that store.
    pub(super) owners: Vec<OwnerId>,
    /// Owners whose keys were to be destroyed, and whether that was answered.
    pub(super) destroyed: BTreeMap<OwnerId, bool>,
    /// The slot that the last sweep began with: what expires earlier may be gone.
    pub(super) swept: Option<ExpirySlot>,
}

pub(super) struct Known {
    pub(super) owner: OwnerId,
    pub(super) payload: Bytes,
    pub(super) expiry: ExpirySlot,
    pub(super) state: Knowledge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knowledge {
    /// It was sent and not answered well: there or not.
    Sent,
    /// It was answered.
    Stored,
    /// Its removal was begun and not answered: there or not.
    Leaving,
    /// Its removal was answered.
    Removed,
}

impl Model {
    /// Whether a sweep may have taken the entry: never while its row is there.
    pub(super) fn swept_away(&self, name: &str) -> bool {
        let known = &self.entries[name];
        self.swept.is_some_and(|swept| known.expiry < swept) && known.state != Knowledge::Stored
    }
}

impl Known {
    pub(super) fn entry(&self, name: &str) -> Entry {
        Entry {
            owner: self.owner,
            expiry: self.expiry,
            index: Bytes::copy_from_slice(name.as_bytes()),
            payload: self.payload.clone(),
            unless_exists: Some(key(name)),
        }
    }
}
