//! A copy of a vault on local disk, made while the vault is being written, and the way back.
//!
//! ```text
//! segments/  keys/    files as in the vault
//! rows                the catalog at one moment; rows.rs
//! ```
//!
//! The copy is made in these steps:
//!
//! 1. Key files are copied.
//! 2. The committer closes all open segments: what they hold never changes any more.
//! 3. Deleting waits. The catalog is held still. Each closed segment gets a second name, each that was begun since
//!    is copied, and key files that were made since are copied. Deleting goes on.
//! 4. The rows are written. On another file system than the vault's, the second names were in the vault's own
//!    folder, and their files are copied now.
//! 5. Everything is synced.
//!
//! A row of the catalog in step 3 has its frame on disk, in a segment of that moment, and its key, since a key is
//! there before the first frame under it: the copy is whole without a pause for writers. It has no master key.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::catalog::{Batch, Catalog as _, Direction, FjallCatalog, KeyRange, Snapshot};
use crate::error::BackupError;
use crate::key::Key;
use crate::limits;
use crate::recovery;
use crate::segment_store;
use crate::vault::Vault;
use disk::OsDisk;

mod rows;

use self::rows::{RowsReader, RowsWriter};

const SEGMENTS: &str = "segments";
const KEYS: &str = "keys";
const ROWS: &str = "rows";
/// In the vault's folder: second names of segments that are on their way to another file system.
const STAGING: &str = "backup.staging";

/// What a backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backup {
    /// Rows of the catalog.
    pub rows: u64,
    /// Segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Wrapped data keys.
    pub keys: u64,
}

impl Vault {
    /// Copies this vault, which lies in the folder `vault`, into the empty folder `to`, while it is written.
    pub async fn back_up(&self, vault: &Path, to: &Path) -> Result<Backup, BackupError> {
        let (vault, to) = (vault.to_owned(), to.to_owned());
        let keys = (vault.join(KEYS), to.join(KEYS));
        blocking(move || {
            create_folder(&keys.1)?;
            copy_missing(&keys.0, &keys.1)
        })
        .await?;
        let listed = self.segments().map_err(|e| failed("list the segments of", &vault, e))?;
        let closed: BTreeSet<_> = listed.into_iter().map(|segment| segment.name).collect();
        self.close_segments(closed.clone()).await?;
        let closed: BTreeSet<_> =
            closed.into_iter().map(|name| OsString::from(segment_store::file_name(name))).collect();
        let open = self.clone();
        blocking(move || open.copy(&vault, &to, &closed)).await
    }

    /// Steps 3 to 5.
    fn copy(&self, vault: &Path, to: &Path, closed: &BTreeSet<OsString>) -> Result<Backup, BackupError> {
        let from = vault.join(SEGMENTS);
        let segments = to.join(SEGMENTS);
        create_folder(&segments)?;
        let device = |path: &Path| fs::metadata(path).map(|m| m.dev()).map_err(|e| failed("look at", path, e));
        let staging = (device(&from)? != device(&segments)?).then(|| vault.join(STAGING));
        if let Some(staging) = &staging {
            clear(vault)?;
            create_folder(staging)?;
        }
        let snapshot = self.while_nothing_is_deleted(|catalog| {
            let snapshot = catalog.snapshot();
            take_segments(&from, staging.as_deref().unwrap_or(&segments), closed)?;
            copy_missing(&vault.join(KEYS), &to.join(KEYS))?;
            Ok::<_, BackupError>(snapshot)
        })??;
        let rows = write_rows(&*snapshot, &to.join(ROWS))?;
        if let Some(staging) = &staging {
            copy_missing(staging, &segments)?;
            clear(vault)?;
        }
        let backup = Backup { rows, ..measure(to)? };
        for folder in [&segments, &to.join(KEYS), to] {
            sync_folder(folder)?;
        }
        Ok(backup)
    }
}

