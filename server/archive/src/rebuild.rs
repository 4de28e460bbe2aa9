//! Making the catalog again out of segments and keys alone.
//!
//! Each frame carries its index entry, and each data key the ARN of the stream that it was made for, so fragments and
//! the names of their streams come back. A stream's retention is what its frames' expiry says, and the notes of its being raised. What was never in a
//! frame does not: streams without fragments, the attributes of streams, and the rows of others in the catalog (devices have to join again).
//!
//! A frame that was stored twice, because a crash came between its sync and its row, gets one set of rows. What was
//! deleted with its stream has no key any more and stays deleted; what has expired is found so by the next expiry.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fragment::{FragmentNumber, StreamName, WallTime};
use vault::{Batch, ExpirySlot, FrameHeader, Key, Location, Owner as _, Walked};

use crate::archive::Archive;
use crate::entry::Stored;
use crate::error::RebuildError;
use crate::key::Row;
use crate::limits;
use crate::raise::Raise;
use crate::stream::{Retention, State, Stream, parse_arn};

/// What was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Streams found by their keys.
    pub streams: u64,
    /// Fragments that have rows now.
    pub fragments: u64,
    /// Frames whose key is gone, or that are copies of another.
    pub skipped: u64,
    /// Places in segments that are no frame.
    pub damaged: u64,
}

impl Archive {
    /// Makes the rows of all streams and fragments of a catalog that has none. Blocks for as long as reading
    /// every frame's header takes.
    pub fn rebuild_index(&self) -> Result<Rebuilt, RebuildError> {
        if !self.list_streams().is_empty() {
            return Err(RebuildError::NotEmpty);
        }
        let mut rebuild = Rebuild { archive: self, streams: self.streams_of_keys()?, rebuilt: Rebuilt::default() };
        rebuild.fragments()?;
        rebuild.streams()?;
        Ok(rebuild.rebuilt)
    }

    /// Whether the catalog never had a stream, while there are data keys of streams: it was lost. What is stored now
    /// would take the numbers of those streams.
    pub fn has_lost_its_index(&self) -> Result<bool, RebuildError> {
        let has_index = self.catalog().get(&Row::NextStream.key())?.is_some();
        Ok(!has_index && !self.streams_of_keys()?.is_empty())
    }

    fn streams_of_keys(&self) -> Result<BTreeMap<u64, Found>, RebuildError> {
        let domain = self.index().domain();
        let mut streams = BTreeMap::new();
        for (owner, resource) in self.vault().resources()? {
            if owner.domain() == domain
                && let Some((name, created)) = parse_arn(&resource)
            {
                streams.insert(
                    owner.number(),
                    Found { name, created, retention: Window::default(), raised_to: Duration::ZERO },
                );
            }
        }
        Ok(streams)
    }
}

/// A stream as far as it is known again.
struct Found {
    name: StreamName,
    created: WallTime,
    retention: Window,
    /// The longest that it was raised to.
    raised_to: Duration,
}

/// What a stream's retention can have been, in seconds: the part that all of its frames agree on.
#[derive(Default)]
struct Window {
    min: u64,
    end: Option<u64>,
}

struct Rebuild<'a> {
    archive: &'a Archive,
    streams: BTreeMap<u64, Found>,
    rebuilt: Rebuilt,
}

