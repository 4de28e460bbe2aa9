//! The section `[spool]`: how much the device keeps, for how long, and how safely.

use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;
use spool::{Settings, SyncTime, WhenFull};

use super::Problems;
use crate::limits;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    bytes_max: Option<String>,
    age_max: Option<String>,
    when_full: Option<String>,
    sync: Option<String>,
    keep: Option<String>,
}

impl Raw {
    pub(super) fn resolve(self, problems: &mut Problems) -> Settings {
        let mut settings = Settings::from(self.bytes_max.map_or(limits::SPOOL_BYTES_DEFAULT, |text| {
            bytes_max(&text).unwrap_or_else(|problem| {
                problems.push(problem);
                limits::SPOOL_BYTES_DEFAULT
            })
        }));
        let mut take = |outcome: Result<(), String>| problems.extend(outcome.err());
        if let Some(text) = self.age_max {
            take(long("age_max", &text, "7 days").map(|age| settings.age_max = Some(age)));
        }
        if let Some(text) = self.keep {
            take(long("keep", &text, "24h").map(|keep| settings.keep = Some(keep)));
        }
        if let Some(text) = self.sync {
            take(sync(&text).map(|sync| settings.sync = sync));
        }
        if let Some(text) = self.when_full {
            take(when_full(&text).map(|when_full| settings.when_full = when_full));
        }
        settings
    }
}

fn bytes_max(text: &str) -> Result<u64, String> {
    match text.trim().parse().ok().map(|size: ByteSize| size.as_u64()) {
        Some(bytes) if bytes >= limits::SPOOL_BYTES_MIN => Ok(bytes),
        Some(_) => Err(format!(
            "spool.bytes_max is {text:?}: the least is {} MiB, room for two large fragments",
            limits::SPOOL_BYTES_MIN >> 20
        )),
        None => Err(format!("spool.bytes_max is {text:?}: write a number and a unit, as in bytes_max = \"8 GiB\"")),
    }
}

fn when_full(text: &str) -> Result<WhenFull, String> {
    match text {
        "drop-oldest" => Ok(WhenFull::DropOldest),
        "stop-recording" => Ok(WhenFull::StopRecording),
        _ => Err(format!(
            "spool.when_full is {text:?}: write \"drop-oldest\" to lose the oldest, or \"stop-recording\" to lose the newest"
        )),
    }
}

fn sync(text: &str) -> Result<SyncTime, String> {
    let (least, most) = (limits::SYNC_INTERVAL_MIN, limits::SYNC_INTERVAL_MAX);
    match humantime::parse_duration(text.trim()) {
        _ if text == "fragment" => Ok(SyncTime::Fragment),
        Ok(interval) if (least..=most).contains(&interval) => Ok(SyncTime::Interval(interval)),
        _ => Err(format!(
            "spool.sync is {text:?}: write \"fragment\", or an interval from {} to {} seconds, as in sync = \"10s\"",
            least.as_secs(),
            most.as_secs()
        )),
    }
}

/// A time of a minute or more.
fn long(key: &str, text: &str, example: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text.trim()) {
        Ok(duration) if duration >= limits::SPOOL_AGE_MIN => Ok(duration),
        Ok(_) => Err(format!("spool.{key} is {text:?}: the least is a minute; leave it out to do without")),
        Err(_) => Err(format!("spool.{key} is {text:?}: write a number and a unit, as in {key} = \"{example}\"")),
    }
}
