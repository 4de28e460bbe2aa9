//! What every catalog promises.

use std::sync::Barrier;
use std::thread;

use bytes::Bytes;

use super::{Shared, all, commit, key, names, scan};
use crate::catalog::{Batch, Catalog, Direction, KeyRange};
use crate::error::CommitError;
use crate::key::{Key, Space};
use crate::limits;

const THREADS: usize = 4;

pub(super) fn committed_rows_are_found_and_removed_rows_are_not(catalog: &Shared) {
    commit(catalog, |batch| batch.insert(key("a"), "1").insert(key("b"), "2"));
    commit(catalog, |batch| batch.remove(key("a")).remove(key("never there")));
    assert_eq!(catalog.get(&key("a")).unwrap(), None);
    assert_eq!(catalog.get(&key("b")).unwrap().unwrap(), "2");
    assert_eq!(catalog.snapshot().get(&key("a")).unwrap(), None);
    assert_eq!(catalog.snapshot().get(&key("b")).unwrap().unwrap(), "2");
}

pub(super) fn an_empty_batch_changes_nothing(catalog: &Shared) {
    catalog.commit(Batch::new()).unwrap();
    assert!(catalog.scan(&all(), Direction::Ascending, 10).unwrap().is_empty());
}

pub(super) fn keys_order_by_their_bytes(catalog: &Shared) {
    let rests: [&[u8]; 9] = [b"", b"\0", b"\0\0", b"\0\xff", b"A", b"a", b"\xc3\xa9", b"\xff", b"\xff\xff"];
    let mut keys: Vec<Key> = rests.into_iter().map(key).collect();
    keys.insert(0, Key::new(Space::Vault, b"\xff\xff\xff"));
    keys.push(Key::new(Space::Shardlog, b""));
    commit(catalog, |batch| {
        for key in keys.iter().rev() {
            batch.insert(key.clone(), key.as_bytes().to_vec());
        }
        batch
    });
    let everything = KeyRange { start: Key::new(Space::Vault, b""), end: None };
    for direction in [Direction::Ascending, Direction::Descending] {
        let rows = catalog.scan(&everything, direction, 100).unwrap();
        let mut found: Vec<Key> = rows.iter().map(|row| row.key.clone()).collect();
        if direction == Direction::Descending {
            found.reverse();
        }
        assert_eq!(found, keys);
        assert!(rows.iter().all(|row| row.value == row.key.as_bytes()));
    }
    let prefix = catalog.scan(&KeyRange::prefix(key(b"\0")), Direction::Ascending, 100).unwrap();
    assert_eq!(prefix.iter().map(|row| row.key.rest()).collect::<Vec<_>>(), [&b"\0"[..], b"\0\0", b"\0\xff"]);
}

pub(super) fn scans_are_half_open(catalog: &Shared) {
    insert_names(catalog, &["c", "a", "d", "b", "ab"]);
    commit(catalog, |batch| batch.insert(Key::new(Space::Shardlog, b"a"), ""));
    let range = KeyRange::between(key("a"), key("d"));
    assert_eq!(scan(catalog, &range, Direction::Ascending, 10), ["a", "ab", "b", "c"]);
    assert_eq!(scan(catalog, &range, Direction::Descending, 10), ["c", "b", "ab", "a"]);
    assert_eq!(scan(catalog, &KeyRange::prefix(key("a")), Direction::Ascending, 10), ["a", "ab"]);
    assert_eq!(scan(catalog, &all(), Direction::Descending, 1), ["d"]);
    for empty in [KeyRange::between(key("d"), key("a")), KeyRange::between(key("a"), key("a"))] {
        assert!(scan(catalog, &empty, Direction::Ascending, 10).is_empty());
        assert!(scan(catalog, &empty, Direction::Descending, 10).is_empty());
        assert!(catalog.snapshot().scan(&empty, Direction::Descending, 10).unwrap().is_empty());
    }
}

pub(super) fn a_scan_ends_at_its_limit_and_at_that_of_all_scans(catalog: &Shared) {
    let rows = limits::SCAN_ROWS_MAX + 10;
    commit(catalog, |batch| {
        for n in 0..rows {
            batch.insert(key(format!("{n:06}")), "");
        }
        batch
    });
    assert_eq!(scan(catalog, &all(), Direction::Ascending, 2), ["000000", "000001"]);
    assert_eq!(scan(catalog, &all(), Direction::Descending, 1), [format!("{:06}", rows - 1)]);
    assert!(scan(catalog, &all(), Direction::Ascending, 0).is_empty());
    assert_eq!(scan(catalog, &all(), Direction::Ascending, usize::MAX).len(), limits::SCAN_ROWS_MAX);
    let snapshot = catalog.snapshot();
    assert_eq!(snapshot.scan(&all(), Direction::Descending, usize::MAX).unwrap().len(), limits::SCAN_ROWS_MAX);
}

