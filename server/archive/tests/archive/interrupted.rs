//! Deletion and expiry that stop between any two commits, and are taken up after the next start.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use archive::{Archive, limits};
use bytes::Bytes;
use vault::{Batch, Catalog, CatalogError, CommitError, Key, Keyring, Parts, SegmentName, Snapshot};

use super::stage::{Bench, at, hours, payload, side_by_side};

/// It breaks at a commit and takes none after it, as if the process had ended there.
struct Stopping {
    catalog: Arc<dyn Catalog>,
    commits_left: AtomicU32,
}

impl Catalog for Stopping {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, CatalogError> {
        self.catalog.get(key)
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        self.catalog.snapshot()
    }

    fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let left = self.commits_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map_err(|_| CommitError::Broken(CatalogError::Failed("it was stopped".to_owned())))?;
        self.catalog.commit(batch)
    }
}

#[tokio::test]
async fn what_stops_in_the_middle_of_a_deletion_loses_nothing_that_lives_and_leaves_nothing_that_is_dead() {
    let mut stopped = 0;
    for commits in 0.. {
        let bench = Bench::new();
        let now = at(2 * 3600);
        let [front, back, gone] = side_by_side(&bench.open(), ["front", "back", "gone"]).await;

        let (archive, catalog) = open_until(&bench, commits);
        let before = segments(&archive);
        let deleted = archive.delete_stream(gone).await;
        let lowered = archive.set_retention(front, hours(1), now).await;
        for _ in 0..5 {
            let _ = archive.expire(now).await;
        }
        let is_whole = catalog.commits_left.load(Ordering::SeqCst) > 0;
        drop((archive, catalog));

        let archive = bench.open();
        if deleted.is_err() && archive.stream(gone).unwrap().is_some() {
            archive.delete_stream(gone).await.unwrap();
        }
        if lowered.is_err() {
            archive.set_retention(front, hours(1), now).await.unwrap();
        }
        for _ in 0..5 {
            archive.expire(now).await.unwrap();
        }
        let found = archive.range(back, at(0)..at(100), 100, now).unwrap();
        assert_eq!(found.len(), 20, "after {commits} commits");
        for stored in &found {
            assert_eq!(archive.read(back, stored.number).unwrap().unwrap(), payload(back, stored.id.sequence.0));
        }
        archive.check(now, &mut |finding| panic!("after {commits} commits: {finding}")).unwrap();
        assert!(segments(&archive).is_disjoint(&before), "after {commits} commits");
        assert_eq!(bench.keys_of(gone), 0, "after {commits} commits");
        // Also a copy that was on its way when it stopped.
        archive.expire(at(2 * 86_400)).await.unwrap();
        assert_eq!(bench.segments(), 0, "after {commits} commits");
        if is_whole {
            break;
        }
        stopped += 1;
    }
    assert!(stopped >= 6, "there are more steps than {stopped}");
}

/// The files, by their names.
fn segments(archive: &Archive) -> BTreeSet<SegmentName> {
    archive.vault().segments().unwrap().into_iter().map(|segment| segment.name).collect()
}

fn open_until(bench: &Bench, commits: u32) -> (Archive, Arc<Stopping>) {
    let ring = Arc::new(Keyring::of_vault(bench.0.path()).unwrap());
    let mut parts = Parts::local(bench.0.path(), ring).unwrap();
    let catalog = Arc::new(Stopping { catalog: parts.catalog.clone(), commits_left: commits.into() });
    parts.catalog = catalog.clone();
    (Archive::assemble(parts, limits::RETENTION_CEILING_DEFAULT).unwrap(), catalog)
}
