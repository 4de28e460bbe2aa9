//! What a vault with its real catalog syncs on a real disk, and when.
//!
//! The simulator has a catalog of its own, and a killed process loses nothing of the page cache: neither shows that fjall
//! syncs. So each test starts itself once more as a process whose writes and syncs are recorded (`record_syncs.c`). That
//! process says where it is by writing to files of its own, which the record has too.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use vault::catalog::FjallCatalog;
use vault::{
    AssignError, Batch, Catalog, CatalogError, Domain, Entry, ExpirySlot, Key, Keyring, Location, Owner, OwnerId, Put,
    Space, Vault,
};

const FOLDER: &str = "MILLRACE_TEST_SYNCS_FOLDER";
const ENTRIES: usize = 3;

#[test]
fn an_entry_is_answered_after_its_segment_was_synced_and_then_the_journal_with_its_rows() {
    const TEST: &str = "an_entry_is_answered_after_its_segment_was_synced_and_then_the_journal_with_its_rows";
    in_child(|folder| {
        let vault = open(&folder.join("vault"));
        say(folder, "opened");
        for nth in 0..ENTRIES {
            store(&vault, nth);
            say(folder, &format!("answered-{nth}"));
        }
    });
    let record = Record::of(TEST);
    for nth in 0..ENTRIES {
        let from = if nth == 0 { "opened".to_owned() } else { format!("answered-{}", nth - 1) };
        let calls = record.between(&from, &format!("answered-{nth}"));
        let written = last(calls, "write", ".seg").expect("the frame is written");
        let synced = first(calls, "sync", ".seg").expect("the segment is synced");
        let committed = first(calls, "write", ".jnl").expect("the rows are written");
        let commit_ended = last(calls, "write", ".jnl").expect("the rows are written");
        let durable = last(calls, "sync", ".jnl").expect("the journal is synced");
        assert!(written < synced && synced < committed && commit_ended < durable, "{calls:#?}");
    }
}

#[test]
fn rows_that_a_killed_process_may_have_left_unsynced_are_synced_before_they_are_shown() {
    const TEST: &str = "rows_that_a_killed_process_may_have_left_unsynced_are_synced_before_they_are_shown";
    in_child(|folder| {
        let commit = |name: &str| {
            let catalog = FjallCatalog::of_vault(folder).unwrap();
            say(folder, &format!("opened-{name}"));
            let mut batch = Batch::new();
            batch.insert(key(name), name.as_bytes().to_vec());
            catalog.commit(batch).unwrap();
        };
        commit("first");
        // A new journal is laid out ahead. The next to open it cuts and syncs it; only what is appended after that is
        // left as it is.
        commit("second");
        say(folder, "closed");
        commit("third");
    });
    let record = Record::of(TEST);
    let calls = record.between("closed", "opened-third");
    assert!(last(calls, "sync", ".jnl").is_some(), "{calls:#?}");
}

#[test]
fn a_catalog_is_set_aside_for_good_before_the_number_of_its_commits_goes() {
    const TEST: &str = "a_catalog_is_set_aside_for_good_before_the_number_of_its_commits_goes";
    in_child(|folder| {
        drop(FjallCatalog::of_vault(folder).unwrap());
        say(folder, "begin");
        FjallCatalog::set_aside(folder, &folder.join("aside")).unwrap();
        say(folder, "end");
    });
    let record = Record::of(TEST);
    let calls = record.between("begin", "end");
    let renamed = first(calls, "rename", "/aside").expect("it gets another name");
    let synced = first(calls, "sync", &record.folder()).expect("its folder is synced");
    let removed = first(calls, "remove", "/answered").expect("the number goes");
    assert!(renamed < synced && synced < removed, "{calls:#?}");
}

#[test]
fn a_backup_is_on_disk_when_it_is_said_to_be_made_and_so_is_what_is_restored_of_it() {
    const TEST: &str = "a_backup_is_on_disk_when_it_is_said_to_be_made_and_so_is_what_is_restored_of_it";
    in_child(|folder| {
        let (lies, copy) = (folder.join("vault"), folder.join("copy"));
        let vault = open(&lies);
        store(&vault, 0);
        fs::create_dir(&copy).unwrap();
        runtime().block_on(vault.back_up(&lies, &copy)).unwrap();
        say(folder, "copied");
        vault::backup::restore(&copy, &folder.join("restored")).unwrap();
        say(folder, "restored-it");
    });
    let record = Record::of(TEST);
    for (begin, end, place, parts) in [
        (None, "copied", "copy", &["segments", "keys", "."][..]),
        (Some("copied"), "restored-it", "restored", &["segments", "keys", "."]),
    ] {
        let calls = begin.map_or_else(|| record.until(end), |begin| record.between(begin, end));
        let root = record.folder.path().join(place);
        for part in parts {
            let folder = root.join(part);
            let folder = if *part == "." { root.clone() } else { folder };
            let synced = last(calls, "sync", folder.to_str().unwrap());
            let synced = synced.unwrap_or_else(|| panic!("{} is not synced: {calls:#?}", folder.display()));
            for file in files_of(&folder) {
                // A segment has a second name in the copy, and was synced under its first.
                if file.extension().is_some_and(|extension| extension == "seg") {
                    let name = file.file_name().unwrap().to_str().unwrap();
                    assert!(first(record.until(end), "sync", name).is_some(), "{name}");
                    continue;
                }
                let on_disk = last(calls, "sync", file.to_str().unwrap());
                assert!(on_disk.is_some_and(|at| at < synced), "{}: {calls:#?}", file.display());
            }
        }
    }
}

