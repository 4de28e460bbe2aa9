//! What expires, what is given up before, and the space that comes back.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use archive::{Archive, Fragment, StreamError, limits};
use bytes::Bytes;
use fragment::WallTime;
use vault::{
    Batch, Catalog, CatalogError, CommitError, Direction, Key, KeyRange, Keyring, Parts, Row, SegmentFile, Snapshot,
    Space, Swept,
};

use super::stage::{Bench, Front, at, fragment, hours, id, payload, side_by_side};

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
async fn expiry_removes_rows_at_once_and_files_within_minutes() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    for sequence in 0..600 {
        archive.store(stream.id, fragment(1, sequence, i64::from(sequence))).await.unwrap();
    }
    // They expire in six slots of two minutes. Fragment s arrives at second s + 2; one that arrived exactly 24 hours ago is still kept.
    let expired = archive.expire(at(86_400 + 300)).await.unwrap();
    assert_eq!((expired.fragments, expired.swept.segments), (298, 2));
    assert_eq!(bench.segments(), 4);
    let overview = archive.extent(stream.id, at(86_400 + 300)).unwrap().unwrap();
    assert_eq!(overview.fragments, 302);
    let expired = archive.expire(at(2 * 86_400)).await.unwrap();
    assert_eq!((expired.fragments, expired.swept.segments), (302, 4));
    assert_eq!(bench.segments(), 0);
    assert_eq!(archive.extent(stream.id, at(2 * 86_400)).unwrap().unwrap().bytes, 0);
}

#[tokio::test]
async fn a_changed_retention_holds_at_once_for_what_is_stored() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    let number = archive.store(stream.id, fragment(1, 0, 0)).await.unwrap().number;
    archive.set_retention(stream.id, hours(168), at(0)).await.unwrap();
    archive.expire(at(3 * 86_400)).await.unwrap();
    assert_eq!(archive.read(stream.id, number).unwrap().unwrap(), payload(1, 0));
    archive.set_retention(stream.id, hours(1), at(0)).await.unwrap();
    assert_eq!(archive.fragment(stream.id, number, at(3700)).unwrap(), None);
    drop(archive);
    let again = bench.open();
    assert_eq!(again.stream(stream.id).unwrap().unwrap().retention, hours(1));
}

#[tokio::test]
async fn a_lowered_retention_gives_the_space_back_before_the_time_that_was_set_first() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    for sequence in 0..300 {
        archive.store(stream.id, fragment(1, sequence, i64::from(sequence))).await.unwrap();
    }
    archive.set_retention(stream.id, hours(1), at(0)).await.unwrap();
    // Three slots of two minutes; of the last one, fragments are left.
    let expired = archive.expire(at(3600 + 260)).await.unwrap();
    assert_eq!((expired.fragments, expired.swept.segments), (258, 2));
    assert_eq!(bench.segments(), 1);
    assert_eq!(archive.expire(at(3600 + 400)).await.unwrap().swept.segments, 1);
    assert_eq!(bench.segments(), 0);
}

#[tokio::test]
async fn the_oldest_of_a_stream_go_when_it_has_more_bytes_than_it_may() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    let payload = Bytes::from(vec![7; 1 << 20]);
    for sequence in 0..100 {
        let large = Fragment { payload: payload.clone(), ..fragment(1, sequence, i64::from(sequence) * 10) };
        archive.store(stream.id, large).await.unwrap();
    }
    let before = bench.segments();
    archive.set_retention(stream.id, hours(24).with_bytes(Some(70 << 20)).unwrap(), at(0)).await.unwrap();
    let expired = archive.expire(at(1000)).await.unwrap();
    assert_eq!(expired.fragments, 30);
    let kept = archive.extent(stream.id, at(1000)).unwrap().unwrap();
    assert_eq!((kept.fragments, kept.bytes, kept.first), (70, 70 << 20, Some(at(300))));
    // Twelve fragments in a slot; the third one is begun on.
    assert_eq!((expired.swept.segments, bench.segments()), (2, before - 2));
    assert_eq!(archive.expire(at(1010)).await.unwrap().fragments, 0);
    drop(archive);
    let again = bench.open();
    assert_eq!(again.stream(stream.id).unwrap().unwrap().retention.bytes(), Some(70 << 20));
    assert_eq!(again.check(at(1000), &mut |_| {}).unwrap().findings, 0);
}

