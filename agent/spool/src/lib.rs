//! The spool: fragments on the device's disk from their first unit until the server has them on its own.
//!
//! One file per fragment (file.rs), written before anything of it is sent, synced at its end, removed
//! when PERSISTED is in. What is in memory is an index that is rebuilt from the files at the start
//! (recovery.rs). The spool is bounded: when it is full the oldest whole fragment makes room for the
//! newest, which is counted and logged. It knows no camera, no Matroska and no network.
//!
//! Start reading at [`Spool`], then [`Writer`] and `recovery.rs`.

mod file;
mod index;
pub mod limits;
mod reader;
mod recovery;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use disk::{Disk, OsDisk};
use fragment::StreamName;
use tokio::sync::Notify;
use upload::{FragmentKey, Trailer};

use self::index::Index;
use self::recovery::{Recovered, Whole};

pub use self::file::{Header, ReadError, Start};
pub use self::index::{Counters, Entry};
pub use self::reader::Reader;
pub use self::writer::Writer;

/// A handle to the spool. Clones share it.
#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    rejected: PathBuf,
    bytes_max: u64,
    index: Mutex<Index>,
    /// Streams whose folder is known to be on disk.
    folders: Mutex<HashSet<StreamName>>,
    /// Ordinals below this were captured by an earlier run.
    first_own_ordinal: u64,
    changed: Notify,
}

impl Spool {
    /// Opens the spool of a state folder, which the caller has locked, and recovers what is in it.
    pub fn open(state: &Path, bytes_max: u64) -> io::Result<Self> {
        Self::open_on(Arc::new(OsDisk), state, bytes_max)
    }

    /// The same on another disk than the machine's.
    pub fn open_on(disk: Arc<dyn Disk>, state: &Path, bytes_max: u64) -> io::Result<Self> {
        let (folder, rejected) = (state.join("spool"), state.join("rejected"));
        disk.create_folder(&folder)?;
        let index = recovery::load(&*disk, &folder, &rejected)?;
        let first_own_ordinal = index.next_ordinal();
        Ok(Self {
            shared: Arc::new(Shared {
                disk,
                folder,
                rejected,
                bytes_max,
                index: Mutex::new(index),
                folders: Mutex::default(),
                first_own_ordinal,
                changed: Notify::new(),
            }),
        })
    }

    /// Begins a fragment. `closing` are the bytes that end its document.
    pub fn create(&self, key: FragmentKey, start: Start, closing: Bytes) -> io::Result<Writer> {
        self.make_room();
        let ordinal = self.index().take_ordinal();
        self.make_folder(&key.stream)?;
        let path = self.path(&key);
        let header = Header { key: key.clone(), ordinal, start, closing };
        let writer = Writer::create(self.clone(), header, path)?;
        self.index().insert(ordinal, Entry { key, bytes: 0, file_bytes: 0, trailer: None });
        self.shared.changed.notify_one();
        Ok(writer)
    }

    /// Reads a fragment from its beginning.
    pub fn read(&self, key: &FragmentKey) -> Result<Reader, ReadError> {
        Reader::open(&*self.shared.disk, &self.path(key))
    }

    /// Whether this run of the agent captured it.
    pub fn is_own(&self, header: &Header) -> bool {
        header.ordinal >= self.shared.first_own_ordinal
    }

    /// The server has it on disk: forgets it and gives the file that remains for [`Self::remove`]. A crash
    /// before that sends it once more, and the server knows it.
    #[must_use = "the file has to be removed"]
    pub fn release(&self, key: &FragmentKey) -> Option<PathBuf> {
        let entry = self.index().remove(key, |counters| counters.persisted += 1)?;
        self.shared.changed.notify_one();
        Some(self.path(&entry.key))
    }

    /// The server will never take it: moves it out of the way, for a look.
    pub fn reject(&self, key: &FragmentKey) -> io::Result<()> {
        if self.index().remove(key, |counters| counters.rejected += 1).is_none() {
            return Ok(());
        }
        self.shared.changed.notify_one();
        self.set_aside(key)
    }

    /// Removes the file of a fragment that was released.
    pub fn remove(&self, path: &Path) {
        recovery::remove(&*self.shared.disk, path);
    }

    /// Ends a fragment that turned out to be damaged at its last whole chunk. What is behind that is lost, which
    /// is counted; of one without a whole chunk nothing is left, and it is not here any more.
    pub fn repair(&self, key: &FragmentKey) {
        let path = self.path(key);
        let before = self.index().bytes_of(key);
        let repaired = recovery::repair(&*self.shared.disk, &path);
        let counts_itself = matches!(repaired, Err(_) | Ok(Recovered::Torn(..)));
        self.note_repaired(key, &path, repaired);
        let mut index = self.index();
        if !counts_itself && index.bytes_of(key) < before {
            index.note_lost();
        }
    }

    /// Whether this fragment is here.
    pub fn holds(&self, key: &FragmentKey) -> bool {
        self.index().holds(key)
    }

