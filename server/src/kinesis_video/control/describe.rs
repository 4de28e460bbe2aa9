//! DescribeStream and ListStreams.

use archive::Stream;
use serde::Serialize;

use crate::access_keys::Access;
use crate::kinesis_video::members::Members;
use crate::kinesis_video::operation::{Call, Operation};
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::rules;
use crate::kinesis_video::streams::{StreamReference, page_token, retention_hours, seconds, token_name, version};
use crate::limits;

pub(super) struct DescribeStream(StreamReference);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Described {
    stream_info: StreamInfo,
}

/// A stream, as it is told. What is not known of it is left out.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StreamInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    device_name: Option<String>,
    stream_name: String,
    #[serde(rename = "StreamARN")]
    arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    kms_key_id: String,
    version: String,
    status: &'static str,
    /// Seconds since 1970.
    creation_time: f64,
    data_retention_in_hours: u64,
}

impl StreamInfo {
    /// All about a stream. Blocks.
    fn of(stream: &Stream, call: &Call) -> Result<Self, Refusal> {
        let attributes = call.attributes(stream)?;
        Ok(Self {
            device_name: attributes.device_name,
            stream_name: stream.name.to_string(),
            arn: stream.arn(),
            media_type: attributes.media_type,
            kms_key_id: stream.default_key_arn(),
            version: version(stream),
            // One that is being deleted is not found any more.
            status: "ACTIVE",
            creation_time: seconds(stream.created),
            data_retention_in_hours: retention_hours(stream),
        })
    }
}

impl Operation for DescribeStream {
    const NAME: &'static str = "DescribeStream";
    const PATH: &'static str = "/describeStream";
    const ACCESS: Access = Access::Describe;
    type Answer = Described;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        StreamReference::read(members).map(Self)
    }

    async fn carry_out(self, call: Call) -> Result<Described, Refusal> {
        call.blocking(move |call| Ok(Described { stream_info: StreamInfo::of(&call.find(&self.0)?, call)? })).await
    }
}

pub(super) struct ListStreams {
    max: usize,
    /// What names have to begin with.
    prefix: String,
    /// The name before the first that is wanted.
    after: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    stream_info_list: Vec<StreamInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

impl Operation for ListStreams {
    const NAME: &'static str = "ListStreams";
    const PATH: &'static str = "/listStreams";
    const ACCESS: Access = Access::Watch;
    type Answer = Listed;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let max = members.integer("MaxResults", 1..=limits::STREAMS_LISTED_MAX)?.unwrap_or(limits::STREAMS_LISTED_MAX);
        let prefix = match members.structure("StreamNameCondition")? {
            Some(condition) => {
                condition.choice("ComparisonOperator", &[("BEGINS_WITH", ())])?;
                condition.text("ComparisonValue", &rules::STREAM_NAME)?.unwrap_or_default()
            }
            None => "",
        };
        let token = members.text("NextToken", &rules::NEXT_TOKEN)?.filter(|token| !token.is_empty());
        Ok(Self {
            max: max.try_into().unwrap_or(usize::MAX),
            prefix: prefix.to_owned(),
            after: token.map(token_name).transpose()?,
        })
    }

    async fn carry_out(self, call: Call) -> Result<Listed, Refusal> {
        call.blocking(move |call| {
            let streams = call.service.archive.list_streams();
            let mut wanted = streams.into_iter().filter(|stream| {
                let name = stream.name.as_str();
                name.starts_with(&self.prefix)
                    && self.after.as_ref().is_none_or(|after| name > after.as_str())
                    && call.identity.sees(&stream.name)
            });
            let page: Vec<Stream> = wanted.by_ref().take(self.max).collect();
            let last = page.last().filter(|_| wanted.next().is_some());
            let next_token = last.map(|stream| page_token(&stream.name));
            let infos = page.iter().map(|stream| StreamInfo::of(stream, call));
            Ok(Listed { stream_info_list: infos.collect::<Result<_, _>>()?, next_token })
        })
        .await
    }
}
