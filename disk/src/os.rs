//! The machine's own file system.

use std::fs::{self, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags, SeekFrom};

use super::{Disk, File, folder_of};

/// A page of memory, or a divisor of it.
const PAGE_BYTES: u64 = 4096;

/// Linux takes no more pieces in one write.
const PIECES_MAX: usize = 1024;

/// The machine's own file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return self.sync_folder(folder_of(path));
        }
        let above = folder_of(path);
        if !above.is_dir() {
            self.create_folder(above)?;
        }
        match fs::DirBuilder::new().mode(0o700).create(path) {
            // Another has just made it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            made => made?,
        }
        self.sync_folder(above).inspect_err(|_| {
            // It is empty, or another uses it and it stays.
            let _ = fs::remove_dir(path);
        })
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(fs::File::open(path)?))
    }

    fn open_to_cut(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        fs::read_dir(folder)?.map(name).collect()
    }

    fn file_bytes(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        fs::File::open(folder)?.sync_all()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl File for fs::File {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut len = 0;
        while len < out.len() {
            match FileExt::read_at(self, &mut out[len..], offset + len as u64) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn write_pieces_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut written = match rustix::io::pwritev(self, &pieces[..pieces.len().min(PIECES_MAX)], offset) {
            Ok(written) => written,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        // Mostly that was all of it; what is left of it is written piece by piece.
        let mut at = offset;
        for piece in pieces {
            let done = written.min(piece.len());
            self.write_all_at(&piece[done..], at + done as u64)?;
            written -= done;
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync: the data, and of the file's description what is needed to read it, which is its length.
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn mode(&self) -> io::Result<Option<u32>> {
        Ok(Some(self.metadata()?.mode() & 0o7777))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        fs::File::set_len(self, len)
    }

    fn lay_out(&self, from: u64, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), from, bytes) {
            // A file system without fallocate grows the file by writing instead.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn forget(&self, from: u64, bytes: u64) {
        // Only whole pages are dropped: the one that a range before ended in is whole together with this one.
        let start = from - from % PAGE_BYTES;
        let bytes = NonZeroU64::new(from + bytes - start);
        // Advice that is not taken costs memory and nothing else.
        let _ = rustix::fs::fadvise(self, start, bytes, Advice::DontNeed);
    }

    fn written_end(&self) -> io::Result<u64> {
        let len = File::len(self)?;
        let mut end = 0;
        while end < len {
            let data = match rustix::fs::seek(self, SeekFrom::Data(end)) {
                Ok(data) => data,
                // No data from here on.
                Err(rustix::io::Errno::NXIO) => return Ok(end),
                // A file system that does not know its holes.
                Err(_) => return Ok(len),
            };
            match rustix::fs::seek(self, SeekFrom::Hole(data)) {
                Ok(hole) => end = hole,
                Err(_) => return Ok(len),
            }
        }
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_is_made_with_those_above_it_closed_to_others_and_made_again_without_harm() {
        let root = tempfile::tempdir().expect("a folder for the test");
        let folder = root.path().join("a/b/c");
        for _ in 0..2 {
            OsDisk.create_folder(&folder).expect("it can be made");
        }
        for path in [&folder, folder_of(&folder)] {
            let mode = fs::metadata(path).expect("it was made").permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", path.display());
        }
    }

    #[test]
    fn pieces_are_written_one_behind_the_other_however_many_there_are() {
        let root = tempfile::tempdir().expect("a folder for the test");
        for count in [0, 1, 3, PIECES_MAX, 2 * PIECES_MAX + 1] {
            let pieces: Vec<Vec<u8>> = (0..count).map(|at| b"pieces"[..at % 7 % 6].to_vec()).collect();
            let slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let file = OsDisk.create(&root.path().join(count.to_string())).expect("it can be created");
            file.write_at(b"before", 0).expect("it can be written");
            file.write_pieces_at(&slices, 6).expect("it can be written");
            let mut bytes = vec![0; 20_000];
            let read = file.read_at(&mut bytes, 0).expect("it can be read");
            assert_eq!(bytes[..read], [b"before".to_vec(), pieces.concat()].concat());
        }
    }

    #[test]
    fn a_file_in_the_place_of_a_folder_is_an_error() {
        let root = tempfile::tempdir().expect("a folder for the test");
        let path = root.path().join("a");
        fs::write(&path, b"").expect("it can be written");
        assert!(OsDisk.create_folder(&path).is_err());
        assert!(OsDisk.create_folder(&path.join("b")).is_err());
    }
}
