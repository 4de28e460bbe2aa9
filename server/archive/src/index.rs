//! The archive's side of the commit: numbers fragments, gives them their live position and their rows.
//!
//! The vault's committer calls in here from its one thread; everything else only looks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use fragment::{FragmentNumber, StreamName};
use tokio::sync::watch;
use vault::{
    AssignError, Batch, Catalog, CatalogError, Direction, Domain, KeyRange, Location, Owner, OwnerId, Refused,
};

use crate::entry::Stored;
use crate::error::QueryError;
use crate::key::{self, Row};
use crate::limits;
use crate::live::{self, Head};
use crate::stream::{State, Stream, number_at};
use crate::totals;

/// The archive as an owner of frames. Handed to the vault when it is opened, then to [`crate::Archive`].
#[derive(Default)]
pub struct Index {
    streams: RwLock<Streams>,
    ends: Mutex<HashMap<u64, End>>,
    watches: Mutex<HashMap<u64, watch::Sender<Option<FragmentNumber>>>>,
    pub(crate) totals: totals::Table,
}

/// All streams, in memory.
#[derive(Default)]
pub(crate) struct Streams {
    pub(crate) by_id: BTreeMap<u64, Stream>,
    pub(crate) by_name: HashMap<StreamName, u64>,
    /// Streams whose deletion has begun and is not over.
    pub(crate) deleting: Vec<u64>,
}

/// The end of a stream: what the next fragment's number and live position depend on.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    number: Option<FragmentNumber>,
    head: Option<Head>,
}

impl Index {
    /// An index that knows no stream yet; [`crate::Archive::new`] loads them.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the streams out of the catalog.
    pub(crate) fn load(&self, catalog: &dyn Catalog) -> Result<(), QueryError> {
        let mut streams = self.streams_mut();
        for row in all_rows(catalog, KeyRange::prefix(key::streams())) {
            let row = row?;
            let id = key::stream_of(&row.key);
            let found = id.and_then(|id| Stream::decode(id, &row.value));
            match found.ok_or(QueryError::Damaged("stream"))? {
                (stream, State::Active) => streams.insert(stream),
                (stream, State::Deleting) => streams.deleting.push(stream.id),
            }
        }
        Ok(())
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
        self.totals.lock().remove(&stream);
    }

    fn watches(&self) -> MutexGuard<'_, HashMap<u64, watch::Sender<Option<FragmentNumber>>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> MutexGuard<'_, HashMap<u64, End>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    pub(crate) fn insert(&mut self, stream: Stream) {
        self.by_name.insert(stream.name.clone(), stream.id);
        self.by_id.insert(stream.id, stream);
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Stream> {
        let stream = self.by_id.remove(&id)?;
        self.by_name.remove(&stream.name);
        Some(stream)
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

    fn assign(&self, catalog: &dyn Catalog, owner: OwnerId, index: Bytes) -> Result<Bytes, AssignError> {
        let stream = owner.number();
        let kept_from = match self.streams().by_id.get(&stream) {
            Some(stream) => stream.kept_from,
            None => return Err(Refused("the stream does not exist".to_owned()).into()),
        };
        let mut stored = Stored::decode(&index).ok_or_else(|| Refused("no index entry of a fragment".to_owned()))?;
        let mut ends = self.ends();
        let end = match ends.get(&stream) {
            Some(end) => *end,
            None => recover_end(catalog, stream).map_err(|error| match error {
                QueryError::Catalog(error) => AssignError::Catalog(error),
                damaged @ QueryError::Damaged(_) => Refused(damaged.to_string()).into(),
            })?,
        };
        let arrived = number_at(stored.arrived);
        // Never a number that was given up, wherever the clock was set.
        let next = end.number.map_or(arrived, |last| arrived.max(FragmentNumber(last.0 + 1)));
        stored.number = next.max(kept_from);
        stored.live = live::place(end.head.as_ref(), &stored.link(), stored.arrived);
        ends.insert(stream, End { number: Some(stored.number), head: stored.head().or(end.head) });
        Ok(stored.encode())
    }

    fn rows(&self, owner: OwnerId, index: &[u8], location: Location, batch: &mut Batch) {
        let Some(stored) = Stored::decode(index) else {
            tracing::error!(%owner, %location, "a frame's index entry can't be read; it gets no rows");
            return;
        };
        let stream = owner.number();
        let mut value = location.encode().to_vec();
        value.extend_from_slice(index);
        batch.insert(Row::ByNumber(stream, stored.number).key(), value);
        batch.insert(Row::ByTime(stream, stored.start, stored.number).key(), Bytes::new());
        batch.insert(Row::ByIdentity(stream, stored.id).key(), stored.number.0.to_be_bytes().to_vec());
    }

    fn committed(&self, owner: OwnerId, index: &[u8], _location: Location) {
        let stream = owner.number();
        let Some(stored) = Stored::decode(index) else {
            return;
        };
        if let Some(totals) = self.totals.lock().get_mut(&stream) {
            totals.add(&stored);
        }
        if let Some(watch) = self.watches().get(&stream) {
            watch.send_replace(Some(stored.number));
        }
    }

    fn abandoned(&self, owner: OwnerId) {
        self.ends().remove(&owner.number());
    }

    fn is_live(
        &self,
        catalog: &dyn Catalog,
        owner: OwnerId,
        index: &[u8],
        location: Location,
    ) -> Result<bool, CatalogError> {
        let Some(stored) = Stored::decode(index) else {
            return Ok(false);
        };
        let row = catalog.get(&Row::ByNumber(owner.number(), stored.number).key())?;
        Ok(row.is_some_and(|row| row.starts_with(&location.encode())))
    }

    /// By what the catalog has of the stream: an older catalog has an older mark, and does not know streams that
    /// came later by their number either.
    fn is_given_up(&self, catalog: &dyn Catalog, owner: OwnerId, index: &[u8]) -> Result<bool, CatalogError> {
        let id = owner.number();
        let Some(stored) = Stored::decode(index) else { return Ok(false) };
        let Some(row) = catalog.get(&Row::Stream(id).key())? else {
            let next = catalog.get(&Row::NextStream.key())?;
            return Ok(next.is_some_and(|next| next > id.to_be_bytes()[..]));
        };
        let stream = Stream::decode(id, &row);
        Ok(stream.is_some_and(|(stream, _)| stored.number < stream.kept_from))
    }
}

/// The end of a stream as the catalog has it: the last number, and the newest fragment with a live
/// position, which is near the end of the index by time because live fragments ascend in it.
fn recover_end(catalog: &dyn Catalog, stream: u64) -> Result<End, QueryError> {
    let last = catalog.scan(&KeyRange::prefix(key::numbers(stream)), Direction::Descending, 1)?;
    let mut end = End::default();
    for row in &last {
        let (_, stored) = Stored::decode_row(&row.value).ok_or(QueryError::Damaged("fragment"))?;
        end.number = Some(stored.number);
    }
    for row in rows_in(catalog, KeyRange::prefix(key::times(stream)), Direction::Descending) {
        let (_, number) = key::time_of(&row?.key).ok_or(QueryError::Damaged("time"))?;
        let Some(value) = catalog.get(&Row::ByNumber(stream, number).key())? else {
            continue;
        };
        let (_, stored) = Stored::decode_row(&value).ok_or(QueryError::Damaged("fragment"))?;
        if let Some(head) = stored.head() {
            end.head = Some(head);
            break;
        }
    }
    Ok(end)
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
