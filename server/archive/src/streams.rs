//! All streams in memory, and the rows that they were read from.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use fragment::StreamName;
use vault::{Catalog, Direction, KeyRange};

use crate::error::QueryError;
use crate::key::{self, Row};
use crate::limits;
use crate::stream::{State, Stream};

/// All streams, in memory.
pub(crate) struct Streams {
    pub(crate) by_id: BTreeMap<u64, Stream>,
    pub(crate) by_name: HashMap<StreamName, u64>,
    /// Streams whose deletion has begun and is not over.
    pub(crate) deleting: Vec<u64>,
    /// The rows that say so. Other servers may have changed them since, so whatever is built upon them is committed on
    /// condition that they have not.
    pub(crate) rows: BTreeMap<u64, Bytes>,
    /// The row of the next stream's id, likewise.
    pub(crate) next: Option<Bytes>,
    /// The longest that anything is kept.
    pub(crate) ceiling: Duration,
}

impl Streams {
    pub(crate) fn none(ceiling: Duration) -> Self {
        let (by_id, by_name, rows) = (BTreeMap::new(), HashMap::new(), BTreeMap::new());
        Self { by_id, by_name, deleting: Vec::new(), rows, next: None, ceiling }
    }

    /// All streams of a catalog.
    pub(crate) fn read(catalog: &dyn Catalog, ceiling: Duration) -> Result<Self, QueryError> {
        let snapshot = catalog.snapshot();
        let mut streams = Self { next: snapshot.get(&Row::NextStream.key())?, ..Self::none(ceiling) };
        let mut range = KeyRange::prefix(key::streams());
        loop {
            let rows = snapshot.scan(&range, Direction::Ascending, limits::QUERY_PAGE)?;
            let Some(last) = rows.last() else { return Ok(streams) };
            range = range.beyond(&last.key, Direction::Ascending);
            for row in rows {
                let id = key::stream_of(&row.key).ok_or(QueryError::Damaged("stream"))?;
                streams.take(id, row.value)?;
            }
        }
    }

    pub(crate) fn is_as(&self, other: &Self) -> bool {
        self.next == other.next && self.rows == other.rows
    }

    /// Takes a stream's row up.
    pub(crate) fn take(&mut self, id: u64, row: Bytes) -> Result<(), QueryError> {
        match Stream::decode(id, &row, self.ceiling).ok_or(QueryError::Damaged("stream"))? {
            (stream, State::Active) => self.insert(stream, row),
            (_, State::Deleting) => {
                self.rows.insert(id, row);
                self.deleting.push(id);
            }
        }
        Ok(())
    }

    /// Takes up a stream whose row is this one.
    pub(crate) fn insert(&mut self, stream: Stream, row: Bytes) {
        self.rows.insert(stream.id, row);
        self.by_name.insert(stream.name.clone(), stream.id);
        self.by_id.insert(stream.id, stream);
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Stream> {
        self.rows.remove(&id);
        let stream = self.by_id.remove(&id)?;
        self.by_name.remove(&stream.name);
        Some(stream)
    }
}