#[tokio::test]
async fn room_is_made_by_giving_up_what_arrived_first_in_any_stream() {
    let bench = Bench::new();
    let archive = bench.open();
    let (front, back) = (archive.front(), archive.create_stream(&"back".parse().unwrap(), hours(24), at(0)).unwrap());
    let payload = Bytes::from(vec![7; 100_000]);
    for sequence in 0..120 {
        let large =
            |session| Fragment { payload: payload.clone(), ..fragment(session, sequence, i64::from(sequence) * 10) };
        archive.store(front.id, large(1)).await.unwrap();
        archive.store(back.id, large(2)).await.unwrap();
    }
    let (now, before) = (at(2 * 3600), bench.segments());
    let made = archive.make_room(4_000_000, now).await.unwrap();
    // A slot holds twelve of each stream: 2.4 MB.
    assert_eq!((made.swept.segments, bench.segments()), (2, before - 2));
    assert!(made.swept.bytes >= 4_000_000, "{made:?}");
    for stream in [front.id, back.id] {
        let kept = archive.range(stream, at(0)..at(3600), 1000, now).unwrap();
        assert!(kept.iter().all(|stored| stored.arrived > at(200)), "the oldest are gone");
        assert!(kept.len() >= 120 - 36, "{} are kept", kept.len());
        let newest = kept.last().unwrap();
        assert_eq!(archive.read(stream, newest.number).unwrap().unwrap(), payload);
    }
    assert_eq!(archive.check(now, &mut |_| {}).unwrap().findings, 0);
}

#[tokio::test]
async fn what_a_raised_retention_kept_is_given_up_piece_by_piece_too() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    for sequence in 0..10 {
        archive.store(stream.id, fragment(1, sequence, i64::from(sequence) * 1000)).await.unwrap();
    }
    archive.set_retention(stream.id, hours(168), at(0)).await.unwrap();
    // The slots of all ten have passed by now.
    let now = at(3 * 86_400);
    let made = archive.make_room(1, now).await.unwrap();
    assert_eq!((made.fragments, made.swept.segments), (1, 1));
    assert_eq!(archive.range(stream.id, at(0)..at(10_000), 100, now).unwrap().len(), 9);
}

#[tokio::test]
async fn what_arrives_after_the_clock_was_set_back_is_kept_although_later_numbers_were_given_up() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    archive.store(stream.id, fragment(1, 0, 3 * 3600)).await.unwrap();
    assert_eq!(archive.make_room(u64::MAX, at(5 * 3600)).await.unwrap().fragments, 1);
    drop(archive);
    let archive = bench.open();
    let number = archive.store(stream.id, fragment(2, 0, 3600)).await.unwrap().number;
    archive.expire(at(3700)).await.unwrap();
    assert_eq!(archive.read(stream.id, number).unwrap().unwrap(), payload(2, 0));
    assert!(archive.find(stream.id, id(2, 0), at(3700)).unwrap().is_some());
}

#[tokio::test]
async fn what_arrives_after_the_clock_was_set_back_behind_a_sweep_is_stored_and_kept() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.create_stream(&"front".parse().unwrap(), hours(1), at(0)).unwrap();
    archive.store(stream.id, fragment(1, 0, 5 * 3600)).await.unwrap();
    archive.expire(at(5 * 3600 + 10)).await.unwrap();
    // Four hours back: the slot that it would expire in was swept. Then the right time comes again.
    let number = archive.store(stream.id, fragment(1, 1, 3600)).await.unwrap().number;
    for now in [at(3700), at(5 * 3600 + 20), at(6 * 3600)] {
        archive.expire(now).await.unwrap();
        assert_eq!(archive.read(stream.id, number).unwrap().unwrap(), payload(1, 1));
    }
    let checked = archive.check(at(6 * 3600), &mut |finding| panic!("{finding}")).unwrap();
    assert_eq!((checked.fragments, checked.unreferenced), (2, 0));
}

