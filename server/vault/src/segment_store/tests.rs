//! What every segment store must do, and each of them doing it.

use std::sync::Arc;

use disk::OsDisk;

use super::*;
use crate::objects::Objects;

/// The stores that are held to these tests, each empty.
fn stores() -> Vec<(&'static str, Box<dyn SegmentStore>, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().unwrap();
    let files = LocalSegments::open(Arc::new(OsDisk), folder.path()).unwrap();
    vec![
        ("files", Box::new(files), Some(folder)),
        ("objects in memory", Box::new(ObjectSegments::new(Objects::in_memory())), None),
        ("objects in S3", Box::new(ObjectSegments::new(Objects::in_s3())), None),
    ]
}

#[test]
fn what_was_synced_is_read_in_any_part_and_up_to_its_end() {
    for (store, segments, _folder) in stores() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| n.to_be_bytes()[2] ^ n.to_be_bytes()[3]).collect();
        write(&*segments, name(1), &[&bytes[..32], &bytes[32..70_000], &bytes[70_000..]]);
        for (offset, len) in [(0, 32), (31, 2), (69_990, 20), (0, 100_000), (99_999, 1)] {
            let mut out = vec![0; len];
            assert_eq!(segments.read_at(name(1), &mut out, offset as u64).unwrap(), len, "{store}, {offset}");
            assert_eq!(out, bytes[offset..offset + len], "{store}, {offset}");
        }
        let mut out = [0; 100];
        assert_eq!(segments.read_at(name(1), &mut out, 99_950).unwrap(), 50, "{store}");
        assert_eq!(segments.read_at(name(1), &mut out, 100_000).unwrap(), 0, "{store}");
        assert_eq!(segments.read_at(name(1), &mut out, 200_000).unwrap(), 0, "{store}");
        assert_eq!(segments.len(name(1)).unwrap(), 100_000, "{store}");
    }
}

#[test]
fn segments_are_listed_the_first_to_expire_first() {
    for (store, segments, _folder) in stores() {
        assert_eq!(segments.list().unwrap(), [], "{store}");
        for slot in [12, 3, 7] {
            write(&*segments, SegmentName { expiry: ExpirySlot(slot), id: SegmentId(1) }, &[b"frames"]);
        }
        let listed = segments.list().unwrap();
        let slots: Vec<_> = listed.iter().map(|segment| (segment.name.expiry.0, segment.bytes)).collect();
        assert_eq!(slots, [(3, 6), (7, 6), (12, 6)], "{store}");
    }
}

#[test]
fn what_was_removed_is_gone_and_reading_it_says_so() {
    for (store, segments, _folder) in stores() {
        write(&*segments, name(1), &[b"one"]);
        write(&*segments, name(2), &[b"two"]);
        segments.remove(name(1)).unwrap();
        segments.sync_names().unwrap();
        let left: Vec<_> = segments.list().unwrap().iter().map(|segment| segment.name).collect();
        assert_eq!(left, [name(2)], "{store}");
        for error in [segments.read_at(name(1), &mut [0], 0).unwrap_err(), segments.len(name(1)).unwrap_err()] {
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{store}: {error}");
        }
    }
}

#[test]
fn a_segment_that_is_given_up_leaves_nothing() {
    for (store, segments, _folder) in stores() {
        for synced in [false, true] {
            let mut writer = segments.create(name(1)).unwrap();
            writer.reserve(5).unwrap();
            writer.write_at(b"never", 0).unwrap();
            if synced {
                writer.sync().unwrap();
            }
            writer.close(None).unwrap();
            assert_eq!(segments.list().unwrap(), [], "{store}, synced: {synced}");
        }
    }
}

#[test]
fn a_store_that_says_that_a_segment_goes_on_takes_more_after_a_sync() {
    for (store, segments, _folder) in stores() {
        let mut writer = segments.create(name(1)).unwrap();
        writer.reserve(3).unwrap();
        writer.write_at(b"one", 0).unwrap();
        writer.sync().unwrap();
        let mut expected = b"one".to_vec();
        if writer.goes_on() {
            writer.reserve(6).unwrap();
            writer.write_at(b"two", 3).unwrap();
            writer.sync().unwrap();
            expected = b"onetwo".to_vec();
        }
        writer.close(Some(expected.len() as u64)).unwrap();
        let mut out = [0; 10];
        let read = segments.read_at(name(1), &mut out, 0).unwrap();
        assert_eq!(out[..read], expected, "{store}");
    }
}

#[test]
fn what_a_bucket_that_is_gone_takes_is_not_stored() {
    let objects = Objects::in_s3();
    objects.delete_bucket();
    let segments = ObjectSegments::new(objects.clone());
    let mut writer = segments.create(name(1)).unwrap();
    writer.write_at(b"frames", 0).unwrap();
    assert!(matches!(writer.sync(), Err(SyncError::NotStored(_))));
    // Nor is it known that anything is missing in it.
    let keys = crate::key_store::ObjectKeys::new(objects);
    let key = crate::id::KeyName::ROOT;
    assert!(crate::KeyStore::create(&keys, key, &[7; 100]).is_err());
    assert!(crate::KeyStore::read(&keys, key).is_err());
}

fn write(segments: &dyn SegmentStore, name: SegmentName, pieces: &[&[u8]]) {
    let mut writer = segments.create(name).unwrap();
    segments.sync_names().unwrap();
    let mut end = 0;
    for piece in pieces {
        writer.reserve(end + piece.len() as u64).unwrap();
        writer.write_at(piece, end).unwrap();
        end += piece.len() as u64;
    }
    writer.sync().unwrap();
    writer.close(Some(end)).unwrap();
}

fn name(id: u64) -> SegmentName {
    SegmentName { expiry: ExpirySlot(9), id: SegmentId(id) }
}
