//! A raw device: says to a server exactly what a test wants said, right or wrong, and reports what came back.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use fragment::{
    AccessUnit, ClockQuality, Codec, FragmentId, MediaTime, Sequence, SessionId, Track, TrackKind, TrackNumber, Tracks,
    WallTime, mkv,
};
use millrace::config::{Config, KeySettings, Limits, StorageSettings};
use millrace::serve::{Server, StartError};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rcgen::{CertificateParams, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use upload::join::{JoinReply, JoinRequest, Proof};
use upload::wire::{self, MessageReader};
use upload::{
    Ack, AckKind, CloseCode, ErrorCode, FragmentHeader, FragmentKey, FromAgent, FromServer, Hello, JoinToken, Trailer,
    Welcome, limits,
};

/// How long any answer may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server with a folder of its own.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) folder: TempDir,
}

/// A certificate and its key.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: Arc<KeyPair>,
}

/// An upload connection after Welcome.
pub(crate) struct Device {
    pub(crate) connection: Connection,
    pub(crate) welcome: Welcome,
    control: (SendStream, RecvStream),
    reader: MessageReader,
    _endpoint: Endpoint,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), KeySettings::default()).await
    }

    pub(crate) async fn start_in(folder: TempDir, keys: KeySettings) -> Self {
        let server = start(folder.path(), keys).await.unwrap();
        Self { server, folder }
    }

    /// Stops the server in order and starts it again, on other ports.
    pub(crate) async fn restart(self) -> Self {
        self.server.stop().await;
        Self::start_in(self.folder, KeySettings::default()).await
    }

    /// Runs an operator's command.
    pub(crate) async fn millrace(&self, arguments: &[&str]) -> Output {
        millrace(self.folder.path(), arguments).await
    }

    /// Adds a device and gives back its token.
    pub(crate) async fn add_device(&self, name: &str, more: &[&str]) -> JoinToken {
        let output = self.millrace(&[&["device", "add", name], more].concat()).await;
        let text = String::from_utf8(output.stdout).unwrap();
        let token = text.split('"').find(|word| word.starts_with("mrj1_")).expect("a token is printed");
        token.parse().unwrap()
    }

    /// Adds a device and enrols it.
    pub(crate) async fn enrolled(&self, name: &str, more: &[&str]) -> Identity {
        let token = self.add_device(name, more).await;
        let key = Arc::new(KeyPair::generate().unwrap());
        match self.join(Proof::Secret(token.secret), &key, None).await {
            JoinReply::Granted { certificate, .. } => {
                Identity { certificate: CertificateDer::from(certificate.to_vec()), key }
            }
            JoinReply::Refused { code, message } => panic!("refused: {code} {message}"),
        }
    }

    /// Asks for a certificate.
    pub(crate) async fn join(&self, proof: Proof, key: &KeyPair, present: Option<&Identity>) -> JoinReply {
        let (_endpoint, connection) = self.connect(wire::JOIN_ALPN, present).await.unwrap();
        let csr = CertificateParams::default().serialize_request(key).unwrap();
        let request = JoinRequest { proof, csr: Bytes::copy_from_slice(csr.der()), agent_version: "raw".to_owned() };
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(&request.encode()).await.unwrap();
        send.finish().unwrap();
        let bytes = recv.read_to_end(limits::MESSAGE_BYTES_MAX).await.unwrap();
        let mut reader = MessageReader::new();
        reader.push(&bytes);
        JoinReply::decode(reader.pull(limits::MESSAGE_BYTES_MAX).unwrap().unwrap()).unwrap()
    }

    /// Shakes hands.
    pub(crate) async fn connect(
        &self,
        alpn: &[u8],
        identity: Option<&Identity>,
    ) -> Result<(Endpoint, Connection), ConnectionError> {
        let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let config = client_config(self.folder.path(), alpn, identity);
        let connecting = endpoint.connect_with(config, self.server.quic(), wire::SERVER_NAME).unwrap();
        let connection = connecting.await?;
        Ok((endpoint, connection))
    }

    /// Connects, says Hello, waits for Welcome.
    pub(crate) async fn upload(&self, identity: &Identity) -> Device {
        let (endpoint, connection) = self.connect(wire::UPLOAD_ALPN, Some(identity)).await.unwrap();
        let mut control = connection.open_bi().await.unwrap();
        let hello = Hello {
            agent_version: "raw".to_owned(),
            device_time: now(),
            clock_quality: ClockQuality::Given,
            sub_streams: Vec::new(),
        };
        control.0.write_all(&FromAgent::Hello(hello).encode()).await.unwrap();
        let mut reader = MessageReader::new();
        let FromServer::Welcome(welcome) = read_message(&mut control.1, &mut reader).await else {
            panic!("the first message is not Welcome");
        };
        Device { connection, welcome, control, reader, _endpoint: endpoint }
    }

    /// How the server closes a connection that is not admitted.
    pub(crate) async fn refusal(&self, identity: Option<&Identity>) -> ConnectionError {
        match self.connect(wire::UPLOAD_ALPN, identity).await {
            Ok((_endpoint, connection)) => tokio::time::timeout(PATIENCE, connection.closed()).await.unwrap(),
            Err(error) => error,
        }
    }

    /// How many fragments of a stream are stored.
    pub(crate) async fn stored(&self, stream: &str) -> u64 {
        let output = self.millrace(&["stream", "list"]).await;
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(stream));
        line.map_or(0, |line| line.split_whitespace().nth(2).unwrap().parse().unwrap())
    }
}

