//! One suite for every backend: each keeps the same promises, and each property is a test by its name.
//!
//! What only one of them can do, such as losing its server, is tested beside it.

mod model;
mod properties;

use std::sync::Arc;

use super::{Batch, Catalog, Direction, FjallCatalog, KeyRange, MemoryCatalog, Row};
use crate::key::{Key, Space};

macro_rules! conformance {
    ($($property:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $property() { super::properties::$property(&super::in_memory()); })*
        }

        mod fjall {
            $(#[test] fn $property() {
                let folder = super::FjallFolder::new();
                super::properties::$property(&folder.open());
            })*
        }

        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[test] fn $property() {
                let schema = crate::catalog::postgres::tests::Schema::new();
                super::properties::$property(&schema.open());
            })*
        }
    };
}

conformance! {
    committed_rows_are_found_and_removed_rows_are_not,
    an_empty_batch_changes_nothing,
    keys_order_by_their_bytes,
    scans_are_half_open,
    a_scan_ends_at_its_limit_and_at_that_of_all_scans,
    a_scan_continues_beyond_the_last_key_seen,
    a_snapshot_holds_still,
    a_snapshot_holds_still_while_commits_go_on,
    snapshots_can_be_taken_again_and_again,
    a_failed_condition_changes_nothing,
    conditions_are_about_the_rows_before_the_batch,
    a_row_that_must_only_be_absent_stays_absent,
    of_conditional_commits_at_one_time_exactly_one_wins,
    a_counter_raised_on_condition_loses_no_step,
    commits_appear_whole,
    a_condition_holds_when_its_changes_appear,
    the_last_change_of_a_key_in_a_batch_wins,
    values_may_be_empty_and_may_be_large,
    keys_may_be_as_long_as_the_limit_says,
    a_batch_may_have_thousands_of_rows,
}

#[test]
fn fjall_finds_its_rows_again_after_it_was_closed() {
    let folder = FjallFolder::new();
    properties::rows_survive_reopening(&|| folder.open());
}

#[cfg(feature = "postgres")]
#[test]
fn postgres_finds_its_rows_again_after_it_was_closed() {
    let schema = super::postgres::tests::Schema::new();
    properties::rows_survive_reopening(&|| schema.open());
}

#[test]
fn memory_agrees_with_the_model() {
    model::check(256, in_memory);
}

#[test]
fn fjall_agrees_with_the_model() {
    // The folder goes with the closure's last catalog; each case has one of its own.
    model::check(48, || KeptOpen::new(FjallFolder::new()));
}

#[cfg(feature = "postgres")]
#[test]
fn postgres_agrees_with_the_model() {
    let server = services::Postgres::shared();
    model::check(12, || super::postgres::tests::Schema::on(&server).open());
}

type Shared = Arc<dyn Catalog>;

fn in_memory() -> Shared {
    Arc::new(MemoryCatalog::default())
}

struct FjallFolder(tempfile::TempDir);

impl FjallFolder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Shared {
        Arc::new(FjallCatalog::open(self.0.path()).unwrap())
    }
}

/// A catalog with the folder that it lies in.
struct KeptOpen {
    catalog: Shared,
    _folder: FjallFolder,
}

impl KeptOpen {
    fn new(folder: FjallFolder) -> Self {
        Self { catalog: folder.open(), _folder: folder }
    }
}

impl AsRef<dyn Catalog> for KeptOpen {
    fn as_ref(&self) -> &(dyn Catalog + 'static) {
        &*self.catalog
    }
}

fn key(name: impl AsRef<[u8]>) -> Key {
    Key::new(Space::Archive, name.as_ref())
}

fn commit(catalog: &dyn Catalog, fill: impl FnOnce(&mut Batch) -> &mut Batch) {
    let mut batch = Batch::new();
    fill(&mut batch);
    catalog.commit(batch).unwrap();
}

fn all() -> KeyRange {
    KeyRange::prefix(key(""))
}

fn scan(catalog: &dyn Catalog, range: &KeyRange, direction: Direction, limit: usize) -> Vec<String> {
    names(&catalog.scan(range, direction, limit).unwrap())
}

fn names(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| String::from_utf8(row.key.rest().to_vec()).unwrap()).collect()
}
