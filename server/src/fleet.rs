//! The fleet: how devices are, what they are told to do, how they are configured.
//!
//! `connections` knows who is connected to this server and waits for answers; `configurations` and `sightings` are rows
//! of the catalog, so that all servers on one store tell the same; `view` is what operators see of it.
//!
//! Rows in the space `Server`, beside those of [`crate::devices`]:
//!
//! ```text
//! [0x04][name][0x00][version: 8]   a pushed configuration, sealed: it may hold passwords of cameras
//! [0x05][name]                     Standing: what the device has made of its configurations
//! [0x06][name]                     Sighting: when and where it was connected last, and how it was
//! ```

mod configurations;
mod connections;
mod secrets;
mod sightings;
#[cfg(test)]
mod tests;
mod view;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use fragment::WallTime;
use tokio::sync::mpsc;
use upload::fleet::{CommandKind, Configuration, ConfigurationReport, ConfigurationState, Confirmation, Fetched};
use upload::{FromAgent, FromServer, Hello};
use vault::Vault;

use crate::devices::{DeviceError, DeviceName, Devices};
use crate::storage::{Storage, now};
use crate::{limits, telemetry};

pub(crate) use configurations::{Configurations, ConfigureError, PushedVersion};
use connections::Connections;
pub(crate) use secrets::without_secrets;
use sightings::{Sighting, Sightings};
pub(crate) use view::{ConfigurationView, DeviceView, FetchView, Whereabouts};

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("there is no device {0}")]
    Unknown(DeviceName),
    #[error("the device {0} is not connected{last}; commands reach only devices that are", last = last_seen(*.1))]
    Offline(DeviceName, Option<WallTime>),
    #[error("the device {0} is connected to the server at {1}; give the command there")]
    Elsewhere(DeviceName, String),
    #[error("no server runs here, and only a running one has devices connected")]
    NoServer,
    #[error("the agent {1} of the device {0} is too old for commands; update it")]
    TooOld(DeviceName, String),
    #[error("the device {0} has not answered several commands yet; try again later")]
    Busy(DeviceName),
    #[error("the device {0} did not answer within {1} s")]
    NoAnswer(DeviceName, u64),
    #[error("the connection to the device {0} ended before it answered; try again")]
    Lost(DeviceName),
    #[error("the device {0} says: {1}")]
    Failed(DeviceName, String),
    #[error("the device {0} sent more than {max} bytes as an answer", max = upload::limits::RESULT_BYTES_MAX)]
    TooLarge(DeviceName),
    #[error("the range holds no time: its end has to be later than its beginning")]
    EmptyRange,
    #[error("what the device {0} answered can't be understood; update this server, or the device's agent")]
    Unreadable(DeviceName),
    #[error(transparent)]
    Storage(#[from] DeviceError),
}

fn last_seen(at: Option<WallTime>) -> String {
    at.map_or_else(String::new, |at| format!(" (last seen {})", view::timestamp(at)))
}

/// The fleet as this process sees it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fleet(Arc<Inner>);

struct Inner {
    devices: Devices,
    configurations: Configurations,
    sightings: Sightings,
    connections: Connections,
    /// How others name this server; unset where none runs.
    server: OnceLock<String>,
    /// Whether other servers have devices of the same catalog.
    shared: bool,
}

/// A device's place among the connected ones. It is given up when dropped.
pub(crate) struct Seat {
    fleet: Fleet,
    name: DeviceName,
    id: u64,
}

impl Fleet {
    /// The fleet of this store.
    pub(crate) fn new(storage: &Storage, devices: Devices) -> Self {
        Self::of_vault(storage.archive().vault(), devices, storage.is_shared())
    }

    /// The fleet whose rows are in this vault's catalog.
    pub(crate) fn of_vault(vault: &Vault, devices: Devices, shared: bool) -> Self {
        Self(Arc::new(Inner {
            configurations: Configurations::new(vault.clone(), devices.clone()),
            sightings: Sightings::new(vault.catalog().clone()),
            connections: Connections::default(),
            devices,
            server: OnceLock::new(),
            shared,
        }))
    }

    /// Devices reach this server here, and so others name it.
    pub(crate) fn serves_at(&self, server: &str) {
        let _ = self.0.server.set(server.to_owned());
    }

    /// The pushed configurations.
    pub(crate) fn configurations(&self) -> &Configurations {
        &self.0.configurations
    }

