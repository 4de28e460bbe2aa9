//! The packed index answers as a plain one does, which has a map for everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use fragment::{BootId, ClockQuality, FragmentId, MonotonicTime, Sequence, SessionId, StreamName, WallTime};
use proptest::prelude::*;
use upload::{FragmentKey, Trailer};

use super::stretch::RECORDS_MAX;
use super::{Entry, Index};
use crate::age::{Ages, Moment, Now};
use crate::file::{Header, Start};
use crate::spared::Spared;
use crate::streams::Amount;

/// What happens to both.
#[derive(Clone, Debug)]
enum Step {
    /// So many fragments are captured by so many cameras in turn, and end. Between two, places are passed over.
    Capture {
        cameras: u8,
        count: u16,
        gap: u16,
    },
    /// One begins, with any sequence, at a place that was taken before or now, and goes on.
    Begin {
        camera: u8,
        session: u8,
        sequence: u32,
        late: bool,
    },
    /// A place is taken, for later, or for nothing.
    TakePlace,
    AbandonPlace,
    Grow(u16),
    Finish(u16),
    Replace(u16),
    Remove(u16),
    Persist(u16, bool),
    /// The server has all but every nth.
    PersistMost {
        except: u8,
        keep: bool,
    },
    Settle(u16, bool),
    LetGo,
    LetGoOfOlder(u32),
    DropOldest(u16),
    /// Of these sessions so many from this sequence on.
    Spare(Vec<(u64, u32, u32)>),
    TakeChanges,
    /// The calendar is set, by microseconds.
    SetCalendar(i64),
    Boot,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sequence = prop_oneof![8 => 0..40u32, 1 => 60_000..70_000u32, 1 => Just(u32::MAX)];
    let begin = (0..2u8, 0..2u8, sequence, any::<bool>());
    let step = prop_oneof![
        3 => (1..=4u8, 1..600u16, prop_oneof![4 => Just(0u16), 1 => 0..3000u16])
            .prop_map(|(cameras, count, gap)| Step::Capture { cameras, count, gap }),
        12 => begin.prop_map(|(camera, session, sequence, late)| Step::Begin { camera, session, sequence, late }),
        1 => Just(Step::TakePlace),
        1 => Just(Step::AbandonPlace),
        2 => any::<u16>().prop_map(Step::Grow),
        2 => any::<u16>().prop_map(Step::Finish),
        1 => any::<u16>().prop_map(Step::Replace),
        2 => any::<u16>().prop_map(Step::Remove),
        3 => any::<(u16, bool)>().prop_map(|(which, keep)| Step::Persist(which, keep)),
        1 => (2..20u8, any::<bool>()).prop_map(|(except, keep)| Step::PersistMost { except, keep }),
        2 => any::<(u16, bool)>().prop_map(|(which, is_there)| Step::Settle(which, is_there)),
        1 => Just(Step::LetGo),
        1 => (0..4000u32).prop_map(Step::LetGoOfOlder),
        1 => (0..300u16).prop_map(Step::DropOldest),
        2 => prop::collection::vec((prop_oneof![0..2u64, Just(7)], 0..2000u32, 0..1000u32), 0..4).prop_map(Step::Spare),
        1 => Just(Step::TakeChanges),
        1 => prop_oneof![-3_000_000..3_000_000i64, -2_000_000_000_000_000..2_000_000_000_000_000i64]
            .prop_map(Step::SetCalendar),
        1 => Just(Step::Boot),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn it_answers_as_a_plain_one_does(steps in steps()) {
        let mut pair = Pair::default();
        for step in &steps {
            pair.take(step);
            pair.check_ends();
        }
        pair.check_all();
    }

    #[test]
    fn what_is_found_at_the_start_is_in_its_place_whatever_the_order_it_is_found_in(
        places in prop::collection::vec((0..600u64, 0..3u8, any::<bool>()), 1..400),
        seed: u64,
    ) {
        let headers: Vec<(Header, bool)> = (0..)
            .zip(&places)
            .map(|(i, &(ordinal, camera, is_kept))| {
                let wall = WallTime::from_millis(i64::from(i));
                let since_boot = Duration::from_secs(ordinal);
                let monotonic = Some(MonotonicTime { boot: BootId(u128::from(ordinal / 100)), since_boot });
                let start = Start { monotonic, wall, quality: ClockQuality::Unsynchronised };
                (Header { key: key(camera, 0, i), ordinal, start, closing: Bytes::new() }, is_kept)
            })
            .collect();
        let mut in_order = recovered(headers.clone());
        let mut shuffled = headers;
        // A simple shuffle, which the seed decides.
        shuffled.sort_by_key(|(header, _)| crc32c::crc32c(&(header.start.wall.as_nanos().cast_unsigned() ^ seed).to_be_bytes()));
        let mut shuffled = recovered(shuffled);
        prop_assert_eq!(waiting(&in_order), waiting(&shuffled));
        prop_assert_eq!(in_order.next_ordinal(), shuffled.next_ordinal());
        let now = Now { monotonic: MonotonicTime { boot: BootId(99), since_boot: Duration::ZERO }, wall: None };
        for secs in 0..700 {
            let age = Duration::from_secs(secs);
            prop_assert_eq!(in_order.oldest_whole_beyond(age, now), shuffled.oldest_whole_beyond(age, now));
        }
        prop_assert_eq!(kept(in_order), kept(shuffled));
    }
}

#[test]
fn one_that_comes_later_than_its_neighbours_is_found_and_so_are_they() {
    let mut pair = Pair::default();
    let sequences = [5, 9, 11, 7, 8, 6];
    for sequence in sequences {
        pair.begin(None, key(0, 0, sequence));
    }
    pair.check_all();
    let order: Vec<_> = waiting(&pair.index).into_iter().map(|(_, entry)| entry.key.id.sequence.0).collect();
    assert_eq!(order, sequences);
}

#[test]
fn a_week_of_cameras_takes_little_more_than_its_records() {
    let mut pair = Pair::default();
    for cameras in [4, 16] {
        pair.index = Index::default();
        for _ in 0..20 {
            pair.capture_packed(cameras, 5_000);
        }
        let bytes = pair.index.counters().index_bytes;
        assert!((3_200_000..3_400_000).contains(&bytes), "{cameras} cameras: {bytes} bytes for 100,000 fragments");
        assert_eq!(pair.index.take_changes().ranges(), 1, "nobody took the changes");
    }
}

#[test]
fn whoever_keeps_every_hundredth_fragment_does_not_keep_the_memory_of_the_others() {
    let mut pair = Pair::default();
    pair.capture_packed(4, 100_000);
    let before = pair.index.counters().index_bytes;
    for ordinal in (0..100_000).filter(|ordinal| ordinal % 100 != 0) {
        let entry = pair.index.entry(ordinal).unwrap();
        pair.index.persist(&entry.key, false);
    }
    let after = pair.index.counters();
    assert_eq!(after.fragments, 1000);
    assert!(after.index_bytes < before / 15, "{before} and then {after:?}");
}

#[test]
fn times_are_kept_to_the_microsecond_and_nothing_is_older_than_it_is() {
    let mut index = Index::default();
    let since = |nanos| MonotonicTime { boot: BootId(1), since_boot: Duration::from_nanos(nanos) };
    for (sequence, nanos) in [(0, 1_000_000_500u64), (1, 3_000_000_600)] {
        let wall = WallTime::from_nanos(i64::try_from(nanos).unwrap() + 77_777);
        let start = Start { monotonic: Some(since(nanos)), wall, quality: ClockQuality::Unsynchronised };
        index.insert(sequence.into(), key(0, 0, sequence), &start);
        index.finish(sequence.into(), trailer(10), 0);
        let (_, listed) = index.find(&key(0, 0, sequence)).unwrap();
        assert!(wall.since(listed) < Duration::from_micros(2), "{wall:?} and {listed:?}");
    }
    index.remove(&key(0, 0, 0));
    let now = Now { monotonic: since(4_000_000_600), wall: None };
    assert_eq!(index.oldest_whole_beyond(Duration::from_nanos(1_000_000_001), now), None);
    assert_eq!(index.oldest_whole_beyond(Duration::from_nanos(999_999_000), now), Some(key(0, 0, 1)));
}

/// The index, and a plain one.
#[derive(Default)]
struct Pair {
    index: Index,
    plain: Plain,
    /// Places that were taken.
    places: Vec<u64>,
    sequences: BTreeMap<u8, u32>,
    now_us: u64,
    calendar_us: i64,
    boot: u128,
}

#[derive(Default)]
struct Plain {
    waiting: BTreeMap<u64, Fragment>,
    kept: BTreeMap<u64, (Fragment, bool)>,
    ages: Ages,
    changes: BTreeSet<u64>,
    spared: Vec<Spared>,
    spooled: u64,
    persisted: u64,
}

#[derive(Clone)]
struct Fragment {
    entry: Entry,
    wall: WallTime,
    moment: Option<Moment>,
}

impl Plain {
    fn place(&self, key: &FragmentKey) -> Option<u64> {
        self.waiting.iter().find(|(_, held)| held.entry.key == *key).map(|(&place, _)| place)
    }

