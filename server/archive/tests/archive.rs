//! The archive as the server uses it, on a real disk.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use archive::{Archive, Finding, Fragment, LivePosition, RebuildError, Retention, StoreError, Stream, StreamError};
use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, FragmentNumber, Sequence, SessionId, WallTime};
use tempfile::TempDir;
use vault::catalog::FjallCatalog;
use vault::{Batch, Catalog, Direction, Key, KeyRange, Parts, SegmentFile, Space, Swept};

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
    assert_eq!(sequences(30, 100, 3), [0_u32; 0]);
}

#[tokio::test]
async fn a_range_of_server_time_holds_what_arrived_in_it_whenever_it_was_captured() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    // The second is backlog: captured before the first, and arrived after it.
    for (sequence, start, arrived) in [(5, 40, 42), (0, 0, 44), (6, 42, 46), (7, 44, 48)] {
        let fragment = Fragment { arrived: at(arrived), ..fragment(1, sequence, start) };
        archive.store(stream.id, fragment).await.unwrap();
    }
    let sequences = |from, to, limit, now| -> Vec<u32> {
        let found = archive.arrived(stream.id, at(from)..at(to), limit, at(now)).unwrap();
        found.iter().map(|stored| stored.id.sequence.0).collect()
    };
    assert_eq!(sequences(0, 100, 100, 50), [5, 0, 6, 7]);
    assert_eq!(sequences(44, 48, 100, 50), [0, 6], "the start is within, the end is not");
    assert_eq!(sequences(0, 100, 2, 50), [5, 0]);
    assert_eq!(sequences(48, 44, 100, 50), [0_u32; 0]);
    let day = 24 * 3600;
    assert_eq!(sequences(0, 100, 100, day + 45), [6, 7], "what has expired is in no answer");
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
async fn a_lowered_retention_gives_the_space_back_before_the_time_that_was_set_first() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    for sequence in 0..300 {
        archive.store(stream.id, fragment(1, sequence, i64::from(sequence))).await.unwrap();
    }
    archive.set_retention(stream.id, hours(1)).unwrap();
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
    archive.set_retention(stream.id, hours(24).with_bytes(Some(70 << 20)).unwrap()).unwrap();
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
    archive.set_retention(stream.id, hours(168)).unwrap();
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
    let streams = ["front", "back"].map(|name| archive.find_or_create_stream(&name.parse().unwrap(), at(0)).unwrap());
    for sequence in 0..20 {
        for stream in &streams {
            archive.store(stream.id, fragment(stream.id, sequence, i64::from(sequence))).await.unwrap();
        }
    }
    let [front, back] = streams;
    let before = archive.vault().segments().unwrap();
    let now = at(2 * 3600);
    archive.expire(now).await.unwrap();
    assert_eq!(archive.vault().segments().unwrap(), before);

    archive.set_retention(front.id, hours(1)).unwrap();
    assert_eq!(archive.expire(now).await.unwrap().fragments, 20);
    let expired = expire_some_times(&archive, now).await;
    assert_eq!(expired.segments, before.len() as u64, "all of them were shared");
    let after = archive.vault().segments().unwrap();
    assert!(after.iter().all(|segment| !before.iter().any(|old| old.name == segment.name)));
    let slots = |files: &[SegmentFile]| files.iter().map(|file| file.name.expiry).collect::<BTreeSet<_>>();
    assert_eq!(slots(&after), slots(&before), "what was moved expires as before");

    let found = archive.range(back.id, at(0)..at(100), 100, now).unwrap();
    assert_eq!(found.len(), 20);
    for stored in &found {
        assert_eq!(archive.read(back.id, stored.number).unwrap().unwrap(), payload(back.id, stored.id.sequence.0));
    }
    let checked = archive.check(now, &mut |finding| panic!("{finding}")).unwrap();
    assert_eq!((checked.fragments, checked.unreferenced), (20, 0));
    archive.store(back.id, fragment(back.id, 20, 20)).await.unwrap();
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
        archive.set_retention(streams[lowered].id, hours(1)).unwrap();
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
    assert!(matches!(archive.set_retention(stream.id, hours(169)), Err(StreamError::Ceiling { .. })));
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
    assert!(matches!(archive.set_retention(stream.id, hours(3)), Err(StreamError::Ceiling { .. })));
    let back = archive.find_or_create_stream(&"back".parse().unwrap(), now).unwrap();
    assert_eq!(back.retention, hours(2), "not the day that is usual");
    drop(archive);

    let archive = bench.open_under(Duration::from_secs(400 * 3600));
    assert_eq!(archive.extent(stream.id, now).unwrap().unwrap().retention, hours(168), "as it was asked for");
    archive.set_retention(stream.id, hours(400)).unwrap();
}

#[tokio::test]
async fn the_space_of_a_deleted_stream_comes_back_when_nobody_else_is_in_its_files() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    archive.store(stream.id, fragment(1, 0, 0)).await.unwrap();
    archive.delete_stream(stream.id).await.unwrap();
    assert_eq!(archive.expire(at(100)).await.unwrap().swept.segments, 1);
    assert_eq!(bench.segments(), 0);
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

#[tokio::test]
async fn a_sound_archive_passes_its_check() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    for sequence in 0..5 {
        archive.store(stream.id, fragment(1, sequence, i64::from(sequence) * 2)).await.unwrap();
    }
    let mut findings = Vec::new();
    let checked = archive.check(at(20), &mut |finding| findings.push(finding)).unwrap();
    assert_eq!(findings, []);
    assert_eq!((checked.segments, checked.frames, checked.fragments, checked.findings), (1, 5, 5, 0));
}