    /// All devices in the order of their names. Blocks.
    pub(crate) fn list(&self) -> Result<Vec<DeviceView>, DeviceError> {
        let devices = self.0.devices.list()?;
        devices.into_iter().map(|(name, device)| self.view(&name, &device)).collect()
    }

    /// One device. Blocks.
    pub(crate) fn show(&self, name: &DeviceName) -> Result<DeviceView, DeviceError> {
        let device = self.0.devices.get(name)?.ok_or_else(|| DeviceError::Unknown(name.to_string()))?;
        self.view(name, &device)
    }

    fn view(&self, name: &DeviceName, device: &crate::devices::Device) -> Result<DeviceView, DeviceError> {
        let standing = self.0.configurations.standing(name)?;
        let here = self.0.connections.sighting(name, self.server_name());
        let seen = match here {
            Some(here) => Some((here, Whereabouts::Here)),
            None => self.0.sightings.get(name)?.map(|seen| {
                let place = if self.is_elsewhere(&seen) { Whereabouts::Elsewhere } else { Whereabouts::Offline };
                (seen, place)
            }),
        };
        Ok(DeviceView::new(name, device, standing, seen))
    }

    /// Whether another server has this device, as far as the catalog tells.
    fn is_elsewhere(&self, seen: &Sighting) -> bool {
        let fresh = now().since(WallTime::from_nanos(seen.at_ns)) < limits::SIGHTING_FRESH;
        self.0.shared && seen.connected && fresh && seen.server != self.server_name()
    }

    fn server_name(&self) -> &str {
        self.0.server.get().map_or("", String::as_str)
    }

    /// Has a device do something, and waits for what comes of it.
    pub(crate) async fn command(&self, name: &DeviceName, kind: CommandKind) -> Result<Bytes, CommandError> {
        let patience = match kind {
            CommandKind::Ping => limits::PING_WAIT,
            _ => limits::COMMAND_WAIT,
        };
        self.command_within(patience, name, kind).await
    }

    /// Has a device upload what it has recorded in a range of time; answers what of it there is.
    pub(crate) async fn fetch(
        &self,
        name: &DeviceName,
        stream: String,
        from: WallTime,
        to: WallTime,
    ) -> Result<FetchView, CommandError> {
        if to <= from {
            return Err(CommandError::EmptyRange);
        }
        let answer = self.command(name, CommandKind::Fetch { stream, from, to }).await?;
        let fetched = Fetched::decode(answer).ok_or_else(|| CommandError::Unreadable(name.clone()))?;
        Ok(fetched.into())
    }

    async fn command_within(
        &self,
        patience: Duration,
        name: &DeviceName,
        kind: CommandKind,
    ) -> Result<Bytes, CommandError> {
        let Some(asked) = self.0.connections.ask(name, kind) else {
            return Err(self.why_not_here(name).await);
        };
        let answer = tokio::time::timeout(patience, asked?.answer(name));
        answer.await.unwrap_or_else(|_| Err(CommandError::NoAnswer(name.clone(), patience.as_secs())))
    }

    async fn why_not_here(&self, name: &DeviceName) -> CommandError {
        let (fleet, name) = (self.clone(), name.clone());
        let looked = tokio::task::spawn_blocking(move || {
            if fleet.0.devices.get(&name)?.is_none() {
                return Ok(CommandError::Unknown(name));
            }
            Ok(match fleet.0.sightings.get(&name)? {
                Some(seen) if fleet.is_elsewhere(&seen) => CommandError::Elsewhere(name, seen.server),
                _ if fleet.0.server.get().is_none() => CommandError::NoServer,
                seen => CommandError::Offline(name, seen.map(|seen| WallTime::from_nanos(seen.at_ns))),
            })
        });
        match looked.await {
            Ok(Ok(error)) => error,
            Ok(Err(error)) => CommandError::Storage(error),
            Err(error) => CommandError::Storage(DeviceError::Storage(error.to_string())),
        }
    }

    /// A device has connected. What comes out of the queue is to be said to it.
    pub(crate) fn connect(
        &self,
        name: &DeviceName,
        remote: SocketAddr,
        hello: &Hello,
    ) -> (Seat, mpsc::Receiver<FromServer>) {
        let (id, queue) = self.0.connections.connect(name, remote, &hello.agent_version, now());
        telemetry::device_connected(name.as_str(), true);
        (Seat { fleet: self.clone(), name: name.clone(), id }, queue)
    }
}

