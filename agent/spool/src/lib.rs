//! The spool: fragments on the device's disk from their first unit until the server has them on its own.
//!
//! One file per fragment (file.rs), written before anything of it is sent, synced at its end, removed
//! when PERSISTED is in. What is in memory is an index that is rebuilt from the files at the start
//! (recovery.rs). The spool is bounded in bytes, in the memory of its index and, if that is wanted, in age; what gives way is the owner's to
//! choose (settings.rs), and whatever is dropped is counted, logged and listed with its reason (drops.rs).
//! It knows no camera, no Matroska and no network, and reads no clock.
//!
//! Start reading at [`Spool`], then [`Writer`], `upkeep.rs` and `recovery.rs`.

mod age;
mod checksum;
pub mod drops;
mod file;
mod index;
pub mod limits;
mod reader;
pub mod recordings;
mod recovery;
mod settings;
mod spared;
mod streams;
mod tail;
#[cfg(test)]
mod tests;
mod upkeep;
mod writer;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use disk::{Disk, OsDisk};
use fragment::{Sequence, SessionId, StreamName, WallTime};
use tokio::sync::Notify;
use upload::{FragmentKey, Trailer};

use self::drops::{List, Reason, Run};
use self::index::Index;
use self::recovery::{Recovered, Whole};
use self::tail::Tails;

pub use self::age::Now;
pub use self::file::{Header, ReadError, Start};
pub use self::index::{Changes, Counters, Entry};
pub use self::reader::Reader;
pub use self::settings::{Settings, SyncTime, WhenFull};
pub use self::spared::Spared;
pub use self::streams::Amount;
pub use self::upkeep::Tended;
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
    settings: Settings,
    index: Mutex<Index>,
    /// What is being captured, for who reads along.
    tails: Arc<Tails>,
    /// Not locked while the index is.
    drops: Mutex<List>,
    upkeep: Mutex<upkeep::State>,
    /// Streams whose folder is known to be on disk.
    folders: Mutex<HashSet<StreamName>>,
    /// Of each stream, the newest fragment that this run has captured to its end: when it began, how long it plays.
    newest: Mutex<HashMap<StreamName, (Start, Duration)>>,
    /// Ordinals below this were captured by an earlier run.
    first_own_ordinal: u64,
    changed: Notify,
}

/// Why a fragment can't be begun.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is no room, and what is there is not to give way.
    #[error("the spool is full, and `when_full` is \"stop-recording\"")]
    Full,
    /// The disk does not take it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl CreateError {
    /// Under which reason the fragment is listed.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Full => Reason::RefusedFull,
            Self::Io(error) => reason_of(error),
        }
    }
}

/// Under which reason a fragment is listed that the disk did not take.
pub fn reason_of(error: &io::Error) -> Reason {
    if disk::is_full(error) { Reason::DiskFull } else { Reason::WriteError }
}

/// What remains of a fragment that the server has.
#[derive(Debug)]
pub struct Released {
    path: PathBuf,
    /// Its place, if it is kept.
    kept: Option<u64>,
}

impl Spool {
    /// Opens the spool of a state folder, which the caller has locked, and recovers what is in it.
    pub fn open(state: &Path, settings: impl Into<Settings>) -> io::Result<Self> {
        Self::open_on(Arc::new(OsDisk), state, settings)
    }

    /// The same on another disk than the machine's.
    pub fn open_on(disk: Arc<dyn Disk>, state: &Path, settings: impl Into<Settings>) -> io::Result<Self> {
        let (folder, rejected) = (state.join("spool"), state.join("rejected"));
        disk.create_folder(&folder)?;
        let index = recovery::load(&*disk, &folder, &rejected)?;
        let first_own_ordinal = index.next_ordinal();
        let drops = List::open(disk.clone(), state);
        Ok(Self {
            shared: Arc::new(Shared {
                disk,
                folder,
                rejected,
                settings: settings.into(),
                index: Mutex::new(index),
                tails: Arc::default(),
                drops: Mutex::new(drops),
                upkeep: Mutex::default(),
                folders: Mutex::default(),
                newest: Mutex::default(),
                first_own_ordinal,
                changed: Notify::new(),
            }),
        })
    }

    /// Begins a fragment. `closing` are the bytes that end its document. What has to make room for it is dropped, or
    /// it is refused, as the settings say.
    pub fn create(&self, key: FragmentKey, start: Start, closing: Bytes) -> Result<Writer, CreateError> {
        self.make_room()?;
        let ordinal = self.index().take_ordinal();
        let created = self.create_file(&Header { key: key.clone(), ordinal, start, closing });
        let mut index = self.index();
        match created {
            Ok(writer) => {
                index.insert(ordinal, key, &start);
                self.shared.changed.notify_one();
                Ok(writer)
            }
            Err(error) => {
                index.abandon(ordinal);
                Err(error.into())
            }
        }
    }

