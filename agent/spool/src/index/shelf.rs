//! Fragments by their place in the order of capture, and by their key, in as little memory as they need.
//!
//! They lie in [`Stretch`]es. Of a session no two stretches overlap in sequences, so a key is found by the last stretch that
//! begins at or before it. Stretches of different cameras overlap in places, and none is longer than [`PLACES_MAX`]: a place is
//! looked for in those that begin within that distance before it, of which there are a few for each camera.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use fragment::{Sequence, SessionId, StreamName};
use upload::FragmentKey;

use super::stretch::{PLACES_MAX, RECORD_BYTES, Stretch};
use super::{Entry, Held};
use crate::spared::Sparings;

/// What a stretch takes beside its fragments: itself and its two entries, in maps that are half full. 215 bytes by
/// tests/memory.rs, with stretches of one fragment, and what the allocator adds.
const STRETCH_BYTES: u64 = 256;

#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// By the place that they begin with.
    stretches: BTreeMap<u64, Stretch>,
    /// The place that the stretch begins with which begins with this key.
    by_key: BTreeMap<(u32, SessionId, Sequence), u64>,
    /// Streams have numbers here, so that a stretch need not hold a name.
    names: Vec<StreamName>,
    numbers: HashMap<StreamName, u32>,
    len: usize,
    file_bytes: u64,
}

impl Shelf {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The size of all files.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The memory that this takes, about, and at the most.
    pub(super) fn memory_bytes(&self) -> u64 {
        (self.len * RECORD_BYTES) as u64 + self.stretches.len() as u64 * STRETCH_BYTES
    }

    /// The same for these streams.
    pub(super) fn memory_bytes_of(&self, of: &dyn Fn(&StreamName) -> bool) -> u64 {
        let theirs: Vec<bool> = self.names.iter().map(of).collect();
        let stretches = self.stretches.values().filter(|stretch| theirs[stretch.key().0 as usize]);
        stretches.map(|stretch| (stretch.len() * RECORD_BYTES) as u64 + STRETCH_BYTES).sum()
    }

    /// Takes in a fragment at a place that is free. Another one of the same key makes way.
    pub(super) fn insert(&mut self, place: u64, held: &Held) {
        if let Some(other) = self.find(&held.entry.key) {
            self.take(other);
        }
        let stream = self.number(&held.entry.key.stream);
        self.len += 1;
        self.file_bytes += held.entry.file_bytes.min(u32::MAX.into());
        if let Some(begins) = self.stretch_of(&held.entry.key) {
            let stretch = self.stretches.get_mut(&begins).expect("what is found by its key is there");
            if stretch.insert(place, held) {
                return;
            }
            // What lies around it must not be one stretch any more.
            let behind = stretch.split_off(held.entry.key.id.sequence);
            let is_in = behind.is_some() && stretch.insert(place, held);
            self.drop_if_empty(begins);
            behind.into_iter().for_each(|behind| self.add(behind));
            if is_in {
                return;
            }
        }
        self.add(Stretch::new(stream, place, held));
    }

    /// The place of a fragment.
    pub(super) fn find(&self, key: &FragmentKey) -> Option<u64> {
        let stretch = &self.stretches[&self.stretch_of(key)?];
        stretch.find(key.id.sequence).map(|at| stretch.place_at(at))
    }

    pub(super) fn holds(&self, place: u64) -> bool {
        self.locate(place).is_some()
    }

    pub(super) fn get(&self, place: u64) -> Option<Held> {
        let (stretch, at) = self.locate(place)?;
        Some(self.held(stretch, at))
    }

    /// The first fragment that has this place or a later one.
    pub(super) fn at_or_behind(&self, place: u64) -> Option<(u64, Held)> {
        let (stretch, at) = self.locate_at_or_behind(place)?;
        Some((stretch.place_at(at), self.held(stretch, at)))
    }

    /// The first fragment at this place or behind it that was captured to its end, is not spared and, if so wanted, has
    /// an age. What is spared is passed over a stretch at a time.
    pub(super) fn first_whole(&self, place: u64, aged: bool, spared: &Sparings) -> Option<(u64, Held)> {
        let (stretch, at) = self.locate_first(place, |stretch, place| {
            let may_go = stretch.has_moment() || !aged;
            may_go.then(|| stretch.first_whole(place, spared.of(stretch.session())))?
        })?;
        Some((stretch.place_at(at), self.held(stretch, at)))
    }

    /// The first fragment of which the place is wanted.
    pub(super) fn first_at(&self, is_wanted: impl Fn(u64) -> bool) -> Option<(u64, Held)> {
        let mut from = 0;
        loop {
            let (stretch, at) = self.locate_at_or_behind(from)?;
            let place = stretch.place_at(at);
            if is_wanted(place) {
                return Some((place, self.held(stretch, at)));
            }
            from = place + 1;
        }
    }

    /// A fragment has grown, or ended.
    pub(super) fn change(&mut self, place: u64, entry: &Entry) {
        let Some((begins, at)) = self.locate(place).map(|(stretch, at)| (stretch.place(), at)) else {
            return;
        };
        let stretch = self.stretches.get_mut(&begins).expect("it was just located");
        self.file_bytes -= stretch.file_bytes_at(at);
        stretch.change(at, entry);
        self.file_bytes += stretch.file_bytes_at(at);
    }

