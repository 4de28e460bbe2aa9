//! The sockets of the credential provider: TLS that lets nobody in without a certificate of a device.
//!
//! The server's own certificate is from the CA that devices already trust. A connection is short: what is not done after
//! [`limits::CREDENTIALS_CONNECTION_WAIT`] is cut off, whatever it does.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::{Provider, Shown, router};
use crate::ca::{Ca, CaError};
use crate::limits;

/// Why the provider can't listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The port is taken, or not ours to take.
    #[error("can't listen for devices that want keys on tcp {0}: {1}; choose another address with --credentials")]
    Listen(SocketAddr, io::Error),
    /// The server's certificate can't be made.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// TLS does not take what we give it.
    #[error("TLS can't be set up: {0}")]
    Tls(String),
}

/// An open port.
pub(crate) struct Listener {
    socket: TcpListener,
    tls: TlsAcceptor,
}

impl Listener {
    /// Opens the port. `names` are those that clients know the server by, and hold its certificate against.
    pub(crate) async fn bind(address: SocketAddr, ca: &Ca, names: Vec<String>) -> Result<Self, ListenError> {
        let tls = TlsAcceptor::from(Arc::new(server_config(ca, names)?));
        let socket = TcpListener::bind(address).await.map_err(|error| ListenError::Listen(address, error))?;
        Ok(Self { socket, tls })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Answers devices until told to stop.
    pub(crate) async fn serve(self, provider: Provider, stop: CancellationToken) {
        let (router, room, connections) =
            (router(provider), Arc::new(Semaphore::new(limits::CREDENTIALS_CONNECTIONS_MAX)), TaskTracker::new());
        loop {
            let accepted = async {
                // Beyond the limit new connections wait in the system's queue.
                let place = room.clone().acquire_owned().await.expect("the semaphore is never closed");
                (self.socket.accept().await, place)
            };
            let (accepted, place) = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    let (tls, router) = (self.tls.clone(), router.clone());
                    connections.spawn(async move {
                        let answered = timeout(limits::CREDENTIALS_CONNECTION_WAIT, answer(socket, tls, router)).await;
                        if let Ok(Err(error)) = answered {
                            tracing::debug!(%peer, %error, "a connection for temporary keys broke off");
                        }
                        drop(place);
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Out of file descriptors, which passes when others end.
                Err(error) => {
                    tracing::error!(%error, "a connection for temporary keys can't be accepted; trying again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
        connections.close();
        connections.wait().await;
    }
}

async fn answer(
    socket: TcpStream,
    tls: TlsAcceptor,
    router: Router,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = tls.accept(socket).await?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let shown = Shown(certificates.first().ok_or("TLS lets nobody in without a certificate")?.clone().into_owned());
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(shown.clone());
        let router = router.clone();
        async move { router.oneshot(request).await.map_err(|never: Infallible| never) }
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(limits::CREDENTIALS_BUFFER_BYTES);
    http.serve_connection(TokioIo::new(stream), service).await?;
    Ok(())
}

fn server_config(ca: &Ca, names: Vec<String>) -> Result<rustls::ServerConfig, ListenError> {
    let tls = |error: &dyn std::error::Error| ListenError::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(ca.roots()), provider.clone())
        .build()
        .map_err(|e| tls(&e))?;
    let identity = ca.server_identity(names)?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        // 1.2 too: what runs with OpenSSL 1.0 or mbed TLS 2 has no newer one.
        .with_safe_default_protocol_versions()
        .map_err(|e| tls(&e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain, identity.key)
        .map_err(|e| tls(&e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
