//! How much of a range of time the spool holds, found without reading the beginning of each fragment.
//!
//! When a fragment began only its file says, and a week of a camera are 300,000 files. But a session's times rise in the
//! order of capture. So the spool is asked for the stream's sessions, and in each of them the ends of the range are found by
//! halving, which reads some forty files. The spool is asked for one fragment at a time, and nobody waits for it long.

use std::time::Duration;

use fragment::{Sequence, SessionId, StreamName, WallTime};
use spool::{Entry, Spared, Spool};

use crate::feed::Starts;
use crate::wanted::Range;

/// What there is of a range that the server does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Whole fragments.
    pub fragments: u64,
    /// Their payload.
    pub bytes: u64,
    /// How long they play.
    pub duration: Duration,
    /// Whether what is being captured now belongs to it.
    pub growing: bool,
}

/// A session in the spool, from its first fragment to its last, one of which may be being captured.
#[derive(Debug)]
struct Run<'a> {
    spool: &'a Spool,
    stream: &'a StreamName,
    session: SessionId,
    first: Sequence,
    last: Entry,
}

/// What the spool holds of a range.
pub fn of(spool: &Spool, range: &Range, starts: &mut Starts<'_>) -> Holdings {
    let mut holdings = Holdings::default();
    for run in runs(spool, &range.stream) {
        let (from, to) = run.within(range, starts);
        for entry in run.between(from, to) {
            holdings.fragments += 1;
            holdings.bytes += entry.bytes;
            holdings.duration += entry.trailer.map_or(Duration::ZERO, |trailer| trailer.duration);
        }
    }
    let growing = spool.growing().into_iter().map(|(_, entry)| entry);
    let mut begun = growing.filter(|entry| entry.key.stream == range.stream).filter_map(|entry| starts(&entry.key));
    holdings.growing = begun.any(|start| start < range.to);
    holdings
}

/// From when to when the spool holds something of a stream, gaps included.
pub fn extent(spool: &Spool, stream: &StreamName, starts: &mut Starts<'_>) -> Option<(WallTime, WallTime)> {
    let mut extent: Option<(WallTime, WallTime)> = None;
    for run in runs(spool, stream) {
        let last = run.last_whole();
        for entry in [run.whole(run.first), last].into_iter().flatten() {
            let (Some(start), Some(trailer)) = (starts(&entry.key), entry.trailer) else { continue };
            let (from, to) = extent.unwrap_or((start, start));
            extent = Some((from.min(start), to.max(start + trailer.duration)));
        }
    }
    extent
}

/// What is to be spared of ranges of one stream. What a session gains belongs to it as long as nothing that it has is behind the
/// range: so it is to be asked again from time to time.
pub fn spared(spool: &Spool, stream: &StreamName, ranges: &[Range], starts: &mut Starts<'_>) -> Vec<Spared> {
    let mut all = Vec::new();
    for run in runs(spool, stream) {
        let (begins, ends) = run.ends(starts);
        let near = ranges.iter().filter(|range| begins.is_none_or(|begins| begins < range.to));
        for range in near.filter(|range| ends.is_none_or(|ends| range.from < ends)) {
            let (first, to) = run.within(range, starts);
            let goes_on = run.whole(to).is_none();
            let last = if goes_on { Sequence(u32::MAX) } else { Sequence(to.0.saturating_sub(1)) };
            if first <= last {
                all.push(Spared { session: run.session, first, last });
            }
        }
    }
    all
}

/// The stream's sessions, in no order.
fn runs<'a>(spool: &'a Spool, stream: &'a StreamName) -> impl Iterator<Item = Run<'a>> {
    let mut after = None;
    std::iter::from_fn(move || {
        after = spool.next_session(stream, after);
        after
    })
    .filter_map(move |session| {
        let first = spool.next_in(stream, session, Sequence(0))?.key.id.sequence;
        Some(Run { spool, stream, session, first, last: spool.last_in(stream, session)? })
    })
}

