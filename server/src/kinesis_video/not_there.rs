//! What AWS has and this server has not: each operation with its reason, so that a client is told at once. The table in
//! docs/aws-clients.md says the same, and a test holds both against AWS's own models.

use axum::Router;
use axum::routing::post;

use super::Service;
use super::operation::methods;
use super::refusal::Refusal;

const CHANNELS: &str = "there are no signaling channels yet";

/// Path, name, reason.
const NOT_THERE: [(&str, &str, &str); 16] = [
    ("/createSignalingChannel", "CreateSignalingChannel", CHANNELS),
    ("/describeSignalingChannel", "DescribeSignalingChannel", CHANNELS),
    ("/listSignalingChannels", "ListSignalingChannels", CHANNELS),
    ("/updateSignalingChannel", "UpdateSignalingChannel", CHANNELS),
    ("/deleteSignalingChannel", "DeleteSignalingChannel", CHANNELS),
    ("/getSignalingChannelEndpoint", "GetSignalingChannelEndpoint", CHANNELS),
    ("/TagResource", "TagResource", CHANNELS),
    ("/UntagResource", "UntagResource", CHANNELS),
    ("/ListTagsForResource", "ListTagsForResource", CHANNELS),
    ("/describeMediaStorageConfiguration", "DescribeMediaStorageConfiguration", CHANNELS),
    ("/updateMediaStorageConfiguration", "UpdateMediaStorageConfiguration", CHANNELS),
    ("/describeMappedResourceConfiguration", "DescribeMappedResourceConfiguration", CHANNELS),
    ("/v1/get-ice-server-config", "GetIceServerConfig", CHANNELS),
    ("/v1/send-alexa-offer-to-master", "SendAlexaOfferToMaster", CHANNELS),
    ("/joinStorageSession", "JoinStorageSession", CHANNELS),
    ("/joinStorageSessionAsViewer", "JoinStorageSessionAsViewer", CHANNELS),
];

/// The paths of these operations. Whoever calls is answered without a look at the signature: nothing is told that the
/// documents don't tell.
pub(super) fn routes() -> Router<Service> {
    NOT_THERE.into_iter().fold(Router::new(), |router, (path, operation, reason)| {
        let refuse = post(async move || Refusal::NotThere { operation, reason });
        router.route(path, methods(refuse))
    })
}
