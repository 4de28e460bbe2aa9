//! `[uplink]` of the configuration: what uploads may take of the line, and when; and `mode` of a camera, which says
//! whether its fragments are uploaded by themselves.
//!
//! ```toml
//! [uplink]
//! backlog_share = "50%"            # of the line, as it is measured
//! backlog_rate_max = "2 Mbit/s"    # or so much of it
//! rate_max = "8 Mbit/s"            # of everything, live too
//! backlog_hours = ["22:00-06:00", "Sat 00:00-24:00"]
//! time_zone = "Europe/Berlin"      # of all hours; default: the system's
//! congestion = "bbr"               # or "cubic"
//! mode = "record"                  # what cameras do that say nothing else; default "continuous"
//! upload_hours = ["02:00-05:00"]   # of mode = "record"; default: only what is asked for
//! ```

use fragment::StreamName;
use jiff::tz::TimeZone;
use serde::Deserialize;
use upload::Allowance;

use super::Problems;
use crate::hours::Hours;
use crate::limits;
use crate::plan::Rules;

/// What uploads may take of the line, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uplink {
    /// How much of it.
    pub allowance: Allowance,
    /// How it finds out how much the line takes.
    pub congestion: Congestion,
    /// Which fragments may go when.
    pub rules: Rules,
}

/// How a connection finds out how much the line takes. design/uplink.md has the measurements behind the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Congestion {
    /// By losses: each takes a part of its rate.
    Cubic,
    /// By rates and round trips: losses do not matter much.
    #[default]
    Bbr,
}

/// Whether fragments are uploaded by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    #[default]
    Continuous,
    Record,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    backlog_share: Option<String>,
    backlog_rate_max: Option<String>,
    rate_max: Option<String>,
    backlog_hours: Option<Vec<String>>,
    time_zone: Option<String>,
    congestion: Option<Congestion>,
    mode: Option<Mode>,
    upload_hours: Option<Vec<String>>,
}

impl Raw {
    /// Whether nothing is said.
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            backlog_share,
            backlog_rate_max,
            rate_max,
            backlog_hours,
            time_zone,
            congestion,
            mode,
            upload_hours,
        } = self;
        let texts = [backlog_share, backlog_rate_max, rate_max, time_zone];
        texts.iter().all(|text| text.is_none())
            && backlog_hours.is_none()
            && congestion.is_none()
            && mode.is_none()
            && upload_hours.is_none()
    }
}

/// What a camera says of its mode.
#[derive(Clone, Debug, Default)]
pub(super) struct OfCamera {
    pub(super) place: String,
    pub(super) stream: Option<String>,
    pub(super) mode: Option<Mode>,
    pub(super) upload_hours: Option<Vec<String>>,
}

impl Raw {
    pub(super) fn resolve(self, cameras: Vec<OfCamera>, problems: &mut Problems) -> Uplink {
        let allowance = Allowance {
            rate_max: rate("uplink.rate_max", self.rate_max.as_deref(), problems),
            backlog_rate_max: rate("uplink.backlog_rate_max", self.backlog_rate_max.as_deref(), problems),
            backlog_share: share(self.backlog_share.as_deref(), problems),
        };
        if self.backlog_share.is_some() && self.backlog_rate_max.is_some() {
            problems.push(
                "uplink has both backlog_share and backlog_rate_max: keep the share where others use the line, the rate \
                 where a contract limits it"
                    .to_owned(),
            );
        }
        let has_hours = self.backlog_hours.is_some()
            || self.upload_hours.is_some()
            || cameras.iter().any(|camera| camera.upload_hours.is_some());
        if self.time_zone.is_some() && !has_hours {
            problems.push("uplink.time_zone only goes with backlog_hours or upload_hours: remove it".to_owned());
        }
        let zone = zone(self.time_zone.as_deref(), problems);
        let backlog =
            self.backlog_hours.map_or(Hours::always(), |texts| hours("uplink.backlog_hours", &texts, &zone, problems));
        let mode = self.mode.unwrap_or_default();
        if mode == Mode::Continuous && self.upload_hours.is_some() {
            problems
                .push("uplink.upload_hours only goes with mode = \"record\": remove it, or set the mode".to_owned());
        }
        let upload_hours = self.upload_hours.map(|texts| hours("uplink.upload_hours", &texts, &zone, problems));
        let others = record(mode, upload_hours.clone());
        let mut rules = Rules::new(backlog, others);
        for OfCamera { place, stream, mode: own, upload_hours: own_hours } in cameras {
            let camera_mode = own.unwrap_or(mode);
            if camera_mode == Mode::Continuous && own_hours.is_some() {
                problems.push(format!(
                    "{place}: upload_hours only goes with mode = \"record\": remove it, or set the mode"
                ));
            }
            let key = format!("{place}: upload_hours");
            let own_hours = own_hours.map(|texts| hours(&key, &texts, &zone, problems));
            // A camera without a proper name is told of elsewhere.
            if let Some(stream) = stream.and_then(|stream| stream.parse::<StreamName>().ok()) {
                rules.set(stream, record(camera_mode, own_hours.or_else(|| upload_hours.clone())));
            }
        }
        Uplink { allowance, congestion: self.congestion.unwrap_or_default(), rules }
    }
}

