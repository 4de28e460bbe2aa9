//! Segments: append-only files of frames with one expiry hour.
//!
//! ```text
//! segments/<expiry hour: 8 digits>-<segment id: 16 hex>.seg, mode 0600:
//! [magic "MRSEGMT1": 8][segment id: 8][expiry hour: 4][reserved: 8][crc32c: 4]  then frames
//! ```
//!
//! A segment is written by the process that created it and by no other: after a restart new segments are
//! begun, because half a nonce is the segment's id and a torn tail may hold a frame that was never
//! acknowledged. It is laid out ahead of its end, and cut to its end when it is closed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;

use crate::disk::{self, Faults};
use crate::id::{ExpiryHour, SegmentId};
use crate::keys::random;
use crate::limits;

pub(crate) const HEADER_BYTES: u32 = 32;
const MAGIC: &[u8; 8] = b"MRSEGMT1";

/// A segment's name: enough to find its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) expiry: ExpiryHour,
    pub(crate) id: SegmentId,
}

/// The folder of segment files.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    faults: Arc<Faults>,
}

impl Folder {
    /// Opens the folder, which is created in a new vault.
    pub(crate) fn open(vault: &Path, faults: Arc<Faults>) -> io::Result<Self> {
        let path = vault.join("segments");
        disk::create_folder(&path)?;
        Ok(Self { path, faults })
    }

    /// The folder's own path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a segment's file.
    pub(crate) fn path_of(&self, name: Name) -> PathBuf {
        self.path.join(format!("{:08}-{}.seg", name.expiry.0, name.id))
    }

    /// The names of all segments, the first to expire first. Other files are not ours to judge.
    pub(crate) fn list(&self) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().to_str().and_then(parse_name));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Puts the folder's names on disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.faults.at_sync()?;
        disk::sync_folder(&self.path)
    }
}

fn parse_name(file: &str) -> Option<Name> {
    let (hour, id) = file.strip_suffix(".seg")?.split_once('-')?;
    if id.len() != 16 {
        return None;
    }
    Some(Name { expiry: ExpiryHour(hour.parse().ok()?), id: SegmentId(u64::from_str_radix(id, 16).ok()?) })
}

/// A segment that this process appends to.
#[derive(Debug)]
pub(crate) struct Appender {
    name: Name,
    path: PathBuf,
    file: File,
    /// The end of what was placed.
    end: u32,
    /// The end of what is committed: nothing beyond it was ever acknowledged.
    committed: u32,
    laid_out: u64,
    next_ordinal: u32,
    faults: Arc<Faults>,
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) offset: u32,
    pub(crate) ordinal: u32,
}

impl Appender {
    /// Creates a segment with a random id. Its name is on disk only after [`Folder::sync`].
    pub(crate) fn create(folder: &Folder, expiry: ExpiryHour) -> io::Result<Self> {
        folder.faults.at_growth()?;
        let mut id = [0; 8];
        random(&mut id).map_err(io::Error::other)?;
        let name = Name { expiry, id: SegmentId(u64::from_be_bytes(id)) };
        let path = folder.path_of(name);
        let file = disk::create_new(&path)?;
        let faults = folder.faults.clone();
        let mut appender =
            Self { name, path, file, end: HEADER_BYTES, committed: 0, laid_out: 0, next_ordinal: 0, faults };
        let begun = appender.lay_out().and_then(|()| appender.file.write_all_at(&header(name), 0));
        if let Err(e) = begun {
            // Nothing refers to it; an empty file left behind would be swept at its hour.
            let _ = fs::remove_file(&appender.path);
            return Err(e);
        }
        Ok(appender)
    }

    pub(crate) fn name(&self) -> Name {
        self.name
    }

    /// The place of the next frame, or `None` if the segment is full. Its ordinal is spent even if the
    /// frame is never written.
    pub(crate) fn place(&mut self, frame_bytes: u32) -> Option<Place> {
        let end = self.end.checked_add(frame_bytes)?;
        if end > limits::SEGMENT_BYTES_MAX && self.end > HEADER_BYTES {
            return None;
        }
        let place = Place { offset: self.end, ordinal: self.next_ordinal };
        self.next_ordinal = self.next_ordinal.checked_add(1)?;
        self.end = end;
        Some(place)
    }

