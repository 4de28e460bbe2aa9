//! What the machine itself can do: the disk, the cipher and plain QUIC, without any of our code.

use std::fs::File;
use std::io::Write as _;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aws_lc_rs::aead;

use crate::figures;

/// Sequential writes with an fdatasync after each.
pub(crate) struct Disk {
    pub(crate) megabytes_per_second: f64,
    pub(crate) sync_p50: Duration,
    pub(crate) sync_p99: Duration,
    /// Of a write and its fdatasync together.
    pub(crate) append_p50: Duration,
}

/// Written pages that the disk's own measurement leaves in memory, as many as the vault does. With all of them it would
/// measure how quickly the machine, or its host, gives out memory.
const PAGES_KEPT_BYTES: usize = 256 << 20;

/// Whether the disk has space for a file when it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    /// The file grows with each write, and each sync has its new length to write down.
    Appended,
    /// It is laid out to its end before the clock runs, as the vault does ahead of its own end.
    LaidOut,
}

/// Writes `count` pieces of `piece` bytes one behind the other to a file in `dir`, each followed by fdatasync.
pub(crate) fn disk(dir: &Path, piece: usize, count: usize, growth: Growth) -> anyhow::Result<Disk> {
    let path = dir.join("baseline.bin");
    let mut file = File::create(&path)?;
    if growth == Growth::LaidOut {
        let bytes = (piece * count) as u64;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).context("laying out a file")?;
        file.sync_all()?;
    }
    let bytes: Vec<u8> = crate::media::bytes(piece);
    let mut syncs = Vec::with_capacity(count);
    let mut appends = Vec::with_capacity(count);
    let start = Instant::now();
    for at in 0..count {
        let append = Instant::now();
        file.write_all(&bytes)?;
        let sync = Instant::now();
        file.sync_data()?;
        syncs.push(sync.elapsed());
        appends.push(append.elapsed());
        if let Some(old) = ((at + 1) * piece).checked_sub(PAGES_KEPT_BYTES) {
            let begin = old.saturating_sub(2 * piece) as u64;
            rustix::fs::fadvise(&file, begin, NonZeroU64::new(2 * piece as u64), rustix::fs::Advice::DontNeed)?;
        }
    }
    let elapsed = start.elapsed();
    std::fs::remove_file(path)?;
    Ok(Disk {
        megabytes_per_second: figures::megabytes_per_second((piece * count) as u64, elapsed),
        sync_p50: figures::percentile(&mut syncs, 50.0),
        sync_p99: figures::percentile(&mut syncs, 99.0),
        append_p50: figures::percentile(&mut appends, 50.0),
    })
}

/// AES-256-GCM sealing in place on one core, in MB/s.
pub(crate) fn cipher(piece: usize, count: usize) -> anyhow::Result<f64> {
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, &[7; 32]).ok().context("the key")?;
    let key = aead::LessSafeKey::new(key);
    let mut bytes = vec![1_u8; piece];
    let start = Instant::now();
    for i in 0..count {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&(i as u64).to_le_bytes());
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let _tag = key.seal_in_place_separate_tag(nonce, aead::Aad::empty(), &mut bytes).ok().context("sealing")?;
    }
    Ok(figures::megabytes_per_second((piece * count) as u64, start.elapsed()))
}

/// Plain quinn over loopback, both ends in this process: `count` streams of `piece` bytes, in MB/s.
pub(crate) async fn quic(piece: usize, count: usize) -> anyhow::Result<f64> {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let cert = certified.cert.der().clone();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let server = quinn::Endpoint::server(
        quinn::ServerConfig::with_single_cert(vec![cert.clone()], key.into())?,
        "127.0.0.1:0".parse()?,
    )?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert)?;
    let mut client = quinn::Endpoint::client("127.0.0.1:0".parse()?)?;
    client.set_default_client_config(quinn::ClientConfig::with_root_certificates(Arc::new(roots))?);
    let address = server.local_addr()?;

    let receiving = tokio::spawn(async move {
        let connection = server.accept().await.context("no connection")?.await?;
        let mut received = 0;
        for _ in 0..count {
            let mut stream = connection.accept_uni().await?;
            while let Some(chunk) = stream.read_chunk(64 * 1024, true).await? {
                received += chunk.bytes.len();
            }
        }
        connection.close(0_u32.into(), b"");
        anyhow::Ok(received)
    });
    let connection = client.connect(address, "localhost")?.await?;
    let bytes = bytes::Bytes::from(vec![1_u8; piece]);
    let start = Instant::now();
    for _ in 0..count {
        let mut stream = connection.open_uni().await?;
        stream.write_chunk(bytes.clone()).await?;
        stream.finish()?;
    }
    let received = receiving.await??;
    anyhow::ensure!(received == piece * count, "the baseline lost bytes");
    Ok(figures::megabytes_per_second(received as u64, start.elapsed()))
}
