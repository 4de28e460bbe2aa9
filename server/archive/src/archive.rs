//! The handle: streams, and storing fragments in them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, FragmentNumber, StreamName, WallTime};
use tokio::sync::watch;
use vault::{Batch, Catalog, Entry, ExpirySlot, KeyService, Owner, OwnerId, Put, PutError, SegmentName, Vault};

use crate::entry::Stored;
use crate::error::{OpenError, QueryError, StoreError, StreamError};
use crate::index::Index;
use crate::key::Row;
use crate::limits;
use crate::query::number_in;
use crate::stream::{Retention, State, Stream};

/// A complete fragment that has arrived.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// The identity chosen at capture.
    pub id: FragmentId,
    /// When it begins, by the producer's time.
    pub start: WallTime,
    /// How far `start` can be trusted.
    pub quality: ClockQuality,
    /// How long it is.
    pub duration: Duration,
    /// Equal for fragments whose tracks are the same.
    pub tracks_fingerprint: u64,
    /// Whether it can be decoded without the fragment before it.
    pub independent: bool,
    /// The RFC 6381 strings of its tracks.
    pub codecs: Vec<String>,
    /// When it arrived.
    pub arrived: WallTime,
    /// Its bytes.
    pub payload: Bytes,
}

/// What became of a fragment: it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOutcome {
    /// Its number.
    pub number: FragmentNumber,
    /// Whether it had been stored before, by an earlier upload.
    pub duplicate: bool,
}

/// Streams of fragments. Clones share it.
#[derive(Clone)]
pub struct Archive {
    vault: Vault,
    index: Arc<Index>,
    /// Segments that lost rows before their slot has passed: they may go early.
    thinned: Arc<Mutex<BTreeSet<SegmentName>>>,
}

impl Archive {
    /// Opens the vault in `folder` for an archive alone. Blocks.
    pub fn open(folder: &Path, service: Arc<dyn KeyService>) -> Result<Self, OpenError> {
        let index = Arc::new(Index::new());
        let owner: Arc<dyn Owner> = index.clone();
        let vault = Vault::open(folder, service, vec![owner])?;
        Ok(Self::new(vault, index)?)
    }

    /// The archive on a vault that was opened with `index` among its owners. Blocks.
    pub fn new(vault: Vault, index: Arc<Index>) -> Result<Self, QueryError> {
        index.load(&**vault.catalog())?;
        Ok(Self { vault, index, thinned: Arc::default() })
    }

    /// Reads the streams again, after they were put into the catalog.
    pub(crate) fn reload(&self) -> Result<(), QueryError> {
        self.index.load(self.catalog())
    }

    /// The vault underneath.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Creates a stream.
    pub fn create_stream(&self, name: &StreamName, retention: Retention, now: WallTime) -> Result<Stream, StreamError> {
        let mut streams = self.index.streams_mut();
        if streams.by_name.contains_key(name) {
            return Err(StreamError::Exists(name.clone()));
        }
        if streams.by_id.len() >= limits::STREAMS_MAX {
            return Err(StreamError::TooMany);
        }
        let id = match self.catalog().get(&Row::NextStream.key())? {
            None => 1,
            Some(row) => {
                let id = row[..].try_into().map_err(|_| QueryError::Damaged("next stream"))?;
                u64::from_be_bytes(id)
            }
        };
        let stream = Stream { id, name: name.clone(), created: now, retention, kept_from: FragmentNumber(0) };
        let mut batch = Batch::new();
        batch.insert(Row::NextStream.key(), (id + 1).to_be_bytes().to_vec());
        batch.require_absent(Row::Stream(id).key());
        batch.insert(Row::Stream(id).key(), stream.encode(State::Active));
        self.catalog().commit(batch)?;
        streams.insert(stream.clone());
        Ok(stream)
    }

    /// The stream of this name, created with the default retention if there is none.
    pub fn find_or_create_stream(&self, name: &StreamName, now: WallTime) -> Result<Stream, StreamError> {
        if let Some(stream) = self.find_stream(name)? {
            return Ok(stream);
        }
        match self.create_stream(name, Retention::DEFAULT, now) {
            Err(StreamError::Exists(name)) => self.find_stream(&name)?.ok_or(StreamError::NotFound),
            created => created,
        }
    }

    /// All streams in the order of their names.
    pub fn list_streams(&self) -> Vec<Stream> {
        let mut streams: Vec<Stream> = self.index.streams().by_id.values().cloned().collect();
        streams.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        streams
    }

