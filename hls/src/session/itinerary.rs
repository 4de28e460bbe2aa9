//! The itinerary: which fragments a session shows, from when on, and how they are counted.
//!
//! Fragments are pushed in the order of the session, each once, as far as [`Itinerary::wants_more`] says. What has left the window for
//! good is forgotten; the counts go on.

use std::collections::VecDeque;
use std::time::Duration;

use fragment::{FragmentNumber, WallTime};

use crate::limits;
use crate::timeline::Entry;

/// How far apart the end of a fragment and the beginning of the next may lie before that counts as a discontinuity.
const GAP_MAX: Duration = Duration::from_millis(50);

/// What is asked of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When fragments are shown.
    pub pace: Pace,
    /// The most that are shown at once.
    pub results_max: usize,
    /// Where players are told to start afresh.
    pub discontinuities: Discontinuities,
    /// Whether the session ends where the tracks change, since it has no way to tell players so.
    pub is_of_one_coding: bool,
}

/// When the fragments of a session are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The oldest, at once and for good.
    OnDemand,
    /// The newest, as they come.
    Live,
    /// From the oldest on, each when those before it have been played.
    Replay {
        /// When playing began.
        begun: WallTime,
    },
}

/// Where players are told to start afresh. Where the tracks change they always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Discontinuities {
    /// At every fragment.
    Always,
    /// Nowhere else.
    Never,
    /// Where fragments lie apart, or overlap.
    Found,
}

/// A fragment's place in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The fragment. Its start is by the session's clock.
    pub entry: Entry,
    /// Its mean rate.
    pub bits_per_second: u64,
    /// Fragments before it.
    pub index: u64,
    /// How long those last.
    pub elapsed: Duration,
    /// Whether players start afresh here.
    pub discontinuity: bool,
    /// How often they have done so by then, here included.
    pub discontinuities: u64,
    /// How often the tracks have changed by then.
    pub codings: u64,
}

/// The fragments of a session, as far as they are known and may still be asked for.
#[derive(Clone, Debug)]
pub struct Itinerary {
    plan: Plan,
    stops: VecDeque<Stop>,
    last: Option<Stop>,
    first: Option<Stop>,
    /// How long the fragments last that are shown from the beginning on, but for the last of them.
    lead: Duration,
    is_complete: bool,
}

/// What a session shows at a moment.
#[derive(Clone, Debug)]
pub struct Shown<'a> {
    /// The fragments, at least one.
    pub stops: Vec<&'a Stop>,
    /// Whether there will be no others.
    pub is_over: bool,
    /// Whether it was there from the beginning, all of it.
    pub is_on_demand: bool,
}

impl Itinerary {
    /// Without any fragment yet.
    pub fn new(plan: Plan) -> Self {
        let (stops, last, first) = (VecDeque::new(), None, None);
        Self { plan, stops, last, first, lead: Duration::ZERO, is_complete: false }
    }

    /// Adds the fragment that follows all before it.
    pub fn push(&mut self, entry: Entry, bits_per_second: u64) {
        if self.is_complete {
            return;
        }
        let stop = match &self.last {
            None => {
                let discontinuity = self.plan.discontinuities == Discontinuities::Always;
                let discontinuities = u64::from(discontinuity);
                let (index, elapsed, codings) = (0, Duration::ZERO, 0);
                Stop { entry, bits_per_second, index, elapsed, discontinuity, discontinuities, codings }
            }
            Some(last) => {
                let recoded = last.entry.tracks_fingerprint != entry.tracks_fingerprint;
                if recoded && self.plan.is_of_one_coding {
                    self.is_complete = true;
                    return;
                }
                let discontinuity = recoded
                    || match self.plan.discontinuities {
                        Discontinuities::Always => true,
                        Discontinuities::Never => false,
                        Discontinuities::Found => lie_apart(&last.entry, &entry),
                    };
                Stop {
                    index: last.index + 1,
                    elapsed: last.elapsed + last.entry.duration,
                    discontinuity,
                    discontinuities: last.discontinuities + u64::from(discontinuity),
                    codings: last.codings + u64::from(recoded),
                    entry,
                    bits_per_second,
                }
            }
        };
        // What is shown at the beginning all has room.
        if stop.index + 1 < limits::REPLAY_SEGMENTS_AT_ONCE.min(self.plan.results_max as u64) {
            self.lead += stop.entry.duration;
        }
        self.first.get_or_insert_with(|| stop.clone());
        self.last = Some(stop.clone());
        self.stops.push_back(stop);
        self.is_complete = self.plan.pace == Pace::OnDemand && self.stops.len() >= self.plan.results_max;
    }

    /// There will be no others.
    pub fn complete(&mut self) {
        self.is_complete = true;
    }

