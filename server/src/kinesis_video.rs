//! The API of Kinesis Video Streams, as AWS's SDKs speak it: `POST`, a path for each operation, JSON.
//!
//! ```text
//! control.rs          kinesisvideo                  /createStream, /describeStream, …: streams and what is said of them
//! media.rs            kinesis-video-media           /putMedia, /getMedia: media as they come
//! archived_media.rs   kinesis-video-archived-media  /listFragments, /getClip, …: media that are kept
//! deliveries.rs       notifications and images of fragments whose producers ask for them
//! not_there.rs        of all five services          what AWS has and this server has not, each with its reason
//!
//! authentication.rs   who calls: a signature becomes an `Identity`
//! members.rs          what is asked: the members of a request, held to the model's rules
//! rules.rs            those rules
//! refusal.rs          every way in which a call can fail
//! operation.rs        what an operation is made of, and the way of a call through it
//! pictures.rs         what operations about pictures are asked in common
//! call_rates.rs       how often operations may be called, where that is limited
//! streams.rs          the archive's streams as the API sees them
//! fragment_number.rs  its fragments' numbers
//! selector.rs         which of its fragments are meant
//! reading_quotas.rs   how much of a stream may be read
//! chunk.rs            a fragment as it is sent
//! feed.rs             responses that are made while they are sent
//! ```
//!
//! An operation is one file, or one type in a file of its like: what it is asked, what it answers, who may ask. The paths of
//! AWS and those of the console do not clash, so both are served on one address. design/aws-api.md says why it is so.

mod archived_media;
mod authentication;
mod call_rates;
mod chunk;
mod control;
mod deliveries;
mod feed;
pub(crate) mod fragment_number;
mod media;
mod members;
mod not_there;
mod operation;
mod pictures;
mod reading_quotas;
mod refusal;
mod rules;
mod selector;
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
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use call_rates::CallRates;
use deliveries::Deliveries;
use reading_quotas::Places;

pub(crate) use media::Receiving;
pub(crate) use reading_quotas::ReadQuotas;

use crate::access_keys::AccessKeys;
use crate::config::Limits;
use crate::fleet::Fleet;
use crate::http::damage::Damage;
use crate::http::outgoing::Outgoing;
use crate::pictures::Studio;
use crate::{http, limits};

/// What the API is made of.
pub(crate) struct Parts {
    pub(crate) archive: Archive,
    /// Whether other servers work on the same streams.
    pub(crate) is_shared: bool,
    pub(crate) fleet: Fleet,
    /// Where clients reach this server: scheme, host and port, without a path.
    pub(crate) public_url: String,
    /// Room for media on their way out.
    pub(crate) outgoing: Outgoing,
    /// The fragments that are known to be damaged.
    pub(crate) damage: Arc<Damage>,
    pub(crate) limits: Limits,
    /// Where folders for images lie, if there may be any.
    pub(crate) images: Option<PathBuf>,
    /// What plays sessions.
    pub(crate) playback: http::State,
    /// What sessions of PutMedia work with.
    pub(crate) receiving: Receiving,
    /// Ends what would go on for ever.
    pub(crate) stop: CancellationToken,
}

/// What all calls share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Service {
    archive: Archive,
    is_shared: bool,
    keys: AccessKeys,
    fleet: Fleet,
    public_url: Arc<str>,
    outgoing: Outgoing,
    damage: Arc<Damage>,
    call_rates: Arc<CallRates>,
    quotas: ReadQuotas,
    playback: http::State,
    receiving: Receiving,
    deliveries: Deliveries,
    studio: Studio,
    /// Room for images on their way to clients.
    images_out: Outgoing,
    /// Connections of GetMedia.
    get_media: Places,
    /// Connections of GetMediaForFragmentList.
    fragment_lists: Places,
    /// Clips whose tables are in memory.
    clips: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Service {
    /// Puts the parts together.
    pub(crate) fn new(parts: Parts) -> Self {
        let (quotas, studio) = (parts.limits.reading(), Studio::new());
        Self {
            keys: AccessKeys::new(parts.archive.vault().clone()),
            deliveries: Deliveries::new(parts.archive.clone(), studio.clone(), parts.images),
            archive: parts.archive,
            is_shared: parts.is_shared,
            fleet: parts.fleet,
            public_url: parts.public_url.into(),
            outgoing: parts.outgoing,
            damage: parts.damage,
            call_rates: Arc::new(CallRates::new(parts.limits)),
            quotas,
            playback: parts.playback,
            receiving: parts.receiving,
            studio,
            images_out: Outgoing::new(limits::IMAGES_OUT_BYTES_MAX),
            get_media: Places::new(quotas.get_media),
            fragment_lists: Places::new(quotas.fragment_list),
            clips: Arc::new(Semaphore::new(limits::CLIPS_MAX)),
            stop: parts.stop,
        }
    }
}

/// The routes of the API.
pub(crate) fn router(service: Service) -> Router {
    let routes = control::routes(&service).merge(media::routes(&service)).merge(archived_media::routes(&service));
    let routes = routes.merge(not_there::routes());
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
