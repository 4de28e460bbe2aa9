//! One PutMedia request: HTTP/1.1, its body and its acks at the same time.
//!
//! The answer comes before the body ends, and its body goes on beside ours. A body that is broken off is never ended in
//! order: AWS would take half a fragment for a whole one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::error::OpenError;
use super::keys::chain;
use super::limits;
use super::request::{self, Target};

/// A session that AWS has accepted. Dropping it breaks the connection.
pub(super) struct PutMedia {
    outlet: Outlet,
    inlet: Inlet,
    _connection: Connection,
}

/// Where the body goes in.
pub(super) struct Outlet(mpsc::Sender<Piece>);

/// Where acks come out.
pub(super) struct Inlet(Incoming);

/// What the body is made of.
enum Piece {
    Data(Bytes),
    /// Nothing more follows.
    End,
}

/// The body.
struct Outgoing {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

/// The TLS that AWS is spoken to with: it shows a certificate that this machine's roots know.
pub(super) fn tls() -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        tracing::warn!("this machine has no root certificates: install the package ca-certificates");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl PutMedia {
    /// Begins a session. Gives the `Date` of AWS's answer too, whatever the answer is.
    pub(super) async fn open(
        tls: &Arc<ClientConfig>,
        target: &Target<'_>,
    ) -> (Result<Self, OpenError>, Option<String>) {
        let unreachable = |why: String| OpenError::Unreachable { address: target.endpoint.to_owned(), why };
        let opening = async {
            let (mut sender, connection) = connect(tls, target.endpoint).await?;
            let (pieces, queue) = mpsc::channel(limits::PIECES_MAX);
            let request = request::signed(target, Outgoing { pieces: queue, ended: false })?;
            let response = sender.send_request(request).await.map_err(|error| unreachable(chain(&error)))?;
            Ok((response, pieces, connection))
        };
        let opened = timeout(2 * limits::CONNECT_MAX, opening).await;
        let (response, pieces, connection) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return (Err(error), None),
            Err(_) => return (Err(unreachable(format!("no answer within {:?}", 2 * limits::CONNECT_MAX))), None),
        };
        let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        if response.status() == 200 {
            let inlet = Inlet(response.into_body());
            return (Ok(Self { outlet: Outlet(pieces), inlet, _connection: connection }), date);
        }
        let (head, body) = response.into_parts();
        let text =
            timeout(limits::CONNECT_MAX, http_body_util::Limited::new(body, limits::ERROR_BYTES_MAX).collect()).await;
        let text = text.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
        (Err(request::refusal(target.stream, head.status.as_u16(), &head.headers, &text)), date)
    }

    /// Both directions, to be used at the same time.
    pub(super) fn halves(&mut self) -> (&Outlet, &mut Inlet) {
        (&self.outlet, &mut self.inlet)
    }
}

impl Outlet {
    /// Waits for room for a piece of the body. `None` when the connection is gone.
    pub(super) async fn room(&self) -> Option<Room<'_>> {
        self.0.reserve().await.ok().map(Room)
    }
}

impl Inlet {
    /// The next bytes of acks; `None` at the end of the answer.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        loop {
            match self.0.frame().await.transpose()? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}

/// Room for one piece of the body.
pub(super) struct Room<'a>(mpsc::Permit<'a, Piece>);

impl Room<'_> {
    pub(super) fn send(self, bytes: Bytes) {
        self.0.send(Piece::Data(bytes));
    }

    /// Ends the body, between two fragments.
    pub(super) fn end(self) {
        self.0.send(Piece::End);
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(cx).map(|piece| match piece {
            Some(Piece::Data(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            None => Some(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the session was broken off"))),
        })
    }
}

/// The task that moves the bytes. It ends with this handle.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn connect(tls: &Arc<ClientConfig>, endpoint: &str) -> Result<(SendRequest<Outgoing>, Connection), OpenError> {
    let unreachable = |why: String| OpenError::Unreachable { address: endpoint.to_owned(), why };
    let strange = || OpenError::Answer { operation: "GetDataEndpoint", why: format!("{endpoint:?} is no address") };
    let uri: Uri = endpoint.parse().map_err(|_| strange())?;
    let host = uri.host().ok_or_else(strange)?;
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(strange()),
    };
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let socket = timeout(limits::CONNECT_MAX, TcpStream::connect((host.trim_matches(['[', ']']), port))).await;
    let socket = socket
        .map_err(|_| unreachable(format!("no answer within {:?}", limits::CONNECT_MAX)))?
        .map_err(|error| unreachable(error.to_string()))?;
    let _ = socket.set_nodelay(true);
    if !secure {
        return handshake(socket).await.map_err(|error| unreachable(chain(&error)));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|_| strange())?;
    let secured = TlsConnector::from(tls.clone()).connect(name, socket).await;
    let secured = secured.map_err(|error| unreachable(error.to_string()))?;
    handshake(secured).await.map_err(|error| unreachable(chain(&error)))
}

async fn handshake<S>(socket: S) -> Result<(SendRequest<Outgoing>, Connection), hyper::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = chain(&error), "a connection to AWS has ended");
        }
    });
    Ok((sender, Connection(task.abort_handle())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_that_is_broken_off_does_not_end_in_order() {
        let (pieces, queue) = mpsc::channel(2);
        pieces.send(Piece::Data(Bytes::from_static(b"half"))).await.unwrap();
        drop(pieces);
        let mut body = Outgoing { pieces: queue, ended: false };
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.frame().await.unwrap().is_err());

        let (pieces, queue) = mpsc::channel(2);
        pieces.send(Piece::End).await.unwrap();
        drop(pieces);
        assert!(Outgoing { pieces: queue, ended: false }.frame().await.is_none());
    }
}