    /// Whether another fragment fits without dropping one that waits. A camera can't wait for room; what reads a
    /// file can.
    pub fn has_room(&self) -> bool {
        self.index().has_room(self.shared.bytes_max)
    }

    /// Waits until something changed since [`Self::take_changes`].
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// The ordinals of what began, grew, ended or left since the last call.
    pub fn take_changes(&self) -> BTreeSet<u64> {
        self.index().take_changes()
    }

    /// The fragment at this place in the order of capture.
    pub fn entry(&self, ordinal: u64) -> Option<Entry> {
        self.index().entry(ordinal).cloned()
    }

    /// The next fragment behind `after`, in the order of capture.
    pub fn next(&self, after: Option<u64>) -> Option<(u64, Entry)> {
        self.index().next(after).map(|(ordinal, entry)| (ordinal, entry.clone()))
    }

    /// The ordinal that the next fragment will get.
    pub fn next_ordinal(&self) -> u64 {
        self.index().next_ordinal()
    }

    /// What an earlier run captured last of this stream, and how long it plays, if the spool still had it.
    pub fn last_of_earlier_run(&self, stream: &StreamName) -> Option<(Start, Duration)> {
        self.index().last_recovered(stream)
    }

    /// What is in it and what has passed through it.
    pub fn counters(&self) -> Counters {
        self.index().counters()
    }

    /// Counts a fragment or its rest that could not be written.
    pub fn note_lost(&self) {
        self.index().note_lost();
    }

    fn note_grown(&self, ordinal: u64, bytes: u64, record_bytes: u64) {
        self.index().grow(ordinal, bytes, record_bytes);
        self.shared.changed.notify_one();
    }

    fn note_finished(&self, ordinal: u64, trailer: Trailer, record_bytes: u64) {
        self.index().finish(ordinal, trailer, record_bytes);
        self.shared.changed.notify_one();
    }

    fn note_repaired(&self, key: &FragmentKey, path: &Path, repaired: io::Result<Recovered>) {
        match repaired {
            Ok(
                Recovered::Whole(Whole { trailer, file_bytes, .. })
                | Recovered::Shortened(Whole { trailer, file_bytes, .. }),
            ) => {
                tracing::warn!(fragment = %key, duration = ?trailer.duration, "ended a fragment early");
                self.index().replace(key, trailer, file_bytes);
            }
            Ok(Recovered::Empty) => {
                self.index().remove(key, |_| {});
                self.remove(path);
            }
            Ok(Recovered::Torn(_, error)) | Err(error) => {
                tracing::error!(fragment = %key, %error, "a fragment can't be recovered; it stays on disk");
                self.index().remove(key, |counters| counters.lost += 1);
            }
        }
        self.shared.changed.notify_one();
    }

    /// Drops the oldest whole fragments until another one fits.
    fn make_room(&self) {
        let mut dropped = 0u64;
        loop {
            let mut index = self.index();
            if !index.is_over(self.shared.bytes_max) {
                break;
            }
            let Some(entry) = index.drop_oldest() else {
                break;
            };
            drop(index);
            self.remove(&self.path(&entry.key));
            dropped += 1;
        }
        if dropped > 0 {
            tracing::warn!(
                dropped,
                bytes_max = self.shared.bytes_max,
                "the spool is full: dropped its oldest fragments"
            );
            self.shared.changed.notify_one();
        }
    }

    /// The folder of a stream, made once in a run. A folder that is there proves nothing: the run that made it
    /// may have ended before its name was on disk.
    fn make_folder(&self, stream: &StreamName) -> io::Result<()> {
        let known = || self.shared.folders.lock().unwrap_or_else(PoisonError::into_inner);
        if !known().contains(stream) {
            self.shared.disk.create_folder(&self.shared.folder.join(stream.as_str()))?;
            known().insert(stream.clone());
        }
        Ok(())
    }

    /// Moves a file to the rejected ones, whose names begin with a number that rises, and removes the oldest of
    /// those. It is not synced: one that comes back after a power cut is refused once more.
    fn set_aside(&self, key: &FragmentKey) -> io::Result<()> {
        let Shared { disk, rejected, .. } = &*self.shared;
        let mut names = match disk.list(rejected) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                disk.create_folder(rejected)?;
                Vec::new()
            }
            listed => listed?,
        };
        let number = |name: &String| name.split('-').next().and_then(|number| number.parse().ok()).unwrap_or(0u64);
        names.sort_by_key(number);
        let next = names.last().map_or(0, number).saturating_add(1);
        disk.rename(&self.path(key), &rejected.join(format!("{next}-{}-{}.frag", key.stream, key.id)))?;
        let surplus = (names.len() + 1).saturating_sub(limits::REJECTED_FRAGMENTS_MAX);
        names[..surplus].iter().for_each(|name| self.remove(&rejected.join(name)));
        Ok(())
    }

    fn path(&self, key: &FragmentKey) -> PathBuf {
        self.shared.folder.join(key.stream.as_str()).join(format!("{}.frag", key.id))
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // The index is consistent after each of its methods, whichever thread died holding it.
        self.shared.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("folder", &self.shared.folder).finish_non_exhaustive()
    }
}
