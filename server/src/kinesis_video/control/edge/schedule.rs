//! Schedules of AWS's edge agent, Quartz's cron expressions with a duration, as hours of our agent.
//!
//! An expression has six or seven fields: seconds, minutes, hours, day of the month, month, day of the week, year. Our hours repeat
//! every week and count in minutes, so what can be said in them is: second 0, any day of the month, any month, any year.

use std::time::Duration;

/// Why a schedule can't be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScheduleError {
    #[error("an expression has six or seven fields, and this one {0}")]
    Fields(usize),
    #[error("{text:?} is nothing that the field of {field} may be: use numbers, ranges and lists of them, steps, or *")]
    Field { field: &'static str, text: String },
    #[error("{0} must be {1:?}: devices keep hours that repeat every week, to the minute")]
    NotWeekly(&'static str, &'static str),
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Quartz counts days of the week from Sunday, which is 1.
const QUARTZ_DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const DAY: u32 = 24 * 60;
const WEEK: u32 = 7 * DAY;

/// The hours in which jobs run that begin by this expression and take so long, as texts of the agent's `upload_hours`. Part of a
/// minute counts as a whole one.
pub(super) fn hours(expression: &str, duration: Duration) -> Result<Vec<String>, ScheduleError> {
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let ([seconds, minutes, hours, day, month, weekday] | [seconds, minutes, hours, day, month, weekday, _]) =
        fields[..]
    else {
        return Err(ScheduleError::Fields(fields.len()));
    };
    let year = fields.get(6).copied().unwrap_or("*");
    let any = |field, text: &str| match text {
        "*" | "?" => Ok(()),
        _ => Err(ScheduleError::NotWeekly(field, "*")),
    };
    if seconds != "0" {
        return Err(ScheduleError::NotWeekly("the second", "0"));
    }
    any("the day of the month", day)?;
    any("the month", month)?;
    any("the year", year)?;
    let minutes = numbers("minutes", minutes, 0..=59, &[])?;
    let hours = numbers("hours", hours, 0..=23, &[])?;
    let weekdays = numbers("days of the week", weekday, 1..=7, &QUARTZ_DAYS)?;
    let length = u32::try_from(duration.as_secs().div_ceil(60)).unwrap_or(WEEK).min(WEEK);

    let mut is_on = vec![false; WEEK as usize];
    for weekday in weekdays {
        // Monday is 0 with us.
        let day = (weekday + 5) % 7;
        for begin in hours.iter().flat_map(|hour| minutes.iter().map(move |minute| day * DAY + hour * 60 + minute)) {
            (begin..begin + length).for_each(|minute| is_on[(minute % WEEK) as usize] = true);
        }
    }
    Ok(texts(&is_on))
}

/// The minutes of a week that are on, in texts that end at midnight at the latest: one for all days that are alike.
fn texts(is_on: &[bool]) -> Vec<String> {
    let spans = |day: u32| {
        let mut spans: Vec<(u32, u32)> = Vec::new();
        for minute in 0..DAY {
            match spans.last_mut() {
                _ if !is_on[(day * DAY + minute) as usize] => {}
                Some((_, end)) if *end == minute => *end += 1,
                _ => spans.push((minute, minute + 1)),
            }
        }
        spans
    };
    let clock = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
    let span = |(from, to): &(u32, u32)| format!("{}-{}", clock(*from), clock(*to));
    let days: Vec<_> = (0..7).map(spans).collect();
    if days.iter().all(|spans| *spans == days[0]) {
        return days[0].iter().map(span).collect();
    }
    let of_day =
        |(name, spans): (&&str, &Vec<_>)| spans.iter().map(|each| format!("{name} {}", span(each))).collect::<Vec<_>>();
    DAYS.iter().zip(&days).flat_map(of_day).collect()
}

/// The numbers that a field stands for.
fn numbers(
    field: &'static str,
    text: &str,
    range: std::ops::RangeInclusive<u32>,
    names: &[&str],
) -> Result<Vec<u32>, ScheduleError> {
    let (first, last) = (*range.start(), *range.end());
    let number = |text: &str| {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let number = named.and_then(|at| u32::try_from(at).ok()).map(|at| at + first);
        number.or_else(|| text.parse().ok()).filter(|number| range.contains(number))
    };
    let part = |part: &str| {
        let (base, step) = part.split_once('/').map_or((part, None), |(base, step)| (base, Some(step)));
        let step: usize = step.map_or(Some(1), |step| step.parse().ok()).filter(|step| *step > 0)?;
        let (from, to) = match (base, base.split_once('-')) {
            ("*" | "?", _) => (first, last),
            (_, Some((from, to))) => (number(from)?, number(to)?),
            // With a step one number is where it begins.
            (one, None) => (number(one)?, if part.contains('/') { last } else { number(one)? }),
        };
        (from <= to).then(|| (from..=to).step_by(step).collect::<Vec<u32>>())
    };
    let parts: Option<Vec<Vec<u32>>> = text.split(',').map(part).collect();
    parts.map(|parts| parts.concat()).ok_or_else(|| ScheduleError::Field { field, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_that_follow_each_other_are_one() {
        assert_eq!(of("0 0 9,10,11,12,13,14,15,16 ? * * *", 3599), ["09:00-17:00"]);
        assert_eq!(of("0 0 19,20,21 ? * * *", 3600), ["19:00-22:00"]);
        assert_eq!(of("0 0 6,12 * * ?", 600), ["06:00-06:10", "12:00-12:10"]);
        assert_eq!(of("0 0/20 8 * * ?", 61), ["08:00-08:02", "08:20-08:22", "08:40-08:42"]);
        assert_eq!(of("0 0 * * * ?", 3600), ["00:00-24:00"]);
    }

    #[test]
    fn days_of_the_week_are_named_and_a_night_goes_on_in_the_next() {
        assert_eq!(of("0 30 8 ? * MON-TUE", 60), ["Mon 08:30-08:31", "Tue 08:30-08:31"]);
        assert_eq!(of("0 0 23 ? * 7 *", 3600), ["Sat 23:00-24:00"]);
        assert_eq!(of("0 30 23 ? * SUN", 3600), ["Mon 00:00-00:30", "Sun 23:30-24:00"]);
        assert_eq!(of("0 30 23 * * *", 3600), ["00:00-00:30", "23:30-24:00"]);
    }

    #[test]
    fn what_does_not_repeat_every_week_to_the_minute_is_refused() {
        for (expression, field) in [
            ("30 0 9 ? * *", "the second"),
            ("0 0 9 1 * ?", "the day of the month"),
            ("0 0 9 ? JAN *", "the month"),
            ("0 0 9 ? * * 2027", "the year"),
        ] {
            let error = hours(expression, Duration::from_secs(60)).unwrap_err();
            assert!(error.to_string().starts_with(field), "{expression}: {error}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_field() {
        for (expression, said) in [
            ("0 0 9 ? *", "six or seven fields, and this one 5"),
            ("0 60 9 ? * *", "\"60\" is nothing that the field of minutes"),
            ("0 0 24 ? * *", "the field of hours"),
            ("0 0 10-9 ? * *", "the field of hours"),
            ("0 0/0 9 ? * *", "the field of minutes"),
            ("0 0 9 ? * 8", "the field of days"),
            ("0 0 9 ? * FRI#1", "the field of days"),
            ("0 , 9 ? * *", "the field of minutes"),
        ] {
            let error = hours(expression, Duration::from_secs(60)).unwrap_err();
            assert!(error.to_string().contains(said), "{expression}: {error}");
        }
    }

    fn of(expression: &str, seconds: u64) -> Vec<String> {
        hours(expression, Duration::from_secs(seconds)).unwrap()
    }
}
