//! What the spool holds, in memory: pure bookkeeping, no I/O.
//!
//! A week of four cameras is more than a million fragments, so what is known of each is packed (index/stretch.rs), and found by its
//! place or its key (index/shelf.rs). What waits lies on one shelf, what the server has and is kept on another.

mod changes;
mod shelf;
mod stretch;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use fragment::{Sequence, SessionId, StreamName, WallTime};
use upload::{FragmentKey, Trailer};

use self::shelf::Shelf;
use crate::age::{Ages, Moment, Now};
use crate::drops::{Drops, Reason};
use crate::file::{Header, Start};
use crate::limits;
use crate::spared::{Spared, Sparings};
use crate::streams::{Amount, Streams};

pub use self::changes::Changes;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) entry: Entry,
    pub(crate) wall: WallTime,
    pub(crate) moment: Option<Moment>,
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
    /// The memory that the spool's index of them all takes, about.
    #[serde(default)]
    pub index_bytes: u64,
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
    /// What the server does not have.
    waiting: Shelf,
    /// How much of it is whose.
    streams: Streams,
    kept: Shelf,
    /// Kept ones whose files do not have the name of such yet: they can't go.
    unsettled: BTreeSet<u64>,
    /// What is being captured.
    growing: BTreeSet<u64>,
    ages: Ages,
    /// What gives way last.
    spared: Sparings,
    /// Before this place nothing lies that is whole and not spared. It is moved on when somebody has looked.
    passed: u64,
    changes: Changes,
    /// Of each stream, the newest fragment that was found at the start: its place, when it began, how long it plays.
    recovered: HashMap<StreamName, (u64, Start, Duration)>,
    next_ordinal: u64,
    /// Places whose files are being made.
    pending: BTreeSet<u64>,
    counters: Counters,
}

/// Whether a fragment of the largest size fits, or half of a spool that is smaller than two of those.
fn has_room_beside(bytes: u64, index_bytes: u64, bytes_max: u64) -> bool {
    bytes + (fragment::limits::FRAGMENT_BYTES_MAX as u64).min(bytes_max / 2) <= bytes_max
        && index_bytes < limits::INDEX_BYTES_MAX
}

/// What was found at the start, in a place that another one has.
#[derive(Debug)]
pub(crate) struct Doubled {
    place: u64,
    held: Held,
    is_kept: bool,
}

impl Index {
    pub(crate) fn next_ordinal(&self) -> u64 {
        self.next_ordinal
    }

    pub(crate) fn counters(&self) -> Counters {
        let Counters { drops, .. } = self.counters;
        Counters {
            fragments: self.waiting.len() as u64,
            bytes: self.waiting.file_bytes(),
            kept: self.kept.len() as u64,
            kept_bytes: self.kept.file_bytes(),
            index_bytes: self.memory_bytes(),
            dropped: drops.by_policy(),
            lost: drops.by_fault(),
            rejected: drops.rejected,
            ..self.counters
        }
    }

    pub(crate) fn entry(&self, ordinal: u64) -> Option<Entry> {
        self.waiting.get(ordinal).map(|held| held.entry)
    }

    /// Ends before a place that is taken and not filled yet, so that nobody passes over it.
    pub(crate) fn next(&self, after: Option<u64>) -> Option<(u64, Entry)> {
        let from = after.map_or(0, |after| after + 1);
        let (ordinal, held) = self.waiting.at_or_behind(from)?;
        let is_behind_a_gap = self.pending.first().is_some_and(|pending| (from..ordinal).contains(pending));
        (!is_behind_a_gap).then_some((ordinal, held.entry))
    }

    /// What is being captured, in its order.
    pub(crate) fn growing(&self) -> Vec<(u64, Entry)> {
        self.growing.iter().filter_map(|&ordinal| Some((ordinal, self.entry(ordinal)?))).collect()
    }

    /// The streams of which something waits.
    pub(crate) fn streams(&self) -> Vec<StreamName> {
        self.waiting.streams()
    }

    /// The next session of this stream, by their ids.
    pub(crate) fn next_session(&self, stream: &StreamName, after: Option<SessionId>) -> Option<SessionId> {
        self.waiting.next_session(stream, after)
    }

    /// The first fragment of a session that has this sequence or a later one.
    pub(crate) fn next_in(&self, stream: &StreamName, session: SessionId, from: Sequence) -> Option<Entry> {
        self.waiting.next_in(stream, session, from).map(|held| held.entry)
    }

    /// The last fragment of a session.
    pub(crate) fn last_in(&self, stream: &StreamName, session: SessionId) -> Option<Entry> {
        self.waiting.last_in(stream, session).map(|held| held.entry)
    }

    /// What the server does not have of these streams.
    pub(crate) fn amount_of(&self, of: &dyn Fn(&StreamName) -> bool) -> Amount {
        self.streams.amount(of)
    }

