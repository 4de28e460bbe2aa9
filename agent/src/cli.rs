//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use fragment::{StreamName, WallTime};

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
    /// Look after what is recorded on this device.
    Recordings {
        /// What to do.
        #[command(subcommand)]
        command: Recordings,
    },
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
    /// Have the running agent upload a range of time, whatever its mode and hours say.
    Upload {
        /// The stream.
        #[arg(value_name = "STREAM")]
        stream: StreamName,
        /// From when, as in 2026-03-01T12:00:00Z.
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        from: WallTime,
        /// Until when.
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        to: WallTime,
        /// The configuration of the running agent.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
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

fn parse_time(text: &str) -> Result<WallTime, String> {
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|error| format!("{error}; write a date, a time and a zone, as in 2026-03-01T12:00:00Z"))?;
    i64::try_from(time.as_nanosecond()).map(WallTime::from_nanos).map_err(|_| "it is out of range".to_owned())
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
    fn a_start_time_needs_its_zone() {
        assert_eq!(parse_time("1970-01-01T00:00:01Z"), Ok(WallTime::from_millis(1000)));
        assert!(parse_time("yesterday").unwrap_err().contains("as in 2026-03-01T12:00:00Z"));
    }
}
