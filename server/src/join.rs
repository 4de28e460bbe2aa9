//! Enrolment: a secret or a present certificate against a new certificate. Knows no sockets: `ingest`
//! brings the request and takes the reply.

use std::sync::Arc;

use bytes::Bytes;
use fragment::WallTime;
use upload::join::{JoinCode, JoinReply, JoinRequest, Proof};

use crate::ca::{Ca, CheckedRequest, InvalidRequest};
use crate::devices::{AdmissionError, DeviceName, Devices, EnrolError};

/// Who answers join requests.
#[derive(Clone)]
pub(crate) struct Registrar {
    pub(crate) ca: Arc<Ca>,
    pub(crate) devices: Devices,
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
enum JoinError {
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    #[error(transparent)]
    Renew(#[from] AdmissionError),
    #[error(transparent)]
    Request(#[from] InvalidRequest),
    #[error("a renewal needs the present certificate, and the connection has none")]
    NoCertificate,
}

impl Registrar {
    /// Answers a request that came over a connection with this client certificate. Blocks for the time of a
    /// catalog commit.
    pub(crate) fn answer(&self, request: &JoinRequest, present: Option<&[u8]>, now: WallTime) -> JoinReply {
        match self.decide(request, present, now) {
            Ok((device, certificate)) => {
                tracing::info!(%device, agent = %request.agent_version, "a device got its certificate");
                let ca = Bytes::copy_from_slice(self.ca.certificate());
                JoinReply::Granted { certificate, ca, device: device.to_string() }
            }
            Err(error) => {
                tracing::warn!(%error, "a device was refused a certificate");
                JoinReply::Refused { code: error.code(), message: error.to_string() }
            }
        }
    }

    fn decide(
        &self,
        request: &JoinRequest,
        present: Option<&[u8]>,
        now: WallTime,
    ) -> Result<(DeviceName, Bytes), JoinError> {
        let key = CheckedRequest::parse(&request.csr)?.key_sha256();
        let issue = |device: &DeviceName| {
            let issued = self.ca.issue(device, CheckedRequest::parse(&request.csr)?, now)?;
            Ok::<_, JoinError>((issued.certificate, issued.expires))
        };
        match &request.proof {
            Proof::Secret(secret) => self.devices.enrol(secret, key, now, issue),
            Proof::Certificate => self.devices.renew(present.ok_or(JoinError::NoCertificate)?, now, issue),
        }
    }
}

impl JoinError {
    fn code(&self) -> JoinCode {
        match self {
            Self::Enrol(EnrolError::TokenUnknown) | Self::NoCertificate => JoinCode::TokenUnknown,
            Self::Enrol(EnrolError::TokenUsed(_)) => JoinCode::TokenUsed,
            // Either way the device needs another token; the message says which of the two it was.
            Self::Enrol(EnrolError::TokenExpired(_) | EnrolError::TokenVoid(_)) => JoinCode::TokenExpired,
            Self::Enrol(EnrolError::Revoked(_)) | Self::Renew(_) => JoinCode::DeviceRevoked,
            Self::Enrol(EnrolError::Storage(_)) => JoinCode::Internal,
            Self::Request(_) => JoinCode::RequestInvalid,
        }
    }
}
