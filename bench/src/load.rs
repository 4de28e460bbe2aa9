//! The load generator: N cameras' fragments over a few QUIC connections, as agents would send them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::{BufMut as _, Bytes, BytesMut};
use fragment::mkv;
use fragment::{AccessUnit, ClockQuality, FragmentId, MediaTime, Sequence, SessionId, TrackNumber, Tracks, WallTime};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use upload::{AckKind, FragmentHeader, FragmentKey, FromAgent, FromServer, Hello, Trailer, wire};

/// Frames per second of every simulated camera.
const FRAME_RATE: u64 = 15;

/// What to send.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    /// Cameras at once, each with a stream of its own.
    pub(crate) cameras: u32,
    /// Bits per second of each camera.
    pub(crate) bits_per_second: u64,
    /// Length of a fragment.
    pub(crate) fragment: Duration,
    /// Fragments of each camera.
    pub(crate) fragments: u32,
    /// As a camera would, frame by frame in real time, or as fast as the server takes them.
    pub(crate) real_time: bool,
}

impl Load {
    /// Bytes of one frame.
    pub(crate) fn frame_bytes(&self) -> usize {
        usize::try_from(self.bits_per_second / 8 / FRAME_RATE).expect("a frame fits the address space")
    }

    /// From one frame to the next.
    pub(crate) fn frame_time(&self) -> Duration {
        Duration::from_secs(1) / u32::try_from(FRAME_RATE).expect("few frames a second")
    }

    /// Frames of one fragment.
    pub(crate) fn frames(&self) -> u64 {
        self.fragment.as_secs() * FRAME_RATE
    }
}

/// What came of it.
pub(crate) struct Outcome {
    /// From the last byte handed to QUIC to PERSISTED, one per fragment.
    pub(crate) latencies: Vec<Duration>,
    /// Bytes of persisted fragments.
    pub(crate) bytes: u64,
    /// From the first byte to the last PERSISTED.
    pub(crate) elapsed: Duration,
}

/// When each fragment's last byte was sent, and the latencies of those that are persisted.
#[derive(Default)]
struct Ledger {
    finished: HashMap<FragmentKey, Instant>,
    latencies: Vec<Duration>,
}

/// Sends the load over one connection for each identity folder and waits until everything is persisted.
pub(crate) async fn send(
    server: SocketAddr,
    identities: &[std::path::PathBuf],
    tracks: &Tracks,
    load: Load,
) -> anyhow::Result<Outcome> {
    send_with(server, identities, tracks, load, false).await
}

/// The same with BBR for congestion control, or with Cubic.
pub(crate) async fn send_with(
    server: SocketAddr,
    identities: &[std::path::PathBuf],
    tracks: &Tracks,
    load: Load,
    bbr: bool,
) -> anyhow::Result<Outcome> {
    let start = Instant::now();
    let mut agents = tokio::task::JoinSet::new();
    let share = load.cameras.div_ceil(u32::try_from(identities.len())?);
    for (first, identity) in (0..load.cameras).step_by(share as usize).zip(identities) {
        let cameras = first..load.cameras.min(first + share);
        agents.spawn(agent(server, connector(identity, bbr)?, cameras, tracks.clone(), load));
    }
    let mut latencies = Vec::new();
    while let Some(done) = agents.join_next().await {
        latencies.extend(done??);
    }
    let bytes = latencies.len() as u64 * load.frames() * load.frame_bytes() as u64;
    Ok(Outcome { latencies, bytes, elapsed: start.elapsed() })
}

/// As the agent's uplink sets it.
fn transport(bbr: bool) -> quinn::TransportConfig {
    let mut mtu = quinn::MtuDiscoveryConfig::default();
    mtu.upper_bound(upload::limits::UDP_PAYLOAD_BYTES_MAX);
    let mut acks = quinn::AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(quinn::VarInt::from_u32(upload::limits::PACKETS_PER_ACK));
    let mut transport = quinn::TransportConfig::default();
    if bbr {
        transport.congestion_controller_factory(Arc::new(quinn::congestion::BbrConfig::default()));
    }
    transport.mtu_discovery_config(Some(mtu)).ack_frequency_config(Some(acks));
    transport
}

fn connector(identity: &Path, bbr: bool) -> anyhow::Result<quinn::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(identity.join("ca.pem")).context("ca.pem")?)?;
    let chain = vec![CertificateDer::from_pem_file(identity.join("cert.pem")).context("cert.pem")?];
    let key = PrivateKeyDer::from_pem_file(identity.join("key.pem")).context("key.pem")?;
    let mut tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(chain, key)?;
    tls.alpn_protocols = vec![wire::UPLOAD_ALPN.to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport(bbr)));
    Ok(config)
}

