//! Segments as files in a folder of the local disk.
//!
//! `segments/<expiry slot: 8 digits>-<segment id: 16 hex>.seg`, mode 0600. A file is laid out ahead of its end,
//! because syncing an append to a file that needs no growth is a third quicker, and is cut to its end when it
//! is closed or, after a crash, when the folder is opened.
//!
//! What was written last stays in the system's page cache, for live viewers, and the rest is dropped from it
//! (`recent.rs`).

mod recent;

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::recent::Recent;
use super::{SegmentFile, SegmentName, SegmentStore, SegmentWriter, SyncError, file_name, parse_name};
use crate::limits;
use disk::{Disk, File};

/// The folder of segment files.
pub struct LocalSegments {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    reading: Mutex<Reading>,
    recent: Arc<Recent>,
}

impl LocalSegments {
    /// Opens the folder `segments` of a vault, which is created in a new one, and gives back the space that an
    /// earlier process laid out and never wrote.
    pub fn open(disk: Arc<dyn Disk>, vault: &Path) -> io::Result<Self> {
        let folder = vault.join("segments");
        disk.create_folder(&folder)?;
        let segments = Self { disk, folder, reading: Mutex::default(), recent: Arc::default() };
        segments.cut_unwritten()?;
        Ok(segments)
    }

    /// The path of a segment's file.
    pub fn path_of(&self, name: SegmentName) -> PathBuf {
        self.folder.join(file_name(name))
    }

