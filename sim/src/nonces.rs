//! A disk that remembers every byte that was handed to it for segments, whether it got there or not, and finds out
//! whether a nonce was used twice under one key.
//!
//! Whoever takes a disk out after a power cut may see any of these bytes. The layout of a frame is that of
//! `server/vault/src/frame.rs`, read here once more from the outside.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use disk::testing::{DiskOver, FileOver};
use disk::{Disk, File};

use crate::disk::VirtualDisk;

/// A simulated disk and what it was given.
#[derive(Clone)]
pub(crate) struct Witness {
    disk: VirtualDisk,
    written: Written,
}

/// What was handed over.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<Handed>>);

#[derive(Default)]
struct Handed {
    /// The bytes of each segment, by where they were to go.
    files: BTreeMap<PathBuf, Bytes>,
    /// Where a place got two kinds of bytes.
    twice: Option<String>,
}

/// A file's bytes; `None` where nothing was written.
type Bytes = Vec<Option<u8>>;

const SEGMENT_HEADER: usize = 32;
const FRAME_HEADER: usize = 48;
const CHECKSUM: usize = 4;
const TAG: usize = 16;

impl Written {
    fn handed(&self) -> MutexGuard<'_, Handed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, path: &Path, bytes: &[u8], offset: u64) {
        let Handed { files, twice } = &mut *self.handed();
        let file = files.entry(path.to_owned()).or_default();
        let begin = usize::try_from(offset).expect("segments of a simulation are small");
        if file.len() < begin + bytes.len() {
            file.resize(begin + bytes.len(), None);
        }
        for (place, byte) in file[begin..].iter_mut().zip(bytes) {
            if place.is_some_and(|before| before != *byte) {
                *twice = Some(format!("other bytes were written to {} where some were before", path.display()));
            }
            *place = Some(*byte);
        }
    }

    /// How many frames were handed to the disk, or which of them share key and nonce with another.
    pub(crate) fn frames(&self) -> Result<usize, String> {
        let mut frames = BTreeMap::new();
        let Handed { files, twice } = &*self.handed();
        if let Some(twice) = twice {
            return Err(twice.clone());
        }
        for (path, file) in files {
            let mut at = SEGMENT_HEADER;
            while let Some(head) = whole(file, at, FRAME_HEADER).filter(|head| head.starts_with(b"MRfr")) {
                // Owner, epoch and id of the key; segment and ordinal, which are the nonce.
                let used = [&head[24..32], &head[36..48], &head[4..16]].concat();
                let place = format!("{} at byte {at}", path.display());
                if let Some(before) = frames.insert(used, place.clone()) {
                    return Err(format!("the frames in {before} and in {place} share key and nonce"));
                }
                let index = usize::from(u16::from_be_bytes([head[18], head[19]]));
                let payload = u32::from_be_bytes([head[20], head[21], head[22], head[23]]) as usize;
                at += FRAME_HEADER + index + CHECKSUM + payload + TAG;
            }
        }
        Ok(frames.len())
    }
}

/// So many bytes, if all of them were written.
fn whole(file: &[Option<u8>], at: usize, len: usize) -> Option<Vec<u8>> {
    file.get(at..at + len)?.iter().copied().collect()
}

impl Witness {
    pub(crate) fn new(disk: VirtualDisk, written: Written) -> Self {
        Self { disk, written }
    }
}

impl DiskOver for Witness {
    fn under(&self) -> &dyn Disk {
        &self.disk
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = self.disk.create(path)?;
        if path.extension().is_none_or(|extension| extension != "seg") {
            return Ok(file);
        }
        Ok(Arc::new(WitnessedFile { file, path: path.to_owned(), written: self.written.clone() }))
    }
}

struct WitnessedFile {
    file: Arc<dyn File>,
    path: PathBuf,
    written: Written,
}

impl FileOver for WitnessedFile {
    fn under(&self) -> &dyn File {
        &*self.file
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.written.note(&self.path, bytes, offset);
        self.file.write_at(bytes, offset)
    }
}
