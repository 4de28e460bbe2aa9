//! Media that are stored, AWS's `kinesis-video-archived-media`.
//!
//! ```text
//! images.rs       GetImages, by the plan of sampling.rs
//! ```

mod images;
mod sampling;

pub(super) use sampling::Sampling;

use axum::Router;

use super::Service;
use super::operation::route;

/// The operations of this service.
pub(super) fn routes(service: &Service) -> Router<Service> {
    route::<images::GetImages>(Router::new(), service)
}