/// The hours of uploads, if only recordings are made; without any, never.
fn record(mode: Mode, hours: Option<Hours>) -> Option<Hours> {
    (mode == Mode::Record).then(|| hours.unwrap_or(Hours::never()))
}

fn zone(name: Option<&str>, problems: &mut Problems) -> TimeZone {
    let Some(name) = name else {
        return TimeZone::system();
    };
    TimeZone::get(name).unwrap_or_else(|_| {
        problems.push(format!(
            "uplink.time_zone is {name:?}, which this system does not know: write one as in time_zone = \
             \"Europe/Berlin\", and install tzdata if it is missing"
        ));
        TimeZone::UTC
    })
}

fn hours(key: &str, texts: &[String], zone: &TimeZone, problems: &mut Problems) -> Hours {
    if texts.is_empty() {
        problems.push(format!("{key} has no hours: write some, as in [\"22:00-06:00\", \"Sat 00:00-24:00\"]"));
    }
    Hours::parse(texts, zone.clone()).unwrap_or_else(|wrong| {
        for text in wrong {
            problems.push(format!(
                "{key} has {text:?}: write from and to, with days before them or without, as in \"22:00-06:00\", \
                 \"Sat 00:00-24:00\" or \"Mon-Fri 20:00-07:30\""
            ));
        }
        Hours::never()
    })
}

fn share(text: Option<&str>, problems: &mut Problems) -> Option<u8> {
    let text = text?;
    let number = text.trim().strip_suffix('%').and_then(|number| number.trim_end().parse().ok());
    match number {
        Some(100) => None,
        Some(share @ 1..100) => Some(share),
        _ => {
            problems.push(format!("uplink.backlog_share is {text:?}: write 1% to 100%, as in backlog_share = \"50%\""));
            None
        }
    }
}

/// Bytes a second.
fn rate(key: &str, text: Option<&str>, problems: &mut Problems) -> Option<u64> {
    let text = text?;
    let Some(bits) = bits_per_second(text.trim()) else {
        let name = key.rsplit('.').next().unwrap_or(key);
        problems.push(format!("{key} is {text:?}: write a number and bits a second, as in {name} = \"2 Mbit/s\""));
        return None;
    };
    if bits < limits::RATE_BITS_MIN {
        problems.push(format!("{key} is {text:?}: the least is {} kbit/s", limits::RATE_BITS_MIN / 1000));
    }
    Some(bits / 8)
}

fn bits_per_second(text: &str) -> Option<u64> {
    let units = [("kbit/s", 1e3), ("Mbit/s", 1e6), ("Gbit/s", 1e9), ("bit/s", 1.0)];
    let (number, unit) = units.iter().find_map(|&(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    let bits = number.trim_end().parse::<f64>().ok()? * unit;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 1 to 10^12")]
    (1.0..=1e12).contains(&bits).then_some(bits as u64)
}

#[cfg(test)]
mod tests;
