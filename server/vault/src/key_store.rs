//! Where wrapped keys lie.
//!
//! Not in the catalog, because destroying a key must destroy it: an LSM tree keeps old values in its
//! journal and tables until it compacts. It also lets frames and keys alone rebuild a lost catalog. A store
//! knows neither owners nor services: it keeps a few hundred bytes under each name.

#[cfg(feature = "objects")]
mod objects;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(feature = "objects")]
pub use self::objects::ObjectKeys;
use crate::id::KeyName;

/// Why a key store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("can't {action} {what}: {why}")]
pub struct KeyStoreError {
    action: &'static str,
    what: String,
    kind: io::ErrorKind,
    why: String,
}

impl KeyStoreError {
    /// A failure to `action` `what`.
    pub fn new(action: &'static str, what: impl Into<String>, source: &io::Error) -> Self {
        Self { action, what: what.into(), kind: source.kind(), why: source.to_string() }
    }

    /// The action that makes written bytes durable. After it has failed, what a disk says of them can't be
    /// trusted until it is read again.
    pub const SYNC: &'static str = "sync";

    /// Whether it was that action.
    pub fn is_of_sync(&self) -> bool {
        self.action == Self::SYNC
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> io::ErrorKind {
        self.kind
    }
}

/// Keeps wrapped keys by name. Its calls block.
///
/// Several servers may use one store at a time, so what depends on the present state of a key says which
/// state it means, and the store compares.
pub trait KeyStore: Send + Sync {
    /// The names of all keys.
    fn list(&self) -> Result<Vec<KeyName>, KeyStoreError>;

    /// What is stored under `name`, if anything is.
    fn read(&self, name: KeyName) -> Result<Option<Vec<u8>>, KeyStoreError>;

    /// Stores a key under a name that has none. Answers `false`, with nothing changed, if it has one.
    fn create(&self, name: KeyName, bytes: &[u8]) -> Result<bool, KeyStoreError>;

    /// Stores `new` in the place of `old`. Answers `false`, with nothing changed, if the name holds
    /// anything else by now or nothing: a key that was destroyed must not come back.
    fn replace(&self, name: KeyName, old: &[u8], new: &[u8]) -> Result<bool, KeyStoreError>;

    /// Removes a key. One that is not there is removed already.
    fn remove(&self, name: KeyName) -> Result<(), KeyStoreError>;

    /// Everything that was answered before is durable when this returns. Until then a power cut may undo
    /// it, each change whole or not at all.
    fn sync(&self) -> Result<(), KeyStoreError>;
}

/// A key store in memory, for tests and the simulator.
#[derive(Debug, Default)]
pub struct MemoryKeys(Mutex<Memory>);

#[derive(Clone, Debug, Default)]
struct Memory {
    present: BTreeMap<KeyName, Vec<u8>>,
    durable: BTreeMap<KeyName, Vec<u8>>,
}

impl MemoryKeys {
    /// Forgets what was not synced, as a power cut may.
    pub fn cut_power(&self) {
        let mut memory = self.memory();
        memory.present = memory.durable.clone();
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyStore for MemoryKeys {
    fn list(&self) -> Result<Vec<KeyName>, KeyStoreError> {
        Ok(self.memory().present.keys().copied().collect())
    }

    fn read(&self, name: KeyName) -> Result<Option<Vec<u8>>, KeyStoreError> {
        Ok(self.memory().present.get(&name).cloned())
    }

    fn create(&self, name: KeyName, bytes: &[u8]) -> Result<bool, KeyStoreError> {
        let mut memory = self.memory();
        if memory.present.contains_key(&name) {
            return Ok(false);
        }
        memory.present.insert(name, bytes.to_vec());
        Ok(true)
    }

    fn replace(&self, name: KeyName, old: &[u8], new: &[u8]) -> Result<bool, KeyStoreError> {
        match self.memory().present.get_mut(&name) {
            Some(present) if present == old => {
                *present = new.to_vec();
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn remove(&self, name: KeyName) -> Result<(), KeyStoreError> {
        self.memory().present.remove(&name);
        Ok(())
    }

    fn sync(&self) -> Result<(), KeyStoreError> {
        let mut memory = self.memory();
        memory.durable = memory.present.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