/// One connection with its cameras.
async fn agent(
    server: SocketAddr,
    config: quinn::ClientConfig,
    cameras: std::ops::Range<u32>,
    tracks: Tracks,
    load: Load,
) -> anyhow::Result<Vec<Duration>> {
    let mut endpoint = quinn::Endpoint::client("0.0.0.0:0".parse()?)?;
    endpoint.set_default_client_config(config);
    let connection = endpoint.connect(server, wire::SERVER_NAME)?.await?;
    let (mut control_out, control_in) = connection.open_bi().await?;
    let hello =
        Hello { agent_version: "bench".to_owned(), device_time: now(), clock_quality: ClockQuality::Synchronised };
    control_out.write_chunk(FromAgent::Hello(hello).encode()).await?;

    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let expected = cameras.len() * load.fragments as usize;
    let acks = tokio::spawn(read_acks(control_in, ledger.clone(), expected));
    let mut senders = tokio::task::JoinSet::new();
    for camera in cameras {
        senders.spawn(camera_feed(connection.clone(), camera, tracks.clone(), load, ledger.clone()));
    }
    while let Some(done) = senders.join_next().await {
        done??;
    }
    acks.await??;
    connection.close(0_u32.into(), b"done");
    endpoint.wait_idle().await;
    Ok(std::mem::take(&mut ledger.lock().expect("no holder panics").latencies))
}

async fn read_acks(mut stream: quinn::RecvStream, ledger: Arc<Mutex<Ledger>>, expected: usize) -> anyhow::Result<()> {
    let mut messages = wire::MessageReader::new();
    loop {
        while let Some(message) = messages.pull(upload::limits::MESSAGE_BYTES_MAX)? {
            let FromServer::Ack(ack) = FromServer::decode(message)? else { continue };
            match ack.kind {
                AckKind::Persisted => {
                    let mut ledger = ledger.lock().expect("no holder panics");
                    let finished = ledger.finished.remove(&ack.key).context("PERSISTED before the end was sent")?;
                    ledger.latencies.push(finished.elapsed());
                    if ledger.latencies.len() == expected {
                        return Ok(());
                    }
                }
                AckKind::Error { .. } => anyhow::bail!("refused: {ack:?}"),
                _ => {}
            }
        }
        let chunk = stream.read_chunk(64 * 1024, true).await?.context("the server closed the control stream")?;
        messages.push(&chunk.bytes);
    }
}

/// One camera: a fragment stream after the other.
async fn camera_feed(
    connection: quinn::Connection,
    camera: u32,
    tracks: Tracks,
    load: Load,
    ledger: Arc<Mutex<Ledger>>,
) -> anyhow::Result<()> {
    let session =
        SessionId((u64::from(std::process::id()) << 32) ^ now().as_nanos().unsigned_abs() ^ u64::from(camera));
    let start = now();
    // Cameras are not in step with each other: their fragments' ends are spread evenly.
    if load.real_time {
        tokio::time::sleep(load.fragment * camera / load.cameras).await;
    }
    let mut clock = tokio::time::interval(Duration::from_secs(1) / u32::try_from(FRAME_RATE)?);
    let frame: Bytes = crate::media::bytes(load.frame_bytes()).into();
    for sequence in 0..load.fragments {
        let media = MediaTime::ZERO + load.fragment * sequence;
        let key = FragmentKey {
            stream: format!("bench-{camera}").parse()?,
            id: FragmentId { session, sequence: Sequence(sequence) },
        };
        let header = FragmentHeader {
            key: key.clone(),
            start: start.at(media),
            quality: ClockQuality::Synchronised,
            monotonic: None,
            live: true,
        };
        let mut stream = connection.open_uni().await?;
        let mut out = FragmentWriter::default();
        out.head(&header);
        let mut writer = mkv::Writer::new(&tracks);
        out.chunk(&[writer.header(), writer.cluster(media)]);
        for i in 0..load.frames() {
            if load.real_time {
                clock.tick().await;
            }
            let unit = AccessUnit {
                track: TrackNumber::VIDEO,
                pts: media + Duration::from_secs(1) * u32::try_from(i)? / u32::try_from(FRAME_RATE)?,
                duration: None,
                key: i == 0,
                data: frame.clone(),
            };
            let (head, payload) = writer.block(&unit)?;
            out.chunk(&[head, payload]);
            stream.write_all_chunks(&mut out.take()).await?;
        }
        out.chunk(&[writer.end(&[])]);
        out.trailer(load.fragment);
        stream.write_all_chunks(&mut out.take()).await?;
        ledger.lock().expect("no holder panics").finished.insert(key, Instant::now());
        stream.finish()?;
    }
    Ok(())
}

/// A fragment stream's bytes, as pieces ready to send.
#[derive(Default)]
struct FragmentWriter {
    pieces: Vec<Bytes>,
    bytes: u64,
    crc32c: u32,
}

impl FragmentWriter {
    fn head(&mut self, header: &FragmentHeader) {
        self.pieces.push(header.encode());
    }

    fn chunk(&mut self, parts: &[Bytes]) {
        let length: usize = parts.iter().map(Bytes::len).sum();
        let mut head = BytesMut::with_capacity(4);
        head.put_slice(&wire::chunk_head(length));
        self.pieces.push(head.freeze());
        for part in parts {
            self.crc32c = crc32c::crc32c_append(self.crc32c, part);
            self.bytes += part.len() as u64;
            self.pieces.push(part.clone());
        }
    }

    fn trailer(&mut self, duration: Duration) {
        let trailer = Trailer { duration, bytes: self.bytes, crc32c: self.crc32c };
        self.pieces.push(trailer.encode());
    }

    fn take(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.pieces)
    }
}

fn now() -> WallTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the clock is set");
    WallTime::from_nanos(i64::try_from(since.as_nanos()).expect("before the year 2262"))
}
