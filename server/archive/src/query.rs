//! Questions to the archive. Expired fragments are in no answer, whether they have been removed yet or not.

use std::ops::Range;

use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, FragmentNumber, StreamName, WallTime};
use vault::{Batch, Direction, KeyRange, Location};

use crate::archive::Archive;
use crate::entry::Stored;
use crate::error::{QueryError, ReadError};
use crate::index::rows_in;
use crate::key::{self, Row};
use crate::stream::{Retention, Stream, number_at};
use crate::tail::{self, Tail};

/// A stream and what is stored of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overview {
    /// The stream's number.
    pub id: u64,
    /// Its name.
    pub name: StreamName,
    /// The stream of the same camera whose smaller copy this is.
    pub sub_of: Option<StreamName>,
    /// How long its fragments are kept.
    pub retention: Retention,
    /// When its first fragment begins, by the producer's time.
    pub first: Option<WallTime>,
    /// When its last fragment ends.
    pub last: Option<WallTime>,
    /// How far that time can be trusted.
    pub last_quality: Option<ClockQuality>,
    /// When its newest fragment arrived.
    pub last_arrival: Option<WallTime>,
    /// How many fragments it holds. Expired ones count until they are removed.
    pub fragments: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Archive {
    /// All streams in the order of their names, with what is stored of them.
    pub fn overview(&self, now: WallTime) -> Result<Vec<Overview>, QueryError> {
        self.list_streams().iter().map(|stream| self.overview_of(stream, now)).collect()
    }

    /// A stream and what is stored of it.
    pub fn extent(&self, stream: u64, now: WallTime) -> Result<Option<Overview>, QueryError> {
        self.stream(stream)?.map(|stream| self.overview_of(&stream, now)).transpose()
    }

    /// The newest `limit` fragments of the live playlist, oldest first.
    pub fn latest_live(&self, stream: u64, limit: usize, now: WallTime) -> Result<Vec<Stored>, QueryError> {
        let Some(stream) = self.stream(stream)? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for stored in self.by_time(&stream, KeyRange::prefix(key::times(stream.id)), Direction::Descending, now) {
            let stored = stored?;
            if stored.live.is_some() {
                found.push(stored);
            }
            if found.len() >= limit {
                break;
            }
        }
        found.reverse();
        Ok(found)
    }

    /// Up to `limit` fragments that overlap a range of producer time, in its order. The fragment that
    /// contains the start is included.
    pub fn range(
        &self,
        stream: u64,
        range: Range<WallTime>,
        limit: usize,
        now: WallTime,
    ) -> Result<Vec<Stored>, QueryError> {
        let Some(stream) = self.stream(stream)? else {
            return Ok(Vec::new());
        };
        let zero = FragmentNumber(0);
        let from = range.start - fragment::limits::FRAGMENT_DURATION_MAX;
        let keys =
            KeyRange::between(Row::ByTime(stream.id, from, zero).key(), Row::ByTime(stream.id, range.end, zero).key());
        let overlaps = |stored: &Result<Stored, QueryError>| match stored {
            Ok(stored) => stored.end() > range.start || stored.start >= range.start,
            Err(_) => true,
        };
        self.by_time(&stream, keys, Direction::Ascending, now).filter(overlaps).take(limit).collect()
    }

    /// Up to `limit` fragments that begin within a range of producer time, in its order and, where they begin at the same time,
    /// in that of their numbers. The number in a bound tells from which of these on it counts.
    pub fn starting(
        &self,
        stream: u64,
        range: Range<(WallTime, FragmentNumber)>,
        limit: usize,
        now: WallTime,
    ) -> Result<Vec<Stored>, QueryError> {
        let Some(stream) = self.stream(stream)? else {
            return Ok(Vec::new());
        };
        let end = range.end.max(range.start);
        let [start, end] = [range.start, end].map(|(start, number)| Row::ByTime(stream.id, start, number).key());
        let keys = KeyRange::between(start, end);
        self.by_time(&stream, keys, Direction::Ascending, now).take(limit).collect()
    }

    /// Up to `limit` fragments that arrived within a range of server time, in the order of their numbers, which is
    /// that of their arrival.
    pub fn arrived(
        &self,
        stream: u64,
        range: Range<WallTime>,
        limit: usize,
        now: WallTime,
    ) -> Result<Vec<Stored>, QueryError> {
        self.numbered(stream, number_at(range.start)..number_at(range.end), limit, now)
    }

    /// Up to `limit` fragments of a range of numbers, in their order. Who goes on after the last number that it has seen
    /// misses none: each that is stored later has a higher one.
    pub fn numbered(
        &self,
        stream: u64,
        range: Range<FragmentNumber>,
        limit: usize,
        now: WallTime,
    ) -> Result<Vec<Stored>, QueryError> {
        let Some(stream) = self.stream(stream)? else {
            return Ok(Vec::new());
        };
        let first = range.start.max(stream.first_kept(now));
        let end = range.end.max(first);
        let keys = KeyRange::between(Row::ByNumber(stream.id, first).key(), Row::ByNumber(stream.id, end).key());
        let decode = |row: &[u8]| Stored::decode_row(row).ok_or(QueryError::Damaged("fragment"));
        let rows = rows_in(self.catalog(), keys, Direction::Ascending).take(limit);
        rows.map(|row| Ok(decode(&row?.value)?.1)).collect()
    }

    /// The number of the newest fragment that was ever stored in a stream, whether it is still there or not.
    pub fn newest(&self, stream: u64) -> Result<Option<FragmentNumber>, QueryError> {
        Ok(self.tail(stream)?.last.map(|last| last.number))
    }

    /// A fragment by its number.
    pub fn fragment(&self, stream: u64, number: FragmentNumber, now: WallTime) -> Result<Option<Stored>, QueryError> {
        let Some(stream) = self.stream(stream)? else {
            return Ok(None);
        };
        if number < stream.first_kept(now) {
            return Ok(None);
        }
        Ok(self.row(stream.id, number)?.map(|(_, stored)| stored))
    }

    /// A fragment by its identity.
    pub fn find(&self, stream: u64, id: FragmentId, now: WallTime) -> Result<Option<Stored>, QueryError> {
        let row = self.catalog().get(&Row::ByIdentity(stream, id).key())?;
        row.map_or(Ok(None), |row| self.fragment(stream, number_in(&row)?, now))
    }

    /// A fragment's bytes as they were stored; `None` if there is no such fragment. Verified.
    pub fn read(&self, stream: u64, number: FragmentNumber) -> Result<Option<Bytes>, ReadError> {
        let Some(stream) = self.stream(stream)? else {
            return Ok(None);
        };
        let Some((location, _)) = self.row(stream.id, number)? else {
            return Ok(None);
        };
        let (_, payload) = self.vault().read_blocking(location)?;
        Ok(Some(payload))
    }

    /// Whether the archive takes and gives video, else why not.
    pub fn health(&self) -> Result<(), String> {
        match self.vault().health().poisoned {
            None => Ok(()),
            Some(reason) => Err(format!("the vault refuses writes until restarted, because {reason}")),
        }
    }

    pub(crate) fn row(&self, stream: u64, number: FragmentNumber) -> Result<Option<(Location, Stored)>, QueryError> {
        let row = self.catalog().get(&Row::ByNumber(stream, number).key())?;
        row.map(|row| Stored::decode_row(&row).ok_or(QueryError::Damaged("fragment"))).transpose()
    }

    fn by_time<'a>(
        &'a self,
        stream: &Stream,
        keys: KeyRange,
        direction: Direction,
        now: WallTime,
    ) -> impl Iterator<Item = Result<Stored, QueryError>> + 'a {
        let (id, first_kept) = (stream.id, stream.first_kept(now));
        rows_in(self.catalog(), keys, direction).filter_map(move |row| {
            let found = || -> Result<Option<Stored>, QueryError> {
                let (_, number) = key::time_of(&row?.key).ok_or(QueryError::Damaged("time"))?;
                if number < first_kept {
                    return Ok(None);
                }
                // Gone if it expired between the scan's snapshot and now.
                Ok(self.row(id, number)?.map(|(_, stored)| stored))
            };
            found().transpose()
        })
    }

    fn overview_of(&self, stream: &Stream, now: WallTime) -> Result<Overview, QueryError> {
        let all = || KeyRange::prefix(key::times(stream.id));
        let first = self.by_time(stream, all(), Direction::Ascending, now).next().transpose()?;
        let last = self.by_time(stream, all(), Direction::Descending, now).next().transpose()?;
        let tail = self.tail(stream.id)?;
        let totals = tail.stored.without(tail::removed(self.catalog(), stream.id)?.0);
        Ok(Overview {
            id: stream.id,
            name: stream.name.clone(),
            sub_of: stream.sub_of.clone(),
            retention: stream.retention.at_most(stream.kept_for()),
            first: first.map(|stored| stored.start),
            last: last.as_ref().map(Stored::end),
            last_quality: last.as_ref().map(|stored| stored.quality),
            last_arrival: tail.last.map(|last| last.arrived),
            fragments: totals.fragments,
            bytes: totals.bytes,
        })
    }

    /// The end of a stream. It is written where there is none, so that nobody has to count again.
    pub(crate) fn tail(&self, stream: u64) -> Result<Tail, QueryError> {
        let (tail, row) = Tail::read(self.catalog(), stream)?;
        if row.is_none() {
            let mut batch = Batch::new();
            let key = Row::Tail(stream).key();
            batch.require_absent(key.clone()).insert(key, tail.encode());
            // Whoever was first is right too.
            let _ = self.catalog().commit(batch);
        }
        Ok(tail)
    }
}

/// The number in the value of a row by identity.
pub(crate) fn number_in(row: &[u8]) -> Result<FragmentNumber, QueryError> {
    let number = row.try_into().map_err(|_| QueryError::Damaged("identity"))?;
    Ok(FragmentNumber(u64::from_be_bytes(number)))
}
