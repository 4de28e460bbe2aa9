//! Whether a request proves that its sender knows the password: WS-UsernameToken with a digest.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use gst::glib;

use super::messages::text;

/// How far the time of a proof may lie from the camera's clock, in seconds.
const WINDOW: i64 = 30;

/// Knows the password, and the proofs that were used.
pub(super) struct Guard {
    credentials: Option<(String, String)>,
    clock_ahead: i64,
    used: Mutex<HashSet<String>>,
}

impl Guard {
    pub(super) fn new(credentials: Option<(String, String)>, clock_ahead: i64) -> Self {
        Self { credentials, clock_ahead, used: Mutex::default() }
    }

    /// What the camera's clock says, in seconds since 1970.
    pub(super) fn time(&self) -> i64 {
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        i64::try_from(now).unwrap_or(0) + self.clock_ahead
    }

    /// Whether `request` may be answered; if not, why.
    pub(super) fn admits(&self, request: &str) -> Result<(), &'static str> {
        let Some((user, password)) = &self.credentials else { return Ok(()) };
        let field = |name| text(request, name).ok_or("the request has no proof");
        let (created, nonce) = (field("Created")?, field("Nonce")?);
        let time = glib::DateTime::from_iso8601(&created, None).map_err(|_| "its time is none")?.to_unix();
        if (time - self.time()).abs() > WINDOW {
            return Err("its time is not the camera's");
        }
        let mut digested = glib::Checksum::new(glib::ChecksumType::Sha1).ok_or("there is no SHA-1")?;
        digested.update(&glib::base64_decode(&nonce));
        digested.update(created.as_bytes());
        digested.update(password.as_bytes());
        if field("Username")? != *user || field("Password")? != glib::base64_encode(&digested.digest()).as_str() {
            return Err("its user name or password is another");
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.insert(nonce) { Ok(()) } else { Err("it was used before") }
    }
}
