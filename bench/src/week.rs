//! Weeks without a line: the agent's spool and its feed, on this machine's disk, by a clock that is moved on. What the index
//! takes, what starts again after it, what is dropped where the quota is too small, and how the device catches up once it has a line.
//!
//! Fragments are of 2 s and, so that a week of them fits a disk, of some hundred bytes; the line is as many times faster than the cameras as a
//! real one would be. Syncs are left out: they cost the time of a disk, and change nothing of what is measured. Where no fragment is read back, none is
//! written either, and the spool is told otherwise.

mod catch_up;
mod device;
mod disk;
mod plot;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use spool::drops::{self, Run};
use spool::{Settings, Spool};

use crate::figures;
use crate::process::{Peak, resident};
use device::Device;
use plot::{Curve, Panel};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const MEGABYTE: f64 = 1e6;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where data goes.
    #[arg(long)]
    dir: PathBuf,
    /// Days that four cameras are off-line.
    #[arg(long, default_value_t = 7)]
    days: u32,
    /// Days that sixteen cameras are off-line.
    #[arg(long, default_value_t = 3)]
    days_of_many: u32,
    /// How many times faster than the cameras the line is on which they catch up.
    #[arg(long, default_value_t = 4)]
    line: u32,
    /// Where the plot goes (SVG).
    #[arg(long)]
    plot: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    figures::row(&["off-line", "fragments", "index", "a fragment", "resident: before", "after", "dropped"]);
    figures::row(&["---"; 7]);
    let mut panels = Vec::new();

    let folder = tempfile::tempdir_in(&args.dir)?;
    let mut device = Device::new(open(folder.path(), u64::MAX / 2, true)?, 4);
    panels.push(away(&format!("4 cameras, {} days", args.days), &mut device, args.days)?);
    anyhow::ensure!(drops::read(&::disk::OsDisk, folder.path())?.is_empty(), "nothing is dropped where there is room");

    // The same with room for a day less.
    let bytes_max = device.spool.counters().bytes / u64::from(args.days) * u64::from(args.days.saturating_sub(1));
    let small = tempfile::tempdir_in(&args.dir)?;
    let mut full = Device::new(open(small.path(), bytes_max, false)?, 4);
    panels.push(away(&format!("4 cameras, room for {} days", args.days.saturating_sub(1)), &mut full, args.days)?);
    let listed = drops::read(&::disk::OsDisk, small.path())?;
    full.check_drops(&listed)?;
    drop((full, small));

    let many = tempfile::tempdir_in(&args.dir)?;
    let mut sixteen = Device::new(open(many.path(), u64::MAX / 2, false)?, 16);
    panels.push(away(&format!("16 cameras, {} days", args.days_of_many), &mut sixteen, args.days_of_many)?);
    sixteen.check_drops(&drops::read(&::disk::OsDisk, many.path())?)?;
    drop((sixteen, many));

    println!();
    tell_drops(&listed);
    println!();
    let mut device = start_again(device, folder.path())?;
    println!();
    panels.push(catch_up(&mut device, args.line)?);
    if let Some(path) = &args.plot {
        std::fs::write(path, plot::draw(&panels))?;
    }
    Ok(())
}

fn open(state: &Path, bytes_max: u64, holds_fragments: bool) -> anyhow::Result<Spool> {
    Ok(Spool::open_on(Arc::new(disk::Unsynced { holds_fragments }), state, Settings::from(bytes_max))?)
}

/// So many days without a line.
fn away(name: &str, device: &mut Device, days: u32) -> anyhow::Result<Panel> {
    let before = resident(std::process::id())?;
    let mut curve = Curve::default();
    for hour in 0..=days * 24 {
        if hour > 0 {
            device.capture(HOUR)?;
        }
        note(&mut curve, device, hour.into())?;
    }
    let counters = device.spool.counters();
    figures::row(&[
        name,
        &counters.fragments.to_string(),
        &megabytes(counters.index_bytes),
        &format!("{:.1} bytes", counters.index_bytes as f64 / counters.fragments.max(1) as f64),
        &megabytes(before),
        &megabytes(resident(std::process::id())?),
        &counters.dropped.to_string(),
    ]);
    Ok(Panel { name: name.to_owned(), curve })
}

