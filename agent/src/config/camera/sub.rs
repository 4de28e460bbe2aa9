//! The `[camera.sub]` of a camera: its smaller stream, as a stream of its own that is linked to the first.

use serde::Deserialize;

use super::Raw;
use crate::config::Problems;

/// As it is written. What it does not say is as the camera has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sub {
    stream: Option<String>,
    url: Option<String>,
    profile: Option<String>,
    fragment_seconds: Option<f64>,
}

impl Sub {
    pub(super) fn stream(&self) -> Option<&str> {
        self.stream.as_deref()
    }
}

impl Raw {
    /// The sub stream as a camera, if there is one. Problems are those of a camera.
    pub(in crate::config) fn take_sub(&mut self, problems: &mut Problems) -> Option<Self> {
        let sub = self.sub.take()?;
        let before = problems.len();
        if self.url.is_none() && self.onvif.is_none() {
            problems.push("sub only goes with url or onvif: remove it".to_owned());
        } else if self.url.is_some() && sub.url.is_none() {
            problems.push("sub has no url: write its own, as in url = \"rtsp://192.168.1.20/stream2\"".to_owned());
        } else if self.onvif.is_some() && sub.url.is_some() {
            problems.push("sub has a url beside onvif: write profile = \"sub\" in its place, or nothing".to_owned());
        } else if self.onvif.is_none() && sub.profile.is_some() {
            problems.push("sub has a profile, which only goes with onvif: remove it".to_owned());
        }
        (problems.len() == before).then(|| Self {
            stream: sub.stream,
            url: sub.url,
            onvif: self.onvif.clone(),
            profile: self.onvif.is_some().then(|| sub.profile.unwrap_or_else(|| "sub".to_owned())),
            fragment_seconds: sub.fragment_seconds.or(self.fragment_seconds),
            transport: self.transport,
            user: self.user.clone(),
            password: self.password.clone(),
            password_file: self.password_file.clone(),
            latency_ms: self.latency_ms,
            clock: self.clock,
            frozen_picture: self.frozen_picture.clone(),
            tls_ca: self.tls_ca.clone(),
            tls_fingerprint: self.tls_fingerprint.clone(),
            tls_insecure: self.tls_insecure,
            ..Self::default()
        })
    }
}
