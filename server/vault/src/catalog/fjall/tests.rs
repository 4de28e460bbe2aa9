//! What a power cut leaves is opened without a word; what a flipped bit leaves is not opened.

use std::path::PathBuf;

use bytes::Bytes;
use tempfile::TempDir;

use super::journal::{Order, Verdict};
use super::*;
use crate::key::Space;

#[test]
fn a_last_commit_that_is_cut_short_at_any_byte_is_undone_and_no_other() {
    let (journal, last) = journal();
    for end in last + 1..journal.len() {
        // The file ends there, or is laid out further.
        for zeros in [0, 5000] {
            let mut torn = journal[..end].to_vec();
            torn.resize(end + zeros, 0);
            assert_eq!(verdict(&torn), Verdict::Torn { whole: last }, "{end} and {zeros} zeros");
        }
    }
    assert_eq!(verdict(&journal[..last]), Verdict::Sound);
}

#[test]
fn a_last_commit_in_which_pages_are_missing_is_undone_and_no_other() {
    let (journal, last) = journal();
    for page in [512, 4096] {
        for begin in (last - last % page..journal.len()).step_by(page) {
            let mut torn = journal.clone();
            torn[begin.max(last)..(begin + page).min(journal.len())].fill(0);
            assert_eq!(verdict(&torn), Verdict::Torn { whole: last }, "{page} bytes at {begin}");
        }
    }
}

#[test]
fn a_flipped_bit_in_any_commit_with_another_behind_it_is_damage() {
    let (journal, last) = journal();
    for bit in 0..last * 8 {
        let mut flipped = journal.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(verdict(&flipped), Verdict::Damaged { .. }), "bit {bit}");
    }
}

#[test]
fn a_commit_that_is_missing_between_others_is_damage() {
    let catalog = Folder::new();
    let ends: Vec<usize> = (0..3).map(|_| catalog.commit_rows(1)).collect();
    let mut journal = catalog.journal();
    journal.drain(ends[0]..ends[1]);
    let what = "a commit is missing before the batch";
    assert_eq!(verdict(&journal), Verdict::Damaged { whole: ends[0], what });
}

#[test]
fn the_end_of_a_journal_with_another_behind_it_is_never_torn() {
    let (journal, last) = journal();
    let torn = &journal[..last + 20];
    assert!(matches!(Order::default().judge(torn, false), Verdict::Damaged { whole, .. } if whole == last));
}

#[test]
fn a_catalog_whose_last_commit_was_torn_is_opened_and_goes_on() {
    let catalog = Folder::new();
    catalog.commit_rows(1);
    let end = catalog.commit_rows(2);
    catalog.commit_rows(300);
    let mut torn = catalog.journal();
    torn[end + 100..end + 612].fill(0);
    fs::write(catalog.journal_path(), torn).unwrap();
    assert_eq!(catalog.rows(), 3);
    catalog.commit_rows(4);
    assert_eq!(catalog.rows(), 7);
}

#[test]
fn of_a_damaged_catalog_what_lies_before_the_damage_can_be_read() {
    let catalog = Folder::new();
    let end = catalog.commit_rows(3);
    catalog.commit_rows(1);
    catalog.commit_rows(1);
    let mut flipped = catalog.journal();
    flipped[end + 20] ^= 1;
    fs::write(catalog.journal_path(), &flipped).unwrap();
    assert!(matches!(FjallCatalog::open(&catalog.path()), Err(CatalogError::Damaged(_))));
    assert_eq!(catalog.journal(), flipped, "a journal that is refused stays as it is");
    let (opened, lost) = FjallCatalog::open_damaged(&catalog.path()).unwrap();
    assert_eq!(lost, (flipped.len() - end) as u64);
    drop(opened);
    assert_eq!(catalog.rows(), 3);
    assert_eq!(fs::read(catalog.journal_path().with_extension("damaged")).unwrap(), flipped);
}

