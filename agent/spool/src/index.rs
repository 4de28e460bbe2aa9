//! What the spool holds, in memory: pure bookkeeping, no I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use fragment::{StreamName, WallTime};
use upload::{FragmentKey, Trailer};

use crate::age::{Ages, Moment, Now};
use crate::drops::{Drops, Reason};
use crate::file::{Header, Start};
use crate::limits;
use crate::streams::{Amount, Streams};

/// One fragment in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which fragment.
    pub key: FragmentKey,
    /// Its payload bytes on disk.
    pub bytes: u64,
    /// The size of its file.
    pub file_bytes: u64,
    /// Known once it is whole.
    pub trailer: Option<Trailer>,
}

/// An entry, and when it began.
#[derive(Debug)]
struct Held {
    entry: Entry,
    wall: WallTime,
    moment: Option<Moment>,
}

/// A fragment that the server has and that stays for a while.
#[derive(Debug)]
struct Kept {
    key: FragmentKey,
    file_bytes: u64,
    moment: Option<Moment>,
    /// Whether its file has the name of a kept one already.
    settled: bool,
}

/// What had to go, and when it began.
#[derive(Debug)]
pub(crate) struct Dropped {
    pub(crate) entry: Entry,
    pub(crate) wall: WallTime,
}

/// What is in the spool and what has passed through it in this run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Fragments in the spool now, that the server does not have.
    pub fragments: u64,
    /// The size of their files.
    pub bytes: u64,
    /// Fragments that the server has and that are kept.
    pub kept: u64,
    /// The size of their files.
    pub kept_bytes: u64,
    /// Fragments that were captured to their end and wait to be synced.
    pub unsynced: u64,
    /// Whether recording stands still because the spool is full.
    pub stopped: bool,
    /// Fragments that were captured to their end.
    pub spooled: u64,
    /// Fragments that left because the server has them on disk.
    pub persisted: u64,
    /// Fragments that left because the server refused them for good.
    pub rejected: u64,
    /// Fragments that were given up to keep others: the spool was full, they were too old, or the disk too slow.
    pub dropped: u64,
    /// Fragments that could not be written or read back, whole or in part.
    pub lost: u64,
    /// The same fragments by reason; and how often pictures were left out that are of no fragment.
    pub drops: Drops,
}

/// Fragments by their place in the order of capture.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: BTreeMap<u64, Held>,
    kept: BTreeMap<u64, Kept>,
    ordinals: HashMap<FragmentKey, u64>,
    streams: Streams,
    ages: Ages,
    changes: BTreeSet<u64>,
    /// Of each stream, the newest fragment that was found at the start: its place, when it began, how long it plays.
    recovered: HashMap<StreamName, (u64, Start, Duration)>,
    next_ordinal: u64,
    /// Places whose files are being made.
    pending: BTreeSet<u64>,
    counters: Counters,
}

impl Index {
    pub(crate) fn next_ordinal(&self) -> u64 {
        self.next_ordinal
    }

    pub(crate) fn counters(&self) -> Counters {
        let Counters { drops, .. } = self.counters;
        Counters {
            fragments: self.entries.len() as u64,
            kept: self.kept.len() as u64,
            dropped: drops.by_policy(),
            lost: drops.by_fault(),
            rejected: drops.rejected,
            ..self.counters
        }
    }

    pub(crate) fn entry(&self, ordinal: u64) -> Option<&Entry> {
        self.entries.get(&ordinal).map(|held| &held.entry)
    }

    /// Ends before a place that is taken and not filled yet, so that nobody passes over it.
    pub(crate) fn next(&self, after: Option<u64>) -> Option<(u64, &Entry)> {
        let from = after.map_or(0, |after| after + 1);
        let (&ordinal, held) = self.entries.range(from..).next()?;
        let is_behind_a_gap = self.pending.first().is_some_and(|pending| (from..ordinal).contains(pending));
        (!is_behind_a_gap).then_some((ordinal, &held.entry))
    }

    /// What the server does not have of these streams.
    pub(crate) fn amount_of(&self, of: &dyn Fn(&StreamName) -> bool) -> Amount {
        self.streams.amount(of)
    }

    /// The oldest fragment of these streams.
    pub(crate) fn oldest_of(&mut self, of: &dyn Fn(&StreamName) -> bool) -> Option<&Entry> {
        let from = self.streams.from(of)?;
        let (&ordinal, held) = self.entries.range(from..).find(|(_, held)| of(&held.entry.key.stream))?;
        self.streams.pass(of, ordinal);
        Some(&held.entry)
    }

