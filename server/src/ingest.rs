//! The server's end of the upload, on QUIC. The only file that names quinn.
//!
//! A thin shell: it accepts connections, admits devices, gives each fragment's stream a task that feeds
//! [`Intake`], and writes acks. What a fragment has to be is decided in `intake`, who may send it in
//! `devices`, what a token is worth in `join`.
//!
//! TLS asks for a client certificate and verifies one that is given, but lets a connection without one pass:
//! enrolment has none yet. An upload without one is closed with a code and a sentence that a device can
//! show. Until a device has been admitted it may open one stream and send a window of bytes, no more.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::{hmac, rand};
use bytes::{Bytes, BytesMut};
use fragment::StreamName;
use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::{
    Connection, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, Incoming, ReadError, RecvStream,
    SendStream, VarInt,
};
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use upload::wire::{self, MessageReader};
use upload::{Ack, AckKind, CloseCode, ErrorCode, FragmentHeader, FragmentKey, FromAgent, FromServer, Hello, Welcome};
use zeroize::Zeroizing;

use crate::budget::{Budget, Reservation, Share};
use crate::ca::{self, Ca, CaError};
use crate::devices::{AdmissionError, Admitted, Devices};
use crate::fleet::{Fleet, Seat};
use crate::intake::{self, Intake, Refusal, Whole};
use crate::join::Registrar;
use crate::presence::{Presence, Presences};
use crate::storage::Storage;
use crate::telemetry::OpenConnection;
use crate::{limits, telemetry};

/// Why ingest can't start.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The port is taken, or not ours to take.
    #[error("can't listen for devices on udp {0}: {1}; choose another address with --quic")]
    Listen(SocketAddr, io::Error),
    /// The server's certificate can't be made.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// TLS does not take what we give it.
    #[error("TLS can't be set up: {0}")]
    Tls(String),
}

/// What ingest works with.
pub(crate) struct Parts {
    pub(crate) ca: Arc<Ca>,
    pub(crate) devices: Devices,
    pub(crate) storage: Storage,
    pub(crate) presences: Presences,
    pub(crate) fleet: Fleet,
    /// Memory for fragments under way.
    pub(crate) budget: Budget,
    /// The same at every start, and known to no one else.
    pub(crate) reset_key: Zeroizing<[u8; 32]>,
}

/// A running ingest.
pub(crate) struct Ingest {
    endpoint: Endpoint,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Shared {
    registrar: Registrar,
    storage: Storage,
    presences: Presences,
    fleet: Fleet,
    budget: Budget,
    stop: CancellationToken,
}

impl Ingest {
    /// Begins to accept devices.
    pub(crate) fn start(address: SocketAddr, parts: Parts) -> Result<Self, IngestError> {
        let config = server_config(&parts.ca)?;
        let listen = |error| IngestError::Listen(address, error);
        let socket = UdpSocket::bind(address).map_err(listen)?;
        widen(&socket);
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint_config = endpoint_config(&parts.reset_key);
        let endpoint = Endpoint::new(endpoint_config, Some(config), socket, runtime).map_err(listen)?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Arc::new(Shared {
            registrar: Registrar { ca: parts.ca, devices: parts.devices },
            storage: parts.storage,
            presences: parts.presences,
            fleet: parts.fleet,
            budget: parts.budget,
            stop: stop.clone(),
        });
        tasks.spawn(accept(endpoint.clone(), shared, tasks.clone()));
        Ok(Self { endpoint, stop, tasks })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Stops accepting, lets commits under way finish and their acks leave, closes all connections.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(limits::SHUTDOWN_WAIT, self.tasks.wait()).await.is_err() {
            tracing::warn!("connections did not end in time; closing them");
        }
        self.endpoint.close(number(CloseCode::ShuttingDown), b"the server shuts down");
        // The closes have to leave; a peer that is gone does not answer.
        let _ = timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
    }
}

/// Gives the socket room for what arrives while no thread reads it. As root beyond the system's limit, otherwise up to it.
fn widen(socket: &UdpSocket) {
    use rustix::net::sockopt;
    let bytes = limits::SOCKET_BUFFER_BYTES;
    if sockopt::set_socket_recv_buffer_size_force(socket, bytes).is_err()
        && let Err(error) = sockopt::set_socket_recv_buffer_size(socket, bytes)
    {
        tracing::warn!(%error, "the receive buffer of the devices' socket stays as the system made it");
    }
}

/// A server that was killed and is back knows none of its old connections, and their devices would wait for their timeout
/// before they notice. QUIC's stateless reset tells them at their next packet. It is signed with a key that has to
/// be the same as before, and goes by connection ids, which therefore are random and never used twice under it.
fn endpoint_config(reset_key: &[u8; 32]) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset_key)));
    config.cid_generator(|| Box::new(RandomIds)).min_reset_interval(limits::RESET_INTERVAL);
    config.max_udp_payload_size(upload::limits::UDP_PAYLOAD_BYTES_MAX).expect("within what UDP carries");
    config
}

