//! Fragments of one session, one behind the other, in 32 bytes each.
//!
//! What they have in common is said once: stream, session, boot, and where and when the first of them began. Each is told by
//! its distance from that, and times to the microsecond. Sequences and places rise together. A fragment that does not
//! fit, because it is too far away, comes in another order, or its calendar was set, is left to another stretch.

use std::time::Duration;

use fragment::{FragmentId, Sequence, SessionId, StreamName, WallTime};
use upload::{FragmentKey, Trailer};

use super::{Entry, Held};
use crate::age::Moment;
use crate::spared::Spared;

/// Fragments in one at most: what they have in common is little beside so many, and little is moved when one leaves.
pub(super) const RECORDS_MAX: usize = 256;

/// How far the places lie apart at most: 16 cameras fill their stretches within it. Whoever looks for a place looks at the
/// stretches that begin within this distance before it.
pub(super) const PLACES_MAX: u64 = 16 * RECORDS_MAX as u64;

/// What one fragment takes.
pub(super) const RECORD_BYTES: usize = size_of::<Record>();
const _: () = assert!(RECORD_BYTES == 32);

/// Stands for the duration of a fragment that is being captured.
const GROWING: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Stretch {
    /// The number of its stream.
    stream: u32,
    session: SessionId,
    /// Of the fragment that it began with, which may have left.
    sequence: Sequence,
    place: u64,
    /// From here times are counted.
    wall: WallTime,
    moment: Option<Moment>,
    records: Vec<Record>,
}

/// The distances are those from the stretch's beginning.
#[derive(Clone, Copy, Debug)]
struct Record {
    place: u16,
    sequence: u16,
    /// By the monotonic clock, rounded up, so that nothing is older than it is.
    since_us: u32,
    /// By how much the calendar has run ahead of the monotonic clock since.
    ahead_us: i32,
    bytes: u32,
    file_bytes: u32,
    crc32c: u32,
    /// Nanoseconds, lower half first: as one number they would take more for their alignment.
    duration: [u32; 2],
}

impl Stretch {
    /// Begins with this fragment, in the stream of this number.
    pub(super) fn new(stream: u32, place: u64, held: &Held) -> Self {
        let FragmentId { session, sequence } = held.entry.key.id;
        let mut stretch =
            Self { stream, session, sequence, place, wall: held.wall, moment: held.moment, records: Vec::new() };
        let is_in = stretch.insert(place, held);
        debug_assert!(is_in, "a fragment is at no distance from itself");
        stretch
    }

