//! The command line: raw arguments, and what each command prints.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::{self, AskError};
use crate::config::Config;
use crate::data_folder::DataFolder;
use crate::office::{Answer, Command, DeviceInfo, Office};
use crate::serve::{Opened, Server};
use crate::storage::StreamInfo;
use crate::telemetry;

/// Takes video fragments from devices, keeps them sealed, plays them in a browser.
#[derive(Debug, Parser)]
#[command(name = "millrace", version)]
pub struct Arguments {
    /// The folder that holds everything the server stores.
    #[arg(long, global = true, default_value = Config::DATA)]
    data: PathBuf,
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the server.
    Serve {
        /// Where browsers and programs come in (TCP).
        #[arg(long, default_value = Config::HTTP)]
        http: SocketAddr,
        /// Where devices come in (UDP).
        #[arg(long, default_value = Config::QUIC)]
        quic: SocketAddr,
        /// Write logs as JSON, one object per line.
        #[arg(long)]
        log_json: bool,
    },
    /// Add, list and revoke devices.
    #[command(subcommand)]
    Device(DeviceVerb),
    /// Create, list, describe, update and delete streams.
    #[command(subcommand)]
    Stream(StreamVerb),
}

#[derive(Debug, Subcommand)]
enum DeviceVerb {
    /// Add a device, or let a known one enrol anew: prints a join token, good once. Earlier tokens become void.
    Add {
        /// Its name.
        name: String,
        /// A stream that it may write to; may be given several times. Without it: any.
        #[arg(long = "stream")]
        streams: Vec<String>,
        /// How long the token is good: at most 24h.
        #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
        valid_for: Duration,
    },
    /// List all devices.
    List,
    /// Withdraw a device's certificates and tokens, and close its connections.
    Revoke {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
enum StreamVerb {
    /// Create a stream. Streams also come into being at their first fragment.
    Create {
        /// Its name.
        name: String,
        /// How long its fragments are kept: 1h to 7d.
        #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
        retention: Duration,
    },
    /// List all streams.
    List,
    /// Say everything about one stream.
    Describe {
        /// Its name.
        name: String,
    },
    /// Change a stream's retention.
    Update {
        /// Its name.
        name: String,
        /// How long its fragments are kept: 1h to 7d.
        #[arg(long, value_parser = humantime::parse_duration)]
        retention: Duration,
    },
    /// Delete a stream and everything in it, at once and for good.
    Delete {
        /// Its name.
        name: String,
    },
}

impl Arguments {
    /// Does what was asked for.
    pub fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let command = match self.command {
            Verb::Serve { http, quic, log_json } => {
                telemetry::start_logs(log_json);
                let config = Config { data: self.data, http, quic };
                return runtime.block_on(serve(config));
            }
            Verb::Device(verb) => verb.command(),
            Verb::Stream(verb) => verb.command(),
        };
        let answer = runtime.block_on(ask(&self.data, command.clone()))?;
        print(&command, answer)
    }
}

impl DeviceVerb {
    fn command(self) -> Command {
        match self {
            Self::Add { name, streams, valid_for } => {
                Command::AddDevice { name, streams, validity_seconds: valid_for.as_secs() }
            }
            Self::List => Command::ListDevices,
            Self::Revoke { name } => Command::RevokeDevice { name },
        }
    }
}

impl StreamVerb {
    fn command(self) -> Command {
        match self {
            Self::Create { name, retention } => Command::CreateStream { name, retention_seconds: retention.as_secs() },
            Self::List => Command::ListStreams,
            Self::Describe { name } => Command::DescribeStream { name },
            Self::Update { name, retention } => Command::UpdateStream { name, retention_seconds: retention.as_secs() },
            Self::Delete { name } => Command::DeleteStream { name },
        }
    }
}

/// Runs the server until SIGTERM or SIGINT.
async fn serve(config: Config) -> anyhow::Result<()> {
    // Before the start: a signal that comes during it is not lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = Server::start(config).await?;
    println!("Devices: {}", server.quic());
    println!("Watch: {}", server.watch_url());
    tracing::info!(http = %server.http(), quic = %server.quic(), "the server runs");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    server.stop().await;
    Ok(())
}

/// Asks the running server, or does it here when none runs. One that is just starting or ending is waited for.
async fn ask(data: &Path, command: Command) -> anyhow::Result<Answer> {
    let folder = DataFolder::open(data)?;
    loop {
        match admin::ask(&folder.admin_socket(), &command).await {
            Ok(answer) => return Ok(answer),
            Err(AskError::NotRunning) => {}
            Err(error) => return Err(error.into()),
        }
        let opened =
            Opened::when_free(&folder).await.context("no server answers, and its data can't be opened here")?;
        if let Some(Opened { storage, ca, devices, .. }) = opened {
            return Ok(Office { ca, devices, storage, quic: None }.carry_out(command).await);
        }
    }
}

/// Prints an answer.
fn print(command: &Command, answer: Answer) -> anyhow::Result<()> {
    let out = &mut io::stdout().lock();
    match answer {
        Answer::Done => {}
        Answer::Token { token, quic } => print_token(out, command, &token, quic.as_deref())?,
        Answer::Devices(devices) => print_devices(out, &devices)?,
        Answer::Streams(streams) => print_streams(out, &streams)?,
        Answer::Failed(why) => bail!(why),
    }
    Ok(())
}

/// The five lines of configuration that make a camera of the reader's arrive.
fn print_token(out: &mut impl io::Write, command: &Command, token: &str, quic: Option<&str>) -> io::Result<()> {
    let stream = match command {
        Command::AddDevice { name, streams, .. } => streams.first().unwrap_or(name),
        _ => "front",
    };
    let unknown = format!("this-machine:{}", Config::QUIC_PORT);
    writeln!(out, "# Paste this into the device's millrace-agent.toml. The token is good once.")?;
    writeln!(out, "server.address = \"{}\"", quic.unwrap_or(&unknown))?;
    writeln!(out, "server.token = \"{token}\"")?;
    writeln!(out, "[[camera]]")?;
    writeln!(out, "stream = \"{stream}\"")?;
    writeln!(out, "url = \"rtsp://user:password@camera/path\"")
}

fn print_devices(out: &mut impl io::Write, devices: &[DeviceInfo]) -> io::Result<()> {
    writeln!(out, "{:24} {:9} {:20} {:20} STREAMS", "DEVICE", "STATE", "CERTIFICATE SINCE", "CERTIFICATE UNTIL")?;
    for info in devices {
        let streams = if info.device.streams.is_empty() { "any".to_owned() } else { info.device.streams.join(",") };
        let (since, until) = (time(info.device.joined_ns), time(info.device.expires_ns));
        writeln!(out, "{:24} {:9} {since:20} {until:20} {streams}", info.name, info.state())?;
    }
    Ok(())
}

fn print_streams(out: &mut impl io::Write, streams: &[StreamInfo]) -> io::Result<()> {
    writeln!(
        out,
        "{:24} {:>9} {:>9} {:>14} {:20} {:20}",
        "STREAM", "RETENTION", "FRAGMENTS", "BYTES", "FIRST", "LAST"
    )?;
    for info in streams {
        let retention = humantime::format_duration(Duration::from_secs(info.retention_seconds)).to_string();
        let (first, last) = (time(info.first_ns), time(info.last_ns));
        let (fragments, bytes) = (info.fragments, info.bytes);
        writeln!(out, "{:24} {retention:>9} {fragments:>9} {bytes:>14} {first:20} {last:20}", info.name)?;
    }
    Ok(())
}

/// A time as the operator reads it, to the second.
fn time(nanos: Option<i64>) -> String {
    let time = nanos.and_then(|nanos| Timestamp::from_second(nanos.div_euclid(1_000_000_000)).ok());
    time.map_or_else(|| "-".to_owned(), |time| time.to_string())
}