#[tokio::test]
async fn what_a_raised_retention_keeps_is_kept_by_a_rebuilt_index_too_and_goes_at_the_new_time_with_its_key() {
    for is_lost in [false, true] {
        let bench = Bench::new();
        let archive = bench.open();
        let stream = archive.front();
        for sequence in 0..3 {
            archive.store(stream.id, fragment(1, sequence, i64::from(sequence))).await.unwrap();
        }
        archive.set_retention(stream.id, hours(72), at(3600)).await.unwrap();
        drop(archive);
        if is_lost {
            bench.lose_catalog();
        }
        let archive = bench.open();
        if is_lost {
            assert_eq!(archive.rebuild_index().unwrap().fragments, 3);
            assert_eq!(archive.stream(stream.id).unwrap().unwrap().retention, hours(72));
        }
        // The hour of the segments has passed for a day, and the new one has not come.
        archive.expire(at(2 * 86_400)).await.unwrap();
        let kept = archive.range(stream.id, at(0)..at(100), 100, at(2 * 86_400)).unwrap();
        assert_eq!(kept.len(), 3);
        for stored in kept {
            assert_eq!(archive.read(stream.id, stored.number).unwrap().unwrap(), payload(1, stored.id.sequence.0));
        }
        assert_eq!(archive.expire(at(3 * 86_400 + 10)).await.unwrap().fragments, 3);
        archive.expire(at(5 * 86_400)).await.unwrap();
        assert_eq!((bench.segments(), bench.keys_of(stream.id)), (0, 0));
    }
}

#[tokio::test]
async fn a_note_that_a_retention_was_raised_holds_up_no_file_once_it_is_lowered_again() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    archive.set_retention(stream.id, hours(72), at(0)).await.unwrap();
    archive.store(stream.id, fragment(1, 0, 0)).await.unwrap();
    assert_eq!(archive.check(at(10), &mut |finding| panic!("{finding}")).unwrap().unreferenced, 0);
    archive.set_retention(stream.id, hours(1), at(0)).await.unwrap();
    archive.expire(at(2 * 3600)).await.unwrap();
    assert_eq!(bench.segments(), 0);
}

#[tokio::test]
async fn what_was_given_up_before_a_restart_gives_its_space_back_after_it() {
    let bench = Bench::new();
    let archive = bench.open();
    let [front, back] = side_by_side(&archive, ["front", "back"]).await;
    let (before, now) = (archive.vault().segments().unwrap().len() as u64, at(2 * 3600));
    archive.set_retention(front, hours(1), now).await.unwrap();
    assert_eq!(archive.expire(now).await.unwrap().fragments, 20);
    drop(archive);
    let archive = bench.open();
    assert_eq!(expire_some_times(&archive, now).await.segments, before, "they were shared, and copied out of");
    assert_eq!(archive.range(back, at(0)..at(100), 100, now).unwrap().len(), 20);
}

#[tokio::test]
async fn a_stream_that_can_not_be_expired_holds_up_no_other_one() {
    let bench = Bench::new();
    let archive = bench.open();
    let streams = ["a", "b", "c"].map(|name| archive.find_or_create_stream(&name.parse().unwrap(), at(0)).unwrap());
    for stream in &streams {
        archive.store(stream.id, fragment(stream.id, 0, 0)).await.unwrap();
        archive.store(stream.id, fragment(stream.id, 1, 1000)).await.unwrap();
    }
    let catalog = archive.vault().catalog();
    let rows = KeyRange::prefix(Key::new(Space::Archive, &[3, 0, 0, 0, 0, 0, 0, 0, 1]));
    let damaged = catalog.scan(&rows, Direction::Ascending, 1).unwrap().remove(0).key;
    let mut batch = Batch::new();
    batch.insert(damaged, Bytes::from_static(b"damaged"));
    catalog.commit(batch).unwrap();

    let now = at(3 * 86_400);
    assert!(matches!(archive.expire(now).await, Err(StreamError::Query(_))), "it is told");
    for stream in &streams[1..] {
        assert_eq!(archive.extent(stream.id, now).unwrap().unwrap().bytes, 0);
    }
    assert_eq!(bench.segments(), 1, "the one that a row leads to which was not reached");
}

#[tokio::test]
async fn where_what_was_given_up_can_not_be_deleted_nothing_more_is_given_up() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    for sequence in 0..5 {
        archive.store(stream.id, fragment(1, sequence, i64::from(sequence) * 1000)).await.unwrap();
    }
    let segments = bench.0.path().join("segments");
    let mut files: Vec<_> = std::fs::read_dir(&segments).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let whole = std::fs::read(&files[0]).unwrap();
    std::fs::remove_file(&files[0]).unwrap();
    std::fs::create_dir(&files[0]).unwrap();

    let now = at(5 * 3600);
    assert!(matches!(archive.make_room(u64::MAX, now).await, Err(StreamError::Stuck)));
    assert_eq!(archive.range(stream.id, at(0)..at(10_000), 100, now).unwrap().len(), 4);
    std::fs::remove_dir(&files[0]).unwrap();
    std::fs::write(&files[0], whole).unwrap();
    drop(archive);
    bench.open().expire(now).await.unwrap();
    assert!(!files[0].exists(), "it was looked at again");
}