    /// The oldest fragment of these streams.
    pub(crate) fn oldest_of(&mut self, of: &dyn Fn(&StreamName) -> bool) -> Option<Entry> {
        let mut from = self.streams.from(of)?;
        loop {
            let (place, held) = self.waiting.at_or_behind(from)?;
            if of(&held.entry.key.stream) {
                self.streams.pass(of, place);
                return Some(held.entry);
            }
            from = place + 1;
        }
    }

    pub(crate) fn holds(&self, key: &FragmentKey) -> bool {
        self.waiting.find(key).is_some()
    }

    /// A fragment and when it began, if it is here.
    pub(crate) fn find(&self, key: &FragmentKey) -> Option<(Entry, WallTime)> {
        let held = self.waiting.get(self.waiting.find(key)?)?;
        Some((held.entry, held.wall))
    }

    /// Whether another fragment fits without dropping one: one of the largest size, or half of a spool that is
    /// smaller than two of those. What is kept gives way.
    pub(crate) fn has_room(&self, bytes_max: u64) -> bool {
        has_room_beside(self.waiting.file_bytes(), self.waiting.memory_bytes(), bytes_max)
    }

    /// Whether one fits beside what waits of these streams.
    pub(crate) fn can_have_room_beside(&self, of: &dyn Fn(&StreamName) -> bool, bytes_max: u64) -> bool {
        has_room_beside(self.streams.amount(of).bytes, self.waiting.memory_bytes_of(of), bytes_max)
    }

    pub(crate) fn is_over(&self, bytes_max: u64) -> bool {
        self.waiting.file_bytes() + self.kept.file_bytes() > bytes_max || self.memory_bytes() > limits::INDEX_BYTES_MAX
    }

