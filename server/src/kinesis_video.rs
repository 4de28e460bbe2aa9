//! The API of Kinesis Video Streams, as AWS's SDKs speak it: `POST`, a path for each operation, JSON.
//!
//! ```text
//! control.rs          kinesisvideo                  /createStream, /describeStream, …: streams and what is said of them
//! archived_media.rs   kinesis-video-archived-media  /getImages
//! deliveries.rs       notifications and images of fragments whose producers ask for them
//! not_there.rs        of all five services          what AWS has and this server has not, each with its reason
//!
//! authentication.rs   who calls: a signature becomes an `Identity`
//! members.rs          what is asked: the members of a request, held to the model's rules
//! rules.rs            those rules
//! refusal.rs          every way in which a call can fail
//! operation.rs        what an operation is made of, and the way of a call through it
//! pictures.rs         what operations about pictures are asked in common
//! quotas.rs           how often operations may be called, where that is limited
//! streams.rs          the archive's streams as the API sees them
//! ```
//!
//! An operation is one file, or one type in a file of its like: what it is asked, what it answers, who may ask. The paths of
//! AWS and those of the console do not clash, so both are served on one address. design/aws-api.md says why it is so.

mod archived_media;
mod authentication;
mod control;
mod deliveries;
#[cfg_attr(not(test), expect(dead_code, reason = "nothing that is there yet is asked for by a number"))]
mod fragment_number;
mod members;
mod not_there;
mod operation;
mod pictures;
mod quotas;
mod refusal;
mod rules;
mod streams;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use archive::Archive;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;

use deliveries::Deliveries;
use quotas::Quotas;

use crate::access_keys::AccessKeys;
use crate::config::Limits;
use crate::fleet::Fleet;
use crate::http::outgoing::Outgoing;
use crate::limits;
use crate::pictures::Studio;

/// What the API is made of.
#[derive(Clone)]
pub(crate) struct Service {
    archive: Archive,
    /// Whether other servers work on the same streams.
    is_shared: bool,
    keys: AccessKeys,
    fleet: Fleet,
    /// Where clients reach this server: scheme, host and port, without a path.
    public_url: Arc<str>,
    studio: Studio,
    /// Room for images on their way to clients.
    images_out: Arc<Outgoing>,
    quotas: Arc<Quotas>,
    deliveries: Deliveries,
}

/// What an operator decides of the API.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// Where clients reach this server: scheme, host and port, without a path.
    pub(crate) public_url: String,
    pub(crate) limits: Limits,
    /// Where folders for images lie, if there may be any.
    pub(crate) images: Option<PathBuf>,
}

impl Service {
    /// Puts the parts together.
    pub(crate) fn new(archive: Archive, is_shared: bool, fleet: Fleet, settings: Settings) -> Self {
        let keys = AccessKeys::new(archive.vault().clone());
        let studio = Studio::new();
        let deliveries = Deliveries::new(archive.clone(), studio.clone(), settings.images);
        let images_out = Arc::new(Outgoing::new(limits::IMAGES_OUT_BYTES_MAX));
        Self {
            archive,
            is_shared,
            keys,
            fleet,
            public_url: settings.public_url.into(),
            studio,
            images_out,
            quotas: Arc::new(Quotas::new(settings.limits)),
            deliveries,
        }
    }
}

/// The routes of the API.
pub(crate) fn router(service: Service) -> Router {
    let routes = control::routes(&service).merge(archived_media::routes(&service)).merge(not_there::routes());
    routes.layer(middleware::from_fn(numbered_and_open)).with_state(service)
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// Gives each answer a number, by which it is found in logs, and lets pages of other origins read it: they have to sign
/// like everybody else.
async fn numbered_and_open(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let id = HeaderValue::from_str(&request_id()).expect("hexadecimal digits are printable");
    headers.insert(REQUEST_ID, id);
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let exposed = HeaderValue::from_static("x-amzn-RequestId, x-amzn-ErrorType, Date");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    response
}

/// A random UUID.
fn request_id() -> String {
    let random = fastrand::u128(..);
    let versioned = random & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{versioned:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
