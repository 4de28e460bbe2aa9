//! The handle: opens a vault and passes work to the committer, the reader and the sweeper.

mod master_keys;

pub use self::master_keys::ClosedVault;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use zeroize::Zeroizing;

use crate::backup;
use crate::catalog::{Catalog, FjallCatalog};
use crate::clock::Clock;
use crate::committer::{Committer, Job, Pending};
use crate::data_keys::DataKeys;
use crate::entropy::{Entropy, OsEntropy};
use crate::error::{KeyError, OpenError, PutError, ReadError, SecretError, SweepError};
use crate::frame::FrameHeader;
use crate::id::{ExpirySlot, Location, OwnerId};
use crate::key::Key;
use crate::key_files::KeyFiles;
use crate::key_store::KeyStore;
use crate::key_use::Budgets;
use crate::keys::KeyService;
use crate::limits;
use crate::owner::Owner;
use crate::poison::Poison;
use crate::reader::Reader;
use crate::recovery::{self, Lock};
use crate::secret;
use crate::segment_store::{LocalSegments, SegmentFile, SegmentName, SegmentStore};
use crate::sweep::{self, Reclaimed, Swept};
use crate::walk::Walk;
use disk::{Disk, OsDisk};

/// What a vault is made of.
pub struct Parts {
    /// Where frames lie.
    pub segments: Arc<dyn SegmentStore>,
    /// Where rows lie.
    pub catalog: Arc<dyn Catalog>,
    /// Where wrapped data keys lie.
    pub keys: Arc<dyn KeyStore>,
    /// What makes and unwraps data keys.
    pub service: Arc<dyn KeyService>,
    /// Where random numbers come from.
    pub entropy: Arc<dyn Entropy>,
    /// What the age of unwrapped keys is measured by.
    pub clock: Clock,
    pub(crate) budgets: Budgets,
    /// Keeps other processes out for as long as the vault is open, where only one may write.
    pub lock: Option<Lock>,
}

impl Parts {
    /// The parts of a vault in one folder of this machine's disk, created if it does not exist. Blocks.
    pub fn local(folder: &Path, service: Arc<dyn KeyService>) -> Result<Self, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        disk.create_folder(folder).map_err(|e| recovery::failed("create", folder, e))?;
        let lock = recovery::lock(folder)?;
        if let Err(error) = backup::clear(folder) {
            tracing::warn!(%error, "what a backup left that was broken off stays, with the disk space that it holds");
        }
        let catalog = Arc::new(FjallCatalog::of_vault(folder)?);
        let parts = Self::on(disk, folder, service, catalog, Arc::new(OsEntropy))?;
        Ok(Self { lock: Some(lock), ..parts })
    }

    /// The parts of a vault in one folder of any disk, created if it does not exist, with a catalog that lies
    /// elsewhere. The caller sees to it that nobody else has the folder. Blocks.
    pub fn on(
        disk: Arc<dyn Disk>,
        folder: &Path,
        service: Arc<dyn KeyService>,
        catalog: Arc<dyn Catalog>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        disk.create_folder(folder).map_err(|e| recovery::failed("create", folder, e))?;
        recovery::check_format(&*disk, folder)?;
        let keys = KeyFiles::open(disk.clone(), folder).map_err(KeyError::from)?;
        let segments = LocalSegments::open(disk, folder).map_err(|e| recovery::failed("open", folder, e))?;
        Ok(Self::of_stores(Arc::new(segments), catalog, Arc::new(keys), service, entropy))
    }

    /// The parts of a vault in these stores, which others may use at the same time.
    pub fn of_stores(
        segments: Arc<dyn SegmentStore>,
        catalog: Arc<dyn Catalog>,
        keys: Arc<dyn KeyStore>,
        service: Arc<dyn KeyService>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let (clock, budgets) = (Clock::default(), Budgets::default());
        Self { segments, catalog, keys, service, entropy, clock, budgets, lock: None }
    }
}

/// What is stored.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Whose it is.
    pub owner: OwnerId,
    /// When it may be deleted.
    pub expiry: ExpirySlot,
    /// The owner's index entry, completed by [`Owner::assign`].
    pub index: Bytes,
    /// What is sealed.
    pub payload: Bytes,
    /// A row that this entry makes. If it exists already, the entry is not stored again.
    pub unless_exists: Option<Key>,
}

