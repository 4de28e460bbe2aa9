//! The handle: opens a vault and passes work to the committer, the reader and the sweeper.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use zeroize::Zeroizing;

use crate::catalog::{Catalog, FjallCatalog};
use crate::clock::Clock;
use crate::committer::{Committer, Job, Pending};
use crate::data_keys::DataKeys;
use crate::disk::{self, Faults};
use crate::error::{KeyError, OpenError, PutError, ReadError, SecretError, SweepError};
use crate::frame::FrameHeader;
use crate::id::{ExpiryHour, Location, OwnerId};
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
use crate::segment::Folder;
use crate::sweep::{self, Swept};
use crate::walk::{SegmentFile, Walk};

/// How a vault is opened.
#[derive(Clone, Default)]
pub struct Options {
    /// The catalog to use instead of fjall in the vault's folder.
    pub catalog: Option<Arc<dyn Catalog>>,
    /// Where wrapped keys lie instead of files in the vault's folder.
    pub key_store: Option<Arc<dyn KeyStore>>,
    /// What the age of unwrapped keys is measured by, instead of the system's monotonic clock.
    pub clock: Clock,
    pub(crate) budgets: Budgets,
    pub(crate) faults: Arc<Faults>,
}

/// What is stored.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Whose it is.
    pub owner: OwnerId,
    /// When it may be deleted.
    pub expiry: ExpiryHour,
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
    /// Space left on its disk.
    pub free_bytes: u64,
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

/// What the committer, the readers and the sweeper share.
pub(crate) struct Shared {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) segments: Folder,
    pub(crate) keys: Arc<DataKeys>,
    pub(crate) reader: Reader,
    pub(crate) owners: Owners,
    pub(crate) poison: Poison,
    pub(crate) counters: Counters,
    sweeping: Mutex<()>,
    _lock: Lock,
}

/// What was committed since the vault was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) payload_bytes: AtomicU64,
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
    pub fn open(
        folder: &Path,
        service: Arc<dyn KeyService>,
        owners: Vec<Arc<dyn Owner>>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let lock = recovery::lock(folder)?;
        recovery::check_format(folder)?;
        let faults = options.faults;
        let key_store = match options.key_store {
            Some(store) => store,
            None => Arc::new(KeyFiles::open(folder, faults.clone()).map_err(KeyError::from)?),
        };
        let keys = Arc::new(DataKeys::open(key_store, service, options.clock, options.budgets)?);
        let segments = Folder::open(folder, faults).map_err(|e| recovery::failed("create", folder, e))?;
        recovery::cut_unwritten(&segments)?;
        let catalog = match options.catalog {
            Some(catalog) => catalog,
            None => Arc::new(FjallCatalog::open(&folder.join("catalog"))?),
        };
        let shared = Arc::new(Shared {
            catalog,
            reader: Reader::new(segments.clone(), keys.clone()),
            segments,
            keys,
            owners: Owners(owners),
            poison: Poison::default(),
            counters: Counters::default(),
            sweeping: Mutex::new(()),
            _lock: lock,
        });
        let (jobs, queue) = mpsc::channel(limits::QUEUE_ENTRIES_MAX);
        let committer = Committer::spawn(shared.clone(), queue)
            .map_err(|e| recovery::failed("start the committer of", folder, e))?;
        let room = Arc::new(Semaphore::new(limits::QUEUE_BYTES_MAX / PERMIT_BYTES));
        let committer = Mutex::new(Some(committer));
        Ok(Self { inner: Arc::new(Inner { shared, jobs: Some(jobs), room, committer }) })
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
        let permits = u32::try_from(entry.payload.len().div_ceil(PERMIT_BYTES)).expect("checked above");
        let room = self.inner.room.clone().acquire_many_owned(permits).await.map_err(|_| PutError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let job = Job::Put(Pending { entry, answer, room });
        self.jobs().send(job).await.map_err(|_| PutError::Closed)?;
        answered.await.map_err(|_| PutError::Closed)?
    }

    /// Waits until everything that was queued before has been answered.
    pub async fn barrier(&self) {
        let (answer, answered) = oneshot::channel();
        if self.jobs().send(Job::Barrier(answer)).await.is_ok() {
            let _ = answered.await;
        }
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

    /// Deletes segments and keys that have expired at `unix_secs`. Can stop anywhere and be run again.
    pub async fn sweep(&self, unix_secs: u64) -> Result<Swept, SweepError> {
        let now = ExpiryHour::containing(unix_secs);
        let (answer, answered) = oneshot::channel();
        let job = Job::CloseBefore(now, answer);
        self.jobs().send(job).await.map_err(|_| SweepError::Closed)?;
        answered.await.map_err(|_| SweepError::Closed)?;
        let shared = self.inner.shared.clone();
        shared.keys.expire_cache();
        let swept = tokio::task::spawn_blocking(move || {
            let _alone = shared.sweeping.lock().unwrap_or_else(PoisonError::into_inner);
            sweep::run(&shared, now)
        });
        swept.await.unwrap_or(Err(SweepError::Closed))
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
        let folder = std::fs::File::open(shared.segments.path());
        Health {
            poisoned: shared.poison.reason().map(str::to_owned),
            queued_bytes: (limits::QUEUE_BYTES_MAX - free_permits * PERMIT_BYTES) as u64,
            commits: shared.counters.commits.load(Ordering::Relaxed),
            frames: shared.counters.frames.load(Ordering::Relaxed),
            payload_bytes: shared.counters.payload_bytes.load(Ordering::Relaxed),
            free_bytes: folder.and_then(|folder| disk::free_bytes(&folder)).unwrap_or(0),
        }
    }

    /// The segment files, the first to expire first. Blocks.
    pub fn segments(&self) -> std::io::Result<Vec<SegmentFile>> {
        let folder = &self.inner.shared.segments;
        let file = |name| Ok(SegmentFile { name, bytes: folder.path_of(name).metadata()?.len() });
        folder.list()?.into_iter().map(file).collect()
    }

    /// The frames of a segment file, read without keys and without the catalog. Blocks.
    pub fn walk(&self, segment: SegmentFile) -> std::io::Result<Walk> {
        Walk::open(&self.inner.shared.segments.path_of(segment.name), segment.name)
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
mod tests;
