//! Retention: removing the rows of what has expired, is beyond its stream's bytes, was given up to make room or
//! whose stream was deleted, then sweeping the vault.
//!
//! Every step can stop anywhere and is taken up by the next call: rows are removed page by page, oldest
//! first, each page in one commit.

use std::collections::BTreeMap;
use std::io;

use fragment::{FragmentNumber, WallTime};
use tokio::task::JoinSet;
use vault::{
    Batch, Catalog, CommitError, Direction, ExpirySlot, KeyRange, Location, Owner as _, SegmentName, SweepError, Swept,
    Walked,
};

use crate::archive::{Archive, owner_of};
use crate::entry::Stored;
use crate::error::{QueryError, StreamError};
use crate::index::all_rows;
use crate::key::{self, Row};
use crate::limits;
use crate::stream::{State, Stream};
use crate::tail;

/// What an expiry removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Fragments whose rows were removed.
    pub fragments: u64,
    /// Files and keys that went with them or with those of earlier calls.
    pub swept: Swept,
}

/// What a segment has lost of its rows before its slot has passed. The catalog has it too, since nothing else would find
/// such a segment again after a restart.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Thinned {
    /// The bytes that they led to.
    bytes: u64,
    /// Expiries since the last one.
    quiet: u32,
}

/// The segments that have lost rows, as the catalog has them. What is damaged there costs space until the slot has passed.
pub(crate) fn thinned(catalog: &dyn Catalog) -> Result<BTreeMap<SegmentName, Thinned>, QueryError> {
    let mut thinned = BTreeMap::new();
    for row in all_rows(catalog, KeyRange::prefix(key::thinned())) {
        let row = row?;
        if let (Some(segment), Ok(bytes)) = (key::segment_of(&row.key), row.value[..].try_into()) {
            thinned.insert(segment, Thinned { bytes: u64::from_be_bytes(bytes), quiet: 0 });
        }
    }
    Ok(thinned)
}

/// What came of deleting segments before their slot has passed.
#[derive(Default)]
struct Reclaim {
    swept: Swept,
    /// Others that lost rows, and are worth being emptied.
    worth: Vec<SegmentName>,
    /// Whether some could not be looked at or deleted.
    has_failed: bool,
}

/// What stays although it should go.
#[derive(Default)]
struct Failures(Option<StreamError>);

impl Failures {
    fn note<T: Default>(&mut self, what: &str, done: Result<T, StreamError>) -> T {
        done.unwrap_or_else(|error| {
            tracing::error!(what, %error, "could not be removed; the rest is");
            self.0.get_or_insert(error);
            T::default()
        })
    }
}

impl Archive {
    /// Removes what has expired at `now`, finishes deletions that were begun, and sweeps the vault. What fails for one
    /// stream holds up no other: the first failure is told when all the rest is done.
    pub async fn expire(&self, now: WallTime) -> Result<Expired, StreamError> {
        let (mut expired, mut failures) = (Expired::default(), Failures::default());
        let deleting = self.index().streams().deleting.clone();
        for stream in deleting {
            failures.note("a deleted stream's rows", self.finish_deletion(stream).await);
        }
        self.thinned().values_mut().for_each(|thinned| thinned.quiet += 1);
        for stream in self.list_streams() {
            let archive = self.clone();
            let removed = blocking(move || archive.expire_stream(&stream, now)).await;
            expired.fragments += failures.note("what has expired of a stream", removed);
        }
        let swept = self.vault().sweep(unix_secs(now)).await;
        expired.swept = failures.note("what has expired", swept.map_err(StreamError::from));
        let reclaimed = self.reclaim().await?;
        expired.swept += reclaimed.swept;
        expired.swept += self.copy_forward(reclaimed.worth).await?;
        failures.0.map_or(Ok(expired), Err)
    }

    /// Gives up the oldest fragments of all streams, until `bytes` of the disk are free again or nothing is left
    /// that is old enough.
    pub async fn make_room(&self, bytes: u64, now: WallTime) -> Result<Expired, StreamError> {
        let young = FragmentNumber::at(now - limits::GIVEN_UP_AGE_MIN);
        let mut made = Expired::default();
        while made.swept.bytes < bytes {
            let archive = self.clone();
            let Some(fragments) = blocking(move || archive.give_up_oldest(young)).await? else { break };
            made.fragments += fragments;
            let reclaimed = self.reclaim().await?;
            made.swept += reclaimed.swept;
            // What is given up and not deleted makes no room: nothing more is given up for that.
            if reclaimed.has_failed {
                return Err(StreamError::Stuck);
            }
        }
        Ok(made)
    }

