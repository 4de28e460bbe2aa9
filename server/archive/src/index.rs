//! The archive's side of the commit: numbers fragments, gives them their live position and their rows.
//!
//! The vault's committer calls in here from its one thread; everything else only looks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use fragment::FragmentNumber;
use tokio::sync::watch;
use vault::{
    AssignError, Batch, Catalog, CatalogError, CommitError, Direction, Domain, KeyRange, Location, Owner, OwnerId,
    Refused,
};

use crate::entry::Stored;
use crate::error::QueryError;
use crate::key::Row;
use crate::limits;
use crate::live;
use crate::raise::Raise;
use crate::stream::Stream;
use crate::streams::Streams;
use crate::tail::Tail;

/// The archive as an owner of frames. Handed to the vault when it is opened, then to [`crate::Archive`].
pub struct Index {
    streams: RwLock<Streams>,
    /// Held by those who change streams, over their commits. Readers never wait for it.
    changing: Mutex<()>,
    ends: Mutex<HashMap<u64, End>>,
    /// The streams of a batch that another server was quicker than, and the ends that it was built upon.
    late: Mutex<BTreeMap<u64, Option<Bytes>>>,
    /// What this index claims the ends of streams by. Another one after a batch that was not stored, whose claims nobody
    /// withdraws.
    claim: AtomicU64,
    /// Claims that were waited for in vain.
    dead: Mutex<BTreeSet<u64>>,
    watches: Mutex<HashMap<u64, watch::Sender<Option<FragmentNumber>>>>,
}

/// The end of a stream, as the entries of the batch under way leave it.
#[derive(Clone, Debug)]
struct End {
    tail: Tail,
    /// The row that the batch finds.
    row: Option<Bytes>,
    /// The stream's row that the batch's first entry found.
    stream: Option<Bytes>,
}

impl Index {
    /// An index that knows no stream yet; [`crate::Archive::new`] loads them. Nothing in it is kept longer than
    /// [`limits::RETENTION_CEILING_DEFAULT`].
    pub fn new() -> Self {
        Self::with_ceiling(limits::RETENTION_CEILING_DEFAULT)
    }

    /// One that keeps nothing longer than this, whatever its streams say.
    pub fn with_ceiling(ceiling: Duration) -> Self {
        Self {
            streams: RwLock::new(Streams::none(ceiling)),
            changing: Mutex::default(),
            ends: Mutex::default(),
            late: Mutex::default(),
            claim: AtomicU64::new(fastrand::u64(1..)),
            dead: Mutex::default(),
            watches: Mutex::default(),
        }
    }

    /// Reads the streams out of the catalog, where other servers may have changed them. Says whether any has changed.
    pub(crate) fn refresh(&self, catalog: &dyn Catalog) -> Result<bool, QueryError> {
        let _alone = self.changing();
        let found = Streams::read(catalog, self.streams().ceiling)?;
        if found.is_as(&self.streams()) {
            return Ok(false);
        }
        let before = std::mem::replace(&mut *self.streams_mut(), found);
        let gone: Vec<u64> = {
            let streams = self.streams();
            before.rows.into_keys().filter(|id| !streams.rows.contains_key(id)).collect()
        };
        gone.into_iter().for_each(|id| self.forget(id));
        Ok(true)
    }

    /// Reads one stream out of the catalog.
    fn refresh_stream(&self, catalog: &dyn Catalog, id: u64) -> Result<(), QueryError> {
        let _alone = self.changing();
        let row = catalog.get(&Row::Stream(id).key())?;
        if row.as_ref() == self.streams().rows.get(&id) {
            return Ok(());
        }
        let mut streams = self.streams_mut();
        streams.remove(id);
        streams.deleting.retain(|other| *other != id);
        row.map_or(Ok(()), |row| streams.take(id, row))
    }

    pub(crate) fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn streams(&self) -> RwLockReadGuard<'_, Streams> {
        self.streams.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn streams_mut(&self) -> RwLockWriteGuard<'_, Streams> {
        self.streams.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a stream: holds the number of its newest fragment.
    pub(crate) fn watch(&self, stream: u64) -> watch::Receiver<Option<FragmentNumber>> {
        self.watches().entry(stream).or_insert_with(|| watch::channel(None).0).subscribe()
    }

    /// Forgets what it remembers of a stream that is gone. Those who watch it see it end.
    pub(crate) fn forget(&self, stream: u64) {
        self.watches().remove(&stream);
        self.ends().remove(&stream);
    }

