//! CreateStream. A stream can be used as soon as it is answered.

use std::collections::BTreeMap;
use std::time::Duration;

use archive::Retention;
use fragment::StreamName;
use serde::Serialize;

use super::storage::read_tier;
use super::tags::check_count;
use crate::access_keys::Access;
use crate::kinesis_video::members::Members;
use crate::kinesis_video::operation::{Call, Operation};
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::rules;
use crate::kinesis_video::streams::{Attributes, stored, stream_name};
use crate::storage;

pub(super) struct CreateStream {
    name: StreamName,
    /// `None` is what a stream has that a device made.
    retention_hours: Option<u32>,
    attributes: Attributes,
}

#[derive(Serialize)]
pub(super) struct Created {
    #[serde(rename = "StreamARN")]
    arn: String,
}

impl Operation for CreateStream {
    const NAME: &'static str = "CreateStream";
    const PATH: &'static str = "/createStream";
    const ACCESS: Access = Access::Produce;
    type Answer = Created;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let name = members.text("StreamName", &rules::STREAM_NAME)?;
        let text = |name, rule| Ok::<_, Refusal>(members.text(name, rule)?.map(str::to_owned));
        let attributes = Attributes {
            device_name: text("DeviceName", &rules::DEVICE_NAME)?,
            media_type: text("MediaType", &rules::MEDIA_TYPE)?,
            tags: members.map("Tags", &rules::TAG_KEY, &rules::TAG_VALUE)?.unwrap_or_else(BTreeMap::new),
            storage_tier: read_tier(members)?.unwrap_or_default(),
            ..Attributes::default()
        };
        check_count(&attributes.tags)?;
        members.text("KmsKeyId", &rules::KMS_KEY_ID)?.map_or(Ok(()), check_key)?;
        Ok(Self {
            name: stream_name(members.required("StreamName", name)?)?,
            retention_hours: members.integer("DataRetentionInHours", 0..=u32::MAX)?,
            attributes,
        })
    }

    async fn carry_out(self, call: Call) -> Result<Created, Refusal> {
        call.check(&self.name)?;
        call.blocking(move |call| {
            let (archive, attributes) = (&call.service.archive, stored(&self.attributes));
            let retention = self.retention_hours.map_or_else(|| Ok(archive.default_retention()), hours)?;
            let stream = archive.create_stream_with(&self.name, retention, Some(&attributes), storage::now())?;
            Ok(Created { arn: stream.arn() })
        })
        .await
    }
}

/// A retention of so many hours.
pub(super) fn hours(hours: u32) -> Result<Retention, Refusal> {
    Ok(Retention::new(Duration::from_secs(u64::from(hours) * 3600))?)
}

/// Video is sealed under the master key of this server, and no other: who asks for another is not to believe that it is used.
fn check_key(id: &str) -> Result<(), Refusal> {
    const DEFAULTS: [&str; 2] = ["aws/kinesisvideo", "aws/kinesis-video"];
    let alias = id.rsplit_once(":alias/").map_or(id, |(_, alias)| alias);
    if DEFAULTS.contains(&alias.strip_prefix("alias/").unwrap_or(alias)) {
        return Ok(());
    }
    Err(Refusal::InvalidArgument(format!(
        "kmsKeyId: this server seals all video under its own master key; leave it out, or give alias/{}",
        DEFAULTS[0]
    )))
}
