//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use fragment::{StreamName, WallTime};
use upload::JoinToken;

/// Where a package puts the configuration.
const CONFIG: &str = "/etc/millrace/agent.toml";

/// Millrace's edge agent: cameras in, fragments out.
#[derive(Debug, Parser)]
#[command(name = "millrace-agent", version, about)]
pub(crate) struct Cli {
    /// How log lines look.
    #[arg(long, value_enum, global = true, default_value_t = LogFormat::Text)]
    pub(crate) log: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Capture the cameras of a configuration and upload them, until stopped.
    Run {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Upload one file; ends with 0 only when all of it is stored.
    Once {
        /// The video file: MP4, MKV or MPEG-TS.
        file: PathBuf,
        /// The stream to upload it to.
        #[arg(long, value_name = "NAME")]
        stream: StreamName,
        /// When its first picture was taken, as in 2026-03-01T12:00:00Z. Default: so that it ends now.
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        start_time: Option<WallTime>,
        /// Where to.
        #[command(flatten)]
        target: Target,
    },
    /// Make this device known to a server, once; `millrace device add NAME` there prints what to type here.
    Join {
        /// The join token; good once.
        token: JoinToken,
        /// The server's host and port, for a configuration that does not name it.
        #[arg(long, value_name = "HOST:PORT")]
        server: Option<String>,
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = CONFIG)]
        config: PathBuf,
    },
    /// Look at, export, play and upload what lies on this device, beside a running agent or without one.
    Recordings {
        /// What to do with it.
        #[command(subcommand)]
        command: Recordings,
    },
    /// Find ONVIF cameras, and print what to write into the configuration for them.
    Discover(Discover),
    /// Say what is wrong with a configuration, its server and its cameras.
    Check {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// What to do with recordings.
#[derive(Debug, Subcommand)]
pub(crate) enum Recordings {
    /// List the streams, what there is of each, and what of it is uploaded.
    List {
        /// Only this stream.
        stream: Option<StreamName>,
        /// Where they are.
        #[command(flatten)]
        place: Place,
    },
    /// List what was dropped, and why.
    Drops {
        /// Where the list is.
        #[command(flatten)]
        place: Place,
    },
    /// Write a stream's recordings into one file, as they were coded.
    Export {
        /// The stream.
        stream: StreamName,
        /// From when on: 2026-03-01T12:00:00Z, or without a zone in local time. Default: all.
        #[arg(long, value_name = "TIME", value_parser = parse_local_time)]
        from: Option<WallTime>,
        /// Until when.
        #[arg(long, value_name = "TIME", value_parser = parse_local_time)]
        to: Option<WallTime>,
        /// The file, named .mkv or .mp4; - writes Matroska to standard output, for a player.
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        /// Where they are.
        #[command(flatten)]
        place: Place,
    },
    /// Play a stream's recordings on this machine's screen.
    Play {
        /// The stream.
        stream: StreamName,
        /// From when on.
        #[arg(long, value_name = "TIME", value_parser = parse_local_time)]
        from: Option<WallTime>,
        /// Where they are.
        #[command(flatten)]
        place: Place,
    },
    /// Have the running agent upload a range of time, whatever its mode and hours say.
    Upload {
        /// The stream.
        stream: StreamName,
        /// From when on: 2026-03-01T12:00:00Z, or without a zone in local time.
        #[arg(long, value_name = "TIME", value_parser = parse_local_time)]
        from: WallTime,
        /// Until when.
        #[arg(long, value_name = "TIME", value_parser = parse_local_time)]
        to: WallTime,
        /// Where the running agent keeps them.
        #[command(flatten)]
        place: Place,
    },
}

/// Where the agent keeps its state.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Place {
    /// As this configuration says.
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub(crate) config: PathBuf,
    /// In this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) state: Option<PathBuf>,
}

/// Where to upload to: a configuration, or its parts.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Take server and state folder from this configuration.
    #[arg(long, value_name = "FILE", required_unless_present = "server")]
    pub(crate) config: Option<PathBuf>,
    /// The server's host and port.
    #[arg(long, value_name = "HOST:PORT", requires = "state")]
    pub(crate) server: Option<String>,
    /// The join token; needed the first time.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// The folder for the device's certificate and the spool.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) state: Option<PathBuf>,
}

/// Which cameras, and how they let in.
#[derive(Debug, Args)]
pub(crate) struct Discover {
    /// The user that the cameras know.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// A file that holds the user's password.
    #[arg(long, value_name = "FILE", requires = "user", conflicts_with = "ask")]
    pub(crate) password_file: Option<PathBuf>,
    /// Ask for the password.
    #[arg(long, requires = "user")]
    pub(crate) ask: bool,
    /// One camera, by host, host:port or the name that it keeps; default: all in the local networks.
    #[arg(long, value_name = "HOST", value_parser = parse_place)]
    pub(crate) address: Option<onvif::address::Place>,
    /// How long to listen for answers.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: std::time::Duration,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn parse_place(text: &str) -> Result<onvif::address::Place, String> {
    let advice = || "write a host, host:port or a name as in urn:uuid:…".to_owned();
    onvif::address::Place::parse(text).ok_or_else(advice)
}

fn parse_time(text: &str) -> Result<WallTime, String> {
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|error| format!("{error}; write a date, a time and a zone, as in 2026-03-01T12:00:00Z"))?;
    i64::try_from(time.as_nanosecond()).map(WallTime::from_nanos).map_err(|_| "it is out of range".to_owned())
}

/// The same, or a date and a time as a clock on the wall here shows it.
fn parse_local_time(text: &str) -> Result<WallTime, String> {
    let Ok(local) = text.parse::<jiff::civil::DateTime>() else {
        return parse_time(text);
    };
    // A text with a zone is one of a local time, too.
    parse_time(text).or_else(|_| {
        let zoned = local.to_zoned(jiff::tz::TimeZone::system()).map_err(|error| error.to_string())?;
        i64::try_from(zoned.timestamp().as_nanosecond())
            .map(WallTime::from_nanos)
            .map_err(|_| "it is out of range".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_range_may_be_in_local_time() {
        let zoned = parse_local_time("2026-03-01T12:00:00+02:00");
        assert_eq!(zoned, parse_time("2026-03-01T10:00:00Z"));
        let local = jiff::civil::date(2026, 3, 1).at(12, 0, 0, 0).to_zoned(jiff::tz::TimeZone::system()).unwrap();
        let expected = WallTime::from_millis(local.timestamp().as_millisecond());
        assert_eq!(parse_local_time("2026-03-01 12:00"), Ok(expected));
        assert_eq!(parse_local_time("2026-03-01T12:00:00"), Ok(expected));
        assert!(parse_local_time("noon").is_err());
    }

    #[test]
    fn a_start_time_needs_its_zone() {
        assert_eq!(parse_time("1970-01-01T00:00:01Z"), Ok(WallTime::from_millis(1000)));
        assert!(parse_time("yesterday").unwrap_err().contains("as in 2026-03-01T12:00:00Z"));
    }
}