    fn watches(&self) -> MutexGuard<'_, HashMap<u64, watch::Sender<Option<FragmentNumber>>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> MutexGuard<'_, HashMap<u64, End>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn late(&self) -> MutexGuard<'_, BTreeMap<u64, Option<Bytes>>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dead(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own_claim(&self) -> u64 {
        self.claim.load(Ordering::Relaxed)
    }

    /// The end of a stream and its row, when nobody else has claimed it; or after some time, in case that one has died.
    fn unclaimed_tail(&self, catalog: &dyn Catalog, stream: u64) -> Result<(Tail, Option<Bytes>), QueryError> {
        let mut end = Tail::read(catalog, stream)?;
        for _ in 0..limits::CLAIM_LOOKS {
            if [0, self.own_claim()].contains(&end.0.claim) || self.dead().contains(&end.0.claim) {
                return Ok(end);
            }
            thread::sleep(limits::CLAIM_PAUSE);
            end = Tail::read(catalog, stream)?;
        }
        // For all streams that it has claimed one wait is enough.
        self.dead().insert(end.0.claim);
        Ok(end)
    }

    /// Claims the end of a stream, so that those who build upon it at the same time are overtaken.
    fn claim(&self, catalog: &dyn Catalog, stream: u64, end: &mut End) -> Result<(), AssignError> {
        let tail = Tail { claim: self.own_claim(), ..end.tail };
        let row = tail.encode();
        let mut batch = Batch::new();
        require_tail(&mut batch, stream, end.row.clone()).insert(Row::Tail(stream).key(), row.clone());
        catalog.commit(batch).map_err(|error| match error {
            CommitError::Precondition => AssignError::Overtaken,
            CommitError::NotCommitted(error) | CommitError::Unknown(error) | CommitError::Broken(error) => {
                AssignError::Catalog(error)
            }
        })?;
        (end.tail, end.row) = (tail, Some(row));
        Ok(())
    }

    /// The end of a stream as the catalog has it, with the stream itself.
    fn recover_end(&self, catalog: &dyn Catalog, stream: u64) -> Result<End, AssignError> {
        let recover = || {
            self.refresh_stream(catalog, stream)?;
            self.unclaimed_tail(catalog, stream)
        };
        let (tail, row) = recover().map_err(|error| match error {
            QueryError::Catalog(error) => AssignError::Catalog(error),
            damaged @ QueryError::Damaged(_) => Refused(damaged.to_string()).into(),
        })?;
        Ok(End { tail, row, stream: None })
    }
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

impl Owner for Index {
    fn domain(&self) -> Domain {
        Domain::ARCHIVE
    }

    fn resource(&self, owner: OwnerId) -> String {
        let streams = self.streams();
        // One that was deleted meanwhile is refused when its next fragment is numbered.
        streams.by_id.get(&owner.number()).map_or_else(|| format!("stream/{}", owner.number()), Stream::arn)
    }

    fn begin(&self, catalog: &dyn Catalog, owner: OwnerId) -> Result<(), AssignError> {
        let stream = owner.number();
        if !self.ends().contains_key(&stream) {
            let end = self.recover_end(catalog, stream)?;
            self.ends().insert(stream, end);
        }
        Ok(())
    }

    fn assign(&self, catalog: &dyn Catalog, owner: OwnerId, index: Bytes) -> Result<Bytes, AssignError> {
        let id = owner.number();
        let stored = Stored::decode(&index);
        if stored.is_none() && Raise::decode(&index).is_none() {
            return Err(Refused("no index entry of a fragment".to_owned()).into());
        }
        let known = self.ends().get(&id).cloned();
        let mut end = known.ok_or_else(|| Refused("the stream does not exist any more".to_owned()))?;
        // A batch is overtaken in one of its streams as a rule, and made anew in all.
        let late = if end.stream.is_none() { self.late().remove(&id) } else { None };
        if late.is_some_and(|before| before != end.row) {
            let claimed = self.claim(catalog, id, &mut end);
            claimed.inspect_err(|_| self.overtaken(owner))?;
        }
        let (kept_from, row) = {
            let streams = self.streams();
            let found = streams.by_id.get(&id).zip(streams.rows.get(&id));
            let (stream, row) = found.ok_or_else(|| Refused("the stream does not exist".to_owned()))?;
            (stream.kept_from, row.clone())
        };
        end.stream.get_or_insert(row);
        let completed = match stored {
            Some(mut stored) => {
                // Never a number that was given up, wherever the clock was set.
                let arrived = FragmentNumber::at(stored.arrived);
                let next = end.tail.last.map_or(arrived, |last| arrived.max(FragmentNumber(last.number.0 + 1)));
                stored.number = next.max(kept_from);
                stored.live = live::place(end.tail.head.as_ref(), &stored.link(), stored.arrived);
                end.tail = end.tail.with(&stored);
                stored.encode()
            }
            None => index,
        };
        self.ends().insert(id, end);
        Ok(completed)
    }

