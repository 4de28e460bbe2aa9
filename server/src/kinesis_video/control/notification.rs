//! DescribeNotificationConfiguration and UpdateNotificationConfiguration: who is told of which fragments.

use serde::{Deserialize, Serialize};

use super::image_generation::{read_status, status};
use crate::access_keys::Access;
use crate::kinesis_video::members::Members;
use crate::kinesis_video::operation::{Call, Done, Operation};
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::rules;
use crate::kinesis_video::streams::StreamReference;

/// What is kept of it with the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::kinesis_video) struct Notification {
    pub(in crate::kinesis_video) is_enabled: bool,
    pub(in crate::kinesis_video) uri: String,
}

impl Notification {
    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let is_enabled = read_status(members)?;
        let destination = members.required("DestinationConfig", members.structure("DestinationConfig")?)?;
        let uri = destination.required("Uri", destination.text("Uri", &rules::DESTINATION_URI)?)?;
        if !uri.starts_with("https://") && !uri.starts_with("http://") {
            let why = "destinationConfig.uri must be https:// or http://: notifications go to a webhook, there are no topics here";
            return Err(Refusal::InvalidArgument(why.to_owned()));
        }
        Ok(Self { is_enabled, uri: uri.to_owned() })
    }
}

pub(super) struct DescribeNotificationConfiguration(StreamReference);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Described {
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_configuration: Option<Configuration>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    status: &'static str,
    destination_config: DestinationConfig,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DestinationConfig {
    uri: String,
}

impl From<Notification> for Configuration {
    fn from(kept: Notification) -> Self {
        Self { status: status(kept.is_enabled), destination_config: DestinationConfig { uri: kept.uri } }
    }
}

impl Operation for DescribeNotificationConfiguration {
    const NAME: &'static str = "DescribeNotificationConfiguration";
    const PATH: &'static str = "/describeNotificationConfiguration";
    // Its address may hold what its receiver knows us by.
    const ACCESS: Access = Access::Manage;
    type Answer = Described;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        StreamReference::read(members).map(Self)
    }

    async fn carry_out(self, call: Call) -> Result<Described, Refusal> {
        call.blocking(move |call| {
            let kept = call.attributes(&call.find(&self.0)?)?.notification;
            Ok(Described { notification_configuration: kept.map(Configuration::from) })
        })
        .await
    }
}

/// `None` takes it away.
pub(super) struct UpdateNotificationConfiguration {
    stream: StreamReference,
    wanted: Option<Notification>,
}

impl Operation for UpdateNotificationConfiguration {
    const NAME: &'static str = "UpdateNotificationConfiguration";
    const PATH: &'static str = "/updateNotificationConfiguration";
    const ACCESS: Access = Access::Manage;
    type Answer = Done;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let wanted = members.structure("NotificationConfiguration")?;
        Ok(Self {
            stream: StreamReference::read(members)?,
            wanted: wanted.as_ref().map(Notification::read).transpose()?,
        })
    }

    async fn carry_out(self, call: Call) -> Result<Done, Refusal> {
        call.blocking(move |call| {
            call.find_retained(&self.stream)?;
            call.change(&self.stream, None, |stream, mut attributes| {
                attributes.notification.clone_from(&self.wanted);
                Ok((stream.retention, attributes))
            })?;
            Ok(Done {})
        })
        .await
    }
}