    fn remove(&mut self, key: &FragmentKey) -> Option<(u64, Fragment)> {
        let place = self.place(key)?;
        self.changes.insert(place);
        self.waiting.remove(&place).map(|held| (place, held))
    }

    fn persist(&mut self, key: &FragmentKey, keep: bool) -> Option<u64> {
        let (place, held) = self.remove(key)?;
        self.persisted += 1;
        if keep {
            self.kept.retain(|_, (kept, _)| kept.entry.key != *key);
            self.kept.insert(place, (held, false));
        }
        Some(place)
    }

    fn end(&mut self, place: u64, entry: Entry) {
        if let Some(held) = self.waiting.get_mut(&place) {
            self.spooled += u64::from(held.entry.trailer.is_none());
            held.entry = entry;
            self.changes.insert(place);
        }
    }

    fn oldest_kept(&self) -> Option<(u64, &Fragment)> {
        self.kept.iter().find(|(_, (_, settled))| *settled).map(|(&place, (held, _))| (place, held))
    }

    fn oldest_whole(&self) -> Option<FragmentKey> {
        let oldest = self.not_spared().next().or_else(|| self.whole().next());
        oldest.map(|held| held.entry.key.clone())
    }

    fn oldest_whole_beyond(&self, age: Duration, now: Now) -> Option<FragmentKey> {
        let (held, moment) = self.not_spared().find_map(|held| Some((held, held.moment?)))?;
        (self.ages.age(moment, now) >= age).then(|| held.entry.key.clone())
    }

