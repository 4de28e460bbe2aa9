//! Sessions of playback, as AWS's clients open them: `/hls/v1/{file}` and `/dash/v1/{file}`, the session's token in the query.
//!
//! ```text
//! token.rs        what a session is; it stands in its token, and nowhere else
//! opening.rs      from what is asked to the address of a session
//! itineraries.rs  which fragments a session shows, counted from its first on, and kept as far as there is room
//! serving.rs      playlists, manifests and segments
//! ```
//!
//! A server that has never heard of a session, or that has forgotten it, counts its fragments anew. What is counted is fixed when a
//! fragment arrives, so it comes to the same; except that what has expired meanwhile can't be counted.

mod itineraries;
mod opening;
mod serving;
mod token;

use axum::Router;
use axum::routing::get;

use super::State;

pub(crate) use itineraries::Itineraries;
pub(crate) use opening::{OpenError, Wanted, WantedMode};
pub(crate) use token::{Clock, Protocol};

/// Where the files of sessions are.
pub(super) fn routes() -> Router<State> {
    let preflight = super::playback::preflight;
    Router::new()
        .route("/hls/v1/{file}", get(serving::hls).options(preflight))
        .route("/dash/v1/{file}", get(serving::dash).options(preflight))
}
