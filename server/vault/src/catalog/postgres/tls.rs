//! TLS to the server, by rustls with aws-lc-rs. The certificate is always verified, its name included.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::TlsFiles;
use crate::error::CatalogError;

/// What connects with TLS as these files say.
pub(super) fn connector(files: &TlsFiles) -> Result<MakeRustlsConnect, CatalogError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| CatalogError::Failed(format!("TLS can't be set up: {e}")))?
        .with_root_certificates(roots(files.root.as_deref())?);
    let config = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable(key, &e))?;
            builder.with_client_auth_cert(certificates(certificate)?, private).map_err(|e| unusable(certificate, &e))?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(CatalogError::Failed("sslcert and sslkey go together; one of them is missing".to_owned())),
    };
    Ok(MakeRustlsConnect::new(config))
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, CatalogError> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| unusable(path, &e))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    if roots.is_empty() {
        let what = "there is no authority to verify the server's certificate by: name one with sslrootcert=FILE";
        return Err(CatalogError::Failed(what.to_owned()));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CatalogError> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    certificates.map_err(|e| unusable(path, &e))
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> CatalogError {
    CatalogError::Failed(format!("{} can't be used for TLS: {error}", path.display()))
}
