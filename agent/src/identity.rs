//! Who the device is: its private key, its certificate, and the CA that it trusts.
//!
//! Files in the state folder, readable by the owner only:
//!
//! ```text
//! key.pem, cert.pem, ca.pem   PEM; the certificate is written last: its presence says that the device has joined
//! token.sha256                hex: the last join token that was tried and answered, so that a new one is known for new
//! server                      host:port of the server that `join` was told, for a configuration that names none
//! join.key                    while a token is being tried: its SHA-256 in hex, a line feed, and the key in PEM
//! ```

use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use upload::JoinToken;

use crate::state;

const KEY: &str = "key.pem";
const CERTIFICATE: &str = "cert.pem";
const CA: &str = "ca.pem";
const TOKEN: &str = "token.sha256";
const PENDING: &str = "join.key";
const SERVER: &str = "server";

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

    /// Keeps it in this state folder, with the token that it was got with. A crash in between leaves no certificate,
    /// and the pending key, with which the same token is answered again.
    pub fn store(&self, state: &Path, token: &JoinToken) -> io::Result<()> {
        remove(&state.join(CERTIFICATE))?;
        state::replace(&state.join(KEY), pem("PRIVATE KEY", self.key.secret_der()).as_bytes())?;
        state::replace(&state.join(CA), pem("CERTIFICATE", &self.ca).as_bytes())?;
        note_tried(state, token)?;
        state::replace(&state.join(CERTIFICATE), pem("CERTIFICATE", &self.certificate).as_bytes())?;
        remove(&state.join(PENDING))
    }

    /// Keeps a renewed certificate of the same key.
    pub fn store_certificate(&self, state: &Path) -> io::Result<()> {
        state::replace(&state.join(CERTIFICATE), pem("CERTIFICATE", &self.certificate).as_bytes())
    }
}

/// Whether this token is the last that was tried and answered.
pub(crate) fn has_tried(state: &Path, token: &JoinToken) -> bool {
    fs::read_to_string(state.join(TOKEN)).is_ok_and(|text| text.trim() == hash(token))
}

/// Notes that this token was tried and answered.
pub(crate) fn note_tried(state: &Path, token: &JoinToken) -> io::Result<()> {
    state::replace(&state.join(TOKEN), (hash(token) + "\n").as_bytes())
}

/// The key that this token is being tried with, in PEM.
pub(crate) fn pending_key(state: &Path, token: &JoinToken) -> Option<String> {
    let text = fs::read_to_string(state.join(PENDING)).ok()?;
    let (of, key) = text.split_once('\n')?;
    (of == hash(token)).then(|| key.to_owned())
}

/// Keeps the key that this token is about to be tried with.
pub(crate) fn store_pending_key(state: &Path, token: &JoinToken, pem: &str) -> io::Result<()> {
    state::replace(&state.join(PENDING), format!("{}\n{pem}", hash(token)).as_bytes())
}

/// The address of the server that this device has joined, if `join` was told it.
pub(crate) fn server(state: &Path) -> Option<String> {
    fs::read_to_string(state.join(SERVER)).ok().map(|text| text.trim().to_owned())
}

/// Keeps the address of the server that this device has joined.
pub(crate) fn store_server(state: &Path, address: &str) -> io::Result<()> {
    state::replace(&state.join(SERVER), format!("{address}\n").as_bytes())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What a token is known by: its secret is not kept.
fn hash(token: &JoinToken) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.to_string().as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
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
        identity.store(state.path(), &token(1)).unwrap();
        let loaded = Identity::load(state.path()).unwrap().unwrap();
        assert_eq!(loaded.key.secret_der(), identity.key.secret_der());
        assert_eq!((loaded.certificate, loaded.ca), (identity.certificate, identity.ca));
        let mode = fs::metadata(state.path().join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_pending_key_goes_with_its_token_until_the_identity_is_there() {
        let state = tempfile::tempdir().unwrap();
        store_pending_key(state.path(), &token(1), "a key\nof two lines\n").unwrap();
        assert_eq!(pending_key(state.path(), &token(1)).as_deref(), Some("a key\nof two lines\n"));
        assert_eq!(pending_key(state.path(), &token(2)), None);
        let key = rcgen::KeyPair::generate().unwrap();
        let identity = Identity {
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            certificate: vec![1; 100].into(),
            ca: vec![2; 100].into(),
        };
        assert!(!has_tried(state.path(), &token(1)));
        identity.store(state.path(), &token(1)).unwrap();
        assert_eq!(pending_key(state.path(), &token(1)), None);
        assert!(has_tried(state.path(), &token(1)) && !has_tried(state.path(), &token(2)));
    }

    fn token(secret: u8) -> JoinToken {
        JoinToken { ca_sha256: [0; 32], secret: [secret; 32] }
    }
}