    pub(super) fn place(&self) -> u64 {
        self.place
    }

    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    /// What it is found by.
    pub(super) fn key(&self) -> (u32, SessionId, Sequence) {
        (self.stream, self.session, self.sequence)
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Takes in another fragment of its session, if it fits.
    pub(super) fn insert(&mut self, place: u64, held: &Held) -> bool {
        let Some(record) = self.record(place, held).filter(|_| self.records.len() < RECORDS_MAX) else {
            return false;
        };
        let at = self.records.partition_point(|other| other.sequence < record.sequence);
        let (before, behind) = self.records.split_at(at);
        let rises = before.last().is_none_or(|before| before.place < record.place)
            && behind.first().is_none_or(|behind| record.sequence < behind.sequence && record.place < behind.place);
        if rises {
            if self.records.len() == self.records.capacity() {
                self.records.reserve_exact(spare(self.records.len()));
            }
            self.records.insert(at, record);
        }
        rises
    }

    fn record(&self, place: u64, held: &Held) -> Option<Record> {
        let distance = place.checked_sub(self.place).filter(|&distance| distance < PLACES_MAX)?;
        let since_us = match (self.moment, held.moment) {
            (None, None) => 0,
            (Some(first), Some(moment)) if first.boot == moment.boot => {
                let since = moment.since_boot.checked_sub(first.since_boot)?;
                u32::try_from(since.as_nanos().div_ceil(1000)).ok()?
            }
            _ => return None,
        };
        let passed_us = (i128::from(held.wall.as_nanos()) - i128::from(self.wall.as_nanos())).div_euclid(1000);
        let mut record = Record {
            place: u16::try_from(distance).ok()?,
            sequence: u16::try_from(held.entry.key.id.sequence.0.checked_sub(self.sequence.0)?).ok()?,
            since_us,
            ahead_us: i32::try_from(passed_us - i128::from(since_us)).ok()?,
            bytes: 0,
            file_bytes: 0,
            crc32c: 0,
            duration: [0; 2],
        };
        record.change(&held.entry);
        Some(record)
    }

    /// Takes out all that is behind this sequence, as a stretch of its own.
    pub(super) fn split_off(&mut self, sequence: Sequence) -> Option<Self> {
        let at = self.records.partition_point(|record| self.sequence_of(record) <= sequence);
        let mut records = self.records.split_off(at);
        let first = *records.first()?;
        for record in &mut records {
            record.place -= first.place;
            record.sequence -= first.sequence;
        }
        let place = self.place + u64::from(first.place);
        Some(Self { sequence: self.sequence_of(&first), place, records, ..*self })
    }

    /// Where this fragment lies in it.
    pub(super) fn find(&self, sequence: Sequence) -> Option<usize> {
        let distance = u16::try_from(sequence.0.checked_sub(self.sequence.0)?).ok()?;
        self.records.binary_search_by_key(&distance, |record| record.sequence).ok()
    }

    /// Where the first fragment lies in it that has this place or a later one.
    pub(super) fn at_or_behind(&self, place: u64) -> Option<usize> {
        let distance = place.saturating_sub(self.place);
        let last = self.records.last()?;
        if u64::from(last.place) < distance {
            return None;
        }
        Some(self.records.partition_point(|record| u64::from(record.place) < distance))
    }

    /// Where the first fragment lies in it that has this sequence or a later one.
    pub(super) fn at_or_behind_sequence(&self, sequence: Sequence) -> Option<usize> {
        let at = self.records.partition_point(|record| self.sequence_of(record) < sequence);
        (at < self.records.len()).then_some(at)
    }

    /// Where its last fragment lies.
    pub(super) fn last(&self) -> Option<usize> {
        self.len().checked_sub(1)
    }

    /// Where the first fragment lies in it that has this place or a later one, is whole and is not spared.
    pub(super) fn first_whole(&self, place: u64, spared: &[Spared]) -> Option<usize> {
        let (from, last) = (self.at_or_behind(place)?, self.last()?);
        let sequence = |at: usize| self.sequence_of(&self.records[at]);
        if spared.iter().any(|spared| spared.holds(sequence(from)) && spared.holds(sequence(last))) {
            return None;
        }
        let is_spared = |at: usize| spared.iter().any(|spared| spared.holds(sequence(at)));
        (from..=last).find(|&at| self.is_whole_at(at) && !is_spared(at))
    }

    pub(super) fn place_at(&self, at: usize) -> u64 {
        self.place + u64::from(self.records[at].place)
    }

    fn is_whole_at(&self, at: usize) -> bool {
        self.records[at].duration() != GROWING
    }

    pub(super) fn has_moment(&self) -> bool {
        self.moment.is_some()
    }

    pub(super) fn file_bytes_at(&self, at: usize) -> u64 {
        self.records[at].file_bytes.into()
    }

    /// All that is known of a fragment of it, in the stream of this name.
    pub(super) fn held_at(&self, at: usize, stream: &StreamName) -> Held {
        let record = &self.records[at];
        let id = FragmentId { session: self.session, sequence: self.sequence_of(record) };
        let bytes = record.bytes.into();
        let duration = Some(record.duration()).filter(|&duration| duration != GROWING);
        let trailer =
            duration.map(|nanos| Trailer { duration: Duration::from_nanos(nanos), bytes, crc32c: record.crc32c });
        let key = FragmentKey { stream: stream.clone(), id };
        let since = Duration::from_micros(record.since_us.into());
        let passed_us = i64::from(record.since_us) + i64::from(record.ahead_us);
        Held {
            entry: Entry { key, bytes, file_bytes: record.file_bytes.into(), trailer },
            wall: WallTime::from_nanos(self.wall.as_nanos().saturating_add(passed_us * 1000)),
            moment: self.moment.map(|first| Moment { since_boot: first.since_boot + since, ..first }),
        }
    }

    /// A fragment of it has grown, or ended.
    pub(super) fn change(&mut self, at: usize, entry: &Entry) {
        self.records[at].change(entry);
    }

    pub(super) fn remove(&mut self, at: usize) {
        self.records.remove(at);
        if self.records.len() < self.records.capacity() / 2 {
            self.records.shrink_to(self.records.len() + spare(self.records.len()));
        }
    }

    fn sequence_of(&self, record: &Record) -> Sequence {
        Sequence(self.sequence.0 + u32::from(record.sequence))
    }
}

impl Record {
    fn change(&mut self, entry: &Entry) {
        // No file of the spool has 4 GiB: recovery takes in none, and a fragment is far smaller.
        let bytes = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        let nanos = |trailer: Trailer| u64::try_from(trailer.duration.as_nanos()).unwrap_or(u64::MAX).min(GROWING - 1);
        let duration = entry.trailer.map_or(GROWING, nanos).to_le_bytes();
        let [a, b, c, d, e, f, g, h] = duration;
        self.bytes = bytes(entry.bytes);
        self.file_bytes = bytes(entry.file_bytes);
        self.crc32c = entry.trailer.map_or(0, |trailer| trailer.crc32c);
        self.duration = [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])];
    }

    fn duration(&self) -> u64 {
        u64::from(self.duration[1]) << 32 | u64::from(self.duration[0])
    }
}

/// Room for more, beside so many: a quarter, which is less than a vector would take by itself.
fn spare(records: usize) -> usize {
    (records / 4 + 1).min(RECORDS_MAX - records.min(RECORDS_MAX))
}
