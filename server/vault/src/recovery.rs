//! What opening a vault's folder does first: take the lock, and check the format.
//!
//! Frames are not read: the catalog names only frames that were synced before its commit, so a torn
//! tail is referred to by nobody.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::error::OpenError;
use disk::Disk;

const FORMAT: &[u8] = b"millrace vault 1\n";
/// Enough of another program's marker to show it to a person.
const FORMAT_BYTES_MAX: usize = 80;

/// Holds the vault's lock; released when dropped, and by the kernel if the process dies.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "holding the open file is the lock")] File);

/// Takes the vault's folder, which exists, for this process.
pub(crate) fn lock(vault: &Path) -> Result<Lock, OpenError> {
    let path = vault.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(|e| failed("open", &path, e))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked(vault.to_owned())),
        Err(e) => Err(failed("lock", &path, e.into())),
    }
}

/// Checks that this program understands the vault; marks a new one.
pub(crate) fn check_format(disk: &dyn Disk, vault: &Path) -> Result<(), OpenError> {
    let path = vault.join("format");
    match disk::read(disk, &path, FORMAT_BYTES_MAX) {
        Ok(found) if found == FORMAT => Ok(()),
        Ok(found) if !is_torn(&found) => Err(OpenError::Format {
            path: vault.to_owned(),
            found: String::from_utf8_lossy(&found).trim_end().to_owned(),
            known: "millrace vault 1",
        }),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("read", &path, e)),
        found => {
            if found.is_ok() {
                disk.remove(&path).map_err(|e| failed("replace", &path, e))?;
            }
            disk::write_new(disk, &path, FORMAT).map_err(|e| failed("write", &path, e))
        }
    }
}

/// Whether the first process died while writing the marker, before there was any data: each byte is right or
/// was never written.
fn is_torn(found: &[u8]) -> bool {
    found.len() <= FORMAT.len() && found.iter().zip(FORMAT).all(|(found, right)| found == right || *found == 0)
}

pub(crate) fn failed(action: &'static str, path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { action, path: PathBuf::from(path), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use disk::OsDisk;

    #[test]
    fn a_vault_of_another_format_is_refused() {
        let vault = tempfile::tempdir().unwrap();
        check_format(&OsDisk, vault.path()).unwrap();
        check_format(&OsDisk, vault.path()).unwrap();
        std::fs::write(vault.path().join("format"), "millrace vault 9\n").unwrap();
        assert!(matches!(check_format(&OsDisk, vault.path()), Err(OpenError::Format { .. })));
    }
}
