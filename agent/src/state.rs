//! The state folder: everything that the agent keeps, locked by the one process that uses it.
//!
//! ```text
//! <state>/
//!   lock          held while an agent runs; its content means nothing
//!   key.pem       the device's private key, 0600
//!   cert.pem      its certificate
//!   ca.pem        the server's CA
//!   token.sha256  which join token was tried last (identity.rs)
//!   join.key      a key that a token is being tried with (identity.rs)
//!   boots         what is known of past boots' clocks (calendar.rs)
//!   status.json   counters, replaced each second while the agent runs (status.rs)
//!   wanted/       ranges of time that someone asked for (wanted.rs)
//!   spool/        fragments that are not persisted yet (spool/)
//!   rejected/     the last fragments that the server refused for good
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use disk::{Disk as _, OsDisk};
use rustix::fs::FlockOperation;

/// Why a state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It can't be made or written.
    #[error("the state folder {path} can't be used: {source}; set `state` to a folder that this user may write")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process holds it.
    #[error(
        "another millrace-agent uses the state folder {0}; stop it, or give this one a folder of its own with `state`"
    )]
    InUse(PathBuf),
}

/// A state folder that no other process uses. Dropping it gives it back.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    _lock: File,
}

impl StateFolder {
    /// Makes the folder where it is missing, and locks it.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let folder = |source| OpenError::Folder { path: path.to_owned(), source };
        make(path).map_err(folder)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(folder)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse(path.to_owned())),
            Err(error) => Err(folder(error.into())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A state folder that loses its name in a power cut takes everything with it.
fn make(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        return OsDisk.create_folder(path);
    }
    // The run that made it may have ended before its name was on disk. In a folder that this user can't read, another
    // has made it.
    let _ = sync_folder(disk::folder_of(path));
    Ok(())
}

/// Replaces a small file so that it holds the old or the new bytes, whatever happens: write beside it,
/// sync, rename, sync the folder. Readable by the owner only.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&beside, path)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a folder durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_told_that_the_folder_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFolder::open(folder.path()).unwrap();
        assert!(matches!(StateFolder::open(folder.path()), Err(OpenError::InUse(_))));
        drop(first);
        assert!(StateFolder::open(folder.path()).is_ok());
    }
}
