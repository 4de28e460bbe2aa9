//! How much of a range of time the spool holds, found without reading the beginning of each fragment.
//!
//! When a fragment began only its file says, and a week of a camera are 300,000 files. But a session's times rise in the
//! order of capture. So the spool's index is gone through for the stream's sessions, and in each of them the ends of the
//! range are found by halving, which reads some forty files.

use std::time::Duration;

use fragment::{SessionId, StreamName, WallTime};
use spool::{Entry, Spool};

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

/// A session in the spool, from the place of its first fragment to that of its last.
#[derive(Debug)]
struct Run<'a> {
    spool: &'a Spool,
    stream: &'a StreamName,
    session: SessionId,
    first: u64,
    last: u64,
}

/// What the spool holds of a range.
pub fn of(spool: &Spool, range: &Range, starts: &mut Starts<'_>) -> Holdings {
    let mut holdings = Holdings::default();
    for run in runs(spool, &range.stream) {
        let from = run.first_not(starts, |start, duration| start + duration <= range.from);
        let to = run.first_not(starts, |start, _| start < range.to);
        for entry in run.between(from, to) {
            holdings.fragments += 1;
            holdings.bytes += entry.bytes;
            holdings.duration += entry.trailer.map_or(Duration::ZERO, |trailer| trailer.duration);
        }
    }
    let growing = growing(spool, &range.stream).and_then(|entry| starts(&entry.key));
    holdings.growing = growing.is_some_and(|start| start < range.to);
    holdings
}

/// From when to when the spool holds something of a stream, gaps included.
pub fn extent(spool: &Spool, stream: &StreamName, starts: &mut Starts<'_>) -> Option<(WallTime, WallTime)> {
    let mut extent: Option<(WallTime, WallTime)> = None;
    for run in runs(spool, stream) {
        let ends = [run.whole(run.first), run.between(run.last, run.last + 1).next().map(|entry| (run.last, entry))];
        for (_, entry) in ends.into_iter().flatten() {
            let (Some(start), Some(trailer)) = (starts(&entry.key), entry.trailer) else { continue };
            let (from, to) = extent.unwrap_or((start, start));
            extent = Some((from.min(start), to.max(start + trailer.duration)));
        }
    }
    extent
}

/// The stream's sessions, with their whole fragments, in the order of capture.
fn runs<'a>(spool: &'a Spool, stream: &'a StreamName) -> Vec<Run<'a>> {
    let mut runs: Vec<Run<'_>> = Vec::new();
    let mut after = None;
    while let Some((ordinal, entry)) = spool.next(after) {
        after = Some(ordinal);
        if entry.key.stream != *stream || entry.trailer.is_none() {
            continue;
        }
        let session = entry.key.id.session;
        match runs.last_mut().filter(|run| run.session == session) {
            Some(run) => run.last = ordinal,
            None => runs.push(Run { spool, stream, session, first: ordinal, last: ordinal }),
        }
    }
    runs
}

/// The stream's fragment that is being captured.
fn growing(spool: &Spool, stream: &StreamName) -> Option<Entry> {
    let mut after = None;
    while let Some((ordinal, entry)) = spool.next(after) {
        after = Some(ordinal);
        if entry.trailer.is_none() && entry.key.stream == *stream {
            return Some(entry);
        }
    }
    None
}

impl Run<'_> {
    /// The run's first fragment at this place or behind it.
    fn whole(&self, ordinal: u64) -> Option<(u64, Entry)> {
        let mut after = ordinal.checked_sub(1);
        loop {
            let (found, entry) = self.spool.next(after).filter(|(found, _)| *found <= self.last)?;
            if entry.trailer.is_some() && entry.key.stream == *self.stream && entry.key.id.session == self.session {
                return Some((found, entry));
            }
            after = Some(found);
        }
    }

    /// A place before which `is_before` holds of all of them, and behind which of none.
    fn first_not(&self, starts: &mut Starts<'_>, is_before: impl Fn(WallTime, Duration) -> bool) -> u64 {
        let (mut low, mut high) = (self.first, self.last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            // One that can't be read, or has left meanwhile, says no more than the next one does.
            let mut at = middle;
            let found = loop {
                let Some((ordinal, entry)) = self.whole(at) else { break None };
                let duration = entry.trailer.map_or(Duration::ZERO, |trailer| trailer.duration);
                match starts(&entry.key) {
                    Some(start) => break Some((ordinal, is_before(start, duration))),
                    None => at = ordinal + 1,
                }
            };
            match found {
                Some((ordinal, true)) => low = ordinal + 1,
                Some((_, false)) | None => high = middle,
            }
        }
        low
    }

    fn between(&self, from: u64, to: u64) -> impl Iterator<Item = Entry> {
        let mut at = from;
        std::iter::from_fn(move || {
            let (ordinal, entry) = self.whole(at).filter(|(ordinal, _)| *ordinal < to)?;
            at = ordinal + 1;
            Some(entry)
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fragment::{ClockQuality, FragmentId, Sequence};
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