    /// Whether the next fragment could be shown by now.
    pub fn wants_more(&self, now: WallTime) -> bool {
        let next = self.last.as_ref().map_or(Duration::ZERO, |last| last.elapsed + last.entry.duration);
        !self.is_complete && self.has_come(next, now)
    }

    /// The last fragment that was pushed.
    pub fn last(&self) -> Option<&Entry> {
        self.last.as_ref().map(|stop| &stop.entry)
    }

    /// The fragment with which the session begins.
    pub fn first(&self) -> Option<&Stop> {
        self.first.as_ref()
    }

    /// A fragment by its place, if it is shown or was so a moment ago.
    pub fn find(&self, index: u64, now: WallTime) -> Option<&Stop> {
        let skipped = self.stops.front()?.index;
        let stop = self.stops.get(usize::try_from(index.checked_sub(skipped)?).ok()?)?;
        self.has_come(stop.elapsed, now).then_some(stop)
    }

    /// The fragments after so many changes of the tracks, as far as they are known.
    pub fn coded(&self, codings: u64) -> impl Iterator<Item = &Stop> {
        self.stops.iter().filter(move |stop| stop.codings == codings)
    }

    /// What is shown, if anything is. Gaps at both ends are not: players would wait there for ever.
    pub fn shown(&self, now: WallTime) -> Option<Shown<'_>> {
        let come = self.stops.partition_point(|stop| self.has_come(stop.elapsed, now));
        let begin = come.saturating_sub(self.plan.results_max);
        let stops: Vec<&Stop> = self.stops.range(begin..come).collect();
        let whole = |stop: &&Stop| !stop.entry.gap;
        let (first, last) = (stops.iter().position(whole)?, stops.iter().rposition(whole)?);
        let is_on_demand = self.plan.pace == Pace::OnDemand;
        let is_over = is_on_demand || self.is_complete && come == self.stops.len();
        Some(Shown { stops: stops[first..=last].to_vec(), is_over, is_on_demand })
    }

    /// Forgets what has left the window so long ago that no player asks for it any more.
    pub fn forget(&mut self, now: WallTime) {
        if self.plan.pace == Pace::OnDemand {
            return;
        }
        let come = self.stops.partition_point(|stop| self.has_come(stop.elapsed, now));
        // A player that has read the playlist in time may take what was in it for as long again.
        let kept = 2 * self.plan.results_max + limits::LIVE_SEGMENTS_MIN;
        self.stops.drain(..come.saturating_sub(kept));
    }

    /// Marks what can't be had.
    pub fn mark_gaps(&mut self, is_gap: impl Fn(FragmentNumber) -> bool) {
        for stop in &mut self.stops {
            stop.entry.gap = is_gap(stop.entry.number);
        }
    }

    /// How many fragments are in memory.
    pub fn held(&self) -> usize {
        self.stops.len()
    }

    /// When the session's time began: what it shows at its beginning could be had by then.
    pub fn begun(&self) -> Option<WallTime> {
        let first = self.first()?;
        Some(match self.plan.pace {
            Pace::OnDemand => first.entry.start,
            // A number is the microsecond of arrival.
            Pace::Live => {
                let arrived = i64::try_from(first.entry.number.0.saturating_mul(1000)).unwrap_or(i64::MAX);
                WallTime::from_nanos(arrived) - first.entry.duration
            }
            Pace::Replay { begun } => begun - self.lead - first.entry.duration,
        })
    }

    /// Whether it is the turn of a fragment before which others last so long.
    fn has_come(&self, elapsed: Duration, now: WallTime) -> bool {
        match self.plan.pace {
            Pace::OnDemand | Pace::Live => true,
            Pace::Replay { begun } => elapsed <= now.since(begun) + self.lead,
        }
    }
}

fn lie_apart(before: &Entry, after: &Entry) -> bool {
    let (end, start) = (before.end(), after.start);
    start.since(end).max(end.since(start)) > GAP_MAX
}

#[cfg(test)]
mod tests {
    use fragment::{FragmentId, Sequence, SessionId};

    use super::*;

    const BEGUN: WallTime = WallTime::from_millis(1_700_000_000_000);

    #[test]
    fn on_demand_shows_the_oldest_and_is_over() {
        let itinerary = of(plan(Pace::OnDemand, 3), 5);
        assert!(!itinerary.wants_more(BEGUN));
        assert_eq!(shown(&itinerary, BEGUN), (vec![0, 1, 2], true));
    }

    #[test]
    fn live_shows_the_newest_and_counts_on_whatever_was_forgotten() {
        let mut itinerary = of(plan(Pace::Live, 3), 100);
        assert_eq!(shown(&itinerary, BEGUN), (vec![97, 98, 99], false));
        assert!(itinerary.find(0, BEGUN).is_some());
        itinerary.forget(BEGUN);
        assert_eq!(itinerary.held(), 9);
        assert!(itinerary.find(0, BEGUN).is_none());
        assert_eq!(itinerary.find(95, BEGUN).unwrap().elapsed, Duration::from_secs(190));
        itinerary.push(entry(100), 1);
        assert_eq!(shown(&itinerary, BEGUN), (vec![98, 99, 100], false));
    }

