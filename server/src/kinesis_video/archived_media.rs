//! What was stored, AWS's `kinesis-video-archived-media`.
//!
//! ```text
//! hls_session.rs    GetHLSStreamingSessionURL
//! dash_session.rs   GetDASHStreamingSessionURL
//! session.rs        what both are asked
//! ```

mod dash_session;
mod hls_session;
mod session;

use axum::Router;

use super::Service;
use super::operation::route;

/// The operations of this service.
pub(super) fn routes(service: &Service) -> Router<Service> {
    let router = route::<hls_session::GetHlsStreamingSessionUrl>(Router::new(), service);
    route::<dash_session::GetDashStreamingSessionUrl>(router, service)
}
