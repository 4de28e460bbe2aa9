//! Instructions of a frame, in user space, as callgrind counts them: on any machine, also a virtual one without
//! counters of its own, and the same from run to run.
//!
//! Two cameras less one: what a process does once (its start, its timers, its connection) is in neither figure.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::{Camera, Process, Server};

use super::Args;
use crate::{figures, media, process};

/// Before counting begins: translating the program takes valgrind a while.
const SETTLING: Duration = Duration::from_secs(30);
const COUNTING: Duration = Duration::from_secs(20);
/// With more than this of its one core, valgrind may not keep up with the cameras.
const BUSY_MAX: f64 = 0.95;

pub(super) fn run(args: &Args, folder: &Path) -> anyhow::Result<()> {
    let clip = media::clip_of(folder, 10, args.rate)?;
    let camera = &Camera::start(clip.to_str().context("path")?, folder);
    figures::row(&[
        &format!("instructions per frame of 1080p at {} frames/s, user space (callgrind)", args.rate),
        "one camera",
        "each more",
    ]);
    figures::row(&["---"; 3]);
    let bare = |cameras, folder: &Path| {
        let mut command = valgrind(folder);
        command.arg("gst-launch-1.0").args(super::launch(camera, cameras, folder));
        count(command, folder)
    };
    let ours = |cameras, folder: &Path| {
        let server = Server::start(folder);
        let agent = super::agent(camera, cameras, folder, &server);
        let plain = agent.command();
        let mut command = valgrind(folder);
        command.arg(plain.get_program()).args(plain.get_args());
        count(command, folder)
    };
    let bare = if args.no_bare { None } else { Some(both(bare, "bare", args, folder)?) };
    if let Some(bare) = bare {
        row("gst-launch-1.0 to a file", bare);
    }
    let ours = both(ours, "ours", args, folder)?;
    row("millrace-agent", ours);
    if let Some(bare) = bare {
        figures::row(&["ratio", &format!("{:.2}", ours[0] / bare[0]), &format!("{:.2}", ours[1] / bare[1])]);
    }
    Ok(())
}

fn row(name: &str, figures: [f64; 2]) {
    let [one, more] = figures.map(|instructions| format!("{:.0} thousand", instructions / 1e3));
    figures::row(&[name, &one, &more]);
}

/// Per frame: of one camera, and of a second one.
fn both(
    count: impl Fn(u32, &Path) -> anyhow::Result<f64>,
    name: &str,
    args: &Args,
    folder: &Path,
) -> anyhow::Result<[f64; 2]> {
    let measured = |cameras| {
        let folder = tempfile::tempdir_in(folder)?;
        let count = count(cameras, folder.path())?;
        if let Some(profiles) = &args.profiles {
            std::fs::copy(dump(folder.path()), profiles.join(format!("{name}-{cameras}.callgrind")))?;
        }
        anyhow::Ok(count)
    };
    let frames = f64::from(args.rate) * COUNTING.as_secs_f64();
    let (one, two) = (measured(1)?, measured(2)?);
    Ok([one / frames, (two - one) / frames])
}

fn valgrind(folder: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", out(folder).display()));
    command
}

fn out(folder: &Path) -> PathBuf {
    folder.join("callgrind.out")
}

/// The first dump: they are numbered behind the file's name.
fn dump(folder: &Path) -> PathBuf {
    out(folder).with_extension("out.1")
}

/// Runs the program, and counts for a while.
fn count(mut command: Command, folder: &Path) -> anyhow::Result<f64> {
    let program = Process::start("valgrind", &mut command, &folder.join("valgrind.log"));
    thread::sleep(SETTLING);
    control(&["--zero"], program.id())?;
    let before = process::cpu(program.id())?;
    thread::sleep(COUNTING);
    control(&["--dump"], program.id())?;
    let busy = (process::cpu(program.id())? - before).as_secs_f64() / COUNTING.as_secs_f64();
    ensure!(busy < BUSY_MAX, "valgrind does not keep up on this machine: it took {:.0} % of a core", busy * 100.0);
    let dump = std::fs::read_to_string(dump(folder))
        .with_context(|| format!("callgrind made no dump: {}", program.output()))?;
    let total = dump.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
    Ok(total.context("a dump of callgrind without its total")?.trim().parse()?)
}

fn control(arguments: &[&str], pid: u32) -> anyhow::Result<()> {
    let output = Command::new("callgrind_control").args(arguments).arg(pid.to_string()).output()?;
    ensure!(output.status.success(), "callgrind_control: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
