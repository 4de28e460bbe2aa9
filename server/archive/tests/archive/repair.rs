//! Damage that is found, and an index that is made again.

use std::time::Duration;

use archive::{Finding, RebuildError};
use vault::{Batch, Catalog, Direction, Key, KeyRange, Space};

use super::stage::{Bench, Front, at, fragment, hours, payload};

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
async fn a_check_names_a_segment_whose_header_changed_which_costs_no_fragment() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    let stored = archive.store(stream.id, fragment(1, 0, 0)).await.unwrap();
    for byte in [0, 7, 8, 16, 20, 31] {
        bench.flip_bit_of_the_segment(byte);
        let mut findings = Vec::new();
        archive.check(at(20), &mut |finding| findings.push(finding)).unwrap();
        assert!(matches!(findings[..], [Finding::Header { .. }]), "byte {byte}: {findings:?}");
        assert_eq!(archive.read(stream.id, stored.number).unwrap().unwrap(), payload(1, 0));
        bench.flip_bit_of_the_segment(byte);
    }
    archive.check(at(20), &mut |finding| panic!("{finding}")).unwrap();
}

#[tokio::test]
async fn a_check_names_the_fragments_of_a_living_stream_whose_key_is_lost_or_damaged() {
    let bench = Bench::new();
    let archive = bench.open();
    let (front, back) = (archive.front(), archive.create_stream(&"back".parse().unwrap(), hours(5), at(0)).unwrap());
    let mut numbers = Vec::new();
    for sequence in 0..2 {
        numbers.push(archive.store(front.id, fragment(1, sequence, i64::from(sequence) * 2)).await.unwrap().number);
        archive.store(back.id, fragment(1, sequence, i64::from(sequence) * 2)).await.unwrap();
    }
    drop(archive);
    let unreadable = || {
        let mut unreadable = Vec::new();
        bench
            .open()
            .check(at(20), &mut |finding| match finding {
                Finding::Unreadable { stream, number, why } => {
                    assert_eq!(stream, front.id);
                    assert!(why.contains("key"), "{why}");
                    unreadable.push(number);
                }
                other => panic!("{other}"),
            })
            .unwrap();
        unreadable
    };

    for byte in [0, 40] {
        bench.flip_bit_of_the_key_of(front.id, byte);
        assert_eq!(unreadable(), numbers, "byte {byte} of the key's file");
        bench.flip_bit_of_the_key_of(front.id, byte);
        assert_eq!(unreadable(), []);
    }
    bench.lose_keys_of(front.id);
    assert_eq!(unreadable(), numbers);
}

#[tokio::test]
async fn a_check_finds_a_fragment_that_is_there_twice_under_one_identity() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    archive.store(stream.id, fragment(1, 0, 0)).await.unwrap();
    let catalog = archive.vault().catalog();
    let identities = KeyRange::prefix(Key::new(Space::Archive, &[5]));
    let key = catalog.scan(&identities, Direction::Ascending, 9).unwrap()[0].key.clone();
    let mut forgotten = Batch::new();
    forgotten.remove(key);
    catalog.commit(forgotten).unwrap();
    archive.store(stream.id, fragment(1, 0, 0)).await.unwrap();

    let mut findings = Vec::new();
    archive.check(at(20), &mut |finding| findings.push(finding)).unwrap();

    let [first, _] = &archive.range(stream.id, at(0)..at(10), 9, at(20)).unwrap()[..] else { panic!("two are there") };
    assert_eq!(findings, [Finding::Double { stream: stream.id, number: first.number }]);
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
async fn a_check_in_the_middle_of_a_deletion_finds_no_damage() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    archive.store(stream.id, fragment(1, 0, 0)).await.unwrap();
    // The stream is gone for everybody, and whoever deletes it gets no further: it is asked once.
    let mut deletion = Box::pin(archive.delete_stream(stream.id));
    tokio::select! {
        biased;
        deleted = &mut deletion => panic!("{deleted:?}"),
        () = std::future::ready(()) => {}
    }
    while archive.find_stream(&stream.name).unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(deletion);
    drop(archive);
    bench.lose_keys_of(stream.id);

    let archive = bench.open_again().await;
    let times = KeyRange::prefix(Key::new(Space::Archive, &[3]));
    assert_eq!(archive.vault().catalog().scan(&times, Direction::Ascending, 9).unwrap().len(), 1);
    let checked = archive.check(at(20), &mut |finding| panic!("{finding}")).unwrap();
    assert_eq!((checked.frames, checked.unreferenced, checked.fragments), (1, 1, 0));
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
