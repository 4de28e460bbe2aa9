//! One PutMedia request: HTTP/1.1, its body and its acks at the same time.
//!
//! The answer comes before the body ends, and its body goes on beside ours. A body that is broken off is never ended in
//! order: AWS would take half a fragment for a whole one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::{HeaderMap, Request, Uri, header};
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
use super::{limits, time};
use crate::VERSION;
use fragment::WallTime;

const OPERATION: &str = "PutMedia";
const SERVICE: &str = "kinesisvideo";

/// Where to, and as whom.
pub(super) struct Target<'a> {
    pub(super) endpoint: &'a str,
    pub(super) region: &'a str,
    /// By its name at AWS.
    pub(super) stream: &'a str,
    pub(super) credentials: &'a Credentials,
    pub(super) now: WallTime,
}

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
            let request = request(target, Outgoing { pieces: queue, ended: false })?;
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
        (Err(refusal(target.stream, head.status.as_u16(), &head.headers, &text)), date)
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

/// The signed head. The signature does not cover the body, which has no end yet; TLS does.
fn request(target: &Target<'_>, body: Outgoing) -> Result<Request<Outgoing>, OpenError> {
    let unsigned = |why: String| OpenError::Answer { operation: OPERATION, why };
    let millis = target.now.as_millis().max(0);
    let start = format!("{}.{:03}", millis / 1000, millis % 1000);
    let headers = [
        ("x-amzn-stream-name", target.stream),
        ("x-amzn-fragment-timecode-type", "ABSOLUTE"),
        ("x-amzn-producer-start-timestamp", start.as_str()),
        ("x-amzn-fragment-acknowledgment-required", "1"),
    ];
    let url = format!("{}/putMedia", target.endpoint);
    let authority = url.parse::<Uri>().ok().and_then(|uri| uri.authority().map(ToString::to_string));
    let authority = authority.ok_or_else(|| unsigned(format!("{url:?} is no address")))?;

    let mut request = Request::post("/putMedia")
        .header(header::HOST, authority)
        .header(header::USER_AGENT, format!("millrace-agent/{VERSION}"));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let mut request = request.body(body).map_err(|error| unsigned(error.to_string()))?;

    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity = target.credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(target.region)
        .name(SERVICE)
        .time(time::to_system(target.now))
        .settings(settings)
        .build()
        .map_err(|error| unsigned(chain(&error)))?
        .into();
    let signable = SignableRequest::new("POST", &url, headers.into_iter(), SignableBody::UnsignedPayload);
    let signed = signable.and_then(|signable| sign(signable, &params)).map_err(|error| unsigned(chain(&error)))?;
    signed.into_parts().0.apply_to_request_http1x(&mut request);
    Ok(request)
}

/// What AWS says instead of beginning a session.
fn refusal(stream: &str, status: u16, headers: &HeaderMap, body: &[u8]) -> OpenError {
    let named = headers.get("x-amzn-errortype").and_then(|name| name.to_str().ok());
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |keys: &[&str]| keys.iter().find_map(|key| json.get(*key)?.as_str()).map(str::to_owned);
    let code = named.map(str::to_owned).or_else(|| text(&["__type", "code", "Code"]));
    // It may come with a name space in front and an address behind.
    let code =
        code.map(|code| code.split(':').next().unwrap_or_default().rsplit('#').next().unwrap_or_default().to_owned());
    OpenError::Refused {
        operation: OPERATION,
        stream: stream.to_owned(),
        code: code.filter(|code| !code.is_empty()).unwrap_or_else(|| format!("status {status}")),
        message: text(&["Message", "message"]).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_in_all_the_forms_that_aws_has_for_it() {
        for (name, body, code, message) in [
            (Some("ResourceNotFoundException"), r#"{"Message":"gone"}"#, "ResourceNotFoundException", "gone"),
            (Some("InvalidEndpointException:http://x"), "", "InvalidEndpointException", ""),
            (
                None,
                r##"{"__type":"com.amazonaws#ExpiredTokenException","message":"old"}"##,
                "ExpiredTokenException",
                "old",
            ),
            (None, "<html>", "status 403", ""),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(name) = name {
                headers.insert("x-amzn-errortype", name.parse().unwrap());
            }
            let OpenError::Refused { code: c, message: m, .. } = refusal("front", 403, &headers, body.as_bytes())
            else {
                panic!("refused");
            };
            assert_eq!((c.as_str(), m.as_str()), (code, message));
        }
    }

    #[test]
    fn a_request_is_signed_with_its_session_token_and_shows_no_secret() {
        let credentials = Credentials::new("AKID", "hush", Some("token".to_owned()), None, "test");
        let target = Target {
            endpoint: "https://s-1.kinesisvideo.eu-central-1.amazonaws.com",
            region: "eu-central-1",
            stream: "front",
            credentials: &credentials,
            now: WallTime::from_millis(1_700_000_000_012),
        };
        let (_pieces, queue) = mpsc::channel(1);
        let request = request(&target, Outgoing { pieces: queue, ended: false }).unwrap();
        let header = |name: &str| request.headers()[name].to_str().unwrap();
        assert_eq!(header("host"), "s-1.kinesisvideo.eu-central-1.amazonaws.com");
        assert_eq!(header("x-amzn-producer-start-timestamp"), "1700000000.012");
        assert_eq!(header("x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
        assert_eq!(header("x-amz-security-token"), "token");
        let signature = header("authorization");
        assert!(signature.contains("Credential=AKID/20231114/eu-central-1/kinesisvideo/aws4_request"), "{signature}");
        assert!(signature.contains("host;") && signature.contains("x-amz-security-token"), "{signature}");
        assert!(!format!("{:?}", request.headers()).contains("hush"));
    }

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
