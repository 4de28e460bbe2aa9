//! The operator's commands, carried out. The same code serves the running server (through `admin`) and
//! the command line that opens the data folder itself when no server runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fragment::{StreamName, WallTime};
use serde::{Deserialize, Serialize};
use upload::JoinToken;
use upload::fleet::CommandKind;

use crate::access_keys::{AccessKeyCommand, AccessKeyView, AccessKeys, Created};
use crate::backup::{self, Manifest};
use crate::ca::Ca;
use crate::devices::{DeviceName, Devices};
use crate::fleet::{
    self, ConfigurationView, ConfigureError, DeviceView, FetchView, Fleet, PushedVersion, without_secrets,
};
use crate::limits;
use crate::master_keys::{self, KeyCommand, KeyInfo};
use crate::media_secrets::{MediaSecrets, SecretCommand};
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
    ShowDevice {
        name: String,
    },
    Configure {
        name: String,
        wanted: Configure,
    },
    PingDevice {
        name: String,
    },
    RestartCamera {
        name: String,
        stream: String,
    },
    Snapshot {
        name: String,
        stream: String,
        width_max: u32,
    },
    Fetch {
        name: String,
        stream: String,
        from_ns: i64,
        to_ns: i64,
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
    AccessKey(AccessKeyCommand),
    Secret(SecretCommand),
}

/// What is done with a device's configurations.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Configure {
    /// Pushes this text.
    Push { toml: String, by: String },
    /// Pushes the text of an earlier version again.
    PushAgain { version: u64, by: String },
    /// Tells one, the newest unless another is named.
    Show { version: Option<u64>, with_secrets: bool },
    /// Tells which there are.
    History,
}

/// A text that is pushed is not shown: it may hold passwords.
impl std::fmt::Debug for Configure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Push { .. } => "Push",
            Self::PushAgain { .. } => "PushAgain",
            Self::Show { .. } => "Show",
            Self::History => "History",
        })
    }
}

impl Command {
    /// How long a running server may take for it.
    pub(crate) fn patience(&self) -> Duration {
        match self {
            // It reads everything that is stored.
            Self::Check | Self::Backup { .. } => limits::CHECK_WAIT,
            Self::Key(KeyCommand::Rotate) => limits::ROTATION_WAIT,
            Self::PingDevice { .. } | Self::RestartCamera { .. } | Self::Snapshot { .. } | Self::Fetch { .. } => {
                fleet::patience()
            }
            _ => limits::ADMIN_WAIT,
        }
    }
}

/// What it is answered with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Done,
    Token {
        token: String,
        quic: Option<String>,
    },
    Devices(Vec<DeviceView>),
    Configured {
        version: u64,
    },
    Configuration(String),
    Configurations {
        versions: Vec<PushedVersion>,
        device: ConfigurationView,
    },
    Said(String),
    /// A picture, in base64.
    Picture(String),
    Fetching(FetchView),
    Streams(Vec<StreamInfo>),
    Checked(CheckReport),
    BackedUp(Manifest),
    Keys(Vec<KeyInfo>),
    Rotated {
        id: String,
        data_keys: u64,
        retired: Vec<String>,
    },
    /// One that was just made.
    AccessKey {
        id: String,
        secret: String,
    },
    AccessKeys(Vec<AccessKeyView>),
    /// The names of all.
    Secrets(Vec<String>),
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

/// Why a command failed: whatever its subject had to say, for a person to read.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Who carries commands out.
#[derive(Clone)]
pub(crate) struct Office {
    pub(crate) ca: Arc<Ca>,
    pub(crate) devices: Devices,
    pub(crate) storage: Storage,
    pub(crate) fleet: Fleet,
    /// Where devices reach this server, if it runs.
    pub(crate) quic: Option<String>,
}

