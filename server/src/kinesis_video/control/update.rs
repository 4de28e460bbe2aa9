//! UpdateStream, UpdateDataRetention and DeleteStream.

use archive::Stream;

use super::create::hours;
use crate::access_keys::Access;
use crate::kinesis_video::members::Members;
use crate::kinesis_video::operation::{Call, Done, Operation};
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::rules;
use crate::kinesis_video::streams::{StreamReference, retention_hours};

pub(super) struct UpdateStream {
    stream: StreamReference,
    version: String,
    device_name: Option<String>,
    media_type: Option<String>,
}

impl Operation for UpdateStream {
    const NAME: &'static str = "UpdateStream";
    const PATH: &'static str = "/updateStream";
    const ACCESS: Access = Access::Manage;
    type Answer = Done;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        Ok(Self {
            stream: StreamReference::read(members)?,
            version: read_version(members)?,
            device_name: members.text("DeviceName", &rules::DEVICE_NAME)?.map(str::to_owned),
            media_type: members.text("MediaType", &rules::MEDIA_TYPE)?.map(str::to_owned),
        })
    }

    async fn carry_out(self, call: Call) -> Result<Done, Refusal> {
        call.blocking(move |call| {
            call.change(&self.stream, Some(&self.version), |stream, mut attributes| {
                attributes.device_name = self.device_name.clone().or(attributes.device_name);
                attributes.media_type = self.media_type.clone().or(attributes.media_type);
                Ok((stream.retention, attributes))
            })?;
            Ok(Done {})
        })
        .await
    }
}

pub(super) struct UpdateDataRetention {
    stream: StreamReference,
    version: String,
    change: Change,
    hours: u32,
}

#[derive(Clone, Copy)]
enum Change {
    Increase,
    Decrease,
}

impl UpdateDataRetention {
    /// How many hours it is then.
    fn changed(&self, stream: &Stream) -> Result<u32, Refusal> {
        let before = u32::try_from(retention_hours(stream)).unwrap_or(u32::MAX);
        let after = match self.change {
            Change::Increase => before.checked_add(self.hours),
            Change::Decrease => before.checked_sub(self.hours),
        };
        after.ok_or_else(|| {
            let why = format!(
                "dataRetentionChangeInHours: the retention is {before} h, and can't be changed by {} h",
                self.hours
            );
            Refusal::InvalidArgument(why)
        })
    }
}

impl Operation for UpdateDataRetention {
    const NAME: &'static str = "UpdateDataRetention";
    const PATH: &'static str = "/updateDataRetention";
    const ACCESS: Access = Access::Manage;
    type Answer = Done;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let words = [("INCREASE_DATA_RETENTION", Change::Increase), ("DECREASE_DATA_RETENTION", Change::Decrease)];
        let hours = members.integer("DataRetentionChangeInHours", 1..=u32::MAX)?;
        Ok(Self {
            stream: StreamReference::read(members)?,
            version: read_version(members)?,
            change: members.required("Operation", members.choice("Operation", &words)?)?,
            hours: members.required("DataRetentionChangeInHours", hours)?,
        })
    }

    async fn carry_out(self, call: Call) -> Result<Done, Refusal> {
        call.blocking(move |call| {
            call.change(&self.stream, Some(&self.version), |stream, attributes| {
                let retention = hours(self.changed(stream)?)?.with_bytes(stream.retention.bytes())?;
                Ok((retention, attributes))
            })?;
            Ok(Done {})
        })
        .await
    }
}

/// Of the version that is given, or of any: the ARN alone tells a stream from a later one of the same name.
pub(super) struct DeleteStream {
    stream: StreamReference,
    version: Option<String>,
}

impl Operation for DeleteStream {
    const NAME: &'static str = "DeleteStream";
    const PATH: &'static str = "/deleteStream";
    const ACCESS: Access = Access::Manage;
    type Answer = Done;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let arn = members.text("StreamARN", &rules::STREAM_ARN)?;
        members.required("StreamARN", arn)?;
        let version = members.text("CurrentVersion", &rules::VERSION)?.map(str::to_owned);
        Ok(Self { stream: StreamReference::read(members)?, version })
    }

    async fn carry_out(self, call: Call) -> Result<Done, Refusal> {
        let archive = call.service.archive.clone();
        let versioned = self.version.is_some();
        let stream = call.blocking(move |call| call.find_version(&self.stream, self.version.as_deref())).await?;
        // In a task of its own: what has begun goes on when the caller goes.
        let deleted = tokio::spawn(async move {
            match versioned {
                true => archive.delete_stream_at(stream.id, stream.revision).await,
                false => archive.delete_stream(stream.id).await,
            }
        });
        deleted.await.map_err(|error| Refusal::Internal(error.to_string()))??;
        Ok(Done {})
    }
}

fn read_version(members: &Members<'_>) -> Result<String, Refusal> {
    let version = members.text("CurrentVersion", &rules::VERSION)?;
    Ok(members.required("CurrentVersion", version)?.to_owned())
}
