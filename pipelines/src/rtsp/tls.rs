//! Whom to believe that he is the camera, for RTSP over TLS.
//!
//! GStreamer checks the certificate and tells what it found; its error for a connection that fails then holds
//! no reason, so the verdict is kept here.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gst::glib;
use gst::prelude::*;

use crate::Error;

/// Which certificates of a camera are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those that this machine's authorities have signed, for the name in the address.
    #[default]
    System,
    /// Those that an authority in this PEM file has signed, for the name in the address.
    Ca(PathBuf),
    /// The one with this SHA-256, whoever signed it.
    Fingerprint([u8; 32]),
    /// Any: who stands between can watch.
    Anyone,
}

/// Why the last certificate was not believed.
#[derive(Clone, Default)]
pub(crate) struct Verdict(Arc<Mutex<Option<String>>>);

impl Verdict {
    /// Takes it.
    pub(crate) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, why: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

impl Trust {
    /// Tells `rtspsrc` whom to believe.
    pub(crate) fn apply(&self, rtspsrc: &gst::Element, verdict: &Verdict) -> Result<(), Error> {
        match self {
            Self::System => {}
            Self::Ca(path) => rtspsrc.set_property("tls-database", anchors(path)?),
            Self::Fingerprint(_) | Self::Anyone => rtspsrc.set_property("tls-database", nobody()?),
        }
        let (trust, verdict) = (self.clone(), verdict.clone());
        rtspsrc.connect("accept-certificate", false, move |values| {
            let certificate = values.get(2).and_then(|value| value.get::<gio::TlsCertificate>().ok());
            let errors = values.get(3).and_then(|value| value.get::<gio::TlsCertificateFlags>().ok());
            let refusal =
                trust.refusal(certificate.as_ref(), errors.unwrap_or(gio::TlsCertificateFlags::GENERIC_ERROR));
            let accepted = refusal.is_none();
            if let Some(why) = refusal {
                verdict.set(why);
            }
            Some(accepted.to_value())
        });
        Ok(())
    }

    /// Why a certificate is not believed in which GStreamer found `errors`.
    fn refusal(&self, certificate: Option<&gio::TlsCertificate>, errors: gio::TlsCertificateFlags) -> Option<String> {
        let seen = certificate.and_then(fingerprint);
        match self {
            Self::Anyone => None,
            Self::Fingerprint(wanted) if seen.as_deref() == Some(&hex(wanted)) => None,
            Self::Fingerprint(_) => {
                let seen = seen.unwrap_or_else(|| "none".to_owned());
                Some(format!("its fingerprint is {seen}, which is not the one that the configuration names"))
            }
            Self::System | Self::Ca(_) => {
                let mut why = faults(errors);
                if let Some(seen) = seen {
                    let _ = write!(why, "; if it is your camera's, its fingerprint {seen} can be named instead");
                }
                Some(why)
            }
        }
    }
}

fn anchors(path: &Path) -> Result<gio::TlsFileDatabase, Error> {
    gio::TlsFileDatabase::new(path).map_err(|error| Error::Invalid {
        what: format!("the file {} of certificate authorities", path.display()),
        detail: error.message().to_owned(),
    })
}

/// No authority, so that every certificate comes to be held against the fingerprint. GStreamer takes none but from a file with at
/// least one; that in `nobody.pem` was made for this, has expired, and its key was never kept.
fn nobody() -> Result<gio::TlsFileDatabase, Error> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("millrace-nobody-{}-{number}.pem", std::process::id()));
    let written = File::create_new(&path).and_then(|mut file| file.write_all(include_bytes!("nobody.pem")));
    let anchors = match written {
        Ok(()) => anchors(&path),
        Err(error) => Err(Error::Invalid { what: format!("the file {}", path.display()), detail: error.to_string() }),
    };
    // It has been read; one that stays does no harm.
    let _ = std::fs::remove_file(&path);
    anchors
}

/// The SHA-256 of a certificate, in hexadecimal.
fn fingerprint(certificate: &gio::TlsCertificate) -> Option<String> {
    let der = certificate.property::<Option<glib::ByteArray>>("certificate")?;
    let bytes = glib::Bytes::from(&der[..]);
    glib::compute_checksum_for_bytes(glib::ChecksumType::Sha256, &bytes).map(String::from)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn faults(errors: gio::TlsCertificateFlags) -> String {
    let known = [
        (gio::TlsCertificateFlags::UNKNOWN_CA, "nobody whom this machine trusts has signed it"),
        (gio::TlsCertificateFlags::BAD_IDENTITY, "it is for another name than the address has"),
        (gio::TlsCertificateFlags::NOT_ACTIVATED, "it is not valid yet"),
        (gio::TlsCertificateFlags::EXPIRED, "it has expired"),
        (gio::TlsCertificateFlags::REVOKED, "it was revoked"),
        (gio::TlsCertificateFlags::INSECURE, "its signature is of a kind that can be forged"),
    ];
    let found: Vec<_> = known.into_iter().filter(|(flag, _)| errors.contains(*flag)).map(|(_, words)| words).collect();
    if found.is_empty() { "it does not pass the check".to_owned() } else { found.join(", and ") }
}