#[tokio::test]
async fn what_is_younger_than_an_hour_is_not_given_up() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    for sequence in 0..10 {
        archive.store(stream.id, fragment(1, sequence, i64::from(sequence) * 1000)).await.unwrap();
    }
    let made = archive.make_room(u64::MAX, at(3 * 3600)).await.unwrap();
    let kept = archive.range(stream.id, at(0)..at(10_000), 100, at(3 * 3600)).unwrap();
    assert_eq!((made.fragments, kept.len()), (8, 2));
    assert!(kept[0].arrived >= at(2 * 3600));
}

#[tokio::test]
async fn a_frame_without_a_row_is_not_taken_for_given_up() {
    // What an older catalog does not have: a stream that came later, and the later fragments of another.
    let later_stream: &[&[u8]] = &[&[2, 0, 0, 0, 0, 0, 0, 0, 2], &[3, 0, 0, 0, 0, 0, 0, 0, 2]];
    let later_fragments: &[&[u8]] = &[&[3, 0, 0, 0, 0, 0, 0, 0, 2]];
    for missing in [later_stream, later_fragments] {
        let bench = Bench::new();
        let archive = bench.open();
        let front = archive.front();
        let first_of_yard = Key::new(Space::Archive, &[1]);
        let next = archive.vault().catalog().get(&first_of_yard).unwrap().unwrap();
        let yard = archive.create_stream(&"yard".parse().unwrap(), hours(24), at(0)).unwrap();
        archive.store(front.id, fragment(1, 0, 0)).await.unwrap();
        archive.store(yard.id, fragment(2, 0, 0)).await.unwrap();
        let catalog = archive.vault().catalog().clone();
        let mut batch = Batch::new();
        if missing.len() > 1 {
            batch.insert(first_of_yard, next);
        }
        for prefix in missing {
            let rows = KeyRange::prefix(Key::new(Space::Archive, prefix));
            for row in catalog.scan(&rows, Direction::Ascending, 9).unwrap() {
                batch.remove(row.key);
            }
        }
        catalog.commit(batch).unwrap();
        drop((archive, catalog));

        let archive = bench.open();
        assert_eq!(archive.make_room(u64::MAX, at(5 * 3600)).await.unwrap().fragments, 1);
        assert_eq!(bench.segments(), 1);
    }
}

#[tokio::test]
async fn where_a_retention_was_lowered_the_rest_is_copied_out_of_shared_files() {
    let bench = Bench::new();
    let archive = bench.open();
    let [front, back] = side_by_side(&archive, ["front", "back"]).await;
    let before = archive.vault().segments().unwrap();
    let now = at(2 * 3600);
    archive.expire(now).await.unwrap();
    assert_eq!(archive.vault().segments().unwrap(), before);

    archive.set_retention(front, hours(1), at(0)).await.unwrap();
    assert_eq!(archive.expire(now).await.unwrap().fragments, 20);
    let expired = expire_some_times(&archive, now).await;
    assert_eq!(expired.segments, before.len() as u64, "all of them were shared");
    let after = archive.vault().segments().unwrap();
    assert!(after.iter().all(|segment| !before.iter().any(|old| old.name == segment.name)));
    let slots = |files: &[SegmentFile]| files.iter().map(|file| file.name.expiry).collect::<BTreeSet<_>>();
    assert_eq!(slots(&after), slots(&before), "what was moved expires as before");

    let found = archive.range(back, at(0)..at(100), 100, now).unwrap();
    assert_eq!(found.len(), 20);
    for stored in &found {
        assert_eq!(archive.read(back, stored.number).unwrap().unwrap(), payload(back, stored.id.sequence.0));
    }
    let checked = archive.check(now, &mut |finding| panic!("{finding}")).unwrap();
    assert_eq!((checked.fragments, checked.unreferenced), (20, 0));
    archive.store(back, fragment(back, 20, 20)).await.unwrap();
    drop(archive);

    bench.lose_catalog();
    let archive = bench.open();
    assert_eq!(archive.rebuild_index().unwrap().fragments, 21);
}

