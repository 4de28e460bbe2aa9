//! TagStream, UntagStream and ListTagsForStream. All tags of a stream fit into one answer, so there are no pages.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::access_keys::Access;
use crate::kinesis_video::members::Members;
use crate::kinesis_video::operation::{Call, Done, Operation};
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::rules;
use crate::kinesis_video::streams::StreamReference;
use crate::limits;

pub(super) struct TagStream {
    stream: StreamReference,
    tags: BTreeMap<String, String>,
}

impl Operation for TagStream {
    const NAME: &'static str = "TagStream";
    const PATH: &'static str = "/tagStream";
    const ACCESS: Access = Access::Produce;
    type Answer = Done;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let tags = members.map("Tags", &rules::TAG_KEY, &rules::TAG_VALUE)?;
        let tags = members.required("Tags", tags)?;
        check_count(&tags)?;
        Ok(Self { stream: StreamReference::read_for_tags(members)?, tags })
    }

    async fn carry_out(self, call: Call) -> Result<Done, Refusal> {
        call.blocking(move |call| {
            call.change(&self.stream, None, |stream, mut attributes| {
                attributes.tags.extend(self.tags.clone());
                check_count(&attributes.tags)?;
                Ok((stream.retention, attributes))
            })?;
            Ok(Done {})
        })
        .await
    }
}

pub(super) struct UntagStream {
    stream: StreamReference,
    keys: Vec<String>,
}

impl Operation for UntagStream {
    const NAME: &'static str = "UntagStream";
    const PATH: &'static str = "/untagStream";
    const ACCESS: Access = Access::Manage;
    type Answer = Done;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let keys = members.list("TagKeyList", &rules::TAG_KEY, 1..=limits::TAGS_MAX)?;
        let keys = members.required("TagKeyList", keys)?.into_iter().map(str::to_owned).collect();
        Ok(Self { stream: StreamReference::read_for_tags(members)?, keys })
    }

    async fn carry_out(self, call: Call) -> Result<Done, Refusal> {
        call.blocking(move |call| {
            call.change(&self.stream, None, |stream, mut attributes| {
                attributes.tags.retain(|key, _| !self.keys.contains(key));
                Ok((stream.retention, attributes))
            })?;
            Ok(Done {})
        })
        .await
    }
}

pub(super) struct ListTagsForStream(StreamReference);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tags {
    tags: BTreeMap<String, String>,
}

impl Operation for ListTagsForStream {
    const NAME: &'static str = "ListTagsForStream";
    const PATH: &'static str = "/listTagsForStream";
    const ACCESS: Access = Access::Describe;
    type Answer = Tags;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let token = members.text("NextToken", &rules::NEXT_TOKEN)?.filter(|token| !token.is_empty());
        if token.is_some() {
            return Err(Refusal::InvalidArgument("nextToken is not one that this server gave out".to_owned()));
        }
        StreamReference::read_for_tags(members).map(Self)
    }

    async fn carry_out(self, call: Call) -> Result<Tags, Refusal> {
        call.blocking(move |call| Ok(Tags { tags: call.attributes(&call.find(&self.0)?)?.tags })).await
    }
}

/// Whether a stream may have so many tags.
pub(super) fn check_count(tags: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if tags.len() > limits::TAGS_MAX { Err(Refusal::TooManyTags) } else { Ok(()) }
}