    fn memory_bytes(&self) -> u64 {
        self.waiting.memory_bytes() + self.kept.memory_bytes()
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

    pub(crate) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Takes in a fragment that begins.
    pub(crate) fn insert(&mut self, ordinal: u64, key: FragmentKey, start: &Start) {
        self.pending.remove(&ordinal);
        self.next_ordinal = self.next_ordinal.max(ordinal + 1);
        // Identities are random, and two are alike only in a test. The file is the second one's by now.
        self.take(&key);
        let moment = self.ages.note(ordinal, start);
        let entry = Entry { key, bytes: 0, file_bytes: 0, trailer: None };
        self.streams.add(&entry.key.stream, ordinal, entry.file_bytes);
        self.waiting.insert(ordinal, &Held { entry, wall: start.wall, moment });
        self.growing.insert(ordinal);
        self.changes.insert(ordinal);
    }

    /// Takes in what was found at the start, in any order. One whose place is taken, because a removal did not reach the
    /// disk, is given back, for [`Self::make_places`].
    pub(crate) fn insert_recovered(
        &mut self,
        header: Header,
        trailer: Trailer,
        file_bytes: u64,
        is_kept: bool,
    ) -> Option<Doubled> {
        let Header { key, ordinal: place, start, .. } = header;
        self.pass_over(place);
        let newest = (place, start, trailer.duration);
        match self.recovered.get_mut(&key.stream) {
            Some(known) if known.0 < place => *known = newest,
            Some(_) => {}
            None => drop(self.recovered.insert(key.stream.clone(), newest)),
        }
        let moment = self.ages.note(place, &start);
        let entry = Entry { key, bytes: trailer.bytes, file_bytes, trailer: Some(trailer) };
        let held = Held { entry, wall: start.wall, moment };
        if !is_kept {
            self.streams.add(&held.entry.key.stream, place, held.entry.file_bytes);
        }
        if self.waiting.holds(place) || self.kept.holds(place) {
            return Some(Doubled { place, held, is_kept });
        }
        self.shelf(is_kept).insert(place, &held);
        None
    }

    /// A place is not given twice: of those that have the same one the older by its clock comes first, and what follows
    /// moves up.
    pub(crate) fn make_places(&mut self, doubled: Vec<Doubled>) {
        if doubled.is_empty() {
            return;
        }
        let mut all = doubled;
        for is_kept in [false, true] {
            while let Some((place, _)) = self.shelf(is_kept).at_or_behind(0) {
                let held = self.shelf(is_kept).take(place).expect("it was just found");
                all.push(Doubled { place, held, is_kept });
            }
        }
        all.sort_by_key(|doubled| (doubled.place, doubled.held.wall));
        let mut free = 0;
        for Doubled { place, held, is_kept } in all {
            let place = place.max(free);
            self.shelf(is_kept).insert(place, &held);
            free = place + 1;
        }
        self.next_ordinal = self.next_ordinal.max(free);
    }

    fn shelf(&mut self, is_kept: bool) -> &mut Shelf {
        if is_kept { &mut self.kept } else { &mut self.waiting }
    }

    pub(crate) fn last_recovered(&self, stream: &StreamName) -> Option<(Start, Duration)> {
        self.recovered.get(stream).map(|&(_, start, duration)| (start, duration))
    }

    pub(crate) fn grow(&mut self, ordinal: u64, bytes: u64, record_bytes: u64) {
        self.change(ordinal, |entry| {
            entry.bytes = bytes;
            entry.file_bytes += record_bytes;
        });
    }

    pub(crate) fn finish(&mut self, ordinal: u64, trailer: Trailer, record_bytes: u64) {
        self.end(ordinal, |entry| {
            *entry = Entry {
                bytes: trailer.bytes,
                file_bytes: entry.file_bytes + record_bytes,
                trailer: Some(trailer),
                ..entry.clone()
            };
        });
    }

    /// Takes a fragment for what its file has become.
    pub(crate) fn replace(&mut self, key: &FragmentKey, trailer: Trailer, file_bytes: u64) {
        if let Some(ordinal) = self.waiting.find(key) {
            self.end(ordinal, |entry| {
                *entry = Entry { bytes: trailer.bytes, file_bytes, trailer: Some(trailer), ..entry.clone() };
            });
        }
    }

    fn end(&mut self, ordinal: u64, change: impl FnOnce(&mut Entry)) {
        self.change(ordinal, change);
        self.counters.spooled += u64::from(self.growing.remove(&ordinal));
    }

    fn change(&mut self, ordinal: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(Held { mut entry, .. }) = self.waiting.get(ordinal) {
            let before = entry.file_bytes;
            change(&mut entry);
            self.streams.resize(&entry.key.stream, before, entry.file_bytes);
            self.waiting.change(ordinal, &entry);
            self.changes.insert(ordinal);
        }
    }

    /// Takes out a fragment.
    pub(crate) fn remove(&mut self, key: &FragmentKey) -> Option<Held> {
        self.take(key).map(|(_, held)| held)
    }

    fn take(&mut self, key: &FragmentKey) -> Option<(u64, Held)> {
        let ordinal = self.waiting.find(key)?;
        let held = self.waiting.take(ordinal)?;
        self.streams.take(&held.entry.key.stream, held.entry.file_bytes);
        self.growing.remove(&ordinal);
        self.changes.insert(ordinal);
        Some((ordinal, held))
    }

    /// The server has it. With `keep` it stays, and is no one's to send. Answers its place.
    pub(crate) fn persist(&mut self, key: &FragmentKey, keep: bool) -> Option<u64> {
        let (ordinal, held) = self.take(key)?;
        self.counters.persisted += 1;
        if keep {
            self.kept.insert(ordinal, &held);
            self.unsettled.insert(ordinal);
        }
        Some(ordinal)
    }

    /// The file of a kept fragment has its new name: from now on it may go. Without the file it is gone.
    pub(crate) fn settle(&mut self, ordinal: u64, is_there: bool) {
        self.unsettled.remove(&ordinal);
        if !is_there {
            self.kept.take(ordinal);
        }
    }

    /// Takes out the oldest fragment that the server has.
    pub(crate) fn let_go(&mut self) -> Option<FragmentKey> {
        let (oldest, _) = self.oldest_kept()?;
        self.kept.take(oldest).map(|held| held.entry.key)
    }

    /// The same, if it is older than that.
    pub(crate) fn let_go_of_older(&mut self, keep: Duration, now: Now) -> Option<FragmentKey> {
        let (oldest, held) = self.oldest_kept()?;
        // One whose age nobody knows was given as a file, and does not stay.
        let is_older = held.moment.is_none_or(|moment| self.ages.age(moment, now) >= keep);
        is_older.then(|| self.kept.take(oldest))?.map(|held| held.entry.key)
    }

    fn oldest_kept(&self) -> Option<(u64, Held)> {
        self.kept.first_at(|place| !self.unsettled.contains(&place))
    }

    /// From now on these give way last, and no others.
    pub(crate) fn spare(&mut self, spared: &[Spared]) {
        self.spared = Sparings::new(spared);
        self.passed = 0;
    }

    /// The oldest fragment that is whole: one being captured can't make room. One that is spared only if all are.
    pub(crate) fn oldest_whole(&mut self) -> Option<FragmentKey> {
        let oldest = self.oldest_not_spared();
        let oldest = oldest.or_else(|| self.waiting.first_whole(0, false, &Sparings::default()));
        oldest.map(|(_, held)| held.entry.key)
    }

    /// The oldest fragment that is whole and can be told to be older than that. None that is spared.
    pub(crate) fn oldest_whole_beyond(&mut self, age: Duration, now: Now) -> Option<FragmentKey> {
        let (place, _) = self.oldest_not_spared()?;
        let (_, oldest) = self.waiting.first_whole(place, true, &self.spared)?;
        (self.ages.age(oldest.moment?, now) >= age).then_some(oldest.entry.key)
    }

    fn oldest_not_spared(&mut self) -> Option<(u64, Held)> {
        let oldest = self.waiting.first_whole(self.passed, false, &self.spared);
        // What is being captured or created is whole later.
        let later = self.growing.first().into_iter().chain(self.pending.first()).copied();
        let found = oldest.as_ref().map_or(self.next_ordinal, |&(place, _)| place);
        self.passed = later.fold(found, u64::min).max(self.passed);
        oldest
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
