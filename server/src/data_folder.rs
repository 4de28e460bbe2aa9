//! The data folder: what lies where, and files that come into being whole or not at all.
//!
//! ```text
//! vault/        segments, catalog, keys            the vault's own
//! ca/ca.pem     the private CA: certificate, key   ca.rs
//! console.key   what opens the watch page
//! admin.sock    the running server's admin socket  admin.rs
//! ```
//!
//! Everything is for its owner only: folders 0700, files 0600.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

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

impl DataFolder {
    /// The folder at `path`, created if need be.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let folder = Self(path.to_owned());
        for path in [path.to_owned(), folder.ca()] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(|source| FolderError { action: "create the folder", path, source })?;
        }
        Ok(folder)
    }

    pub(crate) fn vault(&self) -> PathBuf {
        self.0.join("vault")
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

/// The text of a private file; `make` says what it holds when it does not exist yet. Steps when it is
/// made: 1 write a file beside it, 2 sync it, 3 rename it, 4 sync the folder.
pub(crate) fn read_or_create(path: &Path, make: impl FnOnce() -> String) -> Result<String, FolderError> {
    let failed = |action| move |source| FolderError { action, path: path.to_owned(), source };
    match fs::read_to_string(path) {
        Ok(text) => return Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read")(error)),
    }
    let text = make();
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(failed("create"))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write"))?;
    fs::rename(&beside, path).map_err(failed("create"))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync the folder of"))?;
    Ok(text)
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
}
