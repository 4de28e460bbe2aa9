//! Disks for tests: one that holds nothing, and a start for those that differ from another one in a few calls.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::{Disk, File, OsDisk};

/// A disk, and a file of it, that takes all and gives nothing back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Disk for Nothing {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(Self))
    }

    fn open(&self, _: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(Self))
    }

    fn open_to_cut(&self, _: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(Self))
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn file_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(0)
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(0)
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

/// A disk that does as another one does, but for the calls that are written anew. It is a [`Disk`] by that.
#[expect(missing_docs, reason = "each call is one of Disk")]
pub trait DiskOver: Send + Sync {
    /// The other one: this machine's, unless it is said.
    fn under(&self) -> &dyn Disk {
        &OsDisk
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.under().create_folder(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.under().create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.under().open(path)
    }

    fn open_to_cut(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.under().open_to_cut(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.under().rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.under().remove(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.under().list(folder)
    }

    fn file_bytes(&self, path: &Path) -> io::Result<u64> {
        self.under().file_bytes(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.under().sync_folder(folder)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.under().free_bytes(path)
    }
}

impl<T: DiskOver> Disk for T {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        DiskOver::create_folder(self, path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        DiskOver::create(self, path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        DiskOver::open(self, path)
    }

    fn open_to_cut(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        DiskOver::open_to_cut(self, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        DiskOver::rename(self, from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        DiskOver::remove(self, path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        DiskOver::list(self, folder)
    }

    fn file_bytes(&self, path: &Path) -> io::Result<u64> {
        DiskOver::file_bytes(self, path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        DiskOver::sync_folder(self, folder)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        DiskOver::free_bytes(self, path)
    }
}

/// The same for a file. It is a [`File`] by that.
#[expect(missing_docs, reason = "each call is one of File")]
#[expect(clippy::len_without_is_empty, reason = "File has it")]
pub trait FileOver: Send + Sync {
    /// The other one.
    fn under(&self) -> &dyn File;

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        self.under().read_at(out, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.under().write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.under().sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.under().len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.under().set_len(len)
    }

    fn lay_out(&self, from: u64, bytes: u64) -> io::Result<()> {
        self.under().lay_out(from, bytes)
    }

    fn forget(&self, from: u64, bytes: u64) {
        self.under().forget(from, bytes);
    }

    fn written_end(&self) -> io::Result<u64> {
        self.under().written_end()
    }
}

impl<T: FileOver> File for T {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        FileOver::read_at(self, out, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileOver::write_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        FileOver::sync(self)
    }

    fn len(&self) -> io::Result<u64> {
        FileOver::len(self)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        FileOver::set_len(self, len)
    }

    fn lay_out(&self, from: u64, bytes: u64) -> io::Result<()> {
        FileOver::lay_out(self, from, bytes)
    }

    fn forget(&self, from: u64, bytes: u64) {
        FileOver::forget(self, from, bytes);
    }

    fn written_end(&self) -> io::Result<u64> {
        FileOver::written_end(self)
    }
}