    fn not_spared(&self) -> impl Iterator<Item = &Fragment> {
        let is_spared = |id: FragmentId| {
            self.spared
                .iter()
                .any(|spared| spared.session == id.session && (spared.first..=spared.last).contains(&id.sequence))
        };
        self.whole().filter(move |held| !is_spared(held.entry.key.id))
    }

    fn whole(&self) -> impl Iterator<Item = &Fragment> {
        self.waiting.values().filter(|held| held.entry.trailer.is_some())
    }
}

impl Pair {
    fn take(&mut self, step: &Step) {
        self.now_us += 1_234_567;
        match *step {
            Step::Spare(ref spared) => self.spare(spared),
            Step::Capture { cameras, count, gap } => self.capture(cameras, count, gap),
            Step::Begin { camera, session, sequence, late } => {
                let place = if late { self.places.pop() } else { None };
                self.begin(place, key(camera, session, sequence));
            }
            Step::TakePlace => {
                let place = self.index.take_ordinal();
                self.places.push(place);
            }
            Step::AbandonPlace => {
                if let Some(place) = self.places.pop() {
                    self.index.abandon(place);
                }
            }
            Step::Grow(which) => self.grow(which),
            Step::Finish(which) => {
                if let Some((place, entry)) = self.any(which).filter(|(_, entry)| entry.trailer.is_none()) {
                    self.finish(place, entry);
                }
            }
            Step::Replace(which) => {
                if let Some((place, entry)) = self.any(which) {
                    let trailer = trailer(entry.bytes / 2 + 1);
                    self.index.replace(&entry.key, trailer, 33);
                    let ended = Entry { bytes: trailer.bytes, file_bytes: 33, trailer: Some(trailer), ..entry };
                    self.plain.end(place, ended);
                }
            }
            Step::Remove(which) => {
                if let Some((_, entry)) = self.any(which) {
                    let removed = self.index.remove(&entry.key).map(|held| (held.entry, held.wall));
                    let plain = self.plain.remove(&entry.key).map(|(_, held)| (held.entry, held.wall));
                    assert_eq!(removed, plain);
                }
            }
            Step::Persist(which, keep) => {
                if let Some((_, entry)) = self.any(which) {
                    self.persist(&entry.key, keep);
                }
            }
            Step::PersistMost { except, keep } => self.persist_most(except, keep),
            Step::Settle(which, is_there) => self.settle(which, is_there),
            Step::LetGo => {
                let gone = self.plain.oldest_kept().map(|(place, held)| (place, held.entry.key.clone()));
                assert_eq!(self.index.let_go(), gone.as_ref().map(|(_, key)| key.clone()));
                gone.map(|(place, _)| self.plain.kept.remove(&place));
            }
            Step::LetGoOfOlder(secs) => self.let_go_of_older(Duration::from_secs(secs.into())),
            Step::DropOldest(count) => {
                for _ in 0..count {
                    let Some(oldest) = self.index.oldest_whole() else { break };
                    assert_eq!(Some(&oldest), self.plain.oldest_whole().as_ref());
                    self.index.remove(&oldest);
                    self.plain.remove(&oldest);
                }
            }
            Step::TakeChanges => {
                let changes: Vec<u64> = self.index.take_changes().into_iter().collect();
                assert_eq!(changes, std::mem::take(&mut self.plain.changes).into_iter().collect::<Vec<_>>());
            }
            Step::SetCalendar(by) => self.calendar_us += by,
            Step::Boot => {
                self.boot += 1;
                self.now_us = 5;
            }
        }
    }

