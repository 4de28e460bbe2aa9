//! This machine's disk without syncs, and one beside it that holds no fragment, for what is never read back.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ::disk::{Disk, File, OsDisk};

pub(super) struct Unsynced {
    pub(super) holds_fragments: bool,
}

struct UnsyncedFile(Arc<dyn File>);

/// A file that takes all and holds nothing.
struct Nothing;

impl Unsynced {
    fn holds(&self, path: &Path) -> bool {
        self.holds_fragments || path.extension().is_none_or(|end| end != "frag")
    }
}

impl Disk for Unsynced {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_folder(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        if self.holds(path) { Ok(Arc::new(UnsyncedFile(OsDisk.create(path)?))) } else { Ok(Arc::new(Nothing)) }
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(UnsyncedFile(OsDisk.open(path)?)))
    }

    fn open_to_cut(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(UnsyncedFile(OsDisk.open_to_cut(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if self.holds(path) { OsDisk.remove(path) } else { Ok(()) }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(folder)
    }

    fn file_bytes(&self, path: &Path) -> io::Result<u64> {
        OsDisk.file_bytes(path)
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        OsDisk.free_bytes(path)
    }
}

impl File for UnsyncedFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(out, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn lay_out(&self, from: u64, bytes: u64) -> io::Result<()> {
        self.0.lay_out(from, bytes)
    }

    fn written_end(&self) -> io::Result<u64> {
        self.0.written_end()
    }
}

impl File for Nothing {
    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Ok(0)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn lay_out(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn written_end(&self) -> io::Result<u64> {
        Ok(0)
    }
}
