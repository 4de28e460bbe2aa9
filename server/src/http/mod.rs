//! The HTTP side: console, JSON API, HLS playback, health and metrics.
//!
//! ```text
//! GET  /                                   the watch page, or the login page          console.rs
//! GET  /console/…                          its static files
//! GET  /api/streams                        streams and what is stored of them         api.rs
//! POST /api/streams/{name}/playback        a playback URL for live or for the past
//! GET  /v1/devices[/{name}]                devices and how they are                   devices.rs
//! GET  /v1/devices/{name}/cameras/{stream}/snapshot   what a camera sees now, as a JPEG
//! POST /v1/devices/{name}/cameras/{stream}/restart
//! POST /v1/devices/{name}/cameras/{stream}/fetch      has it upload what it has recorded in a range of time
//! GET  /hls/{token}/{file}                 playlists and segments                     playback.rs
//! GET  /healthz, /metrics                  for the machines that watch this one       health.rs
//! ```
//!
//! On the same address answers the API of Kinesis Video Streams (`crate::kinesis_video`), by its own paths and its own keys.
//!
//! The console and the API ask for the console key; playback for a token of its own, so that its URL can
//! be given to a player or to a person without giving away the console. Only playback allows other
//! origins. Health and metrics are open: they name streams and count, and show no picture.

mod api;
mod console;
mod damage;
mod devices;
mod error;
mod health;
mod library;
pub(crate) mod limits;
pub(crate) mod listener;
pub(crate) mod outgoing;
mod playback;
mod rendition;
mod seal;
mod segment_cache;
mod token;

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use archive::Archive;
use aws_lc_rs::constant_time;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use fragment::{StreamName, WallTime};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use error::Problem;
use library::Library;
use outgoing::Outgoing;
use rendition::Renditions;
use seal::Sealer;
use segment_cache::{Opened, SegmentCache};

use crate::fleet::Fleet;

/// Whether a device that feeds a stream is connected just now.
pub(crate) trait Presence: Send + Sync {
    /// Whether a connected device may send this stream.
    fn is_connected(&self, stream: &StreamName) -> bool;
}

/// What the HTTP side is made of.
pub(crate) struct Parts {
    /// Where the video is.
    pub(crate) archive: Archive,
    /// The key of playback tokens and console sessions.
    pub(crate) token_key: Zeroizing<[u8; 32]>,
    /// What opens the console.
    pub(crate) console_key: String,
    /// Renders the metrics in Prometheus' text format.
    pub(crate) metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Who is connected.
    pub(crate) presence: Box<dyn Presence>,
    /// The devices.
    pub(crate) fleet: Fleet,
}

/// What all requests share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct State(Arc<Shared>);

struct Shared {
    library: Library,
    sealer: Sealer,
    console_key: String,
    metrics: Box<dyn Fn() -> String + Send + Sync>,
    presence: Box<dyn Presence>,
    fleet: Fleet,
    segments: SegmentCache,
    renditions: Renditions,
    building: Semaphore,
    outgoing: Outgoing,
}

impl State {
    /// Puts the parts together.
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(Shared {
            library: Library::new(parts.archive),
            sealer: Sealer::new(&parts.token_key),
            console_key: parts.console_key,
            metrics: parts.metrics,
            presence: parts.presence,
            fleet: parts.fleet,
            segments: SegmentCache::new(limits::SEGMENT_CACHE_BYTES_MAX),
            renditions: Renditions::default(),
            building: Semaphore::new(limits::SEGMENTS_BUILDING_MAX),
            outgoing: Outgoing::new(limits::OUTGOING_BYTES_MAX),
        }))
    }

    fn library(&self) -> &Library {
        &self.0.library
    }

    /// What is to be noted before a fragment is opened.
    fn opened_now(&self) -> Opened {
        Opened { key_drops: self.0.library.key_drops(), at: Instant::now() }
    }

    fn sealer(&self) -> &Sealer {
        &self.0.sealer
    }

    fn console_key(&self) -> &str {
        &self.0.console_key
    }

    fn is_console_key(&self, key: &str) -> bool {
        constant_time::verify_slices_are_equal(key.as_bytes(), self.0.console_key.as_bytes()).is_ok()
    }
}

/// The routes of the HTTP side.
pub(crate) fn router(state: State) -> Router {
    Router::new()
        .route("/", get(console::index))
        .route("/console/app.js", get(console::script))
        .route("/console/style.css", get(console::style))
        .route("/console/hls.light.min.js", get(console::hls))
        .route("/api/streams", get(api::streams))
        .route("/api/streams/{name}/playback", post(api::playback))
        .route("/v1/devices", get(devices::list))
        .route("/v1/devices/{name}", get(devices::show))
        .route("/v1/devices/{name}/cameras/{stream}/snapshot", get(devices::snapshot))
        .route("/v1/devices/{name}/cameras/{stream}/restart", post(devices::restart_camera))
        .route("/v1/devices/{name}/cameras/{stream}/fetch", post(devices::fetch))
        .route("/hls/{token}/{file}", get(playback::file).options(playback::preflight))
        .route("/healthz", get(health::healthz))
        .route("/metrics", get(health::metrics))
        .fallback(async || Problem::NotFound)
        .layer(DefaultBodyLimit::max(limits::REQUEST_BYTES_MAX))
        .with_state(state)
}

/// The wall time of a request. A clock before 1970 counts as 1970: tokens then live longer, nothing else.
fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime::from_nanos(0) + since
}

#[cfg(test)]
mod tests;
