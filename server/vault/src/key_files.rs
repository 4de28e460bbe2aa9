//! The key store of a vault on local disk: one small file per key.
//!
//! `keys/<owner: 16 hex>-<epoch: 8 hex>-<key id: 16 hex>.key`, mode 0600; what is in it is in `stored_key.rs`.
//!
//! A key comes into being in these steps: 1 write `.tmp`, 2 sync it, 3 rename it, and, once for all keys of a
//! batch, 4 sync the folder. It is replaced in the same steps, and destroyed by unlinking it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use disk::Disk;

use crate::id::KeyName;
use crate::key_store::{KeyStore, KeyStoreError};

const FOLDER: &str = "keys";
/// Ten times what any key service wraps a key into.
const FILE_BYTES_MAX: usize = 64 << 10;

/// Whether the vault in `folder` has data keys.
pub(crate) fn exist(disk: &dyn Disk, folder: &Path) -> bool {
    disk.file_bytes(&folder.join(FOLDER).join(file_name(KeyName::ROOT))).is_ok()
}

/// The folder of key files.
pub(crate) struct KeyFiles {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// Held from looking at a name to changing it. The vault's lock keeps other processes away.
    changing: Mutex<()>,
    /// Tells unfinished files apart.
    unfinished: AtomicU64,
}

impl KeyFiles {
    /// Opens the folder, which is created in a new vault. What an earlier process did not finish goes, and what it did
    /// not sync is synced: its keys are used from now on, and those that it destroyed must not come back.
    pub(crate) fn open(disk: Arc<dyn Disk>, vault: &Path) -> Result<Self, KeyStoreError> {
        let folder = vault.join(FOLDER);
        disk.create_folder(&folder).map_err(|e| failed("create the folder", &folder, &e))?;
        let files = Self { disk, folder, changing: Mutex::default(), unfinished: AtomicU64::new(0) };
        for unfinished in files.names()?.iter().filter(|name| name.ends_with(".tmp")) {
            let path = files.folder.join(unfinished);
            files.disk.remove(&path).map_err(|e| failed("remove", &path, &e))?;
        }
        files.sync()?;
        Ok(files)
    }

    /// Steps 1 and 2: the bytes on disk, beside the place that they are for.
    fn write_beside(&self, path: &Path, bytes: &[u8]) -> Result<PathBuf, KeyStoreError> {
        let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
        let beside = path.with_extension(format!("{number}.tmp"));
        let file = self.disk.create(&beside).map_err(|e| failed("create", &beside, &e))?;
        let written = file.write_at(bytes, 0).map_err(|e| failed("write", &beside, &e));
        let synced = written.and_then(|()| file.sync().map_err(|e| failed(KeyStoreError::SYNC, &beside, &e)));
        if synced.is_err() {
            // Nothing refers to it; one that stays behind is removed at the next start.
            let _ = self.disk.remove(&beside);
        }
        synced.map(|()| beside)
    }

    /// Step 3, if the name is still as it was: `meets` is shown what it holds.
    fn put(&self, name: KeyName, bytes: &[u8], meets: impl Fn(Option<&[u8]>) -> bool) -> Result<bool, KeyStoreError> {
        let path = self.path(name);
        let beside = self.write_beside(&path, bytes)?;
        let _changing = self.changing();
        let renamed = match self.read(name) {
            Ok(present) if meets(present.as_deref()) => {
                self.disk.rename(&beside, &path).map(|()| true).map_err(|e| failed("name", &path, &e))
            }
            Ok(_) => Ok(false),
            Err(error) => Err(error),
        };
        if !matches!(renamed, Ok(true)) {
            let _ = self.disk.remove(&beside);
        }
        renamed
    }

    fn names(&self) -> Result<Vec<String>, KeyStoreError> {
        self.disk.list(&self.folder).map_err(|e| failed("list", &self.folder, &e))
    }

    fn path(&self, name: KeyName) -> PathBuf {
        self.folder.join(file_name(name))
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyStore for KeyFiles {
    fn list(&self) -> Result<Vec<KeyName>, KeyStoreError> {
        let names = self.names()?;
        Ok(names.iter().filter_map(|name| KeyName::parse(name.strip_suffix(".key")?)).collect())
    }

    fn read(&self, name: KeyName) -> Result<Option<Vec<u8>>, KeyStoreError> {
        let path = self.path(name);
        match disk::read(&*self.disk, &path, FILE_BYTES_MAX) {
            Ok(stored) => Ok(Some(stored)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("read", &path, &e)),
        }
    }

    fn create(&self, name: KeyName, bytes: &[u8]) -> Result<bool, KeyStoreError> {
        self.put(name, bytes, |present| present.is_none())
    }

    fn replace(&self, name: KeyName, old: &[u8], new: &[u8]) -> Result<bool, KeyStoreError> {
        self.put(name, new, |present| present == Some(old))
    }

    fn remove(&self, name: KeyName) -> Result<(), KeyStoreError> {
        let path = self.path(name);
        let _changing = self.changing();
        match self.disk.remove(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path, &e)),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> Result<(), KeyStoreError> {
        self.disk.sync_folder(&self.folder).map_err(|e| failed(KeyStoreError::SYNC, &self.folder, &e))
    }
}

fn file_name(name: KeyName) -> String {
    format!("{name}.key")
}

fn failed(action: &'static str, path: &Path, source: &io::Error) -> KeyStoreError {
    KeyStoreError::new(action, path.display().to_string(), source)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use disk::OsDisk;

    use super::*;
    use crate::vault::faulty::FaultyDisk;

    #[test]
    fn a_key_file_is_for_its_owner_only() {
        let vault = tempfile::tempdir().unwrap();
        let files = KeyFiles::open(Arc::new(OsDisk), vault.path()).unwrap();
        files.create(KeyName::ROOT, b"key").unwrap();
        let path = vault.path().join("keys/0000000000000000-ffffffff-0000000000000000.key");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        assert!(exist(&OsDisk, vault.path()));
    }

    #[test]
    fn what_a_process_left_unfinished_is_gone_after_the_next_start() {
        let vault = tempfile::tempdir().unwrap();
        let files = KeyFiles::open(Arc::new(OsDisk), vault.path()).unwrap();
        files.write_beside(&files.path(KeyName::ROOT), b"half").unwrap();
        let files = KeyFiles::open(Arc::new(OsDisk), vault.path()).unwrap();
        assert_eq!(files.list().unwrap(), []);
        assert_eq!(fs::read_dir(vault.path().join(FOLDER)).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_could_not_be_made_durable_leaves_nothing_behind() {
        let vault = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::default();
        let files = KeyFiles::open(Arc::new(disk.clone()), vault.path()).unwrap();
        disk.0.sync.store(true, Ordering::SeqCst);
        assert!(files.create(KeyName::ROOT, b"key").is_err());
        assert_eq!(fs::read_dir(vault.path().join(FOLDER)).unwrap().count(), 0);
    }
}
