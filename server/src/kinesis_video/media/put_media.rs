//! PutMedia: a producer sends fragments for as long as it likes, and hears of each what becomes of it.
//!
//! It is the one operation that is not in AWS's models. All that is asked stands in headers; the answer begins at once, and goes
//! on beside the body.
//!
//! ```text
//! request.rs      what is asked
//! session.rs      a session from its first byte to its last ack
//! pace.rs         how fast it may go
//! acks.rs         where acks go, which is the body of the answer
//! sessions.rs     the sessions under way: so many, and of each stream the newest
//! ```
//!
//! What makes a fragment is decided in `upload::put_media`, without I/O.

mod acks;
mod pace;
mod request;
mod session;
mod sessions;

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Router, middleware};
use hyper::body::Frame;
use tokio_util::sync::CancellationToken;

use self::request::PutMedia;
use self::session::Session;
use self::sessions::Sessions;
use crate::access_keys::{Access, Identity};
use crate::budget::Budget;
use crate::kinesis_video::Service;
use crate::kinesis_video::authentication::{self, Standing};
use crate::kinesis_video::operation::{Call, methods};
use crate::kinesis_video::refusal::Refusal;
use crate::limits::{self, Profile};
use crate::presence::Presences;

const NAME: &str = "PutMedia";
const PATH: &str = "/putMedia";

/// What sessions work with, beside the archive.
#[derive(Clone)]
pub(crate) struct Receiving {
    /// What a producer may do.
    pub(crate) profile: &'static Profile,
    /// Memory for fragments under way, of which devices take their part too.
    pub(crate) budget: Budget,
    pub(crate) presences: Presences,
    /// When it comes, sessions end.
    pub(crate) stop: CancellationToken,
    sessions: Arc<Sessions>,
}

impl Receiving {
    /// Puts the parts together.
    pub(crate) fn new(
        profile: &'static Profile,
        budget: Budget,
        presences: Presences,
        stop: CancellationToken,
    ) -> Self {
        Self { profile, budget, presences, stop, sessions: Arc::default() }
    }
}

impl Default for Receiving {
    fn default() -> Self {
        let budget = Budget::new(limits::INTAKE_BYTES_MAX);
        Self::new(&Profile::OWN, budget, Presences::default(), CancellationToken::new())
    }
}

/// Adds its route.
pub(super) fn route(router: Router<Service>, service: &Service) -> Router<Service> {
    let signed = middleware::from_fn_with_state(service.clone(), authentication::head);
    router.route(PATH, methods(post(put_media).route_layer(signed)))
}

async fn put_media(
    State(service): State<Service>,
    Extension(identity): Extension<Identity>,
    Extension(standing): Extension<Standing>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, mut body) = request.into_parts();
    let call = Call {
        service: service.clone(),
        identity,
        operation: NAME,
        access: Access::Produce,
        headers: parts.headers.clone(),
    };
    call.check_somewhere()?;
    let asked = PutMedia::read(&parts.headers)?;
    call.count(Some(&asked.stream))?;
    let stream = {
        let (call, wanted) = (call.clone(), asked.stream.clone());
        call.blocking(move |call| call.find(&wanted)).await?
    };
    let place = service.receiving.sessions.open(&stream.name, service.receiving.profile.connections)?;
    let first = if expects_continue(&parts.headers) { begin(&mut body).await } else { None };
    let (acks, told) = acks::channel(asked.wants_acks);
    tracing::info!(stream = %stream.name, access_key = %call.identity.access_key, "a producer sends media");
    let session = Session::new(service, stream, standing, place, asked.timecodes);
    tokio::spawn(Box::pin(session.run(first, body, acks)));
    // As AWS writes them.
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CONNECTION, HeaderValue::from_static("keep-alive")),
    ];
    Ok((headers, Body::new(told)).into_response())
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

type First = Option<Result<Frame<Bytes>, axum::Error>>;

/// Asks for the body, and gives what is there of it. hyper answers `100 Continue` when it is asked for a body before it has
/// an answer, and libcurl waits a second for that.
async fn begin(body: &mut Body) -> First {
    let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut *body).poll_frame(cx))).await;
    // For hyper to see that it was asked.
    tokio::task::yield_now().await;
    match polled {
        Poll::Ready(frame) => frame,
        Poll::Pending => None,
    }
}