    /// Writes the run of frames that was placed at `offset`.
    pub(crate) fn write(&mut self, frames: &[u8], offset: u32) -> io::Result<()> {
        self.lay_out()?;
        let whole = self.faults.at_write(frames.len());
        self.file.write_all_at(&frames[..whole], u64::from(offset))?;
        if whole < frames.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Puts everything written on disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.faults.at_sync()?;
        self.file.sync_data()
    }

    /// Everything placed is now acknowledged.
    pub(crate) fn committed(&mut self) {
        self.committed = self.end;
    }

    /// Cuts what lies beyond the last acknowledged frame; removes a segment that has none.
    pub(crate) fn close(self) {
        let closed = match self.committed {
            0 => fs::remove_file(&self.path),
            end => self.file.set_len(u64::from(end)),
        };
        if let Err(error) = closed {
            tracing::warn!(segment = %self.name.id, %error, "a segment could not be cut to its length");
        }
    }

    /// Lays the file out beyond its end, as long as the disk keeps its reserve.
    fn lay_out(&mut self) -> io::Result<()> {
        let end = u64::from(self.end);
        if end <= self.laid_out {
            return Ok(());
        }
        self.faults.at_growth()?;
        let target = end.next_multiple_of(limits::PREALLOCATE_BYTES);
        if disk::free_bytes(&self.file)? < limits::DISK_RESERVE_BYTES + (target - self.laid_out) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), self.laid_out, target - self.laid_out) {
            // A file system without fallocate grows the file by writing instead.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e.into()),
        }
        self.laid_out = target;
        Ok(())
    }
}

fn header(name: Name) -> [u8; HEADER_BYTES as usize] {
    let mut out = [0; HEADER_BYTES as usize];
    out[..8].copy_from_slice(MAGIC);
    out[8..16].copy_from_slice(&name.id.0.to_be_bytes());
    out[16..20].copy_from_slice(&name.expiry.0.to_be_bytes());
    let crc = crc32c::crc32c(&out[..28]);
    out[28..].copy_from_slice(&crc.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_full_at_its_limit_but_takes_any_single_frame() {
        let vault = tempfile::tempdir().unwrap();
        let folder = Folder::open(vault.path(), Arc::default()).unwrap();
        let mut segment = Appender::create(&folder, ExpiryHour(9)).unwrap();
        assert_eq!(segment.place(limits::SEGMENT_BYTES_MAX).unwrap().offset, HEADER_BYTES);
        assert!(segment.place(1).is_none());
    }

    #[test]
    fn a_closed_segment_has_the_length_of_what_was_committed() {
        let vault = tempfile::tempdir().unwrap();
        let folder = Folder::open(vault.path(), Arc::default()).unwrap();
        let mut segment = Appender::create(&folder, ExpiryHour(9)).unwrap();
        let path = folder.path_of(segment.name());
        let place = segment.place(100).unwrap();
        segment.write(&[1; 100], place.offset).unwrap();
        assert_eq!(path.metadata().unwrap().len(), limits::PREALLOCATE_BYTES);
        segment.committed();
        segment.place(50).unwrap();
        segment.close();
        assert_eq!(path.metadata().unwrap().len(), u64::from(HEADER_BYTES) + 100);
    }

    #[test]
    fn the_folder_lists_segments_by_expiry_and_overlooks_other_files() {
        let vault = tempfile::tempdir().unwrap();
        let folder = Folder::open(vault.path(), Arc::default()).unwrap();
        for hour in [12, 3, 7] {
            Appender::create(&folder, ExpiryHour(hour)).unwrap();
        }
        fs::write(folder.path().join("notes.txt"), "").unwrap();
        let hours: Vec<_> = folder.list().unwrap().iter().map(|name| name.expiry.0).collect();
        assert_eq!(hours, [3, 7, 12]);
    }
}
