//! The owner of a run's entries.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use vault::{AssignError, Batch, Catalog, CatalogError, Domain, Location, Owner, OwnerId};

use super::key;

/// An owner whose index entry is a name and whose one row is `name -> location`.
pub(super) struct Names(pub(super) GivenUp);

/// Names that their owner gave up.
#[derive(Clone, Default)]
pub(super) struct GivenUp(Arc<Mutex<BTreeSet<String>>>);

impl GivenUp {
    pub(super) fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owner for Names {
    fn domain(&self) -> Domain {
        Domain::new(9)
    }

    fn assign(&self, _: &dyn Catalog, _: OwnerId, index: Bytes) -> Result<Bytes, AssignError> {
        Ok(index)
    }

    fn rows(&self, _: OwnerId, index: &[u8], location: Location, batch: &mut Batch) {
        let name = String::from_utf8_lossy(index);
        batch.insert(key(&name), location.encode().to_vec());
    }

    fn place(&self, catalog: &dyn Catalog, _: OwnerId, index: &[u8]) -> Result<Option<Location>, CatalogError> {
        let row = catalog.get(&key(&String::from_utf8_lossy(index)))?;
        Ok(row.and_then(|row| Location::decode(&row)))
    }

    fn relocate(&self, _: OwnerId, index: &[u8], from: Location, to: Location, batch: &mut Batch) {
        let key = key(&String::from_utf8_lossy(index));
        batch.require_value(key.clone(), from.encode().to_vec()).insert(key, to.encode().to_vec());
    }

    fn is_given_up(&self, _: &dyn Catalog, _: OwnerId, index: &[u8]) -> Result<bool, CatalogError> {
        Ok(self.0.names().contains(&*String::from_utf8_lossy(index)))
    }
}