impl Run<'_> {
    /// The run's first whole fragment that has this sequence or a later one.
    fn whole(&self, from: Sequence) -> Option<Entry> {
        let entry = self.spool.next_in(self.stream, self.session, from)?;
        entry.trailer.is_some().then_some(entry)
    }

    /// Of one that is being captured the one before it is looked for by halving: there may be a gap.
    fn last_whole(&self) -> Option<Entry> {
        if self.last.trailer.is_some() {
            return Some(self.last.clone());
        }
        let (mut low, mut high) = (self.first.0, self.last.key.id.sequence.0);
        let mut last = None;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.whole(Sequence(middle)) {
                Some(entry) => {
                    low = entry.key.id.sequence.0 + 1;
                    last = Some(entry);
                }
                None => high = middle,
            }
        }
        last
    }

    /// When it begins, if that is known; and when it ends, unless it goes on.
    fn ends(&self, starts: &mut Starts<'_>) -> (Option<WallTime>, Option<WallTime>) {
        let begins = self.whole(self.first).and_then(|entry| starts(&entry.key));
        let ends = self.last.trailer.and_then(|trailer| Some(starts(&self.last.key)? + trailer.duration));
        (begins, ends)
    }

    /// The sequences of what overlaps a range, the second excluded.
    fn within(&self, range: &Range, starts: &mut Starts<'_>) -> (Sequence, Sequence) {
        let from = self.first_not(starts, |start, duration| start + duration <= range.from);
        (from, self.first_not(starts, |start, _| start < range.to))
    }

    /// A sequence before which `is_before` holds of all of them, and behind which of none.
    fn first_not(&self, starts: &mut Starts<'_>, is_before: impl Fn(WallTime, Duration) -> bool) -> Sequence {
        let (mut low, mut high) = (self.first.0, self.last.key.id.sequence.0.saturating_add(1));
        while low < high {
            let middle = low + (high - low) / 2;
            // One that can't be read, or has left meanwhile, says no more than the next one does.
            let mut at = Sequence(middle);
            let found = loop {
                let Some(entry) = self.whole(at) else { break None };
                let sequence = entry.key.id.sequence.0;
                let duration = entry.trailer.map_or(Duration::ZERO, |trailer| trailer.duration);
                match starts(&entry.key) {
                    Some(start) => break Some((sequence, is_before(start, duration))),
                    None => at = Sequence(sequence.saturating_add(1)),
                }
            };
            match found {
                Some((sequence, true)) => low = sequence.saturating_add(1),
                Some((_, false)) | None => high = middle,
            }
        }
        Sequence(low)
    }

    fn between(&self, from: Sequence, to: Sequence) -> impl Iterator<Item = Entry> {
        let mut at = from;
        std::iter::from_fn(move || {
            let entry = self.whole(at).filter(|entry| entry.key.id.sequence < to)?;
            at = Sequence(entry.key.id.sequence.0.saturating_add(1));
            Some(entry)
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fragment::{ClockQuality, FragmentId};
    use spool::{Start, Writer};
    use upload::FragmentKey;

    use super::*;

    #[test]
    fn a_range_holds_what_overlaps_it_whatever_lies_around_between_and_behind() {
        let (_state, spool) = spool();
        for sequence in 0..50 {
            record(&spool, key("yard", 1, sequence), 1000 + u64::from(sequence));
            record(&spool, key("door", 7, sequence), 1000 + u64::from(sequence));
        }
        // Some are uploaded already.
        for sequence in 20..23 {
            spool.remove(&spool.release(&key("yard", 1, sequence)).unwrap());
        }
        // Every range by second and half second against what looking at each says.
        for from in (0..60 * 2).map(|half| 995_000 + half * 500) {
            for to in (1..8).map(|half| from + half * 500) {
                let range = range("yard", from, to);
                let expected = (0..50).filter(|sequence| !(20..23).contains(sequence)).filter(|sequence| {
                    let start = 1_000_000 + sequence * 1000;
                    start < to && start + 1000 > from
                });
                let held = of(&spool, &range, &mut starts(&spool));
                assert_eq!(held.fragments, expected.count() as u64, "{from} to {to}");
                assert_eq!((held.bytes, held.duration), (16 * held.fragments, Duration::from_secs(held.fragments)));
            }
        }
        assert_eq!(of(&spool, &range("attic", 0, i64::MAX / 1_000_000), &mut starts(&spool)), Holdings::default());
    }

    #[test]
    fn sessions_may_lie_in_any_order() {
        let (_state, spool) = spool();
        // A clock that was a day ahead is set right, and the camera starts again.
        (0..10).for_each(|sequence| record(&spool, key("yard", 1, sequence), 90_000 + u64::from(sequence)));
        (0..10).for_each(|sequence| record(&spool, key("yard", 2, sequence), 1000 + u64::from(sequence)));
        let held =
            |from: i64, to: i64| of(&spool, &range("yard", from * 1000, to * 1000), &mut starts(&spool)).fragments;
        assert_eq!([held(1003, 1005), held(90_008, 95_000), held(0, 100_000)], [2, 2, 20]);
        let extent = extent(&spool, &"yard".parse().unwrap(), &mut starts(&spool)).unwrap();
        assert_eq!(extent, (WallTime::from_millis(1_000_000), WallTime::from_millis(90_010_000)));
    }

    #[test]
    fn what_is_being_captured_is_told_and_not_counted() {
        let (_state, spool) = spool();
        record(&spool, key("yard", 1, 0), 1000);
        let _writer = begin(&spool, key("yard", 1, 1), 1001);
        let held = of(&spool, &range("yard", 1_000_000, 1_002_000), &mut starts(&spool));
        assert_eq!((held.fragments, held.growing), (1, true));
        assert!(!of(&spool, &range("yard", 1_000_000, 1_001_000), &mut starts(&spool)).growing);
    }

    #[test]
    fn what_is_spared_is_what_overlaps_a_range_and_what_is_captured_of_it_from_now_on() {
        let (_state, spool) = spool();
        (0..10).for_each(|sequence| record(&spool, key("yard", 1, sequence), 1000 + u64::from(sequence)));
        (0..10).for_each(|sequence| record(&spool, key("yard", 2, sequence), 2000 + u64::from(sequence)));
        (0..10).for_each(|sequence| record(&spool, key("door", 7, sequence), 1000 + u64::from(sequence)));
        let asked = |ranges: &[(i64, i64)]| -> Vec<(u64, u32, u32)> {
            let ranges: Vec<_> = ranges.iter().map(|&(from, to)| range("yard", from * 1000, to * 1000)).collect();
            let found = spared(&spool, &"yard".parse().unwrap(), &ranges, &mut starts(&spool));
            found.into_iter().map(|spared| (spared.session.0, spared.first.0, spared.last.0)).collect()
        };
        assert_eq!(asked(&[(1003, 1005), (1007, 1008)]), [(1, 3, 4), (1, 7, 7)]);
        assert_eq!(asked(&[(1008, 2002)]), [(1, 8, u32::MAX), (2, 0, 1)]);
        assert_eq!(asked(&[(900, 1000), (1010, 2000), (2010, 9000)]), []);
        // What is being captured may lie in what is asked for, and so may what follows it.
        let _writer = begin(&spool, key("yard", 2, 10), 2010);
        assert_eq!(asked(&[(2008, 2011)]), [(2, 8, u32::MAX)]);
        assert_eq!(asked(&[(2010, 9000)]), [(2, 10, u32::MAX)]);
        assert_eq!(asked(&[(2003, 2005)]), [(2, 3, 4)]);
    }

    #[test]
    fn the_last_whole_fragment_is_found_behind_a_gap() {
        let (_state, spool) = spool();
        (0..3).for_each(|sequence| record(&spool, key("yard", 1, sequence), 1000 + u64::from(sequence)));
        let _writer = begin(&spool, key("yard", 1, 400), 1400);
        let extent = extent(&spool, &"yard".parse().unwrap(), &mut starts(&spool)).unwrap();
        assert_eq!(extent, (WallTime::from_millis(1_000_000), WallTime::from_millis(1_003_000)));
    }

    #[test]
    fn a_long_session_costs_a_few_looks() {
        let (_state, spool) = spool();
        (0..2000).for_each(|sequence| record(&spool, key("yard", 1, sequence), 1000 + u64::from(sequence)));
        let (mut looks, mut look) = (0, starts(&spool));
        let held = of(&spool, &range("yard", 1_500_000, 1_600_000), &mut |key| {
            looks += 1;
            look(key)
        });
        assert_eq!(held.fragments, 100);
        assert!(looks <= 2 * 11, "{looks}");
    }

    fn spool() -> (tempfile::TempDir, Spool) {
        let state = tempfile::tempdir().unwrap();
        let spool = Spool::open(state.path(), 1 << 30).unwrap();
        (state, spool)
    }

    fn starts(spool: &Spool) -> impl FnMut(&FragmentKey) -> Option<WallTime> {
        |key| Some(spool.read(key).ok()?.header().start.wall)
    }

    fn record(spool: &Spool, key: FragmentKey, secs: u64) {
        begin(spool, key, secs).finish(Duration::from_secs(1)).unwrap();
    }

    fn begin(spool: &Spool, key: FragmentKey, secs: u64) -> Writer {
        let wall = WallTime::from_millis(0) + Duration::from_secs(secs);
        let start = Start { monotonic: None, wall, quality: ClockQuality::Given };
        let mut writer = spool.create(key, start, Bytes::from_static(b"</fragment>")).unwrap();
        writer.append(Duration::ZERO, &[Bytes::from_static(b"media")]).unwrap();
        writer
    }

    fn range(stream: &str, from: i64, to: i64) -> Range {
        Range::new(stream.parse().unwrap(), WallTime::from_millis(from), WallTime::from_millis(to))
    }

    fn key(stream: &str, session: u64, sequence: u32) -> FragmentKey {
        let id = FragmentId { session: SessionId(session), sequence: Sequence(sequence) };
        FragmentKey { stream: stream.parse().unwrap(), id }
    }
}
