//! Media as they come, AWS's `kinesis-video-media`.
//!
//! ```text
//! put_media.rs    PutMedia
//! get.rs          GetMedia
//! ```

mod get;
mod put_media;

use axum::Router;

use super::Service;
use super::operation::route_media;

pub(crate) use put_media::Receiving;

/// The operations of this service.
pub(super) fn routes(service: &Service) -> Router<Service> {
    route_media::<get::GetMedia>(put_media::route(Router::new(), service), service)
}
