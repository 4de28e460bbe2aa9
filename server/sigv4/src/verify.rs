//! Whether a claim holds: time, scope, body, and last the signature, compared in constant time.
//!
//! What counts as the hash of the body is where the SDKs differ most. The value of `x-amz-content-sha256` counts if there
//! is one, signed or not: it is part of what is signed anyway. Otherwise it is the hash of the body that came, and that of no
//! bytes for a body that is sent while it is made.

use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;

use crate::canonical::{Request, canonical_request};
use crate::claim::{Claim, Place};
use crate::error::VerifyError;
use crate::{limits, time};

const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The body of the request.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// It is here.
    Whole(&'a [u8]),
    /// It comes while it is made, and has no end yet.
    Streamed,
}

impl Claim {
    /// Whether its time is one at which it may be used. Cheap, and needs no secret.
    pub fn check_time(&self, now: SystemTime) -> Result<(), VerifyError> {
        let (earliest, latest) = (now - limits::SKEW_MAX, now + limits::SKEW_MAX);
        if self.time > latest {
            let (signed, limit) = (self.time_text.clone(), time::write(latest));
            return Err(VerifyError::NotYetCurrent { signed, limit });
        }
        let (good_until, limit) = match self.place {
            Place::Header => (self.time, earliest),
            Place::Query { expires } => (self.time + expires, now),
        };
        if good_until < limit {
            return Err(VerifyError::Expired { signed: time::write(good_until), limit: time::write(limit) });
        }
        Ok(())
    }

    /// Whether the request was signed with this secret, for this service, at a time that is near `now`. The claim must
    /// have been read from this very request.
    pub fn verify(
        &self,
        request: &Request<'_>,
        body: Body<'_>,
        secret: &[u8],
        service: &str,
        now: SystemTime,
    ) -> Result<(), VerifyError> {
        self.check_time(now)?;
        if self.scope.service != service {
            return Err(VerifyError::Scope { found: self.scope.service.clone(), expected: service.to_owned() });
        }
        let body_hash = body_hash(request, body)?;
        let signed: Vec<&str> = self.signed_headers.iter().map(String::as_str).collect();
        let canonical = canonical_request(request, &signed, &body_hash)?;
        let text = format!("AWS4-HMAC-SHA256\n{}\n{}\n{}", self.time_text, self.scope.text(), sha256(&canonical));
        hmac::verify(&self.signing_key(secret), text.as_bytes(), &self.signature).map_err(|_| VerifyError::Mismatch)
    }

    /// The key of one day, region and service, which a secret leads to by steps that do not lead back.
    fn signing_key(&self, secret: &[u8]) -> hmac::Key {
        let first = hmac::Key::new(hmac::HMAC_SHA256, &[b"AWS4", secret].concat());
        self.scope
            .steps()
            .into_iter()
            .fold(first, |key, step| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, step.as_bytes()).as_ref()))
    }
}

/// The hash that the body is signed by. One that the request names is held against the body.
fn body_hash(request: &Request<'_>, body: Body<'_>) -> Result<String, VerifyError> {
    let came = match body {
        Body::Whole(bytes) => sha256(bytes),
        Body::Streamed => sha256(b""),
    };
    if !request.headers.iter().any(|(name, _)| *name == "x-amz-content-sha256") {
        return Ok(came);
    }
    let named = request.header("x-amz-content-sha256").unwrap_or_default();
    let is_hash = named.len() == 64 && named.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match named {
        UNSIGNED => Ok(UNSIGNED.to_owned()),
        _ if !is_hash => Err(VerifyError::Payload(named.chars().take(64).collect())),
        _ if named == came => Ok(came),
        _ => Err(if matches!(body, Body::Streamed) { VerifyError::StreamedHash } else { VerifyError::Body }),
    }
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
