//! The operator's commands about master keys, on the vault of the running server or on one that is closed:
//! a vault whose master key is disabled can't be opened, and has to be enabled all the same.

use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use vault::{ClosedVault, KeyError, KeyRefusal, MasterId, MasterReport, MasterState, Vault};

use crate::config::StorageSettings;
use crate::data_folder::{DataFolder, FolderLock};
use crate::office::Answer;
use crate::shared_store::ClosedError;
use crate::storage::{self, StorageError};

/// What may be asked about master keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyCommand {
    List,
    Rotate,
    Disable { id: String },
    Enable { id: String },
}

/// A master key in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyInfo {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) wraps: bool,
    pub(crate) created_ns: Option<i64>,
    pub(crate) data_keys: u64,
}

/// A vault that nobody has open, held for commands about its master keys only.
pub(crate) struct Closed {
    vault: ClosedVault,
    shares_keyring: bool,
    _lock: FolderLock,
}

impl Closed {
    /// Takes the vault of a data folder. Blocks.
    pub(crate) fn open(folder: &DataFolder, settings: &StorageSettings) -> Result<Self, StorageError> {
        let lock = storage::lock(folder)?;
        let path = folder.vault();
        let failed = |error| match error {
            vault::OpenError::Locked(_) => storage::in_use(folder),
            error => StorageError::Archive(archive::OpenError::Vault(error)),
        };
        let StorageSettings { keys, shared, .. } = settings;
        let vault = match shared {
            Some(shared) => shared.closed_vault(keys, &path).map_err(|error| match error {
                ClosedError::Store(error) => error.into(),
                ClosedError::Vault(error) => failed(error),
            })?,
            None => ClosedVault::open(&path, keys.open(&path)?).map_err(failed)?,
        };
        Ok(Self { vault, shares_keyring: settings.shares_keyring(), _lock: lock })
    }

    /// Carries out a command. Blocks.
    pub(crate) fn carry_out(&self, command: KeyCommand) -> Result<Answer, KeyError> {
        check(&command, self.shares_keyring)?;
        let vault = &self.vault;
        match command {
            KeyCommand::Disable { id } => vault.set_master(&MasterId(id), MasterState::Disabled).map(|()| Answer::Done),
            KeyCommand::Enable { id } => vault.set_master(&MasterId(id), MasterState::Enabled).map(|()| Answer::Done),
            KeyCommand::List => vault.masters().map(listed),
            KeyCommand::Rotate => vault.rotate_master(unix_now()).map(|rotated| rotation(&rotated)),
        }
    }
}

/// Refuses what a server can't do alone where several have copies of one keyring: those go on with what they have.
pub(crate) fn check(command: &KeyCommand, shares_keyring: bool) -> Result<(), KeyError> {
    if !shares_keyring || matches!(command, KeyCommand::List) {
        return Ok(());
    }
    let why = "the other servers of this store have the keyring as it is, and would go on with it; use --kms-key where \
               several servers share a store and master keys have to change";
    Err(KeyError::refused(KeyRefusal::UnsupportedOperation, why))
}

/// Carries out a command on the running server's vault.
pub(crate) async fn on_open_vault(vault: &Vault, command: KeyCommand) -> Result<Answer, KeyError> {
    let vault = vault.clone();
    match command {
        KeyCommand::Disable { id } => set(&vault, id, MasterState::Disabled).await,
        KeyCommand::Enable { id } => set(&vault, id, MasterState::Enabled).await,
        KeyCommand::List => spawn_blocking(move || vault.masters().map(listed)).await.unwrap_or(Err(KeyError::Closed)),
        KeyCommand::Rotate => {
            let rotated = spawn_blocking(move || vault.rotate_master(unix_now())).await;
            rotated.unwrap_or(Err(KeyError::Closed)).map(|rotated| rotation(&rotated))
        }
    }
}

async fn set(vault: &Vault, id: String, state: MasterState) -> Result<Answer, KeyError> {
    vault.set_master(MasterId(id.clone()), state).await?;
    tracing::warn!(master = id, %state, "the operator changed the state of a master key");
    Ok(Answer::Done)
}

fn listed(reports: Vec<MasterReport>) -> Answer {
    Answer::Keys(reports.into_iter().map(KeyInfo::from).collect())
}

fn rotation(rotated: &vault::Rotated) -> Answer {
    Answer::Rotated {
        id: rotated.master.to_string(),
        data_keys: rotated.data_keys,
        retired: rotated.retired.iter().map(MasterId::to_string).collect(),
    }
}

fn unix_now() -> u64 {
    u64::try_from(storage::now().as_millis() / 1000).unwrap_or(0)
}

impl From<MasterReport> for KeyInfo {
    fn from(MasterReport { master, data_keys }: MasterReport) -> Self {
        let nanos = |seconds: u64| i64::try_from(seconds).ok()?.checked_mul(1_000_000_000);
        Self {
            id: master.id.to_string(),
            state: master.state.to_string(),
            wraps: master.wraps,
            created_ns: master.created.and_then(nanos),
            data_keys,
        }
    }
}
