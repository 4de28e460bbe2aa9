//! The archive as the server uses it, on a real disk.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use archive::{Archive, Fragment, LivePosition, Retention, StoreError, Stream, StreamError};
use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, FragmentNumber, Sequence, SessionId, WallTime};
use tempfile::TempDir;

/// 2026-01-01T00:00:00Z: some hour's beginning.
const BEGIN_SECS: i64 = 1_767_225_600;

#[tokio::test]
async fn a_fragment_is_found_by_number_time_and_identity_and_read_back() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    let outcome = archive.store(stream.id, fragment(1, 0, 0)).await.unwrap();
    assert!(!outcome.duplicate);

    let stored = archive.fragment(stream.id, outcome.number, at(2)).unwrap().unwrap();
    assert_eq!((stored.id, stored.start, stored.codecs.len()), (id(1, 0), at(0), 2));
    assert_eq!(archive.range(stream.id, at(0)..at(1), 10, at(2)).unwrap(), std::slice::from_ref(&stored));
    assert_eq!(archive.find(stream.id, id(1, 0), at(2)).unwrap().unwrap(), stored);
    assert_eq!(archive.read(stream.id, outcome.number).unwrap().unwrap(), payload(1, 0));
    assert_eq!(archive.fragment(stream.id, FragmentNumber(1), at(2)).unwrap(), None);
}

#[tokio::test]
async fn everything_is_there_again_after_reopening_and_counters_go_on() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    archive.store(stream.id, fragment(1, 0, 0)).await.unwrap();
    let last = archive.store(stream.id, fragment(1, 1, 2)).await.unwrap().number;
    drop(archive);

    let archive = bench.open();
    assert_eq!(archive.list_streams(), std::slice::from_ref(&stream));
    assert_eq!(archive.read(stream.id, last).unwrap().unwrap(), payload(1, 1));
    let next = archive.store(stream.id, fragment(1, 2, 4)).await.unwrap().number;
    assert!(next > last);
    assert_eq!(archive.live(&stream), [(0, 0), (1, 0), (2, 0)]);
}

#[tokio::test]
async fn a_resend_is_stored_once_and_answered_with_its_first_number() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    let first = archive.store(stream.id, fragment(1, 0, 0)).await.unwrap();
    let resend = Fragment { arrived: at(50), ..fragment(1, 0, 0) };
    let second = archive.store(stream.id, resend).await.unwrap();
    assert_eq!((second.number, second.duplicate), (first.number, true));
    assert_eq!(archive.extent(stream.id, at(60)).unwrap().unwrap().fragments, 1);
}

#[tokio::test]
async fn numbers_ascend_even_when_fragments_arrive_at_the_same_time_or_the_clock_goes_back() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    let mut numbers = Vec::new();
    for (sequence, arrived) in [(0, 10), (1, 10), (2, 3)] {
        let fragment = Fragment { arrived: at(arrived), ..fragment(1, sequence, i64::from(sequence) * 2) };
        numbers.push(archive.store(stream.id, fragment).await.unwrap().number.0);
    }
    assert_eq!(numbers, [numbers[0], numbers[0] + 1, numbers[0] + 2]);
}

#[tokio::test]
async fn backlog_fills_its_gap_in_the_past_and_leaves_the_live_playlist_alone() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    for sequence in [0, 3, 4, 1, 2, 5] {
        archive.store(stream.id, fragment(1, sequence, i64::from(sequence) * 2)).await.unwrap();
    }
    assert_eq!(archive.live(&stream), [(0, 0), (1, 1), (2, 1), (3, 1)]);
    let past = archive.range(stream.id, at(0)..at(100), 100, at(100)).unwrap();
    let sequences: Vec<u32> = past.iter().map(|stored| stored.id.sequence.0).collect();
    assert_eq!(sequences, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn the_newest_live_fragments_come_oldest_first() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    for sequence in 0..5 {
        archive.store(stream.id, fragment(1, sequence, i64::from(sequence) * 2)).await.unwrap();
    }
    let newest = archive.latest_live(stream.id, 2, at(10)).unwrap();
    let sequences: Vec<u32> = newest.iter().map(|stored| stored.id.sequence.0).collect();
    assert_eq!(sequences, [3, 4]);
    assert_eq!(newest[1].live, Some(LivePosition { media_sequence: 4, discontinuity_sequence: 0 }));
}

