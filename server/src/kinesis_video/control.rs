//! The control plane, AWS's `kinesisvideo`: streams, and what is said of them.
//!
//! ```text
//! create.rs       CreateStream
//! describe.rs     DescribeStream, ListStreams
//! update.rs       UpdateStream, UpdateDataRetention, DeleteStream
//! tags.rs         TagStream, UntagStream, ListTagsForStream
//! storage.rs      DescribeStreamStorageConfiguration, UpdateStreamStorageConfiguration
//! endpoint.rs     GetDataEndpoint
//! image_generation.rs   DescribeImageGenerationConfiguration, UpdateImageGenerationConfiguration
//! notification.rs       DescribeNotificationConfiguration, UpdateNotificationConfiguration
//! edge.rs         StartEdgeConfigurationUpdate, DescribeEdgeConfiguration, DeleteEdgeConfiguration, ListEdgeAgentConfigurations
//! ```

mod create;
mod describe;
mod edge;
mod endpoint;
mod image_generation;
mod notification;
mod storage;
mod tags;
mod update;

use axum::Router;

pub(super) use edge::Edge;
pub(super) use image_generation::ImageGeneration;
pub(super) use notification::Notification;

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
        route::<image_generation::DescribeImageGenerationConfiguration>,
        route::<image_generation::UpdateImageGenerationConfiguration>,
        route::<notification::DescribeNotificationConfiguration>,
        route::<notification::UpdateNotificationConfiguration>,
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