/// Does the work and ends, if this is the process whose syncs are recorded.
fn in_child(work: impl FnOnce(&Path)) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        work(Path::new(&folder));
        std::process::exit(0);
    }
}

/// What a process did, in order.
struct Record {
    folder: TempDir,
    calls: Vec<String>,
}

impl Record {
    /// Runs the test of this name once more, with its calls recorded.
    fn of(test: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let library = place.path().join("record_syncs.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/record_syncs.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(source);
        assert!(compiler.status().expect("cc can be run").success(), "record_syncs.c can't be compiled");
        let folder = tempfile::tempdir().unwrap();
        let path = place.path().join("record");
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(FOLDER, folder.path())
            .env("LD_PRELOAD", &library)
            .env("RECORD", &path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let calls = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
        Self { folder, calls }
    }

    fn folder(&self) -> String {
        self.folder.path().to_str().unwrap().to_owned()
    }

    /// What was done up to where the process said this.
    fn until(&self, said: &str) -> &[String] {
        let end = first(&self.calls, "write", &format!("/said-{said}"));
        &self.calls[..end.unwrap_or_else(|| panic!("the process does not say {said}: {:#?}", self.calls))]
    }

    fn between(&self, begin: &str, end: &str) -> &[String] {
        &self.until(end)[self.until(begin).len()..]
    }
}

/// The first call of this kind to a path that ends so.
fn first(calls: &[String], kind: &str, end: &str) -> Option<usize> {
    calls.iter().position(|call| is_of(call, kind, end))
}

fn last(calls: &[String], kind: &str, end: &str) -> Option<usize> {
    calls.iter().rposition(|call| is_of(call, kind, end))
}

fn is_of(call: &str, kind: &str, end: &str) -> bool {
    call.split_once(' ').is_some_and(|(called, path)| called == kind && path.ends_with(end))
}

/// Has the record say where the process is.
fn say(folder: &Path, what: &str) {
    fs::write(folder.join(format!("said-{what}")), "here").unwrap();
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).collect()
}

fn open(folder: &Path) -> Vault {
    fs::create_dir_all(folder).unwrap();
    Vault::open(folder, Arc::new(Keyring::of_vault(folder).unwrap()), vec![Arc::new(Names)]).unwrap()
}

fn store(vault: &Vault, nth: usize) {
    let name = format!("entry {nth}");
    let entry = Entry {
        owner: OwnerId::new(Names.domain(), 1).unwrap(),
        expiry: ExpirySlot(15_000_000),
        index: Bytes::from(name.clone()),
        payload: Bytes::from(vec![7; 10_000]),
        unless_exists: Some(key(&name)),
    };
    let put = runtime().block_on(vault.put(entry)).unwrap();
    assert!(matches!(put, Put::Stored(_)));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn key(name: &str) -> Key {
    Key::new(Space::Shardlog, name.as_bytes())
}

/// An owner whose index entry is a name and whose one row is `name -> location`.
struct Names;

impl Owner for Names {
    fn domain(&self) -> Domain {
        Domain::new(9)
    }

    fn assign(&self, _: &dyn Catalog, _: OwnerId, index: Bytes) -> Result<Bytes, AssignError> {
        Ok(index)
    }

    fn rows(&self, _: OwnerId, index: &[u8], location: Location, batch: &mut Batch) {
        batch.insert(Key::new(Space::Shardlog, index), location.encode().to_vec());
    }

    fn relocate(&self, _: OwnerId, index: &[u8], _: Location, to: Location, batch: &mut Batch) {
        batch.insert(Key::new(Space::Shardlog, index), to.encode().to_vec());
    }

    fn place(&self, catalog: &dyn Catalog, _: OwnerId, index: &[u8]) -> Result<Option<Location>, CatalogError> {
        Ok(catalog.get(&Key::new(Space::Shardlog, index))?.and_then(|row| Location::decode(&row)))
    }
}