#[tokio::test]
async fn a_range_holds_the_fragment_that_contains_its_start_and_not_the_one_at_its_end() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    for sequence in 0..10 {
        archive.store(stream.id, fragment(1, sequence, i64::from(sequence) * 2)).await.unwrap();
    }
    let sequences = |from, to, limit| -> Vec<u32> {
        let found = archive.range(stream.id, at(from)..at(to), limit, at(100)).unwrap();
        found.iter().map(|stored| stored.id.sequence.0).collect()
    };
    assert_eq!(sequences(3, 8, 100), [1, 2, 3]);
    assert_eq!(sequences(4, 8, 100), [2, 3]);
    assert_eq!(sequences(0, 100, 3), [0, 1, 2]);
    assert_eq!(sequences(30, 100, 3), []);
}

#[tokio::test]
async fn expired_fragments_are_in_no_answer_even_before_they_are_removed() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    let old = archive.store(stream.id, fragment(1, 0, 0)).await.unwrap().number;
    let young = archive.store(stream.id, fragment(1, 1, 10)).await.unwrap().number;
    // The first arrived at second 2, the second at second 12; 24 hours later the first has expired.
    let now = at(86_400 + 5);
    assert_eq!(archive.fragment(stream.id, old, now).unwrap(), None);
    assert_eq!(archive.find(stream.id, id(1, 0), now).unwrap(), None);
    assert_eq!(archive.range(stream.id, at(0)..at(100), 10, now).unwrap().len(), 1);
    assert_eq!(archive.latest_live(stream.id, 10, now).unwrap().len(), 1);
    assert!(archive.fragment(stream.id, young, now).unwrap().is_some());
    assert_eq!(archive.extent(stream.id, now).unwrap().unwrap().first, Some(at(10)));
}

#[tokio::test]
async fn expiry_removes_rows_at_once_and_files_after_their_hour() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    for sequence in 0..600 {
        archive.store(stream.id, fragment(1, sequence, i64::from(sequence))).await.unwrap();
    }
    assert_eq!(bench.segments(), 1);
    // Fragment s arrives at second s + 2; one that arrived exactly 24 hours ago is still kept.
    let expired = archive.expire(at(86_400 + 300)).await.unwrap();
    assert_eq!((expired.fragments, expired.swept.segments), (298, 0));
    let overview = archive.extent(stream.id, at(86_400 + 300)).unwrap().unwrap();
    assert_eq!(overview.fragments, 302);
    let expired = archive.expire(at(2 * 86_400)).await.unwrap();
    assert_eq!((expired.fragments, expired.swept.segments), (302, 1));
    assert_eq!(bench.segments(), 0);
    assert_eq!(archive.extent(stream.id, at(2 * 86_400)).unwrap().unwrap().bytes, 0);
}

#[tokio::test]
async fn a_changed_retention_holds_at_once_for_what_is_stored() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    let number = archive.store(stream.id, fragment(1, 0, 0)).await.unwrap().number;
    archive.set_retention(stream.id, hours(168)).unwrap();
    archive.expire(at(3 * 86_400)).await.unwrap();
    assert_eq!(archive.read(stream.id, number).unwrap().unwrap(), payload(1, 0));
    archive.set_retention(stream.id, hours(1)).unwrap();
    assert_eq!(archive.fragment(stream.id, number, at(3700)).unwrap(), None);
    drop(archive);
    let again = bench.open();
    assert_eq!(again.stream(stream.id).unwrap().unwrap().retention, hours(1));
}

#[tokio::test]
async fn a_deleted_stream_is_gone_and_its_name_is_free_but_its_number_is_not() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    let number = archive.store(stream.id, fragment(1, 0, 0)).await.unwrap().number;
    let mut watch = archive.watch(stream.id);
    archive.delete_stream(stream.id).await.unwrap();

    assert_eq!(archive.find_stream(&stream.name).unwrap(), None);
    assert_eq!(archive.read(stream.id, number).unwrap(), None);
    assert!(watch.changed().await.is_err(), "those who watch it see it end");
    assert!(matches!(archive.store(stream.id, fragment(1, 1, 2)).await, Err(StoreError::NoStream)));
    assert!(matches!(archive.delete_stream(stream.id).await, Err(StreamError::NotFound)));
    let next = archive.front();
    assert_ne!(next.id, stream.id);
    assert_eq!(archive.range(next.id, at(0)..at(100), 10, at(3)).unwrap(), []);
    drop(archive);
    assert_eq!(bench.open().list_streams(), [next]);
}