/// Connection ids without a meaning.
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; limits::CONNECTION_ID_BYTES];
        rand::fill(&mut id).expect("the system gives random numbers");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        limits::CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn server_config(ca: &Ca) -> Result<quinn::ServerConfig, IngestError> {
    let tls = |error: &dyn std::error::Error| IngestError::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(ca.roots()), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| tls(&e))?;
    let identity = ca.server_identity(vec![wire::SERVER_NAME.to_owned()])?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| tls(&e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain, identity.key)
        .map_err(|e| tls(&e))?;
    config.alpn_protocols = vec![wire::UPLOAD_ALPN.to_vec(), wire::JOIN_ALPN.to_vec()];
    let config = QuicServerConfig::try_from(config).map_err(|e| tls(&e))?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(config));
    config.transport_config(Arc::new(transport()));
    Ok(config)
}

fn transport() -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        // None before a device is admitted.
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(limits::STREAM_WINDOW))
        .receive_window(VarInt::from_u32(limits::CONNECTION_WINDOW))
        .max_idle_timeout(Some(limits::IDLE_TIMEOUT.try_into().expect("15 s fit in a varint")))
        .keep_alive_interval(Some(limits::KEEP_ALIVE));
    transport
}

async fn accept(endpoint: Endpoint, shared: Arc<Shared>, tasks: TaskTracker) {
    loop {
        let incoming = tokio::select! {
            () = shared.stop.cancelled() => return,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        let open = endpoint.open_connections();
        if open >= limits::CONNECTIONS_MAX {
            tracing::warn!(open, "a connection was refused: there are as many as this server takes");
            incoming.refuse();
            continue;
        }
        tasks.spawn(connect(incoming, shared.clone()));
    }
}

/// One connection from its handshake to its end.
async fn connect(incoming: Incoming, shared: Arc<Shared>) {
    let _counted = OpenConnection::new();
    let remote = incoming.remote_address();
    let connection = match timeout(limits::GREETING_WAIT, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::info!(%remote, %error, "a handshake failed"),
        Err(_) => return tracing::info!(%remote, "a handshake took too long"),
    };
    let certificate = client_certificate(&connection);
    if protocol(&connection).as_deref() == Some(wire::JOIN_ALPN) {
        return join(&connection, certificate.as_ref(), &shared.registrar).await;
    }
    match admit(certificate, &shared.registrar.devices).await {
        Ok((device, certificate)) => Session::run(connection, device, certificate, shared).await,
        Err((code, message)) => {
            tracing::warn!(%remote, %code, message, "a device was not admitted");
            connection.close(number(code), message.as_bytes());
        }
    }
}

fn protocol(connection: &Connection) -> Option<Vec<u8>> {
    connection.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
}

fn client_certificate(connection: &Connection) -> Option<CertificateDer<'static>> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    chain.into_iter().next()
}

type NotAdmitted = (CloseCode, String);

