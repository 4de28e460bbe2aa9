//! `millrace-agent join TOKEN`: makes this device known to a server, once, so that its configuration needs neither
//! token nor address.
//!
//! The identity and the server's address go into the state folder. An address in the configuration comes first, so the
//! two must not differ here. The folder of an installed package belongs to a user of its own, and what root writes
//! there that user could not replace later: [`owner_to_become`] says as whom to do it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use upload::JoinToken;

use crate::config::{Config, ConfigError};
use crate::enrol::{self, EnrolError, Standing};
use crate::fleet::store;
use crate::identity;
use crate::state::{OpenError, StateFolder};

/// Why a device has not joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It would join one server and upload to another.
    #[error("the configuration {config} has server.address = {written:?}: change it there, or leave out --server")]
    OtherServer {
        /// Which configuration.
        config: PathBuf,
        /// What stands there.
        written: String,
    },
    /// There is no server to join.
    #[error("the configuration has destination = \"aws\", where devices do not join: see docs/aws.md")]
    ToAws,
    /// The state folder can't be used.
    #[error(transparent)]
    State(#[from] OpenError),
    /// The server is not reached, is another one, or refuses.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// What an earlier server has pushed can't be removed.
    #[error("what an earlier server has pushed can't be removed from the state folder: {0}")]
    Forget(std::io::Error),
    /// The address can't be kept.
    #[error("the server's address can't be written to the state folder: {0}")]
    Store(std::io::Error),
}

/// What has become of the device.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined {
    /// It has a new identity.
    Now,
    /// It has used this token before, and stays who it is.
    Before,
}

/// The configuration to join with: its server, or the one given.
pub fn configuration(path: &Path, server: Option<&str>) -> Result<Config, JoinError> {
    let config = Config::load_or_at(path, server)?;
    if config.aws.is_some() {
        return Err(JoinError::ToAws);
    }
    if server.is_some_and(|server| server != config.server.address) {
        return Err(JoinError::OtherServer { config: path.to_owned(), written: config.server.address });
    }
    Ok(config)
}

/// Joins the configuration's server.
pub async fn join(config: &Config, token: &JoinToken) -> Result<Joined, JoinError> {
    let folder = StateFolder::open(&config.state)?;
    let (state, address) = (folder.path(), &config.server.address);
    let joined = match enrol::standing(state, Some(token))? {
        Standing::Joins(token, _) => enrol::join(state, address, token).await.map(|_| Joined::Now)?,
        Standing::Joined(_) => Joined::Before,
    };
    if joined == Joined::Now {
        store::forget(state).map_err(JoinError::Forget)?;
    }
    identity::store_server(state, address).map_err(JoinError::Store)?;
    Ok(joined)
}

/// Whom the state folder belongs to, by user and group, if this is root and it is someone else's.
pub fn owner_to_become(state: &Path) -> Option<(u32, u32)> {
    let owner = std::fs::metadata(state).ok().map(|folder| (folder.uid(), folder.gid()))?;
    (rustix::process::geteuid().is_root() && owner.0 != 0).then_some(owner)
}
