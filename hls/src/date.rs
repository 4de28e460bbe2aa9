//! Wall time as ISO 8601 text, as EXT-X-PROGRAM-DATE-TIME wants it.
//!
//! Ours, since it is a dozen lines and a calendar crate would bring a clock into this crate.

use std::fmt;

use fragment::WallTime;

/// A wall time that displays as `2026-01-31T23:59:59.999Z`, rounded down to milliseconds.
pub(crate) struct Iso8601(pub(crate) WallTime);

const MILLIS_PER_DAY: i64 = 86_400_000;

impl fmt::Display for Iso8601 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let (year, month, day) = civil(millis.div_euclid(MILLIS_PER_DAY));
        let in_day = millis.rem_euclid(MILLIS_PER_DAY);
        let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
        let (second, milli) = (in_day / 1000 % 60, in_day % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

/// The Gregorian date of a day counted from 1970-01-01. Years are reckoned from March in cycles of
/// 400 years (146,097 days), so that the leap day comes last and months follow one formula.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // from 0000-03-01
    let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (cycle * 400 + year + i64::from(month <= 2), month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(millis: i64) -> String {
        Iso8601(WallTime::from_millis(millis)).to_string()
    }

    #[test]
    fn known_dates_are_written_right() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(text(1_767_225_599_999), "2025-12-31T23:59:59.999Z");
        assert_eq!(text(1_772_323_200_000), "2026-03-01T00:00:00.000Z");
        assert_eq!(text(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_day_before() {
        let (mut year, mut month, mut day) = civil(0);
        for days in 1..146_097 {
            let next = civil(days);
            let expected = if next.2 != 1 {
                (year, month, day + 1)
            } else if month == 12 {
                (year + 1, 1, 1)
            } else {
                (year, month + 1, 1)
            };
            assert_eq!(next, expected, "day {days}");
            (year, month, day) = next;
        }
        assert_eq!((year, month, day), (2369, 12, 31));
    }

    #[test]
    fn a_time_before_1970_rounds_down_too() {
        assert_eq!(text(-1), "1969-12-31T23:59:59.999Z");
    }
}