async fn admit(
    certificate: Option<CertificateDer<'static>>,
    devices: &Devices,
) -> Result<(Admitted, CertificateDer<'static>), NotAdmitted> {
    let Some(certificate) = certificate else {
        let message = "an upload needs the device's certificate; enrol with a join token first";
        return Err((CloseCode::CertificateRequired, message.to_owned()));
    };
    match devices.admit_now(&certificate).await {
        Ok(admitted) => Ok((admitted, certificate)),
        Err(error) => Err((close_code(&error), error.to_string())),
    }
}

fn close_code(error: &AdmissionError) -> CloseCode {
    match error {
        AdmissionError::Unknown(_) => CloseCode::DeviceUnknown,
        AdmissionError::Revoked(_) => CloseCode::DeviceRevoked,
        AdmissionError::Replaced(_) => CloseCode::CertificateReplaced,
        AdmissionError::Storage(_) => CloseCode::Overloaded,
    }
}

/// Answers one join request and closes.
async fn join(connection: &Connection, certificate: Option<&CertificateDer<'static>>, registrar: &Registrar) {
    let exchange = async {
        let (mut send, mut recv) = connection.accept_bi().await.ok()?;
        let bytes = recv.read_to_end(upload::limits::MESSAGE_BYTES_MAX).await.ok()?;
        let mut reader = MessageReader::new();
        reader.push(&bytes);
        let message = reader.pull(upload::limits::MESSAGE_BYTES_MAX).ok()??;
        let request = upload::join::JoinRequest::decode(message).ok()?;
        let (registrar, present) = (registrar.clone(), certificate.cloned());
        let answer = move || registrar.answer(&request, present.as_deref(), crate::storage::now());
        let reply = tokio::task::spawn_blocking(answer).await.ok()?;
        send.write_all(&reply.encode()).await.ok()?;
        send.finish().ok()?;
        // The reply has to arrive before the close does.
        let _ = send.stopped().await;
        Some(())
    };
    let remote = connection.remote_address();
    match timeout(limits::GREETING_WAIT, exchange).await {
        Ok(Some(())) => connection.close(number(CloseCode::Done), b"done"),
        Ok(None) | Err(_) => {
            tracing::info!(%remote, "a join request could not be read");
            connection.close(number(CloseCode::ProtocolViolation), b"not a join request");
        }
    }
}

/// One device's connection, as its fragments see it.
struct Session {
    device: Admitted,
    presence: Presence,
    share: Share,
    storage: Storage,
    stop: CancellationToken,
    acks: mpsc::Sender<Ack>,
    /// Streams that are smaller copies of others.
    sub_streams: HashMap<StreamName, StreamName>,
}

