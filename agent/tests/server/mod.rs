//! The other end of the uplink, in the hands of a test: it accepts the agent's connections and says and does to them
//! exactly what the test wants, right or wrong. It stores nothing and parses no Matroska.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent::clock::Clock;
use agent::identity::Identity;
use agent::uplink::{self, Notice};
use bytes::Bytes;
use fragment::{FragmentNumber, WallTime};
use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::{
    Connection, ConnectionError, Endpoint, EndpointConfig, RecvStream, SendStream, TokioRuntime, TransportConfig,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use spool::Spool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use upload::join::{JoinReply, JoinRequest};
use upload::wire::{self, MessageReader};
use upload::{
    Ack, AckKind, CloseCode, FragmentHeader, FragmentKey, FragmentReceiver, FromAgent, FromServer, JoinToken, Received,
    Trailer, Welcome, limits,
};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A server with a CA of its own.
pub(crate) struct Server {
    endpoint: Endpoint,
    issuer: Issuer<'static, KeyPair>,
    ca: CertificateDer<'static>,
}

/// An upload connection after Welcome.
pub(crate) struct Line {
    pub(crate) connection: Connection,
    /// What the device showed.
    pub(crate) certificate: CertificateDer<'static>,
    control: (SendStream, RecvStream),
}

/// A fragment on its way in, its header read.
pub(crate) struct Incoming {
    pub(crate) header: FragmentHeader,
    stream: RecvStream,
    receiver: FragmentReceiver,
    media: Vec<u8>,
    trailer: Option<Trailer>,
}

/// An uplink that runs, and what it has noticed.
pub(crate) struct Uplink {
    pub(crate) stop: CancellationToken,
    pub(crate) notices: mpsc::UnboundedReceiver<Notice>,
    pub(crate) task: tokio::task::JoinHandle<Result<(), agent::enrol::EnrolError>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(TransportConfig::default())
    }

    /// With these windows.
    pub(crate) fn start_with(transport: TransportConfig) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "CA of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::from_ca_cert_der(&ca, key).unwrap();
        let mut config = config(&ca, &issuer);
        config.transport_config(Arc::new(transport));
        let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let mut large_packets = EndpointConfig::default();
        large_packets.max_udp_payload_size(limits::UDP_PAYLOAD_BYTES_MAX).unwrap();
        let endpoint = Endpoint::new(large_packets, Some(config), socket, Arc::new(TokioRuntime)).unwrap();
        Self { endpoint, issuer, ca }
    }

    pub(crate) fn address(&self) -> String {
        self.endpoint.local_addr().unwrap().to_string()
    }

    /// A token with this secret.
    pub(crate) fn token(&self, secret: [u8; 32]) -> JoinToken {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.ca);
        JoinToken { ca_sha256: hash.as_ref().try_into().unwrap(), secret }
    }

    /// Makes the device of this state folder known, with a certificate from `since` until `until`, counted from
    /// now, in seconds.
    pub(crate) fn enrol(&self, state: &Path, since: i64, until: i64) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = self.certificate(&key, since, until);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let identity = Identity { key, certificate, ca: self.ca.clone() };
        identity.store(state, &self.token([0; 32])).unwrap();
        identity
    }

    /// The same with a certificate that is good for a long time.
    pub(crate) fn enrol_for_long(&self, state: &Path) -> Identity {
        let day = i64::try_from(DAY.as_secs()).unwrap();
        self.enrol(state, -day, 89 * day)
    }

    /// The next connection of either kind, with its protocol.
    pub(crate) async fn connection(&self) -> (Connection, Vec<u8>) {
        let connection = within(async {
            loop {
                // An agent that gives up a dial, or whose certificate is refused, comes again.
                if let Ok(connection) = self.endpoint.accept().await.expect("the endpoint is open").await {
                    return connection;
                }
            }
        });
        let connection = connection.await;
        let data = connection.handshake_data().unwrap().downcast::<HandshakeData>().unwrap();
        (connection, data.protocol.unwrap())
    }

    /// How the next handshake fails.
    pub(crate) async fn failed_handshake(&self) -> ConnectionError {
        match within(async { self.endpoint.accept().await.unwrap().await }).await {
            Ok(_) => panic!("the handshake succeeds"),
            Err(error) => error,
        }
    }

    /// The next connection, which has to be an upload, up to its Welcome.
    pub(crate) async fn upload(&self) -> Line {
        self.upload_with(|_| {}).await
    }

    /// The same with another Welcome.
    pub(crate) async fn upload_with(&self, change: impl FnOnce(&mut Welcome)) -> Line {
        let (connection, protocol) = self.connection().await;
        assert_eq!(String::from_utf8_lossy(&protocol), String::from_utf8_lossy(wire::UPLOAD_ALPN));
        Line::welcome(connection, change).await
    }

    /// The next connection, which has to be an enrolment, answered with `answer`.
    pub(crate) async fn join(&self, answer: impl FnOnce(&Self, &JoinRequest) -> JoinReply) -> JoinRequest {
        let (connection, protocol) = self.connection().await;
        assert_eq!(String::from_utf8_lossy(&protocol), String::from_utf8_lossy(wire::JOIN_ALPN));
        self.answer_join(&connection, answer).await
    }

    /// Answers the enrolment that this connection is for.
    pub(crate) async fn answer_join(
        &self,
        connection: &Connection,
        answer: impl FnOnce(&Self, &JoinRequest) -> JoinReply,
    ) -> JoinRequest {
        let (mut send, mut recv) = within(connection.accept_bi()).await.unwrap();
        let bytes = within(recv.read_to_end(limits::MESSAGE_BYTES_MAX)).await.unwrap();
        let mut reader = MessageReader::new();
        reader.push(&bytes);
        let request = JoinRequest::decode(reader.pull(limits::MESSAGE_BYTES_MAX).unwrap().unwrap()).unwrap();
        send.write_all(&answer(self, &request).encode()).await.unwrap();
        send.finish().unwrap();
        let _ = within(send.stopped()).await;
        request
    }

    /// The answer that lets a device in for long.
    pub(crate) fn granted(&self, request: &JoinRequest) -> JoinReply {
        let csr = CertificateSigningRequestDer::from(request.csr.as_ref());
        let key = CertificateSigningRequestParams::from_der(&csr).unwrap().public_key;
        let day = i64::try_from(DAY.as_secs()).unwrap();
        JoinReply::Granted {
            certificate: Bytes::copy_from_slice(&self.certificate(&key, -3600, 90 * day)),
            ca: Bytes::copy_from_slice(&self.ca),
            device: "cam".to_owned(),
        }
    }

    fn certificate(&self, key: &impl PublicKeyData, since: i64, until: i64) -> CertificateDer<'static> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let at = |offset: i64| {
            let offset = i64::try_from(now.as_secs()).unwrap() + offset;
            date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(offset).unwrap())
        };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "cam");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = (at(since), at(until));
        params.signed_by(key, &self.issuer).unwrap().der().clone()
    }
}