#[tokio::test]
async fn little_that_was_given_up_does_not_make_much_be_copied() {
    let bench = Bench::new();
    let archive = bench.open();
    let names = ["front", "a", "b", "c", "d"];
    let streams = names.map(|name| archive.find_or_create_stream(&name.parse().unwrap(), at(0)).unwrap());
    for stream in &streams {
        archive.store(stream.id, fragment(stream.id, 0, 0)).await.unwrap();
    }
    let before = archive.vault().segments().unwrap();
    for (lowered, copied) in [(0, false), (1, true)] {
        archive.set_retention(streams[lowered].id, hours(1), at(0)).await.unwrap();
        expire_some_times(&archive, at(2 * 3600)).await;
        let names = |files: Vec<SegmentFile>| files.into_iter().map(|file| file.name).collect::<Vec<_>>();
        assert_eq!(names(archive.vault().segments().unwrap()) != names(before.clone()), copied, "{lowered}");
    }
}

#[tokio::test]
async fn nothing_is_kept_longer_than_the_servers_ceiling_whatever_its_stream_says() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.create_stream(&"front".parse().unwrap(), hours(168), at(0)).unwrap();
    assert!(matches!(archive.set_retention(stream.id, hours(169), at(0)).await, Err(StreamError::Ceiling { .. })));
    for sequence in 0..4 {
        archive.store(stream.id, fragment(1, sequence, i64::from(sequence) * 3600)).await.unwrap();
    }
    drop(archive);

    let archive = bench.open_under(Duration::from_secs(2 * 3600));
    let now = at(3 * 3600 + 10);
    let found = archive.range(stream.id, at(0)..at(20_000), 10, now).unwrap();
    assert_eq!(found.iter().map(|stored| stored.id.sequence.0).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(archive.expire(now).await.unwrap().fragments, 2);
    assert_eq!(archive.extent(stream.id, now).unwrap().unwrap().retention, hours(2));
    assert!(matches!(archive.set_retention(stream.id, hours(3), at(0)).await, Err(StreamError::Ceiling { .. })));
    let back = archive.find_or_create_stream(&"back".parse().unwrap(), now).unwrap();
    assert_eq!(back.retention, hours(2), "not the day that is usual");
    drop(archive);

    let archive = bench.open_under(Duration::from_secs(400 * 3600));
    assert_eq!(archive.extent(stream.id, now).unwrap().unwrap().retention, hours(168), "as it was asked for");
    archive.set_retention(stream.id, hours(400), at(0)).await.unwrap();
}

/// As in the minutes that follow.
async fn expire_some_times(archive: &Archive, now: WallTime) -> Swept {
    let mut swept = Swept::default();
    for _ in 0..5 {
        swept += archive.expire(now).await.unwrap().swept;
    }
    swept
}

/// Notes where scans for what is to be removed begin, and what they find.
struct Watched {
    catalog: Arc<dyn Catalog>,
    pages: Mutex<Vec<(KeyRange, usize)>>,
}

impl Catalog for Watched {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, CatalogError> {
        self.catalog.get(key)
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        self.catalog.snapshot()
    }

    fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        self.catalog.commit(batch)
    }

    fn scan(&self, range: &KeyRange, direction: Direction, limit: usize) -> Result<Vec<Row>, CatalogError> {
        let rows = self.catalog.scan(range, direction, limit)?;
        if limit == limits::EXPIRE_PAGE {
            self.pages.lock().unwrap().push((range.clone(), rows.len()));
        }
        Ok(rows)
    }
}

#[tokio::test]
async fn what_a_sweep_has_removed_it_does_not_step_over_again() {
    let bench = Bench::new();
    let ring = Arc::new(Keyring::of_vault(bench.0.path()).unwrap());
    let mut parts = Parts::local(bench.0.path(), ring).unwrap();
    let catalog = Arc::new(Watched { catalog: parts.catalog.clone(), pages: Mutex::default() });
    parts.catalog = catalog.clone();
    let archive = Archive::assemble(parts, limits::RETENTION_CEILING_DEFAULT).unwrap();
    let stream = archive.front();
    for sequence in 0..600 {
        archive.store(stream.id, fragment(1, sequence, i64::from(sequence))).await.unwrap();
    }
    assert_eq!(archive.expire(at(3 * 86_400)).await.unwrap().fragments, 600);
    let pages = std::mem::take(&mut *catalog.pages.lock().unwrap());
    assert_eq!(pages.iter().map(|(_, rows)| rows).sum::<usize>(), 600);
    assert_eq!(pages.len(), 600usize.div_ceil(limits::EXPIRE_PAGE) + 1);
    for pair in pages.windows(2) {
        assert!(pair[0].0.start < pair[1].0.start, "{pair:?}");
    }
}
