//! Hours of the week at which something is allowed, by the clock on the wall of a time zone.
//!
//! `"22:00-06:00"` is every night, `"Fri 22:00-06:00"` the one that begins on Friday, `"Mon-Fri 20:00-07:30"` five of them,
//! `"Sat 00:00-24:00"` a day. Where a clock is put back, its hour is there twice, and both count.

use fragment::WallTime;
use jiff::Timestamp;
use jiff::tz::TimeZone;

const DAY: u32 = 24 * 60;
const WEEK: u32 = 7 * DAY;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// When something is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours(When);

#[derive(Clone, Debug, PartialEq, Eq)]
enum When {
    Always,
    Weekly { zone: TimeZone, spans: Vec<Span> },
}

/// In minutes of the week, which begins on Monday. One that goes beyond Sunday ends on the next Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: u32,
    to: u32,
}

impl Default for Hours {
    fn default() -> Self {
        Self::always()
    }
}

impl Hours {
    /// At any time, also if it is not known.
    pub const fn always() -> Self {
        Self(When::Always)
    }

    /// At no time.
    pub const fn never() -> Self {
        Self(When::Weekly { zone: TimeZone::UTC, spans: Vec::new() })
    }

    /// At these times, or which of the texts say none.
    pub fn parse(texts: &[String], zone: TimeZone) -> Result<Self, Vec<String>> {
        let (mut spans, mut wrong) = (Vec::new(), Vec::new());
        for text in texts {
            match parse(text.trim()) {
                Some(found) => spans.extend(found),
                None => wrong.push(text.clone()),
            }
        }
        if wrong.is_empty() { Ok(Self(When::Weekly { zone, spans })) } else { Err(wrong) }
    }

    /// Whether it is allowed at this time.
    pub fn allow(&self, at: Option<WallTime>) -> bool {
        match (&self.0, at) {
            (When::Always, _) => true,
            (When::Weekly { .. }, None) => false,
            (When::Weekly { zone, spans }, Some(at)) => {
                let Ok(at) = Timestamp::from_nanosecond(at.as_nanos().into()) else {
                    return false;
                };
                let at = at.to_zoned(zone.clone());
                let day = u32::try_from(at.weekday().to_monday_zero_offset()).unwrap_or_default();
                let minute = u32::try_from(i32::from(at.hour()) * 60 + i32::from(at.minute())).unwrap_or_default();
                let minute = day * DAY + minute;
                spans.iter().any(|span| [minute, minute + WEEK].iter().any(|at| (span.from..span.to).contains(at)))
            }
        }
    }
}

/// The spans of one text.
fn parse(text: &str) -> Option<Vec<Span>> {
    let (days, times) = match text.split_once(' ') {
        Some((days, times)) => (days_of(days)?, times.trim()),
        None => ((0..7).collect(), text),
    };
    let (from, to) = times.split_once('-')?;
    let (from, to) = (minute_of(from)?, minute_of(to)?);
    if from == DAY || from == to {
        return None;
    }
    let length = if to > from { to - from } else { to + DAY - from };
    Some(days.into_iter().map(|day| day * DAY + from).map(|from| Span { from, to: from + length }).collect())
}

fn days_of(text: &str) -> Option<Vec<u32>> {
    let day = |name: &str| {
        let at = DAYS.iter().position(|day| day.eq_ignore_ascii_case(name))?;
        u32::try_from(at).ok()
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (day(first)?, day(last)?),
        None => (day(text)?, day(text)?),
    };
    let count = (last + 7 - first) % 7 + 1;
    Some((first..first + count).map(|day| day % 7).collect())
}

/// `24:00` is the end of a day.
fn minute_of(text: &str) -> Option<u32> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(hour, 2) || minute.len() != 2 || !digits(minute, 2) {
        return None;
    }
    let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
    let at = hour * 60 + minute;
    (minute < 60 && at <= DAY).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_that_go_through_the_night_end_on_the_next_day() {
        let night = hours(&["22:00-06:00"], "UTC");
        for (at, allowed) in [("21:59", false), ("22:00", true), ("23:59", true), ("05:59", true), ("06:00", false)] {
            assert_eq!(night.allow(Some(time(&format!("2026-03-02T{at}Z")))), allowed, "{at}");
        }
    }

    #[test]
    fn days_are_those_on_which_the_hours_begin() {
        let weekend = hours(&["Sun 22:00-06:00"], "UTC");
        // 2026-03-01 is a Sunday: the span goes over the end of the week.
        for (at, allowed) in
            [("01T21:00", false), ("01T23:00", true), ("02T05:00", true), ("02T23:00", false), ("08T05:00", false)]
        {
            assert_eq!(weekend.allow(Some(time(&format!("2026-03-{at}Z")))), allowed, "{at}");
        }
        let working = hours(&["Mon-Fri 20:00-24:00", "sat 00:00-24:00"], "UTC");
        for (at, allowed) in [("02T21:00", true), ("02T19:00", false), ("07T12:00", true), ("08T21:00", false)] {
            assert_eq!(working.allow(Some(time(&format!("2026-03-{at}Z")))), allowed, "{at}");
        }
    }

    #[test]
    fn hours_are_those_of_their_zone_in_summer_and_in_winter() {
        let night = hours(&["22:00-06:00"], "Europe/Berlin");
        for (at, allowed) in [
            ("2026-01-10T20:30", false),
            ("2026-01-10T21:30", true),
            ("2026-07-10T20:30", true),
            ("2026-07-11T04:30", false),
        ] {
            assert_eq!(night.allow(Some(time(&format!("{at}Z")))), allowed, "{at}");
        }
    }

    #[test]
    fn at_a_time_that_is_not_known_only_what_is_always_allowed_is() {
        assert!(Hours::always().allow(None));
        assert!(!hours(&["00:00-24:00"], "UTC").allow(None));
        assert!(!Hours::never().allow(Some(time("2026-03-01T12:00Z"))));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "22-6", "24:00-06:00", "6:00-6:00", "Someday 1:00-2:00", "10:60-11:00", "+1:00-2:00", "1:00"] {
            assert!(Hours::parse(&[text.to_owned()], TimeZone::UTC).is_err(), "{text}");
        }
    }

    fn hours(texts: &[&str], zone: &str) -> Hours {
        let texts: Vec<_> = texts.iter().map(|&text| text.to_owned()).collect();
        Hours::parse(&texts, TimeZone::get(zone).unwrap()).unwrap()
    }

    fn time(text: &str) -> WallTime {
        let time: Timestamp = text.parse().unwrap();
        WallTime::from_nanos(i64::try_from(time.as_nanosecond()).unwrap())
    }
}
