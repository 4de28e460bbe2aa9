//! Fragments: numbered, placed, found again, read back.

use std::time::Duration;

use archive::{Fragment, LivePosition, StoreError};
use bytes::Bytes;
use fragment::FragmentNumber;

use super::stage::{Bench, Front, at, fragment, id, payload};

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
async fn pages_by_start_and_by_number_miss_and_double_nothing() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    // Three sessions that were captured at the same time arrive one after another.
    for session in 0..3 {
        for sequence in 0..5 {
            let late = Fragment { arrived: at(100), ..fragment(session, sequence, 2 * i64::from(sequence)) };
            archive.store(stream.id, late).await.unwrap();
        }
    }
    let now = at(100);
    let all = archive.numbered(stream.id, FragmentNumber(0)..FragmentNumber(u64::MAX), 100, now).unwrap();
    assert_eq!(all.len(), 15);
    for limit in 1..=16 {
        let (mut by_start, mut next) = (Vec::new(), (at(2), FragmentNumber(0)));
        while let found = archive.starting(stream.id, next..(at(8), FragmentNumber(0)), limit, now).unwrap()
            && let Some(last) = found.last()
        {
            next = (last.start, FragmentNumber(last.number.0 + 1));
            by_start.extend(found);
        }
        let mut expected: Vec<_> =
            all.iter().filter(|stored| (at(2)..at(8)).contains(&stored.start)).cloned().collect();
        expected.sort_by_key(|stored| (stored.start, stored.number));
        assert_eq!(by_start, expected, "{limit} at a time");

        let (mut by_number, mut next) = (Vec::new(), all[2].number);
        while let found = archive.numbered(stream.id, next..all[13].number, limit, now).unwrap()
            && let Some(last) = found.last()
        {
            next = FragmentNumber(last.number.0 + 1);
            by_number.extend(found);
        }
        assert_eq!(by_number, all[2..13], "{limit} at a time");
    }
    assert_eq!(archive.newest(stream.id).unwrap(), Some(all[14].number));
    let turned = archive.starting(stream.id, (at(4), FragmentNumber(9))..(at(4), FragmentNumber(0)), 9, now);
    assert_eq!(turned.unwrap(), []);
}
