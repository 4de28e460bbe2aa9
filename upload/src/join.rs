//! The two messages of enrolment. wire.rs frames them.
//!
//! ```text
//! JoinRequest  1 secret: bytes (32; empty: renewal, authenticated by the present certificate)
//!              2 csr: bytes (PKCS #10, DER)   3 agent_version: string
//! JoinReply    1 certificate: bytes (DER)     2 ca: bytes (DER)   3 device: string
//!              4 code: uint32 (0: granted)    5 message: string
//! ```

use bytes::Bytes;
use prost::Message as _;

pub use crate::code::JoinCode;
use crate::wire::{self, MessageError};

/// What proves that the device may have a certificate.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// The one-time secret of a join token.
    Secret([u8; 32]),
    /// The certificate that the connection was opened with: this is a renewal.
    Certificate,
}

/// A device asks for its certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// Why it may have one.
    pub proof: Proof,
    /// The certificate request (PKCS #10, DER). Its subject is ignored: the server names the device.
    pub csr: Bytes,
    /// The agent's version, for the log.
    pub agent_version: String,
}

/// The server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinReply {
    /// Here is the certificate.
    Granted {
        /// The device's certificate, DER.
        certificate: Bytes,
        /// The CA's certificate, DER, to be trusted from now on.
        ca: Bytes,
        /// The device's name.
        device: String,
    },
    /// There is none.
    Refused {
        /// Why, for programs.
        code: JoinCode,
        /// Why, for people.
        message: String,
    },
}

impl JoinRequest {
    /// The message with its length in front.
    pub fn encode(&self) -> Bytes {
        wire::delimited(&proto::JoinRequest {
            secret: match &self.proof {
                Proof::Secret(secret) => Bytes::copy_from_slice(secret),
                Proof::Certificate => Bytes::new(),
            },
            csr: self.csr.clone(),
            agent_version: self.agent_version.clone(),
        })
    }

    /// The message in these bytes, without the length in front.
    pub fn decode(bytes: Bytes) -> Result<Self, MessageError> {
        let request = proto::JoinRequest::decode(bytes)?;
        let proof = if request.secret.is_empty() {
            Proof::Certificate
        } else {
            Proof::Secret(request.secret.as_ref().try_into().map_err(|_| MessageError::BadField {
                field: "secret",
                why: format!("{} bytes, not 32", request.secret.len()),
            })?)
        };
        Ok(Self { proof, csr: request.csr, agent_version: request.agent_version })
    }
}

impl JoinReply {
    /// The message with its length in front.
    pub fn encode(&self) -> Bytes {
        wire::delimited(&match self.clone() {
            Self::Granted { certificate, ca, device } => {
                proto::JoinReply { certificate, ca, device, ..proto::JoinReply::default() }
            }
            Self::Refused { code, message } => {
                proto::JoinReply { code: code.number(), message, ..proto::JoinReply::default() }
            }
        })
    }

    /// The message in these bytes, without the length in front.
    pub fn decode(bytes: Bytes) -> Result<Self, MessageError> {
        let reply = proto::JoinReply::decode(bytes)?;
        Ok(if reply.code == 0 {
            Self::Granted { certificate: reply.certificate, ca: reply.ca, device: reply.device }
        } else {
            Self::Refused { code: JoinCode::from_number(reply.code), message: reply.message }
        })
    }
}

/// The fields on the wire.
mod proto {
    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct JoinRequest {
        #[prost(bytes = "bytes", tag = "1")]
        pub(super) secret: Bytes,
        #[prost(bytes = "bytes", tag = "2")]
        pub(super) csr: Bytes,
        #[prost(string, tag = "3")]
        pub(super) agent_version: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct JoinReply {
        #[prost(bytes = "bytes", tag = "1")]
        pub(super) certificate: Bytes,
        #[prost(bytes = "bytes", tag = "2")]
        pub(super) ca: Bytes,
        #[prost(string, tag = "3")]
        pub(super) device: String,
        #[prost(uint32, tag = "4")]
        pub(super) code: u32,
        #[prost(string, tag = "5")]
        pub(super) message: String,
    }
}