impl Device {
    /// Sends these bytes on a fragment stream and finishes it.
    pub(crate) async fn send(&self, bytes: &[u8]) {
        let mut stream = self.connection.open_uni().await.unwrap();
        // The server may stop the stream at any byte.
        let _ = stream.write_all(bytes).await;
        let _ = stream.finish();
    }

    /// Sends these bytes, waits for the first ack, so that they are known to be there, and abandons the stream.
    pub(crate) async fn send_and_break_off(&mut self, bytes: &[u8], key: &FragmentKey) -> AckKind {
        let mut stream = self.connection.open_uni().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let first = self.ack(key).await;
        stream.reset(0u32.into()).unwrap();
        first
    }

    /// The next ack of this fragment.
    pub(crate) async fn ack(&mut self, key: &FragmentKey) -> AckKind {
        loop {
            let message = read_message(&mut self.control.1, &mut self.reader).await;
            if let FromServer::Ack(Ack { key: found, kind, .. }) = message
                && found == *key
            {
                return kind;
            }
        }
    }

    /// The last ack of this fragment: PERSISTED or ERROR.
    pub(crate) async fn end(&mut self, key: &FragmentKey) -> AckKind {
        loop {
            match self.ack(key).await {
                AckKind::Buffering | AckKind::Received => {}
                end => return end,
            }
        }
    }

    /// The error that ends this fragment: code, text, whether to try again.
    pub(crate) async fn error(&mut self, key: &FragmentKey) -> (ErrorCode, String, bool) {
        match self.end(key).await {
            AckKind::Error { code, message, retryable } => (code, message, retryable),
            other => panic!("{key} was not refused: {other:?}"),
        }
    }

    /// Sends a good fragment and waits until it is stored: nothing else is disturbed.
    pub(crate) async fn still_works(&mut self, stream: &str) {
        let key = key(stream, u64::MAX, fastrand::u32(..));
        self.send(&whole(&key, &document())).await;
        assert_eq!(self.end(&key).await, AckKind::Persisted);
    }
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

/// A certificate that another CA has signed for a device of the same name.
pub(crate) fn foreign(name: &str) -> Identity {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = Arc::new(KeyPair::generate().unwrap());
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&*key, &issuer).unwrap().der().clone();
    Identity { certificate, key }
}

