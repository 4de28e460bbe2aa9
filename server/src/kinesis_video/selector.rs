//! Which fragments of a stream are meant: those that begin within a range of one of their two times.
//!
//! Both ends belong to the range. Times are compared as clients see them, in whole milliseconds.

use std::ops::Range;
use std::time::Duration;

use archive::{Archive, QueryError, Stored};
use fragment::{FragmentNumber, WallTime};

use super::members::Members;
use super::refusal::Refusal;
use crate::limits;

/// How fine times are as clients see them.
const MILLISECOND: Duration = Duration::from_millis(1);

/// Whose clock a time is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// When a fragment was captured.
    Producer,
    /// When it arrived.
    Server,
}

/// The words for them.
pub(super) const ORIGINS: [(&str, Origin); 2] =
    [("PRODUCER_TIMESTAMP", Origin::Producer), ("SERVER_TIMESTAMP", Origin::Server)];

/// A range of the times at which fragments begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FragmentSelector {
    pub(super) origin: Origin,
    /// In whole milliseconds, without the end.
    pub(super) range: Range<WallTime>,
}

impl FragmentSelector {
    /// Reads the members of a selector that has both ends.
    pub(super) fn read(selector: &Members<'_>) -> Result<Self, Refusal> {
        let origin = selector.choice("FragmentSelectorType", &ORIGINS)?;
        let origin = selector.required("FragmentSelectorType", origin)?;
        let range = selector.required("TimestampRange", selector.structure("TimestampRange")?)?;
        let start = range.required("StartTimestamp", range.timestamp("StartTimestamp")?)?;
        let end = range.required("EndTimestamp", range.timestamp("EndTimestamp")?)?;
        if start > end {
            return Err(Refusal::InvalidArgument("startTimestamp lies behind endTimestamp".to_owned()));
        }
        Ok(Self { origin, range: whole_millis(start, end) })
    }

    /// Whether it is as the selectors of clips and sessions have to be.
    pub(super) fn check_for_playback(&self, now: WallTime) -> Result<(), Refusal> {
        let Range { start, end } = self.range;
        let refuse = |why: &str| Err(Refusal::InvalidArgument(format!("endTimestamp {why}")));
        if end <= start + MILLISECOND {
            return refuse("must be later than startTimestamp");
        }
        if end.since(start) > limits::PLAYBACK_RANGE_MAX + MILLISECOND {
            return refuse("must be within 24 hours of startTimestamp");
        }
        if self.origin == Origin::Server && end > now + MILLISECOND {
            return refuse("must be in the past");
        }
        Ok(())
    }

    /// Up to `limit` of its fragments from a place on, in the order of places. Blocks.
    pub(super) fn page(
        &self,
        archive: &Archive,
        stream: u64,
        from: Option<Place>,
        limit: usize,
        now: WallTime,
    ) -> Result<Vec<Stored>, QueryError> {
        let zero = FragmentNumber(0);
        let Range { start, end } = self.range.clone();
        match self.origin {
            Origin::Producer => {
                let from = from.map_or((start, zero), |place| (place.start, place.number));
                archive.starting(stream, from..(end, zero), limit, now)
            }
            Origin::Server => match from {
                None => archive.arrived(stream, start..end, limit, now),
                Some(place) => archive.numbered(stream, place.number..FragmentNumber::at(end), limit, now),
            },
        }
    }
}

/// Where a walk through fragments goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// When the fragment begins, by the producer's time.
    pub(super) start: WallTime,
    pub(super) number: FragmentNumber,
}

impl Place {
    /// The place right behind a fragment.
    pub(super) fn behind(stored: &Stored) -> Self {
        Self { start: stored.start, number: FragmentNumber(stored.number.0.saturating_add(1)) }
    }
}

/// The fragment that contains a moment: the last one, where there are several. Blocks.
pub(super) fn containing(
    archive: &Archive,
    stream: u64,
    (origin, time): (Origin, WallTime),
    now: WallTime,
) -> Result<Option<Stored>, QueryError> {
    let before = time - fragment::limits::FRAGMENT_DURATION_MAX;
    let (found, begin): (_, fn(&Stored) -> WallTime) = match origin {
        Origin::Producer => {
            let zero = FragmentNumber(0);
            let range = (before, zero)..(time + MILLISECOND, zero);
            (archive.starting(stream, range, limits::CONTAINING_MAX, now)?, |stored| stored.start)
        }
        Origin::Server => {
            (archive.arrived(stream, before..time + MILLISECOND, limits::CONTAINING_MAX, now)?, |stored| stored.arrived)
        }
    };
    let contains = |stored: &Stored| {
        let begin = begin(stored);
        (begin.as_millis()..(begin + stored.duration).as_millis()).contains(&time.as_millis())
    };
    Ok(found.into_iter().rfind(contains))
}

