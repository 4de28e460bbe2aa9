//! The end of a stream: what its next fragment's number and live position depend on, and how much it ever held.
//!
//! It is a row that each commit replaces, on condition that it is still what the commit was made for. So of two servers
//! that store in one stream at a time one gets through, and the other numbers its fragments anew. So that this is not
//! always the same one, it claims the row first, which is quickly done; who finds it claimed lets the other one go
//! ahead, for a while. What was removed is counted in a row of its own, since retention is at work beside the commits.
//!
//! ```text
//! tail     [version 1: 1][number: 8][fragments: 8][bytes: 8][arrived ns: 8][claimed by: 8] and, of the newest live one,
//!          [media sequence: 8][discontinuity sequence: 8][session: 8][sequence: 4][start ns: 8][duration ns: 8]
//!          [tracks fingerprint: 8]
//! removed  [version 1: 1][fragments: 8][bytes: 8]
//! ```

use std::time::Duration;

use bytes::Bytes;
use fragment::{FragmentId, FragmentNumber, Sequence, SessionId, WallTime};
use vault::{Catalog, Direction, KeyRange, Snapshot};

use crate::entry::{Rest, Stored};
use crate::error::QueryError;
use crate::key::{self, Row};
use crate::limits;
use crate::live::{Head, Link, LivePosition};

const VERSION: u8 = 1;

/// The end of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The last fragment, if there ever was one.
    pub(crate) last: Option<Last>,
    /// The newest live one.
    pub(crate) head: Option<Head>,
    /// All that was ever stored.
    pub(crate) stored: Totals,
    /// The index that builds upon it just now and was overtaken before; 0 for none.
    pub(crate) claim: u64,
}

/// The last fragment of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) number: FragmentNumber,
    pub(crate) arrived: WallTime,
}

/// A number of fragments and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) fragments: u64,
    pub(crate) bytes: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, stored: &Stored) {
        self.fragments += 1;
        self.bytes += stored.bytes;
    }

    /// What is left when these are gone.
    pub(crate) fn without(self, removed: Self) -> Self {
        Self {
            fragments: self.fragments.saturating_sub(removed.fragments),
            bytes: self.bytes.saturating_sub(removed.bytes),
        }
    }

    /// The value of the row of what was removed.
    pub(crate) fn encode(self) -> Bytes {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.fragments.to_be_bytes());
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out.into()
    }

    pub(crate) fn decode(row: &[u8]) -> Option<Self> {
        let mut rest = Rest(row);
        if rest.take::<1>()? != [VERSION] {
            return None;
        }
        Some(Self { fragments: rest.u64()?, bytes: rest.u64()? })
    }
}

impl Tail {
    /// With one more fragment behind.
    pub(crate) fn with(mut self, stored: &Stored) -> Self {
        self.last = Some(Last { number: stored.number, arrived: stored.arrived });
        self.head = stored.head().or(self.head);
        self.stored.add(stored);
        self.claim = 0;
        self
    }

    pub(crate) fn encode(&self) -> Bytes {
        let none = Last { number: FragmentNumber(0), arrived: WallTime::from_nanos(0) };
        let last = self.last.unwrap_or(none);
        let mut out = vec![VERSION];
        out.extend_from_slice(&last.number.0.to_be_bytes());
        out.extend_from_slice(&self.stored.fragments.to_be_bytes());
        out.extend_from_slice(&self.stored.bytes.to_be_bytes());
        out.extend_from_slice(&last.arrived.as_nanos().to_be_bytes());
        out.extend_from_slice(&self.claim.to_be_bytes());
        if let Some(Head { position, link }) = self.head {
            out.extend_from_slice(&position.media_sequence.to_be_bytes());
            out.extend_from_slice(&position.discontinuity_sequence.to_be_bytes());
            out.extend_from_slice(&link.id.session.0.to_be_bytes());
            out.extend_from_slice(&link.id.sequence.0.to_be_bytes());
            out.extend_from_slice(&link.start.as_nanos().to_be_bytes());
            let duration = u64::try_from(link.duration.as_nanos()).unwrap_or(u64::MAX);
            out.extend_from_slice(&duration.to_be_bytes());
            out.extend_from_slice(&link.tracks_fingerprint.to_be_bytes());
        }
        out.into()
    }

