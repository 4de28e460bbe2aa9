//! Memory through bad times: the vault on a disk that is slow, then on one that is full, then through a sweep. Writers
//! press on all the while, each with the next fragment as soon as it has an answer.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use archive::{Archive, Fragment, Index, Retention};
use bytes::Bytes;
use disk::testing::{DiskOver, FileOver};
use disk::{Disk, File, OsDisk};
use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};
use vault::catalog::FjallCatalog;
use vault::{Keyring, OsEntropy, Owner, Parts, Vault};

use crate::figures;

const WRITERS: u64 = 16;
const FRAGMENT_BYTES: usize = 1_000_000;
/// Fragments of the sweeps. Of the second it is seen whether what the first one took grows with their number.
const SWEPT: [(&str, u32); 2] = [("a sweep of 100,000 fragments", 100_000), ("a sweep of 1,000,000", 1_000_000)];
/// The beginning of a day, 2026-09-14.
const BEGIN_SECS: i64 = 1_789_344_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where data goes.
    #[arg(long)]
    dir: PathBuf,
    /// Minutes on a disk that takes 5 MB/s.
    #[arg(long, default_value_t = 10)]
    slow_minutes: u64,
    /// Minutes on a disk that is full.
    #[arg(long, default_value_t = 5)]
    full_minutes: u64,
    /// Where the plot goes (SVG).
    #[arg(long)]
    plot: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    figures::row(&[
        "memory: 16 writers of 1 MB",
        "stored",
        "to be tried again",
        "resident at first",
        "at most",
        "at last",
    ]);
    figures::row(&["---"; 6]);
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let phases = runtime.block_on(async {
        let slow = press(&args.dir, "a disk of 5 MB/s", Some(5_000_000), minutes(args.slow_minutes)).await?;
        let full = press(&args.dir, "a full disk", None, minutes(args.full_minutes)).await?;
        let mut phases = vec![slow, full];
        for (name, fragments) in SWEPT {
            phases.push(sweep(&args.dir, name, fragments).await?);
        }
        anyhow::Ok(phases)
    })?;
    if let Some(path) = &args.plot {
        std::fs::write(path, plot(&phases))?;
    }
    Ok(())
}

/// What was resident, in bytes, second by second.
struct Phase {
    name: &'static str,
    resident: Vec<u64>,
}

