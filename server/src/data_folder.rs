//! The data folder: what lies where, and files that come into being whole or not at all.
//!
//! ```text
//! lock          held (flock) by the process that works on this folder
//! vault/        segments, catalog, keys            the vault's own
//! ca/ca.pem     the private CA: certificate, key   ca.rs
//! console.key   what opens the watch page
//! admin.sock    the running server's admin socket  admin.rs
//! ```
//!
//! Everything is for its owner only: folders 0700, files 0600.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use fragment::WallTime;

/// Why the data folder can't be used.
#[derive(Debug, thiserror::Error)]
#[error("can't {action} {path}: {source}", path = path.display())]
pub struct FolderError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// A data folder that exists.
#[derive(Clone, Debug)]
pub(crate) struct DataFolder(PathBuf);

/// Keeps other processes out of the data folder; released when dropped, and by the kernel if the process dies.
///
/// The vault has a lock of its own. This one is taken before anything in the folder is made, so that two
/// processes at a first start don't both make a keyring, a CA or a console key.
#[derive(Debug)]
pub(crate) struct FolderLock(#[expect(dead_code, reason = "holding the open file is the lock")] File);

impl DataFolder {
    /// The folder at `path`, created if need be.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let folder = Self(path.to_owned());
        for path in [path.to_owned(), folder.ca()] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(|source| FolderError { action: "create the folder", path, source })?;
        }
        // `ca/` has to be found again after a power cut, as what will lie in it.
        let synced = File::open(path).and_then(|folder| folder.sync_all());
        synced.map_err(|source| FolderError { action: "sync the folder", path: path.to_owned(), source })?;
        Ok(folder)
    }

    /// Takes the folder for this process; `None` while another one has it.
    pub(crate) fn lock(&self) -> Result<Option<FolderLock>, FolderError> {
        let path = self.0.join("lock");
        let failed = |source| FolderError { action: "lock", path: path.clone(), source };
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FolderLock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn vault(&self) -> PathBuf {
        Self::vault_in(&self.0)
    }

    /// Where the vault lies in a data folder that need not exist yet.
    pub(crate) fn vault_in(path: &Path) -> PathBuf {
        path.join("vault")
    }

    /// Where a catalog goes that another takes the place of.
    pub(crate) fn catalog_set_aside(&self, now: WallTime) -> PathBuf {
        self.vault().join(format!("catalog.{}", now.as_millis()))
    }

    /// Where a vault comes into being out of a backup.
    pub(crate) fn vault_being_restored(&self) -> PathBuf {
        self.0.join("vault.restoring")
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.ca().join("ca.pem")
    }

    pub(crate) fn console_key(&self) -> PathBuf {
        self.0.join("console.key")
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.0.join("admin.sock")
    }

    fn ca(&self) -> PathBuf {
        self.0.join("ca")
    }
}

/// The text of a private file; `make` says what it holds when it does not exist yet. Call with the folder's
/// lock held.
pub(crate) fn read_or_create(path: &Path, make: impl FnOnce() -> String) -> Result<String, FolderError> {
    let failed = |action| move |source| FolderError { action, path: path.to_owned(), source };
    match fs::read_to_string(path) {
        // Never left so by these steps. An empty key must not open anything.
        Ok(text) if text.trim().is_empty() => {
            let empty = io::Error::new(io::ErrorKind::InvalidData, "it is empty; remove it, and a new one is made");
            return Err(failed("use")(empty));
        }
        Ok(text) => return Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read")(error)),
    }
    let text = make();
    create(path, text.as_bytes())?;
    Ok(text)
}

/// Makes a private file, which is there whole or not at all. Steps: 1 write a file beside it, 2 sync it, 3 rename it,
/// 4 sync the folder.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    let failed = |action| move |source| FolderError { action, path: path.to_owned(), source };
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(failed("create"))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed("write"))?;
    fs::rename(&beside, path).map_err(failed("create"))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync the folder of"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_private_file_is_made_once_and_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.key");
        assert_eq!(read_or_create(&path, || "first".to_owned()).unwrap(), "first");
        assert_eq!(read_or_create(&path, || unreachable!("it exists")).unwrap(), "first");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_making_that_was_broken_off_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("console.new"), "ha").unwrap();
        let path = folder.path().join("console.key");
        assert_eq!(read_or_create(&path, || "whole".to_owned()).unwrap(), "whole");
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
    }

    #[test]
    fn an_empty_file_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.key");
        fs::write(&path, "\n").unwrap();
        let error = read_or_create(&path, || unreachable!("it exists")).unwrap_err();
        assert!(error.to_string().contains("empty"), "{error}");
    }

    #[test]
    fn one_process_at_a_time_has_the_folder() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(place.path()).unwrap();
        let lock = folder.lock().unwrap();
        assert!(lock.is_some());
        assert!(folder.lock().unwrap().is_none());
        drop(lock);
        assert!(folder.lock().unwrap().is_some());
    }
}
