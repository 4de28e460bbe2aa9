//! Archive and vault as the server's own parts use them: from async code, and in terms of refusals.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use archive::{Archive, Expired, Overview, QueryError, Retention, StoreError, StoreOutcome, Stream, StreamError};
use fragment::{Codec, FragmentId, FragmentNumber, StreamName, WallTime};
use serde::{Deserialize, Serialize};
use upload::ErrorCode;
use vault::catalog::FjallCatalog;
use vault::{Batch, Catalog, CatalogError, Direction, Key, KeyError, KeyRange, KeyRefusal, Parts, Space};

use crate::config::StorageSettings;
use crate::data_folder::{DataFolder, FolderError, FolderLock};
use crate::intake::{self, Refusal, Whole};
use crate::key_service::KeyServiceError;
use crate::limits;
use crate::office::CheckReport;
use crate::shared_store::SharedStoreError;

/// Why the storage can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another process has it open.
    #[error("the data folder {0} is in use by another millrace; stop that one, or name another folder with --data")]
    InUse(String),
    /// It can't be locked.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Nobody wraps its data keys.
    #[error(transparent)]
    KeyService(#[from] KeyServiceError),
    /// The archive can't be opened.
    #[error(transparent)]
    Archive(archive::OpenError),
    /// What several servers share can't be opened.
    #[error(transparent)]
    Shared(#[from] SharedStoreError),
    /// There are keys of streams, and no streams.
    #[error(
        "the index is lost, and the video is there: run `millrace rebuild-index`, which makes the index again (or does \
         --catalog name another database than before?)"
    )]
    IndexLost,
    /// The index can't be rebuilt.
    #[error("the index can't be rebuilt: {0}")]
    Rebuild(String),
}

/// Takes the data folder for this process.
pub(crate) fn lock(folder: &DataFolder) -> Result<FolderLock, StorageError> {
    folder.lock()?.ok_or_else(|| in_use(folder))
}

/// Another process has the data folder.
pub(crate) fn in_use(folder: &DataFolder) -> StorageError {
    StorageError::InUse(folder.path().display().to_string())
}

/// A stream and what is stored of it, for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamInfo {
    pub(crate) name: String,
    pub(crate) retention_seconds: u64,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) fragments: u64,
    pub(crate) bytes: u64,
    pub(crate) first_ns: Option<i64>,
    pub(crate) last_ns: Option<i64>,
}

/// What became of a catalog that was made again.
#[derive(Debug)]
pub(crate) struct Reindexed {
    pub(crate) rebuilt: archive::Rebuilt,
    /// Where the old one lies now, if there was one.
    pub(crate) aside: Option<PathBuf>,
    /// How many rows of devices and tokens came over from the old one, or why none did.
    pub(crate) server_rows: Result<u64, String>,
    /// Whether the newest changes of the old one could not be read.
    pub(crate) cut: bool,
}

/// What retention has deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deleted {
    pub(crate) fragments: u64,
    pub(crate) bytes: u64,
}

/// The archive, as ingest, retention and the office use it.
#[derive(Clone)]
pub(crate) struct Storage {
    archive: Archive,
    /// Whether other servers work on it too.
    is_shared: bool,
    shares_keyring: bool,
    folder: DataFolder,
    /// Behind the archive, so that it is released after that.
    _lock: Arc<FolderLock>,
}