pub(super) fn a_scan_continues_beyond_the_last_key_seen(catalog: &Shared) {
    insert_names(catalog, &["a", "a\0", "b", "c"]);
    for (direction, expected) in
        [(Direction::Ascending, ["a", "a\0", "b", "c"]), (Direction::Descending, ["c", "b", "a\0", "a"])]
    {
        let (mut range, mut seen) = (all(), Vec::new());
        while let Some(row) = catalog.scan(&range, direction, 1).unwrap().pop() {
            range = range.beyond(&row.key, direction);
            seen.extend(names(&[row]));
        }
        assert_eq!(seen, expected);
    }
}

pub(super) fn a_snapshot_holds_still(catalog: &Shared) {
    commit(catalog, |batch| batch.insert(key("a"), "1").insert(key("gone"), ""));
    // Nothing is asked of the snapshot before the change.
    let snapshot = catalog.snapshot();
    commit(catalog, |batch| batch.insert(key("a"), "2").insert(key("b"), "2").remove(key("gone")));
    assert_eq!(snapshot.get(&key("a")).unwrap().unwrap(), "1");
    assert_eq!(snapshot.get(&key("b")).unwrap(), None);
    assert_eq!(names(&snapshot.scan(&all(), Direction::Ascending, 10).unwrap()), ["a", "gone"]);
    assert_eq!(names(&catalog.snapshot().scan(&all(), Direction::Ascending, 10).unwrap()), ["a", "b"]);
}

pub(super) fn a_snapshot_holds_still_while_commits_go_on(catalog: &Shared) {
    commit(catalog, |batch| {
        for n in 0..100 {
            batch.insert(key(format!("{n:03}")), "before");
        }
        batch
    });
    let snapshot = catalog.snapshot();
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for n in 0..100 {
                commit(catalog, |batch| batch.insert(key(format!("{n:03}")), "after").insert(key(format!("x{n}")), ""));
            }
        });
        let mut after_the_end = false;
        while !after_the_end {
            after_the_end = writing.is_finished();
            let mut range = all();
            let mut pages = Vec::new();
            while let Some(last) = pages_of(&*snapshot, &range, &mut pages) {
                range = range.beyond(&last, Direction::Ascending);
            }
            assert_eq!(pages.len(), 100);
            assert!(pages.iter().all(|value| value == "before"));
        }
    });
}

pub(super) fn snapshots_can_be_taken_again_and_again(catalog: &Shared) {
    for n in 0..100 {
        commit(catalog, |batch| batch.insert(key("a"), vec![n]));
        assert_eq!(catalog.snapshot().get(&key("a")).unwrap().unwrap(), [n][..]);
    }
}

pub(super) fn a_failed_condition_changes_nothing(catalog: &Shared) {
    commit(catalog, |batch| batch.insert(key("a"), "1"));
    refused(catalog, |batch| batch.require_absent(key("a")));
    refused(catalog, |batch| batch.require_value(key("a"), "2"));
    refused(catalog, |batch| batch.require_value(key("a"), ""));
    refused(catalog, |batch| batch.require_value(key("missing"), ""));
    refused(catalog, |batch| batch.require_value(key("a"), "1").require_value(key("a"), "2"));
    refused(catalog, |batch| batch.require_value(key("a"), "1").require_absent(key("a")));
    refused(catalog, |batch| batch.require_absent(key("b")).require_absent(key("a")));
    assert_eq!(scan(catalog, &all(), Direction::Ascending, 10), ["a"]);
    assert_eq!(catalog.get(&key("a")).unwrap().unwrap(), "1");
}

pub(super) fn conditions_are_about_the_rows_before_the_batch(catalog: &Shared) {
    commit(catalog, |batch| batch.require_absent(key("a")).insert(key("a"), "1"));
    commit(catalog, |batch| batch.insert(key("a"), "2").require_value(key("a"), "1").require_value(key("a"), "1"));
    assert_eq!(catalog.get(&key("a")).unwrap().unwrap(), "2");
    commit(catalog, |batch| batch.require_value(key("a"), "2").remove(key("a")));
    commit(catalog, |batch| batch.require_absent(key("a")).require_absent(key("a")).insert(key("b"), ""));
    assert_eq!(scan(catalog, &all(), Direction::Ascending, 10), ["b"]);
}