    /// Removes the rows of what a stream does not keep any more.
    fn expire_stream(&self, stream: &Stream, now: WallTime) -> Result<u64, StreamError> {
        let kept = match stream.retention.bytes() {
            Some(max) => self.newest_within(stream, max)?,
            None => FragmentNumber(0),
        };
        self.give_up(stream, stream.first_kept(now).max(kept), now)
    }

    /// The first of the newest fragments of a stream that are `max` bytes at most.
    fn newest_within(&self, stream: &Stream, max: u64) -> Result<FragmentNumber, StreamError> {
        self.tail(stream.id)?;
        // All of one moment: others store and remove meanwhile.
        let snapshot = self.catalog().snapshot();
        let holds = tail::totals(&*snapshot, stream.id)?;
        let mut excess = holds.bytes.saturating_sub(max);
        let mut first = FragmentNumber(0);
        let mut range = KeyRange::prefix(key::numbers(stream.id));
        while excess > 0 {
            let rows = snapshot.scan(&range, Direction::Ascending, limits::EXPIRE_PAGE)?;
            let Some(last) = rows.last() else { break };
            range = range.beyond(&last.key, Direction::Ascending);
            for row in rows {
                if excess == 0 {
                    break;
                }
                let (_, stored) = Stored::decode_row(&row.value).ok_or(QueryError::Damaged("fragment"))?;
                excess = excess.saturating_sub(stored.bytes);
                first = FragmentNumber(stored.number.0 + 1);
            }
        }
        Ok(first)
    }

    /// Gives up what arrived first, of all streams, up to a step's length after it; `None` if nothing did before `young`.
    fn give_up_oldest(&self, young: FragmentNumber) -> Result<Option<u64>, StreamError> {
        let streams = self.list_streams();
        let mut firsts = Vec::with_capacity(streams.len());
        for stream in &streams {
            firsts.extend(self.first_number(stream)?);
        }
        let Some(oldest) = firsts.into_iter().min().filter(|oldest| *oldest < young) else { return Ok(None) };
        let step = u64::try_from(limits::GIVEN_UP_STEP.as_micros()).expect("two minutes");
        let end = FragmentNumber(oldest.0.saturating_add(step)).min(young);
        let mut given_up = 0;
        for stream in &streams {
            // Also segments whose time has passed are looked at, which a raised retention has kept.
            given_up += self.give_up(stream, end, WallTime::from_nanos(0))?;
        }
        Ok(Some(given_up))
    }

    /// Removes the rows of a stream's fragments before `end`. If their segments' time has not come, the stream
    /// remembers that they were given up, before the first row goes.
    fn give_up(&self, stream: &Stream, end: FragmentNumber, now: WallTime) -> Result<u64, StreamError> {
        let range = KeyRange::between(key::numbers(stream.id), Row::ByNumber(stream.id, end).key());
        // The retention may have been another one for the first than for the last.
        let mut early = false;
        for direction in [Direction::Ascending, Direction::Descending] {
            let row = self.catalog().scan(&range, direction, 1)?.pop();
            let found = row.map(|row| Stored::decode_row(&row.value).ok_or(QueryError::Damaged("fragment")));
            early |= found.transpose()?.is_some_and(|(location, _)| !is_due(location.expiry, now));
        }
        if early && stream.kept_from < end {
            match self.give_up_before(stream.id, end) {
                // Deleted meanwhile, which takes the rows too.
                Err(StreamError::NotFound) => return Ok(0),
                marked => marked?,
            };
        }
        self.remove_rows(stream.id, &range, now)
    }

    /// The first fragment that was not given up; what was is removed, or will be by the next expiry.
    fn first_number(&self, stream: &Stream) -> Result<Option<FragmentNumber>, StreamError> {
        let all = KeyRange::prefix(key::numbers(stream.id));
        let kept = KeyRange { start: Row::ByNumber(stream.id, stream.kept_from).key(), ..all };
        let rows = self.catalog().scan(&kept, Direction::Ascending, 1)?;
        Ok(rows.first().and_then(|row| key::number_of(&row.key)))
    }

