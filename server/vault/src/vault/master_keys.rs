//! What an operator does with master keys: on an open vault, and on one that is closed or that can't be
//! opened because its master key is disabled.

use std::path::Path;
use std::sync::Arc;

use disk::{Disk, OsDisk};

use super::Vault;
use crate::clock::Clock;
use crate::data_keys::DataKeys;
use crate::entropy::OsEntropy;
use crate::error::{KeyError, OpenError};
use crate::key_files::KeyFiles;
use crate::key_store::KeyStore;
use crate::key_use::Budgets;
use crate::keys::KeyService;
use crate::masters::{MasterId, MasterReport, MasterState, Rotated};
use crate::recovery::{self, Lock};

impl Vault {
    /// The master keys, and what each guards. Blocks.
    pub fn masters(&self) -> Result<Vec<MasterReport>, KeyError> {
        self.inner.shared.keys.masters()
    }

    /// Has a new master key, made at `now` in unix seconds, wrap all data keys. No payload is touched. Blocks.
    pub fn rotate_master(&self, now: u64) -> Result<Rotated, KeyError> {
        self.inner.shared.keys.rotate(now)
    }

    /// Lets a master key be used, or not. When this returns after disabling one, no commit is under way any
    /// more that had its keys from before, and no new read or commit gets them.
    pub async fn set_master(&self, id: MasterId, state: MasterState) -> Result<(), KeyError> {
        let shared = self.inner.shared.clone();
        let set = tokio::task::spawn_blocking(move || shared.keys.set_master(&id, state)).await;
        set.unwrap_or(Err(KeyError::Closed))?;
        self.barrier().await;
        Ok(())
    }

    /// Changes whenever unwrapped keys were dropped: because a master key was disabled, or data keys were
    /// destroyed. Who keeps payloads in the clear in memory lets go of them then.
    pub fn key_drops(&self) -> u64 {
        self.inner.shared.keys.drops()
    }
}

/// A vault that nobody has open, held closed while its master keys are changed.
pub struct ClosedVault {
    keys: DataKeys,
    _lock: Option<Lock>,
}

impl ClosedVault {
    /// Takes the vault in `folder`, which must exist. Its keys need not be to be had. Blocks.
    pub fn open(folder: &Path, service: Arc<dyn KeyService>) -> Result<Self, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let lock = recovery::lock(folder)?;
        recovery::check_format(&*disk, folder)?;
        let store = Arc::new(KeyFiles::open(disk, folder).map_err(KeyError::from)?);
        Ok(Self { _lock: Some(lock), ..Self::of_store(store, service)? })
    }

    /// Takes a vault whose keys lie in this store, which servers may have open all the same. Blocks.
    pub fn of_store(store: Arc<dyn KeyStore>, service: Arc<dyn KeyService>) -> Result<Self, OpenError> {
        let keys = DataKeys::new(store, service, Arc::new(OsEntropy), Clock::default(), Budgets::default())?;
        Ok(Self { keys, _lock: None })
    }

    /// See [`Vault::masters`].
    pub fn masters(&self) -> Result<Vec<MasterReport>, KeyError> {
        self.keys.masters()
    }

    /// See [`Vault::rotate_master`].
    pub fn rotate_master(&self, now: u64) -> Result<Rotated, KeyError> {
        self.keys.rotate(now)
    }

    /// See [`Vault::set_master`].
    pub fn set_master(&self, id: &MasterId, state: MasterState) -> Result<(), KeyError> {
        self.keys.set_master(id, state)
    }
}
