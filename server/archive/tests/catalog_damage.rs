//! Damage to the files of the catalog: it is told, hides nothing, and the index is made again.
//!
//! A sample of the bits is flipped, the same in every run; `FLIPS=all` flips each one, which takes hours.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use archive::{Archive, CheckError, Fragment, OpenError, QueryError, Stored};
use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};
use tempfile::TempDir;
use vault::catalog::FjallCatalog;
use vault::{Batch, Catalog as _, CatalogError, Direction, Key, KeyRange, Space};

/// 2026-01-01T00:00:00Z.
const BEGIN_SECS: i64 = 1_767_225_600;
/// Of each stream, half of them in a table and half in the journal.
const FRAGMENTS: u32 = 120;
/// How many bits of a file are flipped, one at a time.
const FLIPS_PER_FILE: usize = 40;

#[tokio::test]
async fn a_flipped_bit_in_any_file_of_the_catalog_is_told_and_hides_no_fragment() {
    let kept = Kept::new().await;
    let all = std::env::var("FLIPS").is_ok_and(|flips| flips == "all");
    for file in kept.catalog_files() {
        let bits = fs::read(kept.path().join(&file)).unwrap().len() * 8;
        // An odd step meets every bit of a byte.
        let step = if all { 1 } else { (bits / FLIPS_PER_FILE) | 1 };
        let mut told = 0;
        for bit in (0..bits).step_by(step) {
            let copy = kept.copy();
            copy.change(&file, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            let what = format!("{} bit {bit}", file.display());
            if kept.is_told(&copy, &what) {
                // A new catalog knows nothing of what was wrong with the old one: once for each file is enough.
                if told == 0 || all {
                    kept.assert_rebuilt(&copy, &what);
                }
                told += 1;
            }
        }
        assert!(bits == 0 || told > 0, "{} is never missed", file.display());
    }
}

#[tokio::test]
async fn a_file_of_the_catalog_that_is_gone_or_cut_short_is_told_and_hides_no_fragment() {
    let kept = Kept::new().await;
    for file in kept.catalog_files() {
        for (what, keep) in [("half of", 2), ("nothing of", usize::MAX)] {
            let copy = kept.copy();
            copy.change(&file, |bytes| bytes.truncate(bytes.len() / keep));
            kept.assert_nothing_hidden(&copy, &format!("{what} {}", file.display()));
        }
        let copy = kept.copy();
        fs::remove_file(copy.path().join(&file)).unwrap();
        kept.assert_nothing_hidden(&copy, &format!("no {}", file.display()));
    }
}

#[tokio::test]
async fn a_folder_of_the_catalog_that_is_gone_or_emptied_is_told_and_hides_no_fragment() {
    let kept = Kept::new().await;
    for folder in
        ["catalog", "catalog/keyspaces", "catalog/keyspaces/0", "catalog/keyspaces/1", "catalog/keyspaces/1/tables"]
    {
        for emptied in [false, true] {
            let copy = kept.copy();
            fs::remove_dir_all(copy.path().join(folder)).unwrap();
            if emptied {
                fs::create_dir(copy.path().join(folder)).unwrap();
            }
            assert!(kept.is_told(&copy, folder), "{folder}, emptied: {emptied}");
            kept.assert_rebuilt(&copy, folder);
        }
    }
}

#[tokio::test]
async fn an_older_copy_of_the_catalog_is_told_and_hides_no_fragment() {
    let kept = Kept::new().await;
    let newer = kept.copy();
    let archive = newer.open().unwrap();
    let stream = archive.list_streams()[0].id;
    archive.store(stream, fragment(stream, FRAGMENTS)).await.unwrap();
    drop(archive);
    let expected = newer.contents().unwrap();
    fs::remove_dir_all(newer.path().join("catalog")).unwrap();
    copy_folder(&kept.path().join("catalog"), &newer.path().join("catalog"));
    assert_damage(newer.contents(), "an older copy");
    assert!(newer.rebuilt().fragments == expected.fragments);
}

#[tokio::test]
async fn what_says_how_many_commits_were_answered_may_be_lost() {
    let kept = Kept::new().await;
    let copy = kept.copy();
    fs::remove_file(copy.path().join("answered")).unwrap();
    assert!(copy.contents().unwrap() == kept.contents);
}

#[tokio::test]
async fn a_table_that_is_damaged_under_an_open_archive_is_answered_with_errors_and_counted() {
    let kept = Kept::new().await;
    let table = kept.catalog_files().into_iter().find(|file| file.starts_with("catalog/keyspaces/1/tables")).unwrap();
    let is_damage = |error: &QueryError| matches!(error, QueryError::Catalog(CatalogError::Damaged(_)));
    // Rows by identity lie somewhere behind the middle, and what is read at the opening is in memory.
    let mut hit = None;
    for sixteenth in 8..16 {
        let copy = kept.copy();
        let archive = copy.open().unwrap();
        let piece = |bytes: usize| (bytes * sixteenth / 16..bytes * (sixteenth + 1) / 16).step_by(100);
        copy.change(&table, |bytes| piece(bytes.len()).for_each(|at| bytes[at] ^= 1));
        for (stored, _) in &kept.contents.fragments {
            let stream = stored.id.session.0;
            if archive.find(stream, stored.id, at(1000)).is_err_and(|error| is_damage(&error))
                && let Err(error) = archive.store(stream, fragment(stream, stored.id.sequence.0)).await
            {
                assert!(error.retryable(), "the device keeps it: {error}");
                hit = Some((copy, archive));
                break;
            }
        }
        if hit.is_some() {
            break;
        }
    }
    let (copy, archive) = hit.expect("rows by identity are in some block that was not read yet");
    let checked = archive.check(at(1000), &mut |_| ());
    assert!(matches!(&checked, Err(CheckError::Query(error)) if is_damage(error)), "{checked:?}");
    assert!(archive.vault().health().catalog_damaged >= 3);
    drop(archive);
    kept.assert_rebuilt(&copy, "tables");
}

/// What can be asked of an archive: each fragment by number, by time, by identity, and its bytes; other rows.
#[derive(Debug, PartialEq)]
struct Contents {
    streams: Vec<String>,
    fragments: Vec<(Stored, Bytes)>,
    /// Those of the server, which are in no frame.
    others: Vec<vault::Row>,
}

/// A vault on disk that nobody has open.
struct Closed(TempDir);

impl Closed {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn open(&self) -> Result<Archive, OpenError> {
        let ring = vault::Keyring::of_vault(self.path()).unwrap();
        Archive::open(self.path(), Arc::new(ring))
    }

    fn change(&self, file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    fn contents(&self) -> Result<Contents, CatalogError> {
        let of_query = |error| match error {
            QueryError::Catalog(error) => error,
            damaged @ QueryError::Damaged(_) => panic!("a row that was read is damaged: {damaged}"),
        };
        let archive = self.open().map_err(|error| match error {
            OpenError::Vault(vault::OpenError::Catalog(error)) => error,
            OpenError::Query(error) => of_query(error),
            OpenError::Vault(error) => panic!("no matter of the catalog: {error}"),
        })?;
        contents(&archive).map_err(of_query)
    }

    /// The contents after the index was made again.
    fn rebuilt(&self) -> Contents {
        FjallCatalog::set_aside(self.path(), &self.path().join("aside")).unwrap();
        let archive = self.open().unwrap();
        archive.rebuild_index().unwrap();
        contents(&archive).unwrap()
    }
}

/// A sound vault, and what is in it.
struct Kept {
    vault: Closed,
    contents: Contents,
}

impl Kept {
    async fn new() -> Self {
        let vault = Closed(tempfile::tempdir().unwrap());
        for half in [0..FRAGMENTS / 2, FRAGMENTS / 2..FRAGMENTS] {
            let archive = vault.open().unwrap();
            let mut batch = Batch::new();
            batch.insert(Key::new(Space::Server, &half.start.to_be_bytes()), "a device");
            archive.vault().catalog().commit(batch).unwrap();
            for name in ["front", "back"] {
                let stream = archive.find_or_create_stream(&name.parse().unwrap(), at(0)).unwrap().id;
                for sequence in half.clone() {
                    archive.store(stream, fragment(stream, sequence)).await.unwrap();
                }
            }
            drop(archive);
            if half.start == 0 {
                write_tables(&vault.path().join("catalog"));
            }
        }
        let contents = vault.contents().unwrap();
        assert_eq!(contents.fragments.len(), 2 * FRAGMENTS as usize);
        Self { vault, contents }
    }

    fn path(&self) -> &Path {
        self.vault.path()
    }

    fn copy(&self) -> Closed {
        let copy = Closed(tempfile::tempdir().unwrap());
        copy_folder(self.path(), copy.path());
        copy
    }

    fn catalog_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        list_files(&self.path().join("catalog"), &mut files);
        assert!(
            files.len() >= 8,
            "journal, version, lock, and of two keyspaces a list of tables and a table: {files:?}"
        );
        files.iter().map(|file| file.strip_prefix(self.path()).unwrap().to_owned()).collect()
    }

    /// Whether damage to a copy is told. If it is not, everything has to be there.
    fn is_told(&self, copy: &Closed, what: &str) -> bool {
        match copy.contents() {
            Ok(contents) => {
                assert!(contents == self.contents, "{what}");
                false
            }
            damaged => {
                assert_damage(damaged, what);
                true
            }
        }
    }

    /// Every fragment is there when the index was made again.
    fn assert_rebuilt(&self, copy: &Closed, what: &str) {
        let rebuilt = copy.rebuilt();
        assert!(rebuilt.streams == self.contents.streams, "{what}");
        assert!(rebuilt.fragments == self.contents.fragments, "{what}");
    }

    fn assert_nothing_hidden(&self, copy: &Closed, what: &str) {
        if self.is_told(copy, what) {
            self.assert_rebuilt(copy, what);
        }
    }
}

fn assert_damage(contents: Result<Contents, CatalogError>, what: &str) {
    match contents {
        Err(error @ CatalogError::Damaged(_)) => {
            assert!(error.to_string().contains("millrace rebuild-index"), "{error}");
        }
        Err(error) => panic!("{what}: {error}"),
        Ok(_) => panic!("{what}: nothing was told"),
    }
}

fn contents(archive: &Archive) -> Result<Contents, QueryError> {
    let now = at(1000);
    let mut fragments = Vec::new();
    let streams = archive.list_streams();
    for stream in &streams {
        let by_number = archive.arrived(stream.id, at(-10)..at(1000), 1000, now)?;
        let by_time = archive.range(stream.id, at(-10)..at(1000), 1000, now)?;
        assert_eq!(by_time, by_number);
        assert_eq!(archive.extent(stream.id, now)?.unwrap().fragments, by_number.len() as u64);
        for stored in by_number {
            assert_eq!(archive.find(stream.id, stored.id, now)?.as_ref(), Some(&stored));
            let payload = match archive.read(stream.id, stored.number) {
                Err(archive::ReadError::Query(error)) => return Err(error),
                read => read.unwrap().unwrap(),
            };
            fragments.push((stored, payload));
        }
    }
    let others = KeyRange::prefix(Key::new(Space::Server, b""));
    let others = archive.vault().catalog().scan(&others, Direction::Ascending, 100)?;
    let streams = streams.iter().map(|stream| format!("{} {}", stream.id, stream.name)).collect();
    Ok(Contents { streams, fragments, others })
}

/// Has the engine write what it holds in memory into a table, as it does by itself after 16 MiB.
fn write_tables(catalog: &Path) {
    let database = fjall::Database::builder(catalog).open().unwrap();
    database.keyspace("rows", Default::default).unwrap().rotate_memtable_and_wait().unwrap();
}

fn list_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort_unstable();
    for path in paths {
        if path.is_dir() { list_files(&path, files) } else { files.push(path) }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    match fs::create_dir(to) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => panic!("{error}"),
        _ => {}
    }
    for entry in fs::read_dir(from).unwrap() {
        let (path, copy) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            fs::copy(&path, &copy).unwrap();
        }
    }
}

fn fragment(stream: u64, sequence: u32) -> Fragment {
    let start = i64::from(sequence) * 2;
    Fragment {
        id: FragmentId { session: SessionId(stream), sequence: Sequence(sequence) },
        start: at(start),
        quality: ClockQuality::Synchronised,
        duration: Duration::from_secs(2),
        tracks_fingerprint: 7,
        independent: true,
        codecs: vec!["avc1.42C00D".to_owned(), "mp4a.40.2".to_owned()],
        arrived: at(start + 2),
        payload: Bytes::from(format!("payload of {stream}-{sequence}")),
    }
}

fn at(secs: i64) -> WallTime {
    WallTime::from_millis((BEGIN_SECS + secs) * 1000)
}