#[test]
fn a_damaged_table_stops_commits_when_it_is_to_be_merged_with_others() {
    let folder = Folder::new();
    folder.commit_rows(200);
    let catalog = FjallCatalog::open(&folder.path()).unwrap();
    catalog.rows.rotate_memtable_and_wait().unwrap();
    drop(catalog);
    let table = fs::read_dir(folder.path().join("keyspaces/1/tables")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&table).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    fs::write(table, bytes).unwrap();

    let catalog = FjallCatalog::open(&folder.path()).unwrap();
    let stopped = (0..30).find_map(|value: u8| {
        let mut batch = Batch::new();
        for row in 0..200_usize {
            batch.insert(Key::new(Space::Server, &row.to_be_bytes()), vec![value]);
        }
        let committed = catalog.commit(batch);
        catalog.rows.rotate_memtable_and_wait().unwrap();
        committed.err()
    });
    let Some(CommitError::Broken(CatalogError::Failed(why))) = stopped else { panic!("{stopped:?}") };
    assert!(why.contains("millrace rebuild-index"), "{why}");
}

#[test]
fn a_catalog_that_lacks_answered_commits_is_not_opened_until_it_is_set_aside() {
    let vault = tempfile::tempdir().unwrap();
    let aside = vault.path().join("aside");
    let catalog = FjallCatalog::of_vault(vault.path()).unwrap();
    commit(&catalog, 1);
    commit(&catalog, 1);
    drop(catalog);
    assert_eq!(FjallCatalog::of_vault(vault.path()).unwrap().commits.get_mut().unwrap().made, 2);

    fs::remove_dir_all(vault.path().join(FOLDER)).unwrap();
    let Err(CatalogError::Damaged(why)) = FjallCatalog::of_vault(vault.path()) else { panic!("an empty one") };
    assert!(why.contains("2 commits to it were answered"), "{why}");
    // As many rows, and a commit less.
    commit(&FjallCatalog::open(&vault.path().join(FOLDER)).unwrap(), 2);
    let Err(CatalogError::Damaged(why)) = FjallCatalog::of_vault(vault.path()) else { panic!("an older one") };
    assert!(why.contains("1 of the 2 commits"), "{why}");

    FjallCatalog::set_aside(vault.path(), &aside).unwrap();
    commit(&FjallCatalog::of_vault(vault.path()).unwrap(), 1);
    assert!(aside.join("version").exists());
}

#[test]
fn a_damaged_number_of_answered_commits_stands_in_nobodys_way() {
    let vault = tempfile::tempdir().unwrap();
    commit(&FjallCatalog::of_vault(vault.path()).unwrap(), 1);
    let path = vault.path().join(ANSWERED);
    let right = fs::read(&path).unwrap();
    for bit in (0..right.len() * 8).step_by(9) {
        let mut flipped = right.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, flipped).unwrap();
        drop(FjallCatalog::of_vault(vault.path()).unwrap());
        assert_eq!(fs::read(&path).unwrap(), right, "bit {bit}");
    }
}

/// A catalog in a folder of its own.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("catalog")
    }

    fn journal_path(&self) -> PathBuf {
        self.path().join("0.jnl")
    }

    /// Commits new rows, and answers where they end in the journal.
    fn commit_rows(&self, rows: usize) -> usize {
        commit(&FjallCatalog::open(&self.path()).unwrap(), rows);
        self.journal().len()
    }

    /// The journal as far as it was written.
    fn journal(&self) -> Vec<u8> {
        let mut journal = fs::read(self.journal_path()).unwrap();
        journal.truncate(journal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        journal
    }

    fn rows(&self) -> usize {
        let everything = KeyRange { start: Key::FIRST, end: None };
        let catalog = FjallCatalog::open(&self.path()).unwrap();
        catalog.scan(&everything, Direction::Ascending, limits::SCAN_ROWS_MAX).unwrap().len()
    }
}

/// Rows behind those that are there already.
fn commit(catalog: &FjallCatalog, rows: usize) {
    let everything = KeyRange { start: Key::FIRST, end: None };
    let before = catalog.scan(&everything, Direction::Descending, limits::SCAN_ROWS_MAX).unwrap().len();
    let mut batch = Batch::new();
    for row in before..before + rows {
        batch.insert(Key::new(Space::Server, &row.to_be_bytes()), Bytes::from(vec![7; 40]));
    }
    catalog.commit(batch).unwrap();
}

/// A journal of a few commits, and where its last one begins, which lies on several pages.
fn journal() -> (Vec<u8>, usize) {
    let catalog = Folder::new();
    catalog.commit_rows(1);
    catalog.commit_rows(2);
    let last = catalog.commit_rows(3);
    catalog.commit_rows(70);
    (catalog.journal(), last)
}

fn verdict(journal: &[u8]) -> Verdict {
    Order::default().judge(journal, true)
}