/// How [`Vault::put`] ended well. Either way the entry is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was stored now.
    Stored(Receipt),
    /// It was stored before.
    AlreadyStored {
        /// The value of the row `unless_exists`.
        value: Bytes,
    },
}

/// What became of a stored entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Where the frame lies.
    pub location: Location,
    /// The index entry as the owner completed it.
    pub index: Bytes,
}

/// How the vault is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Why it refuses writes, if it does.
    pub poisoned: Option<String>,
    /// Payload bytes that wait for the committer.
    pub queued_bytes: u64,
    /// Group commits since it was opened.
    pub commits: u64,
    /// Frames in them.
    pub frames: u64,
    /// Payload bytes in them.
    pub payload_bytes: u64,
    /// Time in which they waited for segments to be synced. One that is under way is not in it yet.
    pub sync_time: Duration,
    /// Space left where its segments lie, if there is an end to it.
    pub free_bytes: Option<u64>,
    /// Reads of the catalog that met damage since it was opened.
    pub catalog_damaged: u64,
}

/// An open vault. Clones share it; the last one to go closes it.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    /// `None` only while closing.
    jobs: Option<mpsc::Sender<Job>>,
    /// Payload bytes that may yet be queued, in units of [`PERMIT_BYTES`].
    room: Arc<Semaphore>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

/// The committer of a vault without a thread of its own: nothing is stored unless its caller says so. A simulation
/// thus decides what happens when, and the same seed gives the same run.
pub struct Stepper(Committer);

impl Stepper {
    /// Does what a committer's thread would do next. `false`: nothing waits.
    pub fn step(&mut self) -> bool {
        self.0.step()
    }
}

/// What the committer, the readers and the sweeper share.
pub(crate) struct Shared {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) segments: Arc<dyn SegmentStore>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) clock: Clock,
    pub(crate) keys: Arc<DataKeys>,
    pub(crate) reader: Reader,
    pub(crate) owners: Owners,
    pub(crate) poison: Poison,
    pub(crate) counters: Counters,
    sweeping: Mutex<()>,
    copying: Mutex<()>,
    _lock: Option<Lock>,
}

impl Shared {
    /// Destroys an owner's keys. After a sync that failed a removal may have been forgotten that looks as if it were
    /// made, so nothing is said to be destroyed then until the vault is opened again.
    pub(crate) fn destroy_keys(&self, owner: OwnerId) -> Result<(), KeyError> {
        self.poison.check().map_err(|_| KeyError::Poisoned)?;
        self.keys.destroy_owner(owner).inspect_err(|error| self.note(error))
    }

    /// Poisons the vault if it was a sync of keys that failed.
    fn note(&self, error: &KeyError) {
        if error.is_of_sync() {
            self.poison.set(error.to_string());
        }
    }
}

/// What was committed since the vault was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) payload_bytes: AtomicU64,
    pub(crate) sync_micros: AtomicU64,
}

/// The owners by domain.
pub(crate) struct Owners(Vec<Arc<dyn Owner>>);

impl Owners {
    pub(crate) fn of(&self, owner: OwnerId) -> Option<&dyn Owner> {
        self.0.iter().find(|o| o.domain() == owner.domain()).map(|owner| &**owner)
    }
}

/// A semaphore counts to 2^32 at most with room to spare only in units: queue room is given in KiB.
const PERMIT_BYTES: usize = 1024;

impl Vault {
    /// Opens the vault in `folder`, creating it if it does not exist. Blocks.
    pub fn open(folder: &Path, service: Arc<dyn KeyService>, owners: Vec<Arc<dyn Owner>>) -> Result<Self, OpenError> {
        Self::assemble(Parts::local(folder, service)?, owners)
    }

