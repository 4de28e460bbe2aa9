//! Streams: created, listed, watched, counted, deleted.

use archive::{Retention, StoreError, StreamError};
use bytes::Bytes;

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
async fn attributes_are_kept_with_their_stream_and_go_with_it() {
    let bench = Bench::new();
    let archive = bench.open();
    let (name, noted) = ("front".parse().unwrap(), Bytes::from_static(b"a camera"));
    let stream = archive.create_stream_with(&name, Retention::DEFAULT, Some(&noted), at(0)).unwrap();
    assert_eq!(archive.attributes(stream.id).unwrap(), Some(noted));
    let other = Bytes::from_static(b"another camera");
    let updated = archive.update_stream(stream.id, stream.revision, Retention::LIVE_ONLY, &other).unwrap();
    assert_eq!((updated.retention, updated.revision), (Retention::LIVE_ONLY, 1));
    drop(archive);

    let archive = bench.open();
    assert_eq!(archive.list_streams(), [updated]);
    assert_eq!(archive.attributes(stream.id).unwrap(), Some(other));
    archive.delete_stream(stream.id).await.unwrap();
    assert_eq!(archive.attributes(stream.id).unwrap(), None);
    let too_large = Bytes::from(vec![0; archive::limits::ATTRIBUTES_BYTES_MAX + 1]);
    let refused = archive.create_stream_with(&name, Retention::DEFAULT, Some(&too_large), at(0));
    assert!(matches!(refused, Err(StreamError::Attributes(_))));
}

#[tokio::test]
async fn a_stream_that_was_changed_meanwhile_is_neither_updated_nor_deleted() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    let (seen, noted) = (stream.revision, Bytes::from_static(b"noted"));
    archive.set_retention(stream.id, Retention::LIVE_ONLY, at(0)).await.unwrap();
    let updated = archive.update_stream(stream.id, seen, Retention::DEFAULT, &noted);
    assert!(matches!(updated, Err(StreamError::Changed)));
    assert_eq!(archive.attributes(stream.id).unwrap(), None, "not even its attributes");
    assert!(matches!(archive.delete_stream_at(stream.id, seen).await, Err(StreamError::Changed)));
    archive.delete_stream_at(stream.id, seen + 1).await.unwrap();
    assert_eq!(archive.list_streams(), []);
}

#[tokio::test]
async fn what_a_device_or_the_server_itself_notes_is_no_revision() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.front();
    archive.set_sub_of(stream.id, &"gate".parse().unwrap()).unwrap();
    assert_eq!(archive.stream(stream.id).unwrap().unwrap().revision, stream.revision);
}

#[tokio::test]
async fn a_stream_that_is_live_only_keeps_its_fragments_for_five_minutes() {
    let bench = Bench::new();
    let archive = bench.open();
    let stream = archive.create_stream(&"front".parse().unwrap(), Retention::LIVE_ONLY, at(0)).unwrap();
    archive.store(stream.id, fragment(1, 0, 0)).await.unwrap();
    let kept = |secs| archive.range(stream.id, at(-10)..at(1000), 10, at(secs)).unwrap().len();
    assert_eq!((kept(290), kept(310)), (1, 0));
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