    fn rows(&self, owner: OwnerId, index: &[u8], location: Location, batch: &mut Batch) {
        if Raise::decode(index).is_some() {
            return;
        }
        let Some(stored) = Stored::decode(index) else {
            tracing::error!(%owner, %location, "a frame's index entry can't be read; it gets no rows");
            return;
        };
        let stream = owner.number();
        batch.insert(Row::ByNumber(stream, stored.number).key(), numbered(location, index));
        batch.insert(Row::ByTime(stream, stored.start, stored.number).key(), Bytes::new());
        batch.insert(Row::ByIdentity(stream, stored.id).key(), stored.number.0.to_be_bytes().to_vec());
    }

    /// The stream and its end must be as the entries found them.
    fn advance(&self, owner: OwnerId, batch: &mut Batch) {
        let id = owner.number();
        let ends = self.ends();
        let Some(End { tail, row, stream: Some(stream) }) = ends.get(&id) else {
            // Forgotten meanwhile, as one that was deleted: its entries were numbered for nothing.
            batch.require_absent(Row::NextStream.key());
            return;
        };
        batch.require_value(Row::Stream(id).key(), stream.clone());
        require_tail(batch, id, row.clone()).insert(Row::Tail(id).key(), tail.encode());
    }

    fn committed(&self, owner: OwnerId, index: &[u8], _location: Location) {
        let stream = owner.number();
        if let Some(end) = self.ends().get_mut(&stream) {
            end.row = Some(end.tail.encode());
            end.stream = None;
        }
        let Some(stored) = Stored::decode(index) else {
            return;
        };
        if let Some(watch) = self.watches().get(&stream) {
            watch.send_replace(Some(stored.number));
        }
    }

    fn abandoned(&self, owner: OwnerId) {
        self.ends().remove(&owner.number());
        self.claim.store(fastrand::u64(1..), Ordering::Relaxed);
    }

    fn overtaken(&self, owner: OwnerId) {
        let end = self.ends().remove(&owner.number());
        self.late().insert(owner.number(), end.and_then(|end| end.row));
    }

    fn place(&self, catalog: &dyn Catalog, owner: OwnerId, index: &[u8]) -> Result<Option<Location>, CatalogError> {
        let Some(stored) = Stored::decode(index) else { return Ok(None) };
        let row = catalog.get(&Row::ByNumber(owner.number(), stored.number).key())?;
        Ok(row.and_then(|row| Location::decode(row.get(..Location::ENCODED_BYTES)?)))
    }

    fn relocate(&self, owner: OwnerId, index: &[u8], from: Location, to: Location, batch: &mut Batch) {
        let Some(stored) = Stored::decode(index) else { return };
        let key = Row::ByNumber(owner.number(), stored.number).key();
        batch.require_value(key.clone(), numbered(from, index)).insert(key, numbered(to, index));
    }

    /// By what the catalog has of the stream: an older catalog has an older mark, and does not know streams that
    /// came later by their number either.
    fn is_given_up(&self, catalog: &dyn Catalog, owner: OwnerId, index: &[u8]) -> Result<bool, CatalogError> {
        let id = owner.number();
        let (raise, stored) = (Raise::decode(index), Stored::decode(index));
        if raise.is_none() && stored.is_none() {
            return Ok(false);
        }
        let Some(row) = catalog.get(&Row::Stream(id).key())? else {
            let next = catalog.get(&Row::NextStream.key())?;
            return Ok(next.is_some_and(|next| next > id.to_be_bytes()[..]));
        };
        let stream = Stream::decode(id, &row, self.streams().ceiling);
        Ok(stream.is_some_and(|(stream, _)| match (raise, stored) {
            // Lowered again since.
            (Some(raise), _) => stream.retention.time() < raise.to,
            (None, stored) => stored.is_some_and(|stored| stored.number < stream.kept_from),
        }))
    }
}

/// The value of a row by number.
fn numbered(location: Location, index: &[u8]) -> Vec<u8> {
    let mut value = location.encode().to_vec();
    value.extend_from_slice(index);
    value
}

