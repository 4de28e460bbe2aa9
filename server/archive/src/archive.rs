//! The handle: streams, and storing fragments in them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, FragmentNumber, StreamName, WallTime};
use tokio::sync::watch;
use vault::{
    Batch, Catalog, CommitError, Entry, ExpirySlot, KeyService, Owner, OwnerId, Parts, Put, PutError, SegmentName,
    Vault,
};

use crate::entry::Stored;
use crate::error::{OpenError, QueryError, StoreError, StreamError};
use crate::expiry::{self, Thinned, blocking};
use crate::index::Index;
use crate::key::Row;
use crate::limits;
use crate::query::number_in;
use crate::raise::Raise;
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
    thinned: Arc<Mutex<BTreeMap<SegmentName, Thinned>>>,
}

impl Archive {
    /// Opens the vault in `folder` for an archive alone. Blocks.
    pub fn open(folder: &Path, service: Arc<dyn KeyService>) -> Result<Self, OpenError> {
        Self::assemble(Parts::local(folder, service)?, limits::RETENTION_CEILING_DEFAULT)
    }

    /// Opens a vault of these parts for an archive alone, which keeps nothing longer than `ceiling`. Blocks.
    pub fn assemble(parts: Parts, ceiling: Duration) -> Result<Self, OpenError> {
        let index = Arc::new(Index::with_ceiling(ceiling));
        let owner: Arc<dyn Owner> = index.clone();
        let vault = Vault::assemble(parts, vec![owner])?;
        Ok(Self::new(vault, index)?)
    }

    /// The archive on a vault that was opened with `index` among its owners. Blocks.
    pub fn new(vault: Vault, index: Arc<Index>) -> Result<Self, QueryError> {
        index.refresh(&**vault.catalog())?;
        let thinned = expiry::thinned(&**vault.catalog())?;
        let archive = Self { vault, index, thinned: Arc::new(Mutex::new(thinned)) };
        for stream in archive.list_streams() {
            // Counts the streams of an older data folder, before anybody waits for it. Damage is told where it is met.
            let _ = archive.tail(stream.id);
        }
        Ok(archive)
    }

    /// Takes up what other servers on the same catalog have changed of streams: created, deleted, kept longer or less
    /// long. Where there are others, call it about once a second.
    pub fn refresh(&self) -> Result<(), QueryError> {
        self.index.refresh(self.catalog()).map(drop)
    }

    /// The vault underneath.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Creates a stream.
    pub fn create_stream(&self, name: &StreamName, retention: Retention, now: WallTime) -> Result<Stream, StreamError> {
        self.create_stream_with(name, retention, None, now)
    }

    /// Creates a stream with attributes, which mean nothing here.
    pub fn create_stream_with(
        &self,
        name: &StreamName,
        retention: Retention,
        attributes: Option<&Bytes>,
        now: WallTime,
    ) -> Result<Stream, StreamError> {
        self.check_ceiling(retention)?;
        check_attributes(attributes)?;
        loop {
            match self.try_create_stream(name, retention, attributes, now) {
                Err(StreamError::Commit(CommitError::Precondition)) => self.refresh()?,
                created => return created,
            }
        }
    }

