//! The keyring as a key service and as a file.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use tempfile::TempDir;

use super::*;
use crate::id::{KeyEpoch, KeyId, KeyName, OwnerId};

#[test]
fn a_wrapped_key_opens_with_the_reopened_keyring_only_in_its_context() {
    let bench = Bench::new();
    let (key, wrapped) = bench.create(None).generate(&context(1)).unwrap();
    let again = bench.open(None);
    assert_eq!(again.unwrap(&wrapped, &context(1)).unwrap().secret(), key.secret());
    let mut elsewhere = vec![context(2), context(1)];
    elsewhere[1].resource = "another stream".to_owned();
    for context in elsewhere {
        let refused = again.unwrap(&wrapped, &context).unwrap_err();
        assert_eq!(refused.refusal(), Some(KeyRefusal::InvalidCiphertext), "{context:?}");
    }
}

#[test]
fn another_keyring_is_told_apart_from_damage() {
    let (_, wrapped) = Bench::new().create(None).generate(&context(1)).unwrap();
    let refused = Bench::new().create(None).unwrap(&wrapped, &context(1)).unwrap_err();
    assert_eq!(refused.refusal(), Some(KeyRefusal::NotFound));
}

#[test]
fn every_flipped_bit_of_a_wrapped_key_is_noticed() {
    let ring = Bench::new().create(None);
    let (_, wrapped) = ring.generate(&context(1)).unwrap();
    for bit in 0..wrapped.0.len() * 8 {
        let mut bad = wrapped.clone();
        bad.0[bit / 8] ^= 1 << (bit % 8);
        assert!(ring.unwrap(&bad, &context(1)).is_err(), "bit {bit}");
    }
}

#[test]
fn a_keyring_that_others_can_read_is_refused_unless_it_is_a_credential() {
    let bench = Bench::new();
    bench.create(None);
    assert_eq!(bench.path().metadata().unwrap().mode() & 0o7777, 0o600);
    fs::set_permissions(bench.path(), Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Keyring::open(bench.home(), None), Err(KeyringError::Exposed { mode: 0o640, .. })));
    assert!(Keyring::open(Home::Credential(bench.path()), None).is_ok());
}

#[test]
fn a_credential_is_used_but_not_changed() {
    let bench = Bench::new();
    let (_, wrapped) = bench.create(None).generate(&context(1)).unwrap();
    let before = fs::read(bench.path()).unwrap();
    let ring = Keyring::open(Home::Credential(bench.path()), None).unwrap();
    assert!(matches!(ring.begin_rotation(1), Err(KeyError::Masters(why)) if why.contains("copy")));
    assert!(ring.unwrap(&wrapped, &context(1)).is_ok());
    assert!(!ring.is_rotating());
    assert_eq!(fs::read(bench.path()).unwrap(), before);
}

#[test]
fn a_damaged_keyring_is_refused_at_every_bit_and_length() {
    for passphrase in [None, Some(&passphrase("correct horse"))] {
        let bench = Bench::new();
        bench.create(passphrase);
        let stored = fs::read(bench.path()).unwrap();
        // The checksum stands before everything else, so that no passphrase is stretched here.
        for len in 0..stored.len() {
            let refused = file::decode(&stored[..len], passphrase, &bench.path());
            assert!(matches!(refused, Err(KeyringError::Damaged(_))), "{len}");
        }
        for bit in 0..stored.len() * 8 {
            let mut bad = stored.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(file::decode(&bad, passphrase, &bench.path()), Err(KeyringError::Damaged(_))), "{bit}");
        }
    }
}

#[test]
fn a_protected_keyring_opens_with_its_passphrase_only() {
    let bench = Bench::new();
    let right = passphrase("correct horse\n");
    let (key, wrapped) = bench.create(Some(&right)).generate(&context(1)).unwrap();
    assert!(matches!(Keyring::open(bench.home(), None), Err(KeyringError::Protected(_))));
    assert!(Keyring::is_protected(&bench.home()).unwrap());
    let wrong = passphrase("wrong horse");
    assert!(matches!(Keyring::open(bench.home(), Some(&wrong)), Err(KeyringError::WrongPassphrase(_))));
    let again = bench.open(Some(&passphrase("correct horse")));
    assert_eq!(again.unwrap(&wrapped, &context(1)).unwrap().secret(), key.secret());
}