    /// Deletes the segments that lost all of their rows before their time.
    async fn reclaim(&self) -> Result<Reclaim, StreamError> {
        let thinned = self.thinned().clone();
        if thinned.is_empty() {
            return Ok(Reclaim::default());
        }
        let reclaimed = self.vault().reclaim(thinned.keys().copied().collect()).await?;
        let archive = self.clone();
        let stays = |name: &SegmentName| reclaimed.held.contains_key(name) || reclaimed.failed.contains(name);
        let settled: Vec<_> = thinned.keys().copied().filter(|name| !stays(name)).collect();
        blocking(move || archive.forget_thinned(&settled)).await?;
        let is_worth = |segment: &SegmentName, bytes: u64| {
            let lost = thinned[segment];
            lost.quiet >= limits::THINNED_QUIET_MIN && lost.bytes >= bytes / limits::THINNED_SHARE_MIN
        };
        let held = reclaimed.held.into_iter();
        let worth = held.filter(|(segment, bytes)| is_worth(segment, *bytes)).map(|(segment, _)| segment).collect();
        Ok(Reclaim { swept: reclaimed.swept, worth, has_failed: !reclaimed.failed.is_empty() })
    }

    /// They are gone, or stay until their slot has passed. Others may have come in meanwhile.
    fn forget_thinned(&self, segments: &[SegmentName]) -> Result<(), StreamError> {
        if segments.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        for segment in segments {
            self.thinned().remove(segment);
            batch.remove(Row::Thinned(*segment).key());
        }
        Ok(self.catalog().commit(batch)?)
    }

    /// Copies what is still wanted of these segments to others, so that they can go, up to a number of bytes.
    async fn copy_forward(&self, segments: Vec<SegmentName>) -> Result<Swept, StreamError> {
        let mut copied = 0;
        for segment in segments {
            if copied >= limits::COPIED_BYTES_MAX {
                break;
            }
            copied += self.empty(segment).await?;
        }
        if copied == 0 {
            return Ok(Swept::default());
        }
        Ok(self.reclaim().await?.swept)
    }

    /// Moves the frames of a segment that rows lead to, some at a time, so that they share commits.
    async fn empty(&self, segment: SegmentName) -> Result<u64, StreamError> {
        let archive = self.clone();
        let frames = blocking(move || archive.live_frames(segment)).await?;
        let mut moved = 0;
        let mut frames = frames.into_iter().peekable();
        while frames.peek().is_some() {
            let (mut moving, mut bytes) = (JoinSet::new(), 0);
            while bytes < limits::COPIED_AT_ONCE
                && let Some(from) = frames.next()
            {
                bytes += u64::from(from.bytes);
                let vault = self.vault().clone();
                moving.spawn(async move {
                    let (header, payload) = vault.read(from).await.map_err(|error| error.to_string())?;
                    vault.relocate(from, header, payload).await.map_err(|error| error.to_string())
                });
            }
            while let Some(answer) = moving.join_next().await {
                match answer {
                    Ok(Ok(_)) => {}
                    // It stays where it is, and its segment with it, until its slot has passed.
                    Ok(Err(why)) => {
                        tracing::warn!(segment = %segment.id, why, "what is still wanted of a segment can't be moved");
                        self.thinned().remove(&segment);
                        return Ok(moved);
                    }
                    Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
                }
            }
            moved += bytes;
        }
        Ok(moved)
    }

    fn live_frames(&self, segment: SegmentName) -> Result<Vec<Location>, StreamError> {
        let mut live = Vec::new();
        let walk = self.vault().walk(segment).map_err(unreadable)?;
        for walked in walk {
            let Walked::Frame(header, location) = walked.map_err(unreadable)? else { continue };
            if self.index().is_live(self.catalog(), header.owner, &header.index, location)? {
                live.push(location);
            }
        }
        Ok(live)
    }

    /// Deletes a stream: unreadable at once; the space of its fragments follows at their expiry.
    pub async fn delete_stream(&self, stream: u64) -> Result<(), StreamError> {
        let archive = self.clone();
        // From here on the stream is gone for everybody, also after a restart.
        blocking(move || archive.begin_deletion(stream)).await?;
        self.finish_deletion(stream).await
    }

    /// Deletes a stream on condition that it has not been changed since it had this revision.
    pub async fn delete_stream_at(&self, stream: u64, revision: u64) -> Result<(), StreamError> {
        let archive = self.clone();
        blocking(move || archive.begin_deletion_at(stream, revision)).await?;
        self.finish_deletion(stream).await
    }