impl Line {
    /// Takes Hello and answers Welcome.
    pub(crate) async fn welcome(connection: Connection, change: impl FnOnce(&mut Welcome)) -> Self {
        let mut control = within(connection.accept_bi()).await.unwrap();
        let mut reader = MessageReader::new();
        let hello = loop {
            if let Some(message) = reader.pull(limits::MESSAGE_BYTES_MAX).unwrap() {
                break FromAgent::decode(message).unwrap();
            }
            reader.push(&within(control.1.read_chunk(65536, true)).await.unwrap().unwrap().bytes);
        };
        assert!(matches!(hello, FromAgent::Hello(_)), "{hello:?}");
        let identity = connection.peer_identity().expect("the agent shows its certificate");
        let [certificate] = &identity.downcast::<Vec<CertificateDer<'static>>>().unwrap()[..] else {
            panic!("one certificate")
        };
        let mut welcome = Welcome {
            server_time: now(),
            fragments_in_flight: limits::FRAGMENTS_IN_FLIGHT,
            bytes_in_flight: limits::BYTES_IN_FLIGHT,
            fragment_bytes: fragment::limits::FRAGMENT_BYTES_MAX as u64,
            fragment_duration: fragment::limits::FRAGMENT_DURATION_MAX,
            device: "cam".to_owned(),
            certificate_expires: now() + DAY * 90,
        };
        change(&mut welcome);
        let certificate = certificate.clone();
        control.0.write_all(&FromServer::Welcome(welcome).encode()).await.unwrap();
        Self { connection, certificate, control }
    }

    /// The next fragment, up to its header.
    pub(crate) async fn fragment(&mut self) -> Incoming {
        let stream = within(self.connection.accept_uni()).await.unwrap();
        Incoming::begin(stream).await
    }

    pub(crate) async fn ack(&mut self, key: &FragmentKey, kind: AckKind) {
        let ack = Ack { key: key.clone(), kind, number: Some(FragmentNumber(1)) };
        self.control.0.write_all(&FromServer::Ack(ack).encode()).await.unwrap();
    }

    /// Takes the next fragment to its end and says PERSISTED.
    pub(crate) async fn store(&mut self) -> (FragmentKey, Vec<u8>) {
        let incoming = self.fragment().await;
        let key = incoming.header.key.clone();
        let (media, _) = incoming.rest().await;
        self.ack(&key, AckKind::Persisted).await;
        (key, media)
    }

    /// Takes so many fragments, side by side as they come, and acks each PERSISTED a while after its end.
    pub(crate) async fn store_slowly(&mut self, count: usize, pause: Duration) {
        let (tell, mut told) = mpsc::unbounded_channel();
        let mut stored = 0;
        while stored < count {
            let connection = self.connection.clone();
            tokio::select! {
                stream = within(connection.accept_uni()) => {
                    let (stream, tell) = (stream.unwrap(), tell.clone());
                    tokio::spawn(async move {
                        let incoming = Incoming::begin(stream).await;
                        let key = incoming.header.key.clone();
                        incoming.rest().await;
                        tokio::time::sleep(pause).await;
                        drop(tell.send(key));
                    });
                }
                Some(key) = told.recv() => {
                    self.ack(&key, AckKind::Persisted).await;
                    stored += 1;
                }
            }
        }
    }

    /// How the agent ends the connection.
    pub(crate) async fn end(&self) -> ConnectionError {
        within(self.connection.closed()).await
    }

    /// Closes it.
    pub(crate) fn close(self, code: CloseCode, why: &str) {
        self.connection.close(code.number().into(), why.as_bytes());
    }
}

