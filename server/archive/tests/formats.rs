//! What earlier versions wrote is read: segments, keys, keyring and rows, from files that are kept as they were.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use archive::Archive;
use fragment::{FragmentId, Sequence, SessionId, WallTime};
use tempfile::TempDir;
use vault::catalog::FjallCatalog;
use vault::{Home, Keyring, KeyringError, Passphrase};

#[test]
fn what_version_1_wrote_is_read() {
    let (_place, vault) = vault_of(1);
    assert_as_written(&open(&vault));
}

#[test]
fn the_index_of_version_1_is_made_again() {
    let (_place, vault) = vault_of(1);
    fs::remove_dir_all(vault.join("catalog")).unwrap();
    let archive = open(&vault);
    let rebuilt = archive.rebuild_index().unwrap();
    assert_eq!((rebuilt.streams, rebuilt.fragments, rebuilt.damaged), (2, 11, 0));
    assert_as_written(&archive);
}

#[test]
fn a_keyring_of_version_1_under_a_passphrase_opens_the_same_vault() {
    let (_place, vault) = vault_of(1);
    let home = Home::Credential(kept(1).join("passphrase.keyring"));
    assert!(matches!(Keyring::open(home.clone(), None), Err(KeyringError::Protected(_))));
    let ring = Keyring::open(home, Some(&passphrase())).unwrap();
    assert_as_written(&Archive::open(&vault, Arc::new(ring)).unwrap());
}

#[test]
fn a_secret_that_version_1_sealed_is_opened() {
    let (_place, vault) = vault_of(1);
    let sealed = fs::read(kept(1).join("ca.sealed")).unwrap();
    let opened = open(&vault).vault().open_secret("backup of the CA", &sealed).unwrap();
    assert_eq!(opened, b"the CA of version 1");
}

#[test]
fn the_format_marker_of_version_1_is_taken_and_the_next_ones_is_not() {
    let (_place, vault) = vault_of(1);
    let marker = fs::read(kept(1).join("format")).unwrap();
    fs::write(vault.join("format"), &marker).unwrap();
    assert_as_written(&open(&vault));
    fs::write(vault.join("format"), "millrace vault 2\n").unwrap();
    let refused = Archive::open(&vault, Arc::new(Keyring::of_vault(&vault).unwrap())).err().unwrap();
    assert!(refused.to_string().contains("millrace vault 2"), "{refused}");
}

#[test]
fn the_number_of_answered_commits_that_version_1_wrote_is_read() {
    let place = tempfile::tempdir().unwrap();
    fs::copy(kept(1).join("answered"), place.path().join("answered")).unwrap();
    // There is no catalog that has them.
    let refused = FjallCatalog::of_vault(place.path()).err().unwrap();
    assert!(refused.to_string().contains("3 commits to it were answered"), "{refused}");
}

/// What `examples/fixture.rs` stored.
fn assert_as_written(archive: &Archive) {
    let streams = archive.list_streams();
    let told: Vec<_> =
        streams.iter().map(|stream| (stream.name.as_str(), stream.retention.time().as_secs() / 3600)).collect();
    assert_eq!(told, [("back.yard", 168), ("front", 24)]);
    for stream in &streams {
        let found = archive.range(stream.id, at(0)..at(60), 100, at(60)).unwrap();
        let own: Vec<_> = found.iter().filter(|stored| stored.id.session == SessionId(stream.id)).collect();
        assert_eq!(own.len(), 5);
        for (stored, sequence) in own.into_iter().zip(0..) {
            assert_eq!(stored.id, FragmentId { session: SessionId(stream.id), sequence: Sequence(sequence) });
            assert_eq!((stored.start, stored.duration), (at(i64::from(sequence) * 2), Duration::from_secs(2)));
            assert_eq!((stored.independent, stored.codecs.len()), (sequence != 3, 2));
            assert_eq!(stored.live.unwrap().media_sequence, u64::from(sequence));
            let payload = archive.read(stream.id, stored.number).unwrap().unwrap();
            assert_eq!(payload, format!("payload of {}-{sequence} ", stream.id).repeat(20));
        }
    }
    let front = streams.iter().find(|stream| stream.name.as_str() == "front").unwrap();
    let late = FragmentId { session: SessionId(9), sequence: Sequence(0) };
    assert_eq!(archive.find(front.id, late, at(60)).unwrap().unwrap().live, None);
    assert_eq!(archive.check(at(60), &mut |finding| panic!("{finding}")).unwrap().fragments, 11);
}

/// A vault out of the files of a version.
fn vault_of(version: u32) -> (TempDir, PathBuf) {
    let kept = kept(version);
    let place = tempfile::tempdir().unwrap();
    let vault = place.path().join("vault");
    vault::backup::restore(&kept, &vault).unwrap();
    let keyring = vault.join("master.keyring");
    fs::copy(kept.join("master.keyring"), &keyring).unwrap();
    // Version control does not keep who may read a file.
    fs::set_permissions(&keyring, fs::Permissions::from_mode(0o600)).unwrap();
    (place, vault)
}

/// The files of a version, as they were written.
fn kept(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/formats/{version}"))
}

fn passphrase() -> Passphrase {
    Passphrase::new(b"a passphrase of version 1".to_vec().into()).unwrap()
}

fn open(vault: &Path) -> Archive {
    Archive::open(vault, Arc::new(Keyring::of_vault(vault).unwrap())).unwrap()
}

fn at(secs: i64) -> WallTime {
    WallTime::from_millis((1_767_225_600 + secs) * 1000)
}
