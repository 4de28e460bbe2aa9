//! Posts a message to a web address.

use std::sync::{Arc, OnceLock};

use axum::http::Uri;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::DeliveryError;

/// Posts once.
pub(super) async fn post(uri: &str, body: Bytes) -> Result<(), DeliveryError> {
    let uri: Uri = uri.parse().map_err(|error| DeliveryError::lasting(&error))?;
    let host = uri.host().ok_or_else(|| DeliveryError::lasting(&"the address has no host"))?.to_owned();
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let address = (host.trim_matches(['[', ']']).to_owned(), port);
    let socket = TcpStream::connect(address).await.map_err(|error| DeliveryError::passing(&error))?;
    let request = request(&uri, body)?;
    let status = if is_tls {
        let name = ServerName::try_from(host).map_err(|error| DeliveryError::lasting(&error))?;
        let stream = TlsConnector::from(tls().await?).connect(name, socket).await;
        exchange(stream.map_err(|error| DeliveryError::passing(&error))?, request).await?
    } else {
        exchange(socket, request).await?
    };
    match status {
        status if status.is_success() => Ok(()),
        // It may do better later.
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(DeliveryError::passing(&status)),
        status if status.is_server_error() => Err(DeliveryError::passing(&status)),
        status => Err(DeliveryError::lasting(&status)),
    }
}

fn request(uri: &Uri, body: Bytes) -> Result<Request<Full<Bytes>>, DeliveryError> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let request = Request::post(path)
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "text/plain; charset=UTF-8")
        .header(header::USER_AGENT, concat!("millrace/", env!("CARGO_PKG_VERSION")))
        // As SNS says it.
        .header("x-amz-sns-message-type", "Notification")
        .body(Full::new(body));
    request.map_err(|error| DeliveryError::lasting(&error))
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<StatusCode, DeliveryError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| DeliveryError::passing(&error))?;
    let answered = async {
        let response = sender.send_request(request).await;
        response.map(|response| response.status()).map_err(|error| DeliveryError::passing(&error))
    };
    // What is behind the head of the answer is not read.
    tokio::select! {
        biased;
        status = answered => status,
        ended = connection => match ended {
            Ok(()) => Err(DeliveryError::passing(&"it closed the connection")),
            Err(error) => Err(DeliveryError::passing(&error)),
        },
    }
}

/// By the authorities that this machine trusts.
async fn tls() -> Result<Arc<rustls::ClientConfig>, DeliveryError> {
    static CONFIG: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let load = || {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| DeliveryError::lasting(&error))?;
        Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    };
    let config = tokio::task::spawn_blocking(load).await.map_err(|error| DeliveryError::passing(&error))??;
    Ok(CONFIG.get_or_init(|| config).clone())
}