    fn create_file(&self, header: &Header) -> io::Result<Writer> {
        self.make_folder(&header.key.stream)?;
        let path = self.path(&header.key);
        let mut writer = Writer::create(self.clone(), header.clone(), path.clone());
        for _ in 0..limits::DROPS_PER_WRITE_MAX {
            match &writer {
                Err(error) if disk::is_full(error) && self.give_way() => {
                    writer = Writer::create(self.clone(), header.clone(), path.clone());
                }
                _ => break,
            }
        }
        writer
    }

    /// Reads a fragment from its beginning.
    pub fn read(&self, key: &FragmentKey) -> Result<Reader, ReadError> {
        Ok(Reader::open(&*self.shared.disk, &self.path(key))?.along(self.shared.tails.clone()))
    }

    /// Whether this run of the agent captured it.
    pub fn is_own(&self, header: &Header) -> bool {
        header.ordinal >= self.shared.first_own_ordinal
    }

    /// The server has it on disk: forgets it and gives what remains for [`Self::remove`]. A crash before that sends
    /// it once more, and the server knows it.
    #[must_use = "the file has to be removed"]
    pub fn release(&self, key: &FragmentKey) -> Option<Released> {
        let is_kept = self.shared.settings.keep.is_some();
        let ordinal = self.index().persist(key, is_kept)?;
        self.shared.changed.notify_one();
        Some(Released { path: self.path(key), kept: is_kept.then_some(ordinal) })
    }

    /// Removes the file of a fragment that was released, or gives it the name of one that is kept. Neither is synced.
    pub fn remove(&self, released: &Released) {
        let Released { path, kept: Some(ordinal) } = released else {
            self.remove_file(&released.path);
            return;
        };
        let renamed = self.shared.disk.rename(path, &path.with_extension(recovery::KEPT));
        if let Err(error) = &renamed {
            tracing::warn!(path = %path.display(), %error, "a fragment that the server has can't be kept");
            self.remove_file(path);
        }
        self.index().settle(*ordinal, renamed.is_ok());
    }

    /// The server will never take it: moves it out of the way, for a look.
    pub fn reject(&self, key: &FragmentKey) -> io::Result<()> {
        let Some(dropped) = self.index().remove(key) else {
            return Ok(());
        };
        self.shared.changed.notify_one();
        let duration = dropped.entry.trailer.map_or(Duration::ZERO, |trailer| trailer.duration);
        self.note_dropped(key, dropped.wall, duration, Reason::Rejected);
        self.set_aside(key)
    }

    /// Ends a fragment that turned out to be damaged at its last whole chunk. What is behind that is lost, which
    /// is counted; of one without a whole chunk nothing is left, and it is not here any more.
    pub fn repair(&self, key: &FragmentKey) {
        let path = self.path(key);
        let before = self.index().find(key);
        let repaired = recovery::repair(&*self.shared.disk, &path);
        self.note_repaired(key, &path, repaired);
        let Some((before, wall)) = before else {
            return;
        };
        let plays = |entry: &Entry| entry.trailer.map_or(Duration::ZERO, |trailer| trailer.duration);
        let (bytes, left) =
            self.index().find(key).map_or((0, Duration::ZERO), |(entry, _)| (entry.bytes, plays(&entry)));
        if bytes < before.bytes {
            self.note_dropped(key, wall, plays(&before).saturating_sub(left), Reason::Damaged);
        }
    }

    /// Whether this fragment is here.
    pub fn holds(&self, key: &FragmentKey) -> bool {
        self.index().holds(key)
    }

    /// Whether another fragment fits without dropping one that waits. A camera can't wait for room; what reads a
    /// file can.
    pub fn has_room(&self) -> bool {
        self.index().has_room(self.shared.settings.bytes_max)
    }

    /// Whether one can fit at all as long as what waits of these streams does not leave.
    pub fn can_have_room_beside(&self, of: impl Fn(&StreamName) -> bool) -> bool {
        self.index().can_have_room_beside(&of, self.shared.settings.bytes_max)
    }

    /// Waits until something changed since [`Self::take_changes`].
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// The ordinals of what began, grew, ended or left since the last call. What was found at the start is none of it.
    pub fn take_changes(&self) -> Changes {
        self.index().take_changes()
    }

    /// The fragment at this place in the order of capture.
    pub fn entry(&self, ordinal: u64) -> Option<Entry> {
        self.index().entry(ordinal)
    }

    /// The next fragment behind `after`, in the order of capture.
    pub fn next(&self, after: Option<u64>) -> Option<(u64, Entry)> {
        self.index().next(after)
    }

