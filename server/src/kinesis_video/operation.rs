//! What an operation is made of, and the way of a call through it: read, carry out, answer.

use std::future::Future;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use axum::{Json, Router, middleware};
use serde::Serialize;

use super::members::{self, Members};
use super::refusal::Refusal;
use super::streams::StreamReference;
use super::{Service, authentication};
use crate::access_keys::{Access, Identity};
use fragment::StreamName;

/// An operation whose request is JSON. The type is what it is asked.
pub(super) trait Operation: Sized + Send + 'static {
    /// As AWS calls it.
    const NAME: &'static str;
    /// Where it is called.
    const PATH: &'static str;
    /// Who may call it.
    const ACCESS: Access;
    /// What it answers: what is told as JSON, or a response with media.
    type Answer: Send;

    /// Reads what is asked.
    fn read(members: &Members<'_>) -> Result<Self, Refusal>;

    /// Does it.
    fn carry_out(self, call: Call) -> impl Future<Output = Result<Self::Answer, Refusal>> + Send;
}

/// The answer of an operation that has none: `{}`.
#[derive(Serialize)]
pub(super) struct Done {}

/// Where, and for whom, an operation is carried out.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) service: Service,
    pub(super) identity: Identity,
    pub(super) operation: &'static str,
    pub(super) access: Access,
    /// For what our own extensions are asked by; AWS has all of it in the body.
    pub(super) headers: HeaderMap,
}

impl Call {
    /// Whether the caller may do this with this stream.
    pub(super) fn check(&self, stream: &StreamName) -> Result<(), Refusal> {
        if self.identity.may(self.access, stream) { Ok(()) } else { Err(self.denied(stream.to_string())) }
    }

    /// Whether the caller may do this with any stream at all.
    pub(super) fn check_somewhere(&self) -> Result<(), Refusal> {
        if self.identity.may_somewhere(self.access) { Ok(()) } else { Err(self.denied("*".to_owned())) }
    }

    /// Counts it, for a stream if it is for one; refuses it if there were too many.
    pub(super) fn count(&self, stream: Option<&StreamReference>) -> Result<(), Refusal> {
        self.service.call_rates.take(self.operation, stream.map(StreamReference::name), Instant::now())
    }

    fn denied(&self, resource: String) -> Refusal {
        Refusal::AccessDenied { access_key: self.identity.access_key.clone(), operation: self.operation, resource }
    }

    /// Carries out what blocks: on the catalog, or on the disk.
    pub(super) async fn blocking<T: Send + 'static>(
        self,
        work: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let worked = tokio::task::spawn_blocking(move || work(&self)).await;
        worked.map_err(|error| Refusal::Internal(error.to_string()))?
    }
}

/// Adds the route of an operation, which is for those who have signed.
pub(super) fn route<O>(router: Router<Service>, service: &Service) -> Router<Service>
where
    O: Operation<Answer: Serialize>,
{
    route_to::<O>(router, service, post(serve_json::<O>))
}

/// Adds the route of one that answers with media, or with pictures, and writes its answer itself.
pub(super) fn route_media<O>(router: Router<Service>, service: &Service) -> Router<Service>
where
    O: Operation<Answer = Response>,
{
    route_to::<O>(router, service, post(serve::<O>))
}

fn route_to<O: Operation>(router: Router<Service>, service: &Service, to: MethodRouter<Service>) -> Router<Service> {
    let signed = middleware::from_fn_with_state(service.clone(), authentication::whole);
    router.route(O::PATH, methods(to.route_layer(signed)))
}

/// A path of the API: what is there for `POST`, the questions that browsers ask before, and nothing else.
pub(super) fn methods(post: MethodRouter<Service>) -> MethodRouter<Service> {
    post.options(preflight).fallback(async || Refusal::NotPost)
}

async fn serve_json<O>(
    service: State<Service>,
    identity: Extension<Identity>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<O::Answer>, Refusal>
where
    O: Operation<Answer: Serialize>,
{
    serve::<O>(service, identity, headers, body).await.map(Json)
}

async fn serve<O: Operation>(
    State(service): State<Service>,
    Extension(identity): Extension<Identity>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<O::Answer, Refusal> {
    let call = Call { service, identity, operation: O::NAME, access: O::ACCESS, headers };
    call.check_somewhere()?;
    let members = members::parse(&body)?;
    let members = Members::new(&members);
    // Whether a stream has to be named at all is the operation's matter.
    call.count(StreamReference::read(&members).ok().as_ref())?;
    O::read(&members)?.carry_out(call).await
}

/// Pages of any origin may call: what they may do is a matter of their keys.
async fn preflight() -> impl IntoResponse {
    let allowed = "authorization, content-type, x-amz-date, x-amz-security-token, x-amz-content-sha256, x-amz-user-agent, \
                   amz-sdk-invocation-id, amz-sdk-request, x-millrace-clip-start";
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, allowed),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    (StatusCode::NO_CONTENT, headers)
}