    /// Opens a vault of these parts. Blocks.
    pub fn assemble(parts: Parts, owners: Vec<Arc<dyn Owner>>) -> Result<Self, OpenError> {
        let (mut vault, committer) = Self::prepare(parts, owners)?;
        let thread = committer.spawn().map_err(OpenError::Thread)?;
        let inner = Arc::get_mut(&mut vault.inner).expect("nobody else has the vault yet");
        inner.committer = Mutex::new(Some(thread));
        Ok(vault)
    }

    /// Opens a vault of these parts whose committer works only when it is told to. Blocks.
    pub fn assemble_stepped(parts: Parts, owners: Vec<Arc<dyn Owner>>) -> Result<(Self, Stepper), OpenError> {
        let (vault, committer) = Self::prepare(parts, owners)?;
        Ok((vault, Stepper(committer)))
    }

    fn prepare(parts: Parts, owners: Vec<Arc<dyn Owner>>) -> Result<(Self, Committer), OpenError> {
        let Parts { segments, catalog, keys, service, entropy, clock, budgets, lock } = parts;
        let keys = Arc::new(DataKeys::open(keys, service, entropy.clone(), clock.clone(), budgets)?);
        if let Err(error) = keys.finish_rotation() {
            tracing::warn!(%error, "a rotation of the master key can't be finished yet; nothing is lost by that");
        }
        let shared = Arc::new(Shared {
            catalog,
            reader: Reader::new(segments.clone(), keys.clone()),
            segments,
            entropy,
            clock,
            keys,
            owners: Owners(owners),
            poison: Poison::default(),
            counters: Counters::default(),
            sweeping: Mutex::new(()),
            copying: Mutex::new(()),
            _lock: lock,
        });
        let (jobs, queue) = mpsc::channel(limits::QUEUE_ENTRIES_MAX);
        let committer = Committer::new(shared.clone(), queue);
        let room = Arc::new(Semaphore::new(limits::QUEUE_BYTES_MAX / PERMIT_BYTES));
        let inner = Inner { shared, jobs: Some(jobs), room, committer: Mutex::new(None) };
        Ok((Self { inner: Arc::new(inner) }, committer))
    }