impl Office {
    /// Carries out a command; a failure is an answer too.
    pub(crate) async fn carry_out(&self, command: Command) -> Answer {
        let command = match command {
            Command::DeleteStream { name } => return self.delete_stream(&name).await.unwrap_or_else(Answer::from),
            Command::UpdateStream { name, retention_seconds, max_bytes } => {
                let time = retention_seconds.map(Duration::from_secs);
                return self.update_stream(&name, time, max_bytes).await.unwrap_or_else(Answer::from);
            }
            Command::PingDevice { name } => return self.ping(&name).await.unwrap_or_else(Answer::from),
            Command::RestartCamera { name, stream } => {
                let kind = CommandKind::RestartCamera { stream };
                let done = self.tell_device(&name, kind).await;
                return done.map_or_else(Answer::from, |_| Answer::Done);
            }
            Command::Snapshot { name, stream, width_max } => {
                let picture = self.tell_device(&name, CommandKind::Snapshot { stream, width_max }).await;
                return picture.map_or_else(Answer::from, |jpeg| Answer::Picture(STANDARD.encode(jpeg)));
            }
            Command::Fetch { name, stream, from_ns, to_ns } => {
                let (from, to) = (WallTime::from_nanos(from_ns), WallTime::from_nanos(to_ns));
                return self.fetch(&name, stream, from, to).await.unwrap_or_else(Answer::from);
            }
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
            Command::ListDevices => Answer::Devices(self.fleet.list()?),
            Command::ShowDevice { name } => Answer::Devices(vec![self.fleet.show(&name.parse()?)?]),
            Command::Configure { name, wanted } => self.configure(&name.parse()?, wanted, now)?,
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
            Command::Check => Answer::Checked(self.storage.check(now)?),
            Command::AccessKey(command) => self.access_key(command, now)?,
            Command::Secret(command) => self.secret(command)?,
            Command::DeleteStream { .. }
            | Command::UpdateStream { .. }
            | Command::Backup { .. }
            | Command::Key(_)
            | Command::PingDevice { .. }
            | Command::RestartCamera { .. }
            | Command::Snapshot { .. }
            | Command::Fetch { .. } => {
                return Err("this command has to be awaited".into());
            }
        })
    }

    async fn update_stream(&self, name: &str, time: Option<Duration>, bytes: Option<u64>) -> Result<Answer, Failure> {
        self.storage.set_retention(&name.parse()?, time, bytes).await?;
        Ok(Answer::Done)
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

    fn access_key(&self, command: AccessKeyCommand, now: WallTime) -> Result<Answer, Failure> {
        let keys = AccessKeys::new(self.storage.archive().vault().clone());
        Ok(match command {
            AccessKeyCommand::Create { role, streams } => {
                let Created { id, secret } = keys.create(role, streams, now)?;
                Answer::AccessKey { id, secret: secret.to_string() }
            }
            AccessKeyCommand::List => Answer::AccessKeys(keys.list()?),
            AccessKeyCommand::Disable { id } => keys.disable(&id, now).map(|()| Answer::Done)?,
            AccessKeyCommand::Enable { id } => keys.enable(&id).map(|()| Answer::Done)?,
            AccessKeyCommand::Delete { id } => keys.delete(&id).map(|()| Answer::Done)?,
        })
    }

    fn secret(&self, command: SecretCommand) -> Result<Answer, Failure> {
        let secrets = MediaSecrets::new(self.storage.archive().vault().clone());
        Ok(match command {
            SecretCommand::Put { name, uri } => secrets.put(&name, &uri).map(|()| Answer::Done)?,
            SecretCommand::List => Answer::Secrets(secrets.list()?),
            SecretCommand::Delete { name } => secrets.delete(&name).map(|()| Answer::Done)?,
        })
    }

    fn configure(&self, name: &DeviceName, wanted: Configure, now: WallTime) -> Result<Answer, Failure> {
        let configurations = self.fleet.configurations();
        let device = self.fleet.show(name)?.configuration;
        let get = |version: u64| {
            let pushed = configurations.get(name, version)?;
            pushed.ok_or_else(|| ConfigureError::NoVersion(name.clone(), version))
        };
        Ok(match wanted {
            Configure::Push { toml, by } => Answer::Configured { version: configurations.push(name, &toml, &by, now)? },
            Configure::PushAgain { version, by } => {
                Answer::Configured { version: configurations.push(name, &get(version)?.toml, &by, now)? }
            }
            Configure::Show { version: None, .. } if device.newest == 0 => {
                return Err(
                    format!("no configuration was pushed to the device {name}; it works by its own file").into()
                );
            }
            Configure::Show { version, with_secrets } => {
                let toml = get(version.unwrap_or(device.newest))?.toml;
                Answer::Configuration(if with_secrets { toml } else { without_secrets(&toml)? })
            }
            Configure::History => Answer::Configurations { versions: configurations.history(name)?, device },
        })
    }

    async fn tell_device(&self, name: &str, kind: CommandKind) -> Result<Bytes, Failure> {
        Ok(self.fleet.command(&name.parse()?, kind).await?)
    }

    async fn fetch(&self, name: &str, stream: String, from: WallTime, to: WallTime) -> Result<Answer, Failure> {
        Ok(Answer::Fetching(self.fleet.fetch(&name.parse()?, stream, from, to).await?))
    }

    async fn ping(&self, name: &str) -> Result<Answer, Failure> {
        let asked = Instant::now();
        let version = self.tell_device(name, CommandKind::Ping).await?;
        let millis = asked.elapsed().as_millis();
        Ok(Answer::Said(format!("{name} answered in {millis} ms; its agent is {}", String::from_utf8_lossy(&version))))
    }
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.to_string())
    }
}
