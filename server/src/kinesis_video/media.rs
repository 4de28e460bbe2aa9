//! Media as they come, AWS's `kinesis-video-media`.
//!
//! ```text
//! put_media.rs    PutMedia
//! ```

mod put_media;

use axum::Router;

use super::Service;

pub(crate) use put_media::Receiving;

/// The operations of this service.
pub(super) fn routes(service: &Service) -> Router<Service> {
    put_media::route(Router::new(), service)
}
