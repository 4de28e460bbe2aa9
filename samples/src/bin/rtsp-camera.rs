//! Serves a clip in a loop as a network camera would; `samples/README.md` has the commands that it takes.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use clap::Parser;
use samples::rtsp::{Camera, Scheme, Settings};

/// An RTSP camera that shows a clip in a loop. Takes commands on standard input: stall SECONDS, drop,
/// restart SECONDS, jump SECONDS.
#[derive(Parser)]
struct Arguments {
    /// The clip to show.
    #[arg(long)]
    clip: PathBuf,
    /// The port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 8554)]
    port: u16,
    /// The path of the stream.
    #[arg(long, default_value = "/cam")]
    path: String,
    /// The user name that viewers need.
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// The password that viewers need.
    #[arg(long, requires = "user")]
    password: Option<String>,
    /// Take the password in the clear, as old cameras do, and not by digest.
    #[arg(long, requires = "password")]
    basic: bool,
    /// A file to note each picture in that is sent: when, in ms since 1970, and which picture of the clip.
    #[arg(long)]
    log: Option<PathBuf>,
    /// A TCP port to take commands on as well.
    #[arg(long)]
    control_port: Option<u16>,
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let arguments = Arguments::parse();
    let camera = Arc::new(Camera::start(&Settings {
        clip: arguments.clip,
        port: arguments.port,
        path: arguments.path,
        credentials: arguments.user.zip(arguments.password),
        scheme: if arguments.basic { Scheme::Basic } else { Scheme::Digest },
        log: arguments.log,
    })?);
    println!("{}", camera.url());
    if let Some(port) = arguments.control_port {
        println!("control {}", camera.listen_for_commands(port)?);
    }
    for line in io::stdin().lock().lines() {
        println!("{}", camera.obey(&line?));
        io::stdout().flush()?;
    }
    // Without a terminal there is no standard input: serve until the process is ended.
    loop {
        thread::park();
    }
}