#[test]
fn a_protected_keyring_shows_no_key_and_stays_protected_through_changes() {
    let bench = Bench::new();
    let passphrase = passphrase("correct horse");
    let ring = bench.create(Some(&passphrase));
    ring.begin_rotation(5).unwrap();
    let stored = fs::read(bench.path()).unwrap();
    for master in &ring.ring().masters {
        assert!(!stored.windows(32).any(|window| window == master.key.secret()));
    }
    assert_eq!(bench.open(Some(&passphrase)).masters(&BTreeSet::new()).unwrap().len(), 2);
}

#[test]
fn a_passphrase_given_to_an_unprotected_keyring_protects_it_from_its_next_change_on() {
    let bench = Bench::new();
    assert!(!Keyring::is_protected(&bench.home()).unwrap(), "there is none");
    bench.create(None);
    assert!(!Keyring::is_protected(&bench.home()).unwrap());
    let passphrase = passphrase("correct horse");
    bench.open(Some(&passphrase)).begin_rotation(1).unwrap();
    assert!(matches!(Keyring::open(bench.home(), None), Err(KeyringError::Protected(_))));
    assert!(Keyring::open(bench.home(), Some(&passphrase)).is_ok());
}

#[test]
fn a_passphrase_is_read_from_a_file_for_its_owner_only_and_without_its_line_end() {
    let bench = Bench::new();
    let path = bench.0.path().join("passphrase");
    fs::write(&path, "correct horse\r\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(Passphrase::read(&path), Err(KeyringError::Exposed { .. })));
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    bench.create(Some(&Passphrase::read(&path).unwrap()));
    assert!(Keyring::open(bench.home(), Some(&passphrase("correct horse"))).is_ok());
    for bad in ["", "\n"] {
        fs::write(&path, bad).unwrap();
        assert!(matches!(Passphrase::read(&path), Err(KeyringError::Passphrase { .. })), "{bad:?}");
    }
}

#[test]
fn a_file_can_not_ask_for_more_memory_than_is_reasonable() {
    let bench = Bench::new();
    let passphrase = passphrase("correct horse");
    bench.create(Some(&passphrase));
    let mut stored = fs::read(bench.path()).unwrap();
    stored.truncate(stored.len() - 4);
    stored[9] = 0xff;
    let crc = crc32c::crc32c(&stored);
    stored.extend_from_slice(&crc.to_be_bytes());
    assert!(matches!(file::decode(&stored, Some(&passphrase), &bench.path()), Err(KeyringError::Damaged(_))));
}

#[test]
fn a_disabled_master_key_neither_wraps_nor_unwraps_until_it_is_enabled() {
    let bench = Bench::new();
    let ring = bench.create(None);
    let (_, wrapped) = ring.generate(&context(1)).unwrap();
    let id = ring.master_of(&wrapped).unwrap();
    ring.set_state(&id, MasterState::Disabled).unwrap();
    for ring in [&ring, &bench.open(None)] {
        for refused in [ring.generate(&context(1)).map(drop), ring.unwrap(&wrapped, &context(1)).map(drop)] {
            let refused = refused.unwrap_err();
            assert_eq!(refused.refusal(), Some(KeyRefusal::Disabled));
            assert!(refused.to_string().starts_with("DisabledException: master key"), "{refused}");
        }
    }
    ring.set_state(&id, MasterState::Enabled).unwrap();
    assert!(bench.open(None).unwrap(&wrapped, &context(1)).is_ok());
}

#[test]
fn a_master_key_that_is_not_there_can_not_be_disabled() {
    let bench = Bench::new();
    let ring = bench.create(None);
    let refused = ring.set_state(&MasterId("00".to_owned()), MasterState::Disabled).unwrap_err();
    assert_eq!(refused.refusal(), Some(KeyRefusal::NotFound));
}

#[test]
fn the_newest_master_key_wraps_and_the_old_one_unwraps_until_the_rotation_ends() {
    let bench = Bench::new();
    let ring = bench.create(None);
    let (key, under_old) = ring.generate(&context(1)).unwrap();
    let old = ring.master_of(&under_old).unwrap();
    let new = ring.begin_rotation(77).unwrap();
    assert!(bench.open(None).is_rotating());
    assert_eq!(ring.unwrap(&under_old, &context(1)).unwrap().secret(), key.secret());
    let under_new = ring.rewrap(&under_old, &context(1)).unwrap().unwrap();
    assert_eq!(ring.master_of(&under_new).unwrap(), new);
    assert_eq!(ring.rewrap(&under_new, &context(1)).unwrap(), None);

    assert_eq!(ring.end_rotation(&BTreeSet::from([old.clone()])).unwrap(), [], "it is in use");
    assert_eq!(ring.end_rotation(&BTreeSet::from([new.clone()])).unwrap(), [old]);
    let again = bench.open(None);
    assert_eq!(again.unwrap(&under_new, &context(1)).unwrap().secret(), key.secret());
    assert_eq!(again.unwrap(&under_old, &context(1)).unwrap_err().refusal(), Some(KeyRefusal::NotFound));
    let masters = again.masters(&BTreeSet::new()).unwrap();
    assert_eq!((masters.len(), masters[0].created, masters[0].wraps), (1, Some(77), true));
}

#[test]
fn a_key_is_not_wrapped_anew_under_another_context() {
    let bench = Bench::new();
    let ring = bench.create(None);
    let (_, wrapped) = ring.generate(&context(1)).unwrap();
    ring.begin_rotation(1).unwrap();
    assert_eq!(ring.rewrap(&wrapped, &context(2)).unwrap_err().refusal(), Some(KeyRefusal::InvalidCiphertext));
}

#[test]
fn rotations_that_are_never_finished_come_to_an_end() {
    let bench = Bench::new();
    let ring = bench.create(None);
    let begun = (0..limits::MASTER_KEYS_MAX).filter(|_| ring.begin_rotation(1).is_ok()).count();
    assert_eq!(begun, limits::MASTER_KEYS_MAX - 1);
}

#[test]
fn a_change_that_was_cut_short_leaves_the_keyring_as_it_was() {
    let bench = Bench::new();
    let ring = bench.create(None);
    let (_, wrapped) = ring.generate(&context(1)).unwrap();
    // What a process leaves that dies before the rename.
    fs::write(bench.0.path().join("master.keyring.new"), b"half a keyr").unwrap();
    assert!(bench.open(None).unwrap(&wrapped, &context(1)).is_ok());
    ring.begin_rotation(1).unwrap();
    assert!(bench.open(None).unwrap(&wrapped, &context(1)).is_ok());
    assert!(!bench.0.path().join("master.keyring.new").exists());
}

#[test]
fn a_keyring_is_not_created_over_another() {
    let bench = Bench::new();
    bench.create(None);
    assert!(Keyring::create(bench.home(), None, 1).is_err());
}

#[test]
fn nothing_that_is_shown_of_a_keyring_or_a_passphrase_is_secret() {
    let bench = Bench::new();
    let passphrase = passphrase("correct horse");
    let ring = bench.create(Some(&passphrase));
    let shown = format!("{ring:?} {passphrase:?} {:#?}", ring.ring().masters[0]);
    assert!(!shown.contains("correct horse") && shown.contains("DataKey(..)"), "{shown}");
    let secret = format!("{:?}", ring.ring().masters[0].key.secret());
    assert!(!shown.contains(&secret[1..20]), "{shown}");
}

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn home(&self) -> Home {
        Home::in_vault(self.0.path())
    }

    fn path(&self) -> PathBuf {
        self.home().path().to_owned()
    }

    fn create(&self, passphrase: Option<&Passphrase>) -> Keyring {
        Keyring::create(self.home(), passphrase, 1).unwrap()
    }

    fn open(&self, passphrase: Option<&Passphrase>) -> Keyring {
        Keyring::open(self.home(), passphrase).unwrap()
    }
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.as_bytes().to_vec().into()).unwrap()
}

fn context(owner: u64) -> KeyContext {
    let name = KeyName { owner: OwnerId::from_u64(owner), epoch: KeyEpoch(3), id: KeyId(4) };
    KeyContext { name, resource: "a stream".to_owned() }
}
