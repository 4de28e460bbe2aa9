//! The credential provider: an enrolled device trades its certificate for a temporary access key, as at AWS IoT's, so that kvssink
//! and whatever else is written for that runs with the certificate that the device has.
//!
//! ```text
//! GET /role-aliases/{alias}/credentials      TLS with the device's certificate; x-amzn-iot-thingname: NAME
//! {"credentials": {"accessKeyId": …, "secretAccessKey": …, "sessionToken": …, "expiration": "2026-01-01T00:00:00Z"}}
//! ```
//!
//! The alias may be any: devices have one role here, that of producers, for the streams that they may write to. The name of the
//! thing may be left out; one that is given has to be the device's or that of such a stream, since kvssink says the
//! stream's if it is told none. What a key is worth is decided in `access_keys::temporary`; `listener` has the sockets.

mod listener;

use std::net::SocketAddr;

use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use serde_json::json;

use crate::access_keys::{AccessKeyError, AccessKeys, Temporary};
use crate::devices::{AdmissionError, Admitted, Devices};
use crate::storage;

pub(crate) use listener::{ListenError, Listener};

/// What answers devices.
#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) devices: Devices,
    pub(crate) keys: AccessKeys,
}

/// The certificate that a connection was opened with, verified by TLS.
#[derive(Clone)]
struct Shown(CertificateDer<'static>);

/// Why a device gets no key.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Admission(#[from] AdmissionError),
    #[error(
        "the certificate is of the device {device}, which is not {thing:?}, and may not write to a stream of that name"
    )]
    OtherThing { device: String, thing: String },
    #[error("a role alias has 1 to 128 letters, digits or '_=,@-'")]
    Alias,
    #[error("nothing is here but /role-aliases/ALIAS/credentials")]
    NotFound,
    #[error("{0}")]
    Keys(#[from] AccessKeyError),
}

const THING_NAME: &str = "x-amzn-iot-thingname";
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// The names that clients hold the server's certificate against: where it is reached by programs and by devices.
pub(crate) fn names(public_url: &str, address: SocketAddr) -> Vec<String> {
    let url: Option<Uri> = public_url.parse().ok();
    let host = url.as_ref().and_then(Uri::host).map(|host| host.trim_matches(['[', ']']).to_owned());
    let mut names: Vec<String> = host.into_iter().chain([address.ip().to_string(), "localhost".to_owned()]).collect();
    names.dedup();
    names
}

/// The routes of the provider; each request has the certificate of its connection as an extension.
fn router(provider: Provider) -> Router {
    Router::new()
        .route("/role-aliases/{alias}/credentials", get(credentials))
        .fallback(async || Refusal::NotFound)
        .with_state(provider)
}

async fn credentials(
    State(provider): State<Provider>,
    Extension(Shown(certificate)): Extension<Shown>,
    Path(alias): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    check_alias(&alias)?;
    let device = provider.devices.admit_now(&certificate).await?;
    if let Some(thing) = headers.get(THING_NAME) {
        check_thing(&device, &String::from_utf8_lossy(thing.as_bytes()))?;
    }
    let Temporary { id, secret, token, expires } = provider.keys.grant(&device, &certificate, storage::now())?;
    tracing::info!(device = %device.name, access_key = %id, "a device has fetched a temporary access key");
    let expiration = Timestamp::from_millisecond(expires.as_millis()).unwrap_or_default().to_string();
    let credentials = json!({
        "accessKeyId": id, "secretAccessKey": secret.as_str(), "sessionToken": token, "expiration": expiration,
    });
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(json!({ "credentials": credentials }))).into_response())
}

/// By AWS's rule.
fn check_alias(alias: &str) -> Result<(), Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_=,@-".contains(c);
    if (1..=128).contains(&alias.len()) && alias.chars().all(allowed) { Ok(()) } else { Err(Refusal::Alias) }
}

fn check_thing(device: &Admitted, thing: &str) -> Result<(), Refusal> {
    if thing == device.name.as_str() || thing.parse().is_ok_and(|stream| device.may_write(&stream)) {
        return Ok(());
    }
    Err(Refusal::OtherThing { device: device.name.to_string(), thing: thing.chars().take(128).collect() })
}

impl Refusal {
    /// Status and name, as the data plane of AWS IoT has them.
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Admission(AdmissionError::Storage(_)) | Self::Keys(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailureException")
            }
            Self::Admission(_) | Self::OtherThing { .. } => (StatusCode::FORBIDDEN, "AccessDeniedException"),
            Self::Alias => (StatusCode::BAD_REQUEST, "InvalidRequestException"),
            Self::NotFound => (StatusCode::NOT_FOUND, "ResourceNotFoundException"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, name) = self.kind();
        let message = if status.is_server_error() {
            tracing::error!(reason = %self, "a device got no temporary access key");
            "the server failed; its log says why".to_owned()
        } else {
            tracing::warn!(reason = %self, "a device got no temporary access key");
            self.to_string()
        };
        (status, [(ERROR_TYPE, HeaderValue::from_static(name))], Json(json!({ "message": message }))).into_response()
    }
}

#[cfg(test)]
mod tests;