impl Rebuild<'_> {
    fn fragments(&mut self) -> Result<(), RebuildError> {
        let vault = self.archive.vault();
        let mut page = Page::default();
        for segment in vault.segments()? {
            for walked in vault.walk(segment.name)? {
                match walked? {
                    Walked::Damaged { .. } => self.rebuilt.damaged += 1,
                    Walked::Frame(header, location) => self.fragment(&header, location, &mut page)?,
                }
                if page.batch.len() >= limits::REBUILD_ROWS {
                    self.archive.catalog().commit(std::mem::take(&mut page).batch)?;
                }
            }
        }
        self.archive.catalog().commit(page.batch)?;
        Ok(())
    }

    fn fragment(&mut self, header: &FrameHeader, location: Location, page: &mut Page) -> Result<(), RebuildError> {
        if header.owner.domain() != self.archive.index().domain() {
            return Ok(());
        }
        let stream = header.owner.number();
        if let (Some(found), Some(raise)) = (self.streams.get_mut(&stream), Raise::decode(&header.index)) {
            found.raised_to = found.raised_to.max(raise.to);
            return Ok(());
        }
        let (Some(found), Some(stored)) = (self.streams.get_mut(&stream), Stored::decode(&header.index)) else {
            self.rebuilt.skipped += 1;
            return Ok(());
        };
        // Also where an earlier rebuild, which was broken off, has made its rows.
        found.retention.narrow(header.expiry, stored.arrived);
        let identity = Row::ByIdentity(stream, stored.id).key();
        if page.identities.contains(&identity) || self.archive.catalog().get(&identity)?.is_some() {
            self.rebuilt.skipped += 1;
            return Ok(());
        }
        page.identities.insert(identity);
        self.archive.index().rows(header.owner, &header.index, location, &mut page.batch);
        self.rebuilt.fragments += 1;
        Ok(())
    }

    /// The streams last: with them the rebuilt archive comes into being.
    fn streams(&mut self) -> Result<(), RebuildError> {
        let mut batch = Batch::new();
        let mut names = BTreeSet::new();
        let next = self.streams.keys().max().map_or(1, |last| last + 1);
        // The newest of two of one name keeps it; the older one can only be a deletion that was not finished.
        for (&id, found) in self.streams.iter().rev() {
            let is_taken = !names.insert(found.name.clone());
            let state = if is_taken { State::Deleting } else { State::Active };
            let (name, created) = (found.name.clone(), found.created);
            let retention = found.retention.retention();
            let retention = Retention::new(retention.time().max(found.raised_to)).unwrap_or(retention);
            let ceiling = self.archive.index().streams().ceiling;
            let stream = Stream {
                id,
                name,
                created,
                retention,
                ceiling,
                kept_from: FragmentNumber(0),
                sub_of: None,
                revision: 0,
            };
            batch.insert(Row::Stream(id).key(), stream.encode(state));
            self.rebuilt.streams += u64::from(!is_taken);
        }
        batch.insert(Row::NextStream.key(), next.to_be_bytes().to_vec());
        self.archive.catalog().commit(batch)?;
        self.archive.refresh()?;
        // Counted now, and not when the first fragment comes.
        for stream in self.archive.list_streams() {
            self.archive.tail(stream.id)?;
        }
        Ok(())
    }
}

/// Rows on their way into the catalog, with the identities that are among them.
#[derive(Default)]
struct Page {
    batch: Batch,
    identities: BTreeSet<Key>,
}

impl Window {
    /// A frame that arrived then expires in this slot.
    fn narrow(&mut self, expiry: ExpirySlot, arrived: WallTime) {
        let arrived = u64::try_from(arrived.as_millis() / 1000).unwrap_or(0);
        let end = expiry.end_secs().saturating_sub(arrived);
        self.min = self.min.max(end.saturating_sub(u64::from(ExpirySlot::SECONDS)));
        self.end = Some(self.end.map_or(end, |before| before.min(end)));
    }

    /// The roundest number of seconds that it can have been. If it was changed meanwhile, frames disagree, and the
    /// longest is taken: nothing goes before its time.
    fn retention(&self) -> Retention {
        let Some(end) = self.end else { return Retention::DEFAULT };
        let round = |unit: u64| Some(self.min.next_multiple_of(unit)).filter(|secs| *secs < end);
        let secs = round(86_400).or(round(3600)).or(round(60)).unwrap_or(self.min);
        let secs = Duration::from_secs(secs).clamp(limits::RETENTION_MIN, limits::RETENTION_MAX);
        Retention::new(secs).unwrap_or(Retention::DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_found_again_from_the_expiry_of_frames() {
        for secs in [3600, 5400, 86_400, 7 * 86_400, 100_020] {
            let mut window = Window::default();
            for arrived in (0..500).map(|i| 1_790_000_000 + i * 7) {
                window.narrow(
                    ExpirySlot::containing(arrived + secs),
                    WallTime::from_millis((arrived * 1000).cast_signed()),
                );
            }
            assert_eq!(window.retention().time(), Duration::from_secs(secs));
        }
    }

    #[test]
    fn the_longest_counts_where_frames_disagree() {
        let mut window = Window::default();
        for secs in [3600, 86_400, 7200] {
            window.narrow(ExpirySlot::containing(1_790_000_000 + secs), WallTime::from_millis(1_790_000_000_000));
        }
        let retention = window.retention().time().as_secs();
        assert!((86_400 - 120..=86_400).contains(&retention), "{retention}");
    }
}
