//! How a device gets its certificate: once by its join token, later by the one that it has.
//!
//! Steps of joining: (1) a new key, (2) a connection that accepts only the CA of the token, (3) the token's
//! secret and a certificate request, (4) key, CA and certificate to disk, the certificate last. A crash
//! before (4) has used up the token on the server's side; the message says so at the next start.

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
        "this device has not joined a server yet: run `millrace device add NAME` there and set server.token to what it prints"
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

/// The device's identity: the one that it has, or a new one by its token.
pub async fn identity(state: &Path, address: &str, token: Option<&JoinToken>) -> Result<Identity, EnrolError> {
    if let Some(identity) = Identity::load(state)? {
        return Ok(identity);
    }
    let token = token.ok_or(EnrolError::NoToken)?;
    let identity = join(address, token).await?;
    identity.store(state)?;
    Ok(identity)
}

/// A new certificate for the same key, while the present one is still good.
pub async fn renew(state: &Path, address: &str, identity: &Identity) -> Result<Identity, EnrolError> {
    let key = rcgen::KeyPair::try_from(&identity.key).map_err(crypto)?;
    let config = trust::renew(identity).map_err(crypto)?;
    let (certificate, ca) = request(address, config, Proof::Certificate, &key).await?;
    let renewed = Identity { key: identity.key.clone_key(), certificate, ca };
    renewed.store_certificate(state)?;
    Ok(renewed)
}

async fn join(address: &str, token: &JoinToken) -> Result<Identity, EnrolError> {
    let key = rcgen::KeyPair::generate().map_err(crypto)?;
    let config = trust::join(token.ca_sha256).map_err(crypto)?;
    let (certificate, ca) = request(address, config, Proof::Secret(token.secret), &key).await?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(crypto)?;
    tracing::info!("joined the server; the token is used up");
    Ok(Identity { key, certificate, ca })
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
