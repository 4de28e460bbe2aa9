//! StartEdgeConfigurationUpdate, DescribeEdgeConfiguration, DeleteEdgeConfiguration and ListEdgeAgentConfigurations: what a device
//! is to record for a stream. It is kept with the stream's attributes, and reaches the device as a configuration that is
//! pushed to it; how far it has come is what the device says of that.

mod config;
mod device;
mod schedule;

use archive::Stream;
use fragment::WallTime;
use serde::{Deserialize, Serialize};

use config::{EdgeConfig, device_in};
use device::MappingError;

use crate::access_keys::Access;
use crate::devices::{DeviceError, DeviceName};
use crate::fleet::{ConfigureError, DeviceView, Whereabouts};
use crate::kinesis_video::members::Members;
use crate::kinesis_video::operation::{Call, Done, Operation};
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::rules;
use crate::kinesis_video::streams::{StreamReference, page_token, seconds, token_name};
use crate::media_secrets::{MediaSecrets, SecretError};
use crate::storage;

/// What is kept of an edge configuration with its stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::kinesis_video) struct Edge {
    config: EdgeConfig,
    created_ms: i64,
    updated_ms: i64,
    /// The configuration that was pushed to the device for it. 0 until it is.
    pushed: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Described {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    arn: String,
    creation_time: f64,
    last_updated_time: f64,
    sync_status: SyncStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_status_details: Option<String>,
    edge_config: EdgeConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    edge_agent_status: Option<EdgeAgentStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum SyncStatus {
    /// The device has not heard of it.
    Syncing,
    /// The device tries it.
    Acknowledged,
    /// The device works by it.
    InSync,
    /// The device can't, or has not answered.
    SyncFailed,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EdgeAgentStatus {
    last_recorder_status: RecorderStatus,
    last_uploader_status: UploaderStatus,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RecorderStatus {
    job_status_details: String,
    last_collected_time: f64,
    last_updated_time: f64,
    recorder_status: JobStatus,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct UploaderStatus {
    job_status_details: String,
    last_collected_time: f64,
    last_updated_time: f64,
    uploader_status: JobStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum JobStatus {
    Success,
    SystemError,
}

pub(super) struct StartEdgeConfigurationUpdate {
    stream: StreamReference,
    config: EdgeConfig,
}

impl Operation for StartEdgeConfigurationUpdate {
    const NAME: &'static str = "StartEdgeConfigurationUpdate";
    const PATH: &'static str = "/startEdgeConfigurationUpdate";
    const ACCESS: Access = Access::Manage;
    type Answer = Described;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        Ok(Self { stream: StreamReference::read(members)?, config: EdgeConfig::read(members)? })
    }

    async fn carry_out(self, call: Call) -> Result<Described, Refusal> {
        call.blocking(move |call| {
            let stream = call.find_retained(&self.stream)?;
            let device = call.hub(&self.config, &stream)?;
            let before = call.attributes(&stream)?.edge;
            if let Some(before) = &before
                && call.standing(before).0.is_under_way()
            {
                let why = "The last edge configuration is still on its way to the device.";
                return Err(Refusal::InUse(why.to_owned()));
            }
            let uri = call.media_uri(&self.config)?;
            let hours =
                self.config.uploader_config.as_ref().map(|uploader| uploader.schedule_config.hours()).transpose()?;
            // A device that the stream had before gives its camera up.
            let other = before
                .as_ref()
                .and_then(|before| before.config.device().ok())
                .filter(|other| other.as_str() != device.name);
            if let Some(other) = other {
                call.push(&other, |pushed| device::without(pushed, stream.name.as_str()))?;
            }
            let now = storage::now().as_millis();
            let created_ms = before.map_or(now, |before| before.created_ms);
            let own = own_cameras(&device, &stream);
            let name = self.config.device()?;
            let pushed = call.push(&name, |pushed| {
                if !own.is_empty() && !device::has_cameras(pushed)? {
                    return Err(MappingError::OwnCameras(own.join(", ")));
                }
                device::with(pushed, stream.name.as_str(), &self.config, &uri, hours.clone())
            })?;
            let edge = Edge { config: self.config.clone(), created_ms, updated_ms: now, pushed };
            call.change(&self.stream, None, |stream, mut attributes| {
                attributes.edge = Some(edge.clone());
                Ok((stream.retention, attributes))
            })?;
            Ok(call.described(&stream, edge, false))
        })
        .await
    }
}

pub(super) struct DescribeEdgeConfiguration(StreamReference);

impl Operation for DescribeEdgeConfiguration {
    const NAME: &'static str = "DescribeEdgeConfiguration";
    const PATH: &'static str = "/describeEdgeConfiguration";
    const ACCESS: Access = Access::Manage;
    type Answer = Described;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        StreamReference::read(members).map(Self)
    }

    async fn carry_out(self, call: Call) -> Result<Described, Refusal> {
        call.blocking(move |call| {
            let stream = call.find(&self.0)?;
            let edge = call.attributes(&stream)?.edge.ok_or(Refusal::NoEdgeConfiguration)?;
            Ok(call.described(&stream, edge, true))
        })
        .await
    }
}

/// Answered when the device has been told; it follows when it is connected. What it has recorded stays on it.
pub(super) struct DeleteEdgeConfiguration(StreamReference);

impl Operation for DeleteEdgeConfiguration {
    const NAME: &'static str = "DeleteEdgeConfiguration";
    const PATH: &'static str = "/deleteEdgeConfiguration";
    const ACCESS: Access = Access::Manage;
    type Answer = Done;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        StreamReference::read(members).map(Self)
    }

    async fn carry_out(self, call: Call) -> Result<Done, Refusal> {
        call.blocking(move |call| {
            let stream = call.find(&self.0)?;
            let edge = call.attributes(&stream)?.edge.ok_or(Refusal::NoEdgeConfiguration)?;
            match call.push(&edge.config.device()?, |pushed| device::without(pushed, stream.name.as_str())) {
                // The device is gone, and its cameras with it.
                Ok(_) | Err(Refusal::InvalidArgument(_)) => {}
                Err(error) => return Err(error),
            }
            call.change(&self.0, None, |stream, mut attributes| {
                attributes.edge = None;
                Ok((stream.retention, attributes))
            })?;
            Ok(Done {})
        })
        .await
    }
}

pub(super) struct ListEdgeAgentConfigurations {
    hub: String,
    most: usize,
    after: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    edge_configs: Vec<Described>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

impl Operation for ListEdgeAgentConfigurations {
    const NAME: &'static str = "ListEdgeAgentConfigurations";
    const PATH: &'static str = "/listEdgeAgentConfigurations";
    const ACCESS: Access = Access::Manage;
    type Answer = Listed;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let hub = members.required("HubDeviceArn", members.text("HubDeviceArn", &rules::HUB_DEVICE_ARN)?)?;
        device_in(hub)?;
        let token = members.text("NextToken", &rules::NEXT_TOKEN)?.filter(|token| !token.is_empty());
        let most = members.integer("MaxResults", 1..=10)?.unwrap_or(LISTED_DEFAULT);
        let after = token.map(token_name).transpose()?;
        Ok(Self { hub: hub.to_owned(), most: most as usize, after })
    }

    async fn carry_out(self, call: Call) -> Result<Listed, Refusal> {
        call.blocking(move |call| {
            let streams = call.service.archive.list_streams();
            let is_after = |stream: &Stream| self.after.as_deref().is_none_or(|after| stream.name.as_str() > after);
            let mut found = Vec::new();
            for stream in streams.into_iter().filter(|stream| is_after(stream) && call.identity.sees(&stream.name)) {
                match call.attributes(&stream)?.edge {
                    Some(edge) if edge.config.hub_device_arn == self.hub => found.push((stream, edge)),
                    _ => continue,
                }
                if found.len() > self.most {
                    break;
                }
            }
            let has_more = found.len() > self.most;
            found.truncate(self.most);
            let last = found.last().filter(|_| has_more);
            let next_token = last.map(|(stream, _)| page_token(&stream.name));
            let edge_configs = found.into_iter().map(|(stream, edge)| call.described(&stream, edge, false)).collect();
            Ok(Listed { edge_configs, next_token })
        })
        .await
    }
}

/// As at AWS.
const LISTED_DEFAULT: u32 = 5;

impl SyncStatus {
    fn is_under_way(self) -> bool {
        matches!(self, Self::Syncing | Self::Acknowledged)
    }
}

impl Call {
    /// The device of a configuration, if it can be configured for this stream. Blocks.
    fn hub(&self, config: &EdgeConfig, stream: &Stream) -> Result<DeviceView, Refusal> {
        let device = self.service.fleet.show(&config.device()?)?;
        if device.state == "revoked" {
            return Err(Refusal::InvalidArgument(format!("hubDeviceArn: the device {} was revoked", device.name)));
        }
        if !device.streams.is_empty() && !device.streams.iter().any(|name| name == stream.name.as_str()) {
            let why = format!("hubDeviceArn: the device {} may not write to {}", device.name, stream.name);
            return Err(Refusal::InvalidArgument(why));
        }
        Ok(device)
    }

    /// The address that a configuration's secret holds. Blocks.
    fn media_uri(&self, config: &EdgeConfig) -> Result<String, Refusal> {
        let secrets = MediaSecrets::new(self.service.archive.vault().clone());
        secrets.get(config.recorder_config.media_source_config.secret()).map_err(|error| match error {
            SecretError::Storage(why) => Refusal::Internal(why),
            error => Refusal::InvalidArgument(format!("mediaUriSecretArn: {error}")),
        })
    }
}

impl Call {
    /// Pushes a device's newest configuration, revised; gives its version. Blocks.
    fn push(&self, device: &DeviceName, revise: impl Fn(&str) -> Result<String, MappingError>) -> Result<u64, Refusal> {
        let by = format!("AWS API, {}", self.identity.access_key);
        self.service.fleet.configurations().revise(device, &by, storage::now(), revise)
    }

    /// How far an edge configuration has come, and why no further. Blocks.
    fn standing(&self, edge: &Edge) -> (SyncStatus, Option<String>) {
        let failed = |why: String| (SyncStatus::SyncFailed, Some(why));
        let device = edge.config.device().and_then(|name| Ok(self.service.fleet.show(&name)?));
        let configuration = match device {
            Ok(device) => device.configuration,
            Err(error) => return failed(error.to_string()),
        };
        let waits = storage::now().as_millis().saturating_sub(edge.updated_ms);
        // A later one has the camera too: each is the one before, revised.
        match configuration.failed.filter(|report| report.version == edge.pushed) {
            _ if configuration.kept >= edge.pushed => (SyncStatus::InSync, None),
            Some(report) => failed(report.problems.join("; ")),
            None if configuration.on_trial.is_some_and(|version| version >= edge.pushed) => {
                (SyncStatus::Acknowledged, None)
            }
            None if waits > SYNC_MAX_MS => failed("the device has not answered for 15 minutes".to_owned()),
            None => (SyncStatus::Syncing, None),
        }
    }

    /// What is told of an edge configuration, with how the device does if that is asked for. Blocks.
    fn described(&self, stream: &Stream, edge: Edge, with_status: bool) -> Described {
        let (sync_status, failed_status_details) = self.standing(&edge);
        let device = || self.service.fleet.show(&edge.config.device().ok()?).ok();
        let status = if with_status { device().and_then(|device| EdgeAgentStatus::of(&device, stream)) } else { None };
        Described {
            stream_name: stream.name.to_string(),
            arn: stream.arn(),
            creation_time: seconds(WallTime::from_millis(edge.created_ms)),
            last_updated_time: seconds(WallTime::from_millis(edge.updated_ms)),
            sync_status,
            failed_status_details,
            edge_config: edge.config,
            edge_agent_status: status,
        }
    }
}

/// As at AWS: after that an edge configuration may be changed although the device has not answered.
const SYNC_MAX_MS: i64 = 15 * 60 * 1000;

/// The streams of cameras that a device has by its own file, as far as it has said, without this one.
fn own_cameras(device: &DeviceView, stream: &Stream) -> Vec<String> {
    let cameras = device.status.iter().flat_map(|status| &status.cameras);
    cameras.map(|camera| camera.stream.clone()).filter(|name| name != stream.name.as_str()).collect()
}

impl EdgeAgentStatus {
    /// What the device said last of its camera; `None` if it has said nothing.
    fn of(device: &DeviceView, stream: &Stream) -> Option<Self> {
        let (status, at) = (device.status.as_ref()?, device.status_at?);
        let camera = status.cameras.iter().find(|camera| camera.stream == stream.name.as_str())?;
        let at = seconds(WallTime::from_millis(at.as_millisecond()));
        let is_connected = device.connection != Whereabouts::Offline;
        let job = |well: bool| if well { JobStatus::Success } else { JobStatus::SystemError };
        Some(Self {
            last_recorder_status: RecorderStatus {
                job_status_details: if camera.up { String::new() } else { camera.last_failure.clone() },
                last_collected_time: at,
                last_updated_time: at,
                recorder_status: job(camera.up),
            },
            last_uploader_status: UploaderStatus {
                job_status_details: match is_connected {
                    true => format!("{} bytes wait on the device", status.spool.bytes + status.spool.held_bytes),
                    false => "the device is not connected".to_owned(),
                },
                last_collected_time: at,
                last_updated_time: at,
                uploader_status: job(is_connected),
            },
        })
    }
}

impl From<DeviceError> for Refusal {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Unknown(_) => Self::InvalidArgument(format!("hubDeviceArn: {error}")),
            error => Self::Internal(error.to_string()),
        }
    }
}

impl From<ConfigureError> for Refusal {
    fn from(error: ConfigureError) -> Self {
        match error {
            ConfigureError::Device(error) => error.into(),
            ConfigureError::TooLarge(_) => Self::LimitExceeded(error.to_string()),
            error => Self::Internal(error.to_string()),
        }
    }
}

impl From<MappingError> for Refusal {
    fn from(error: MappingError) -> Self {
        match error {
            MappingError::Pushed(_) => Self::Internal(error.to_string()),
            error => Self::InvalidArgument(format!("edgeConfig: {error}")),
        }
    }
}