#[tokio::test]
async fn streams_are_listed_by_name_and_a_name_is_taken_once() {
    let bench = Bench::new();
    let archive = bench.open();
    for name in ["gate", "back", "front"] {
        archive.create_stream(&name.parse().unwrap(), Retention::DEFAULT, at(0)).unwrap();
    }
    let taken = archive.create_stream(&"back".parse().unwrap(), Retention::DEFAULT, at(0));
    assert!(matches!(taken, Err(StreamError::Exists(_))));
    let names: Vec<String> = archive.list_streams().iter().map(|s| s.name.to_string()).collect();
    assert_eq!(names, ["back", "front", "gate"]);
}

#[tokio::test]
async fn those_who_watch_a_stream_see_each_newest_number() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    let mut watch = archive.watch(stream.id);
    assert_eq!(*watch.borrow_and_update(), None);
    let number = archive.store(stream.id, fragment(1, 0, 0)).await.unwrap().number;
    watch.changed().await.unwrap();
    assert_eq!(*watch.borrow_and_update(), Some(number));
}

#[tokio::test]
async fn totals_are_the_same_counted_along_and_counted_afresh() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    assert_eq!(archive.extent(stream.id, at(0)).unwrap().unwrap().fragments, 0);
    for sequence in 0..7 {
        archive.store(stream.id, fragment(1, sequence, i64::from(sequence) * 2)).await.unwrap();
    }
    let along = archive.extent(stream.id, at(20)).unwrap().unwrap();
    drop(archive);
    assert_eq!(bench.open().extent(stream.id, at(20)).unwrap().unwrap(), along);
    assert_eq!((along.fragments, along.first, along.last), (7, Some(at(0)), Some(at(14))));
}

#[tokio::test]
async fn oversized_and_overlong_fragments_are_refused() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    let long = Fragment { duration: Duration::from_secs(21), ..fragment(1, 0, 0) };
    assert!(matches!(archive.store(stream.id, long).await, Err(StoreError::TooLong(_))));
    let payload = Bytes::from(vec![0; fragment::limits::FRAGMENT_BYTES_MAX + 1]);
    let large = Fragment { payload, ..fragment(1, 0, 0) };
    let refused = archive.store(stream.id, large).await.unwrap_err();
    assert!(matches!(refused, StoreError::TooLarge { .. }) && !refused.retryable());
}

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Archive {
        open(self.0.path())
    }

    fn segments(&self) -> usize {
        std::fs::read_dir(self.0.path().join("segments")).unwrap().count()
    }
}

fn open(folder: &Path) -> Archive {
    let ring = Arc::new(vault::Keyring::of_vault(folder).unwrap());
    Archive::open(folder, ring).unwrap()
}

trait Front {
    fn front(&self) -> Stream;
    fn live(&self, stream: &Stream) -> Vec<(u64, u64)>;
}

impl Front for Archive {
    fn front(&self) -> Stream {
        self.find_or_create_stream(&"front".parse().unwrap(), at(0)).unwrap()
    }

    fn live(&self, stream: &Stream) -> Vec<(u64, u64)> {
        let live = self.latest_live(stream.id, 100, at(100)).unwrap();
        let position = |live: LivePosition| (live.media_sequence, live.discontinuity_sequence);
        live.iter().filter_map(|stored| stored.live.map(position)).collect()
    }
}

fn fragment(session: u64, sequence: u32, start_secs: i64) -> Fragment {
    Fragment {
        id: id(session, sequence),
        start: at(start_secs),
        quality: ClockQuality::Synchronised,
        duration: Duration::from_secs(2),
        tracks_fingerprint: 7,
        independent: true,
        codecs: vec!["avc1.42C00D".to_owned(), "mp4a.40.2".to_owned()],
        arrived: at(start_secs + 2),
        payload: payload(session, sequence),
    }
}

fn payload(session: u64, sequence: u32) -> Bytes {
    Bytes::from(format!("payload of {session}-{sequence} ").repeat(50))
}

fn id(session: u64, sequence: u32) -> FragmentId {
    FragmentId { session: SessionId(session), sequence: Sequence(sequence) }
}

fn hours(hours: u64) -> Retention {
    Retention::new(Duration::from_secs(hours * 3600)).unwrap()
}

fn at(secs: i64) -> WallTime {
    WallTime::from_millis((BEGIN_SECS + secs) * 1000)
}