/// The times whose whole milliseconds lie from `start` to `end`, both included.
fn whole_millis(start: WallTime, end: WallTime) -> Range<WallTime> {
    let first = first_millisecond(start);
    first..behind_millisecond(end).max(first)
}

/// The first whole millisecond that does not lie before a time.
pub(super) fn first_millisecond(time: WallTime) -> WallTime {
    WallTime::from_millis((time + (MILLISECOND - Duration::from_nanos(1))).as_millis())
}

/// The end of the millisecond that a time lies in.
pub(super) fn behind_millisecond(time: WallTime) -> WallTime {
    WallTime::from_millis(time.as_millis()) + MILLISECOND
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ends_belong_to_the_range_to_the_millisecond() {
        let selected = read(&json!({
            "FragmentSelectorType": "SERVER_TIMESTAMP",
            "TimestampRange": { "StartTimestamp": 1_700_000_000.123_4, "EndTimestamp": 1_700_000_000.987_6 },
        }));
        let at = |millis: i64| WallTime::from_millis(1_700_000_000_000 + millis);
        assert_eq!(selected.unwrap(), FragmentSelector { origin: Origin::Server, range: at(124)..at(988) });
        let moment = read(&json!({
            "FragmentSelectorType": "PRODUCER_TIMESTAMP",
            "TimestampRange": { "StartTimestamp": 1_700_000_000, "EndTimestamp": 1_700_000_000 },
        }));
        assert_eq!(moment.unwrap().range, at(0)..at(1));
        let within_a_millisecond = read(&json!({
            "FragmentSelectorType": "PRODUCER_TIMESTAMP",
            "TimestampRange": { "StartTimestamp": 1_700_000_000.000_2, "EndTimestamp": 1_700_000_000.000_4 },
        }));
        assert!(within_a_millisecond.unwrap().range.is_empty());
    }

    #[test]
    fn what_is_played_ends_behind_its_start_within_a_day_and_not_in_the_future() {
        let now = WallTime::from_millis(1_700_000_000_000);
        let day = 86_400.0;
        for (origin, start, end, said) in [
            ("PRODUCER_TIMESTAMP", 0.0, 1.0, ""),
            ("PRODUCER_TIMESTAMP", 0.0, day, ""),
            ("SERVER_TIMESTAMP", -day, 0.0, ""),
            ("PRODUCER_TIMESTAMP", 0.0, 0.0, "must be later"),
            ("PRODUCER_TIMESTAMP", 0.0, day + 0.001, "within 24 hours"),
            ("SERVER_TIMESTAMP", -1.0, 1.0, "in the past"),
        ] {
            let selected = read(&json!({
                "FragmentSelectorType": origin,
                "TimestampRange": { "StartTimestamp": 1.7e9 + start, "EndTimestamp": 1.7e9 + end },
            }));
            let checked = selected.unwrap().check_for_playback(now);
            let refused = checked.err().map(|refusal| refusal.to_string()).unwrap_or_default();
            assert!(refused.contains(said) && refused.is_empty() == said.is_empty(), "{start} to {end}: {refused}");
        }
    }

    #[test]
    fn what_is_missing_or_turned_round_is_told() {
        let range = |start, end| json!({ "StartTimestamp": start, "EndTimestamp": end });
        for (selector, said) in [
            (json!({}), "fragmentSelectorType"),
            (json!({ "FragmentSelectorType": "PRODUCER_TIMESTAMP" }), "timestampRange"),
            (json!({ "FragmentSelectorType": "NOW", "TimestampRange": range(1, 2) }), "fragmentSelectorType"),
            (
                json!({ "FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": {} }),
                "timestampRange.startTimestamp",
            ),
            (
                json!({ "FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range(2, 1) }),
                "startTimestamp lies",
            ),
            (json!({ "FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range(-1, 1) }), "startTimestamp"),
        ] {
            let refused = read(&selector).unwrap_err().to_string();
            assert!(refused.contains(said), "{refused}");
        }
    }

    fn read(selector: &serde_json::Value) -> Result<FragmentSelector, Refusal> {
        FragmentSelector::read(&Members::new(selector.as_object().unwrap()))
    }
}