    /// The catalog, for reads and for rows that belong to no frame. Its calls block.
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.inner.shared.catalog
    }

    /// Stores an entry: answers when frame and rows are on disk. Waits for room in the queue. If the
    /// caller goes away before the answer, the entry may have been stored or not.
    pub async fn put(&self, entry: Entry) -> Result<Put, PutError> {
        check_size("index entry", entry.index.len(), limits::INDEX_BYTES_MAX)?;
        check_size("payload", entry.payload.len(), limits::PAYLOAD_BYTES_MAX)?;
        self.inner.shared.poison.check()?;
        self.queue(entry, None).await
    }

    /// Stores a frame that was read at `from` once more, in another segment of the same slot, and has its owner's rows
    /// lead there; so `from` can be deleted. Says whether it was done: not if nothing leads to it any more.
    pub async fn relocate(&self, from: Location, header: FrameHeader, payload: Bytes) -> Result<bool, PutError> {
        self.inner.shared.poison.check()?;
        let FrameHeader { owner, expiry, index, .. } = header;
        match self.queue(Entry { owner, expiry, index, payload, unless_exists: None }, Some(from)).await {
            Ok(_) => Ok(true),
            Err(PutError::Expired) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn queue(&self, entry: Entry, from: Option<Location>) -> Result<Put, PutError> {
        let permits = u32::try_from(entry.payload.len().div_ceil(PERMIT_BYTES)).expect("payloads are far smaller");
        let room = self.inner.room.clone().acquire_many_owned(permits).await.map_err(|_| PutError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let job = Job::Put(Pending { entry, from, answer, room });
        self.jobs().send(job).await.map_err(|_| PutError::Closed)?;
        answered.await.map_err(|_| PutError::Closed)?
    }

    /// Waits until everything that was queued before has been answered. `false`: the committer's thread has ended.
    pub async fn barrier(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.jobs().send(Job::Barrier(answer)).await.is_ok() && answered.await.is_ok()
    }

    /// Reads and verifies the frame at `location`.
    pub async fn read(&self, location: Location) -> Result<(FrameHeader, Bytes), ReadError> {
        let shared = self.inner.shared.clone();
        let read = tokio::task::spawn_blocking(move || shared.reader.read(location));
        read.await.unwrap_or_else(|e| Err(ReadError::Io { location, source: std::io::Error::other(e) }))
    }

    /// Reads and verifies the frame at `location` on this thread.
    pub fn read_blocking(&self, location: Location) -> Result<(FrameHeader, Bytes), ReadError> {
        self.inner.shared.reader.read(location)
    }

    /// Reads and verifies the header of the frame at `location`, without its payload. Blocks.
    pub fn examine(&self, location: Location) -> Result<FrameHeader, ReadError> {
        self.inner.shared.reader.examine(location)
    }

    /// What others call the owners of all data keys that exist, by what was stored with each key. Blocks.
    pub fn resources(&self) -> Result<BTreeMap<OwnerId, String>, KeyError> {
        self.inner.shared.keys.resources()
    }

    /// Deletes segments and keys that have expired at `unix_secs`. Can stop anywhere and be run again.
    pub async fn sweep(&self, unix_secs: u64) -> Result<Swept, SweepError> {
        self.close_before(unix_secs).await?;
        let vault = self.clone();
        let swept = tokio::task::spawn_blocking(move || vault.sweep_closed(unix_secs)).await;
        swept.unwrap_or(Err(SweepError::Closed))
    }

    /// Closes the segments that have expired at `unix_secs`; from now on, entries that would expire so early expire later.
    pub async fn close_before(&self, unix_secs: u64) -> Result<(), SweepError> {
        let (answer, answered) = oneshot::channel();
        let job = Job::CloseBefore(ExpirySlot::containing(unix_secs), answer);
        self.jobs().send(job).await.map_err(|_| SweepError::Closed)?;
        answered.await.map_err(|_| SweepError::Closed)
    }

    /// Deletes what has expired at `unix_secs`, which [`Vault::close_before`] was told. Blocks.
    pub fn sweep_closed(&self, unix_secs: u64) -> Result<Swept, SweepError> {
        self.inner.shared.keys.expire_cache();
        self.deleting(|shared| sweep::run(shared, ExpirySlot::containing(unix_secs)))
    }

    /// The right to copy this vault; one at a time has it.
    pub(crate) fn only_copier(&self) -> Option<MutexGuard<'_, ()>> {
        match self.inner.shared.copying.try_lock() {
            Ok(alone) => Some(alone),
            Err(TryLockError::Poisoned(alone)) => Some(alone.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// No rotation of the master key while this is held. Blocks while one is under way.
    pub(crate) fn hold_rotation(&self) -> MutexGuard<'_, ()> {
        self.inner.shared.keys.rotating()
    }

    /// Does something with the catalog while no segment is deleted. Blocks.
    pub(crate) fn while_nothing_is_deleted<T>(&self, work: impl FnOnce(&dyn Catalog) -> T) -> Result<T, SweepError> {
        self.deleting(|shared| Ok(work(&*shared.catalog)))
    }

    /// Deletes while nobody else does, and only while it is known what the catalog has.
    fn deleting<T>(&self, delete: impl FnOnce(&Shared) -> Result<T, SweepError>) -> Result<T, SweepError> {
        let shared = &self.inner.shared;
        let _alone = shared.sweeping.lock().unwrap_or_else(PoisonError::into_inner);
        // A commit that failed may turn out to have reached the disk: what it refers to must still be there then.
        shared.poison.check().map_err(|_| SweepError::Poisoned)?;
        shared.catalog.settle()?;
        delete(shared).inspect_err(|error| {
            if let SweepError::Key(error) = error {
                shared.note(error);
            }
        })
    }

    /// Deletes those of these segments whose frames were all given up by their owners before their slot has passed.
    /// Can stop anywhere and be run again.
    pub async fn reclaim(&self, segments: BTreeSet<SegmentName>) -> Result<Reclaimed, SweepError> {
        self.close_segments(segments.clone()).await?;
        let vault = self.clone();
        let reclaimed = tokio::task::spawn_blocking(move || vault.reclaim_closed(segments)).await;
        reclaimed.unwrap_or(Err(SweepError::Closed))
    }

    /// Ends those of these segments that are being written: what comes next goes into others.
    pub async fn close_segments(&self, segments: BTreeSet<SegmentName>) -> Result<(), SweepError> {
        let (answer, answered) = oneshot::channel();
        self.jobs().send(Job::Close(segments, answer)).await.map_err(|_| SweepError::Closed)?;
        answered.await.map_err(|_| SweepError::Closed)
    }

    /// [`Vault::close_segments`] from a thread that may block.
    pub(crate) fn close_segments_blocking(&self, segments: BTreeSet<SegmentName>) -> Result<(), SweepError> {
        let (answer, answered) = oneshot::channel();
        self.jobs().blocking_send(Job::Close(segments, answer)).map_err(|_| SweepError::Closed)?;
        answered.blocking_recv().map_err(|_| SweepError::Closed)
    }

    /// Does what [`Vault::reclaim`] does with segments that [`Vault::close_segments`] was told. Blocks.
    pub fn reclaim_closed(&self, segments: BTreeSet<SegmentName>) -> Result<Reclaimed, SweepError> {
        self.deleting(|shared| sweep::reclaim(shared, segments))
    }

    /// Destroys all data keys of an owner: what it stored is unreadable from now on, also in backups of
    /// its segments. The owner must refuse further entries before this is called.
    pub async fn destroy_keys(&self, owner: OwnerId) -> Result<(), KeyError> {
        let (answer, answered) = oneshot::channel();
        self.jobs().send(Job::DestroyKeys(owner, answer)).await.map_err(|_| KeyError::Closed)?;
        answered.await.map_err(|_| KeyError::Closed)?
    }

    /// A key for a purpose of the caller's, the same at every start of this vault.
    pub fn derive_key(&self, label: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        Ok(secret::derive(&*self.inner.shared.keys.root()?, label))
    }

    /// Seals a small text, such as a token or another key.
    pub fn seal_secret(&self, label: &str, text: &[u8]) -> Result<Vec<u8>, KeyError> {
        secret::seal(&*self.inner.shared.keys.root()?, label, text)
    }

    /// Opens what [`Vault::seal_secret`] sealed under the same label.
    pub fn open_secret(&self, label: &str, sealed: &[u8]) -> Result<Vec<u8>, SecretError> {
        secret::open(&*self.inner.shared.keys.root()?, label, sealed)
    }

    /// How the vault is doing.
    pub fn health(&self) -> Health {
        let shared = &self.inner.shared;
        let free_permits = self.inner.room.available_permits();
        Health {
            poisoned: shared.poison.reason().map(str::to_owned),
            queued_bytes: (limits::QUEUE_BYTES_MAX - free_permits * PERMIT_BYTES) as u64,
            commits: shared.counters.commits.load(Ordering::Relaxed),
            frames: shared.counters.frames.load(Ordering::Relaxed),
            payload_bytes: shared.counters.payload_bytes.load(Ordering::Relaxed),
            sync_time: Duration::from_micros(shared.counters.sync_micros.load(Ordering::Relaxed)),
            free_bytes: shared.segments.free_bytes().unwrap_or_default(),
            catalog_damaged: shared.catalog.damaged_reads(),
        }
    }

    /// The segments, the first to expire first. Blocks.
    pub fn segments(&self) -> std::io::Result<Vec<SegmentFile>> {
        self.inner.shared.segments.list()
    }

    /// The frames of a segment, read without keys and without the catalog. Blocks.
    pub fn walk(&self, segment: SegmentName) -> std::io::Result<Walk> {
        Walk::open(self.inner.shared.segments.clone(), segment)
    }

    fn jobs(&self) -> &mpsc::Sender<Job> {
        self.inner.jobs.as_ref().expect("jobs are taken only when the last handle goes")
    }
}

impl Drop for Inner {
    /// Lets the committer finish what is queued, then releases the vault's lock.
    fn drop(&mut self) {
        drop(self.jobs.take());
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if committer.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the committer panicked");
        }
    }
}

fn check_size(what: &'static str, bytes: usize, max: usize) -> Result<(), PutError> {
    if bytes > max {
        return Err(PutError::TooLarge { what, bytes, max });
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod faulty;
#[cfg(test)]
mod tests;
