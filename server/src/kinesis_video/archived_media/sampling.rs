//! Which picture belongs to which time of a sampling: a plan made of the index alone.

use std::time::Duration;

use fragment::{FragmentNumber, WallTime};

/// Times at even distances, from a start to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kinesis_video) struct Sampling {
    pub(in crate::kinesis_video) start: WallTime,
    /// Excluded; but the start always belongs to it.
    pub(in crate::kinesis_video) end: WallTime,
    pub(in crate::kinesis_video) interval: Duration,
}

/// When a fragment begins and ends, by the clock that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kinesis_video) struct Span {
    pub(in crate::kinesis_video) number: FragmentNumber,
    pub(in crate::kinesis_video) start: WallTime,
    pub(in crate::kinesis_video) duration: Duration,
}

/// One time of a sampling, and what is to be seen then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kinesis_video) struct Step {
    pub(in crate::kinesis_video) at: WallTime,
    /// The fragment, and the time after its beginning; `None` where there is no media.
    pub(in crate::kinesis_video) seen: Option<(FragmentNumber, Duration)>,
}

impl Sampling {
    /// Its times from one of them on; none if that is no time of it.
    pub(in crate::kinesis_video) fn times_from(self, first: WallTime) -> impl Iterator<Item = WallTime> {
        let is_one = first == self.start || (first > self.start && first < self.end && self.is_even(first));
        let next = move |time: &WallTime| Some(*time + self.interval).filter(|next| *next < self.end);
        std::iter::successors(is_one.then_some(first), next)
    }

    fn is_even(self, time: WallTime) -> bool {
        time.since(self.start).as_nanos().is_multiple_of(self.interval.as_nanos())
    }

    /// What is seen at these times of it. `spans` are in the order of their beginnings.
    pub(in crate::kinesis_video) fn plan(self, times: impl Iterator<Item = WallTime>, spans: &[Span]) -> Vec<Step> {
        times.map(|at| Step { at, seen: self.seen(at, spans) }).collect()
    }

    /// The picture that is shown at a time, or else the first one until the next time.
    fn seen(self, at: WallTime, spans: &[Span]) -> Option<(FragmentNumber, Duration)> {
        let begun = spans.partition_point(|span| span.start <= at);
        let shows = |span: &&Span| span.start + span.duration > at;
        let shown = spans[..begun].iter().rev().find(shows).map(|span| (span.number, at.since(span.start)));
        let until = (at + self.interval).min(self.end);
        let follows = || spans.get(begun).filter(|span| span.start < until).map(|span| (span.number, Duration::ZERO));
        shown.or_else(follows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn times_are_even_and_end_before_the_end() {
        let sampling = sampling(0, 2500, 1000);
        assert_eq!(times(sampling, 0), [0, 1000, 2000]);
        assert_eq!(times(sampling, 2000), [2000]);
        for odd in [-1000, 500, 3000] {
            assert_eq!(times(sampling, odd), [0_i64; 0], "{odd}");
        }
        assert_eq!(times(self::sampling(0, 2000, 1000), 0), [0, 1000]);
    }

    #[test]
    fn an_interval_that_is_longer_than_the_range_has_the_start_alone() {
        assert_eq!(times(sampling(700, 900, 1000), 700), [700]);
        assert_eq!(times(sampling(700, 700, 1000), 700), [700]);
    }

    #[test]
    fn what_is_shown_at_a_time_is_seen_then() {
        let steps = plan(sampling(0, 4000, 1000), &[span(1, -500, 2000), span(2, 1500, 2000)]);
        assert_eq!(steps, [Some((1, 500)), Some((1, 1500)), Some((2, 500)), Some((2, 1500))]);
    }

    #[test]
    fn where_nothing_is_shown_the_first_picture_until_the_next_time_is_seen_and_else_none() {
        let steps = plan(sampling(0, 5000, 1000), &[span(1, 300, 500), span(2, 3000, 1000), span(3, 4200, 400)]);
        assert_eq!(steps, [Some((1, 0)), None, None, Some((2, 0)), Some((3, 0))]);
    }

    #[test]
    fn what_begins_after_the_end_is_not_seen() {
        assert_eq!(plan(sampling(0, 500, 1000), &[span(1, 600, 1000)]), [None]);
    }

    #[test]
    fn of_fragments_that_overlap_the_later_one_is_seen() {
        assert_eq!(plan(sampling(1000, 1001, 1000), &[span(1, 0, 3000), span(2, 900, 1000)]), [Some((2, 100))]);
        // And the earlier one after its end.
        assert_eq!(plan(sampling(2000, 2001, 1000), &[span(1, 0, 3000), span(2, 900, 1000)]), [Some((1, 2000))]);
    }

    fn sampling(start: i64, end: i64, interval: u64) -> Sampling {
        let (start, end) = (WallTime::from_millis(start), WallTime::from_millis(end));
        Sampling { start, end, interval: Duration::from_millis(interval) }
    }

    fn span(number: u64, start: i64, duration: u64) -> Span {
        let (number, start) = (FragmentNumber(number), WallTime::from_millis(start));
        Span { number, start, duration: Duration::from_millis(duration) }
    }

    fn times(sampling: Sampling, first: i64) -> Vec<i64> {
        sampling.times_from(WallTime::from_millis(first)).map(WallTime::as_millis).collect()
    }

    fn plan(sampling: Sampling, spans: &[Span]) -> Vec<Option<(u64, u64)>> {
        let steps = sampling.plan(sampling.times_from(sampling.start), spans);
        let seen = |step: &Step| step.seen.map(|(number, after)| (number.0, u64::try_from(after.as_millis()).unwrap()));
        assert!(steps.windows(2).all(|pair| pair[0].at + SECOND == pair[1].at));
        steps.iter().map(seen).collect()
    }
}
