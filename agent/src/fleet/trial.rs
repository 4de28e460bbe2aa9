//! What becomes of pushed configurations: pure decisions, kept by `store`.
//!
//! ```text
//!           given             heard from the server under it
//!  kept ───────────► on trial ──────────────────────────────► kept
//!    │ not valid        │ not heard in time, or started too often
//!    ▼                  ▼
//! refused          rolled back: the one before is in force
//! ```
//!
//! Each version is tried once. A version that was refused or rolled back is pushed again under a new one.

use serde::{Deserialize, Serialize};
use upload::fleet::{Configuration, ConfigurationReport, ConfigurationState};

use crate::limits;

/// The pushed configurations of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// What is in force, or will be again if the trial fails; `None` is the device's own file alone.
    kept: Option<Version>,
    /// What is being tried.
    trial: Option<Trial>,
    /// What came of the last one that was not kept.
    failed: Option<ConfigurationReport>,
}

/// A pushed configuration.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its version.
    pub version: u64,
    /// Its text.
    pub toml: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Trial {
    given: Version,
    /// How often the agent was started with it.
    starts: u32,
}

/// The text is not shown: it may hold passwords.
impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Version").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Pushed {
    /// What is in force now, on trial or kept.
    pub fn in_force(&self) -> Option<&Version> {
        self.trial.as_ref().map(|trial| &trial.given).or(self.kept.as_ref())
    }

    /// What is in force again if the trial fails, unless that is the device's own file alone.
    pub fn kept(&self) -> Option<&Version> {
        self.kept.as_ref()
    }

    /// The version that is on trial.
    pub fn on_trial(&self) -> Option<u64> {
        self.trial.as_ref().map(|trial| trial.given.version)
    }

    /// Whether this version is news.
    pub fn is_news(&self, version: u64) -> bool {
        let failed = self.failed.as_ref().map_or(0, |report| report.version);
        version > failed.max(self.in_force().map_or(0, |known| known.version))
    }

    /// The agent starts. A trial that was begun before goes on, unless it was started so often that it may be what
    /// ends the agent. Answers whether anything changed.
    pub fn start(&mut self) -> bool {
        let Some(trial) = &mut self.trial else { return false };
        trial.starts += 1;
        if trial.starts > limits::TRIAL_STARTS_MAX {
            let starts = trial.starts - 1;
            self.roll_back(&format!("the agent was started {starts} times with it, and the server did not confirm it"));
        }
        true
    }

    /// A valid configuration is tried from now on. One that is on trial already gives way, the kept one stays.
    pub fn begin(&mut self, given: Configuration) {
        let given = Version { version: given.version, toml: given.toml };
        self.trial = Some(Trial { given, starts: 1 });
    }

    /// A configuration is not valid.
    pub fn refuse(&mut self, version: u64, problems: &[String]) {
        self.failed = Some(ConfigurationReport::new(version, ConfigurationState::Refused, problems));
    }

    /// The server has heard the device under this version. Answers whether that ends the trial.
    pub fn confirm(&mut self, version: u64) -> bool {
        match self.trial.take_if(|trial| trial.given.version == version) {
            Some(trial) => {
                self.kept = Some(trial.given);
                true
            }
            None => false,
        }
    }

    /// The trial failed: what was kept is in force again.
    pub fn roll_back(&mut self, why: &str) {
        if let Some(trial) = self.trial.take() {
            let why = [why.to_owned()];
            self.failed = Some(ConfigurationReport::new(trial.given.version, ConfigurationState::RolledBack, &why));
        }
    }

    /// What is kept does not go with the device's own file any more: that alone is in force.
    pub fn give_up(&mut self, problems: &[String]) {
        let given = self.trial.take().map(|trial| trial.given).or_else(|| self.kept.take());
        if let Some(Version { version, .. }) = given {
            self.refuse(version, problems);
        }
    }

    /// What the server is to know.
    pub fn reports(&self) -> Vec<ConfigurationReport> {
        let (version, state) = match (&self.trial, &self.kept) {
            (Some(trial), _) => (trial.given.version, ConfigurationState::Trying),
            (None, kept) => (kept.as_ref().map_or(0, |kept| kept.version), ConfigurationState::Kept),
        };
        let in_force = ConfigurationReport::new(version, state, &[]);
        self.failed.iter().cloned().chain([in_force]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_kept_once_the_server_was_heard_under_it() {
        let mut pushed = Pushed::default();
        assert!(pushed.is_news(1));
        pushed.begin(given(1));
        assert_eq!((in_force(&pushed), pushed.on_trial()), (1, Some(1)));
        assert!(!pushed.confirm(2), "that is another one");
        assert!(pushed.confirm(1));
        assert_eq!((in_force(&pushed), pushed.on_trial()), (1, None));
        assert_eq!(pushed.reports(), [report(1, ConfigurationState::Kept)]);
        assert!(!pushed.is_news(1));
    }

    #[test]
    fn a_trial_that_fails_leaves_what_was_kept_before() {
        let mut pushed = kept(3);
        pushed.begin(given(4));
        pushed.roll_back("the server was not heard");
        assert_eq!((in_force(&pushed), pushed.on_trial()), (3, None));
        assert!(!pushed.is_news(4) && pushed.is_news(5));
        let reports = pushed.reports();
        assert_eq!((reports[0].version, reports[0].state), (4, ConfigurationState::RolledBack));
        assert_eq!(reports[0].problems, ["the server was not heard"]);
        assert_eq!(reports[1], report(3, ConfigurationState::Kept));
    }

    #[test]
    fn what_is_refused_changes_nothing_and_is_not_tried_again() {
        let mut pushed = kept(3);
        pushed.refuse(4, &["no".to_owned()]);
        assert_eq!(in_force(&pushed), 3);
        assert!(!pushed.is_news(4));
    }

    #[test]
    fn a_trial_goes_on_over_a_restart_but_not_over_many() {
        let mut pushed = kept(3);
        pushed.begin(given(4));
        for _ in 1..limits::TRIAL_STARTS_MAX {
            assert!(pushed.start());
            assert_eq!(pushed.on_trial(), Some(4));
        }
        assert!(pushed.start());
        assert_eq!((pushed.on_trial(), in_force(&pushed)), (None, 3));
        assert!(!pushed.start(), "without a trial a start changes nothing");
    }

    #[test]
    fn a_newer_one_takes_the_place_of_one_on_trial_and_falls_back_behind_both() {
        let mut pushed = kept(3);
        pushed.begin(given(4));
        pushed.begin(given(5));
        assert!(!pushed.confirm(4));
        pushed.roll_back("no");
        assert_eq!(in_force(&pushed), 3);
    }

    #[test]
    fn what_does_not_go_with_the_file_any_more_is_given_up() {
        let mut pushed = kept(3);
        pushed.give_up(&["no".to_owned()]);
        assert_eq!(in_force(&pushed), 0);
        assert_eq!(pushed.reports()[0].state, ConfigurationState::Refused);
    }

    fn kept(version: u64) -> Pushed {
        let mut pushed = Pushed::default();
        pushed.begin(given(version));
        assert!(pushed.confirm(version));
        pushed
    }

    fn in_force(pushed: &Pushed) -> u64 {
        pushed.in_force().map_or(0, |known| known.version)
    }

    fn given(version: u64) -> Configuration {
        Configuration { version, toml: String::new() }
    }

    fn report(version: u64, state: ConfigurationState) -> ConfigurationReport {
        ConfigurationReport { version, state, problems: Vec::new() }
    }
}
