//! The fragment index as it grows: a week of streams with fragments of two seconds, found by the hour, opened, and
//! expired; beside the same code over a catalog in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use archive::{Archive, Fragment, Index, Retention, Stream};
use bytes::Bytes;
use disk::OsDisk;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};
use vault::catalog::{FjallCatalog, MemoryCatalog};
use vault::{Catalog, Keyring, OsEntropy, Owner, Parts, Vault};

use crate::figures;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const FRAGMENT: Duration = Duration::from_secs(2);
/// The beginning of a day, 2026-09-14.
const BEGIN_SECS: i64 = 1_789_344_000;
/// Fragments of a stream under way at once, as after an outage.
const AT_ONCE: usize = 512;
/// Hours that are asked for, each of a stream and a place chosen by chance.
const QUERIES: usize = 2000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where data goes; a folder on the disk that is to be measured.
    #[arg(long)]
    dir: PathBuf,
    /// How many streams; each has 302,400 fragments. The first number is measured in memory too.
    #[arg(long, value_delimiter = ',', default_value = "1,10")]
    streams: Vec<usize>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    figures::row(&[
        "index: a week of fragments of 2 s",
        "fragments",
        "stored",
        "an hour found, p50",
        "p99",
        "opened",
        "catalog per fragment",
        "expired",
    ]);
    figures::row(&["---"; 8]);
    for (streams, in_memory) in [(args.streams.first().copied().unwrap_or(1), true)]
        .into_iter()
        .chain(args.streams.iter().map(|&streams| (streams, false)))
    {
        runtime.block_on(measure(&args.dir, streams, in_memory))?;
    }
    Ok(())
}

async fn measure(dir: &Path, streams: usize, in_memory: bool) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(dir)?;
    let memory = in_memory.then(|| Arc::new(MemoryCatalog::default()));
    let archive = open(folder.path(), memory.as_ref())?;
    let week = Retention::new(WEEK)?;
    let mut created = Vec::with_capacity(streams);
    for number in 0..streams {
        created.push(archive.create_stream(&format!("camera-{number}").parse()?, week, at(Duration::ZERO))?);
    }
    let streams: Vec<Stream> = created;

    let began = Instant::now();
    let per_stream = WEEK.as_secs() / FRAGMENT.as_secs();
    for first in (0..per_stream).step_by(AT_ONCE) {
        let mut stores = tokio::task::JoinSet::new();
        for stream in &streams {
            let (archive, stream) = (archive.clone(), stream.id);
            stores.spawn(async move {
                let sequences = first..per_stream.min(first + AT_ONCE as u64);
                let stores = sequences.map(|sequence| archive.store(stream, fragment(sequence)));
                futures_util::future::try_join_all(stores).await
            });
        }
        while let Some(stored) = stores.join_next().await {
            stored??;
        }
    }
    let fragments = per_stream * streams.len() as u64;
    let rate = fragments as f64 / began.elapsed().as_secs_f64();

    drop(archive);
    let began = Instant::now();
    let archive = open(folder.path(), memory.as_ref())?;
    let opened = began.elapsed();
    let catalog = bytes_in(&folder.path().join("catalog"))?;

    let mut latencies = Vec::with_capacity(QUERIES);
    for _ in 0..QUERIES {
        let stream = &streams[fastrand::usize(..streams.len())];
        let start = at(SECOND * fastrand::u32(..u32::try_from((WEEK - HOUR).as_secs())?));
        let began = Instant::now();
        let found = archive.range(stream.id, start..start + HOUR, 10_000, at(WEEK))?;
        latencies.push(began.elapsed());
        anyhow::ensure!((1800..=1802).contains(&found.len()), "{} fragments in an hour", found.len());
    }

    let began = Instant::now();
    let expired = archive.expire(at(WEEK + HOUR * 6)).await?;
    let expiry = began.elapsed();
    anyhow::ensure!(expired.fragments > 0 && expired.swept.segments > 0, "nothing expired");
    let name = if in_memory { "rows in memory" } else { "millrace" };
    figures::row(&[
        &format!("{name}, {} streams", streams.len()),
        &fragments.to_string(),
        &format!("{rate:.0}/s"),
        &figures::millis(figures::percentile(&mut latencies, 50.0)),
        &figures::millis(figures::percentile(&mut latencies, 99.0)),
        &if in_memory { String::new() } else { figures::millis(opened) },
        &if in_memory { String::new() } else { format!("{:.0} bytes", catalog as f64 / fragments as f64) },
        &format!("{:.0}/s", expired.fragments as f64 / expiry.as_secs_f64()),
    ]);
    Ok(())
}

fn open(folder: &Path, memory: Option<&Arc<MemoryCatalog>>) -> anyhow::Result<Archive> {
    let service = Arc::new(Keyring::of_vault(folder)?);
    let catalog: Arc<dyn Catalog> = match memory {
        Some(memory) => memory.clone(),
        None => Arc::new(FjallCatalog::open(&folder.join("catalog"))?),
    };
    let index = Arc::new(Index::new());
    let owner: Arc<dyn Owner> = index.clone();
    let parts = Parts::on(Arc::new(OsDisk), folder, service, catalog, Arc::new(OsEntropy))?;
    Ok(Archive::new(Vault::assemble(parts, vec![owner])?, index)?)
}

/// The sequence's fragment of a camera that has been on since the beginning.
fn fragment(sequence: u64) -> Fragment {
    let start = at(FRAGMENT * u32::try_from(sequence).expect("a week of them"));
    Fragment {
        id: FragmentId { session: SessionId(1), sequence: Sequence(u32::try_from(sequence).expect("a week of them")) },
        start,
        quality: ClockQuality::Synchronised,
        duration: FRAGMENT,
        tracks_fingerprint: 7,
        independent: true,
        codecs: vec!["avc1.640028".to_owned(), "mp4a.40.2".to_owned()],
        arrived: start + FRAGMENT,
        payload: Bytes::from_static(&[7; 16]),
    }
}

fn at(since: Duration) -> WallTime {
    WallTime::from_millis(BEGIN_SECS * 1000) + since
}

/// The bytes that the files of a folder take of the disk.
fn bytes_in(folder: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(0) };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_in(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