    pub(crate) fn decode(row: &[u8]) -> Option<Self> {
        let mut rest = Rest(row);
        if rest.take::<1>()? != [VERSION] {
            return None;
        }
        let number = FragmentNumber(rest.u64()?);
        let stored = Totals { fragments: rest.u64()?, bytes: rest.u64()? };
        let arrived = WallTime::from_nanos(rest.i64()?);
        let claim = rest.u64()?;
        let last = (number.0 > 0).then_some(Last { number, arrived });
        let head = if rest.0.is_empty() { None } else { Some(decode_head(&mut rest)?) };
        Some(Self { last, head, stored, claim })
    }

    /// The tail of a stream as the catalog has it, and its row if it has one.
    pub(crate) fn read(catalog: &dyn Catalog, stream: u64) -> Result<(Self, Option<Bytes>), QueryError> {
        match catalog.get(&Row::Tail(stream).key())? {
            Some(row) => Ok((Self::decode(&row).ok_or(QueryError::Damaged("the end of a stream"))?, Some(row))),
            None => Ok((Self::count(&*catalog.snapshot(), stream)?, None)),
        }
    }

    /// The tail of a stream as its fragments' rows make it: for one from before there were rows of tails, or whose index
    /// was made anew.
    pub(crate) fn count(catalog: &dyn Snapshot, stream: u64) -> Result<Self, QueryError> {
        let damaged = || QueryError::Damaged("fragment");
        let mut tail = Self { stored: removed_in(catalog.get(&Row::Removed(stream).key())?)?, ..Self::default() };
        let mut range = KeyRange::prefix(key::numbers(stream));
        loop {
            let rows = catalog.scan(&range, Direction::Ascending, limits::QUERY_PAGE)?;
            let Some(last) = rows.last() else { break };
            range = range.beyond(&last.key, Direction::Ascending);
            for row in &rows {
                let (_, stored) = Stored::decode_row(&row.value).ok_or_else(damaged)?;
                tail = tail.with(&stored);
            }
        }
        Ok(tail)
    }
}

/// What was removed of a stream, and the row that says so.
pub(crate) fn removed(catalog: &dyn Catalog, stream: u64) -> Result<(Totals, Option<Bytes>), QueryError> {
    let row = catalog.get(&Row::Removed(stream).key())?;
    Ok((removed_in(row.clone())?, row))
}

/// How much a stream holds, where it has a row for its end.
pub(crate) fn totals(catalog: &dyn Snapshot, stream: u64) -> Result<Totals, QueryError> {
    let Some(row) = catalog.get(&Row::Tail(stream).key())? else { return Ok(Totals::default()) };
    let tail = Tail::decode(&row).ok_or(QueryError::Damaged("the end of a stream"))?;
    Ok(tail.stored.without(removed_in(catalog.get(&Row::Removed(stream).key())?)?))
}

fn removed_in(row: Option<Bytes>) -> Result<Totals, QueryError> {
    row.map_or(Ok(Totals::default()), |row| Totals::decode(&row).ok_or(QueryError::Damaged("what was removed")))
}

fn decode_head(rest: &mut Rest<'_>) -> Option<Head> {
    let position = LivePosition { media_sequence: rest.u64()?, discontinuity_sequence: rest.u64()? };
    let id = FragmentId { session: SessionId(rest.u64()?), sequence: Sequence(rest.u32()?) };
    let start = WallTime::from_nanos(rest.i64()?);
    let duration = Duration::from_nanos(rest.u64()?);
    Some(Head { position, link: Link { id, start, duration, tracks_fingerprint: rest.u64()? } })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_tail_survives_its_stored_form(
            number in 1_u64.., arrived: i64, fragments: u64, bytes: u64, live: Option<(u64, u64, u64, u32)>, start: i64, nanos: u64,
        ) {
            let head = live.map(|(media_sequence, discontinuity_sequence, session, sequence)| Head {
                position: LivePosition { media_sequence, discontinuity_sequence },
                link: Link {
                    id: FragmentId { session: SessionId(session), sequence: Sequence(sequence) },
                    start: WallTime::from_nanos(start),
                    duration: Duration::from_nanos(nanos),
                    tracks_fingerprint: number,
                },
            });
            let last = Some(Last { number: FragmentNumber(number), arrived: WallTime::from_nanos(arrived) });
            let tail = Tail { last, head, stored: Totals { fragments, bytes }, claim: bytes };
            let row = tail.encode();
            prop_assert_eq!(Tail::decode(&row), Some(tail));
            prop_assert_eq!(Totals::decode(&tail.stored.encode()), Some(tail.stored));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
            let _ = (Tail::decode(&bytes), Totals::decode(&bytes));
        }
    }

    #[test]
    fn the_end_of_an_empty_stream_survives_too() {
        assert_eq!(Tail::decode(&Tail::default().encode()), Some(Tail::default()));
    }
}