pub(super) fn a_row_that_must_only_be_absent_stays_absent(catalog: &Shared) {
    commit(catalog, |batch| batch.require_absent(key("a")));
    commit(catalog, |batch| batch.require_absent(key("a")).remove(key("a")).insert(key("b"), ""));
    assert_eq!(catalog.get(&key("a")).unwrap(), None);
    assert_eq!(scan(catalog, &all(), Direction::Ascending, 10), ["b"]);
}

pub(super) fn of_conditional_commits_at_one_time_exactly_one_wins(catalog: &Shared) {
    for round in 0..10 {
        // By turns, so that both kinds of condition are fought over.
        let require = |batch: &mut Batch| {
            let fresh = key(format!("fresh {round}"));
            match round {
                0 => batch.require_absent(key("row")),
                n if n % 3 == 0 => batch.require_absent(fresh.clone()).insert(fresh, ""),
                n => batch.require_value(key("row"), format!("{}", n - 1)),
            };
        };
        let winners = at_once(|thread| {
            let mut batch = Batch::new();
            require(&mut batch);
            batch.insert(key("row"), format!("{round}")).insert(key(format!("{round} won by {thread}")), "");
            is_won(catalog.commit(batch))
        });
        assert_eq!(winners.iter().filter(|won| **won).count(), 1, "round {round}");
    }
    let rows = catalog.scan(&all(), Direction::Ascending, 100).unwrap();
    assert_eq!(names(&rows).iter().filter(|name| name.contains("won by")).count(), 10);
}

pub(super) fn a_counter_raised_on_condition_loses_no_step(catalog: &Shared) {
    const STEPS: u32 = 10;
    commit(catalog, |batch| batch.insert(key("counter"), 0u32.to_be_bytes().to_vec()));
    at_once(|_| {
        let mut steps = 0;
        while steps < STEPS {
            let before = catalog.get(&key("counter")).unwrap().unwrap();
            let count = u32::from_be_bytes(before[..].try_into().unwrap());
            let mut batch = Batch::new();
            batch.require_value(key("counter"), before).insert(key("counter"), (count + 1).to_be_bytes().to_vec());
            steps += u32::from(is_won(catalog.commit(batch)));
        }
    });
    let count = catalog.get(&key("counter")).unwrap().unwrap();
    assert_eq!(count, u32::try_from(THREADS).unwrap().saturating_mul(STEPS).to_be_bytes()[..]);
}

pub(super) fn commits_appear_whole(catalog: &Shared) {
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for n in 0..50u8 {
                // Set by turns and removed, with a row that a reader meets first and one that it meets last.
                commit(catalog, |batch| match n % 5 {
                    4 => batch.remove(key("first")).remove(key("last")),
                    _ => batch.insert(key("first"), vec![n]).insert(key("last"), vec![n]),
                });
            }
        });
        while !writing.is_finished() {
            let rows = catalog.scan(&all(), Direction::Ascending, 10).unwrap();
            let values: Vec<Bytes> = rows.into_iter().map(|row| row.value).collect();
            assert!(values.is_empty() || (values.len() == 2 && values[0] == values[1]), "{values:?}");
        }
    });
}

/// Whoever closes a door and then looks sees everybody who came in while it was open.
pub(super) fn a_condition_holds_when_its_changes_appear(catalog: &Shared) {
    for round in 0..5 {
        let door = key(format!("{round} door"));
        let inside = KeyRange::prefix(key(format!("{round} inside")));
        let never = key(format!("{round} closed"));
        commit(catalog, |batch| batch.insert(door.clone(), "open"));
        let seen = at_once(|thread| {
            if thread == 0 {
                commit(catalog, |batch| batch.insert(door.clone(), "shut").insert(never.clone(), ""));
                return Some(catalog.snapshot().scan(&inside, Direction::Ascending, 1000).unwrap().len());
            }
            for n in 0..20 {
                let mut batch = Batch::new();
                match thread % 2 {
                    0 => batch.require_value(door.clone(), "open"),
                    _ => batch.require_absent(never.clone()),
                };
                batch.insert(key(format!("{round} inside {thread} {n}")), "");
                is_won(catalog.commit(batch));
            }
            None
        });
        let left = catalog.scan(&inside, Direction::Ascending, 1000).unwrap().len();
        assert_eq!(seen[0], Some(left), "round {round}");
    }
}