impl Seat {
    /// Takes what the device says of itself.
    pub(crate) async fn hear(&self, message: FromAgent) {
        let connections = &self.fleet.0.connections;
        match message {
            FromAgent::Status(status) => {
                telemetry::device_status(self.name.as_str(), &status);
                connections.note_status(&self.name, self.id, *status, now());
            }
            FromAgent::Result(result) => connections.note_result(&self.name, self.id, result),
            FromAgent::Configuration(report) => self.note_report(report).await,
            FromAgent::Hello(_) | FromAgent::Unknown => {}
        }
    }

    async fn note_report(&self, report: ConfigurationReport) {
        let ConfigurationReport { version, state, .. } = report;
        tracing::info!(device = %self.name, version, %state, problems = ?report.problems, "a device tells of its configuration");
        let (fleet, name) = (self.fleet.clone(), self.name.clone());
        let noted = tokio::task::spawn_blocking(move || {
            let configurations = &fleet.0.configurations;
            configurations.note(&name, &report, now())?;
            let known = state == ConfigurationState::Trying && configurations.get(&name, version)?.is_some();
            Ok::<_, ConfigureError>((known, fleet.0.devices.get(&name)?.map_or(0, |device| device.configuration)))
        });
        match noted.await {
            Ok(Ok((confirmed, newest))) => {
                if confirmed {
                    let confirmation = FromServer::Confirmation(Confirmation { version });
                    self.fleet.0.connections.say(&self.name, self.id, confirmation);
                }
                let in_force = matches!(state, ConfigurationState::Kept | ConfigurationState::Trying);
                self.fleet.0.connections.note_version(&self.name, self.id, version, in_force);
                self.offer(newest).await;
            }
            Ok(Err(error)) => self.complain(&error),
            Err(error) => self.complain(&error),
        }
    }

    /// Gives the device its newest configuration, unless it has it.
    pub(crate) async fn offer(&self, newest: u64) {
        if !self.fleet.0.connections.lacks(&self.name, self.id, newest) {
            return;
        }
        let (fleet, name) = (self.fleet.clone(), self.name.clone());
        let read = tokio::task::spawn_blocking(move || fleet.0.configurations.get(&name, newest));
        match read.await {
            Ok(Ok(Some(pushed))) => {
                let given = Configuration { version: newest, toml: pushed.toml };
                if self.fleet.0.connections.say(&self.name, self.id, FromServer::Configuration(given)) {
                    self.fleet.0.connections.note_version(&self.name, self.id, newest, false);
                    tracing::info!(device = %self.name, version = newest, "a device was given its configuration");
                }
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => self.complain(&error),
            Err(error) => self.complain(&error),
        }
    }

    fn complain(&self, error: &dyn std::error::Error) {
        tracing::error!(device = %self.name, %error, "a device's configuration can't be read or noted");
    }

    /// Writes down that the device is connected, and how it is: now, and once a while until it is not polled any more.
    pub(crate) async fn keep_sighted(&self) -> Infallible {
        let mut interval = tokio::time::interval(limits::SIGHTING_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if let Some(seen) = self.fleet.0.connections.sighting(&self.name, self.fleet.server_name()) {
                self.fleet.clone().write_down(self.name.clone(), seen).await;
            }
        }
    }

    /// Writes down that its connection has ended, and gives the place up.
    pub(crate) async fn leave(self) {
        if let Some(seen) = self.fleet.0.connections.leave(&self.name, self.id, self.fleet.server_name()) {
            telemetry::device_connected(self.name.as_str(), false);
            let gone = Sighting { connected: false, at_ns: now().as_nanos(), ..seen };
            self.fleet.clone().write_down(self.name.clone(), gone).await;
        }
    }
}

impl Drop for Seat {
    /// For a session that was broken off; after [`Seat::leave`] there is nothing left.
    fn drop(&mut self) {
        self.fleet.0.connections.leave(&self.name, self.id, "");
    }
}

impl Fleet {
    async fn write_down(self, name: DeviceName, seen: Sighting) {
        let written = tokio::task::spawn_blocking(move || self.0.sightings.put(&name, &seen));
        if let Ok(Err(error)) = written.await {
            tracing::warn!(%error, "it can't be written down when a device was seen");
        }
    }
}

/// How long an operator's command about a device may take, the device's own time included.
pub(crate) fn patience() -> Duration {
    limits::COMMAND_WAIT + Duration::from_secs(5)
}
