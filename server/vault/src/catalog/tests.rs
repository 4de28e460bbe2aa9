//! Both backends keep the same promises.

use super::{Batch, Catalog, Direction, FjallCatalog, KeyRange, MemoryCatalog};
use crate::error::CommitError;
use crate::key::{Key, Space};

#[test]
fn committed_rows_are_found_and_removed_rows_are_not() {
    on_each_backend(|catalog| {
        commit(catalog, |batch| batch.insert(key("a"), "1").insert(key("b"), "2"));
        commit(catalog, |batch| batch.remove(key("a")));
        assert_eq!(catalog.get(&key("a")).unwrap(), None);
        assert_eq!(catalog.get(&key("b")).unwrap().unwrap(), "2");
    });
}

#[test]
fn scans_are_ordered_half_open_and_limited() {
    on_each_backend(|catalog| {
        commit(catalog, |batch| {
            for name in ["c", "a", "d", "b", "ab"] {
                batch.insert(key(name), "");
            }
            batch.insert(Key::new(Space::Shardlog, b"a"), "")
        });
        let range = KeyRange::between(key("a"), key("d"));
        assert_eq!(scan(catalog, &range, Direction::Ascending, 10), ["a", "ab", "b", "c"]);
        assert_eq!(scan(catalog, &range, Direction::Descending, 2), ["c", "b"]);
        assert_eq!(scan(catalog, &KeyRange::prefix(key("a")), Direction::Ascending, 10), ["a", "ab"]);
        assert_eq!(scan(catalog, &KeyRange::prefix(key("")), Direction::Descending, 1), ["d"]);
        assert!(scan(catalog, &KeyRange::between(key("d"), key("a")), Direction::Ascending, 10).is_empty());
    });
}

#[test]
fn a_scan_continues_beyond_the_last_key_seen() {
    on_each_backend(|catalog| {
        commit(catalog, |batch| batch.insert(key("a"), "").insert(key("b"), "").insert(key("c"), ""));
        let all = KeyRange::prefix(key(""));
        let up = all.beyond(&key("a"), Direction::Ascending);
        assert_eq!(scan(catalog, &up, Direction::Ascending, 10), ["b", "c"]);
        let down = all.beyond(&key("c"), Direction::Descending);
        assert_eq!(scan(catalog, &down, Direction::Descending, 10), ["b", "a"]);
    });
}

#[test]
fn a_failed_condition_changes_nothing() {
    on_each_backend(|catalog| {
        commit(catalog, |batch| batch.insert(key("a"), "1"));
        let mut absent = Batch::new();
        absent.require_absent(key("a")).insert(key("x"), "");
        assert!(matches!(catalog.commit(absent), Err(CommitError::Precondition)));
        let mut value = Batch::new();
        value.require_value(key("a"), "2").insert(key("x"), "");
        assert!(matches!(catalog.commit(value), Err(CommitError::Precondition)));
        assert_eq!(catalog.get(&key("x")).unwrap(), None);
        commit(catalog, |batch| batch.require_value(key("a"), "1").require_absent(key("b")).insert(key("b"), ""));
        assert!(catalog.get(&key("b")).unwrap().is_some());
    });
}

#[test]
fn a_snapshot_holds_still() {
    on_each_backend(|catalog| {
        commit(catalog, |batch| batch.insert(key("a"), "1"));
        let snapshot = catalog.snapshot();
        commit(catalog, |batch| batch.insert(key("a"), "2").insert(key("b"), "2"));
        assert_eq!(snapshot.get(&key("a")).unwrap().unwrap(), "1");
        assert_eq!(snapshot.get(&key("b")).unwrap(), None);
        let seen = snapshot.scan(&KeyRange::prefix(key("")), Direction::Ascending, 10).unwrap();
        assert_eq!(seen.len(), 1);
    });
}

#[test]
fn fjall_finds_its_rows_again_after_it_was_closed() {
    let folder = tempfile::tempdir().unwrap();
    commit(&FjallCatalog::open(folder.path()).unwrap(), |batch| batch.insert(key("a"), "1"));
    let again = FjallCatalog::open(folder.path()).unwrap();
    assert_eq!(again.get(&key("a")).unwrap().unwrap(), "1");
}

fn on_each_backend(test: impl Fn(&dyn Catalog)) {
    test(&MemoryCatalog::default());
    let folder = tempfile::tempdir().unwrap();
    test(&FjallCatalog::open(folder.path()).unwrap());
}

fn key(name: &str) -> Key {
    Key::new(Space::Archive, name.as_bytes())
}

fn commit(catalog: &dyn Catalog, fill: impl FnOnce(&mut Batch) -> &mut Batch) {
    let mut batch = Batch::new();
    fill(&mut batch);
    catalog.commit(batch).unwrap();
}

fn scan(catalog: &dyn Catalog, range: &KeyRange, direction: Direction, limit: usize) -> Vec<String> {
    let rows = catalog.scan(range, direction, limit).unwrap();
    rows.iter().map(|row| String::from_utf8(row.key.rest().to_vec()).unwrap()).collect()
}