/// Makes a vault in the folder `vault`, which does not exist, of the copy in `backup`. It can be opened with the
/// master key that the copied one had. Blocks.
pub fn restore(backup: &Path, vault: &Path) -> Result<Backup, BackupError> {
    create_folder(vault)?;
    for part in [SEGMENTS, KEYS] {
        create_folder(&vault.join(part))?;
    }
    let (from, to) = (backup.join(SEGMENTS), vault.join(SEGMENTS));
    take_segments(&from, &to, &names(&from)?.into_iter().collect())?;
    copy_missing(&backup.join(KEYS), &vault.join(KEYS))?;
    let marked = recovery::check_format(&OsDisk, vault);
    marked.map_err(|e| failed("mark the format of", vault, io::Error::other(e)))?;
    let rows = read_rows(&backup.join(ROWS), &FjallCatalog::open(&vault.join("catalog"))?)?;
    for folder in [&to, &vault.join(KEYS), vault] {
        sync_folder(folder)?;
    }
    Ok(Backup { rows, ..measure(vault)? })
}

/// Removes what a backup to another file system has left that was broken off.
pub(crate) fn clear(vault: &Path) -> Result<(), BackupError> {
    let staging = vault.join(STAGING);
    match fs::remove_dir_all(&staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &staging, error)),
        _ => Ok(()),
    }
}

/// Gives the segments of a folder a second name in another one; copies those that may yet be written, and all
/// where there can be no second name.
fn take_segments(from: &Path, to: &Path, closed: &BTreeSet<OsString>) -> Result<(), BackupError> {
    for name in names(from)? {
        let (from, to) = (from.join(&name), to.join(&name));
        if closed.contains(&name) && fs::hard_link(&from, &to).is_ok() {
            continue;
        }
        copy_if_there(&from, &to)?;
    }
    Ok(())
}

/// Copies the files of a folder that another one does not have.
fn copy_missing(from: &Path, to: &Path) -> Result<(), BackupError> {
    for name in names(from)? {
        // What is being written has its right name only when it is whole.
        let unfinished = Path::new(&name).extension().is_some_and(|extension| extension == "tmp");
        let (from, to) = (from.join(&name), to.join(&name));
        if unfinished || to.exists() {
            continue;
        }
        copy_if_there(&from, &to)?;
    }
    Ok(())
}

/// Copies a file, with its permissions. A key that was destroyed meanwhile or a segment that came to nothing is not
/// missed.
fn copy_if_there(from: &Path, to: &Path) -> Result<(), BackupError> {
    match fs::copy(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !from.exists() => return Ok(()),
        copied => copied.map_err(|e| failed("copy", from, e))?,
    };
    File::open(to).and_then(|file| file.sync_all()).map_err(|e| failed("sync", to, e))
}

fn write_rows(snapshot: &dyn Snapshot, path: &Path) -> Result<u64, BackupError> {
    let mut writer = RowsWriter::create(path)?;
    let mut range = KeyRange { start: Key::FIRST, end: None };
    loop {
        let rows = snapshot.scan(&range, Direction::Ascending, limits::SCAN_ROWS_MAX)?;
        let Some(last) = rows.last() else { return writer.finish() };
        range = range.beyond(&last.key, Direction::Ascending);
        for row in &rows {
            writer.write(row)?;
        }
    }
}

fn read_rows(path: &Path, catalog: &FjallCatalog) -> Result<u64, BackupError> {
    let mut reader = RowsReader::open(path)?;
    let mut batch = Batch::new();
    while let Some(row) = reader.read()? {
        batch.insert(row.key, row.value);
        if batch.len() >= limits::SCAN_ROWS_MAX {
            catalog.commit(std::mem::take(&mut batch))?;
        }
    }
    catalog.commit(batch)?;
    Ok(reader.rows())
}

/// Counts segments and keys in a folder.
fn measure(folder: &Path) -> Result<Backup, BackupError> {
    let mut backup = Backup::default();
    for name in names(&folder.join(SEGMENTS))? {
        let path = folder.join(SEGMENTS).join(name);
        backup.segments += 1;
        backup.bytes += fs::metadata(&path).map_err(|e| failed("look at", &path, e))?.len();
    }
    backup.keys = names(&folder.join(KEYS))?.len() as u64;
    Ok(backup)
}

fn names(folder: &Path) -> Result<Vec<OsString>, BackupError> {
    let listed = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    listed.map_err(|e| failed("list", folder, e))
}

fn create_folder(path: &Path) -> Result<(), BackupError> {
    fs::DirBuilder::new().mode(0o700).create(path).map_err(|e| failed("create the folder", path, e))
}

fn sync_folder(path: &Path) -> Result<(), BackupError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|e| failed("sync", path, e))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> BackupError {
    BackupError::Io { action, path: PathBuf::from(path), source }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