    /// Takes out a fragment.
    pub(super) fn take(&mut self, place: u64) -> Option<Held> {
        let (stretch, at) = self.locate(place)?;
        let (begins, held) = (stretch.place(), self.held(stretch, at));
        self.stretches.get_mut(&begins).expect("it was just located").remove(at);
        self.drop_if_empty(begins);
        self.len -= 1;
        self.file_bytes -= held.entry.file_bytes;
        Some(held)
    }

    /// The streams that have a fragment here.
    pub(super) fn streams(&self) -> Vec<StreamName> {
        let has_one = |number: u32| {
            let first = (number, SessionId(0), Sequence(0));
            self.by_key.range(first..).next().is_some_and(|(&(stream, ..), _)| stream == number)
        };
        (0..).zip(&self.names).filter(|&(number, _)| has_one(number)).map(|(_, name)| name.clone()).collect()
    }

    /// The next session of a stream that has a fragment here, by their ids.
    pub(super) fn next_session(&self, stream: &StreamName, after: Option<SessionId>) -> Option<SessionId> {
        let number = *self.numbers.get(stream)?;
        let from = match after {
            None => Bound::Included((number, SessionId(0), Sequence(0))),
            Some(after) => Bound::Excluded((number, after, Sequence(u32::MAX))),
        };
        let (&(found, session, _), _) = self.by_key.range((from, Bound::Unbounded)).next()?;
        (found == number).then_some(session)
    }

    /// The first fragment of a session that has this sequence or a later one.
    pub(super) fn next_in(&self, stream: &StreamName, session: SessionId, from: Sequence) -> Option<Held> {
        let number = *self.numbers.get(stream)?;
        let behind = (Bound::Excluded((number, session, from)), Bound::Included((number, session, Sequence(u32::MAX))));
        let before = self.by_key.range((number, session, Sequence(0))..=(number, session, from)).next_back();
        before.into_iter().chain(self.by_key.range(behind)).find_map(|(_, begins)| {
            let stretch = &self.stretches[begins];
            stretch.at_or_behind_sequence(from).map(|at| self.held(stretch, at))
        })
    }

    /// The last fragment of a session.
    pub(super) fn last_in(&self, stream: &StreamName, session: SessionId) -> Option<Held> {
        let number = *self.numbers.get(stream)?;
        let all = (number, session, Sequence(0))..=(number, session, Sequence(u32::MAX));
        let stretch = &self.stretches[self.by_key.range(all).next_back()?.1];
        stretch.last().map(|at| self.held(stretch, at))
    }

    fn number(&mut self, stream: &StreamName) -> u32 {
        if let Some(&number) = self.numbers.get(stream) {
            return number;
        }
        let number = u32::try_from(self.names.len()).expect("a device has fewer streams than 2^32");
        self.names.push(stream.clone());
        self.numbers.insert(stream.clone(), number);
        number
    }

    /// Where the stretch begins in which this key lies, if it is here.
    fn stretch_of(&self, key: &FragmentKey) -> Option<u64> {
        let FragmentKey { stream, id } = key;
        let number = *self.numbers.get(stream)?;
        let before = (number, id.session, Sequence(0))..=(number, id.session, id.sequence);
        self.by_key.range(before).next_back().map(|(_, &begins)| begins)
    }

    fn locate(&self, place: u64) -> Option<(&Stretch, usize)> {
        // It lies in one of the last stretches that begin before it, unless many sessions are short.
        let near = self.stretches.range(place.saturating_sub(PLACES_MAX)..=place).rev();
        near.map(|(_, stretch)| stretch).find_map(|stretch| {
            let at = stretch.at_or_behind(place)?;
            (stretch.place_at(at) == place).then_some((stretch, at))
        })
    }

    fn locate_at_or_behind(&self, place: u64) -> Option<(&Stretch, usize)> {
        self.locate(place).or_else(|| self.locate_first(place, Stretch::at_or_behind))
    }

    /// The first of those that each stretch finds in itself at this place or behind it.
    fn locate_first(&self, place: u64, find: impl Fn(&Stretch, u64) -> Option<usize>) -> Option<(&Stretch, usize)> {
        let mut first: Option<(u64, &Stretch, usize)> = None;
        for (&begins, stretch) in self.stretches.range(place.saturating_sub(PLACES_MAX)..) {
            if first.is_some_and(|(found, ..)| found < begins) {
                break;
            }
            if let Some(at) = find(stretch, place)
                && first.is_none_or(|(found, ..)| stretch.place_at(at) < found)
            {
                first = Some((stretch.place_at(at), stretch, at));
            }
        }
        first.map(|(_, stretch, at)| (stretch, at))
    }

    fn held(&self, stretch: &Stretch, at: usize) -> Held {
        let (stream, ..) = stretch.key();
        stretch.held_at(at, &self.names[stream as usize])
    }

    fn add(&mut self, stretch: Stretch) {
        self.by_key.insert(stretch.key(), stretch.place());
        self.stretches.insert(stretch.place(), stretch);
    }

    fn drop_if_empty(&mut self, begins: u64) {
        if self.stretches.get(&begins).is_some_and(Stretch::is_empty)
            && let Some(stretch) = self.stretches.remove(&begins)
        {
            self.by_key.remove(&stretch.key());
        }
    }
}
