//! The device's end of a measurement, in a process of its own, since it lives in a network namespace.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::load::{self, Load};
use crate::{figures, ingest};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// `quic-cubic`, `quic-bbr`, or `tcp` as the system has it.
    way: String,
    /// The server.
    #[arg(long)]
    to: std::net::SocketAddr,
    /// A device's state folder.
    #[arg(long)]
    identity: PathBuf,
    /// Of each of four cameras.
    #[arg(long)]
    fragments: u32,
    /// As cameras give them, or as fast as they go.
    #[arg(long)]
    real_time: bool,
}

/// Prints Mbit/s, and the seconds of p50 and p99.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let load = Load {
        cameras: 4,
        bits_per_second: 1_000_000,
        fragment: Duration::from_secs(1),
        fragments: args.fragments,
        real_time: args.real_time,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let start = Instant::now();
    let mut latencies = runtime.block_on(async {
        match args.way.as_str() {
            way if way.starts_with("tcp") => super::http::send(args.to, load, way.strip_prefix("tcp-")).await,
            way => {
                let tracks = ingest::sample_tracks()?;
                let identities = [args.identity.clone()];
                let bbr = way == "quic-bbr";
                Ok(load::send_with(args.to, &identities, &tracks, load, bbr).await?.latencies)
            }
        }
    })?;
    let bits = latencies.len() as u64 * load.frames() * load.frame_bytes() as u64 * 8;
    let mbit = bits as f64 / 1e6 / start.elapsed().as_secs_f64();
    let mut seconds = |percent| figures::percentile(&mut latencies, percent).as_secs_f64();
    println!("{mbit} {} {}", seconds(50.0), seconds(99.0));
    Ok(())
}
