//! The configuration: TOML as it was written, then settings that can't be wrong.
//!
//! Every problem is found in one go and said in words: which key, and what to write. docs/agent-configuration.md has every key.
//!
//! ```toml
//! state = "/var/lib/millrace-agent"
//!
//! [server]                         # none of it, once `millrace-agent join` has joined one
//! address = "video.example.org:8443"
//! token = "mrj1_..."            # or token_file = "join.token"; needed until the device has joined
//!
//! [spool]
//! bytes_max = "8 GiB"
//! age_max = "7 days"            # what waits longer is dropped
//! when_full = "drop-oldest"     # or "stop-recording"
//! sync = "fragment"             # or an interval, as "10s"
//! keep = "24h"                  # recordings stay so long on the device, also if they are uploaded
//!
//! [metrics]
//! listen = "127.0.0.1:9273"     # Prometheus; none where this is missing
//!
//! [fleet]
//! pushed = "accept"             # or "ignore": whether the server may push a configuration
//! trial = "2m"
//!
//! [[camera]]
//! stream = "front"
//! url = "rtsp://192.168.1.20/stream1"
//! ```

mod aws;
mod camera;
mod fleet;
mod metrics;
mod problems;
mod pushed;
mod raw;
mod spool;
#[cfg(test)]
mod tests;
mod tls;
mod uplink;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use upload::JoinToken;

use crate::limits;

pub use aws::Aws;
pub use camera::{Camera, Secret, Source, Transport, V4l2Format};
pub use fleet::Fleet;
pub use problems::{LeftOut, Problems};
pub use pushed::Local;
pub use tls::TlsTrust;
pub use uplink::{Congestion, Uplink};

/// What the agent is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where it keeps its state.
    pub state: PathBuf,
    /// Where the fragments go, unless `aws` says otherwise: then no one looks here.
    pub server: Server,
    /// Where the fragments go with `destination = "aws"`.
    pub aws: Option<Aws>,
    /// How much of what is captured stays on the device, and for how long.
    pub spool: ::spool::Settings,
    /// Where metrics can be read, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// What uploads may take of the line, and when.
    pub uplink: Uplink,
    /// Where video comes from.
    pub cameras: Vec<Camera>,
}

/// The server to upload to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `host:port`.
    pub address: String,
    /// What the device joins with, if it has not yet.
    pub token: Option<JoinToken>,
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("the configuration {path} can't be read: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, or has a key that does not exist.
    #[error("the configuration can't be understood: {0}")]
    Syntax(String),
    /// It is TOML, and says what can't be.
    #[error("the configuration has {}:{}", count(.0), list(.0))]
    Wrong(Problems),
}

impl ConfigError {
    /// Whether another look may find it well: a file, or the disk that it lies on, can't be read now.
    pub fn may_pass(&self) -> bool {
        use std::io::ErrorKind::{InvalidData, IsADirectory, NotFound, PermissionDenied};
        match self {
            Self::Unreadable { source, .. } => {
                !matches!(source.kind(), InvalidData | IsADirectory | NotFound | PermissionDenied)
            }
            Self::Syntax(_) => false,
            Self::Wrong(problems) => problems.may_pass(),
        }
    }
}

impl Config {
    /// Reads and checks a file. Paths in it are relative to it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_or_at(path, None)
    }

    /// The same; `server` is the server's address if the file names none.
    pub fn load_or_at(path: &Path, server: Option<&str>) -> Result<Self, ConfigError> {
        Self::parse_or_at(&read(path)?, path.parent().unwrap_or(Path::new(".")), server)
    }

    /// Checks a text. Paths in it are relative to `folder`.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, ConfigError> {
        Self::parse_or_at(text, folder, None)
    }

    fn parse_or_at(text: &str, folder: &Path, server: Option<&str>) -> Result<Self, ConfigError> {
        let raw: raw::Config = toml::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
        let raw = raw.or_at(server);
        let mut problems = Problems::default();
        let config = raw.resolve(folder, &mut problems);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigError::Wrong(problems)),
        }
    }
}

impl Server {
    /// Checks `host:port`.
    pub fn check_address(address: &str) -> Result<(), String> {
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(1..)) => Ok(()),
            _ => Err(format!(
                "server.address is {address:?}: write host and port, as in address = \"video.example.org:8443\""
            )),
        }
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > limits::CONFIG_BYTES_MAX {
        return Err(ConfigError::Syntax(format!("{} is far too large to be one", path.display())));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

fn count(problems: &[String]) -> String {
    match problems.len() {
        1 => "a problem".to_owned(),
        n => format!("{n} problems"),
    }
}

fn list(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("\n  - {problem}")).collect()
}
