//! A network camera with ONVIF: two streams by RTSP, and a device in front of them that can be discovered.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::thread;

use clap::Parser;
use samples::onvif::{Device, Profile, Settings};
use samples::rtsp::{Camera, Scheme};

/// A camera with ONVIF, a main and a sub stream. It answers calls on the loopback interface.
#[derive(Parser)]
struct Arguments {
    /// The clip of the main stream.
    #[arg(long)]
    clip: PathBuf,
    /// The clip of the sub stream.
    #[arg(long)]
    sub_clip: PathBuf,
    /// The port of its ONVIF services; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The user name that it wants, for ONVIF and RTSP.
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// The password.
    #[arg(long, requires = "user")]
    password: Option<String>,
    /// How many seconds its clock is ahead.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    clock_ahead: i64,
    /// Have only the older media service, as old cameras.
    #[arg(long)]
    old: bool,
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let arguments = Arguments::parse();
    let credentials = arguments.user.zip(arguments.password);
    let camera = |clip: PathBuf, path: &str| {
        Camera::start(&samples::rtsp::Settings {
            path: path.to_owned(),
            credentials: credentials.clone(),
            scheme: Scheme::Digest,
            ..samples::rtsp::Settings::new(clip)
        })
    };
    let (main, sub) = (camera(arguments.clip, "/main")?, camera(arguments.sub_clip, "/sub")?);
    let profile = |token: &str, resolution, fps, url| Profile {
        token: token.to_owned(),
        codec: "H264".to_owned(),
        resolution,
        fps,
        url,
    };
    let device = Device::start(Settings {
        port: arguments.port,
        clock_ahead: arguments.clock_ahead,
        media2: !arguments.old,
        answers_calls: true,
        profiles: vec![
            profile("MainProfile", (320, 180), 25, main.url()),
            profile("SubProfile", (160, 90), 15, sub.url()),
        ],
        credentials,
        ..Settings::default()
    })?;
    println!("{}", device.address());
    io::stdout().flush()?;
    loop {
        thread::park();
    }
}
