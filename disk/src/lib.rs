//! The file system as durable code uses it: the few calls that make bytes survive a power cut, named for what
//! they promise.
//!
//! The vault on the server and the spool on the device go through [`Disk`] for everything that has to last.
//! [`OsDisk`] is the machine's own. Another implementation can stand in for it, so that a simulation takes the
//! power away between any two calls. This crate knows no format: paths and bytes, nothing of what they mean.

mod os;
#[cfg(feature = "testing")]
pub mod testing;

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

pub use self::os::OsDisk;

/// A file system.
pub trait Disk: Send + Sync {
    /// Creates a folder and those above it that are missing, closed to others. On return the name of each that it made
    /// is on disk, and its own also if it was there. One whose name could not be brought to disk is not left behind:
    /// it would look as if it were safe.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Creates a file that does not exist, readable by its owner only. Its name is on disk only after
    /// [`Disk::sync_folder`].
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file for reading and cutting.
    fn open_to_cut(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name in one step, replacing what has it. On disk after [`Disk::sync_folder`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. On disk after [`Disk::sync_folder`].
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names of the files and folders in a folder, in no order.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// The length of a file.
    fn file_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Puts the names in a folder on disk.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// The bytes that this user may still write to the file system of `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// An open file.
pub trait File: Send + Sync {
    /// Reads at `offset` until `out` is full or the file ends; answers how much was read.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Writes all of `pieces`, joined, at `offset`: one write, as if they were one piece.
    fn write_pieces_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut joined = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
        pieces.iter().for_each(|piece| joined.extend_from_slice(piece));
        self.write_at(&joined, offset)
    }

    /// Puts what was written, and the length, on disk.
    fn sync(&self) -> io::Result<()>;

    /// The file's length.
    fn len(&self) -> io::Result<u64>;

    /// Who may do what with the file: the permission bits of Unix. `None` where the disk keeps none.
    fn mode(&self) -> io::Result<Option<u32>> {
        Ok(None)
    }

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file to `len`, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Lays out space from `from` on, as zeros within the file's length. Does nothing where the file system can't.
    fn lay_out(&self, from: u64, bytes: u64) -> io::Result<()>;

    /// Lets the system drop from its memory what is on disk of this range. Advice: nothing that was written is lost.
    fn forget(&self, from: u64, bytes: u64) {
        let _ = (from, bytes);
    }

    /// Where the last byte that was ever written ends, by the file system's own account; the length where it
    /// keeps none.
    fn written_end(&self) -> io::Result<u64>;
}

/// Writes a file that does not exist; file and name are on disk on return.
pub fn write_new(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = disk.create(path)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.sync_folder(folder_of(path))
}

/// All of a small file, at most `bytes_max` of it.
pub fn read(disk: &dyn Disk, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let len = usize::try_from(file.len()?).unwrap_or(usize::MAX).min(bytes_max);
    let mut bytes = vec![0; len];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// The folder that a file's name lies in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        // An empty parent is that of a relative path: the current folder.
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Whether an error says that space, quota or file size ran out: trying again later helps.
pub fn is_full(error: &io::Error) -> bool {
    is_full_kind(error.kind())
}

/// The same for an error of which only the kind is known.
pub fn is_full_kind(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
