//! GetDataEndpoint: where a stream's media are sent and fetched. It is this server, by the name that it was told others reach
//! it by; never by the request's `Host`, in which some clients leave the port out.

use serde::Serialize;

use crate::access_keys::Access;
use crate::kinesis_video::members::Members;
use crate::kinesis_video::operation::{Call, Operation};
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::streams::StreamReference;

/// What media can be asked for by. All of it is at one place.
const NAMES: [(&str, ()); 8] = [
    ("PUT_MEDIA", ()),
    ("GET_MEDIA", ()),
    ("LIST_FRAGMENTS", ()),
    ("GET_MEDIA_FOR_FRAGMENT_LIST", ()),
    ("GET_HLS_STREAMING_SESSION_URL", ()),
    ("GET_DASH_STREAMING_SESSION_URL", ()),
    ("GET_CLIP", ()),
    ("GET_IMAGES", ()),
];

pub(super) struct GetDataEndpoint(StreamReference);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Endpoint {
    data_endpoint: String,
}

impl Operation for GetDataEndpoint {
    const NAME: &'static str = "GetDataEndpoint";
    const PATH: &'static str = "/getDataEndpoint";
    const ACCESS: Access = Access::Describe;
    type Answer = Endpoint;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        members.required("APIName", members.choice("APIName", &NAMES)?)?;
        StreamReference::read(members).map(Self)
    }

    async fn carry_out(self, call: Call) -> Result<Endpoint, Refusal> {
        call.blocking(move |call| {
            call.find(&self.0)?;
            Ok(Endpoint { data_endpoint: call.service.public_url.to_string() })
        })
        .await
    }
}