pub(super) fn the_last_change_of_a_key_in_a_batch_wins(catalog: &Shared) {
    commit(catalog, |batch| batch.insert(key("b"), "old"));
    commit(catalog, |batch| {
        batch.insert(key("a"), "1").insert(key("a"), "2");
        batch.insert(key("b"), "1").remove(key("b"));
        batch.remove(key("c")).insert(key("c"), "3")
    });
    assert_eq!(catalog.get(&key("a")).unwrap().unwrap(), "2");
    assert_eq!(catalog.get(&key("b")).unwrap(), None);
    assert_eq!(catalog.get(&key("c")).unwrap().unwrap(), "3");
}

pub(super) fn values_may_be_empty_and_may_be_large(catalog: &Shared) {
    let large = random(1, 1 << 20);
    commit(catalog, |batch| batch.insert(key("empty"), "").insert(key("large"), large.clone()));
    assert_eq!(catalog.get(&key("empty")).unwrap().unwrap(), "");
    assert_eq!(catalog.get(&key("large")).unwrap().unwrap(), large);
    refused(catalog, |batch| batch.require_value(key("large"), large[1..].to_vec()));
    commit(catalog, |batch| {
        batch.require_value(key("large"), large.clone()).require_value(key("empty"), "").remove(key("large"))
    });
    assert_eq!(scan(catalog, &all(), Direction::Ascending, 10), ["empty"]);
}

pub(super) fn keys_may_be_as_long_as_the_limit_says(catalog: &Shared) {
    let rest = random(2, limits::CATALOG_KEY_BYTES_MAX - 1);
    let long = key(&rest);
    let mut other_rest = rest.clone();
    *other_rest.last_mut().unwrap() ^= 1;
    commit(catalog, |batch| batch.insert(long.clone(), "1").insert(key(&other_rest), "2"));
    assert_eq!(catalog.get(&long).unwrap().unwrap(), "1");
    assert_eq!(catalog.scan(&KeyRange::prefix(long.clone()), Direction::Ascending, 10).unwrap()[0].key, long);
}

pub(super) fn a_batch_may_have_thousands_of_rows(catalog: &Shared) {
    const ROWS: usize = 3000;
    let name = |n: usize| key(format!("{n:06}"));
    commit(catalog, |batch| {
        for n in 0..ROWS {
            batch.insert(name(n), vec![7; 150]);
        }
        batch
    });
    commit(catalog, |batch| {
        for n in 0..ROWS {
            match n % 3 {
                0 => batch.remove(name(n)),
                1 => batch.insert(name(n), "new"),
                _ => batch.require_value(name(n), vec![7; 150]),
            };
        }
        batch
    });
    let rows = catalog.scan(&all(), Direction::Ascending, ROWS).unwrap();
    assert_eq!(rows.len(), ROWS / 3 * 2);
    assert_eq!(rows.iter().filter(|row| row.value == "new").count(), ROWS / 3);
}

pub(super) fn rows_survive_reopening(open: &dyn Fn() -> Shared) {
    let catalog = open();
    commit(&catalog, |batch| batch.insert(key("a"), "1").insert(key("b"), "2"));
    commit(&catalog, |batch| batch.remove(key("b")));
    drop(catalog);
    let again = open();
    assert_eq!(scan(&again, &all(), Direction::Ascending, 10), ["a"]);
    refused(&again, |batch| batch.require_absent(key("a")));
}

/// Commits a batch that must fail, with a change that must not be made.
fn refused(catalog: &dyn Catalog, fill: impl FnOnce(&mut Batch) -> &mut Batch) {
    let mut batch = Batch::new();
    fill(&mut batch).insert(key("x"), "");
    assert_eq!(catalog.commit(batch), Err(CommitError::Precondition));
    assert_eq!(catalog.get(&key("x")).unwrap(), None);
}

fn is_won(committed: Result<(), CommitError>) -> bool {
    match committed {
        Ok(()) => true,
        Err(CommitError::Precondition) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Runs the same on several threads, which begin together.
fn at_once<T: Send>(work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(THREADS);
    let run = |thread| {
        start.wait();
        work(thread)
    };
    thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || run(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Adds a page's values to `values` and answers its last key.
fn pages_of(snapshot: &dyn crate::Snapshot, range: &KeyRange, values: &mut Vec<Bytes>) -> Option<Key> {
    let page = snapshot.scan(range, Direction::Ascending, 30).unwrap();
    let last = page.last().map(|row| row.key.clone());
    values.extend(page.into_iter().map(|row| row.value));
    last
}

fn insert_names(catalog: &dyn Catalog, names: &[&str]) {
    commit(catalog, |batch| {
        for name in names {
            batch.insert(key(name), "");
        }
        batch
    });
}

/// Bytes that do not compress, the same at every run.
fn random(seed: u64, count: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| rng.u8(..)).collect()
}