/// The wall time. A clock before 1970 counts as 1970.
pub(crate) fn now() -> WallTime {
    WallTime::from_nanos(0) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Storage {
    /// Takes the data folder's lock and opens its vault. Blocks.
    pub(crate) fn open(folder: &DataFolder, settings: &StorageSettings) -> Result<Self, StorageError> {
        let storage = Self::open_without_index(folder, settings)?;
        match storage.archive.has_lost_its_index() {
            Ok(false) => Ok(storage),
            Ok(true) => Err(StorageError::IndexLost),
            Err(error) => Err(StorageError::Rebuild(error.to_string())),
        }
    }

    fn open_without_index(folder: &DataFolder, settings: &StorageSettings) -> Result<Self, StorageError> {
        let lock = lock(folder)?;
        let path = folder.vault();
        let StorageSettings { keys, shared, retention_max } = settings;
        let failed = |error| match error {
            archive::OpenError::Vault(vault::OpenError::Locked(_)) => in_use(folder),
            archive::OpenError::Vault(vault::OpenError::Key(why)) if shared.is_some() => {
                let path = keys.keyring_path(&path);
                StorageError::Shared(SharedStoreError::WrongKeyring { path, why: why.to_string() })
            }
            error => StorageError::Archive(error),
        };
        // With the lock held: of two that start on a new folder, one makes the keyring.
        let parts = match shared {
            Some(shared) => shared.parts(keys, &path)?,
            None => Parts::local(&path, keys.open(&path)?).map_err(|e| failed(e.into()))?,
        };
        let archive = Archive::assemble(parts, *retention_max).map_err(failed)?;
        let (is_shared, shares_keyring) = (shared.is_some(), settings.shares_keyring());
        Ok(Self { archive, is_shared, shares_keyring, folder: folder.clone(), _lock: Arc::new(lock) })
    }

    /// Makes the catalog again out of segments and keys; the old one is set aside. Blocks.
    ///
    /// Steps: 1 the old catalog gets another name, 2 a new one is filled, streams last. Stopped in between, it is
    /// begun again in the same way. Devices and tokens are in no segment: they are taken over from the old catalog
    /// if it can still be read.
    pub(crate) fn rebuild_index(folder: &DataFolder, settings: &StorageSettings) -> Result<Reindexed, StorageError> {
        let failed = |error: &dyn std::fmt::Display| StorageError::Rebuild(error.to_string());
        if settings.shared.is_some() {
            let storage = Self::open_without_index(folder, settings)?;
            let rebuilt = storage.archive.rebuild_index().map_err(|error| failed(&error))?;
            let catalog = storage.archive.vault().catalog();
            let devices = catalog.scan(&KeyRange::prefix(Key::new(Space::Server, b"\x01")), Direction::Ascending, 1);
            let server_rows = devices.map(|rows| rows.len() as u64).map_err(|error| error.to_string());
            return Ok(Reindexed { rebuilt, aside: None, server_rows, cut: false });
        }
        let lock = lock(folder)?;
        let aside = folder.catalog_set_aside(now());
        FjallCatalog::set_aside(&folder.vault(), &aside).map_err(|error| failed(&error))?;
        drop(lock);
        let storage = Self::open_without_index(folder, settings)?;
        let old = aside.exists().then(|| FjallCatalog::open_damaged(&aside));
        let cut = matches!(old, Some(Ok((_, lost))) if lost > 0);
        let devices = match old {
            Some(Ok((old, _))) => take_over(&old, &**storage.archive.vault().catalog()),
            Some(Err(error)) => Err(error),
            None => Ok(0),
        };
        let rebuilt = storage.archive.rebuild_index().map_err(|error| failed(&error))?;
        let aside = aside.exists().then_some(aside);
        let server_rows = devices.map_err(|error| error.to_string());
        Ok(Reindexed { rebuilt, aside, server_rows, cut })
    }

    /// Reads everything and says what disagrees. Blocks.
    pub(crate) fn check(&self, now: WallTime) -> Result<CheckReport, archive::CheckError> {
        let mut first = Vec::new();
        let checked = self.archive.check(now, &mut |finding| {
            tracing::warn!(%finding, "a check found a disagreement");
            if first.len() < limits::FINDINGS_TOLD {
                first.push(finding.to_string());
            }
        })?;
        let archive::Checked { segments, frames, bytes, unreferenced, fragments, findings } = checked;
        Ok(CheckReport { segments, frames, bytes, fragments, unreferenced, findings, first })
    }

    /// The data folder that it lies in.
    pub(crate) fn folder(&self) -> &DataFolder {
        &self.folder
    }

    /// Whether other servers work on it too.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Whether other servers have copies of this one's keyring.
    pub(crate) fn shares_keyring(&self) -> bool {
        self.shares_keyring
    }

    /// The archive itself.
    pub(crate) fn archive(&self) -> &Archive {
        &self.archive
    }

    /// The number of a fragment that is stored already.
    pub(crate) async fn find(&self, stream: &StreamName, id: FragmentId) -> Result<Option<FragmentNumber>, Refusal> {
        let Some(stream) = self.archive.find_stream(stream)? else { return Ok(None) };
        let archive = self.archive.clone();
        let look = move || archive.find(stream.id, id, now());
        let stored = point_read(&**self.archive.vault().catalog(), look).await?;
        Ok(stored.map(|stored| stored.number))
    }

    /// Stores a fragment, in a stream that is created if there is none. On disk when it answers.
    pub(crate) async fn store(&self, whole: Whole, arrived: WallTime) -> Result<StoreOutcome, Refusal> {
        let stream = self.find_or_create(&whole.header.key.stream).await?;
        store_in(&self.archive, stream.id, whole, arrived).await
    }

    /// Deletes what has expired at `now`: rows, then files.
    pub(crate) async fn delete_expired(&self, now: WallTime) -> Result<Deleted, StreamError> {
        let expired = self.archive.expire(now).await?;
        Ok(expired.into())
    }

    /// How much of the disk has to be given back for `wanted` bytes to be free. Blocks for microseconds.
    pub(crate) fn shortage(&self, wanted: u64) -> u64 {
        let free = self.archive.vault().health().free_bytes;
        free.map_or(0, |free| wanted.saturating_sub(free))
    }

    /// Gives up the oldest fragments until `bytes` of the disk are given back.
    pub(crate) async fn make_room(&self, bytes: u64, now: WallTime) -> Result<Deleted, StreamError> {
        Ok(self.archive.make_room(bytes, now).await?.into())
    }

    pub(crate) fn create_stream(
        &self,
        name: &StreamName,
        retention: Duration,
        max_bytes: Option<u64>,
    ) -> Result<(), StreamError> {
        let retention = Retention::new(retention)?.with_bytes(max_bytes)?;
        self.archive.create_stream(name, retention, now()).map(drop)
    }

    /// Changes what is given; 0 bytes are no bound.
    pub(crate) async fn set_retention(
        &self,
        name: &StreamName,
        time: Option<Duration>,
        max_bytes: Option<u64>,
    ) -> Result<(), StreamError> {
        let change = move |retention: Retention| {
            let max_bytes = match max_bytes {
                None => retention.bytes(),
                Some(0) => None,
                some => some,
            };
            Retention::new(time.unwrap_or(retention.time()))?.with_bytes(max_bytes)
        };
        self.archive.change_retention(self.stream(name)?.id, now(), change).await.map(drop)
    }

    pub(crate) async fn delete_stream(&self, name: &StreamName) -> Result<(), StreamError> {
        self.archive.delete_stream(self.stream(name)?.id).await
    }

    pub(crate) fn streams(&self) -> Result<Vec<StreamInfo>, StreamError> {
        let overviews = self.archive.overview(now())?;
        Ok(overviews.into_iter().map(StreamInfo::from).collect())
    }

    pub(crate) fn describe(&self, name: &StreamName) -> Result<StreamInfo, StreamError> {
        let overview = self.archive.extent(self.stream(name)?.id, now())?;
        overview.map(StreamInfo::from).ok_or(StreamError::NotFound)
    }

    fn stream(&self, name: &StreamName) -> Result<Stream, StreamError> {
        self.archive.find_stream(name)?.ok_or(StreamError::NotFound)
    }

    /// Notes that a stream is a smaller copy of another.
    pub(crate) async fn note_sub_stream(&self, stream: &StreamName, of: &StreamName) -> Result<(), Refusal> {
        let known = self.find_or_create(stream).await?;
        if known.sub_of.as_ref() == Some(of) {
            return Ok(());
        }
        let (archive, of) = (self.archive.clone(), of.clone());
        let noted = tokio::task::spawn_blocking(move || archive.set_sub_of(known.id, &of)).await;
        let noted = noted.map_err(|error| Refusal::new(ErrorCode::Internal, error.to_string()))?;
        noted.map_err(|error| Refusal::new(ErrorCode::Internal, error.to_string()))
    }

    async fn find_or_create(&self, name: &StreamName) -> Result<Stream, Refusal> {
        if let Some(stream) = self.archive.find_stream(name)? {
            return Ok(stream);
        }
        let (archive, name) = (self.archive.clone(), name.clone());
        let created = tokio::task::spawn_blocking(move || archive.find_or_create_stream(&name, now())).await;
        let created = created.map_err(|error| Refusal::new(ErrorCode::Internal, error.to_string()))?;
        created.map_err(|error| match error {
            StreamError::TooMany => Refusal::new(ErrorCode::StreamNotPermitted, error.to_string()),
            error => Refusal::new(ErrorCode::Internal, error.to_string()),
        })
    }
}

/// Stores a fragment in a stream that is there. On disk when it answers.
pub(crate) async fn store_in(
    archive: &Archive,
    stream: u64,
    whole: Whole,
    arrived: WallTime,
) -> Result<StoreOutcome, Refusal> {
    let codecs = whole.tracks.iter().map(|track| &track.codec).filter_map(Codec::rfc6381);
    let fragment = archive::Fragment {
        id: whole.header.key.id,
        start: whole.header.start,
        quality: whole.header.quality,
        duration: whole.duration,
        tracks_fingerprint: intake::fingerprint(&whole.tracks),
        independent: whole.independent,
        codecs: codecs.collect(),
        arrived,
        payload: whole.payload,
    };
    archive.store(stream, fragment).await.map_err(|error| store_refusal(&error))
}

/// Reads a row or two: here, where that takes microseconds, less than another thread would cost; or on a thread for calls
/// that block, where the catalog is on another machine.
pub(crate) async fn point_read<T: Send + 'static>(
    catalog: &dyn Catalog,
    read: impl FnOnce() -> T + Send + 'static,
) -> T {
    if !catalog.is_remote() {
        return read();
    }
    match tokio::task::spawn_blocking(read).await {
        Ok(read) => read,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// Copies the server's own rows from one catalog to another; answers how many.
fn take_over(old: &dyn Catalog, new: &dyn Catalog) -> Result<u64, CatalogError> {
    let mut range = KeyRange::prefix(Key::new(Space::Server, b""));
    let mut taken = 0;
    loop {
        let rows = old.scan(&range, Direction::Ascending, vault::limits::SCAN_ROWS_MAX)?;
        let Some(last) = rows.last() else { return Ok(taken) };
        range = range.beyond(&last.key, Direction::Ascending);
        taken += rows.len() as u64;
        let mut batch = Batch::new();
        for row in rows {
            batch.insert(row.key, row.value);
        }
        new.commit(batch).map_err(|error| CatalogError::Failed(error.to_string()))?;
    }
}

impl From<Expired> for Deleted {
    fn from(expired: Expired) -> Self {
        Self { fragments: expired.fragments, bytes: expired.swept.bytes }
    }
}

impl From<Overview> for StreamInfo {
    fn from(overview: Overview) -> Self {
        Self {
            name: overview.name.to_string(),
            retention_seconds: overview.retention.time().as_secs(),
            max_bytes: overview.retention.bytes(),
            fragments: overview.fragments,
            bytes: overview.bytes,
            first_ns: overview.first.map(WallTime::as_nanos),
            last_ns: overview.last.map(WallTime::as_nanos),
        }
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        Self::new(ErrorCode::Internal, error.to_string())
    }
}

/// The ack's code for a failure to store.
fn store_refusal(error: &StoreError) -> Refusal {
    let code = match error {
        StoreError::NoStream => ErrorCode::StreamNotActive,
        StoreError::TooLarge { .. } => ErrorCode::FragmentTooLarge,
        StoreError::TooLong(_) => ErrorCode::FragmentTooLong,
        StoreError::Codecs => ErrorCode::InvalidMkv,
        StoreError::Vault(vault::PutError::Key(error)) => key_code(error),
        error if error.retryable() => ErrorCode::Archival,
        StoreError::Vault(_) | StoreError::Query(_) => ErrorCode::Internal,
    };
    Refusal::new(code, error.to_string())
}

/// The ack's code when no data key can be had. All of them mean that the device keeps the fragment.
pub(crate) fn key_code(error: &KeyError) -> ErrorCode {
    match error.refusal() {
        Some(KeyRefusal::AccessDenied) => ErrorCode::KmsAccessDenied,
        Some(KeyRefusal::Disabled) => ErrorCode::KmsDisabled,
        Some(KeyRefusal::IncorrectKey | KeyRefusal::InvalidCiphertext | KeyRefusal::UnsupportedOperation) => {
            ErrorCode::KmsValidation
        }
        Some(KeyRefusal::InvalidKeyUsage) => ErrorCode::KmsInvalidUsage,
        Some(KeyRefusal::InvalidState) => ErrorCode::KmsInvalidState,
        Some(KeyRefusal::NotFound) => ErrorCode::KmsNotFound,
        Some(
            KeyRefusal::DependencyTimeout
            | KeyRefusal::Internal
            | KeyRefusal::KeyUnavailable
            | KeyRefusal::LimitExceeded
            | KeyRefusal::Throttling,
        ) => ErrorCode::KmsUnavailable,
        None => ErrorCode::Archival,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_refusal_of_the_key_service_makes_a_device_give_a_fragment_up() {
        for refusal in KeyRefusal::ALL {
            let error = StoreError::Vault(vault::PutError::Key(KeyError::refused(refusal, "a test")));
            let refused = store_refusal(&error);
            assert!(refused.code.is_retryable(), "{refusal}");
            assert!(refused.code.name().starts_with("KMS_KEY_"), "{refusal}");
            assert!(refused.message.contains(refusal.name()), "{refused}");
        }
    }
}
