//! Serves a clip in a loop as a network camera would; `samples/README.md` has the commands that it takes.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use clap::Parser;
use samples::rtsp::{Camera, Clocks, Coding, Scheme, Settings};

/// An RTSP camera that shows a clip in a loop. Takes commands on standard input: stall SECONDS, blind SECONDS,
/// vanish SECONDS, drop, restart SECONDS, jump SECONDS, set-clock SECONDS, show NUMBER, lose NUMBER.
#[derive(Parser)]
struct Arguments {
    /// The clip to show.
    #[arg(long)]
    clip: PathBuf,
    /// A clip that `show 1` shows; the next is `show 2`.
    #[arg(long)]
    also: Vec<PathBuf>,
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
    /// A file with certificate and private key as PEM: the camera then speaks RTSP over TLS.
    #[arg(long)]
    tls: Option<PathBuf>,
    /// After how many seconds a viewer over UDP who does not keep his session alive loses it.
    #[arg(long)]
    session_seconds: Option<u32>,
    /// Code pictures or sound anew: mjpeg, g726-32, opus, l16 and others. May be given twice.
    #[arg(long, value_name = "CODING")]
    recode: Vec<Coding>,
    /// A file to note each picture in that is sent: when, in ms since 1970, and which picture of the clip.
    #[arg(long)]
    log: Option<PathBuf>,
    /// A TCP port to take commands on as well.
    #[arg(long)]
    control_port: Option<u16>,
    /// The RTP timestamp to begin with: 4294742296 wraps after 2.5 s of video.
    #[arg(long)]
    rtp_offset: Option<u32>,
    /// By how much the camera's crystal is fast, in millionths; slow if negative.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    drift_ppm: i64,
    /// How many seconds the camera's calendar is ahead; behind if negative.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    clock_ahead: i64,
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let arguments = Arguments::parse();
    let camera = Arc::new(Camera::start(&Settings {
        clip: arguments.clip,
        others: arguments.also,
        port: arguments.port,
        path: arguments.path,
        credentials: arguments.user.zip(arguments.password),
        scheme: if arguments.basic { Scheme::Basic } else { Scheme::Digest },
        clocks: Clocks {
            rtp_offset: arguments.rtp_offset,
            drift_ppm: arguments.drift_ppm,
            calendar_nanos: arguments.clock_ahead.saturating_mul(1_000_000_000),
        },
        tls: arguments.tls.map(std::fs::read_to_string).transpose()?,
        session_seconds: arguments.session_seconds,
        recoded: arguments.recode,
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
