//! Media as they come, AWS's `kinesis-video-media`.
//!
//! ```text
//! get.rs          GetMedia
//! ```

mod get;

use axum::Router;

use super::Service;
use super::operation::route_media;

/// The operations of this service.
pub(super) fn routes(service: &Service) -> Router<Service> {
    route_media::<get::GetMedia>(Router::new(), service)
}