    fn spare(&mut self, spared: &[(u64, u32, u32)]) {
        let spared = spared.iter().map(|&(session, first, count)| Spared {
            session: SessionId(session),
            first: Sequence(first),
            last: Sequence(first + count),
        });
        self.plain.spared = spared.collect();
        self.index.spare(&self.plain.spared);
    }

    fn capture(&mut self, cameras: u8, count: u16, gap: u16) {
        for i in 0..count {
            let camera = u8::try_from(i % u16::from(cameras)).unwrap();
            let sequence = self.sequences.entry(camera).or_insert(1000);
            *sequence += 1;
            let key = key(camera, 7, *sequence);
            self.now_us += 500_000;
            if gap > 0 && i % 50 == 0 {
                for _ in 0..gap {
                    let place = self.index.take_ordinal();
                    self.index.abandon(place);
                }
            }
            let place = self.begin(None, key);
            let entry = self.index.entry(place).unwrap();
            self.finish(place, entry);
        }
    }

    /// Of the packed one alone, so many fragments, whole.
    fn capture_packed(&mut self, cameras: u8, count: u32) {
        for i in 0..count {
            let camera = u8::try_from(i % u32::from(cameras)).unwrap();
            let sequence = self.sequences.entry(camera).or_default();
            *sequence += 1;
            let key = key(camera, 0, *sequence);
            self.now_us += 2_000_000 / u64::from(cameras);
            let (place, start) = (self.index.take_ordinal(), self.start());
            self.index.insert(place, key, &start);
            self.index.finish(place, trailer(500_000), 501_000);
        }
    }

    fn begin(&mut self, place: Option<u64>, key: FragmentKey) -> u64 {
        let place = place.unwrap_or_else(|| self.index.take_ordinal());
        let start = self.start();
        self.index.insert(place, key.clone(), &start);
        self.plain.remove(&key);
        let moment = self.plain.ages.note(place, &start);
        let entry = Entry { key, bytes: 0, file_bytes: 0, trailer: None };
        self.plain.waiting.insert(place, Fragment { entry, wall: start.wall, moment });
        self.plain.changes.insert(place);
        place
    }

    fn grow(&mut self, which: u16) {
        if let Some((place, entry)) = self.any(which).filter(|(_, entry)| entry.trailer.is_none()) {
            self.index.grow(place, entry.bytes + 100, 117);
            let held = self.plain.waiting.get_mut(&place).unwrap();
            held.entry.bytes += 100;
            held.entry.file_bytes += 117;
            self.plain.changes.insert(place);
        }
    }