    /// Creates a stream, on condition that no other was created meanwhile: it might have the same name.
    fn try_create_stream(
        &self,
        name: &StreamName,
        retention: Retention,
        attributes: Option<&Bytes>,
        now: WallTime,
    ) -> Result<Stream, StreamError> {
        let _alone = self.index.changing();
        let (known, ceiling) = {
            let streams = self.index.streams();
            if streams.by_name.contains_key(name) {
                return Err(StreamError::Exists(name.clone()));
            }
            if streams.by_id.len() >= limits::STREAMS_MAX {
                return Err(StreamError::TooMany);
            }
            (streams.next.clone(), streams.ceiling)
        };
        let (key, mut batch) = (Row::NextStream.key(), Batch::new());
        let id = match known {
            None => {
                batch.require_absent(key.clone());
                1
            }
            Some(row) => {
                let id = row[..].try_into().map_err(|_| QueryError::Damaged("next stream"))?;
                batch.require_value(key.clone(), row);
                u64::from_be_bytes(id)
            }
        };
        let stream = Stream {
            id,
            name: name.clone(),
            created: now,
            retention,
            ceiling,
            kept_from: FragmentNumber(0),
            sub_of: None,
            revision: 0,
        };
        let (next, row) = (Bytes::copy_from_slice(&(id + 1).to_be_bytes()), stream.encode(State::Active));
        batch.insert(key, next.clone());
        batch.require_absent(Row::Stream(id).key());
        batch.insert(Row::Stream(id).key(), row.clone());
        if let Some(attributes) = attributes {
            batch.insert(Row::Attributes(id).key(), attributes.clone());
        }
        self.catalog().commit(batch)?;
        let mut streams = self.index.streams_mut();
        streams.next = Some(next);
        streams.insert(stream.clone(), row);
        Ok(stream)
    }

    /// The retention of a stream that nobody gives another.
    pub fn default_retention(&self) -> Retention {
        Retention::DEFAULT.at_most(self.index.streams().ceiling)
    }