    #[test]
    fn a_replay_shows_each_fragment_when_those_before_it_were_played() {
        let mut itinerary = of(plan(Pace::Replay { begun: BEGUN }, 4), 10);
        let at = |seconds| BEGUN + Duration::from_secs(seconds);
        assert_eq!(shown(&itinerary, at(0)), (vec![0, 1, 2], false), "enough to begin with");
        assert_eq!(shown(&itinerary, at(1)).0, [0, 1, 2]);
        assert_eq!(shown(&itinerary, at(2)).0, [0, 1, 2, 3]);
        assert_eq!(shown(&itinerary, at(8)).0, [3, 4, 5, 6]);
        assert!(itinerary.find(7, at(8)).is_none(), "its turn has not come");
        assert!(!itinerary.wants_more(at(15)) && itinerary.wants_more(at(16)));
        itinerary.complete();
        assert_eq!(shown(&itinerary, at(13)), (vec![5, 6, 7, 8], false));
        assert_eq!(shown(&itinerary, at(14)), (vec![6, 7, 8, 9], true));
    }

    #[test]
    fn a_replay_with_room_for_one_fragment_passes_over_none() {
        let itinerary = of(plan(Pace::Replay { begun: BEGUN }, 1), 10);
        for seconds in 0..20 {
            assert_eq!(shown(&itinerary, BEGUN + Duration::from_secs(seconds)).0, [seconds / 2]);
        }
    }

    #[test]
    fn discontinuities_are_where_they_are_asked_for_and_where_tracks_change() {
        let apart = |ms| Entry { start: entry(1).start + Duration::from_millis(ms), ..entry(1) };
        let recoded = Entry { tracks_fingerprint: 8, ..entry(1) };
        for (discontinuities, second, expected) in [
            (Discontinuities::Always, entry(1), [true, true]),
            (Discontinuities::Never, apart(5000), [false, false]),
            (Discontinuities::Never, recoded.clone(), [false, true]),
            (Discontinuities::Found, apart(50), [false, false]),
            (Discontinuities::Found, apart(51), [false, true]),
            (Discontinuities::Found, recoded, [false, true]),
        ] {
            let mut itinerary = Itinerary::new(Plan { discontinuities, ..plan(Pace::OnDemand, 5) });
            itinerary.push(entry(0), 1);
            itinerary.push(second, 1);
            let found: Vec<bool> =
                itinerary.shown(BEGUN).unwrap().stops.iter().map(|stop| stop.discontinuity).collect();
            assert_eq!(found, expected, "{discontinuities:?}");
        }
    }

    #[test]
    fn a_session_of_one_coding_ends_where_the_tracks_change() {
        let mut itinerary = Itinerary::new(Plan { is_of_one_coding: true, ..plan(Pace::Live, 5) });
        itinerary.push(entry(0), 1);
        itinerary.push(Entry { tracks_fingerprint: 8, ..entry(1) }, 1);
        itinerary.push(entry(2), 1);
        assert_eq!(shown(&itinerary, BEGUN), (vec![0], true));
    }

    #[test]
    fn gaps_at_the_ends_are_not_shown_and_those_between_keep_their_places() {
        let mut itinerary = of(plan(Pace::OnDemand, 9), 5);
        itinerary.mark_gaps(|number| [0, 2, 4].contains(&number.0));
        assert_eq!(shown(&itinerary, BEGUN).0, [1, 2, 3]);
        itinerary.mark_gaps(|_| true);
        assert!(itinerary.shown(BEGUN).is_none());
    }

    fn shown(itinerary: &Itinerary, now: WallTime) -> (Vec<u64>, bool) {
        let shown = itinerary.shown(now).unwrap();
        (shown.stops.iter().map(|stop| stop.index).collect(), shown.is_over)
    }

    fn of(plan: Plan, fragments: u32) -> Itinerary {
        let mut itinerary = Itinerary::new(plan);
        for sequence in 0..fragments {
            itinerary.push(entry(sequence), 1);
        }
        itinerary
    }

    fn plan(pace: Pace, results_max: usize) -> Plan {
        Plan { pace, results_max, discontinuities: Discontinuities::Never, is_of_one_coding: false }
    }

    fn entry(sequence: u32) -> Entry {
        Entry {
            number: FragmentNumber(u64::from(sequence)),
            id: FragmentId { session: SessionId(1), sequence: Sequence(sequence) },
            start: WallTime::from_millis(i64::from(sequence) * 2000),
            duration: Duration::from_secs(2),
            tracks_fingerprint: 7,
            independent: true,
            live: None,
            gap: false,
        }
    }
}