impl Session {
    /// Takes fragments until the connection or the server ends.
    async fn run(connection: Connection, device: Admitted, certificate: CertificateDer<'static>, shared: Arc<Shared>) {
        let name = device.name.clone();
        let remote = connection.remote_address();
        let changes = shared.registrar.devices.changes();
        let greeting = timeout(limits::GREETING_WAIT, greet(&connection, &device, &certificate)).await;
        let (send, control, hello) = match greeting {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(why)) => {
                tracing::warn!(%remote, device = %name, why, "a device broke the protocol");
                return connection.close(number(CloseCode::ProtocolViolation), why.as_bytes());
            }
            Err(_) => return connection.close(number(CloseCode::ProtocolViolation), b"no Hello came"),
        };
        tracing::info!(%remote, device = %name, "a device connected");
        let (acks, queue) = mpsc::channel(limits::ACKS_QUEUED_MAX);
        let (seat, words) = shared.fleet.connect(&device.name, remote, &hello);
        let writer = tokio::spawn(write_messages(send, queue, words));
        let session = Arc::new(Self {
            device,
            presence: shared.presences.connect(),
            share: shared.budget.share(limits::CONNECTION_BYTES_MAX, limits::RESERVATION_WAIT),
            storage: shared.storage.clone(),
            stop: shared.stop.child_token(),
            acks,
            sub_streams: hello.sub_streams.into_iter().map(|sub| (sub.stream, sub.of)).collect(),
        });
        let fragments = TaskTracker::new();
        let devices = &shared.registrar.devices;
        let watch = Watch { changes, devices, certificate: &certificate, seat: &seat };
        let end = session.accept(&connection, control, &fragments, watch).await;
        seat.leave().await;
        // Fragments that are complete are stored and acknowledged; the others break off.
        session.stop.cancel();
        fragments.close();
        fragments.wait().await;
        drop(session);
        if writer.await.is_err() {
            tracing::error!("the writer of acks panicked");
        }
        tracing::info!(%remote, device = %name, end = end.1, "a device's connection ended");
        connection.close(number(end.0), end.1.as_bytes());
    }

    /// Gives each fragment a task until there is a reason to end, which it gives back.
    async fn accept(
        self: &Arc<Self>,
        connection: &Connection,
        control: RecvStream,
        fragments: &TaskTracker,
        mut watch: Watch<'_>,
    ) -> (CloseCode, String) {
        let seat = watch.seat;
        let mut control = std::pin::pin!(follow_control(control, seat));
        let mut sighted = std::pin::pin!(seat.keep_sighted());
        loop {
            tokio::select! {
                stream = connection.accept_uni() => match stream {
                    Ok(stream) => drop(fragments.spawn(self.clone().receive(stream))),
                    Err(error) => return (CloseCode::Done, error.to_string()),
                },
                why = &mut control => return (CloseCode::ProtocolViolation, why.to_owned()),
                // Told, or told more than it could hold: either way something changed.
                _ = watch.changes.recv() => match watch.devices.admit_now(watch.certificate).await {
                    Ok(admitted) => seat.offer(admitted.configuration).await,
                    Err(error) => return (close_code(&error), error.to_string()),
                },
                never = &mut sighted => match never {},
                () = self.stop.cancelled() => {
                    return (CloseCode::ShuttingDown, "the server shuts down".to_owned());
                }
            }
        }
    }

    /// One fragment from its first byte to its last ack.
    async fn receive(self: Arc<Self>, mut stream: RecvStream) {
        let mut under_way = UnderWay { intake: Intake::new(), reservation: self.share.reservation(), key: None };
        let outcome = self.read(&mut stream, &mut under_way).await;
        let key = under_way.key.clone();
        let outcome = match outcome {
            Ok(End::Whole(last_byte)) => self.store(under_way, last_byte).await,
            Ok(End::Duplicate(kind)) => {
                let _ = stream.stop(number(CloseCode::Done));
                return self.acks.send(kind).await.unwrap_or(());
            }
            Ok(End::Gone) => return,
            Err(refusal) => Err(refusal),
        };
        let Err(refusal) = outcome else { return };
        telemetry::refused(refusal.code);
        let _ = stream.stop(VarInt::from_u32(refusal.code.number()));
        let device = &self.device.name;
        match key {
            Some(key) => {
                tracing::warn!(%device, fragment = %key, code = %refusal.code, why = %refusal, "a fragment was refused");
                self.ack(key, refused(&refusal)).await;
            }
            None => tracing::warn!(%device, why = %refusal, "a stream that is no fragment was stopped"),
        }
    }

    /// Reads the stream to its end through intake.
    async fn read(&self, stream: &mut RecvStream, under_way: &mut UnderWay) -> Result<End, Refusal> {
        let mut pieces = vec![Bytes::new(); limits::PIECES_PER_READ];
        loop {
            let read = tokio::select! {
                biased;
                read = timeout(limits::FRAGMENT_SILENCE_MAX, stream.read_chunks(&mut pieces)) => read,
                () = self.stop.cancelled() => return Ok(End::Gone),
            };
            let count = match read {
                Ok(Ok(Some(count))) => count,
                Ok(Ok(None)) => return Ok(End::Whole(Instant::now())),
                Ok(Err(ReadError::ConnectionLost(_))) => return Ok(End::Gone),
                Ok(Err(error)) => return Err(truncated(&error.to_string())),
                Err(_) => return Err(truncated("nothing came for a minute")),
            };
            for piece in &mut pieces[..count] {
                under_way.intake.push(std::mem::take(piece));
                if let Some(end) = self.steps(under_way).await? {
                    return Ok(end);
                }
            }
            let bytes = usize::try_from(under_way.intake.bytes()).unwrap_or(usize::MAX);
            let held = under_way.reservation.hold(bytes).await;
            held.map_err(|e| Refusal::new(ErrorCode::Overloaded, e.to_string()))?;
        }
    }

    async fn steps(&self, under_way: &mut UnderWay) -> Result<Option<End>, Refusal> {
        while let Some(header) = under_way.intake.step()? {
            under_way.key = Some(header.key.clone());
            if let Some(end) = self.begin(&header).await? {
                return Ok(Some(end));
            }
            self.ack(header.key, AckKind::Buffering).await;
        }
        Ok(None)
    }

    /// May this fragment come, and is it here already?
    async fn begin(&self, header: &FragmentHeader) -> Result<Option<End>, Refusal> {
        let FragmentKey { stream, id } = &header.key;
        if !self.device.may_write(stream) {
            let message = format!("the device {} may not write to the stream {stream}", self.device.name);
            return Err(Refusal::new(ErrorCode::StreamNotPermitted, message));
        }
        self.presence.sends(stream);
        let Some(number) = self.storage.find(stream, *id).await? else {
            intake::check_start(header.start, crate::storage::now())?;
            return Ok(None);
        };
        telemetry::duplicate(stream);
        Ok(Some(End::Duplicate(Ack { key: header.key.clone(), kind: AckKind::Persisted, number: Some(number) })))
    }

    async fn store(&self, under_way: UnderWay, last_byte: Instant) -> Result<(), Refusal> {
        let UnderWay { intake, reservation, key: _ } = under_way;
        let whole: Whole = intake.finish()?;
        let key = whole.header.key.clone();
        self.ack(key.clone(), AckKind::Received).await;
        let bytes = whole.payload.len();
        let stored = self.storage.store(whole, crate::storage::now()).await?;
        // With the stream's first fragment, since only then it is sure that the device may send it.
        // A device may not hang its stream under another's.
        if let Some(of) = self.sub_streams.get(&key.stream).filter(|of| self.device.may_write(of))
            && let Err(error) = self.storage.note_sub_stream(&key.stream, of).await
        {
            tracing::warn!(stream = %key.stream, %of, why = %error, "that it is a sub stream could not be noted");
        }
        drop(reservation);
        if stored.duplicate {
            telemetry::duplicate(&key.stream);
        } else {
            telemetry::persisted(&key.stream, bytes, last_byte.elapsed());
        }
        let ack = Ack { key, kind: AckKind::Persisted, number: Some(stored.number) };
        // The connection may have ended meanwhile: the device asks again with the same identity.
        let _ = self.acks.send(ack).await;
        Ok(())
    }

    async fn ack(&self, key: FragmentKey, kind: AckKind) {
        let _ = self.acks.send(Ack { key, kind, number: None }).await;
    }
}

