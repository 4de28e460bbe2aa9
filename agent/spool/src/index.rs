//! What the spool holds, in memory: pure bookkeeping, no I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use fragment::StreamName;
use upload::{FragmentKey, Trailer};

use crate::file::{Header, Start};
use crate::limits;

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

/// What is in the spool and what has passed through it in this run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Fragments in the spool now.
    pub fragments: u64,
    /// The size of their files.
    pub bytes: u64,
    /// Fragments that were captured to their end.
    pub spooled: u64,
    /// Fragments that left because the server has them on disk.
    pub persisted: u64,
    /// Fragments that left because the server refused them for good.
    pub rejected: u64,
    /// Fragments that left unsent, because the spool was full.
    pub dropped: u64,
    /// Fragments that could not be written or read back, whole or in part.
    pub lost: u64,
}

/// Fragments by their place in the order of capture.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: BTreeMap<u64, Entry>,
    ordinals: HashMap<FragmentKey, u64>,
    changes: BTreeSet<u64>,
    /// Of each stream, the newest fragment that was found at the start: its place, when it began, how long it plays.
    recovered: HashMap<StreamName, (u64, Start, Duration)>,
    next_ordinal: u64,
    counters: Counters,
}

impl Index {
    pub(crate) fn next_ordinal(&self) -> u64 {
        self.next_ordinal
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters { fragments: self.entries.len() as u64, ..self.counters }
    }

    pub(crate) fn entry(&self, ordinal: u64) -> Option<&Entry> {
        self.entries.get(&ordinal)
    }

    pub(crate) fn next(&self, after: Option<u64>) -> Option<(u64, &Entry)> {
        let from = after.map_or(0, |after| after + 1);
        self.entries.range(from..).next().map(|(&ordinal, entry)| (ordinal, entry))
    }

    pub(crate) fn holds(&self, key: &FragmentKey) -> bool {
        self.ordinals.contains_key(key)
    }

    /// The payload bytes of a fragment; none, if it is not here.
    pub(crate) fn bytes_of(&self, key: &FragmentKey) -> u64 {
        self.ordinals.get(key).and_then(|ordinal| self.entries.get(ordinal)).map_or(0, |entry| entry.bytes)
    }

    /// Whether another fragment fits without dropping one: one of the largest size, or half of a spool that is
    /// smaller than two of those.
    pub(crate) fn has_room(&self, bytes_max: u64) -> bool {
        let largest = (fragment::limits::FRAGMENT_BYTES_MAX as u64).min(bytes_max / 2);
        self.counters.bytes + largest <= bytes_max && self.entries.len() < limits::FRAGMENTS_MAX
    }

    pub(crate) fn is_over(&self, bytes_max: u64) -> bool {
        self.counters.bytes > bytes_max || self.entries.len() > limits::FRAGMENTS_MAX
    }

    pub(crate) fn take_ordinal(&mut self) -> u64 {
        self.next_ordinal += 1;
        self.next_ordinal - 1
    }

    /// Leaves out the ordinal of a file that is on disk and can't be taken in.
    pub(crate) fn pass_over(&mut self, ordinal: u64) {
        self.next_ordinal = self.next_ordinal.max(ordinal + 1);
    }

    pub(crate) fn take_changes(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.changes)
    }

    pub(crate) fn insert(&mut self, ordinal: u64, entry: Entry) {
        self.next_ordinal = self.next_ordinal.max(ordinal + 1);
        self.counters.bytes += entry.file_bytes;
        self.ordinals.insert(entry.key.clone(), ordinal);
        self.entries.insert(ordinal, entry);
        self.changes.insert(ordinal);
    }

    /// Takes in what was found at the start, which comes in the order of capture. A place that is taken already,
    /// because a removal did not reach the disk, is not given twice: what follows moves up.
    pub(crate) fn insert_recovered(&mut self, header: Header, trailer: Trailer, file_bytes: u64) {
        let ordinal = header.ordinal.max(self.next_ordinal);
        let newest = (ordinal, header.start, trailer.duration);
        let known = self.recovered.entry(header.key.stream.clone()).or_insert(newest);
        if known.0 < newest.0 {
            *known = newest;
        }
        let entry = Entry { key: header.key, bytes: trailer.bytes, file_bytes, trailer: Some(trailer) };
        self.insert(ordinal, entry);
    }

    pub(crate) fn last_recovered(&self, stream: &StreamName) -> Option<(Start, Duration)> {
        self.recovered.get(stream).map(|&(_, start, duration)| (start, duration))
    }

    pub(crate) fn grow(&mut self, ordinal: u64, bytes: u64, record_bytes: u64) {
        if let Some(entry) = self.entries.get_mut(&ordinal) {
            entry.bytes = bytes;
            entry.file_bytes += record_bytes;
            self.counters.bytes += record_bytes;
            self.changes.insert(ordinal);
        }
    }

    pub(crate) fn finish(&mut self, ordinal: u64, trailer: Trailer, record_bytes: u64) {
        self.grow(ordinal, trailer.bytes, record_bytes);
        if let Some(entry) = self.entries.get_mut(&ordinal) {
            entry.trailer = Some(trailer);
            self.counters.spooled += 1;
        }
    }

    pub(crate) fn replace(&mut self, key: &FragmentKey, trailer: Trailer, file_bytes: u64) {
        let Some(&ordinal) = self.ordinals.get(key) else {
            return;
        };
        if let Some(entry) = self.entries.get_mut(&ordinal) {
            self.counters.bytes = self.counters.bytes - entry.file_bytes + file_bytes;
            self.counters.spooled += u64::from(entry.trailer.is_none());
            *entry = Entry { bytes: trailer.bytes, file_bytes, trailer: Some(trailer), ..entry.clone() };
            self.changes.insert(ordinal);
        }
    }

    pub(crate) fn remove(&mut self, key: &FragmentKey, count: impl FnOnce(&mut Counters)) -> Option<Entry> {
        let ordinal = self.ordinals.remove(key)?;
        let entry = self.entries.remove(&ordinal).expect("each ordinal has its entry");
        self.counters.bytes -= entry.file_bytes;
        self.changes.insert(ordinal);
        count(&mut self.counters);
        Some(entry)
    }

    /// Takes out the oldest fragment that is whole: one being captured can't make room.
    pub(crate) fn drop_oldest(&mut self) -> Option<Entry> {
        let oldest = self.entries.values().find(|entry| entry.trailer.is_some())?.key.clone();
        self.remove(&oldest, |counters| counters.dropped += 1)
    }

    pub(crate) fn note_lost(&mut self) {
        self.counters.lost += 1;
    }
}
