//! Resolved settings: what the rest of the server is started with. `cli` makes them from raw arguments.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use crate::key_service::KeySettings;
use crate::kinesis_video::ReadQuotas;
use crate::limits::Profile;
pub use crate::shared_store::SharedStore;

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything that it stores lies.
    pub data: PathBuf,
    /// Where browsers and programs come in.
    pub http: SocketAddr,
    /// What programs are told to reach this server by: scheme, host and port. The address of [`Config::http`] unless it is
    /// known by another.
    pub public_url: Option<String>,
    /// Where devices come in (UDP).
    pub quic: SocketAddr,
    /// Where devices trade their certificates for temporary access keys, if they may.
    pub credentials: Option<SocketAddr>,
    /// Disk space that is kept free by giving up the oldest fragments, if it is.
    pub keep_free: Option<u64>,
    /// Where folders lie into which images of fragments go, if they may.
    pub images: Option<PathBuf>,
    /// What programs written for AWS may do.
    pub limits: Limits,
    /// How what is stored is opened.
    pub storage: StorageSettings,
}

/// Whose limits hold for programs written for AWS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Limits {
    /// This server's own, which are wider.
    #[default]
    Own,
    /// AWS's quotas.
    Aws,
}

impl Limits {
    /// Of what is put.
    pub(crate) fn profile(self) -> &'static Profile {
        match self {
            Self::Own => &Profile::OWN,
            Self::Aws => &Profile::AWS,
        }
    }

    /// Of what is read.
    pub(crate) fn reading(self) -> ReadQuotas {
        match self {
            Self::Own => ReadQuotas::default(),
            Self::Aws => ReadQuotas::AWS,
        }
    }
}

/// How what is stored is opened, by the server and by a command that works without one.
#[derive(Clone, Debug)]
pub struct StorageSettings {
    /// Who wraps the data keys.
    pub keys: KeySettings,
    /// Where video and index lie, unless in the data folder.
    pub shared: Option<SharedStore>,
    /// The longest that anything is kept.
    pub retention_max: Duration,
}

impl StorageSettings {
    /// Whether other servers have copies of this one's keyring.
    pub(crate) fn shares_keyring(&self) -> bool {
        self.shared.is_some() && self.keys.kms.is_none()
    }
}

impl Default for StorageSettings {
    fn default() -> Self {
        let retention_max = archive::limits::RETENTION_CEILING_DEFAULT;
        Self { keys: KeySettings::default(), shared: None, retention_max }
    }
}

impl Config {
    /// The data folder unless another is named.
    pub const DATA: &str = "millrace-data";

    /// For this machine only, unless asked otherwise: the watch page has no TLS yet.
    pub const HTTP: &str = "127.0.0.1:8080";

    /// For the whole network: devices prove themselves.
    pub const QUIC: &str = "0.0.0.0:8443";

    /// The port of devices unless another is named.
    pub const QUIC_PORT: u16 = 8443;
}