/// What a session looks at beside its fragments.
struct Watch<'a> {
    changes: broadcast::Receiver<()>,
    devices: &'a Devices,
    certificate: &'a CertificateDer<'static>,
    seat: &'a Seat,
}

/// A fragment on its way in.
struct UnderWay {
    intake: Intake,
    reservation: Reservation,
    key: Option<FragmentKey>,
}

/// How reading a fragment's stream ended well.
enum End {
    /// All of it is here; its last byte came at this instant.
    Whole(Instant),
    /// It was stored before: this is the answer.
    Duplicate(Ack),
    /// Connection or server ended: there is no one to answer.
    Gone,
}

fn truncated(why: &str) -> Refusal {
    Refusal::new(ErrorCode::Truncated, format!("the stream broke off before the fragment's trailer: {why}"))
}

fn refused(refusal: &Refusal) -> AckKind {
    AckKind::Error { code: refusal.code, message: refusal.message.clone(), retryable: refusal.retryable }
}

/// Takes Hello, answers Welcome, opens the window.
async fn greet(
    connection: &Connection,
    device: &Admitted,
    certificate: &CertificateDer<'static>,
) -> Result<(SendStream, RecvStream, Hello), &'static str> {
    const LOST: &str = "the connection ended before Hello";
    let (mut send, mut recv) = connection.accept_bi().await.map_err(|_| LOST)?;
    let hello = read_hello(&mut recv).await?;
    tracing::debug!(device = %device.name, agent = %hello.agent_version, clock = %hello.clock_quality, "hello");
    let expires = ca::subject_and_expiry(certificate).map(|(_, expires)| expires);
    let welcome = FromServer::Welcome(Welcome {
        server_time: crate::storage::now(),
        fragments_in_flight: limits::FRAGMENTS_IN_FLIGHT,
        bytes_in_flight: limits::BYTES_IN_FLIGHT,
        fragment_bytes: fragment::limits::FRAGMENT_BYTES_MAX as u64,
        fragment_duration: fragment::limits::FRAGMENT_DURATION_MAX,
        device: device.name.to_string(),
        certificate_expires: expires.ok_or("the certificate can't be read")?,
    });
    send.write_all(&welcome.encode()).await.map_err(|_| LOST)?;
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(limits::FRAGMENTS_IN_FLIGHT));
    Ok((send, recv, hello))
}

