//! The agent on one 1080p30 RTSP camera, beside a bare gst-launch pipeline of the same elements to a file.

use std::path::PathBuf;
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
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(&args.dir)?;
    let clip = media::clip(folder.path(), 10)?;
    let camera = Camera::start(clip.to_str().expect("a temporary path is text"), folder.path());

    figures::row(&["one 1080p30 camera, 8 Mbit/s, RTSP over TCP", "CPU of one core", "resident"]);
    figures::row(&["---", "---", "---"]);
    let launch = format!(
        "rtspsrc location={} protocols=tcp latency=200 name=src \
         src. ! rtph264depay ! h264parse ! video/x-h264,stream-format=avc,alignment=au ! queue ! mux. \
         src. ! rtpmp4gdepay ! aacparse ! audio/mpeg,stream-format=raw ! queue ! mux. \
         matroskamux name=mux ! filesink location={}",
        camera.url(),
        folder.path().join("bare.mkv").display()
    );
    let bare = Process::start(
        "gst-launch",
        Command::new("gst-launch-1.0").arg("-q").args(launch.split_whitespace()),
        &folder.path().join("bare.log"),
    );
    let cpu = measure("gst-launch-1.0 to a file", bare.id(), args.seconds)?;
    drop(bare);

    let server = Server::start(folder.path());
    let agent = Agent::start(&folder.path().join("agent"), &server, &[("bench", Source::Rtsp(camera.url()))]);
    let ours = measure("millrace-agent: spool, fdatasync, QUIC upload", agent.id(), args.seconds)?;
    figures::row(&["ratio", &format!("{:.2}", ours / cpu), ""]);
    Ok(())
}

/// Lets the process settle, then prints what it uses; returns its share of a core.
fn measure(name: &str, pid: u32, seconds: u64) -> anyhow::Result<f64> {
    std::thread::sleep(Duration::from_secs(5));
    let before = process::cpu(pid)?;
    std::thread::sleep(Duration::from_secs(seconds));
    let share = (process::cpu(pid)? - before).as_secs_f64() / seconds as f64;
    figures::row(&[
        name,
        &format!("{:.1} %", share * 100.0),
        &format!("{:.0} MB", process::resident(pid)? as f64 / 1e6),
    ]);
    Ok(share)
}