impl Incoming {
    async fn begin(mut stream: RecvStream) -> Self {
        let mut receiver = FragmentReceiver::new(limits::BYTES_IN_FLIGHT);
        loop {
            if let Some(Received::Header(header)) = receiver.pull().unwrap() {
                return Self { header, stream, receiver, media: Vec::new(), trailer: None };
            }
            let chunk = within(stream.read_chunk(65536, true)).await.unwrap().expect("the fragment has a header");
            receiver.push(chunk.bytes);
        }
    }

    /// Its payload, once so many bytes of it are there.
    pub(crate) async fn media(&mut self, bytes: usize) -> &[u8] {
        self.drain();
        while self.media.len() < bytes {
            let chunk = within(self.stream.read_chunk(65536, true)).await.unwrap().expect("the fragment goes on");
            self.receiver.push(chunk.bytes);
            self.drain();
        }
        &self.media
    }

    /// All of it.
    pub(crate) async fn rest(mut self) -> (Vec<u8>, Trailer) {
        self.drain();
        while let Some(chunk) = within(self.stream.read_chunk(65536, true)).await.unwrap() {
            self.receiver.push(chunk.bytes);
            self.drain();
        }
        self.receiver.finish().unwrap();
        (self.media, self.trailer.expect("a whole fragment has a trailer"))
    }

    fn drain(&mut self) {
        while let Some(part) = self.receiver.pull().unwrap() {
            match part {
                Received::Header(_) => unreachable!("there is one header"),
                Received::Media(piece) => self.media.extend_from_slice(&piece),
                Received::Trailer(trailer) => self.trailer = Some(trailer),
            }
        }
    }
}

impl Uplink {
    /// Uploads `spool` to `server`.
    pub(crate) fn start(server: &Server, state: &Path, spool: &Spool, token: Option<JoinToken>) -> Self {
        Self::start_with(server, state, spool, token, agent::config::Uplink::default())
    }

    /// The same with these rules.
    pub(crate) fn start_with(
        server: &Server,
        state: &Path,
        spool: &Spool,
        token: Option<JoinToken>,
        rules: agent::config::Uplink,
    ) -> Self {
        let (tell, notices) = mpsc::unbounded_channel();
        let settings = uplink::Settings {
            sub_streams: Vec::new(),
            pulse: Arc::default(),
            server: agent::config::Server { address: server.address(), token },
            state: state.to_owned(),
            spool: spool.clone(),
            clock: Clock::open().unwrap(),
            uplink: rules,
            observer: Arc::new(move |notice: &Notice| drop(tell.send(notice.clone()))),
            fleet: None,
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move { uplink::run(&settings, stopped).await });
        Self { stop, notices, task }
    }

    /// Waits for a notice of this kind.
    pub(crate) async fn until<T>(&mut self, mut wanted: impl FnMut(&Notice) -> Option<T>) -> T {
        within(async {
            loop {
                let notice = self.notices.recv().await.expect("the uplink runs");
                if let Some(found) = wanted(&notice) {
                    return found;
                }
            }
        })
        .await
    }

    /// Why there is no connection, as it is told next.
    pub(crate) async fn complaint(&mut self) -> String {
        self.until(|notice| match notice {
            Notice::Disconnected { why, .. } => Some(why.clone()),
            _ => None,
        })
        .await
    }

    /// Stops it and waits for its end.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        within(self.task).await.unwrap().unwrap();
    }
}

/// Fails instead of waiting for ever.
pub(crate) async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.expect("it comes in time")
}

pub(crate) fn now() -> WallTime {
    WallTime::from_nanos(0) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn config(ca: &CertificateDer<'static>, issuer: &Issuer<'static, KeyPair>) -> quinn::ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![wire::SERVER_NAME.to_owned()]).unwrap();
    let chain = vec![params.signed_by(&key, issuer).unwrap().der().clone(), ca.clone()];
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    tls.alpn_protocols = vec![wire::UPLOAD_ALPN.to_vec(), wire::JOIN_ALPN.to_vec()];
    quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()))
}

/// The application close in an error.
pub(crate) fn closed(error: ConnectionError) -> (CloseCode, String) {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let code = u32::try_from(close.error_code.into_inner()).unwrap();
            (CloseCode::from_number(code), String::from_utf8(close.reason.to_vec()).unwrap())
        }
        other => panic!("not an application close: {other}"),
    }
}
