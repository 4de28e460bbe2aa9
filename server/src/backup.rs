//! Backups of everything that is stored, and the way back.
//!
//! ```text
//! backup.json   what the folder is; written last, so that without it this is no whole backup
//! ca.sealed     the CA, sealed under the vault's root key
//! vault/        segments, keys and rows; the vault's own
//! ```
//!
//! What can be made anew is not in it (the console key), and what must not lie beside it is not either: the master
//! key. A restore opens the vault before it puts it in its place, so a wrong master key shows itself at once.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use archive::Archive;
use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use vault::backup::Backup;

use crate::config::StorageSettings;
use crate::data_folder::{self, DataFolder, FolderError};
use crate::key_service::{KeyServiceError, KeySettings};
use crate::storage::{self, Storage, StorageError};

const FORMAT: u32 = 1;
const CA_LABEL: &str = "backup of the CA";

/// What `backup.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// 1.
    format: u32,
    /// When it was begun.
    pub(crate) made: Timestamp,
    /// The master keys that guard something in it.
    pub(crate) master_keys: Vec<String>,
    pub(crate) rows: u64,
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
    pub(crate) keys: u64,
}

/// Why there is no backup, or no data folder out of one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error(
        "a store that servers share is backed up by its own means: snapshots of the database, and copies of the bucket \
         that are younger than they"
    )]
    Shared,
    #[error("there is {0} already; name a folder that does not exist")]
    Exists(PathBuf),
    #[error("can't {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{0} is no whole backup: it has no backup.json, which is written last")]
    NotWhole(PathBuf),
    #[error("{}: {why}", path.display())]
    Manifest { path: PathBuf, why: String },
    #[error("{0} holds a vault already; name a new folder with --data")]
    Occupied(PathBuf),
    #[error(
        "there is no keyring in {path}: this backup can't be read without the master key {masters}, which is not in it; \
         put its keyring there, or name it with --keyring", path = path.display(), masters = masters.join(", ")
    )]
    NoKeyring { path: PathBuf, masters: Vec<String> },
    #[error("the keys given do not open this backup, which was made under the master key {}: {why}", masters.join(", "))]
    WrongKey { masters: Vec<String>, why: String },
    #[error(transparent)]
    Vault(#[from] vault::BackupError),
    #[error(transparent)]
    Key(#[from] vault::KeyError),
    #[error(transparent)]
    KeyService(#[from] KeyServiceError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Copies what is stored into the folder `to`, which must not exist.
pub(crate) async fn make(storage: &Storage, to: &Path) -> Result<Manifest, BackupError> {
    if storage.is_shared() {
        return Err(BackupError::Shared);
    }
    match DirBuilder::new().mode(0o700).create(to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(BackupError::Exists(to.to_owned())),
        made => made.map_err(|e| failed("create the folder", to, e))?,
    }
    let filled = fill(storage, to).await;
    if filled.is_err() {
        // What is there is of no use, and of this call.
        let _ = fs::remove_dir_all(to);
    }
    filled
}

async fn fill(storage: &Storage, to: &Path) -> Result<Manifest, BackupError> {
    let (vault, folder) = (storage.archive().vault(), storage.folder());
    let made = timestamp();
    let part = to.join("vault");
    DirBuilder::new().mode(0o700).create(&part).map_err(|e| failed("create the folder", &part, e))?;
    let Backup { masters, rows, segments, bytes, keys } = vault.back_up(&folder.vault(), &part).await?;
    let ca = folder.ca_file();
    let ca = fs::read(&ca).map_err(|e| failed("read", &ca, e))?;
    data_folder::create(&to.join("ca.sealed"), &vault.seal_secret(CA_LABEL, &ca)?)?;
    let master_keys = masters.iter().map(ToString::to_string).collect();
    let manifest = Manifest { format: FORMAT, made, master_keys, rows, segments, bytes, keys };
    let path = to.join("backup.json");
    let text = serde_json::to_vec_pretty(&manifest).map_err(|e| failed("write", &path, e.into()))?;
    data_folder::create(&path, &text)?;
    tracing::info!(to = %to.display(), segments, bytes, "a backup was made");
    Ok(manifest)
}

/// Makes the data folder `data` of the backup in `from`. Steps: 1 a vault beside the place that it is for, 2 open it,
/// which proves the master key, 3 the CA, 4 the vault's parts to their place. Blocks.
pub(crate) fn restore(
    from: &Path,
    data: &Path,
    settings: impl FnOnce() -> anyhow::Result<StorageSettings>,
) -> anyhow::Result<Manifest> {
    let manifest = Manifest::read(from)?;
    let folder = DataFolder::open(data)?;
    let _lock = storage::lock(&folder)?;
    let vault = folder.vault();
    if ["catalog", "segments", "keys"].iter().any(|part| vault.join(part).exists()) {
        return Err(BackupError::Occupied(data.to_owned()).into());
    }
    let settings = settings()?;
    if settings.shared.is_some() {
        return Err(BackupError::Shared.into());
    }
    if let Some(path) = settings.keys.missing_keyring(&vault) {
        return Err(BackupError::NoKeyring { path, masters: manifest.master_keys }.into());
    }
    let making = folder.vault_being_restored();
    remove_folder(&making)?;
    let made = lay_out(from, &making, &folder, &settings.keys, &manifest).and_then(|()| put_in_place(&making, &vault));
    remove_folder(&making)?;
    made?;
    Ok(manifest)
}

/// Steps 1 to 3.
fn lay_out(
    from: &Path,
    making: &Path,
    folder: &DataFolder,
    settings: &KeySettings,
    manifest: &Manifest,
) -> Result<(), BackupError> {
    vault::backup::restore(&from.join("vault"), making)?;
    let wrong = |why: String| BackupError::WrongKey { masters: manifest.master_keys.clone(), why };
    let archive = Archive::open(making, settings.open(&folder.vault())?).map_err(|e| wrong(e.to_string()))?;
    let sealed = from.join("ca.sealed");
    let sealed = fs::read(&sealed).map_err(|e| failed("read", &sealed, e))?;
    let ca = archive.vault().open_secret(CA_LABEL, &sealed).map_err(|e| wrong(e.to_string()))?;
    let ca = String::from_utf8(ca).map_err(|e| wrong(e.to_string()))?;
    if data_folder::read_or_create(&folder.ca_file(), || ca.clone())? != ca {
        return Err(BackupError::Occupied(folder.path().to_owned()));
    }
    Ok(())
}

/// Step 4, in one: a folder that has at most the keyring changes places with the new one.
fn put_in_place(making: &Path, vault: &Path) -> Result<(), BackupError> {
    let sync = |path: &Path| {
        let synced = fs::File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|e| failed("sync", path, e))
    };
    DirBuilder::new().recursive(true).mode(0o700).create(vault).map_err(|e| failed("create the folder", vault, e))?;
    for entry in fs::read_dir(vault).map_err(|e| failed("list", vault, e))? {
        let entry = entry.map_err(|e| failed("list", vault, e))?;
        let (from, to) = (entry.path(), making.join(entry.file_name()));
        if !to.exists() {
            fs::copy(&from, &to).map_err(|e| failed("copy", &from, e))?;
            sync(&to)?;
        }
    }
    sync(making)?;
    renameat_with(CWD, making, CWD, vault, RenameFlags::EXCHANGE).map_err(|e| failed("name", vault, e.into()))?;
    vault.parent().map_or(Ok(()), sync)
}

fn remove_folder(path: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

impl Manifest {
    fn read(from: &Path) -> Result<Self, BackupError> {
        let path = from.join("backup.json");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BackupError::NotWhole(from.to_owned()));
            }
            text => text.map_err(|e| failed("read", &path, e))?,
        };
        let refused = |why: String| BackupError::Manifest { path: path.clone(), why };
        let manifest: Self = serde_json::from_slice(&text).map_err(|e| refused(e.to_string()))?;
        if manifest.format != FORMAT {
            return Err(refused(format!("it has format {}, and this program knows {FORMAT}", manifest.format)));
        }
        Ok(manifest)
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> BackupError {
    BackupError::Io { action, path: path.to_owned(), source }
}

fn timestamp() -> Timestamp {
    Timestamp::from_second(storage::now().as_millis() / 1000).unwrap_or(Timestamp::UNIX_EPOCH)
}
