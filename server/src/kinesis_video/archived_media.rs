//! Media that are kept, AWS's `kinesis-video-archived-media`.
//!
//! ```text
//! list.rs             ListFragments
//! fragment_list.rs    GetMediaForFragmentList
//! clip.rs             GetClip
//! hls_session.rs      GetHLSStreamingSessionURL
//! dash_session.rs     GetDASHStreamingSessionURL
//! session.rs          what both are asked
//! images.rs           GetImages, by the plan of sampling.rs
//! ```

mod clip;
mod dash_session;
mod fragment_list;
mod hls_session;
mod images;
mod list;
mod sampling;
mod session;

pub(super) use sampling::Sampling;

use axum::Router;

use super::Service;
use super::operation::{route, route_media};

/// The operations of this service.
pub(super) fn routes(service: &Service) -> Router<Service> {
    let router = route::<list::ListFragments>(Router::new(), service);
    let router = route_media::<fragment_list::GetMediaForFragmentList>(router, service);
    let router = route_media::<clip::GetClip>(router, service);
    let router = route::<hls_session::GetHlsStreamingSessionUrl>(router, service);
    let router = route::<dash_session::GetDashStreamingSessionUrl>(router, service);
    route_media::<images::GetImages>(router, service)
}
