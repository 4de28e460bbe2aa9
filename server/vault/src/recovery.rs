//! What opening a vault does to what the last process left: take the lock, check the format, and give
//! back the space that was laid out but never written.
//!
//! Frames are not read: the catalog names only frames that were synced before its commit, so a torn
//! tail is referred to by nobody.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, SeekFrom};

use crate::disk;
use crate::error::OpenError;
use crate::segment::Folder;

const FORMAT: &str = "millrace vault 1\n";

/// Holds the vault's lock; released when dropped, and by the kernel if the process dies.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "holding the open file is the lock")] File);

/// Takes the vault's folder for this process, creating it if it does not exist.
pub(crate) fn lock(vault: &Path) -> Result<Lock, OpenError> {
    disk::create_folder(vault).map_err(|e| failed("create", vault, e))?;
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
pub(crate) fn check_format(vault: &Path) -> Result<(), OpenError> {
    let path = vault.join("format");
    match fs::read_to_string(&path) {
        Ok(found) if found == FORMAT => Ok(()),
        // Empty: the first process died between creating and writing it, before there was any data.
        Ok(found) if !found.is_empty() => Err(OpenError::Format {
            path: vault.to_owned(),
            found: found.trim_end().chars().take(80).collect(),
            known: FORMAT.trim_end(),
        }),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("read", &path, e)),
        _ => {
            let _ = fs::remove_file(&path);
            disk::write_new(&path, FORMAT.as_bytes()).map_err(|e| failed("write", &path, e))
        }
    }
}

/// Cuts segments to the last byte that was ever written. Only holes are cut: no byte of data is lost
/// even where a frame is torn or damaged.
pub(crate) fn cut_unwritten(folder: &Folder) -> Result<(), OpenError> {
    let names = folder.list().map_err(|e| failed("list", folder.path(), e))?;
    for name in names {
        let path = folder.path_of(name);
        let cut = || -> io::Result<()> {
            let file = OpenOptions::new().write(true).read(true).open(&path)?;
            let end = data_end(&file)?;
            if end < file.metadata()?.len() {
                file.set_len(end)?;
            }
            Ok(())
        };
        if let Err(error) = cut() {
            tracing::warn!(path = %path.display(), %error, "the unwritten end of a segment could not be cut");
        }
    }
    Ok(())
}

/// Where the last run of data ends, by the file system's own account.
fn data_end(file: &File) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let mut end = 0;
    while end < len {
        let data = match rustix::fs::seek(file, SeekFrom::Data(end)) {
            Ok(data) => data,
            // No data from here on.
            Err(rustix::io::Errno::NXIO) => return Ok(end),
            // A file system that does not know its holes.
            Err(_) => return Ok(len),
        };
        match rustix::fs::seek(file, SeekFrom::Hole(data)) {
            Ok(hole) => end = hole,
            Err(_) => return Ok(len),
        }
    }
    Ok(end)
}

pub(crate) fn failed(action: &'static str, path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { action, path: PathBuf::from(path), source }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::id::ExpiryHour;
    use crate::limits;
    use crate::segment::Appender;

    #[test]
    fn space_that_was_never_written_is_given_back_and_data_is_not() {
        let vault = tempfile::tempdir().unwrap();
        let folder = Folder::open(vault.path(), Arc::default()).unwrap();
        let mut segment = Appender::create(&folder, ExpiryHour(1)).unwrap();
        let path = folder.path_of(segment.name());
        let place = segment.place(100_000).unwrap();
        segment.write(&[7; 100_000], place.offset).unwrap();
        segment.sync().unwrap();
        drop(segment);

        cut_unwritten(&folder).unwrap();

        let len = path.metadata().unwrap().len();
        assert!((100_032..=limits::PREALLOCATE_BYTES).contains(&len), "{len}");
        assert_eq!(fs::read(&path).unwrap()[32..100_032], [7; 100_000]);
    }

    #[test]
    fn a_vault_of_another_format_is_refused() {
        let vault = tempfile::tempdir().unwrap();
        check_format(vault.path()).unwrap();
        check_format(vault.path()).unwrap();
        fs::write(vault.path().join("format"), "millrace vault 9\n").unwrap();
        assert!(matches!(check_format(vault.path()), Err(OpenError::Format { .. })));
    }
}
