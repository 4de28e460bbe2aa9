//! DescribeStreamStorageConfiguration and UpdateStreamStorageConfiguration. A tier is kept and told; where video lies does not
//! depend on it.

use serde::Serialize;

use crate::access_keys::Access;
use crate::kinesis_video::members::Members;
use crate::kinesis_video::operation::{Call, Done, Operation};
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::rules;
use crate::kinesis_video::streams::{StorageTier, StreamReference};

pub(super) struct DescribeStreamStorageConfiguration(StreamReference);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Described {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    arn: String,
    stream_storage_configuration: Configuration,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    default_storage_tier: StorageTier,
}

impl Operation for DescribeStreamStorageConfiguration {
    const NAME: &'static str = "DescribeStreamStorageConfiguration";
    const PATH: &'static str = "/describeStreamStorageConfiguration";
    const ACCESS: Access = Access::Describe;
    type Answer = Described;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        StreamReference::read(members).map(Self)
    }

    async fn carry_out(self, call: Call) -> Result<Described, Refusal> {
        call.blocking(move |call| {
            let stream = call.find(&self.0)?;
            let default_storage_tier = call.attributes(&stream)?.storage_tier;
            Ok(Described {
                stream_name: stream.name.to_string(),
                arn: stream.arn(),
                stream_storage_configuration: Configuration { default_storage_tier },
            })
        })
        .await
    }
}

pub(super) struct UpdateStreamStorageConfiguration {
    stream: StreamReference,
    version: String,
    tier: StorageTier,
}

impl Operation for UpdateStreamStorageConfiguration {
    const NAME: &'static str = "UpdateStreamStorageConfiguration";
    const PATH: &'static str = "/updateStreamStorageConfiguration";
    const ACCESS: Access = Access::Manage;
    type Answer = Done;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let version = members.text("CurrentVersion", &rules::VERSION)?;
        Ok(Self {
            stream: StreamReference::read(members)?,
            version: members.required("CurrentVersion", version)?.to_owned(),
            tier: members.required("StreamStorageConfiguration", read_tier(members)?)?,
        })
    }

    async fn carry_out(self, call: Call) -> Result<Done, Refusal> {
        call.blocking(move |call| {
            call.change(&self.stream, Some(&self.version), |stream, mut attributes| {
                attributes.storage_tier = self.tier;
                Ok((stream.retention, attributes))
            })?;
            Ok(Done {})
        })
        .await
    }
}

/// The tier in a request, if it has one.
pub(super) fn read_tier(members: &Members<'_>) -> Result<Option<StorageTier>, Refusal> {
    let Some(configuration) = members.structure("StreamStorageConfiguration")? else { return Ok(None) };
    let tier = configuration.choice("DefaultStorageTier", &[("HOT", StorageTier::Hot), ("WARM", StorageTier::Warm)])?;
    configuration.required("DefaultStorageTier", tier).map(Some)
}
