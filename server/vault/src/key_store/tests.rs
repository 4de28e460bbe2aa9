//! What every key store must do, and each of them doing it.

use std::sync::Arc;

use super::*;
use crate::id::{KeyEpoch, KeyId, OwnerId};
use crate::key_files::KeyFiles;
use crate::objects::Objects;

/// The stores that are held to these tests, each empty.
fn stores() -> Vec<(&'static str, Box<dyn KeyStore>, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().unwrap();
    let files = KeyFiles::open(Arc::new(disk::OsDisk), folder.path()).unwrap();
    vec![
        ("memory", Box::new(MemoryKeys::default()), None),
        ("files", Box::new(files), Some(folder)),
        ("objects in memory", Box::new(ObjectKeys::new(Objects::in_memory())), None),
        ("objects in S3", Box::new(ObjectKeys::new(Objects::in_s3())), None),
    ]
}

#[test]
fn what_was_created_is_read_and_listed() {
    for (store, keys, _folder) in stores() {
        assert_eq!(keys.list().unwrap(), [], "{store}");
        assert!(keys.create(name(1), b"one").unwrap(), "{store}");
        assert!(keys.create(name(2), b"").unwrap(), "{store}");
        keys.sync().unwrap();
        assert_eq!(keys.read(name(1)).unwrap().as_deref(), Some(&b"one"[..]), "{store}");
        assert_eq!(keys.read(name(2)).unwrap().as_deref(), Some(&b""[..]), "{store}");
        assert_eq!(keys.read(name(3)).unwrap(), None, "{store}");
        let mut listed = keys.list().unwrap();
        listed.sort_unstable();
        assert_eq!(listed, [name(1), name(2)], "{store}");
    }
}

#[test]
fn a_name_is_created_once() {
    for (store, keys, _folder) in stores() {
        assert!(keys.create(name(1), b"first").unwrap(), "{store}");
        assert!(!keys.create(name(1), b"second").unwrap(), "{store}");
        assert_eq!(keys.read(name(1)).unwrap().as_deref(), Some(&b"first"[..]), "{store}");
    }
}

#[test]
fn of_many_that_create_one_name_at_once_one_succeeds() {
    for (store, keys, _folder) in stores() {
        let created = std::thread::scope(|scope| {
            let attempts: Vec<_> = (0..8).map(|_| scope.spawn(|| keys.create(name(1), b"key").unwrap())).collect();
            attempts.into_iter().map(|attempt| attempt.join().unwrap()).filter(|won| *won).count()
        });
        assert_eq!(created, 1, "{store}");
    }
}

#[test]
fn a_key_is_replaced_only_in_the_state_that_was_meant() {
    for (store, keys, _folder) in stores() {
        keys.create(name(1), b"old").unwrap();
        assert!(!keys.replace(name(1), b"other", b"new").unwrap(), "{store}");
        assert_eq!(keys.read(name(1)).unwrap().as_deref(), Some(&b"old"[..]), "{store}");
        assert!(keys.replace(name(1), b"old", b"new").unwrap(), "{store}");
        assert_eq!(keys.read(name(1)).unwrap().as_deref(), Some(&b"new"[..]), "{store}");
    }
}

#[test]
fn a_key_that_was_removed_does_not_come_back_by_being_replaced() {
    for (store, keys, _folder) in stores() {
        keys.create(name(1), b"old").unwrap();
        keys.remove(name(1)).unwrap();
        keys.remove(name(1)).unwrap();
        assert!(!keys.replace(name(1), b"old", b"new").unwrap(), "{store}");
        assert_eq!(keys.read(name(1)).unwrap(), None, "{store}");
        assert_eq!(keys.list().unwrap(), [], "{store}");
        assert!(keys.create(name(1), b"again").unwrap(), "{store}");
    }
}

#[test]
fn a_power_cut_takes_from_memory_what_was_not_synced() {
    let keys = MemoryKeys::default();
    keys.create(name(1), b"kept").unwrap();
    keys.sync().unwrap();
    keys.create(name(2), b"lost").unwrap();
    keys.remove(name(1)).unwrap();
    keys.cut_power();
    assert_eq!(keys.list().unwrap(), [name(1)]);
}

fn name(id: u64) -> KeyName {
    KeyName { owner: OwnerId::from_u64(5), epoch: KeyEpoch(9), id: KeyId(id) }
}
