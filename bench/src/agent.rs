//! The agent on 1080p30 RTSP cameras, beside bare gst-launch pipelines of the same elements to files: time of the CPU and
//! memory of one, four and sixteen cameras in a process, and the instructions of a frame.

mod instructions;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::{Agent, Camera, Process, Server, Source};

use crate::{figures, media, process};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where data goes.
    #[arg(long)]
    dir: PathBuf,
    /// Seconds over which CPU time is taken.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// How many cameras one process has; 0 leaves this out.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16])]
    cameras: Vec<u32>,
    /// Leave out the instructions, which valgrind counts.
    #[arg(long)]
    no_instructions: bool,
    /// Pictures per second of the cameras whose instructions are counted. The default is a third of what they are elsewhere, since
    /// valgrind is slow; what is done by time and not by picture, the sound among it, then weighs three times as much.
    #[arg(long, default_value_t = 10)]
    rate: u32,
    /// Keep callgrind's dumps in this folder, for a look with `callgrind_annotate`.
    #[arg(long)]
    profiles: Option<PathBuf>,
    /// Count the agent's instructions only.
    #[arg(long)]
    no_bare: bool,
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    /// The share of one core.
    cpu: f64,
    /// Resident megabytes (10^6).
    resident: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(&args.dir)?;
    let clip = media::clip(folder.path(), 10)?;
    let camera = Camera::start(clip.to_str().expect("a temporary path is text"), folder.path());

    figures::row(&[
        "1080p30 cameras of 8 Mbit/s, RTSP over TCP",
        "gst-launch-1.0 to files: CPU of one core",
        "millrace-agent: spool, fdatasync, QUIC upload",
        "ratio",
        "gst-launch-1.0: resident",
        "millrace-agent",
    ]);
    figures::row(&["---"; 6]);
    let mut usages = Vec::new();
    for &cameras in args.cameras.iter().filter(|&&cameras| cameras > 0) {
        let usage = compare(&camera, cameras, folder.path(), args.seconds)?;
        row(&cameras.to_string(), usage);
        usages.push((f64::from(cameras), usage));
    }
    if let [(first, least), .., (last, most)] = usages[..] {
        let per_camera = |least: Usage, most: Usage| Usage {
            cpu: (most.cpu - least.cpu) / (last - first),
            resident: (most.resident - least.resident) / (last - first),
        };
        row("each more", [per_camera(least[0], most[0]), per_camera(least[1], most[1])]);
    }
    if !args.no_instructions {
        println!();
        instructions::run(args, folder.path())?;
    }
    Ok(())
}

fn row(cameras: &str, [bare, ours]: [Usage; 2]) {
    figures::row(&[
        cameras,
        &format!("{:.1} %", bare.cpu * 100.0),
        &format!("{:.1} %", ours.cpu * 100.0),
        &format!("{:.2}", ours.cpu / bare.cpu),
        &format!("{:.1} MB", bare.resident),
        &format!("{:.1} MB", ours.resident),
    ]);
}

/// The same cameras, one after the other: to files, and by the agent.
fn compare(camera: &Camera, cameras: u32, folder: &Path, seconds: u64) -> anyhow::Result<[Usage; 2]> {
    let folder = tempfile::tempdir_in(folder)?;
    let mut command = Command::new("gst-launch-1.0");
    command.args(launch(camera, cameras, folder.path()));
    let bare = Process::start("gst-launch", &mut command, &folder.path().join("bare.log"));
    let usage = measure(bare.id(), seconds)?;
    drop(bare);

    let server = Server::start(folder.path());
    let agent = agent(camera, cameras, folder.path(), &server);
    let ours = Process::start("millrace-agent", &mut agent.command(), &folder.path().join("agent.log"));
    Ok([usage, measure(ours.id(), seconds)?])
}

/// An agent that is configured for as many cameras and not started.
fn agent(camera: &Camera, cameras: u32, folder: &Path, server: &Server) -> Agent {
    let streams: Vec<_> = (0..cameras).map(|number| format!("bench-{number}")).collect();
    let streams: Vec<_> = streams.iter().map(|name| (name.as_str(), Source::Rtsp(camera.url()))).collect();
    Agent::configured(&folder.join("agent"), server, &server.upload_address(), &streams)
}

/// The arguments of gst-launch-1.0 for as many cameras: the agent's elements, with a muxer and a file behind them.
fn launch(camera: &Camera, cameras: u32, folder: &Path) -> Vec<String> {
    let branch = |number: u32| {
        format!(
            "rtspsrc location={} protocols=tcp latency=200 name=src{number} \
             src{number}. ! rtph264depay ! h264parse ! video/x-h264,stream-format=avc,alignment=au ! queue ! mux{number}. \
             src{number}. ! rtpmp4gdepay ! aacparse ! audio/mpeg,stream-format=raw ! queue ! mux{number}. \
             matroskamux name=mux{number} ! filesink location={}",
            camera.url(),
            folder.join(format!("bare-{number}.mkv")).display()
        )
    };
    let branches = (0..cameras).flat_map(|number| {
        let branch = branch(number);
        branch.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    });
    std::iter::once("-q".to_owned()).chain(branches).collect()
}

/// Lets the process settle, then takes what it uses.
fn measure(pid: u32, seconds: u64) -> anyhow::Result<Usage> {
    std::thread::sleep(Duration::from_secs(10));
    let before = process::cpu(pid)?;
    std::thread::sleep(Duration::from_secs(seconds));
    let cpu = (process::cpu(pid)? - before).as_secs_f64() / seconds as f64;
    Ok(Usage { cpu, resident: process::resident(pid)? as f64 / 1e6 })
}