    /// What is being captured, in its order.
    pub fn growing(&self) -> Vec<(u64, Entry)> {
        self.index().growing()
    }

    /// The streams of which something waits.
    pub fn streams(&self) -> Vec<StreamName> {
        self.index().streams()
    }

    /// The next session of this stream of which something waits, by their ids.
    pub fn next_session(&self, stream: &StreamName, after: Option<SessionId>) -> Option<SessionId> {
        self.index().next_session(stream, after)
    }

    /// The first fragment of a session that has this sequence or a later one, and waits.
    pub fn next_in(&self, stream: &StreamName, session: SessionId, from: Sequence) -> Option<Entry> {
        self.index().next_in(stream, session, from)
    }

    /// The last fragment of a session that waits.
    pub fn last_in(&self, stream: &StreamName, session: SessionId) -> Option<Entry> {
        self.index().last_in(stream, session)
    }

    /// From now on these give way last, and no others: to a full spool or disk only when nothing else is left, and to
    /// `age_max` not at all. Nobody keeps them for the next start.
    pub fn spare(&self, spared: &[Spared]) {
        self.index().spare(spared);
    }

    /// How much the spool has of these streams that the server does not.
    pub fn amount_of(&self, of: impl Fn(&StreamName) -> bool) -> Amount {
        self.index().amount_of(&of)
    }

    /// The oldest fragment of these streams that the server does not have.
    pub fn oldest_of(&self, of: impl Fn(&StreamName) -> bool) -> Option<Entry> {
        self.index().oldest_of(&of)
    }

    /// The ordinal that the next fragment will get.
    pub fn next_ordinal(&self) -> u64 {
        self.index().next_ordinal()
    }

    /// What was captured last of this stream, and how long it plays: in this run, or in an earlier one if the spool still had it.
    pub fn newest_of(&self, stream: &StreamName) -> Option<(Start, Duration)> {
        let own = self.newest().get(stream).copied();
        own.or_else(|| self.index().last_recovered(stream))
    }

    /// What is in it and what has passed through it.
    pub fn counters(&self) -> Counters {
        self.index().counters()
    }

    /// Counts and lists a fragment that is dropped, or the rest of one. With no duration it is not known yet:
    /// [`Self::note_duration`] follows.
    pub fn note_dropped(&self, key: &FragmentKey, start: WallTime, duration: Duration, reason: Reason) {
        self.index().count_drop(reason);
        self.drops().append(&Run::of(key, start, duration, reason));
    }

    /// Counts a fragment that is dropped before it comes here, without waiting for the disk. [`Self::list_run`] follows.
    pub fn count_dropped(&self, reason: Reason) {
        self.index().count_drop(reason);
    }

    /// Counts and lists pictures that are of no fragment.
    pub fn note_left_out(&self, run: &Run) {
        self.index().count_drop(run.reason);
        self.list_run(run);
    }

    /// Lists what was counted when it was dropped.
    pub fn list_run(&self, run: &Run) {
        self.drops().append(run);
    }

    /// How long a fragment was that has been dropped while it was captured, or how much longer.
    pub fn note_duration(&self, key: &FragmentKey, start: WallTime, duration: Duration, reason: Reason) {
        self.drops().append(&Run::of(key, start, duration, reason));
    }

    fn note_grown(&self, ordinal: u64, bytes: u64, record_bytes: u64) {
        self.index().grow(ordinal, bytes, record_bytes);
        self.shared.changed.notify_one();
    }

    fn note_finished(&self, header: &Header, trailer: Trailer, record_bytes: u64) {
        self.index().finish(header.ordinal, trailer, record_bytes);
        self.newest().insert(header.key.stream.clone(), (header.start, trailer.duration));
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
                self.index().remove(key);
                self.remove_file(path);
            }
            Ok(Recovered::Torn(_, error)) | Err(error) => {
                tracing::error!(fragment = %key, %error, "a fragment can't be recovered; it stays on disk");
                self.index().remove(key);
            }
        }
        self.shared.changed.notify_one();
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
        names[..surplus].iter().for_each(|name| self.remove_file(&rejected.join(name)));
        Ok(())
    }

    fn path(&self, key: &FragmentKey) -> PathBuf {
        self.shared.folder.join(key.stream.as_str()).join(format!("{}.frag", key.id))
    }

    fn remove_file(&self, path: &Path) {
        recovery::remove(&*self.shared.disk, path);
    }

    fn newest(&self) -> MutexGuard<'_, HashMap<StreamName, (Start, Duration)>> {
        self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drops(&self) -> MutexGuard<'_, List> {
        self.shared.drops.lock().unwrap_or_else(PoisonError::into_inner)
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
