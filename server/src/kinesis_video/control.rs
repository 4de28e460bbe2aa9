//! The control plane, AWS's `kinesisvideo`: streams, and what is said of them.
//!
//! ```text
//! create.rs       CreateStream
//! describe.rs     DescribeStream, ListStreams
//! update.rs       UpdateStream, UpdateDataRetention, DeleteStream
//! tags.rs         TagStream, UntagStream, ListTagsForStream
//! storage.rs      DescribeStreamStorageConfiguration, UpdateStreamStorageConfiguration
//! endpoint.rs     GetDataEndpoint
//! edge.rs         StartEdgeConfigurationUpdate, DescribeEdgeConfiguration, DeleteEdgeConfiguration, ListEdgeAgentConfigurations
//! ```

mod create;
mod describe;
mod edge;
mod endpoint;
mod storage;
mod tags;
mod update;

use axum::Router;

pub(super) use edge::Edge;

use super::Service;
use super::operation::route;

/// The operations of this service.
pub(super) fn routes(service: &Service) -> Router<Service> {
    [
        route::<create::CreateStream>,
        route::<describe::DescribeStream>,
        route::<describe::ListStreams>,
        route::<edge::DeleteEdgeConfiguration>,
        route::<edge::DescribeEdgeConfiguration>,
        route::<edge::ListEdgeAgentConfigurations>,
        route::<edge::StartEdgeConfigurationUpdate>,
        route::<endpoint::GetDataEndpoint>,
        route::<storage::DescribeStreamStorageConfiguration>,
        route::<storage::UpdateStreamStorageConfiguration>,
        route::<tags::ListTagsForStream>,
        route::<tags::TagStream>,
        route::<tags::UntagStream>,
        route::<update::DeleteStream>,
        route::<update::UpdateDataRetention>,
        route::<update::UpdateStream>,
    ]
    .into_iter()
    .fold(Router::new(), |router, route: fn(Router<Service>, &Service) -> Router<Service>| route(router, service))
}
