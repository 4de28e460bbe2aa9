//! A catalog and a map do the same for any sequence of commits, scans and snapshots.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::key;
use crate::catalog::{Batch, Catalog, Direction, KeyRange, Row};
use crate::error::{CatalogError, CommitError};
use crate::key::Key;

type Model = BTreeMap<Key, Bytes>;

/// What is done to both.
#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Change>, Vec<Condition>),
    Get(Key),
    Scan(KeyRange, Direction, usize),
    /// Takes a snapshot in place of the last one.
    TakeSnapshot,
    ScanSnapshot(KeyRange, Direction, usize),
}

#[derive(Clone, Debug)]
enum Change {
    Insert(Key, Bytes),
    Remove(Key),
}

/// A condition, true or not by the state that it meets.
#[derive(Clone, Debug)]
enum Condition {
    Absent(Key),
    /// The value that the model has, where it has one: true of rows that exist.
    Unchanged(Key),
    Value(Key, Bytes),
}

/// Runs `cases` sequences of steps, each on a catalog of its own.
pub(super) fn check<C: AsRef<dyn Catalog>>(cases: u32, open: impl Fn() -> C) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&vec(step(), 1..40), |steps| {
            let catalog = open();
            run(catalog.as_ref(), steps)
        })
        .unwrap();
}

fn run(catalog: &dyn Catalog, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut model = Model::new();
    let mut held = (catalog.snapshot(), model.clone());
    for step in steps {
        match step {
            Step::Commit(changes, conditions) => {
                let batch = batch(&model, &changes, &conditions);
                let expected = apply(&mut model, changes, &conditions);
                prop_assert_eq!(catalog.commit(batch), expected);
            }
            Step::Get(key) => {
                prop_assert_eq!(catalog.get(&key), Ok(model.get(&key).cloned()));
                prop_assert_eq!(held.0.get(&key), Ok(held.1.get(&key).cloned()));
            }
            Step::Scan(range, direction, limit) => {
                prop_assert_eq!(catalog.scan(&range, direction, limit), scan(&model, &range, direction, limit));
            }
            Step::TakeSnapshot => held = (catalog.snapshot(), model.clone()),
            Step::ScanSnapshot(range, direction, limit) => {
                prop_assert_eq!(held.0.scan(&range, direction, limit), scan(&held.1, &range, direction, limit));
            }
        }
    }
    Ok(())
}

fn batch(model: &Model, changes: &[Change], conditions: &[Condition]) -> Batch {
    let mut batch = Batch::new();
    for condition in conditions {
        match condition {
            Condition::Absent(key) => batch.require_absent(key.clone()),
            Condition::Unchanged(key) => match model.get(key) {
                Some(value) => batch.require_value(key.clone(), value.clone()),
                None => batch.require_absent(key.clone()),
            },
            Condition::Value(key, value) => batch.require_value(key.clone(), value.clone()),
        };
    }
    for change in changes {
        match change {
            Change::Insert(key, value) => batch.insert(key.clone(), value.clone()),
            Change::Remove(key) => batch.remove(key.clone()),
        };
    }
    batch
}

fn apply(model: &mut Model, changes: Vec<Change>, conditions: &[Condition]) -> Result<(), CommitError> {
    let holds = |condition: &Condition| match condition {
        Condition::Absent(key) => !model.contains_key(key),
        Condition::Unchanged(_) => true,
        Condition::Value(key, value) => model.get(key) == Some(value),
    };
    if !conditions.iter().all(holds) {
        return Err(CommitError::Precondition);
    }
    for change in changes {
        match change {
            Change::Insert(key, value) => model.insert(key, value),
            Change::Remove(key) => model.remove(&key),
        };
    }
    Ok(())
}

fn scan(model: &Model, range: &KeyRange, direction: Direction, limit: usize) -> Result<Vec<Row>, CatalogError> {
    let inside = |key: &Key| *key >= range.start && range.end.as_ref().is_none_or(|end| key < end);
    let mut rows: Vec<Row> = model
        .iter()
        .filter(|(key, _)| inside(key))
        .map(|(key, value)| Row { key: key.clone(), value: value.clone() })
        .collect();
    if direction == Direction::Descending {
        rows.reverse();
    }
    rows.truncate(limit);
    Ok(rows)
}

fn step() -> impl Strategy<Value = Step> {
    let scanned = || (range(), direction(), 0..20usize);
    prop_oneof![
        4 => (vec(change(), 0..8), vec(condition(), 0..3)).prop_map(|(changes, conditions)| Step::Commit(changes, conditions)),
        2 => any_key().prop_map(Step::Get),
        3 => scanned().prop_map(|(range, direction, limit)| Step::Scan(range, direction, limit)),
        1 => Just(Step::TakeSnapshot),
        2 => scanned().prop_map(|(range, direction, limit)| Step::ScanSnapshot(range, direction, limit)),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (any_key(), value()).prop_map(|(key, value)| Change::Insert(key, value)),
        1 => any_key().prop_map(Change::Remove),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        1 => any_key().prop_map(Condition::Absent),
        4 => any_key().prop_map(Condition::Unchanged),
        1 => (any_key(), value()).prop_map(|(key, value)| Condition::Value(key, value)),
    ]
}

fn range() -> impl Strategy<Value = KeyRange> {
    (any_key(), prop::option::of(any_key())).prop_map(|(start, end)| KeyRange { start, end })
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Ascending), Just(Direction::Descending)]
}

/// Few enough to be met again, with the bytes that orders go wrong by.
fn any_key() -> impl Strategy<Value = Key> {
    vec(prop::sample::select(vec![0u8, 1, 0x7f, 0x80, 0xff]), 0..3).prop_map(key)
}

fn value() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..4).prop_map(Bytes::from)
}