/// The batch holds only if the row of a stream's end is this one.
fn require_tail(batch: &mut Batch, stream: u64, row: Option<Bytes>) -> &mut Batch {
    let key = Row::Tail(stream).key();
    match row {
        Some(row) => batch.require_value(key, row),
        None => batch.require_absent(key),
    }
}

/// All rows of a range, upwards, read page by page.
pub(crate) fn all_rows(
    catalog: &dyn Catalog,
    range: KeyRange,
) -> impl Iterator<Item = Result<vault::Row, CatalogError>> {
    rows_in(catalog, range, Direction::Ascending)
}

/// All rows of a range, read page by page.
pub(crate) fn rows_in(
    catalog: &dyn Catalog,
    mut range: KeyRange,
    direction: Direction,
) -> impl Iterator<Item = Result<vault::Row, CatalogError>> {
    let snapshot = catalog.snapshot();
    let mut more = true;
    std::iter::from_fn(move || {
        if !more {
            return None;
        }
        let page = snapshot.scan(&range, direction, limits::QUERY_PAGE);
        let last = page.as_ref().ok().and_then(|rows| rows.last());
        more = page.as_ref().is_ok_and(|rows| rows.len() == limits::QUERY_PAGE);
        if let Some(last) = last {
            range = range.beyond(&last.key, direction);
        }
        Some(page)
    })
    .flat_map(|page| match page {
        Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    })
}

#[cfg(test)]
mod tests {
    use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};
    use vault::CommitError;
    use vault::catalog::MemoryCatalog;

    use super::*;
    use crate::stream::{Retention, State};

    #[test]
    fn a_batch_holds_only_if_its_stream_is_still_as_its_entries_found_it() {
        for (changed_to, holds) in [(State::Active, true), (State::Deleting, false)] {
            let (catalog, stream) = (MemoryCatalog::default(), stream());
            put(&catalog, &stream, State::Active);
            let (index, owner) = (Index::new(), OwnerId::new(Domain::ARCHIVE, stream.id).unwrap());
            index.refresh(&catalog).unwrap();
            index.begin(&catalog, owner).unwrap();
            index.assign(&catalog, owner, draft(0)).unwrap();
            // By another server.
            put(&catalog, &stream, changed_to);
            index.refresh(&catalog).unwrap();
            let mut batch = Batch::new();
            index.advance(owner, &mut batch);
            assert_eq!(catalog.commit(batch).is_ok(), holds);
            index.abandoned(owner);
            index.begin(&catalog, owner).unwrap();
            assert_eq!(index.assign(&catalog, owner, draft(0)).is_ok(), holds);
        }
    }

    #[test]
    fn of_two_batches_that_were_made_for_one_end_the_second_does_not_hold() {
        let (catalog, stream) = (MemoryCatalog::default(), stream());
        put(&catalog, &stream, State::Active);
        let owner = OwnerId::new(Domain::ARCHIVE, stream.id).unwrap();
        let mut batches = [1, 2].map(|n| {
            let (index, mut batch) = (Index::new(), Batch::new());
            index.refresh(&catalog).unwrap();
            index.begin(&catalog, owner).unwrap();
            index.assign(&catalog, owner, draft(n)).unwrap();
            index.advance(owner, &mut batch);
            batch
        });
        let (first, second) = batches.split_at_mut(1);
        catalog.commit(std::mem::take(&mut first[0])).unwrap();
        assert!(matches!(catalog.commit(std::mem::take(&mut second[0])), Err(CommitError::Precondition)));
    }

    fn stream() -> Stream {
        let (name, created) = ("front".parse().unwrap(), WallTime::from_millis(1));
        Stream {
            id: 1,
            name,
            created,
            retention: Retention::DEFAULT,
            ceiling: Duration::MAX,
            kept_from: FragmentNumber(0),
            sub_of: None,
            revision: 0,
        }
    }

    fn put(catalog: &dyn Catalog, stream: &Stream, state: State) {
        let mut batch = Batch::new();
        batch.insert(Row::Stream(stream.id).key(), stream.encode(state));
        catalog.commit(batch).unwrap();
    }

    fn draft(sequence: u32) -> Bytes {
        let stored = Stored {
            number: FragmentNumber(0),
            id: FragmentId { session: SessionId(1), sequence: Sequence(sequence) },
            start: WallTime::from_millis(2),
            duration: Duration::from_secs(2),
            quality: ClockQuality::Synchronised,
            tracks_fingerprint: 1,
            independent: true,
            arrived: WallTime::from_millis(3),
            bytes: 10,
            live: None,
            codecs: Vec::new(),
        };
        stored.encode()
    }
}
