//! A copy of a vault on local disk, made while the vault is being written, and the way back.
//!
//! ```text
//! segments/  keys/    files as in the vault
//! rows                the catalog at one moment; rows.rs
//! ```
//!
//! The copy is made in these steps:
//!
//! 1. Rotations of the master key wait, so that all keys in the copy are under the masters that it names. Key files
//!    are copied.
//! 2. Deleting waits. The catalog is held still.
//! 3. The committer closes all segments that there are: what they hold never changes any more. Each gets a second
//!    name in the copy; key files that were made since step 1 are copied. Deleting and rotations go on.
//! 4. The rows are written. Where a file can have no second name in the copy (another file system, another mount of
//!    the same), it has got it beside the segments, and the files are copied from there now.
//! 5. Everything is synced.
//!
//! A row of the catalog in step 2 has its frame on disk, in a segment of that moment, and its key, since a key is
//! there before the first frame under it: the copy is whole without a pause for writers. Segments that are begun
//! after step 3 hold nothing that a row of the copy refers to, and are left out; no segment is copied while it is
//! written, when a later frame may be in the copy without the one before it. The copy has no master key.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::catalog::{Batch, Catalog as _, Direction, FjallCatalog, KeyRange, Snapshot};
use crate::error::BackupError;
use crate::key::Key;
use crate::limits;
use crate::masters::MasterId;
use crate::recovery;
use crate::segment_store;
use crate::vault::Vault;
use disk::OsDisk;

mod rows;

use self::rows::{RowsReader, RowsWriter};

const SEGMENTS: &str = "segments";
const KEYS: &str = "keys";
const ROWS: &str = "rows";
/// Beside the segments: second names of those that are on their way to where they can have none.
const STAGING: &str = "backup.staging";

/// What a backup holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backup {
    /// The master keys that guard its data keys.
    pub masters: BTreeSet<MasterId>,
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
    /// Copies this vault, which lies in the folder `vault`, into the empty folder `to`, while it is written. One copy
    /// is made at a time.
    pub async fn back_up(&self, vault: &Path, to: &Path) -> Result<Backup, BackupError> {
        let (open, vault, to) = (self.clone(), vault.to_owned(), to.to_owned());
        match tokio::task::spawn_blocking(move || open.copy(&vault, &to)).await {
            Ok(outcome) => outcome,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    fn copy(&self, vault: &Path, to: &Path) -> Result<Backup, BackupError> {
        let _alone = self.only_copier().ok_or(BackupError::UnderWay)?;
        let (from, segments) = (vault.join(SEGMENTS), to.join(SEGMENTS));
        let (from_keys, keys) = (vault.join(KEYS), to.join(KEYS));
        create_folder(&segments)?;
        create_folder(&keys)?;
        let rotation = self.hold_rotation();
        copy_missing(&from_keys, &keys)?;
        let staging = if links(&from, &segments)? { None } else { Some(Staging::create(&from)?) };
        let (snapshot, masters) = self.while_nothing_is_deleted(|catalog| {
            let snapshot = catalog.snapshot();
            let listed = self.segments().map_err(|e| failed("list the segments of", vault, e))?;
            let closed: BTreeSet<_> = listed.into_iter().map(|segment| segment.name).collect();
            self.close_segments_blocking(closed.clone())?;
            let closed = closed.into_iter().map(|name| OsString::from(segment_store::file_name(name)));
            take_segments(closed, &from, staging.as_ref().map_or(&segments, |staging| &staging.0))?;
            copy_missing(&from_keys, &keys)?;
            let masters = self.masters()?.into_iter().filter(|report| report.data_keys > 0);
            let masters = masters.map(|report| report.master.id).collect();
            Ok::<_, BackupError>((snapshot, masters))
        })??;
        drop(rotation);

        let rows = write_rows(&*snapshot, &to.join(ROWS))?;
        if let Some(staging) = &staging {
            for name in segment_names(&staging.0)? {
                copy(&staging.0.join(&name), &segments.join(&name))?;
            }
        }
        let backup = Backup { masters, rows, ..measure(to)? };
        for folder in [&segments, &keys, to] {
            sync_folder(folder)?;
        }
        Ok(backup)
    }
}

/// The folder of second names; goes with this.
struct Staging(PathBuf);

impl Staging {
    fn create(segments: &Path) -> Result<Self, BackupError> {
        let staging = segments.join(STAGING);
        remove_staging(&staging)?;
        create_folder(&staging)?;
        Ok(Self(staging))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = remove_staging(&self.0) {
            tracing::warn!(%error, "second names of segments stay, with the disk space that they hold");
        }
    }
}

/// Whether segments can have second names in another folder, by trying it with one.
fn links(from: &Path, to: &Path) -> Result<bool, BackupError> {
    for name in segment_names(from)? {
        let (from, to) = (from.join(&name), to.join(&name));
        match fs::hard_link(&from, &to) {
            // Deleted since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return Ok(false),
            Ok(()) => {
                fs::remove_file(&to).map_err(|e| failed("remove", &to, e))?;
                return Ok(true);
            }
        }
    }
    Ok(true)
}

/// Makes a vault in the folder `vault`, which does not exist, of the copy in `backup`. It can be opened with the
/// master key that the copied one had. Blocks.
pub fn restore(backup: &Path, vault: &Path) -> Result<Backup, BackupError> {
    create_folder(vault)?;
    for part in [SEGMENTS, KEYS] {
        create_folder(&vault.join(part))?;
    }
    let (from, to) = (backup.join(SEGMENTS), vault.join(SEGMENTS));
    take_segments(segment_names(&from)?, &from, &to)?;
    copy_missing(&backup.join(KEYS), &vault.join(KEYS))?;
    let marked = recovery::check_format(&OsDisk, vault);
    marked.map_err(|e| failed("mark the format of", vault, io::Error::other(e)))?;
    let rows = read_rows(&backup.join(ROWS), &FjallCatalog::open(&vault.join("catalog"))?)?;
    for folder in [&to, &vault.join(KEYS), vault] {
        sync_folder(folder)?;
    }
    Ok(Backup { rows, ..measure(vault)? })
}

/// Removes what a backup has left whose process died.
pub(crate) fn clear(vault: &Path) -> Result<(), BackupError> {
    remove_staging(&vault.join(SEGMENTS).join(STAGING))
}

fn remove_staging(staging: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", staging, error)),
        _ => Ok(()),
    }
}

/// Gives segments, none of which is written any more, a second name in another folder; copies them where there can
/// be none.
fn take_segments(names: impl IntoIterator<Item = OsString>, from: &Path, to: &Path) -> Result<(), BackupError> {
    for name in names {
        let (from, to) = (from.join(&name), to.join(&name));
        if fs::hard_link(&from, &to).is_err() {
            copy_if_there(&from, &to)?;
        }
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

/// Copies a file. A key that was destroyed meanwhile or a segment that came to nothing is not
/// missed.
fn copy_if_there(from: &Path, to: &Path) -> Result<(), BackupError> {
    match copy(from, to) {
        Err(BackupError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound && !from.exists() => Ok(()),
        copied => copied,
    }
}

/// Copies a file, with its permissions, and syncs it.
fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    fs::copy(from, to).map_err(|e| failed("copy", from, e))?;
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
    for name in segment_names(&folder.join(SEGMENTS))? {
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

/// The names of segments in a folder; other files are not ours to judge.
fn segment_names(folder: &Path) -> Result<Vec<OsString>, BackupError> {
    let mut names = names(folder)?;
    names.retain(|name| Path::new(name).extension().is_some_and(|extension| extension == "seg"));
    Ok(names)
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