    pub(crate) fn holds(&self, key: &FragmentKey) -> bool {
        self.ordinals.contains_key(key)
    }

    /// A fragment and when it began, if it is here.
    pub(crate) fn find(&self, key: &FragmentKey) -> Option<(&Entry, WallTime)> {
        let held = self.entries.get(self.ordinals.get(key)?)?;
        Some((&held.entry, held.wall))
    }

    /// Whether another fragment fits without dropping one: one of the largest size, or half of a spool that is
    /// smaller than two of those. What is kept gives way.
    pub(crate) fn has_room(&self, bytes_max: u64) -> bool {
        let largest = (fragment::limits::FRAGMENT_BYTES_MAX as u64).min(bytes_max / 2);
        self.counters.bytes + largest <= bytes_max && self.entries.len() < limits::FRAGMENTS_MAX
    }

    pub(crate) fn is_over(&self, bytes_max: u64) -> bool {
        self.counters.bytes + self.counters.kept_bytes > bytes_max
            || self.entries.len() + self.kept.len() > limits::FRAGMENTS_MAX
    }

    pub(crate) fn take_ordinal(&mut self) -> u64 {
        self.pending.insert(self.next_ordinal);
        self.next_ordinal += 1;
        self.next_ordinal - 1
    }

    /// Nothing comes at a place that was taken.
    pub(crate) fn abandon(&mut self, ordinal: u64) {
        self.pending.remove(&ordinal);
    }

    /// Leaves out the ordinal of a file that is on disk and can't be taken in.
    pub(crate) fn pass_over(&mut self, ordinal: u64) {
        self.next_ordinal = self.next_ordinal.max(ordinal + 1);
    }

