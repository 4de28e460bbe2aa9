//! Upload over a bad line: QUIC, as the agent sets it, beside the same fragments as chunked HTTP/1.1 over TCP, through
//! a [`line::Line`] that loses packets; and how soon each goes on after the line was dead, and after the device got another address.
//!
//! The device's end is in a network namespace of its own, which takes root. The HTTP end is as good as it can be made
//! simply: a connection for each camera, kept open, without TLS; the server writes the fragment to a file and syncs it before
//! it answers. The QUIC end is the real server, which also checks and seals.

mod client;
mod http;
mod line;
mod plot;
mod resume;

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use e2e::{Agent, Process, Server, binary, until};

use crate::figures;
use line::Line;

pub(crate) use client::{Args as ClientArgs, run as run_client};

/// What carries the fragments.
const WAYS: [&str; 4] = ["quic-cubic", "quic-bbr", "tcp-cubic", "tcp-bbr"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where data goes.
    #[arg(long)]
    dir: PathBuf,
    /// How often each is measured; the table has the medians.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Mbit/s of the line.
    #[arg(long, default_value_t = 20)]
    mbit: u64,
    /// Milliseconds that the line takes in each direction.
    #[arg(long, default_value_t = 20)]
    delay_ms: u64,
    /// Per cent of packets that are lost, in each direction.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1, 3, 5, 10])]
    losses: Vec<u32>,
    /// Leave out how soon each goes on after a cut.
    #[arg(long)]
    no_cuts: bool,
    /// Where the plot goes (SVG).
    #[arg(long)]
    plot: Option<PathBuf>,
}

/// Of one run.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    mbit: f64,
    p50: Duration,
    p99: Duration,
}

/// Servers of both kinds, a device that has joined, and a line between them.
struct Stage {
    line: Line,
    server: Server,
    _process: Process,
    quic: String,
    http: http::Store,
    identity: PathBuf,
    folder: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() || Command::new("ip").arg("-V").output().is_err() {
        println!("badlink: left out, since it needs root and ip(8) for a network namespace");
        return Ok(());
    }
    let folder = tempfile::tempdir_in(&args.dir)?;
    let stage = Stage::new(folder.path(), args)?;
    figures::row(&[
        &format!("{} Mbit/s, {} ms each way; loss each way", args.mbit, args.delay_ms),
        "by",
        "goodput",
        "4 cameras of 1 Mbit/s: PERSISTED after, p50",
        "p99",
    ]);
    figures::row(&["---"; 5]);
    let mut curves = WAYS.map(|way| plot::Curve { name: way, goodput: Vec::new(), p50: Vec::new() });
    for &loss in &args.losses {
        for (way, curve) in WAYS.iter().zip(&mut curves) {
            stage.line.set_loss(loss);
            if let Some(control) = way.strip_prefix("tcp-")
                && !http::knows(control)
            {
                figures::row(&[&format!("{loss} %"), way, "this kernel has it not", "", ""]);
                continue;
            }
            let medians = medians((0..args.runs).map(|_| stage.measure(way, loss)).collect::<Result<_, _>>()?);
            curve.goodput.push((loss, medians.mbit));
            curve.p50.push((loss, medians.p50.as_secs_f64()));
            figures::row(&[
                &format!("{loss} %"),
                way,
                &format!("{:.1} Mbit/s", medians.mbit),
                &figures::millis(medians.p50),
                &figures::millis(medians.p99),
            ]);
        }
    }
    stage.line.set_loss(0);
    if let Some(path) = &args.plot {
        std::fs::write(path, plot::draw(&curves))?;
    }
    if !args.no_cuts {
        println!();
        resume::run(&stage, args.runs)?;
    }
    Ok(())
}

impl Stage {
    fn new(folder: &Path, args: &Args) -> anyhow::Result<Self> {
        let line = Line::start(args.mbit * 1_000_000 / 8, Duration::from_millis(args.delay_ms))?;
        let server = Server::of_others(&folder.join("data"));
        let port = server.upload_address().rsplit(':').next().unwrap_or_default().to_owned();
        let quic = format!("{}:{port}", line::SERVER);
        let mut command = Command::new(binary("millrace"));
        command.arg("--data").arg(server.data()).args(["serve", "--http", &server.http_address(), "--quic", &quic]);
        let process = Process::start("millrace", &mut command, &folder.join("server.log"));
        until("the server runs", Duration::from_secs(30), || server.data().join("console.key").exists().then_some(()));
        until("the server answers", Duration::from_secs(30), || TcpStream::connect(server.http_address()).ok());
        let agent = Agent::enrolled_at(&folder.join("device"), &server, &quic);
        let joined = agent.once(&e2e::clip("h264-vfr.mkv"), "enrolment");
        anyhow::ensure!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
        let http = http::Store::start(line::SERVER, folder)?;
        Ok(Self { line, server, _process: process, quic, http, identity: agent.state(), folder: folder.to_owned() })
    }

    /// As fast as it goes, then in real time.
    fn measure(&self, way: &str, loss: u32) -> anyhow::Result<Figures> {
        // So few where the line is slow, or a run would take minutes.
        let fragments = if loss < 3 { 16 } else { 4 };
        let fast = self.client(way, &["--fragments", &fragments.to_string()])?;
        let live = self.client(way, &["--fragments", "5", "--real-time"])?;
        Ok(Figures { mbit: fast.mbit, ..live })
    }

    fn client(&self, way: &str, arguments: &[&str]) -> anyhow::Result<Figures> {
        let to = if way.starts_with("tcp") { self.http.address() } else { self.quic.clone() };
        let mut command = self.line.inside(&std::env::current_exe()?);
        command.args(["badlink-client", way, "--to", &to, "--identity"]).arg(&self.identity).args(arguments);
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let figures = || {
            let mut numbers = said.split_whitespace().map(str::parse::<f64>);
            let mut next = || numbers.next()?.ok();
            let (mbit, p50, p99) = (next()?, next()?, next()?);
            Some(Figures { mbit, p50: Duration::from_secs_f64(p50), p99: Duration::from_secs_f64(p99) })
        };
        figures().with_context(|| format!("{way} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

fn medians(mut runs: Vec<Figures>) -> Figures {
    let mut median = |by: fn(&Figures) -> f64| {
        runs.sort_by(|a, b| by(a).total_cmp(&by(b)));
        by(&runs[runs.len() / 2])
    };
    Figures {
        mbit: median(|run| run.mbit),
        p50: Duration::from_secs_f64(median(|run| run.p50.as_secs_f64())),
        p99: Duration::from_secs_f64(median(|run| run.p99.as_secs_f64())),
    }
}