    fn finish(&mut self, place: u64, entry: Entry) {
        let trailer = trailer(entry.bytes + 11);
        self.index.finish(place, trailer, 40);
        let file_bytes = entry.file_bytes + 40;
        self.plain.end(place, Entry { bytes: trailer.bytes, file_bytes, trailer: Some(trailer), ..entry });
    }

    fn persist(&mut self, key: &FragmentKey, keep: bool) {
        assert_eq!(self.index.persist(key, keep), self.plain.persist(key, keep));
    }

    fn persist_most(&mut self, except: u8, keep: bool) {
        let whole: Vec<_> = self.plain.whole().map(|held| held.entry.key.clone()).collect();
        for (_, key) in whole.iter().enumerate().filter(|(i, _)| i % usize::from(except) != 0) {
            self.persist(key, keep);
        }
    }

    fn settle(&mut self, which: u16, is_there: bool) {
        let Some(&place) = nth(self.plain.kept.keys(), which) else { return };
        self.index.settle(place, is_there);
        match self.plain.kept.get_mut(&place) {
            Some((_, settled)) if is_there => *settled = true,
            _ => drop(self.plain.kept.remove(&place)),
        }
    }

    fn let_go_of_older(&mut self, keep: Duration) {
        let now = self.now();
        let gone = self
            .plain
            .oldest_kept()
            .filter(|(_, held)| held.moment.is_none_or(|moment| self.plain.ages.age(moment, now) >= keep));
        let gone = gone.map(|(place, held)| (place, held.entry.key.clone()));
        assert_eq!(self.index.let_go_of_older(keep, now), gone.as_ref().map(|(_, key)| key.clone()));
        gone.map(|(place, _)| self.plain.kept.remove(&place));
    }

    fn any(&self, which: u16) -> Option<(u64, Entry)> {
        nth(self.plain.waiting.iter(), which).map(|(&place, held)| (place, held.entry.clone()))
    }

    fn start(&self) -> Start {
        let wall_us = i64::try_from(self.now_us).unwrap() + self.calendar_us;
        let monotonic = (self.boot % 4 != 3).then(|| self.now().monotonic);
        let quality = if self.calendar_us % 2 == 0 { ClockQuality::Synchronised } else { ClockQuality::Unsynchronised };
        Start { monotonic, wall: WallTime::from_nanos(wall_us * 1000), quality }
    }

    fn now(&self) -> Now {
        let since_boot = Duration::from_micros(self.now_us);
        Now { monotonic: MonotonicTime { boot: BootId(self.boot), since_boot }, wall: None }
    }

    fn check_ends(&mut self) {
        self.check_streams();
        let now = self.now();
        let (index, plain) = (&mut self.index, &self.plain);
        let counters = index.counters();
        let told = [counters.fragments, counters.bytes, counters.kept, counters.kept_bytes];
        let bytes = plain.waiting.values().map(|held| held.entry.file_bytes).sum::<u64>();
        let kept_bytes = plain.kept.values().map(|(held, _)| held.entry.file_bytes).sum::<u64>();
        assert_eq!(told, [plain.waiting.len() as u64, bytes, plain.kept.len() as u64, kept_bytes]);
        assert_eq!((counters.spooled, counters.persisted), (plain.spooled, plain.persisted));
        assert_eq!(index.oldest_whole(), plain.oldest_whole());
        for secs in [0, 10, 1000] {
            let age = Duration::from_secs(secs);
            assert_eq!(index.oldest_whole_beyond(age, now), plain.oldest_whole_beyond(age, now));
        }
        let growing = plain.waiting.iter().filter(|(_, held)| held.entry.trailer.is_none());
        let growing: Vec<_> = growing.map(|(&place, held)| (place, held.entry.clone())).collect();
        assert_eq!(index.growing(), growing);
    }

    /// Of each stream, and of all but that one.
    fn check_streams(&mut self) {
        let (index, plain) = (&mut self.index, &self.plain);
        for one in (0..3).map(|camera| key(camera, 0, 0).stream) {
            for same in [true, false] {
                let of = |stream: &StreamName| (*stream == one) == same;
                let theirs = || plain.waiting.values().map(|held| &held.entry).filter(|entry| of(&entry.key.stream));
                let bytes = theirs().map(|entry| entry.file_bytes).sum();
                assert_eq!(index.amount_of(&of), Amount { fragments: theirs().count() as u64, bytes });
                assert_eq!(index.oldest_of(&of).as_ref(), theirs().next());
            }
        }
    }