    pub(crate) fn take_changes(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.changes)
    }

    /// Takes in a fragment that begins.
    pub(crate) fn insert(&mut self, ordinal: u64, key: FragmentKey, start: &Start) {
        let entry = Entry { key, bytes: 0, file_bytes: 0, trailer: None };
        self.insert_entry(ordinal, entry, start);
    }

    fn insert_entry(&mut self, ordinal: u64, entry: Entry, start: &Start) {
        self.pending.remove(&ordinal);
        self.next_ordinal = self.next_ordinal.max(ordinal + 1);
        self.counters.bytes += entry.file_bytes;
        self.ordinals.insert(entry.key.clone(), ordinal);
        self.streams.add(ordinal, &entry);
        let held = Held { entry, wall: start.wall, moment: self.ages.note(start) };
        self.entries.insert(ordinal, held);
        self.changes.insert(ordinal);
    }

    /// Takes in what was found at the start, which comes in the order of capture. A place that is taken already,
    /// because a removal did not reach the disk, is not given twice: what follows moves up.
    pub(crate) fn insert_recovered(&mut self, header: Header, trailer: Trailer, file_bytes: u64, is_kept: bool) -> u64 {
        let ordinal = header.ordinal.max(self.next_ordinal);
        let newest = (ordinal, header.start, trailer.duration);
        let known = self.recovered.entry(header.key.stream.clone()).or_insert(newest);
        if known.0 < newest.0 {
            *known = newest;
        }
        if is_kept {
            self.next_ordinal = ordinal + 1;
            self.counters.kept_bytes += file_bytes;
            let moment = self.ages.note(&header.start);
            self.kept.insert(ordinal, Kept { key: header.key, file_bytes, moment, settled: true });
        } else {
            let entry = Entry { key: header.key, bytes: trailer.bytes, file_bytes, trailer: Some(trailer) };
            self.insert_entry(ordinal, entry, &header.start);
        }
        ordinal
    }

    pub(crate) fn last_recovered(&self, stream: &StreamName) -> Option<(Start, Duration)> {
        self.recovered.get(stream).map(|&(_, start, duration)| (start, duration))
    }

    pub(crate) fn grow(&mut self, ordinal: u64, bytes: u64, record_bytes: u64) {
        if let Some(Held { entry, .. }) = self.entries.get_mut(&ordinal) {
            entry.bytes = bytes;
            self.streams.resize(&entry.key.stream, entry.file_bytes, entry.file_bytes + record_bytes);
            entry.file_bytes += record_bytes;
            self.counters.bytes += record_bytes;
            self.changes.insert(ordinal);
        }
    }

    pub(crate) fn finish(&mut self, ordinal: u64, trailer: Trailer, record_bytes: u64) {
        self.grow(ordinal, trailer.bytes, record_bytes);
        if let Some(Held { entry, .. }) = self.entries.get_mut(&ordinal) {
            entry.trailer = Some(trailer);
            self.counters.spooled += 1;
        }
    }

    pub(crate) fn replace(&mut self, key: &FragmentKey, trailer: Trailer, file_bytes: u64) {
        let Some(&ordinal) = self.ordinals.get(key) else {
            return;
        };
        if let Some(Held { entry, .. }) = self.entries.get_mut(&ordinal) {
            self.counters.bytes = self.counters.bytes - entry.file_bytes + file_bytes;
            self.streams.resize(&entry.key.stream, entry.file_bytes, file_bytes);
            self.counters.spooled += u64::from(entry.trailer.is_none());
            *entry = Entry { bytes: trailer.bytes, file_bytes, trailer: Some(trailer), ..entry.clone() };
            self.changes.insert(ordinal);
        }
    }

    /// Takes out a fragment.
    pub(crate) fn remove(&mut self, key: &FragmentKey) -> Option<Dropped> {
        self.take(key).map(|(_, Held { entry, wall, .. })| Dropped { entry, wall })
    }

    fn take(&mut self, key: &FragmentKey) -> Option<(u64, Held)> {
        let ordinal = self.ordinals.remove(key)?;
        let held = self.entries.remove(&ordinal).expect("each ordinal has its entry");
        self.counters.bytes -= held.entry.file_bytes;
        self.streams.take(&held.entry);
        self.changes.insert(ordinal);
        Some((ordinal, held))
    }

    /// The server has it. With `keep` it stays, and is no one's to send. Answers its place.
    pub(crate) fn persist(&mut self, key: &FragmentKey, keep: bool) -> Option<u64> {
        let (ordinal, Held { entry, moment, .. }) = self.take(key)?;
        self.counters.persisted += 1;
        if keep {
            self.counters.kept_bytes += entry.file_bytes;
            let kept = Kept { key: entry.key, file_bytes: entry.file_bytes, moment, settled: false };
            self.kept.insert(ordinal, kept);
        }
        Some(ordinal)
    }

    /// The file of a kept fragment has its new name: from now on it may go. Without the file it is gone.
    pub(crate) fn settle(&mut self, ordinal: u64, is_there: bool) {
        if let Some(kept) = self.kept.get_mut(&ordinal).filter(|_| is_there) {
            kept.settled = true;
        } else if let Some(kept) = self.kept.remove(&ordinal) {
            self.counters.kept_bytes -= kept.file_bytes;
        }
    }

    /// Takes out the oldest fragment that the server has.
    pub(crate) fn let_go(&mut self) -> Option<FragmentKey> {
        let oldest = self.kept.iter().find(|(_, kept)| kept.settled).map(|(&ordinal, _)| ordinal)?;
        self.take_kept(oldest)
    }

    /// The same, if it is older than that.
    pub(crate) fn let_go_of_older(&mut self, keep: Duration, now: Now) -> Option<FragmentKey> {
        let (&oldest, kept) = self.kept.iter().find(|(_, kept)| kept.settled)?;
        // One whose age nobody knows was given as a file, and does not stay.
        let is_older = kept.moment.is_none_or(|moment| self.ages.age(moment, now) >= keep);
        is_older.then(|| self.take_kept(oldest))?
    }

    fn take_kept(&mut self, ordinal: u64) -> Option<FragmentKey> {
        let kept = self.kept.remove(&ordinal)?;
        self.counters.kept_bytes -= kept.file_bytes;
        Some(kept.key)
    }

    /// The oldest fragment that is whole: one being captured can't make room.
    pub(crate) fn oldest_whole(&self) -> Option<&FragmentKey> {
        self.entries.values().find(|held| held.entry.trailer.is_some()).map(|held| &held.entry.key)
    }

    /// The oldest fragment that is whole and can be told to be older than that.
    pub(crate) fn oldest_whole_beyond(&self, age: Duration, now: Now) -> Option<&FragmentKey> {
        let captured = self.entries.values().filter(|held| held.entry.trailer.is_some());
        let (oldest, moment) = captured.filter_map(|held| Some((held, held.moment?))).next()?;
        (self.ages.age(moment, now) >= age).then_some(&oldest.entry.key)
    }

    pub(crate) fn count_drop(&mut self, reason: Reason) {
        self.counters.drops.count(reason);
    }

    pub(crate) fn note_unsynced(&mut self, count: usize) {
        self.counters.unsynced = count as u64;
    }

    /// Whether recording stands still; answers whether that is new.
    pub(crate) fn note_stopped(&mut self, stopped: bool) -> bool {
        std::mem::replace(&mut self.counters.stopped, stopped) != stopped
    }
}
