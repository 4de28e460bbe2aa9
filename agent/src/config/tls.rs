//! Whose certificate is believed, of a camera that speaks RTSP over TLS; and the other keys that watch over a camera.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Problems;
use crate::limits;

/// Whose certificate is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TlsTrust {
    /// One that this machine's authorities have signed.
    #[default]
    System,
    /// One that an authority in this file has signed.
    Ca(PathBuf),
    /// The one with this SHA-256.
    Fingerprint([u8; 32]),
    /// Any.
    Anyone,
}

impl TlsTrust {
    /// Whether something is said of the certificate of a camera that streams at `url` in the clear.
    pub fn is_in_vain(&self, url: &str) -> bool {
        *self != Self::System && !url.starts_with("rtsps://")
    }
}

/// The keys as they are written.
pub(super) struct Raw<'a> {
    pub(super) ca: Option<&'a Path>,
    pub(super) fingerprint: Option<&'a str>,
    pub(super) insecure: Option<bool>,
}

impl Raw<'_> {
    /// What they mean for the camera at `url`, or at the one that it names by ONVIF. Paths are relative to `folder`.
    pub(super) fn resolve(&self, url: Option<&str>, folder: &Path, problems: &mut Problems) -> TlsTrust {
        let insecure = self.insecure == Some(true);
        let given =
            [self.ca.is_some(), self.fingerprint.is_some(), insecure].into_iter().filter(|given| *given).count();
        let any = given > 0 || self.insecure.is_some();
        if any && url.is_some_and(|url| !url.starts_with("rtsps://")) {
            problems.push(
                "tls_ca, tls_fingerprint and tls_insecure only go with onvif, or with a url that begins with rtsps://"
                    .to_owned(),
            );
        }
        if given > 1 {
            problems.push("tls_ca, tls_fingerprint and tls_insecure exclude each other: keep one of them".to_owned());
        }
        match (self.ca, self.fingerprint) {
            (Some(path), _) => {
                let path = folder.join(path);
                if let Err(error) = std::fs::metadata(&path) {
                    problems.unreadable(format!("tls_ca {} can't be read: {error}", path.display()));
                }
                TlsTrust::Ca(path)
            }
            (None, Some(text)) => match fingerprint(text) {
                Some(sum) => TlsTrust::Fingerprint(sum),
                None => {
                    problems.push(format!(
                        "tls_fingerprint is {text:?}: write the SHA-256 of the certificate, 64 hexadecimal digits, as \
                         `millrace-agent check` shows it"
                    ));
                    TlsTrust::System
                }
            },
            (None, None) if insecure => TlsTrust::Anyone,
            (None, None) => TlsTrust::System,
        }
    }
}

/// 64 hexadecimal digits, with or without colons.
fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u32> = text.trim().chars().filter(|c| *c != ':').map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks(2).filter_map(|pair| u8::try_from(pair[0] * 16 + pair.get(1)?).ok()).collect();
    (digits.len() == 64).then(|| bytes.try_into().ok())?
}

/// After how long a picture that is the same counts as frozen.
pub(super) fn frozen_picture(text: Option<&str>, problems: &mut Problems) -> Option<Duration> {
    let text = text?;
    let range = limits::FROZEN_PICTURE_MIN..=limits::FROZEN_PICTURE_MAX;
    match humantime::parse_duration(text.trim()) {
        Ok(time) if range.contains(&time) => Some(time),
        _ => {
            problems.push(format!("frozen_picture is {text:?}: write 5s to 24h, as in frozen_picture = \"30s\""));
            None
        }
    }
}
