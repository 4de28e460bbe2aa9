//! How a device gets its certificate: once by its join token, later by the one that it has.
//!
//! Steps of joining: (1) a new key, kept beside the token that it is for, (2) a connection that accepts only the CA of
//! the token, (3) the token's secret and a certificate request, (4) key, CA, the token's hash and the certificate to disk,
//! the certificate last. A token admits one key. If the answer is lost, or the device crashes before (4), the next
//! attempt asks with the key of (1) and is answered again.
//!
//! A token that the device has not tried yet is used even if it has a certificate: so it is let in again after it was
//! revoked, and moves to another server. If that token is of no use the device stays the one that it is.

use std::path::Path;

use bytes::Bytes;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use upload::JoinToken;
use upload::join::{JoinCode, JoinReply, JoinRequest, Proof};
use upload::wire::{MessageError, MessageReader};

use crate::identity::{self, Identity};
use crate::uplink::{self, DialError};
use crate::{VERSION, trust};

/// Why a device has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// There is nothing to join with.
    #[error(
        "this device has not joined a server yet: run `millrace device add NAME` there and type the `millrace-agent join` that it prints here, or set server.token"
    )]
    NoToken,
    /// The identity of an earlier run is damaged.
    #[error(transparent)]
    Identity(#[from] identity::ReadError),
    /// The server could not be reached. Worth another attempt.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The server does not show the CA of the token.
    #[error(
        "the server at {0} is not the one that the join token is from: check server.address, or get a new token from it"
    )]
    WrongServer(String),
    /// The server said no.
    #[error("the server refused to let this device join: {message} ({code})")]
    Refused {
        /// Why, for programs.
        code: JoinCode,
        /// Why, for people.
        message: String,
    },
    /// The answer can't be read.
    #[error("the server's answer can't be understood: {0}")]
    Answer(#[from] MessageError),
    /// The answer is not whole.
    #[error("the server's answer broke off")]
    Incomplete,
    /// Keys or certificates can't be used.
    #[error("no key or certificate could be made: {0}")]
    Crypto(String),
    /// The identity can't be kept.
    #[error("the device's identity can't be written to the state folder: {0}")]
    Store(#[from] std::io::Error),
}

impl EnrolError {
    /// Whether the same attempt may succeed later, without a change by a person.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Dial(_) | Self::Answer(_) | Self::Incomplete | Self::Store(_) => true,
            Self::Refused { code, .. } => *code == JoinCode::Internal,
            Self::NoToken | Self::Identity(_) | Self::WrongServer(_) | Self::Crypto(_) => false,
        }
    }
}

/// What a device is to connect with.
#[derive(Debug)]
pub enum Standing<'a> {
    /// The identity that it has.
    Joined(Identity),
    /// A new identity, by this token; until then the one that it has, if it has one.
    Joins(&'a JoinToken, Option<Identity>),
}

/// Where the device stands, by what is in its state folder and the token in its configuration.
pub fn standing<'a>(state: &Path, token: Option<&'a JoinToken>) -> Result<Standing<'a>, EnrolError> {
    let present = Identity::load(state);
    match (present, token) {
        (Ok(None), None) => Err(EnrolError::NoToken),
        (Ok(None), Some(token)) => Ok(Standing::Joins(token, None)),
        // A damaged identity is healed by a new token.
        (present, Some(token)) if !identity::has_tried(state, token) => {
            Ok(Standing::Joins(token, present.unwrap_or_default()))
        }
        (present, _) => Ok(Standing::Joined(present?.expect("the other cases are those without one"))),
    }
}

/// The device's identity: the one that it has, or a new one by its token.
pub async fn identity(state: &Path, address: &str, token: Option<&JoinToken>) -> Result<Identity, EnrolError> {
    let (token, present) = match standing(state, token)? {
        Standing::Joined(identity) => return Ok(identity),
        Standing::Joins(token, present) => (token, present),
    };
    let error = match join(state, address, token).await {
        Ok(identity) => return Ok(identity),
        Err(error) => error,
    };
    let Some(present) = present.filter(|_| !error.is_retryable()) else {
        return Err(error);
    };
    tracing::error!(%error, "the new join token is of no use; the device stays the one that it is");
    if matches!(error, EnrolError::Refused { .. }) {
        identity::note_tried(state, token)?;
    }
    Ok(present)
}

/// A new certificate for the same key, while the present one is still good.
pub async fn renew(state: &Path, address: &str, identity: &Identity) -> Result<(), EnrolError> {
    let key = rcgen::KeyPair::try_from(&identity.key).map_err(crypto)?;
    let config = trust::renew(identity).map_err(crypto)?;
    let (certificate, ca) = request(address, config, Proof::Certificate, &key).await?;
    // The device may have joined anew meanwhile, with another key.
    let is_present = |present: &Identity| present.certificate == identity.certificate;
    if Identity::load(state)?.as_ref().is_some_and(is_present) {
        Identity { key: identity.key.clone_key(), certificate, ca }.store_certificate(state)?;
    }
    Ok(())
}

/// Joins by a token that the device has not tried yet.
pub(crate) async fn join(state: &Path, address: &str, token: &JoinToken) -> Result<Identity, EnrolError> {
    let key = key_for(state, token)?;
    let config = trust::join(token.ca_sha256).map_err(crypto)?;
    let (certificate, ca) = request(address, config, Proof::Secret(token.secret), &key).await?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(crypto)?;
    let identity = Identity { key, certificate, ca };
    identity.store(state, token)?;
    tracing::info!("joined the server; the token is used up");
    Ok(identity)
}

/// The key to join with: the one of an attempt with the same token whose answer was lost, or a new one.
fn key_for(state: &Path, token: &JoinToken) -> Result<rcgen::KeyPair, EnrolError> {
    if let Some(key) = identity::pending_key(state, token).and_then(|pem| rcgen::KeyPair::from_pem(&pem).ok()) {
        return Ok(key);
    }
    let key = rcgen::KeyPair::generate().map_err(crypto)?;
    identity::store_pending_key(state, token, &key.serialize_pem())?;
    Ok(key)
}

async fn request(
    address: &str,
    config: rustls::ClientConfig,
    proof: Proof,
    key: &rcgen::KeyPair,
) -> Result<(CertificateDer<'static>, CertificateDer<'static>), EnrolError> {
    let params = rcgen::CertificateParams::new(Vec::<String>::new()).map_err(crypto)?;
    let csr = params.serialize_request(key).map_err(crypto)?;
    let request =
        JoinRequest { proof, csr: Bytes::copy_from_slice(csr.der()), agent_version: VERSION.to_owned() }.encode();
    let answer = uplink::exchange(address, config, request).await.map_err(|error| match error {
        DialError::Untrusted { .. } => EnrolError::WrongServer(address.to_owned()),
        other => EnrolError::Dial(other),
    })?;
    let mut reader = MessageReader::new();
    reader.push(&answer);
    let message = reader.pull(upload::limits::MESSAGE_BYTES_MAX)?.ok_or(EnrolError::Incomplete)?;
    match JoinReply::decode(message)? {
        JoinReply::Granted { certificate, ca, .. } => Ok((certificate.to_vec().into(), ca.to_vec().into())),
        JoinReply::Refused { code, message } => Err(EnrolError::Refused { code, message }),
    }
}

fn crypto(error: impl std::fmt::Display) -> EnrolError {
    EnrolError::Crypto(error.to_string())
}
