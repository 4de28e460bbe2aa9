//! Configurations that are pushed to devices: their history, sealed, and what the devices have made of them.
//!
//! A version is one more than the newest of its device; that number stands in the device's record, so that one commit
//! decides between two operators, and so that all servers on the store notice (`Devices::changes`).

use serde::{Deserialize, Serialize};
use upload::fleet::{ConfigurationReport, ConfigurationState};
use vault::{Batch, Direction, Key, KeyRange, Space, Vault};

use super::secrets::{self, NotToml};
use crate::devices::{DeviceError, DeviceName, Devices};
use crate::limits;
use fragment::WallTime;

const CONFIGURATION: u8 = 4;
const STANDING: u8 = 5;

/// What [`Vault::seal_secret`] binds the texts to.
const LABEL: &str = "device configuration";

/// Why a configuration was not pushed, or can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigureError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("it has {0} bytes; a configuration that is pushed has at most {max}", max = upload::limits::CONFIGURATION_BYTES_MAX)]
    TooLarge(usize),
    #[error(transparent)]
    NotToml(#[from] NotToml),
    #[error("the device {0} has no version {1}; `millrace device configure {0} --history` lists those that are kept")]
    NoVersion(DeviceName, u64),
    #[error("a configuration can't be sealed or opened: {0}")]
    Sealed(String),
}

/// A pushed configuration.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Pushed {
    pub(crate) toml: String,
    pub(crate) at_ns: i64,
    /// Who did it, as the command line tells.
    pub(crate) by: String,
}

/// A pushed configuration in a list, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PushedVersion {
    pub(crate) version: u64,
    pub(crate) at_ns: i64,
    pub(crate) by: String,
}

/// What a device has made of its configurations, by its own reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// The version that is kept; 0 is the device's own file.
    pub(super) kept: u64,
    pub(super) on_trial: Option<u64>,
    /// The last one that was refused or rolled back.
    pub(super) failed: Option<ConfigurationReport>,
    pub(super) at_ns: i64,
}

/// All pushed configurations. The calls block.
pub(crate) struct Configurations {
    vault: Vault,
    devices: Devices,
}

impl Configurations {
    pub(super) fn new(vault: Vault, devices: Devices) -> Self {
        Self { vault, devices }
    }

    /// Pushes a text; answers its version. Whether it is valid only the device can say.
    pub(crate) fn push(&self, name: &DeviceName, toml: &str, by: &str, now: WallTime) -> Result<u64, ConfigureError> {
        self.push_onto(name, None, toml, by, now)
    }

    /// Pushes the newest text, revised; answers its version. `revise` is asked again if somebody else was quicker.
    pub(crate) fn revise<E: From<ConfigureError> + From<R>, R>(
        &self,
        name: &DeviceName,
        by: &str,
        now: WallTime,
        revise: impl Fn(&str) -> Result<String, R>,
    ) -> Result<u64, E> {
        for _ in 0..limits::COMMIT_ATTEMPTS_MAX {
            let device = self.devices.get(name).map_err(ConfigureError::from)?;
            let unknown = || ConfigureError::from(DeviceError::Unknown(name.to_string()));
            let newest = device.ok_or_else(unknown)?.configuration;
            let toml = self.get(name, newest)?.map_or_else(String::new, |pushed| pushed.toml);
            match self.push_onto(name, Some(newest), &revise(&toml)?, by, now) {
                Err(ConfigureError::Device(DeviceError::Reconfigured(_))) => {}
                pushed => return Ok(pushed?),
            }
        }
        Err(ConfigureError::from(DeviceError::Reconfigured(name.clone())).into())
    }

    /// Pushes a text, if need be only onto that version.
    fn push_onto(
        &self,
        name: &DeviceName,
        newest: Option<u64>,
        toml: &str,
        by: &str,
        now: WallTime,
    ) -> Result<u64, ConfigureError> {
        if toml.len() > upload::limits::CONFIGURATION_BYTES_MAX {
            return Err(ConfigureError::TooLarge(toml.len()));
        }
        secrets::check(toml)?;
        let by = by.chars().take(limits::OPERATOR_CHARS_MAX).collect();
        let pushed = Pushed { toml: toml.to_owned(), at_ns: now.as_nanos(), by };
        let text = serde_json::to_vec(&pushed).expect("a pushed configuration is plain JSON");
        let sealed = self.vault.seal_secret(LABEL, &text).map_err(|error| ConfigureError::Sealed(error.to_string()))?;
        let version = self.devices.configure(name, newest, |batch, version| {
            batch.insert(key(name, version), sealed.clone());
            if let Some(old) = version.checked_sub(limits::CONFIGURATIONS_KEPT) {
                batch.remove(key(name, old));
            }
        })?;
        Ok(version)
    }