/// Lets the writers press for so long on a disk that takes `rate` bytes a second, or on one that is full. Before it is
/// full they write for ten seconds, and after it for ten more.
async fn press(dir: &Path, name: &'static str, rate: Option<u64>, time: Duration) -> anyhow::Result<Phase> {
    let folder = tempfile::tempdir_in(dir)?;
    let troubled = Troubled::default();
    troubled.0.rate.store(rate.unwrap_or(200_000_000), Ordering::Relaxed);
    let archive = open(folder.path(), Arc::new(troubled.clone()))?;
    let stop = Arc::new(AtomicBool::new(false));
    let (stored, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut writers = tokio::task::JoinSet::new();
    let payload: Bytes = crate::media::bytes(FRAGMENT_BYTES).into();
    for writer in 0..WRITERS {
        let stream = archive.create_stream(&format!("camera-{writer}").parse()?, Retention::DEFAULT, at(0))?;
        let (archive, stop, payload) = (archive.clone(), stop.clone(), payload.clone());
        let (stored, refused) = (stored.clone(), refused.clone());
        writers.spawn(async move {
            let mut sequence = 0;
            while !stop.load(Ordering::Relaxed) {
                // Each has bytes of its own, as when they come from a network.
                let payload = Bytes::copy_from_slice(&payload);
                match archive.store(stream.id, fragment(sequence, payload)).await {
                    Ok(_) => {
                        stored.fetch_add(1, Ordering::Relaxed);
                        sequence += 1;
                    }
                    Err(error) if error.retryable() => {
                        refused.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(250)).await;
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        });
    }
    let mut resident = Vec::new();
    if rate.is_none() {
        watch(&mut resident, Duration::from_secs(10)).await?;
        troubled.0.full.store(true, Ordering::Relaxed);
    }
    watch(&mut resident, time).await?;
    let before = stored.load(Ordering::Relaxed);
    if rate.is_none() {
        troubled.0.full.store(false, Ordering::Relaxed);
        watch(&mut resident, Duration::from_secs(10)).await?;
        anyhow::ensure!(stored.load(Ordering::Relaxed) > before, "writing goes on when there is room again");
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(written) = writers.join_next().await {
        written??;
    }
    let (stored, refused) = (stored.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
    Ok(told(name, stored, refused, resident))
}

/// Expires so many fragments at once.
async fn sweep(dir: &Path, name: &'static str, fragments: u32) -> anyhow::Result<Phase> {
    let folder = tempfile::tempdir_in(dir)?;
    let archive = open(folder.path(), Arc::new(OsDisk))?;
    let stream = archive.create_stream(&"camera".parse()?, Retention::DEFAULT, at(0))?;
    for first in (0..fragments).step_by(500) {
        let payload = Bytes::from_static(&[7; 2000]);
        let stores = (first..first + 500).map(|sequence| archive.store(stream.id, fragment(sequence, payload.clone())));
        futures_util::future::try_join_all(stores).await?;
    }
    let mut resident = Vec::new();
    watch(&mut resident, Duration::from_secs(2)).await?;
    let sweeping = tokio::spawn(async move { archive.expire(at(30 * 86_400)).await });
    while !sweeping.is_finished() {
        watch(&mut resident, Duration::from_millis(100)).await?;
    }
    let expired = sweeping.await??;
    anyhow::ensure!(expired.fragments == u64::from(fragments), "{expired:?}");
    watch(&mut resident, Duration::from_secs(2)).await?;
    Ok(told(name, u64::from(fragments), 0, resident))
}

/// Looks at what is resident, for so long: each second, or at once if that is shorter.
async fn watch(resident: &mut Vec<u64>, time: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        tokio::time::sleep(time.min(Duration::from_secs(1))).await;
        resident.push(crate::process::resident(std::process::id())?);
    }
    Ok(())
}

fn told(name: &'static str, stored: u64, refused: u64, resident: Vec<u64>) -> Phase {
    let megabytes = |bytes: Option<&u64>| format!("{:.0} MB", bytes.copied().unwrap_or(0) as f64 / 1e6);
    figures::row(&[
        name,
        &stored.to_string(),
        &refused.to_string(),
        &megabytes(resident.first()),
        &megabytes(resident.iter().max()),
        &megabytes(resident.last()),
    ]);
    Phase { name, resident }
}

/// The phases beside each other, each as wide as the others, as high as the most that was ever resident.
fn plot(phases: &[Phase]) -> String {
    const WIDTH: f64 = 300.0;
    const HEIGHT: f64 = 160.0;
    const FOOT: f64 = 36.0;
    let most = phases.iter().flat_map(|phase| &phase.resident).max().copied().unwrap_or(1) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" font-family=\"sans-serif\" font-size=\"12\">\n",
        WIDTH * phases.len() as f64,
        HEIGHT + FOOT
    );
    for (i, Phase { name, resident }) in phases.iter().enumerate() {
        let left = WIDTH * i as f64;
        let mut points = String::new();
        for (at, bytes) in resident.iter().enumerate() {
            let x = left + 10.0 + (WIDTH - 20.0) * at as f64 / resident.len().max(2) as f64;
            write!(points, "{x:.1},{:.1} ", HEIGHT - (HEIGHT - 20.0) * *bytes as f64 / most).expect("to a String");
        }
        let (foot, most) = (HEIGHT + 18.0, resident.iter().max().copied().unwrap_or(0) as f64 / 1e6);
        writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"#06c\" points=\"{points}\"/>\n\
             <line x1=\"{}\" x2=\"{}\" y1=\"{HEIGHT}\" y2=\"{HEIGHT}\" stroke=\"#888\"/>\n\
             <text x=\"{}\" y=\"{foot}\">{name}: {most:.0} MB at most</text>",
            left + 10.0,
            left + WIDTH - 10.0,
            left + 10.0
        )
        .expect("to a String");
    }
    svg + "</svg>\n"
}

fn open(folder: &Path, disk: Arc<dyn Disk>) -> anyhow::Result<Archive> {
    let service = Arc::new(Keyring::of_vault(folder)?);
    let catalog = Arc::new(FjallCatalog::open(&folder.join("catalog"))?);
    let index = Arc::new(Index::new());
    let owner: Arc<dyn Owner> = index.clone();
    let parts = Parts::on(disk, folder, service, catalog, Arc::new(OsEntropy))?;
    Ok(Archive::new(Vault::assemble(parts, vec![owner])?, index)?)
}

fn fragment(sequence: u32, payload: Bytes) -> Fragment {
    let start = at(i64::from(sequence));
    Fragment {
        id: FragmentId { session: SessionId(1), sequence: Sequence(sequence) },
        start,
        quality: ClockQuality::Synchronised,
        duration: Duration::from_secs(1),
        tracks_fingerprint: 7,
        independent: true,
        codecs: vec!["avc1.640028".to_owned()],
        arrived: start,
        payload,
    }
}

fn at(secs: i64) -> WallTime {
    WallTime::from_millis((BEGIN_SECS + secs) * 1000)
}

/// This machine's disk, slower or full.
#[derive(Clone, Default)]
struct Troubled(Arc<Trouble>);

#[derive(Default)]
struct Trouble {
    /// Bytes a second.
    rate: AtomicU64,
    full: AtomicBool,
}

impl Trouble {
    fn check_room(&self) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn take_time(&self, bytes: usize) {
        let rate = self.rate.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs_f64(bytes as f64 / rate as f64));
    }
}

impl DiskOver for Troubled {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.0.check_room()?;
        Ok(Arc::new(TroubledFile(OsDisk.create(path)?, self.0.clone())))
    }
}

struct TroubledFile(Arc<dyn File>, Arc<Trouble>);

impl FileOver for TroubledFile {
    fn under(&self) -> &dyn File {
        &*self.0
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.1.check_room()?;
        self.1.take_time(bytes.len());
        self.0.write_at(bytes, offset)
    }

    fn lay_out(&self, from: u64, bytes: u64) -> io::Result<()> {
        self.1.check_room()?;
        self.0.lay_out(from, bytes)
    }
}