    /// The stream of this name, created with the default retention if there is none.
    pub fn find_or_create_stream(&self, name: &StreamName, now: WallTime) -> Result<Stream, StreamError> {
        if let Some(stream) = self.find_stream(name)? {
            return Ok(stream);
        }
        match self.create_stream(name, self.default_retention(), now) {
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
    pub async fn set_retention(&self, id: u64, retention: Retention, now: WallTime) -> Result<Stream, StreamError> {
        self.change_retention(id, now, move |_| Ok(retention)).await
    }

    /// Changes how long fragments are kept, from what holds so far. `change` is asked more than once if others change it
    /// at the same time. A longer time is noted in the vault first, in case that the catalog is lost.
    pub async fn change_retention(
        &self,
        id: u64,
        now: WallTime,
        change: impl Fn(Retention) -> Result<Retention, StreamError> + Send + 'static,
    ) -> Result<Stream, StreamError> {
        let before = self.stream(id)?.ok_or(StreamError::NotFound)?.retention;
        self.note_raise(id, change(before)?, now).await?;
        let archive = self.clone();
        blocking(move || {
            archive.replace(id, None, |stream| {
                let retention = change(stream.retention)?;
                if retention.time() != stream.retention.time() {
                    archive.check_ceiling(retention)?;
                }
                let revision = stream.revision + 1;
                Ok((Stream { retention, revision, ..stream }, State::Active))
            })
        })
        .await
    }

    /// Notes in the vault that a stream's retention is about to be raised, if it is: older frames don't say so.
    pub async fn note_raise(&self, id: u64, to: Retention, now: WallTime) -> Result<(), StreamError> {
        let before = self.stream(id)?.ok_or(StreamError::NotFound)?.retention;
        if to.time() > before.time() {
            self.check_ceiling(to)?;
            let raise = Raise { at: now, to: to.time() };
            self.vault.put(raise.entry(owner_of(id))).await.map_err(StreamError::Note)?;
        }
        Ok(())
    }

    /// What the users of a stream have noted of it.
    pub fn attributes(&self, id: u64) -> Result<Option<Bytes>, QueryError> {
        Ok(self.catalog().get(&Row::Attributes(id).key())?)
    }

    /// Gives a stream another retention and other attributes, on condition that it has not been changed since it had this
    /// revision. A longer retention goes through [`Archive::note_raise`] first.
    pub fn update_stream(
        &self,
        id: u64,
        revision: u64,
        retention: Retention,
        attributes: &Bytes,
    ) -> Result<Stream, StreamError> {
        check_attributes(Some(attributes))?;
        self.replace(id, Some(attributes), |stream| {
            if stream.revision != revision {
                return Err(StreamError::Changed);
            }
            if retention.time() != stream.retention.time() {
                self.check_ceiling(retention)?;
            }
            let revision = revision + 1;
            Ok((Stream { retention, revision, ..stream }, State::Active))
        })
    }

    /// Notes that this stream is a smaller copy of another. Nothing is written if that is known.
    pub fn set_sub_of(&self, id: u64, of: &StreamName) -> Result<(), StreamError> {
        let known = self.stream(id)?.ok_or(StreamError::NotFound)?;
        if known.sub_of.as_ref() != Some(of) {
            self.replace(id, None, |stream| Ok((Stream { sub_of: Some(of.clone()), ..stream }, State::Active)))?;
        }
        Ok(())
    }

    fn check_ceiling(&self, retention: Retention) -> Result<(), StreamError> {
        let (asked, ceiling) = (retention.time(), self.index.streams().ceiling);
        if asked > ceiling { Err(StreamError::Ceiling { asked, ceiling }) } else { Ok(()) }
    }

    /// From now on, fragments before this one are gone for good; their rows and files follow.
    pub(crate) fn give_up_before(&self, id: u64, number: FragmentNumber) -> Result<Stream, StreamError> {
        self.replace(id, None, |stream| {
            let kept_from = stream.kept_from.max(number);
            Ok((Stream { kept_from, ..stream }, State::Active))
        })
    }

    /// Puts another row in the place of a stream's, and new attributes beside it, whoever else does so at the same time.
    pub(crate) fn replace(
        &self,
        id: u64,
        attributes: Option<&Bytes>,
        change: impl Fn(Stream) -> Result<(Stream, State), StreamError>,
    ) -> Result<Stream, StreamError> {
        loop {
            match self.try_replace(id, attributes, &change) {
                Err(StreamError::Commit(CommitError::Precondition)) => self.refresh()?,
                replaced => return replaced,
            }
        }
    }

    fn try_replace(
        &self,
        id: u64,
        attributes: Option<&Bytes>,
        change: impl Fn(Stream) -> Result<(Stream, State), StreamError>,
    ) -> Result<Stream, StreamError> {
        let _alone = self.index.changing();
        let known = {
            let streams = self.index.streams();
            streams.by_id.get(&id).cloned().zip(streams.rows.get(&id).cloned())
        };
        let (stream, row) = known.ok_or(StreamError::NotFound)?;
        let (changed, state) = change(stream)?;
        let new = changed.encode(state);
        let mut batch = Batch::new();
        batch.require_value(Row::Stream(id).key(), row);
        batch.insert(Row::Stream(id).key(), new.clone());
        if let Some(attributes) = attributes {
            batch.insert(Row::Attributes(id).key(), attributes.clone());
        }
        self.catalog().commit(batch)?;
        let mut streams = self.index.streams_mut();
        streams.remove(id);
        streams.take(id, new)?;
        Ok(changed)
    }

    /// Stores a fragment. On disk when it answers; a fragment of the same identity is stored once.
    pub async fn store(&self, stream: u64, fragment: Fragment) -> Result<StoreOutcome, StoreError> {
        check(&fragment)?;
        let kept_for = match self.index.streams().by_id.get(&stream) {
            Some(stream) => stream.kept_for(),
            None => return Err(StoreError::NoStream),
        };
        let expires = fragment.arrived + kept_for;
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

    pub(crate) fn thinned(&self) -> MutexGuard<'_, BTreeMap<SegmentName, Thinned>> {
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

fn check_attributes(attributes: Option<&Bytes>) -> Result<(), StreamError> {
    match attributes.map(Bytes::len) {
        Some(bytes) if bytes > limits::ATTRIBUTES_BYTES_MAX => Err(StreamError::Attributes(bytes)),
        _ => Ok(()),
    }
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