    fn check_all(&self) {
        for (&place, held) in &self.plain.waiting {
            assert_eq!(self.index.entry(place).as_ref(), Some(&held.entry));
            assert_eq!(self.index.find(&held.entry.key), Some((held.entry.clone(), held.wall)));
        }
        for (held, _) in self.plain.kept.values() {
            assert_eq!(self.index.holds(&held.entry.key), self.plain.place(&held.entry.key).is_some());
        }
        let mut after = None;
        loop {
            let from = after.map_or(0, |after| after + 1);
            let next = self.plain.waiting.range(from..).next().map(|(&place, held)| (place, held.entry.clone()));
            let gap =
                self.places.iter().any(|&taken| next.as_ref().is_some_and(|(next, _)| taken >= from && taken < *next));
            let next = next.filter(|_| !gap);
            assert_eq!(self.index.next(after), next);
            let Some((place, _)) = next else { break };
            assert_eq!(self.index.entry(place + 1).is_some(), self.plain.waiting.contains_key(&(place + 1)));
            after = Some(place);
        }
        let streams: BTreeSet<_> = self.plain.waiting.values().map(|held| held.entry.key.stream.clone()).collect();
        assert_eq!(self.index.streams().into_iter().collect::<BTreeSet<_>>(), streams);
        streams.iter().for_each(|stream| self.check_sessions(stream));
    }

    fn check_sessions(&self, stream: &StreamName) {
        let (index, plain) = (&self.index, &self.plain);
        let mut sessions: BTreeMap<SessionId, BTreeMap<Sequence, &Entry>> = BTreeMap::new();
        for entry in plain.waiting.values().map(|held| &held.entry).filter(|entry| entry.key.stream == *stream) {
            sessions.entry(entry.key.id.session).or_default().insert(entry.key.id.sequence, entry);
        }
        let mut after = None;
        for (&session, entries) in &sessions {
            after = index.next_session(stream, after);
            assert_eq!(after, Some(session));
            assert_eq!(index.last_in(stream, session).as_ref(), entries.values().next_back().copied());
            for from in entries.keys().flat_map(|&Sequence(at)| [at.saturating_sub(1), at, at.saturating_add(1)]) {
                let next = entries.range(Sequence(from)..).next().map(|(_, &entry)| entry);
                assert_eq!(index.next_in(stream, session, Sequence(from)).as_ref(), next);
            }
        }
        assert_eq!(index.next_session(stream, after), None);
    }
}

fn recovered(found: Vec<(Header, bool)>) -> Index {
    let mut index = Index::default();
    let mut doubled = Vec::new();
    for (header, is_kept) in found {
        doubled.extend(index.insert_recovered(header, trailer(100), 150, is_kept));
    }
    index.make_places(doubled);
    index
}

fn waiting(index: &Index) -> Vec<(u64, Entry)> {
    let mut after = None;
    std::iter::from_fn(|| {
        let next = index.next(after);
        after = next.as_ref().map(|&(place, _)| place);
        next
    })
    .collect()
}

fn kept(mut index: Index) -> Vec<FragmentKey> {
    std::iter::from_fn(|| index.let_go()).collect()
}

fn nth<T>(mut of: impl ExactSizeIterator<Item = T>, which: u16) -> Option<T> {
    // Mostly one of the last.
    let len = of.len();
    let back = usize::from(which) % if which.is_multiple_of(2) { len.clamp(1, RECORDS_MAX) } else { len.max(1) };
    of.nth(len.checked_sub(back + 1)?)
}

fn key(camera: u8, session: u8, sequence: u32) -> FragmentKey {
    let id = FragmentId { session: SessionId(session.into()), sequence: Sequence(sequence) };
    FragmentKey { stream: format!("camera-{camera}").parse().unwrap(), id }
}

fn trailer(bytes: u64) -> Trailer {
    Trailer { duration: Duration::from_nanos(2_000_000_001), bytes, crc32c: 7 }
}