    fn names(&self) -> io::Result<Vec<SegmentName>> {
        let mut names: Vec<_> = self.disk.list(&self.folder)?.iter().filter_map(|file| parse_name(file)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Cuts files to the last byte that was ever written. Only holes are cut: no byte of data is lost even
    /// where a frame is torn or damaged. Nothing needs to be synced: the next start would cut again.
    fn cut_unwritten(&self) -> io::Result<()> {
        for name in self.names()? {
            let path = self.path_of(name);
            let cut = || -> io::Result<()> {
                let file = self.disk.open_to_cut(&path)?;
                let end = file.written_end()?;
                if end < file.len()? { file.set_len(end) } else { Ok(()) }
            };
            if let Err(error) = cut() {
                tracing::warn!(path = %path.display(), %error, "the unwritten end of a segment could not be cut");
            }
        }
        Ok(())
    }

    fn file(&self, name: SegmentName) -> io::Result<Arc<dyn File>> {
        if let Some(file) = self.reading().find(name) {
            return Ok(file);
        }
        let file = self.disk.open(&self.path_of(name))?;
        self.reading().keep(name, file.clone());
        Ok(file)
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SegmentStore for LocalSegments {
    fn create(&self, name: SegmentName) -> io::Result<Box<dyn SegmentWriter>> {
        let path = self.path_of(name);
        let file = self.disk.create(&path)?;
        Ok(Box::new(LocalWriter {
            disk: self.disk.clone(),
            recent: self.recent.clone(),
            name,
            file,
            path,
            laid_out: 0,
            written: 0..0,
        }))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.disk.sync_folder(&self.folder)
    }

    fn read_at(&self, name: SegmentName, out: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file(name)?.read_at(out, offset)
    }

    fn list(&self) -> io::Result<Vec<SegmentFile>> {
        let mut listed = Vec::new();
        for name in self.names()? {
            match self.disk.file_bytes(&self.path_of(name)) {
                Ok(bytes) => listed.push(SegmentFile { name, bytes }),
                // Deleted since the folder was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(listed)
    }

    fn len(&self, name: SegmentName) -> io::Result<u64> {
        self.disk.file_bytes(&self.path_of(name))
    }

    fn remove(&self, name: SegmentName) -> io::Result<()> {
        self.disk.remove(&self.path_of(name))?;
        // A file that is held open keeps its space.
        self.reading().open.remove(&name);
        self.recent.close(name);
        Ok(())
    }

    fn tidy(&self) {
        self.recent.trim();
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        self.disk.free_bytes(&self.folder).map(Some)
    }
}

/// The files that were read last, kept open.
#[derive(Default)]
struct Reading {
    open: HashMap<SegmentName, (u64, Arc<dyn File>)>,
    uses: u64,
}

impl Reading {
    fn find(&mut self, name: SegmentName) -> Option<Arc<dyn File>> {
        self.uses += 1;
        let (used, file) = self.open.get_mut(&name)?;
        *used = self.uses;
        Some(file.clone())
    }

    fn keep(&mut self, name: SegmentName, file: Arc<dyn File>) {
        if self.open.len() >= limits::READ_FILES_MAX {
            let oldest = self.open.iter().min_by_key(|(_, (used, _))| *used).map(|(name, _)| *name);
            if let Some(oldest) = oldest {
                self.open.remove(&oldest);
            }
        }
        self.open.insert(name, (self.uses, file));
    }
}

/// A file that this process appends to.
struct LocalWriter {
    disk: Arc<dyn Disk>,
    name: SegmentName,
    file: Arc<dyn File>,
    path: PathBuf,
    laid_out: u64,
    /// What was written since the last sync, and where that began.
    written: Range<u64>,
    recent: Arc<Recent>,
}

impl SegmentWriter for LocalWriter {
    /// Lays the file out beyond `end`, as long as the disk keeps its reserve.
    fn reserve(&mut self, end: u64) -> io::Result<()> {
        if end <= self.laid_out {
            return Ok(());
        }
        let target = end.next_multiple_of(limits::PREALLOCATE_BYTES);
        let more = target - self.laid_out;
        if self.disk.free_bytes(&self.path)? < limits::DISK_RESERVE_BYTES + more {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.lay_out(self.laid_out, more)?;
        self.laid_out = target;
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)?;
        self.written.end = self.written.end.max(offset + bytes.len() as u64);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SyncError> {
        self.file.sync().map_err(SyncError::Doubtful)?;
        let synced = self.written.clone();
        self.written.start = synced.end;
        self.recent.note(self.name, &self.file, synced);
        Ok(())
    }

    fn goes_on(&self) -> bool {
        true
    }

    fn close(self: Box<Self>, end: Option<u64>) -> io::Result<()> {
        match end {
            None => {
                self.recent.close(self.name);
                self.disk.remove(&self.path)
            }
            Some(end) => self.file.set_len(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::id::{ExpirySlot, SegmentId};
    use disk::OsDisk;

    #[test]
    fn the_folder_lists_segments_by_expiry_and_overlooks_other_files() {
        let vault = tempfile::tempdir().unwrap();
        let segments = LocalSegments::open(Arc::new(OsDisk), vault.path()).unwrap();
        for slot in [12, 3, 7] {
            segments.create(name(slot)).unwrap();
        }
        fs::write(vault.path().join("segments/notes.txt"), "").unwrap();
        let slots: Vec<_> = segments.list().unwrap().iter().map(|file| file.name.expiry.0).collect();
        assert_eq!(slots, [3, 7, 12]);
    }

    #[test]
    fn space_that_was_never_written_is_given_back_and_data_is_not() {
        let vault = tempfile::tempdir().unwrap();
        let segments = LocalSegments::open(Arc::new(OsDisk), vault.path()).unwrap();
        let mut writer = segments.create(name(1)).unwrap();
        writer.reserve(100_000).unwrap();
        writer.write_at(&[7; 100_000], 0).unwrap();
        writer.sync().unwrap();
        assert_eq!(segments.len(name(1)).unwrap(), limits::PREALLOCATE_BYTES);
        drop(writer);

        let segments = LocalSegments::open(Arc::new(OsDisk), vault.path()).unwrap();

        let len = segments.len(name(1)).unwrap();
        assert!((100_000..limits::PREALLOCATE_BYTES).contains(&len), "{len}");
        assert_eq!(fs::read(segments.path_of(name(1))).unwrap()[..100_000], [7; 100_000]);
    }

    fn name(slot: u32) -> SegmentName {
        SegmentName { expiry: ExpirySlot(slot), id: SegmentId(1) }
    }
}