#[tokio::test]
async fn a_check_names_the_fragment_whose_bytes_changed_and_no_other() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    let mut numbers = Vec::new();
    for sequence in 0..3 {
        let stored = archive.store(stream.id, fragment(1, sequence, i64::from(sequence) * 2)).await.unwrap();
        numbers.push(stored.number);
    }
    bench.flip_bit_of_the_second_payload();
    let mut findings = Vec::new();
    archive.check(at(20), &mut |finding| findings.push(finding)).unwrap();
    let [Finding::Unreadable { number, why, .. }] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!(*number, numbers[1]);
    assert!(why.contains("seal"), "{why}");
}

#[tokio::test]
async fn a_check_finds_rows_that_lead_nowhere_and_rows_that_are_missing() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    archive.store(stream.id, fragment(1, 0, 0)).await.unwrap();
    archive.store(stream.id, fragment(1, 1, 2)).await.unwrap();
    let catalog = archive.vault().catalog();
    let rows = |kind: u8| catalog.scan(&KeyRange::prefix(Key::new(Space::Archive, &[kind])), Direction::Ascending, 9);
    let mut batch = Batch::new();
    batch.remove(rows(3).unwrap()[0].key.clone()).remove(rows(5).unwrap()[1].key.clone());
    catalog.commit(batch).unwrap();

    let mut findings = Vec::new();
    archive.check(at(20), &mut |finding| findings.push(finding)).unwrap();

    let dangling = |finding: &&Finding| matches!(finding, Finding::Dangling { .. });
    let unindexed = |finding: &&Finding| matches!(finding, Finding::Unindexed { index: "identity", .. });
    assert_eq!(findings.iter().filter(dangling).count(), 2, "by time and by identity: {findings:?}");
    assert_eq!(findings.iter().filter(unindexed).count(), 1, "{findings:?}");
    assert!(findings.contains(&Finding::Tail { stream: stream.id }), "one fragment less is there: {findings:?}");
    assert_eq!(findings.len(), 4, "{findings:?}");
}

#[tokio::test]
async fn a_lost_catalog_is_made_again_out_of_segments_and_keys() {
    let bench = Bench::new();
    let archive = bench.open();
    let front = archive.front();
    let back = archive.create_stream(&"back".parse().unwrap(), hours(5), at(0)).unwrap();
    let gone = archive.create_stream(&"gone".parse().unwrap(), hours(5), at(0)).unwrap();
    for sequence in 0..40 {
        let start = i64::from(sequence) * 7;
        for stream in [&front, &back, &gone] {
            archive.store(stream.id, fragment(1, sequence, start)).await.unwrap();
        }
    }
    archive.delete_stream(gone.id).await.unwrap();
    let before = archive.range(front.id, at(0)..at(1000), 100, at(300)).unwrap();
    let number = before[3].number;
    drop(archive);
    bench.lose_catalog();

    let archive = bench.open();
    let rebuilt = archive.rebuild_index().unwrap();

    assert_eq!((rebuilt.streams, rebuilt.fragments, rebuilt.skipped, rebuilt.damaged), (2, 80, 40, 0));
    assert_eq!(archive.list_streams(), [back, front.clone()]);
    assert_eq!(archive.range(front.id, at(0)..at(1000), 100, at(300)).unwrap(), before);
    assert_eq!(archive.read(front.id, number).unwrap().unwrap(), payload(1, 3));
    assert!(archive.store(front.id, fragment(1, 3, 21)).await.unwrap().duplicate);
    let next = archive.store(front.id, fragment(1, 40, 280)).await.unwrap();
    assert!(next.number > before.last().unwrap().number && !next.duplicate);
    assert_eq!(archive.check(at(300), &mut |finding| panic!("{finding}")).unwrap().fragments, 81);
    assert!(matches!(archive.rebuild_index(), Err(RebuildError::NotEmpty)));
}

#[tokio::test]
async fn an_empty_catalog_deletes_no_media_that_has_not_expired() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    archive.store(stream.id, fragment(1, 0, 0)).await.unwrap();
    drop(archive);
    bench.lose_catalog();
    let archive = bench.open();
    assert!(archive.has_lost_its_index().unwrap());
    archive.expire(at(23 * 3600)).await.unwrap();
    drop(archive);
    bench.lose_catalog();
    let archive = bench.open();
    assert_eq!(archive.rebuild_index().unwrap().fragments, 1);
    assert!(!archive.has_lost_its_index().unwrap());
}

/// As in the minutes that follow.
async fn expire_some_times(archive: &Archive, now: WallTime) -> Swept {
    let mut swept = Swept::default();
    for _ in 0..5 {
        swept += archive.expire(now).await.unwrap().swept;
    }
    swept
}

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Archive {
        open(self.0.path())
    }

    fn open_under(&self, ceiling: Duration) -> Archive {
        let ring = Arc::new(vault::Keyring::of_vault(self.0.path()).unwrap());
        Archive::assemble(Parts::local(self.0.path(), ring).unwrap(), ceiling).unwrap()
    }

    fn lose_catalog(&self) {
        FjallCatalog::set_aside(self.0.path(), &self.0.path().join("aside")).unwrap();
        std::fs::remove_dir_all(self.0.path().join("aside")).unwrap();
    }

    /// In the middle of what lies between the beginnings of the second and the third payload.
    fn flip_bit_of_the_second_payload(&self) {
        let path = std::fs::read_dir(self.0.path().join("segments")).unwrap().next().unwrap().unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let frame = (payload(1, 0).len() + 200) as u64;
        let at = usize::try_from(32 + frame + frame / 2).unwrap();
        bytes[at] ^= 1;
        // In place: the archive holds the file open.
        std::fs::write(&path, bytes).unwrap();
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
