//! `[fleet]` of the configuration: what the server may change. It counts in the device's own file only.

use std::time::Duration;

use serde::Deserialize;

use super::Problems;

/// What the server may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// Whether a pushed configuration is taken.
    pub takes_pushed: bool,
    /// Whether the file says so itself: then a device without a camera waits for one.
    pub waits: bool,
    /// How long a pushed configuration may take to be confirmed by the server.
    pub trial: Duration,
}

/// What is done with a pushed configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Pushed {
    Accept,
    Ignore,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pushed: Option<Pushed>,
    trial: Option<String>,
}

/// Long enough for a server that is just being started again; short enough that nobody drives to the camera meanwhile.
const TRIAL: Duration = Duration::from_secs(120);

impl Raw {
    pub(super) fn resolve(&self, problems: &mut Problems) -> Fleet {
        let takes_pushed = self.pushed != Some(Pushed::Ignore);
        if !takes_pushed && self.trial.is_some() {
            problems.push("fleet.trial has no effect with pushed = \"ignore\": remove one of them".to_owned());
        }
        Fleet { takes_pushed, waits: self.pushed == Some(Pushed::Accept), trial: self.trial(problems) }
    }

    fn trial(&self, problems: &mut Problems) -> Duration {
        let Some(text) = &self.trial else { return TRIAL };
        match humantime::parse_duration(text) {
            Ok(trial) if (Duration::from_secs(10)..=Duration::from_secs(3600)).contains(&trial) => trial,
            _ => {
                problems.push(format!("fleet.trial is {text:?}: write 10s to 1h, as in trial = \"2m\""));
                TRIAL
            }
        }
    }
}
