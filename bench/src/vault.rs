//! The vault alone: appends by payload size and by number of writers, beside the disk's own write and fdatasync of the
//! same bytes in the same groups, to a file that grows and to one that was laid out before.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use vault::{
    AssignError, Batch, Catalog, CatalogError, Domain, Entry, ExpirySlot, Key, Keyring, Location, Owner, OwnerId, Put,
    Space, Vault,
};

use crate::baseline::{self, Growth};
use crate::figures;

/// Bytes of one payload.
const PAYLOADS: &[(&str, usize)] = &[("1 KB", 1000), ("64 KB", 64_000), ("1 MB", 1_000_000), ("4 MB", 4_000_000)];

/// A run is made in so many slices, and the disk's single appends are measured after each: what a disk of many takes for a
/// sync wanders within seconds by more than what is looked for.
const SLICES: u32 = 8;

/// Single appends after each slice.
const SINGLES: usize = 50;

/// Writers, each of which waits for its receipt before it writes again.
const WRITERS: &[u64] = &[1, 16, 256];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where data goes; a folder on the disk that is to be measured.
    #[arg(long)]
    dir: PathBuf,
    /// Seconds of each run.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    figures::row(&[
        "vault: payload, writers",
        "appends/s",
        "rate",
        "p50",
        "p99",
        "disk: same groups",
        "ours / disk",
        "the same, laid out",
        "ours / disk",
        "disk: one append, p50",
        "ours / disk",
        "the same, laid out",
        "ours / disk",
    ]);
    figures::row(&["---"; 13]);
    for &(name, bytes) in PAYLOADS {
        for &writers in WRITERS {
            runtime.block_on(measure(args, name, bytes, writers))?;
        }
    }
    Ok(())
}

async fn measure(args: &Args, name: &str, bytes: usize, writers: u64) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(&args.dir)?;
    let vault = open(folder.path())?;
    let payload: Bytes = crate::media::bytes(bytes).into();
    let (mut elapsed, mut latencies) = (Duration::ZERO, Vec::new());
    let mut singles = [Vec::new(), Vec::new()];
    for slice in 0..SLICES {
        let start = Instant::now();
        let end = start + Duration::from_secs(args.seconds) / SLICES;
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..writers {
            tasks.spawn(write(vault.clone(), writer, slice, payload.clone(), end));
        }
        while let Some(written) = tasks.join_next().await {
            latencies.extend(written??);
        }
        elapsed += start.elapsed();
        for (growth, medians) in [Growth::Appended, Growth::LaidOut].into_iter().zip(&mut singles) {
            medians.push(baseline::disk(&args.dir, bytes, SINGLES, growth)?.append_p50);
        }
    }
    let health = vault.health();
    drop(vault);
    drop(folder);

    let groups = usize::try_from(health.commits)?.max(1);
    let group = usize::try_from(health.payload_bytes)? / groups;
    let disk = |piece, count, growth| baseline::disk(&args.dir, piece, count, growth);
    let rhythms = [disk(group, groups, Growth::Appended)?, disk(group, groups, Growth::LaidOut)?];
    let rate = figures::megabytes_per_second(health.payload_bytes, elapsed);
    let p50 = figures::percentile(&mut latencies, 50.0);
    let mut cells = vec![
        format!("{name}, {writers}"),
        format!("{:.0}", latencies.len() as f64 / elapsed.as_secs_f64()),
        format!("{rate:.1} MB/s"),
        figures::millis(p50),
        figures::millis(figures::percentile(&mut latencies, 99.0)),
    ];
    for rhythm in rhythms {
        cells.push(format!("{:.1} MB/s", rhythm.megabytes_per_second));
        cells.push(format!("{:.2}", rate / rhythm.megabytes_per_second));
    }
    for mut medians in singles {
        let single = figures::percentile(&mut medians, 50.0);
        cells.push(figures::millis(single));
        cells.push(format!("{:.2}", p50.as_secs_f64() / single.as_secs_f64()));
    }
    figures::row(&cells.iter().map(String::as_str).collect::<Vec<_>>());
    Ok(())
}

/// One writer in one slice: the time that each of its appends took.
async fn write(vault: Vault, writer: u64, slice: u32, payload: Bytes, end: Instant) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let index: Bytes =
            [writer.to_be_bytes(), (u64::from(slice) << 32 | latencies.len() as u64).to_be_bytes()].concat().into();
        let entry = Entry {
            owner: OwnerId::new(DOMAIN, writer).expect("a small number"),
            expiry: ExpirySlot(15_000_000),
            unless_exists: Some(key(&index)),
            index,
            payload: payload.clone(),
        };
        let began = Instant::now();
        let put = vault.put(entry).await?;
        latencies.push(began.elapsed());
        anyhow::ensure!(matches!(put, Put::Stored(_)), "an entry was there before");
    }
    Ok(latencies)
}

fn open(folder: &Path) -> anyhow::Result<Vault> {
    let keys = Arc::new(Keyring::of_vault(folder)?);
    Ok(Vault::open(folder, keys, vec![Arc::new(Rows)])?)
}

const DOMAIN: Domain = Domain::new(9);

/// An owner with one row for each entry.
struct Rows;

impl Owner for Rows {
    fn domain(&self) -> Domain {
        DOMAIN
    }

    fn assign(&self, _: &dyn Catalog, _: OwnerId, index: Bytes) -> Result<Bytes, AssignError> {
        Ok(index)
    }

    fn rows(&self, _: OwnerId, index: &[u8], location: Location, batch: &mut Batch) {
        batch.insert(key(index), location.encode().to_vec());
    }

    fn relocate(&self, _: OwnerId, index: &[u8], from: Location, to: Location, batch: &mut Batch) {
        batch.require_value(key(index), from.encode().to_vec()).insert(key(index), to.encode().to_vec());
    }

    fn place(&self, catalog: &dyn Catalog, _: OwnerId, index: &[u8]) -> Result<Option<Location>, CatalogError> {
        Ok(catalog.get(&key(index))?.and_then(|row| Location::decode(&row)))
    }
}

fn key(index: &[u8]) -> Key {
    Key::new(Space::Shardlog, index)
}