async fn read_hello(recv: &mut RecvStream) -> Result<Hello, &'static str> {
    const BAD: &str = "the first message is not Hello";
    let mut reader = MessageReader::new();
    loop {
        if let Some(message) = reader.pull(upload::limits::MESSAGE_BYTES_MAX).map_err(|_| BAD)? {
            return match FromAgent::decode(message) {
                Ok(FromAgent::Hello(hello)) if reader.is_empty() => Ok(hello),
                _ => Err(BAD),
            };
        }
        let chunk = recv.read_chunk(upload::limits::MESSAGE_BYTES_MAX, true).await;
        reader.push(&chunk.map_err(|_| BAD)?.ok_or(BAD)?.bytes);
    }
}

/// Takes what the device says of itself. Ends only on a protocol error.
async fn follow_control(mut recv: RecvStream, seat: &Seat) -> &'static str {
    let mut reader = MessageReader::new();
    loop {
        match recv.read_chunk(upload::limits::MESSAGE_BYTES_MAX, true).await {
            Ok(Some(chunk)) => reader.push(&chunk.bytes),
            Ok(None) => return "the device ended the control stream",
            Err(ReadError::ConnectionLost(_)) => std::future::pending::<()>().await,
            Err(_) => return "the device abandoned the control stream",
        }
        loop {
            match reader.pull(upload::limits::MESSAGE_BYTES_MAX).map(|message| message.map(FromAgent::decode)) {
                Ok(Some(Ok(message))) => seat.hear(message).await,
                Ok(None) => break,
                Ok(Some(Err(_))) | Err(_) => return "a control message can't be read",
            }
        }
    }
}

/// Writes acks in bundles, one packet for all that are ready, and between them what else is to be said. Ends when the
/// session and its fragments have.
async fn write_messages(mut send: SendStream, mut acks: mpsc::Receiver<Ack>, mut words: mpsc::Receiver<FromServer>) {
    let mut bundle = BytesMut::new();
    loop {
        tokio::select! {
            ack = acks.recv() => {
                let Some(ack) = ack else { break };
                bundle.extend_from_slice(&FromServer::Ack(ack).encode());
                while bundle.len() < limits::ACK_BUNDLE_BYTES
                    && let Ok(ack) = acks.try_recv()
                {
                    bundle.extend_from_slice(&FromServer::Ack(ack).encode());
                }
            }
            Some(message) = words.recv() => bundle.extend_from_slice(&message.encode()),
        }
        if send.write_all(&bundle).await.is_err() {
            // No one reads acks any more: closing the queue lets the fragments go on without them.
            return;
        }
        bundle.clear();
    }
    if send.finish().is_ok() {
        // The last acks have to arrive before the close does; a device that is gone does not answer.
        let _ = timeout(Duration::from_secs(2), send.stopped()).await;
    }
}

fn number(code: CloseCode) -> VarInt {
    VarInt::from_u32(code.number())
}
