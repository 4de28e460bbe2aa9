//! Who the device is: its private key, its certificate, and the CA that it trusts.
//!
//! Files in the state folder, PEM, readable by the owner only. The certificate is written last, and its
//! presence is what says that the device has joined.

use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::state;

const KEY: &str = "key.pem";
const CERTIFICATE: &str = "cert.pem";
const CA: &str = "ca.pem";

/// A device that has joined.
#[derive(Debug)]
pub struct Identity {
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// The server's CA.
    pub ca: CertificateDer<'static>,
}

/// Why an identity can't be read.
#[derive(Debug, thiserror::Error)]
#[error("the device's identity can't be read from {file}: {why}; remove cert.pem there to join again with a new token")]
pub struct ReadError {
    file: String,
    why: String,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { key: self.key.clone_key(), certificate: self.certificate.clone(), ca: self.ca.clone() }
    }
}

impl Identity {
    /// The identity in this state folder, or `None` if the device has not joined.
    pub fn load(state: &Path) -> Result<Option<Self>, ReadError> {
        if !state.join(CERTIFICATE).exists() {
            return Ok(None);
        }
        let error = |name: &str, why: String| ReadError { file: state.join(name).display().to_string(), why };
        let certificate =
            |name: &str| CertificateDer::from_pem_file(state.join(name)).map_err(|why| error(name, why.to_string()));
        let key = PrivateKeyDer::from_pem_file(state.join(KEY)).map_err(|why| error(KEY, why.to_string()))?;
        Ok(Some(Self { key, certificate: certificate(CERTIFICATE)?, ca: certificate(CA)? }))
    }

    /// Keeps it in this state folder. A crash in between leaves no certificate, or the old identity's files
    /// with the new key only when the CA gave out a certificate that never arrived.
    pub fn store(&self, state: &Path) -> io::Result<()> {
        match fs::remove_file(state.join(CERTIFICATE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        state::replace(&state.join(KEY), pem("PRIVATE KEY", self.key.secret_der()).as_bytes())?;
        state::replace(&state.join(CA), pem("CERTIFICATE", &self.ca).as_bytes())?;
        state::replace(&state.join(CERTIFICATE), pem("CERTIFICATE", &self.certificate).as_bytes())
    }

    /// Keeps a renewed certificate of the same key.
    pub fn store_certificate(&self, state: &Path) -> io::Result<()> {
        state::replace(&state.join(CERTIFICATE), pem("CERTIFICATE", &self.certificate).as_bytes())
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_identity_survives_its_files_and_only_the_owner_reads_the_key() {
        let state = tempfile::tempdir().unwrap();
        assert!(Identity::load(state.path()).unwrap().is_none());
        let key = rcgen::KeyPair::generate().unwrap();
        let identity = Identity {
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            certificate: vec![1; 100].into(),
            ca: vec![2; 100].into(),
        };
        identity.store(state.path()).unwrap();
        let loaded = Identity::load(state.path()).unwrap().unwrap();
        assert_eq!(loaded.key.secret_der(), identity.key.secret_der());
        assert_eq!((loaded.certificate, loaded.ca), (identity.certificate, identity.ca));
        let mode = fs::metadata(state.path().join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
