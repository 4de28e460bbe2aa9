//! The catalog on fjall, an embedded LSM store: one keyspace, synced at each commit.
//!
//! fjall has no conditional batch outside its transactions, and its transactions serialise writers as
//! the lock here does. The lock is held over check and commit, so a condition still holds when applied.
//!
//! What lies on disk is examined before fjall opens it, since fjall takes some damage for the end of a journal and
//! aborts at other (`files.rs`, `journal.rs`); afterwards it has to have every commit that was answered (`commits.rs`).

mod commits;
mod files;
mod journal;
mod reader;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ::fjall::config::PartitioningPolicy;
use ::fjall::{Database, Iter, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use bytes::Bytes;
use disk::{Disk as _, OsDisk};

use self::commits::{Answered, Commit};
use self::journal::OnDamage;
use super::batch::{Batch, Change};
use super::{Catalog, Direction, KeyRange, Row, Snapshot};
use crate::error::{CatalogError, CommitError};
use crate::key::Key;
use crate::limits;

/// The catalog's folder in a vault.
const FOLDER: &str = "catalog";
/// Beside it: how many commits were answered.
const ANSWERED: &str = "answered";

/// A fjall database in a folder. fjall's own lock keeps a second process out.
pub struct FjallCatalog {
    folder: PathBuf,
    database: Database,
    rows: Keyspace,
    commits: Mutex<Commits>,
    damage: Damage,
}

/// Counts reads that met damage.
#[derive(Clone, Debug, Default)]
struct Damage(Arc<AtomicU64>);

#[derive(Default)]
struct Commits {
    made: u64,
    answered: Option<Answered>,
}

impl FjallCatalog {
    /// Opens the catalog of the vault in a folder. One that lacks commits which were answered is not opened.
    pub fn of_vault(vault: &Path) -> Result<Self, CatalogError> {
        let (folder, path) = (vault.join(FOLDER), vault.join(ANSWERED));
        let mut answered = Answered::open(&path).map_err(|e| CatalogError::io("open", &path, &e))?;
        if answered.commits() > 0 && is_new(&folder)? {
            let lost = format!("it is empty, and {} commits to it were answered", answered.commits());
            return Err(CatalogError::damaged(&folder, lost));
        }
        let mut catalog = Self::open(&folder)?;
        let commits = catalog.commits.get_mut().unwrap_or_else(PoisonError::into_inner);
        if commits.made < answered.commits() {
            let (made, answered) = (commits.made, answered.commits());
            let lost =
                format!("it has {made} of the {answered} commits that were answered: an older copy, or cut short");
            return Err(CatalogError::damaged(&folder, lost));
        }
        answered.set(commits.made);
        commits.answered = Some(answered);
        Ok(catalog)
    }

    /// Gives the catalog of the vault in a folder another place: the vault has an empty one from then on.
    pub fn set_aside(vault: &Path, aside: &Path) -> io::Result<()> {
        match fs::rename(vault.join(FOLDER), aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // First this on disk: a catalog that lacks commits is known by the number that goes next.
            Ok(()) => File::open(vault)?.sync_all()?,
            Err(_) => {}
        }
        match fs::remove_file(vault.join(ANSWERED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Opens the database in `folder`, which is created if it does not exist.
    pub fn open(folder: &Path) -> Result<Self, CatalogError> {
        Ok(Self::open_examined(folder, OnDamage::Refuse)?.0)
    }

    /// Opens what can still be read of the database in `folder`: of a damaged journal what lies before the damage. Answers
    /// how many bytes of journals were passed over.
    pub fn open_damaged(folder: &Path) -> Result<(Self, u64), CatalogError> {
        Self::open_examined(folder, OnDamage::Cut)
    }

    fn open_examined(folder: &Path, on_damage: OnDamage) -> Result<(Self, u64), CatalogError> {
        let mut lost = 0;
        if !is_new(folder)? {
            files::examine(folder)?;
            lost = journal::examine(folder, on_damage)?;
        }
        let database = Database::builder(folder)
            .cache_size(limits::CATALOG_CACHE_BYTES)
            .max_journaling_size(limits::CATALOG_JOURNAL_BYTES_MAX)
            .open()?;
        // By default a table of the upper levels has one filter and one index block, each read and checked as a whole:
        // a megabyte for a row that is not there, once they outgrow the cache. Of level 0 they stay in memory.
        let in_parts = || PartitioningPolicy::new([false, true]);
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(limits::CATALOG_MEMTABLE_BYTES_MAX)
                .filter_block_partitioning_policy(in_parts())
                .index_block_partitioning_policy(in_parts())
        };
        let rows = database.keyspace("rows", options)?;
        // A process that was killed has perhaps left its last commit unsynced. It is read from now on, and built upon.
        database.persist(PersistMode::SyncData)?;
        let last = rows.get(commits::KEY)?.and_then(|value| Commit::decode(&value));
        let made = last.unwrap_or_default().number;
        let commits = Mutex::new(Commits { made, answered: None });
        Ok((Self { folder: folder.to_owned(), database, rows, commits, damage: Damage::default() }, lost))
    }

    /// Whether so much of the disk is free. Asked before a commit: fjall stops for good at one for which there is none.
    fn has_free(&self, bytes: u64) -> bool {
        OsDisk.free_bytes(&self.folder).is_ok_and(|free| free >= bytes)
    }
}

/// Whether there is no database in a folder yet.
fn is_new(folder: &Path) -> Result<bool, CatalogError> {
    // fjall writes it last when it makes a database.
    let marker = folder.join("version");
    let has = |path: &Path| path.try_exists().map_err(|e| CatalogError::io("look at", path, &e));
    if has(&marker)? {
        return Ok(false);
    }
    if has(&folder.join("keyspaces").join("0"))? {
        return Err(CatalogError::damaged(&marker, "it is missing"));
    }
    Ok(true)
}

impl Catalog for FjallCatalog {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, CatalogError> {
        let value = self.damage.watch(self.rows.get(key.as_bytes()))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        let (snapshot, rows) = (self.database.snapshot(), self.rows.clone());
        Box::new(FjallSnapshot { snapshot, rows, damage: self.damage.clone() })
    }

    fn has_room(&self) -> bool {
        self.has_free(limits::CATALOG_ROOM_BYTES)
    }

    fn damaged_reads(&self) -> u64 {
        self.damage.0.load(Ordering::Relaxed)
    }

    fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        batch.check(|key| self.get(key))?;
        if batch.changes.is_empty() {
            return Ok(());
        }
        if !self.has_free(limits::CATALOG_COMMIT_BYTES) {
            return Err(CommitError::NotCommitted(CatalogError::Full));
        }
        // fdatasync puts the data and the length of the file on disk, which is all that recovery reads.
        let mut changes = self.database.batch().durability(Some(PersistMode::SyncData));
        for change in batch.changes {
            match change {
                Change::Insert(key, value) => changes.insert(&self.rows, key.as_bytes(), &*value),
                Change::Remove(key) => changes.remove(&self.rows, key.as_bytes()),
            }
        }
        // Not a stable part of fjall's interface; the journal's format, which needs it, is none either.
        let commit = Commit { number: commits.made + 1, next_sequence: self.database.seqno() };
        changes.insert(&self.rows, commits::KEY, commit.encode());
        changes.commit().map_err(|e| CommitError::Broken(e.into()))?;
        commits.made = commit.number;
        if let Some(answered) = &mut commits.answered {
            answered.set(commit.number);
        }
        Ok(())
    }
}

impl Damage {
    fn watch<T>(&self, read: Result<T, ::fjall::Error>) -> Result<T, CatalogError> {
        let read = read.map_err(CatalogError::from);
        if let Err(CatalogError::Damaged(_)) = &read {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

struct FjallSnapshot {
    snapshot: ::fjall::Snapshot,
    rows: Keyspace,
    damage: Damage,
}

impl FjallSnapshot {
    fn range(&self, range: &KeyRange) -> Iter {
        let end = range.end.as_ref().map_or(commits::KEY, Key::as_bytes);
        self.snapshot.range(&self.rows, range.start.as_bytes()..end)
    }
}

impl Snapshot for FjallSnapshot {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, CatalogError> {
        let value = self.damage.watch(self.snapshot.get(&self.rows, key.as_bytes()))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, range: &KeyRange, direction: Direction, limit: usize) -> Result<Vec<Row>, CatalogError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let limit = limit.min(limits::SCAN_ROWS_MAX);
        let row = |guard: ::fjall::Guard| {
            let (key, value) = self.damage.watch(guard.into_inner())?;
            Ok(Row { key: Key::from_stored(Bytes::copy_from_slice(&key)), value: Bytes::copy_from_slice(&value) })
        };
        let rows = self.range(range);
        match direction {
            Direction::Ascending => rows.take(limit).map(row).collect(),
            Direction::Descending => rows.rev().take(limit).map(row).collect(),
        }
    }
}

impl From<::fjall::Error> for CatalogError {
    fn from(error: ::fjall::Error) -> Self {
        use ::fjall::{Error, LsmError};
        const STOPPED: &str = "it stopped at an error in the background, which the log has; if that is damage, run \
                               `millrace rebuild-index`";
        let is_damage = match &error {
            Error::Io(source) | Error::Storage(LsmError::Io(source)) => {
                use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
                matches!(source.kind(), InvalidData | NotFound | UnexpectedEof)
            }
            Error::Poisoned => return Self::Failed(STOPPED.to_owned()),
            Error::Locked | Error::KeyspaceDeleted => false,
            _ => true,
        };
        if is_damage { Self::Damaged(error.to_string()) } else { Self::Failed(error.to_string()) }
    }
}

#[cfg(test)]
mod tests;
