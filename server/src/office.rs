//! The operator's commands, carried out. The same code serves the running server (through `admin`) and
//! the command line that opens the data folder itself when no server runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use fragment::{StreamName, WallTime};
use serde::{Deserialize, Serialize};
use upload::JoinToken;

use crate::backup::{self, Manifest};
use crate::ca::Ca;
use crate::devices::{Device, DeviceName, Devices};
use crate::limits;
use crate::master_keys::{self, KeyCommand, KeyInfo};
use crate::storage::{self, Storage, StreamInfo};

/// What an operator may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    AddDevice {
        name: String,
        streams: Vec<String>,
        validity_seconds: u64,
    },
    ListDevices,
    RevokeDevice {
        name: String,
    },
    CreateStream {
        name: String,
        retention_seconds: u64,
        max_bytes: Option<u64>,
    },
    ListStreams,
    DescribeStream {
        name: String,
    },
    /// What is `None` stays as it is; 0 bytes are no bound.
    UpdateStream {
        name: String,
        retention_seconds: Option<u64>,
        max_bytes: Option<u64>,
    },
    DeleteStream {
        name: String,
    },
    Check,
    Backup {
        to: PathBuf,
    },
    Key(KeyCommand),
}

impl Command {
    /// How long a running server may take for it.
    pub(crate) fn patience(&self) -> Duration {
        match self {
            // It reads everything that is stored.
            Self::Check | Self::Backup { .. } => limits::CHECK_WAIT,
            Self::Key(KeyCommand::Rotate) => limits::ROTATION_WAIT,
            _ => limits::ADMIN_WAIT,
        }
    }
}

/// What it is answered with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Done,
    Token { token: String, quic: Option<String> },
    Devices(Vec<DeviceInfo>),
    Streams(Vec<StreamInfo>),
    Checked(CheckReport),
    BackedUp(Manifest),
    Keys(Vec<KeyInfo>),
    Rotated { id: String, data_keys: u64, retired: Vec<String> },
    Failed(String),
}

/// What a check of everything stored found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CheckReport {
    pub(crate) segments: u64,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) fragments: u64,
    pub(crate) unreferenced: u64,
    /// How many disagreements there are.
    pub(crate) findings: u64,
    /// The first of them, in words.
    pub(crate) first: Vec<String>,
}

/// A device in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceInfo {
    pub(crate) name: String,
    pub(crate) device: Device,
}

/// Why a command failed: whatever its subject had to say, for a person to read.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Who carries commands out.
#[derive(Clone)]
pub(crate) struct Office {
    pub(crate) ca: Arc<Ca>,
    pub(crate) devices: Devices,
    pub(crate) storage: Storage,
    /// Where devices reach this server, if it runs.
    pub(crate) quic: Option<String>,
}

impl Office {
    /// Carries out a command; a failure is an answer too.
    pub(crate) async fn carry_out(&self, command: Command) -> Answer {
        let command = match command {
            Command::DeleteStream { name } => return self.delete_stream(&name).await.unwrap_or_else(Answer::from),
            Command::Backup { to } => {
                let backup = backup::make(&self.storage, &to).await;
                return backup.map_or_else(|error| Answer::Failed(error.to_string()), Answer::BackedUp);
            }
            Command::Key(command) => {
                if let Err(error) = master_keys::check(&command, self.storage.shares_keyring()) {
                    return Answer::Failed(error.to_string());
                }
                let vault = self.storage.archive().vault();
                let answer = master_keys::on_open_vault(vault, command).await;
                return answer.unwrap_or_else(|error| Answer::Failed(error.to_string()));
            }
            command => command,
        };
        let office = self.clone();
        let answer =
            tokio::task::spawn_blocking(move || office.carry_out_blocking(command).unwrap_or_else(Answer::from));
        answer.await.unwrap_or_else(|error| Answer::Failed(error.to_string()))
    }

    fn carry_out_blocking(&self, command: Command) -> Result<Answer, Failure> {
        let now = storage::now();
        Ok(match command {
            Command::AddDevice { name, streams, validity_seconds } => {
                self.add_device(&name, &streams, now, Duration::from_secs(validity_seconds))?
            }
            Command::ListDevices => Answer::Devices(self.list_devices()?),
            Command::RevokeDevice { name } => {
                self.devices.revoke(&name.parse()?, now)?;
                Answer::Done
            }
            Command::CreateStream { name, retention_seconds, max_bytes } => {
                self.storage.create_stream(&name.parse()?, Duration::from_secs(retention_seconds), max_bytes)?;
                Answer::Done
            }
            Command::ListStreams => Answer::Streams(self.storage.streams()?),
            Command::DescribeStream { name } => Answer::Streams(vec![self.storage.describe(&name.parse()?)?]),
            Command::UpdateStream { name, retention_seconds, max_bytes } => {
                self.storage.set_retention(&name.parse()?, retention_seconds.map(Duration::from_secs), max_bytes)?;
                Answer::Done
            }
            Command::Check => Answer::Checked(self.storage.check(now)?),
            Command::DeleteStream { .. } | Command::Backup { .. } | Command::Key(_) => {
                return Err("this command has to be awaited".into());
            }
        })
    }

    async fn delete_stream(&self, name: &str) -> Result<Answer, Failure> {
        self.storage.delete_stream(&name.parse()?).await?;
        Ok(Answer::Done)
    }

    fn add_device(&self, name: &str, streams: &[String], now: WallTime, validity: Duration) -> Result<Answer, Failure> {
        let name: DeviceName = name.parse()?;
        for stream in streams {
            stream.parse::<StreamName>()?;
        }
        let mut secret = [0; 32];
        rand::fill(&mut secret).map_err(|_| "the system gives no random numbers")?;
        self.devices.add(&name, streams, &secret, now, validity)?;
        let token = JoinToken { ca_sha256: self.ca.sha256(), secret };
        Ok(Answer::Token { token: token.to_string(), quic: self.quic.clone() })
    }

    fn list_devices(&self) -> Result<Vec<DeviceInfo>, crate::devices::DeviceError> {
        let devices = self.devices.list()?;
        Ok(devices.into_iter().map(|(name, device)| DeviceInfo { name: name.to_string(), device }).collect())
    }
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.to_string())
    }
}

impl DeviceInfo {
    /// Where it stands, in a word.
    pub(crate) fn state(&self) -> &'static str {
        let now = storage::now().as_nanos();
        match &self.device {
            Device { revoked_ns: Some(_), .. } => "revoked",
            Device { expires_ns: Some(expires), .. } if *expires <= now => "expired",
            Device { joined_ns: Some(_), .. } => "enrolled",
            _ => "waiting",
        }
    }
}