pub(crate) fn key(stream: &str, session: u64, sequence: u32) -> FragmentKey {
    let id = FragmentId { session: SessionId(session), sequence: Sequence(sequence) };
    FragmentKey { stream: stream.parse().unwrap(), id }
}

pub(crate) fn header(key: &FragmentKey) -> FragmentHeader {
    FragmentHeader { key: key.clone(), start: now(), quality: ClockQuality::Given, monotonic: None, live: true }
}

/// A Matroska document of ten frames.
pub(crate) fn document() -> Vec<u8> {
    let codec = Codec::Other { id: "V_VP9".to_owned(), private: Bytes::new(), kind: TrackKind::Video };
    let tracks = Tracks::new(vec![Track { number: TrackNumber::VIDEO, codec }]).unwrap();
    let mut writer = mkv::Writer::new(&tracks);
    let mut out = writer.header().to_vec();
    out.extend_from_slice(&writer.cluster(MediaTime::ZERO));
    for frame in 0..10u8 {
        let unit = AccessUnit {
            track: TrackNumber::VIDEO,
            pts: MediaTime::from_millis(i64::from(frame) * 100),
            duration: None,
            key: frame == 0,
            data: vec![frame; 1000].into(),
        };
        let (head, payload) = writer.block(&unit).unwrap();
        out.extend_from_slice(&head);
        out.extend_from_slice(&payload);
    }
    out.extend_from_slice(&writer.end(&[]));
    out
}

/// A fragment's stream up to the mark of its last chunk.
pub(crate) fn begun(key: &FragmentKey, media: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::from(&header(key).encode()[..]);
    for piece in media.chunks(3000) {
        out.extend_from_slice(&wire::chunk_head(piece.len()));
        out.extend_from_slice(piece);
    }
    out.to_vec()
}

/// A fragment's whole stream.
pub(crate) fn whole(key: &FragmentKey, media: &[u8]) -> Vec<u8> {
    let trailer =
        Trailer { duration: Duration::from_secs(1), bytes: media.len() as u64, crc32c: crc32c::crc32c(media) };
    let mut out = begun(key, media);
    out.extend_from_slice(&trailer.encode());
    out
}

pub(crate) fn now() -> WallTime {
    WallTime::from_nanos(0) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Runs an operator's command on a data folder, whether a server runs there or not.
pub(crate) async fn millrace(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.arg("--data").arg(folder).args(arguments).stdin(std::process::Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Starts a server on a data folder.
pub(crate) async fn start(folder: &Path, keys: KeySettings) -> Result<Server, StartError> {
    let storage = StorageSettings { keys, ..StorageSettings::default() };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Server::start(Config {
        data: folder.to_owned(),
        http: any,
        public_url: None,
        quic: any,
        credentials: None,
        keep_free: None,
        images: None,
        limits: Limits::Own,
        storage,
    })
    .await
}

async fn read_message(recv: &mut RecvStream, reader: &mut MessageReader) -> FromServer {
    loop {
        if let Some(message) = reader.pull(limits::MESSAGE_BYTES_MAX).unwrap() {
            return FromServer::decode(message).unwrap();
        }
        let chunk = tokio::time::timeout(PATIENCE, recv.read_chunk(65536, true)).await;
        reader.push(&chunk.expect("an answer comes").unwrap().expect("the stream goes on").bytes);
    }
}

fn client_config(folder: &Path, alpn: &[u8], identity: Option<&Identity>) -> ClientConfig {
    let ca = CertificateDer::from_pem_file(folder.join("ca/ca.pem")).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut tls = match identity {
        Some(identity) => {
            let key = PrivatePkcs8KeyDer::from(identity.key.serialize_der()).into();
            builder.with_client_auth_cert(vec![identity.certificate.clone()], key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![alpn.to_vec()];
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}
