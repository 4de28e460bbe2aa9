//! An edge configuration as AWS's clients write it, and as they read it again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::schedule;
use crate::devices::DeviceName;
use crate::kinesis_video::members::Members;
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::rules;

/// What a device is to do for a stream. Its JSON is AWS's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::kinesis_video) struct EdgeConfig {
    pub(super) hub_device_arn: String,
    pub(super) recorder_config: RecorderConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uploader_config: Option<UploaderConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deletion_config: Option<DeletionConfig>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RecorderConfig {
    pub(super) media_source_config: MediaSourceConfig,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MediaSourceConfig {
    pub(super) media_uri_secret_arn: String,
    pub(super) media_uri_type: MediaUriType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum MediaUriType {
    RtspUri,
    FileUri,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UploaderConfig {
    pub(super) schedule_config: ScheduleConfig,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ScheduleConfig {
    pub(super) schedule_expression: String,
    pub(super) duration_in_seconds: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeletionConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) edge_retention_in_hours: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) local_size_config: Option<LocalSizeConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delete_after_upload: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LocalSizeConfig {
    #[serde(rename = "MaxLocalMediaSizeInMB", skip_serializing_if = "Option::is_none")]
    pub(super) max_local_media_size_in_mb: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) strategy_on_full_size: Option<StrategyOnFullSize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum StrategyOnFullSize {
    DeleteOldestMedia,
    DenyNewMedia,
}

impl EdgeConfig {
    /// Reads the member `EdgeConfig`.
    pub(super) fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let config = members.required("EdgeConfig", members.structure("EdgeConfig")?)?;
        let hub = config.text("HubDeviceArn", &rules::HUB_DEVICE_ARN)?;
        let recorder = config.required("RecorderConfig", config.structure("RecorderConfig")?)?;
        Ok(Self {
            hub_device_arn: config.required("HubDeviceArn", hub)?.to_owned(),
            recorder_config: RecorderConfig::read(&recorder)?,
            uploader_config: config.structure("UploaderConfig")?.as_ref().map(UploaderConfig::read).transpose()?,
            deletion_config: config.structure("DeletionConfig")?.as_ref().map(DeletionConfig::read).transpose()?,
        })
    }

    /// The device that it is for: the name of the thing.
    pub(super) fn device(&self) -> Result<DeviceName, Refusal> {
        device_in(&self.hub_device_arn)
    }
}

/// The device that an ARN of a thing names.
pub(super) fn device_in(hub: &str) -> Result<DeviceName, Refusal> {
    let name = hub.rsplit('/').next().unwrap_or_default();
    name.parse().map_err(|error| Refusal::InvalidArgument(format!("hubDeviceArn: {error}")))
}

impl RecorderConfig {
    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let source = members.required("MediaSourceConfig", members.structure("MediaSourceConfig")?)?;
        let arn = source.text("MediaUriSecretArn", &rules::SECRET_ARN)?;
        let words = [("RTSP_URI", MediaUriType::RtspUri), ("FILE_URI", MediaUriType::FileUri)];
        let media_uri_type = source.required("MediaUriType", source.choice("MediaUriType", &words)?)?;
        let media_uri_secret_arn = source.required("MediaUriSecretArn", arn)?.to_owned();
        if let Some(schedule) = members.structure("ScheduleConfig")? {
            ScheduleConfig::read(&schedule)?;
            let why = "edgeConfig.recorderConfig.scheduleConfig: devices record all the time; leave the schedule out";
            return Err(Refusal::InvalidArgument(why.to_owned()));
        }
        Ok(Self { media_source_config: MediaSourceConfig { media_uri_secret_arn, media_uri_type } })
    }
}

impl MediaSourceConfig {
    /// The name of the secret.
    pub(super) fn secret(&self) -> &str {
        self.media_uri_secret_arn.rsplit(':').next().unwrap_or_default()
    }
}

impl UploaderConfig {
    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let schedule = members.required("ScheduleConfig", members.structure("ScheduleConfig")?)?;
        let schedule_config = ScheduleConfig::read(&schedule)?;
        schedule_config.hours()?;
        Ok(Self { schedule_config })
    }
}

impl ScheduleConfig {
    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let expression = members.text("ScheduleExpression", &rules::SCHEDULE_EXPRESSION)?;
        let seconds = members.integer("DurationInSeconds", 60..=3600)?;
        Ok(Self {
            schedule_expression: members.required("ScheduleExpression", expression)?.to_owned(),
            duration_in_seconds: members.required("DurationInSeconds", seconds)?,
        })
    }

    /// As hours of our agent.
    pub(super) fn hours(&self) -> Result<Vec<String>, Refusal> {
        let duration = Duration::from_secs(self.duration_in_seconds.into());
        let hours = schedule::hours(&self.schedule_expression, duration);
        hours.map_err(|error| Refusal::InvalidArgument(format!("scheduleExpression: {error}")))
    }
}

impl DeletionConfig {
    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let size = members.structure("LocalSizeConfig")?.as_ref().map(LocalSizeConfig::read).transpose()?;
        Ok(Self {
            edge_retention_in_hours: members.integer("EdgeRetentionInHours", 1..=720)?,
            local_size_config: size,
            delete_after_upload: members.boolean("DeleteAfterUpload")?,
        })
    }
}

impl LocalSizeConfig {
    /// The smallest spool that a device has.
    const LEAST_MB: u32 = 135;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let words = [
            ("DELETE_OLDEST_MEDIA", StrategyOnFullSize::DeleteOldestMedia),
            ("DENY_NEW_MEDIA", StrategyOnFullSize::DenyNewMedia),
        ];
        let size = members.integer("MaxLocalMediaSizeInMB", 64..=2_000_000)?;
        if size.is_some_and(|size| size < Self::LEAST_MB) {
            let why = format!("maxLocalMediaSizeInMB: devices need {} MB or more", Self::LEAST_MB);
            return Err(Refusal::InvalidArgument(why));
        }
        let strategy_on_full_size = members.choice("StrategyOnFullSize", &words)?;
        Ok(Self { max_local_media_size_in_mb: size, strategy_on_full_size })
    }
}