    /// One of them.
    pub(crate) fn get(&self, name: &DeviceName, version: u64) -> Result<Option<Pushed>, ConfigureError> {
        let row = self.vault.catalog().get(&key(name, version)).map_err(|error| storage(&error))?;
        row.map(|row| self.open(&row)).transpose()
    }

    /// The versions that are kept, the newest last.
    pub(crate) fn history(&self, name: &DeviceName) -> Result<Vec<PushedVersion>, ConfigureError> {
        let prefix = Key::new(Space::Server, &prefix(name));
        let length = prefix.rest().len();
        let max = usize::try_from(limits::CONFIGURATIONS_KEPT).unwrap_or(usize::MAX) + 1;
        let rows = self.vault.catalog().scan(&KeyRange::prefix(prefix), Direction::Ascending, max);
        let rows = rows.map_err(|error| storage(&error))?;
        let entry = |row: vault::Row| {
            let version = row.key.rest()[length..].try_into().map(u64::from_be_bytes);
            let version = version.map_err(|_| storage(&"a key of a configuration is not one"))?;
            let Pushed { at_ns, by, .. } = self.open(&row.value)?;
            Ok(PushedVersion { version, at_ns, by })
        };
        rows.into_iter().map(entry).collect()
    }

    /// What the device has made of them.
    pub(super) fn standing(&self, name: &DeviceName) -> Result<Standing, DeviceError> {
        let row = self.vault.catalog().get(&standing_key(name)).map_err(|error| storage(&error))?;
        let standing = row.map(|row| serde_json::from_slice(&row).map_err(|error| storage(&error))).transpose()?;
        Ok(standing.unwrap_or_default())
    }

    /// Takes up a report of the device.
    pub(super) fn note(
        &self,
        name: &DeviceName,
        report: &ConfigurationReport,
        now: WallTime,
    ) -> Result<(), DeviceError> {
        let before = self.standing(name)?;
        let after = before.clone().with(report);
        // Each connection begins with the same reports: no row is written for those.
        if after == before {
            return Ok(());
        }
        let after = Standing { at_ns: now.as_nanos(), ..after };
        let mut batch = Batch::new();
        batch.insert(standing_key(name), serde_json::to_vec(&after).expect("a standing is plain JSON"));
        self.vault.catalog().commit(batch).map_err(|error| storage(&error))
    }

    fn open(&self, sealed: &[u8]) -> Result<Pushed, ConfigureError> {
        let text = self.vault.open_secret(LABEL, sealed).map_err(|error| ConfigureError::Sealed(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| ConfigureError::Sealed(error.to_string()))
    }
}

impl Standing {
    fn with(mut self, report: &ConfigurationReport) -> Self {
        match report.state {
            ConfigurationState::Kept => (self.kept, self.on_trial) = (report.version, None),
            ConfigurationState::Trying => self.on_trial = Some(report.version),
            ConfigurationState::Refused | ConfigurationState::RolledBack => {
                self.on_trial = self.on_trial.filter(|&version| version != report.version);
                self.failed = Some(report.clone());
            }
        }
        self
    }
}

fn storage(error: &dyn std::fmt::Display) -> DeviceError {
    DeviceError::Storage(error.to_string())
}

fn prefix(name: &DeviceName) -> Vec<u8> {
    [&[CONFIGURATION], name.as_str().as_bytes(), &[0]].concat()
}

fn key(name: &DeviceName, version: u64) -> Key {
    Key::new(Space::Server, &[&prefix(name)[..], &version.to_be_bytes()].concat())
}

fn standing_key(name: &DeviceName) -> Key {
    Key::new(Space::Server, &[&[STANDING], name.as_str().as_bytes()].concat())
}