    fn begin_deletion_at(&self, id: u64, revision: u64) -> Result<(), StreamError> {
        let delete = |stream: Stream| match stream.revision == revision {
            true => Ok((stream, State::Deleting)),
            false => Err(StreamError::Changed),
        };
        self.replace(id, None, delete).map(drop)
    }

    fn begin_deletion(&self, id: u64) -> Result<(), StreamError> {
        self.replace(id, None, |stream| Ok((stream, State::Deleting))).map(drop)
    }

    async fn finish_deletion(&self, id: u64) -> Result<(), StreamError> {
        // Entries that were admitted before the stream went are committed now; no more can come.
        self.vault().barrier().await;
        self.vault().destroy_keys(owner_of(id)).await?;
        let archive = self.clone();
        blocking(move || {
            // Whatever its segments hold besides may be there for days.
            archive.remove_rows(id, &KeyRange::prefix(key::numbers(id)), WallTime::from_nanos(0))?;
            let mut batch = Batch::new();
            for row in [Row::Stream(id), Row::Tail(id), Row::Removed(id), Row::Attributes(id)] {
                batch.remove(row.key());
            }
            archive.catalog().commit(batch)?;
            let _alone = archive.index().changing();
            let mut streams = archive.index().streams_mut();
            streams.deleting.retain(|other| *other != id);
            streams.rows.remove(&id);
            drop(streams);
            archive.index().forget(id);
            Ok(())
        })
        .await
    }

    /// Removes all rows of the fragments in a range of rows by number, and notes the segments that are not due yet.
    fn remove_rows(&self, stream: u64, range: &KeyRange, now: WallTime) -> Result<u64, StreamError> {
        let (mut range, mut count) = (range.clone(), 0);
        loop {
            // Before the look at the rows: of two that remove at a time, one finds that they are gone.
            let (mut removed, before) = tail::removed(self.catalog(), stream)?;
            let rows = self.catalog().scan(&range, Direction::Ascending, limits::EXPIRE_PAGE)?;
            let Some(last) = rows.last() else { return Ok(count) };
            // A row that was removed lies in the catalog's tables for a while, and is stepped over by each scan that begins before it.
            let rest = range.beyond(&last.key, Direction::Ascending);
            let (mut batch, mut thinned) = (Batch::new(), BTreeMap::<SegmentName, u64>::new());
            let page = rows.len() as u64;
            for row in rows {
                let (location, stored) = Stored::decode_row(&row.value).ok_or(QueryError::Damaged("fragment"))?;
                if !is_due(location.expiry, now) {
                    *thinned.entry(SegmentName::from(location)).or_default() += u64::from(location.bytes);
                }
                batch.remove(row.key);
                batch.remove(Row::ByTime(stream, stored.start, stored.number).key());
                batch.remove(Row::ByIdentity(stream, stored.id).key());
                removed.add(&stored);
            }
            let key = Row::Removed(stream).key();
            match before {
                Some(before) => batch.require_value(key.clone(), before),
                None => batch.require_absent(key.clone()),
            };
            batch.insert(key, removed.encode());
            for (segment, bytes) in &mut thinned {
                *bytes += self.thinned().get(segment).map_or(0, |lost| lost.bytes);
                batch.insert(Row::Thinned(*segment).key(), bytes.to_be_bytes().to_vec());
            }
            match self.catalog().commit(batch) {
                Ok(()) => {}
                Err(CommitError::Precondition) => continue,
                Err(error) => return Err(error.into()),
            }
            (range, count) = (rest, count + page);
            let lost = thinned.into_iter().map(|(segment, bytes)| (segment, Thinned { bytes, quiet: 0 }));
            self.thinned().extend(lost);
        }
    }
}

/// Whether the sweeps of the next minutes look at segments of this slot anyway.
fn is_due(expiry: ExpirySlot, now: WallTime) -> bool {
    expiry.end_secs() <= unix_secs(now) + 2 * u64::from(ExpirySlot::SECONDS)
}

fn unreadable(source: io::Error) -> StreamError {
    SweepError::Io { action: "read", what: "a segment".to_owned(), source }.into()
}

fn unix_secs(time: WallTime) -> u64 {
    u64::try_from(time.as_millis() / 1000).unwrap_or(0)
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StreamError> + Send + 'static,
) -> Result<T, StreamError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
