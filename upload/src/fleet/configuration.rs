//! A configuration that a server gives to a device, and what the device makes of it.
//!
//! ```text
//! Configuration        1 version: uint64   2 toml: string
//! ConfigurationReport  1 version: uint64   2 state: uint32   3 problems: repeated string
//! Confirmation         1 version: uint64
//! ```
//!
//! A version rises with each configuration of a device. The device tries one, says so with `Trying` over a connection
//! made under it, and keeps it when the Confirmation comes; otherwise it goes back to what it had.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::cut;
use crate::limits;

/// A configuration for the device.
#[derive(Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Its version, from 1.
    pub version: u64,
    /// The text, which may hold passwords of cameras.
    pub toml: String,
}

/// What a device has made of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationReport {
    /// Which one; 0 is the device's own file.
    pub version: u64,
    /// What became of it.
    pub state: ConfigurationState,
    /// Why it was not kept, for people.
    pub problems: Vec<String>,
}

/// What became of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigurationState {
    /// It is in force.
    Kept,
    /// It is in force until it is confirmed or its time is over.
    Trying,
    /// It is not valid.
    Refused,
    /// It was in force, and the server was not there any more.
    RolledBack,
}

/// The server has heard from the device under this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// Which one.
    pub version: u64,
}

/// The text is not shown: it may hold passwords.
impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configuration").field("version", &self.version).finish_non_exhaustive()
    }
}

impl fmt::Display for ConfigurationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "kept",
            Self::Trying => "on trial",
            Self::Refused => "refused",
            Self::RolledBack => "rolled back",
        })
    }
}

impl ConfigurationReport {
    /// The report, its problems cut to what a message carries.
    pub fn new(version: u64, state: ConfigurationState, problems: &[String]) -> Self {
        let problems = problems.iter().take(limits::PROBLEMS_MAX);
        Self { version, state, problems: problems.map(|text| cut(text, limits::PROBLEM_TEXT_BYTES_MAX)).collect() }
    }

    pub(crate) fn to_proto(&self) -> proto::ConfigurationReport {
        let Self { version, state, problems } = Self::new(self.version, self.state, &self.problems);
        proto::ConfigurationReport { version, state: number(state), problems }
    }

    /// `None` for a state that this version does not know.
    pub(crate) fn from_proto(report: &proto::ConfigurationReport) -> Option<Self> {
        let state = [
            ConfigurationState::Kept,
            ConfigurationState::Trying,
            ConfigurationState::Refused,
            ConfigurationState::RolledBack,
        ];
        let state = state.into_iter().find(|&state| number(state) == report.state)?;
        Some(Self::new(report.version, state, &report.problems))
    }
}

fn number(state: ConfigurationState) -> u32 {
    match state {
        ConfigurationState::Kept => 1,
        ConfigurationState::Trying => 2,
        ConfigurationState::Refused => 3,
        ConfigurationState::RolledBack => 4,
    }
}

/// The fields on the wire.
pub(crate) mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Configuration {
        #[prost(uint64, tag = "1")]
        pub(crate) version: u64,
        #[prost(string, tag = "2")]
        pub(crate) toml: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ConfigurationReport {
        #[prost(uint64, tag = "1")]
        pub(crate) version: u64,
        #[prost(uint32, tag = "2")]
        pub(crate) state: u32,
        #[prost(string, repeated, tag = "3")]
        pub(crate) problems: Vec<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Confirmation {
        #[prost(uint64, tag = "1")]
        pub(crate) version: u64,
    }
}
