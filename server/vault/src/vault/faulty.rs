//! The machine's own disk with failures that a test asks for. The simulator has a disk that loses power; this
//! one is for tests that look at real files.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use disk::testing::{DiskOver, FileOver};
use disk::{Disk as _, File, OsDisk};

/// What fails at present.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Every sync of a file or folder.
    pub(crate) sync: AtomicBool,
    /// The disk says that it has no space.
    pub(crate) full: AtomicBool,
    /// A write brings half of its bytes to the file, then finds the disk full.
    pub(crate) half_writes: AtomicBool,
}

#[derive(Clone, Default)]
pub(crate) struct FaultyDisk(pub(crate) Arc<Faults>);

struct FaultyFile(Arc<dyn File>, Arc<Faults>);

impl Faults {
    fn at_sync(&self) -> io::Result<()> {
        if self.sync.load(Ordering::SeqCst) { Err(io::Error::other("injected sync failure")) } else { Ok(()) }
    }
}

impl FaultyDisk {
    fn file(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(FaultyFile(file, self.0.clone()))
    }
}

impl DiskOver for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.file(OsDisk.create(path)?))
    }

    fn open_to_cut(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.file(OsDisk.open_to_cut(path)?))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.0.at_sync()?;
        OsDisk.sync_folder(folder)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        if self.0.full.load(Ordering::SeqCst) { Ok(0) } else { OsDisk.free_bytes(path) }
    }
}

impl FileOver for FaultyFile {
    fn under(&self) -> &dyn File {
        &*self.0
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.1.half_writes.load(Ordering::SeqCst) {
            self.0.write_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.1.at_sync()?;
        self.0.sync()
    }
}
