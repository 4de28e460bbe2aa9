//! Media that are kept, AWS's `kinesis-video-archived-media`.
//!
//! ```text
//! list.rs             ListFragments
//! fragment_list.rs    GetMediaForFragmentList
//! clip.rs             GetClip
//! ```

mod clip;
mod fragment_list;
mod list;

use axum::Router;

use super::Service;
use super::operation::{route, route_media};

/// The operations of this service.
pub(super) fn routes(service: &Service) -> Router<Service> {
    let router = route::<list::ListFragments>(Router::new(), service);
    let router = route_media::<fragment_list::GetMediaForFragmentList>(router, service);
    route_media::<clip::GetClip>(router, service)
}
