//! Who calls: the signature of a request becomes an `Identity`, which operations find among its extensions.
//!
//! What can be refused without the body is refused before it is read: an address that is not signed, a time that is over, a key
//! that nobody has. So nobody without a key's id makes the server hold more than a head.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use sigv4::Claim;

use super::Service;
use super::refusal::Refusal;
use crate::access_keys::{AccessKeys, Credentials};
use crate::{limits, storage};

/// What all of AWS's services for video sign for.
const SERVICE: &str = "kinesisvideo";

/// Lets those requests through that are signed, head and body, with a key of this server.
pub(super) async fn whole(State(service): State<Service>, request: Request, next: Next) -> Result<Response, Refusal> {
    let (mut parts, body) = request.into_parts();
    let (claim, Credentials { identity, secret }) = read(&service.keys, &parts).await?;
    let body = to_bytes(body, limits::AWS_REQUEST_BYTES_MAX).await.map_err(|error| too_large_or_broken(&error))?;
    claim.verify(&as_signed(&parts), sigv4::Body::Whole(&body), &secret, SERVICE, now())?;
    parts.extensions.insert(identity);
    Ok(next.run(Request::from_parts(parts, Body::from(body))).await)
}

/// The same for a request whose body comes while it is made, and is not signed.
pub(super) async fn head(State(service): State<Service>, request: Request, next: Next) -> Result<Response, Refusal> {
    let (mut parts, body) = request.into_parts();
    let (claim, Credentials { identity, secret }) = read(&service.keys, &parts).await?;
    claim.verify(&as_signed(&parts), sigv4::Body::Streamed, &secret, SERVICE, now())?;
    parts.extensions.insert(identity);
    parts.extensions.insert(Standing { keys: service.keys, claim });
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// By what a caller whose call goes on and on is still let on: its key may be disabled meanwhile, or end.
#[derive(Clone)]
pub(super) struct Standing {
    keys: AccessKeys,
    claim: Claim,
}

impl Standing {
    /// Whether the key is still good.
    pub(super) async fn holds(&self) -> Result<(), Refusal> {
        self.keys.credentials(self.claim.access_key(), self.claim.session_token(), storage::now()).await?;
        Ok(())
    }
}

/// What a request claims, and what that is to be verified with.
async fn read(keys: &AccessKeys, parts: &Parts) -> Result<(Claim, Credentials), Refusal> {
    let claim = Claim::read(&as_signed(parts))?;
    claim.check_time(now())?;
    let credentials = keys.credentials(claim.access_key(), claim.session_token(), storage::now()).await?;
    Ok((claim, credentials))
}

/// The head of a request as its signature sees it.
fn as_signed(parts: &Parts) -> sigv4::Request<'_> {
    sigv4::Request {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
    }
}

fn too_large_or_broken(error: &axum::Error) -> Refusal {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = source {
        if cause.is::<http_body_util::LengthLimitError>() {
            return Refusal::TooLarge;
        }
        source = cause.source();
    }
    Refusal::BrokenOff(error.to_string())
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(storage::now().as_millis()).unwrap_or(0))
}