fn note(curve: &mut Curve, device: &Device, hour: f64) -> anyhow::Result<()> {
    let counters = device.spool.counters();
    curve.index.push((hour, counters.index_bytes as f64 / MEGABYTE));
    curve.resident.push((hour, resident(std::process::id())? as f64 / MEGABYTE));
    Ok(())
}

fn tell_drops(listed: &[Run]) {
    figures::row(&["the list of drops: reason", "stream", "fragments", "of", "they play for"]);
    figures::row(&["---"; 5]);
    for run in listed {
        figures::row(&[
            &run.reason.to_string(),
            run.stream.as_str(),
            &format!("{} to {}", run.first.0, run.last.0),
            &format!("day {}", device::day_of(run.session) + 1),
            &format!("{:.1} h", run.duration.as_secs_f64() / HOUR.as_secs_f64()),
        ]);
    }
}

/// The agent ends and starts again, with all of it in the spool.
fn start_again(device: Device, state: &Path) -> anyhow::Result<Device> {
    let before = device.spool.counters();
    let stopped = device.stop();
    let fill = resident(std::process::id())?;
    let began = Instant::now();
    for stream in std::fs::read_dir(state.join("spool"))? {
        anyhow::ensure!(std::fs::read_dir(stream?.path())?.count() > 0, "each camera has files");
    }
    let listed = began.elapsed();
    let (peak, began) = (Peak::watch(std::process::id()), Instant::now());
    let spool = open(state, u64::MAX / 2, true)?;
    let (took, most) = (began.elapsed(), peak.end());
    let counters = spool.counters();
    anyhow::ensure!(counters.fragments == before.fragments, "all of it is found: {before:?}, then {counters:?}");
    figures::row(&[
        "started again with",
        "its folders listed in",
        "ready after",
        "index",
        "resident: before",
        "at most",
    ]);
    figures::row(&["---"; 6]);
    figures::row(&[
        &format!("{} files", counters.fragments),
        &format!("{:.1} s", listed.as_secs_f64()),
        &format!("{:.1} s", took.as_secs_f64()),
        &megabytes(counters.index_bytes),
        &megabytes(fill),
        &megabytes(most),
    ]);
    Ok(stopped.start(spool))
}

/// Until nothing is left of the time without a line.
fn catch_up(device: &mut Device, line: u32) -> anyhow::Result<Panel> {
    let backlog = device.spool.counters().fragments;
    let mut curve = Curve::default();
    note(&mut curve, device, 0.0)?;
    figures::row(&[
        &format!("a line of {line} times the cameras: after"),
        "live: fragments",
        "bytes",
        "backlog: fragments",
        "bytes",
        "it is sent up to",
    ]);
    figures::row(&["---"; 6]);
    let mut connection = catch_up::Connection::new(device, line);
    let (mut hours, mut first_hour) = (0.0, None);
    while !connection.is_done() {
        let span = if hours < 1.0 { HOUR / 6 } else { HOUR };
        connection.run(device, span)?;
        hours += span.as_secs_f64() / HOUR.as_secs_f64();
        note(&mut curve, device, hours)?;
        let is_told = first_hour.is_none() || connection.is_done();
        if hours > 0.99 && first_hour.is_none() {
            first_hour = Some(connection.sent);
        }
        if is_told {
            let sent = connection.sent;
            figures::row(&[
                &format!(
                    "{:.1} h",
                    connection.caught_up().unwrap_or(Duration::from_secs_f64(hours * 3600.0)).as_secs_f64() / 3600.0
                ),
                &sent.live.to_string(),
                &sent.live_bytes.to_string(),
                &sent.backlog.to_string(),
                &sent.backlog_bytes.to_string(),
                &device::time_of_week(sent.backlog_until),
            ]);
        }
    }
    connection.check(backlog)?;
    Ok(Panel { name: "and catches up".to_owned(), curve })
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / MEGABYTE)
}

/// Days as a person counts them.
fn days(time: Duration) -> u64 {
    time.as_secs() / DAY.as_secs()
}
