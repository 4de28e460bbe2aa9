//! Streams: created, listed, watched, counted, deleted.

use archive::{Retention, StoreError, StreamError};

use super::stage::{Bench, Front, at, fragment};

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
async fn a_sub_stream_is_one_after_a_restart_and_after_its_retention_changed() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    let gate = "gate".parse().unwrap();
    archive.set_sub_of(stream.id, &gate).unwrap();
    archive.set_retention(stream.id, Retention::DEFAULT, at(0)).await.unwrap();
    assert_eq!(archive.overview(at(1)).unwrap()[0].sub_of.as_ref(), Some(&gate));
    drop(archive);
    assert_eq!(bench.open().list_streams()[0].sub_of, Some(gate));
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
