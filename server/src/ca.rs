//! The private certificate authority: the server's own certificate, and one for each device.
//!
//! The CA is made at the first start and kept in one file, certificate and key, so that it exists whole
//! or not at all. The server's key is made anew at each start: devices trust the CA, not the key. What
//! each certificate is for is in its extended key usage, so that no device can pose as the server.
//!
//! Certificates that devices check are valid from 1970 on, because a device may boot in 1970 and has to
//! reach a server to learn the time.

use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use fragment::WallTime;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::data_folder::{self, FolderError};
use crate::devices::DeviceName;
use crate::limits;

/// Why the CA can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// Its file can't be used.
    #[error(transparent)]
    File(#[from] FolderError),
    /// Its file is not what this server wrote.
    #[error("the CA in {0} can't be read; restore it from a backup, or remove it and enrol all devices anew: {1}")]
    Damaged(String, String),
    /// A certificate can't be made.
    #[error("the server's certificate can't be made: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// Why a certificate request is refused.
#[derive(Debug, thiserror::Error)]
#[error("the certificate request is not valid: {0}")]
pub(crate) struct InvalidRequest(String);

/// The certificate authority.
pub(crate) struct Ca {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate for the server, with its key and chain.
pub(crate) struct ServerIdentity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// A certificate for a device.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) certificate: Bytes,
    pub(crate) expires: WallTime,
}

/// A request that is well formed and signed by its own key.
pub(crate) struct CheckedRequest {
    request: CertificateSigningRequestParams,
}

impl Ca {
    /// The CA in the file at `path`, made if it does not exist.
    pub(crate) fn open(path: &Path) -> Result<Self, CaError> {
        let pem = data_folder::read_or_create(path, new_ca)?;
        Self::from_pem(&pem, &path.display().to_string())
    }

    /// The CA whose certificate and key these are, from the place of this name.
    pub(crate) fn from_pem(pem: &str, place: &str) -> Result<Self, CaError> {
        let damaged = |why: String| CaError::Damaged(place.to_owned(), why);
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| damaged(e.to_string()))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| damaged(e.to_string()))?;
        let key = KeyPair::try_from(&key).map_err(|e| damaged(e.to_string()))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|e| damaged(e.to_string()))?;
        Ok(Self { certificate, issuer })
    }

    /// Its certificate.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// It alone, as what certificates of devices are verified with.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("it was parsed when the CA was opened");
        roots
    }

    /// What join tokens know it by.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        sha256(&self.certificate)
    }

    /// A new key and certificate for this server, which is known by these names or addresses.
    pub(crate) fn server_identity(&self, names: Vec<String>) -> Result<ServerIdentity, CaError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = common_name(upload::wire::SERVER_NAME);
        params.not_before = date_time_ymd(1970, 1, 1);
        params.not_after = date_time_ymd(2049, 1, 1);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        // The CA is in the chain because a device that joins has only its hash.
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        Ok(ServerIdentity { chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() })
    }

    /// A certificate for `device` over the key of its request. Nothing else of the request is taken over.
    pub(crate) fn issue(
        &self,
        device: &DeviceName,
        checked: CheckedRequest,
        now: WallTime,
    ) -> Result<Issued, InvalidRequest> {
        let expires = now + limits::CERTIFICATE_VALIDITY;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(device.as_str());
        // An hour back, in case this clock is set back a little.
        params.not_before = date_time_ymd(1970, 1, 1) + since_1970(now - Duration::from_secs(3600));
        params.not_after = date_time_ymd(1970, 1, 1) + since_1970(expires);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let request = CertificateSigningRequestParams { params, public_key: checked.request.public_key };
        let certificate = request.signed_by(&self.issuer).map_err(|e| InvalidRequest(e.to_string()))?;
        Ok(Issued { certificate: Bytes::copy_from_slice(certificate.der()), expires })
    }
}

impl CheckedRequest {
    /// Reads a PKCS #10 request and checks its signature.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, InvalidRequest> {
        if der.len() > limits::CSR_BYTES_MAX {
            return Err(InvalidRequest(format!("{} bytes are too many", der.len())));
        }
        let der = CertificateSigningRequestDer::from(der);
        let request = CertificateSigningRequestParams::from_der(&der).map_err(|e| InvalidRequest(e.to_string()))?;
        Ok(Self { request })
    }

    /// What the device's key is recognised by.
    pub(crate) fn key_sha256(&self) -> [u8; 32] {
        sha256(&self.request.public_key.subject_public_key_info())
    }
}

/// The common name in a certificate, and when it ends.
pub(crate) fn subject_and_expiry(certificate: &[u8]) -> Option<(String, WallTime)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    let expires = certificate.validity().not_after.timestamp();
    Some((name, WallTime::from_millis(expires.saturating_mul(1000))))
}

/// SHA-256, which names certificates, keys and secrets here.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// The certificate and the key of a new CA.
pub(crate) fn new_ca() -> String {
    let key = KeyPair::generate().expect("the system gives random numbers");
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("Millrace CA");
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(2049, 1, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).expect("the parameters are constant and were tested");
    certificate.pem() + &key.serialize_pem()
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// The time since 1970, from which dates of certificates are counted here.
fn since_1970(time: WallTime) -> Duration {
    time.since(WallTime::from_nanos(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ca_is_the_same_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let first = Ca::open(&path).unwrap().sha256();
        assert_eq!(Ca::open(&path).unwrap().sha256(), first);
    }

    #[test]
    fn a_damaged_ca_is_not_replaced_silently() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, "not a CA").unwrap();
        assert!(matches!(Ca::open(&path), Err(CaError::Damaged(..))));
    }

    #[test]
    fn a_device_gets_its_name_from_the_server_and_ninety_days() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::open(&folder.path().join("ca.pem")).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("someone else");
        let csr = params.serialize_request(&key).unwrap();
        let now = WallTime::from_millis(1_800_000_000_000);
        let checked = CheckedRequest::parse(csr.der()).unwrap();
        let issued = ca.issue(&"cam-7".parse().unwrap(), checked, now).unwrap();
        let found = subject_and_expiry(&issued.certificate).unwrap();
        assert_eq!(found, ("cam-7".to_owned(), now + limits::CERTIFICATE_VALIDITY));
    }

    #[test]
    fn a_request_that_is_not_signed_by_its_key_is_refused() {
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap();
        let mut der = csr.der().to_vec();
        *der.last_mut().unwrap() ^= 1;
        assert!(CheckedRequest::parse(&der).is_err());
        assert!(CheckedRequest::parse(b"nonsense").is_err());
    }
}