    /// The stream of this name.
    pub fn find_stream(&self, name: &StreamName) -> Result<Option<Stream>, QueryError> {
        let streams = self.index.streams();
        Ok(streams.by_name.get(name).and_then(|id| streams.by_id.get(id)).cloned())
    }

    /// The stream of this number.
    pub fn stream(&self, id: u64) -> Result<Option<Stream>, QueryError> {
        Ok(self.index.streams().by_id.get(&id).cloned())
    }

    /// Changes how long fragments are kept, those that are stored included.
    pub fn set_retention(&self, id: u64, retention: Retention) -> Result<Stream, StreamError> {
        self.change(id, |stream| Stream { retention, ..stream })
    }

    /// From now on, fragments before this one are gone for good; their rows and files follow.
    pub(crate) fn give_up_before(&self, id: u64, number: FragmentNumber) -> Result<Stream, StreamError> {
        self.change(id, |stream| Stream { kept_from: stream.kept_from.max(number), ..stream })
    }

    fn change(&self, id: u64, change: impl FnOnce(Stream) -> Stream) -> Result<Stream, StreamError> {
        let mut streams = self.index.streams_mut();
        let stream = streams.by_id.get_mut(&id).ok_or(StreamError::NotFound)?;
        let changed = change(stream.clone());
        let mut batch = Batch::new();
        batch.insert(Row::Stream(id).key(), changed.encode(State::Active));
        self.catalog().commit(batch)?;
        *stream = changed.clone();
        Ok(changed)
    }

    /// Stores a fragment. On disk when it answers; a fragment of the same identity is stored once.
    pub async fn store(&self, stream: u64, fragment: Fragment) -> Result<StoreOutcome, StoreError> {
        check(&fragment)?;
        let retention = match self.index.streams().by_id.get(&stream) {
            Some(stream) => stream.retention,
            None => return Err(StoreError::NoStream),
        };
        let expires = fragment.arrived + retention.time();
        let secs = u64::try_from(expires.as_millis() / 1000).unwrap_or(0);
        let payload = fragment.payload.clone();
        let entry = Entry {
            owner: owner_of(stream),
            expiry: ExpirySlot::containing(secs),
            unless_exists: Some(Row::ByIdentity(stream, fragment.id).key()),
            index: draft(fragment).encode(),
            payload,
        };
        match self.vault.put(entry).await {
            Ok(Put::Stored(receipt)) => {
                let stored = Stored::decode(&receipt.index).ok_or(QueryError::Damaged("fragment"))?;
                Ok(StoreOutcome { number: stored.number, duplicate: false })
            }
            Ok(Put::AlreadyStored { value }) => Ok(StoreOutcome { number: number_in(&value)?, duplicate: true }),
            // The stream went while the fragment waited.
            Err(PutError::Refused(_)) if self.stream(stream)?.is_none() => Err(StoreError::NoStream),
            Err(error) => Err(StoreError::Vault(error)),
        }
    }

    /// Follows a stream: the receiver holds the number of the newest fragment stored since the start.
    pub fn watch(&self, stream: u64) -> watch::Receiver<Option<FragmentNumber>> {
        self.index.watch(stream)
    }

    pub(crate) fn thinned(&self) -> MutexGuard<'_, BTreeSet<SegmentName>> {
        self.thinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    pub(crate) fn catalog(&self) -> &dyn Catalog {
        &**self.vault.catalog()
    }
}

/// The vault's name for a stream.
pub(crate) fn owner_of(stream: u64) -> OwnerId {
    OwnerId::new(vault::Domain::ARCHIVE, stream).expect("streams are numbered from 1 upwards")
}

fn check(fragment: &Fragment) -> Result<(), StoreError> {
    if fragment.payload.len() > fragment::limits::FRAGMENT_BYTES_MAX {
        return Err(StoreError::TooLarge { bytes: fragment.payload.len() });
    }
    if fragment.duration > fragment::limits::FRAGMENT_DURATION_MAX {
        return Err(StoreError::TooLong(fragment.duration));
    }
    if fragment.codecs.iter().map(|codec| codec.len() + 1).sum::<usize>() > limits::CODECS_BYTES_MAX {
        return Err(StoreError::Codecs);
    }
    Ok(())
}

/// The index entry before the commit numbers it.
fn draft(fragment: Fragment) -> Stored {
    Stored {
        number: FragmentNumber(0),
        id: fragment.id,
        start: fragment.start,
        duration: fragment.duration,
        quality: fragment.quality,
        tracks_fingerprint: fragment.tracks_fingerprint,
        independent: fragment.independent,
        arrived: fragment.arrived,
        bytes: fragment.payload.len() as u64,
        live: None,
        codecs: fragment.codecs,
    }
}
