//! Two servers on one catalog and one set of segments: whatever they do at the same time, one order explains it.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use archive::{Archive, Fragment, Index, Retention, StoreError, Stream, StreamError};
use bytes::Bytes;
use disk::OsDisk;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};
use tempfile::TempDir;
use vault::catalog::MemoryCatalog;
use vault::segment_store::LocalSegments;
use vault::{Catalog, KeyStore, Keyring, MemoryKeys, OsEntropy, Owner, Parts, SegmentStore, Vault};

/// 2026-10-09T18:40:00Z.
const BEGIN_SECS: i64 = 1_791_571_200;

#[tokio::test(flavor = "multi_thread")]
async fn what_two_store_in_one_stream_at_a_time_is_all_there_once_and_in_one_order() {
    let shared = Shared::new();
    let (one, two) = (shared.open(), shared.open());
    let stream = front(&one);
    two.refresh().unwrap();
    let mut storing = Vec::new();
    for worker in 0..8 {
        let archive = if worker % 2 == 0 { one.clone() } else { two.clone() };
        let id = stream.id;
        storing.push(tokio::spawn(async move {
            let mut numbers = Vec::new();
            for sequence in (worker..200).step_by(8) {
                // All at the same time by the clock.
                let fragment = Fragment { arrived: at(0), ..fragment(1, sequence) };
                numbers.push(archive.store(id, fragment).await.unwrap().number);
            }
            numbers
        }));
    }
    let mut numbers = BTreeSet::new();
    for stored in storing {
        for number in stored.await.unwrap() {
            assert!(numbers.insert(number), "a number was given twice");
        }
    }
    for archive in [&one, &two] {
        let range = at(0)..at(1000);
        let found = archive.arrived(stream.id, range, 1000, at(500)).unwrap();
        assert!(found.iter().map(|stored| stored.number).eq(numbers.iter().copied()));
        let live: Vec<u64> = found.iter().filter_map(|stored| stored.live).map(|live| live.media_sequence).collect();
        assert_eq!(live, (0..live.len() as u64).collect::<Vec<_>>(), "each place in the live playlist is given once");
        for stored in &found {
            let bytes = archive.read(stream.id, stored.number).unwrap().unwrap();
            assert_eq!(bytes, payload(1, stored.id.sequence.0));
        }
        let extent = archive.extent(stream.id, at(500)).unwrap().unwrap();
        assert_eq!(extent.fragments, 200);
        assert_eq!(extent.bytes, found.iter().map(|stored| stored.bytes).sum::<u64>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_that_comes_to_both_at_a_time_is_stored_once() {
    let shared = Shared::new();
    let (one, two) = (shared.open(), shared.open());
    let stream = front(&one);
    two.refresh().unwrap();
    for sequence in 0..50 {
        let (first, second) =
            tokio::join!(one.store(stream.id, fragment(1, sequence)), two.store(stream.id, fragment(1, sequence)));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first.number, second.number);
        assert!(first.duplicate != second.duplicate, "{first:?} {second:?}");
    }
    assert_eq!(one.extent(stream.id, at(500)).unwrap().unwrap().fragments, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_whose_time_has_passed_are_deleted_by_whoever_comes_first() {
    let shared = Shared::new();
    let (one, two) = (shared.open(), shared.open());
    let stream = one.create_stream(&"front".parse().unwrap(), hours(1), at(0)).unwrap();
    two.refresh().unwrap();
    for sequence in 0..600 {
        let archive = if sequence % 2 == 0 { &one } else { &two };
        archive.store(stream.id, fragment(1, sequence)).await.unwrap();
    }
    let files = one.vault().segments().unwrap().len() as u64;
    assert!(files >= 20, "{files} segments, ten slots of each");
    let now = at(600 * 2 + 2 * 3600);
    let (mine, yours) = tokio::join!(one.expire(now), two.expire(now));
    let (mine, yours) = (mine.unwrap(), yours.unwrap());
    assert_eq!(mine.fragments + yours.fragments, 600);
    assert!(one.vault().segments().unwrap().is_empty());
    assert!(mine.swept.segments + yours.swept.segments >= files);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_change_different_things_of_a_retention_undo_nothing() {
    let shared = Shared::new();
    let (one, two) = (shared.open(), shared.open());
    let stream = front(&one);
    two.refresh().unwrap();
    let longer = |retention: Retention| Retention::new(hours(5).time())?.with_bytes(retention.bytes());
    one.change_retention(stream.id, at(0), longer).await.unwrap();
    two.change_retention(stream.id, at(0), |retention| retention.with_bytes(Some(1 << 30))).await.unwrap();
    let expected = hours(5).with_bytes(Some(1 << 30)).unwrap();
    assert_eq!(two.stream(stream.id).unwrap().unwrap().retention, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_both_create_at_a_time_are_one_if_their_names_are() {
    let shared = Shared::new();
    let (one, two) = (shared.open(), shared.open());
    for n in 0..20 {
        let find = |archive: &Archive, name: String| {
            let archive = archive.clone();
            tokio::task::spawn_blocking(move || archive.find_or_create_stream(&name.parse().unwrap(), at(0)).unwrap())
        };
        let same = tokio::join!(find(&one, format!("same{n}")), find(&two, format!("same{n}")));
        assert_eq!(same.0.unwrap(), same.1.unwrap());
        let other = tokio::join!(find(&one, format!("one{n}")), find(&two, format!("two{n}")));
        assert_ne!(other.0.unwrap().id, other.1.unwrap().id);
    }
    one.refresh().unwrap();
    two.refresh().unwrap();
    assert_eq!(one.list_streams(), two.list_streams());
    assert_eq!(one.list_streams().len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_one_deletes_takes_nothing_from_the_other_even_before_that_knows() {
    let shared = Shared::new();
    let (one, two) = (shared.open(), shared.open());
    let stream = front(&one);
    two.refresh().unwrap();
    let number = two.store(stream.id, fragment(1, 0)).await.unwrap().number;
    one.delete_stream(stream.id).await.unwrap();
    assert!(matches!(two.store(stream.id, fragment(1, 1)).await, Err(StoreError::NoStream)));
    assert_eq!(two.find_stream(&stream.name).unwrap(), None, "it has learned of it");
    assert_eq!(two.read(stream.id, number).unwrap(), None);
    let again = front(&two);
    assert_ne!(again.id, stream.id);
    assert!(matches!(one.set_retention(stream.id, hours(1), at(0)).await, Err(StreamError::NotFound)));
    one.refresh().unwrap();
    assert_eq!(front(&one).id, again.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retention_that_one_changes_holds_for_the_other_and_both_may_delete_what_has_expired() {
    let shared = Shared::new();
    let (one, two) = (shared.open(), shared.open());
    let stream = front(&one);
    two.refresh().unwrap();
    for sequence in 0..1000 {
        let archive = if sequence % 3 == 0 { &one } else { &two };
        archive.store(stream.id, fragment(1, sequence)).await.unwrap();
    }
    one.set_retention(stream.id, hours(1), at(0)).await.unwrap();
    let number = two.store(stream.id, fragment(2, 1000)).await.unwrap().number;
    two.refresh().unwrap();
    let seen = two.stream(stream.id).unwrap().unwrap().retention;
    assert_eq!(seen, hours(1));
    // All but the last ones have expired then.
    let now = at(2 * 990 + 3600);
    let (mine, yours) = tokio::join!(one.expire(now), two.expire(now));
    let removed = mine.unwrap().fragments + yours.unwrap().fragments;
    let left = one.extent(stream.id, now).unwrap().unwrap();
    assert_eq!(removed + left.fragments, 1001, "each is removed by one of them");
    let found = two.arrived(stream.id, at(0)..at(10_000), 2000, now).unwrap();
    assert_eq!(found.len() as u64, left.fragments);
    assert_eq!(found.iter().map(|stored| stored.bytes).sum::<u64>(), left.bytes);
    assert_eq!(found.last().map(|stored| stored.number), Some(number));
    for stored in &found {
        assert!(one.read(stream.id, stored.number).unwrap().is_some());
    }
}

/// What the servers share.
struct Shared {
    folder: TempDir,
    catalog: Arc<dyn Catalog>,
    segments: Arc<dyn SegmentStore>,
    keys: Arc<dyn KeyStore>,
}

impl Shared {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let segments = LocalSegments::open(Arc::new(OsDisk), folder.path()).unwrap();
        let (catalog, keys) = (Arc::new(MemoryCatalog::default()), Arc::new(MemoryKeys::default()));
        Self { folder, catalog, segments: Arc::new(segments), keys }
    }

    /// A server on it.
    fn open(&self) -> Archive {
        let index = Arc::new(Index::new());
        let (segments, catalog, keys) = (self.segments.clone(), self.catalog.clone(), self.keys.clone());
        let parts = Parts::of_stores(segments, catalog, keys, ring(self.folder.path()), Arc::new(OsEntropy));
        let owner: Arc<dyn Owner> = index.clone();
        Archive::new(Vault::assemble(parts, vec![owner]).unwrap(), index).unwrap()
    }
}

fn ring(folder: &Path) -> Arc<Keyring> {
    Arc::new(Keyring::of_vault(folder).unwrap())
}

fn front(archive: &Archive) -> Stream {
    archive.find_or_create_stream(&"front".parse().unwrap(), at(0)).unwrap()
}

fn fragment(session: u64, sequence: u32) -> Fragment {
    let start = i64::from(sequence) * 2;
    Fragment {
        id: FragmentId { session: SessionId(session), sequence: Sequence(sequence) },
        start: at(start),
        quality: ClockQuality::Synchronised,
        duration: Duration::from_secs(2),
        tracks_fingerprint: 7,
        independent: true,
        codecs: vec!["avc1.42C00D".to_owned()],
        arrived: at(start + 2),
        payload: payload(session, sequence),
    }
}

fn payload(session: u64, sequence: u32) -> Bytes {
    Bytes::from(format!("payload of {session}-{sequence} ").repeat(50))
}

fn hours(hours: u64) -> Retention {
    Retention::new(Duration::from_secs(hours * 3600)).unwrap()
}

fn at(secs: i64) -> WallTime {
    WallTime::from_millis((BEGIN_SECS + secs) * 1000)
}
