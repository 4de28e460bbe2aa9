//! Video and index outside of the data folder, where several servers work on them: a PostgreSQL database and a bucket.
//!
//! What is the same for all of them besides (the CA, the console's key) lies in the catalog too, sealed under the vault's
//! root key. Rows of the space `Server`, beside those of devices:
//!
//! ```text
//! [0x03][name]    a sealed secret
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use vault::catalog::PostgresCatalog;
use vault::segment_store::ObjectSegments;
use vault::{
    Batch, Catalog, CatalogError, ClosedVault, CommitError, Key, KeyService, KeyStore as _, ObjectKeys, Objects,
    OsEntropy, Parts, Space, Vault,
};

use crate::key_service::{KeyServiceError, KeySettings};

const SECRET: u8 = 3;

/// Where video and index lie that several servers share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedStore {
    /// The index: `postgres://user@host/database`.
    pub catalog: String,
    /// The video and its keys: `s3://bucket/prefix`.
    pub store: String,
    /// Where S3 is, unless where AWS has it.
    pub endpoint: Option<String>,
}

/// Why a shared store can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SharedStoreError {
    /// The database can't be used.
    #[error("the catalog can't be used: {0}")]
    Catalog(CatalogError),
    /// The bucket can't be used.
    #[error("the store can't be used: {0}")]
    Store(std::io::Error),
    /// Its keys can't be listed or read.
    #[error("the store {0} can't be used: {1}")]
    Keys(String, vault::KeyStoreError),
    /// It was made with a keyring that is not here.
    #[error(
        "there is no keyring in {path}, and what lies in {store} can't be read without it: copy it from another server of \
         this store, or name it with --keyring", path = path.display()
    )]
    NoKeyring {
        /// Where it is missing.
        path: PathBuf,
        /// The store.
        store: String,
    },
    /// It was made with another keyring.
    #[error(
        "the store can't be opened by the master keys given (the keyring would be {path}): {why}; if another server made \
         this store, copy its keyring here", path = path.display()
    )]
    WrongKeyring {
        /// Where the keyring lies, if there is one.
        path: PathBuf,
        /// What the key service said.
        why: String,
    },
    /// Nobody wraps its data keys.
    #[error(transparent)]
    KeyService(#[from] KeyServiceError),
    /// A secret that all servers have in common can't be had.
    #[error("the servers' common {name} can't be read: {why}; do --catalog and --store belong together?")]
    Secret {
        /// Which one.
        name: &'static str,
        /// Why not.
        why: String,
    },
}

impl SharedStore {
    /// The parts of the vault in it. `vault` is the folder of this server's keyring. Blocks.
    pub(crate) fn parts(&self, settings: &KeySettings, vault: &Path) -> Result<Parts, SharedStoreError> {
        let (objects, service) = self.keys(settings, vault)?;
        let catalog = Arc::new(PostgresCatalog::open(&self.catalog).map_err(SharedStoreError::Catalog)?);
        let (segments, keys) = (ObjectSegments::new(objects.clone()), ObjectKeys::new(objects));
        Ok(Parts::of_stores(Arc::new(segments), catalog, Arc::new(keys), service, Arc::new(OsEntropy)))
    }

    /// The keys in it, for commands about master keys. Blocks.
    pub(crate) fn closed_vault(&self, settings: &KeySettings, vault: &Path) -> Result<ClosedVault, ClosedError> {
        let (objects, service) = self.keys(settings, vault)?;
        Ok(ClosedVault::of_store(Arc::new(ObjectKeys::new(objects)), service)?)
    }

    fn keys(&self, settings: &KeySettings, vault: &Path) -> Result<(Objects, Arc<dyn KeyService>), SharedStoreError> {
        let objects = Objects::open(&self.store, self.endpoint.as_deref()).map_err(SharedStoreError::Store)?;
        let listed = ObjectKeys::new(objects.clone()).list();
        let listed = listed.map_err(|error| SharedStoreError::Keys(self.store.clone(), error))?;
        if let Some(path) = settings.missing_keyring(vault)
            && !listed.is_empty()
        {
            return Err(SharedStoreError::NoKeyring { path, store: self.store.clone() });
        }
        Ok((objects, settings.open(vault)?))
    }
}

/// Why the vault of a shared store was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClosedError {
    #[error(transparent)]
    Store(#[from] SharedStoreError),
    #[error(transparent)]
    Vault(#[from] vault::OpenError),
}

/// A secret that all servers of a store have in common; `make` says what it is if there is none yet. Blocks.
pub(crate) fn secret(vault: &Vault, name: &'static str, make: impl Fn() -> String) -> Result<String, SharedStoreError> {
    let failed = |why: String| SharedStoreError::Secret { name, why };
    let key = Key::new(Space::Server, &[&[SECRET], name.as_bytes()].concat());
    loop {
        if let Some(sealed) = vault.catalog().get(&key).map_err(SharedStoreError::Catalog)? {
            let opened = vault.open_secret(name, &sealed).map_err(|e| failed(e.to_string()))?;
            return String::from_utf8(opened).map_err(|e| failed(e.to_string()));
        }
        let made = make();
        let sealed = vault.seal_secret(name, made.as_bytes()).map_err(|e| failed(e.to_string()))?;
        let mut batch = Batch::new();
        batch.require_absent(key.clone()).insert(key.clone(), sealed);
        match vault.catalog().commit(batch) {
            Ok(()) => return Ok(made),
            // Another server was quicker, and its secret counts.
            Err(CommitError::Precondition) => {}
            Err(error) => return Err(failed(error.to_string())),
        }
    }
}
