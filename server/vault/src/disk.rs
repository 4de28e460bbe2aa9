//! The few calls that make files durable, named for what they promise.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Creates a file that does not exist, readable by its owner only.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Writes a file that does not exist; file and name are on disk on return.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    match path.parent() {
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// Puts the names in a folder on disk.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    // An empty parent is that of a relative path: the current folder.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

/// Creates a folder and those above it, closed to others, and puts its name on disk.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    match path.parent() {
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

/// The bytes that this user may still write to the file system of `file`.
pub(crate) fn free_bytes(file: &File) -> io::Result<u64> {
    let stat = rustix::fs::fstatvfs(file)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Whether an error says that space, quota or file size ran out: trying again later helps.
pub(crate) fn is_full(error: &io::Error) -> bool {
    is_full_kind(error.kind())
}

/// The same for an error of which only the kind is known.
pub(crate) fn is_full_kind(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// Failures that tests ask for. In a built program this is empty and costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    #[cfg(test)]
    pub(crate) sync_fails: std::sync::atomic::AtomicBool,
    #[cfg(test)]
    pub(crate) disk_full: std::sync::atomic::AtomicBool,
    /// Writes this many bytes of a run, then fails as if the disk were full; negative: never.
    #[cfg(test)]
    pub(crate) write_stops: std::sync::atomic::AtomicBool,
}

#[cfg_attr(not(test), expect(clippy::unused_self, reason = "the faults exist in tests only"))]
impl Faults {
    /// Fails if a sync shall fail.
    pub(crate) fn at_sync(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.sync_fails.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(io::Error::other("injected sync failure"));
        }
        Ok(())
    }

    /// Fails if the disk shall be full.
    pub(crate) fn at_growth(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.disk_full.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// How many of `bytes` a write shall bring to the file before it fails.
    pub(crate) fn at_write(&self, bytes: usize) -> usize {
        #[cfg(test)]
        if self.write_stops.load(std::sync::atomic::Ordering::SeqCst) {
            return bytes / 2;
        }
        bytes
    }
}
