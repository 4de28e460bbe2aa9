//! `millrace device …`: its arguments, and what it prints.

mod standing;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytesize::ByteSize;
use clap::{Args, Subcommand};
use fragment::WallTime;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::config::Config;
use crate::fleet::{ConfigurationView, FetchView, PushedVersion};
use crate::office::{Answer, Command, Configure};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
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
    /// List all devices, and how they are.
    List {
        /// As JSON, with everything that `show` tells.
        #[arg(long)]
        json: bool,
    },
    /// Say everything about one device: its cameras, its spool, its clock, its machine, its configuration.
    Show {
        /// Its name.
        name: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Push a configuration to a device, or look at those that were pushed.
    Configure(ConfigureArguments),
    /// Close a camera of a device and open it again.
    RestartCamera {
        /// The device.
        name: String,
        /// The stream that the camera feeds.
        stream: String,
    },
    /// Fetch a picture of what a camera sees now: its newest key frame, as a JPEG.
    Snapshot {
        /// The device.
        name: String,
        /// The stream that the camera feeds.
        stream: String,
        /// The file to write.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// At most so many pixels wide.
        #[arg(long, default_value_t = 1280, value_parser = clap::value_parser!(u32).range(16..=8192))]
        width: u32,
    },
    /// Have a device upload what it has recorded in a range of time, whatever its mode and hours say.
    Fetch {
        /// The device.
        name: String,
        /// The stream that it was recorded for.
        stream: String,
        /// From when on: 2026-03-01T12:00:00Z, or without a zone in this machine's local time.
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        from: WallTime,
        /// Until when.
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        to: WallTime,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// See whether a device answers, and how quickly.
    Ping {
        /// The device.
        name: String,
    },
    /// Withdraw a device's certificates and tokens, and close its connections.
    Revoke {
        /// Its name.
        name: String,
    },
}

/// One of: push, look, look back.
#[derive(Debug, Args)]
pub(super) struct ConfigureArguments {
    /// The device.
    name: String,
    /// Push this file: cameras, spool, uplink and server.address, as in the device's own file. Each section that it
    /// has replaces the device's own.
    #[arg(long, value_name = "FILE", group = "what")]
    file: Option<PathBuf>,
    /// Push nothing: the device works by its own file again.
    #[arg(long, group = "what")]
    clear: bool,
    /// Push an earlier version again.
    #[arg(long, value_name = "VERSION", group = "what")]
    rollback: Option<u64>,
    /// Print what was pushed last, without passwords.
    #[arg(long, group = "what")]
    show: bool,
    /// List the versions that are kept.
    #[arg(long, group = "what")]
    history: bool,
    /// With --show: another version.
    #[arg(long, requires = "show")]
    version: Option<u64>,
    /// With --show: print passwords too.
    #[arg(long, requires = "show")]
    secrets: bool,
}

/// How an answer is shown.
#[derive(Debug)]
pub(super) enum Form {
    List,
    Whole,
    Json,
    File(PathBuf),
}

impl Verb {
    /// What to ask for, and how to show what comes.
    pub(super) fn resolve(self) -> anyhow::Result<(Command, Form)> {
        Ok(match self {
            Self::Add { name, streams, valid_for } => {
                (Command::AddDevice { name, streams, validity_seconds: valid_for.as_secs() }, Form::Whole)
            }
            Self::List { json } => (Command::ListDevices, if json { Form::Json } else { Form::List }),
            Self::Show { name, json } => (Command::ShowDevice { name }, if json { Form::Json } else { Form::Whole }),
            Self::Configure(arguments) => (arguments.resolve()?, Form::Whole),
            Self::RestartCamera { name, stream } => (Command::RestartCamera { name, stream }, Form::Whole),
            Self::Snapshot { name, stream, output, width } => {
                (Command::Snapshot { name, stream, width_max: width }, Form::File(output))
            }
            Self::Fetch { name, stream, from, to, json } => {
                let (from_ns, to_ns) = (from.as_nanos(), to.as_nanos());
                (Command::Fetch { name, stream, from_ns, to_ns }, if json { Form::Json } else { Form::Whole })
            }
            Self::Ping { name } => (Command::PingDevice { name }, Form::Whole),
            Self::Revoke { name } => (Command::RevokeDevice { name }, Form::Whole),
        })
    }
}

impl ConfigureArguments {
    fn resolve(self) -> anyhow::Result<Command> {
        let Self { name, file, clear, rollback, show, history, version, secrets } = self;
        let wanted = match (file, rollback) {
            (Some(file), _) => {
                let toml = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
                Configure::Push { toml, by: operator() }
            }
            (None, Some(version)) => Configure::PushAgain { version, by: operator() },
            _ if clear => Configure::Push { toml: String::new(), by: operator() },
            _ if show => Configure::Show { version, with_secrets: secrets },
            _ if history => Configure::History,
            _ => bail!("say what to do: --file FILE, --clear, --rollback VERSION, --show or --history"),
        };
        Ok(Command::Configure { name, wanted })
    }
}

/// Who gives the command, for the history.
fn operator() -> String {
    let named = |name: &str| std::env::var(name).ok().filter(|user| !user.is_empty());
    named("SUDO_USER")
        .or_else(|| named("USER"))
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// Prints an answer.
pub(super) fn print(command: &Command, answer: Answer, form: &Form) -> anyhow::Result<()> {
    let out = &mut io::stdout().lock();
    match (answer, form) {
        (Answer::Token { token, quic }, _) => print_token(out, command, &token, quic.as_deref())?,
        (Answer::Devices(devices), Form::Json) => match (command, &devices[..]) {
            (Command::ShowDevice { .. }, [device]) => write_json(out, device)?,
            _ => write_json(out, &devices)?,
        },
        (Answer::Devices(devices), Form::List) => standing::print_list(out, &devices)?,
        (Answer::Devices(devices), _) => devices.iter().try_for_each(|device| standing::print_whole(out, device))?,
        (Answer::Configured { version }, _) => print_configured(out, command, version)?,
        (Answer::Configuration(text), _) => write!(out, "{text}")?,
        (Answer::Configurations { versions, device }, _) => print_history(out, &versions, &device)?,
        (Answer::Said(text), _) => writeln!(out, "{text}")?,
        (Answer::Picture(picture), Form::File(path)) => {
            let picture = STANDARD.decode(picture).context("the picture can't be read")?;
            std::fs::write(path, &picture).with_context(|| path.display().to_string())?;
            writeln!(out, "{}: {}", path.display(), ByteSize(picture.len() as u64))?;
        }
        (Answer::Fetching(fetched), Form::Json) => write_json(out, &fetched)?,
        (Answer::Fetching(fetched), _) => print_fetching(out, command, fetched)?,
        (Answer::Done, _) => {}
        (Answer::Failed(why), _) => bail!(why),
        (other, _) => bail!("an answer to another command: {other:?}"),
    }
    Ok(())
}

fn write_json(out: &mut impl io::Write, value: &impl serde::Serialize) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    Ok(writeln!(out)?)
}

/// What makes the reader's device and its camera arrive: a command to type, or lines of configuration.
fn print_token(out: &mut impl io::Write, command: &Command, token: &str, quic: Option<&str>) -> io::Result<()> {
    let stream = match command {
        Command::AddDevice { name, streams, .. } => streams.first().unwrap_or(name),
        _ => "front",
    };
    let unknown = format!("this-machine:{}", Config::QUIC_PORT);
    let address = quic.unwrap_or(&unknown);
    writeln!(out, "# Type this on the device, as root. The token is good once.")?;
    writeln!(out, "millrace-agent join --server {address} {token}")?;
    writeln!(out, "\n# And give it a camera in its configuration, /etc/millrace/agent.toml.")?;
    writeln!(out, "[[camera]]\nstream = \"{stream}\"\nurl = \"rtsp://user:password@camera/path\"")?;
    writeln!(out, "\n# Instead of being typed, server and token may stand there too.")?;
    writeln!(out, "[server]\naddress = \"{address}\"\ntoken = \"{token}\"")
}

fn print_configured(out: &mut impl io::Write, command: &Command, version: u64) -> io::Result<()> {
    let Command::Configure { name, .. } = command else { return Ok(()) };
    writeln!(
        out,
        "Version {version} goes to {name} as soon as it is connected. `millrace device show {name}` tells what"
    )?;
    writeln!(out, "it makes of it; it goes back by itself if it loses the server with it.")
}

fn print_fetching(out: &mut impl io::Write, command: &Command, fetched: FetchView) -> io::Result<()> {
    let Command::Fetch { name, stream, .. } = command else { return Ok(()) };
    let FetchView { fragments, bytes, milliseconds, more } = fetched;
    if fragments == 0 {
        writeln!(out, "{name} has nothing whole of {stream} in this range yet.")?;
    } else {
        let (bytes, seconds) = (ByteSize(bytes), Duration::from_millis(milliseconds).as_secs_f64());
        writeln!(out, "{name} has {fragments} fragments of {stream} in this range, {bytes} that play {seconds:.1} s.")?;
        writeln!(out, "They are on their way.")?;
    }
    if more {
        writeln!(out, "What it captures before the range ends follows.")?;
    }
    Ok(())
}

fn print_history(out: &mut impl io::Write, versions: &[PushedVersion], device: &ConfigurationView) -> io::Result<()> {
    writeln!(out, "{:>7}  {:20} {:16} STATE", "VERSION", "PUSHED", "BY")?;
    for PushedVersion { version, at_ns, by } in versions {
        let state = match &device.failed {
            _ if *version == device.kept => "kept".to_owned(),
            _ if Some(*version) == device.on_trial => "on trial".to_owned(),
            Some(failed) if failed.version == *version => failed.state.to_string(),
            _ => String::new(),
        };
        writeln!(out, "{version:>7}  {:20} {by:16} {state}", super::time(Some(*at_ns)))?;
    }
    Ok(())
}

/// A time with its zone, or as a clock on the wall here shows it.
fn parse_time(text: &str) -> Result<WallTime, String> {
    let time = text.parse::<Timestamp>().or_else(|error| {
        // A text with a zone is one of a local time, too, and was read above.
        let local = text.parse::<DateTime>().map_err(|_| error)?;
        local.to_zoned(TimeZone::system()).map(|zoned| zoned.timestamp())
    });
    let time = time.map_err(|error| format!("{error}; write a date and a time, as in 2026-03-01T12:00:00Z"))?;
    i64::try_from(time.as_nanosecond()).map(WallTime::from_nanos).map_err(|_| "it is out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_zone_or_is_local() {
        let utc = WallTime::from_millis(1_772_359_200_000);
        assert_eq!(parse_time("2026-03-01T10:00:00Z"), Ok(utc));
        assert_eq!(parse_time("2026-03-01T12:00:00+02:00"), Ok(utc));
        let local = jiff::civil::date(2026, 3, 1).at(12, 0, 0, 0).to_zoned(TimeZone::system()).unwrap();
        let expected = WallTime::from_millis(local.timestamp().as_millisecond());
        assert_eq!(parse_time("2026-03-01 12:00"), Ok(expected));
        assert!(parse_time("noon").unwrap_err().contains("as in 2026-03-01T12:00:00Z"));
    }

    #[test]
    fn what_is_on_its_way_is_said() {
        let command = Command::Fetch { name: "garden".to_owned(), stream: "yard".to_owned(), from_ns: 1, to_ns: 2 };
        let said = |fragments, more| {
            let mut out = Vec::new();
            let fetched = FetchView { fragments, bytes: 2_000_000 * fragments, milliseconds: 2040 * fragments, more };
            print_fetching(&mut out, &command, fetched).unwrap();
            String::from_utf8(out).unwrap()
        };
        let three = said(3, false);
        assert!(three.starts_with("garden has 3 fragments of yard in this range,"), "{three}");
        assert!(three.contains("play 6.1 s") && three.ends_with("They are on their way.\n"), "{three}");
        let none = said(0, true);
        assert!(none.contains("nothing whole of yard") && none.ends_with("before the range ends follows.\n"), "{none}");
    }
}
