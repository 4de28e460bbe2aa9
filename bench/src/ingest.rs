//! Ingest over loopback QUIC to PERSISTED, beside what the disk, the cipher and plain quinn do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use e2e::{Agent, Server};

use crate::baseline::{self, Growth};
use crate::load::{self, Load};
use crate::{figures, process};

/// Cameras that send as fast as the server takes it.
const SATURATING: u32 = 16;

/// Cameras that share one connection, as one agent would have them.
const CAMERAS_PER_CONNECTION: u32 = 50;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where data goes; a folder on the disk that is to be measured.
    #[arg(long)]
    dir: PathBuf,
    /// Numbers of cameras in the real-time runs.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 500])]
    cameras: Vec<u32>,
    /// Seconds of each real-time run: half as many fragments of each camera.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(args))
}

async fn measure(args: &Args) -> anyhow::Result<()> {
    let fragment_bytes = 500_000;
    let disk = baseline::disk(&args.dir, fragment_bytes, 400, Growth::Appended)?;
    let cipher = baseline::cipher(fragment_bytes, 4000)?;
    let quic = baseline::quic(fragment_bytes, 1500).await?;
    let tracks = sample_tracks()?;

    figures::row(&["ingest, 0.5 MB fragments", "rate", "p50", "p99", "resident at most"]);
    figures::row(&["---", "---", "---", "---", "---"]);
    figures::row(&[
        "disk: sequential writes, fdatasync each",
        &format!("{:.0} MB/s", disk.megabytes_per_second),
        &figures::millis(disk.sync_p50),
        &figures::millis(disk.sync_p99),
        "",
    ]);
    figures::row(&["AES-256-GCM, one core", &format!("{cipher:.0} MB/s"), "", "", ""]);
    figures::row(&["plain quinn, loopback, both ends", &format!("{quic:.0} MB/s"), "", "", ""]);

    let full = Load {
        cameras: SATURATING,
        bits_per_second: 4_000_000,
        fragment: Duration::from_secs(1),
        fragments: 300,
        real_time: false,
    };
    let groups = one("millrace, as fast as it takes them, 16 cameras", &args.dir, &tracks, full).await?;
    let rhythm = baseline::disk(&args.dir, groups.mean_bytes(), groups.count, Growth::Appended)?;
    figures::row(&[
        &format!("disk: the same bytes in the {} groups that the server synced", groups.count),
        &format!("{:.0} MB/s", rhythm.megabytes_per_second),
        &figures::millis(rhythm.sync_p50),
        &figures::millis(rhythm.sync_p99),
        "",
    ]);
    for &cameras in &args.cameras {
        let load = Load {
            cameras,
            bits_per_second: 2_000_000,
            fragment: Duration::from_secs(2),
            fragments: args.seconds / 2,
            real_time: true,
        };
        one(&format!("millrace, {cameras} cameras at 2 Mbit/s"), &args.dir, &tracks, load).await?;
    }
    Ok(())
}

/// How the server grouped what it was sent: one sync for each.
struct Groups {
    count: usize,
    bytes: u64,
}

impl Groups {
    fn mean_bytes(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX) / self.count.max(1)
    }
}

/// Sends one load to a server of its own and prints its row.
async fn one(name: &str, dir: &Path, tracks: &fragment::Tracks, load: Load) -> anyhow::Result<Groups> {
    let folder = tempfile::tempdir_in(dir)?;
    let server = Server::start(folder.path());
    let identities = identities(&server, folder.path(), load.cameras)?;
    let commits = || server.try_metric("millrace_commits_total").unwrap_or(0.0);
    let (before, commits_before) = (process::resident(server.id())?, commits());
    // Once its connections are closed, a server holds less.
    let peak = process::Peak::watch(server.id());
    let mut outcome = load::send(server.upload_address().parse()?, &identities, tracks, load).await?;
    let resident = peak.end();
    figures::row(&[
        name,
        &format!(
            "{:.0} MB/s, {:.0} fragments/s",
            figures::megabytes_per_second(outcome.bytes, outcome.elapsed),
            outcome.latencies.len() as f64 / outcome.elapsed.as_secs_f64()
        ),
        &figures::millis(figures::percentile(&mut outcome.latencies, 50.0)),
        &figures::millis(figures::percentile(&mut outcome.latencies, 99.0)),
        &format!(
            "{:.0} MB, {:.2} MB per camera",
            resident as f64 / 1e6,
            resident.saturating_sub(before) as f64 / 1e6 / f64::from(load.cameras)
        ),
    ]);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of commits")]
    let count = (commits() - commits_before) as usize;
    Ok(Groups { count, bytes: outcome.bytes })
}

/// The tracks of a real clip, so that the server parses what a camera would send.
pub(crate) fn sample_tracks() -> anyhow::Result<fragment::Tracks> {
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples/clips/h264-vfr.mkv");
    let mut reader = fragment::mkv::Reader::new(fragment::mkv::Limits::default());
    reader.push(std::fs::read(&clip).with_context(|| clip.display().to_string())?.into());
    while let Some(event) = reader.next()? {
        if let fragment::mkv::Event::Tracks(tracks) = event {
            return Ok(tracks);
        }
    }
    anyhow::bail!("{} has no tracks", clip.display())
}

/// Identities for as many agents as `cameras` need, each a folder of PEM files.
fn identities(server: &Server, folder: &Path, cameras: u32) -> anyhow::Result<Vec<PathBuf>> {
    let enrol = |i| {
        let agent = Agent::enrolled(&folder.join(format!("agent-{i}")), server);
        // The first upload joins the server.
        let output = agent.once(&e2e::clip("h264-vfr.mkv"), "enrolment");
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(agent.state())
    };
    (0..cameras.div_ceil(CAMERAS_PER_CONNECTION)).map(enrol).collect()
}
