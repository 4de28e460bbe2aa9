//! A rotation that stops anywhere loses no key.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::data_keys::Demand;
use crate::entropy::OsEntropy;
use crate::error::KeyStoreError;
use crate::id::{KeyEpoch, KeyScope, OwnerId};
use crate::key_store::{KeyStore, MemoryKeys};
use crate::key_use::{Budgets, Usage};
use crate::keyring::{Home, Keyring};
use crate::keys::{DataKey, KeyContext, KeyService, WrappedKey};

#[test]
fn a_rotation_wraps_every_key_anew_and_forgets_the_old_master_key() {
    let bench = Bench::new();
    let keys = bench.open();
    let sealed = bench.make_keys(&keys, 20);
    let old = keys.masters().unwrap();
    assert_eq!((old.len(), old[0].data_keys), (1, 21), "with the root key");

    let rotated = keys.rotate(5).unwrap();

    assert_eq!((rotated.data_keys, &rotated.retired[..]), (21, &[old[0].master.id.clone()][..]));
    let new = keys.masters().unwrap();
    assert_eq!((new.len(), new[0].data_keys, &new[0].master.id), (1, 21, &rotated.master));
    bench.store.cut_power();
    assert_all_there(&bench.open(), &sealed);
}

#[test]
fn a_rotation_that_stops_between_any_two_steps_loses_no_key_and_is_finished_later() {
    let steps = steps_of_a_rotation();
    assert!(steps > 30, "{steps}");
    for stop in 0..steps {
        for power_is_cut in [false, true] {
            let bench = Bench::new();
            let keys = bench.open();
            let sealed = bench.make_keys(&keys, 8);
            bench.stop_after(stop);
            keys.rotate(5).unwrap_err();
            if power_is_cut {
                bench.store.cut_power();
            }
            bench.stop_after(i64::MAX);

            let keys = bench.open();
            assert_all_there(&keys, &sealed);
            keys.finish_rotation().unwrap();

            let masters = keys.masters().unwrap();
            assert_eq!((masters.len(), masters[0].data_keys), (1, 9), "stopped after {stop}");
            assert_all_there(&bench.open(), &sealed);
        }
    }
}

#[test]
fn keys_that_are_made_during_rotations_are_not_lost() {
    let bench = Bench::new();
    let keys = bench.open();
    let sealed = std::thread::scope(|scope| {
        let making = scope
            .spawn(|| (0..300_u64).map(|owner| bench.make_key(&keys, owner)).collect::<Vec<(KeyName, [u8; 32])>>());
        while !making.is_finished() {
            keys.rotate(5).unwrap();
        }
        making.join().unwrap()
    });
    let masters = keys.masters().unwrap();
    assert_eq!((masters.len(), masters[0].data_keys), (1, 301));
    assert_all_there(&bench.open(), &sealed);
}

#[test]
fn a_key_that_was_wrapped_before_a_rotation_and_stored_after_it_began_is_wrapped_anew() {
    let bench = Bench::new();
    let keys = bench.open();
    let (chosen, is_chosen) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    *bench.wrapped.lock().unwrap() = Some((chosen, may_go_on));
    let sealed = std::thread::scope(|scope| {
        let making = scope.spawn(|| bench.make_key(&keys, 1));
        is_chosen.recv().unwrap();
        let rotating = scope.spawn(|| keys.rotate(5).unwrap());
        // Time for a rotation that does not wait to end, and lose the key.
        let until = Instant::now() + Duration::from_millis(200);
        while !rotating.is_finished() && Instant::now() < until {
            std::thread::yield_now();
        }
        go_on.send(()).unwrap();
        rotating.join().unwrap();
        making.join().unwrap()
    });
    assert_all_there(&bench.open(), &[sealed]);
    assert_eq!(keys.masters().unwrap().len(), 1);
}

#[test]
fn keys_that_are_destroyed_during_rotations_do_not_come_back() {
    let bench = Bench::new();
    let keys = bench.open();
    let sealed = bench.make_keys(&keys, 100);
    std::thread::scope(|scope| {
        let destroying = scope.spawn(|| sealed.iter().for_each(|(name, _)| keys.destroy(&[*name]).unwrap()));
        while !destroying.is_finished() {
            keys.rotate(5).unwrap();
        }
        destroying.join().unwrap();
    });
    assert_eq!(keys.list().unwrap(), []);
}

#[test]
fn a_rotation_is_not_begun_while_a_master_key_that_guards_something_is_disabled() {
    let bench = Bench::new();
    let keys = bench.open();
    bench.make_keys(&keys, 1);
    let old = keys.masters().unwrap()[0].master.id.clone();
    keys.set_master(&old, MasterState::Disabled).unwrap();
    assert_eq!(keys.rotate(5).unwrap_err().refusal(), Some(KeyRefusal::Disabled));
    assert_eq!(keys.masters().unwrap().len(), 1);
}

#[test]
fn a_damaged_key_neither_stops_a_rotation_nor_loses_the_master_key_that_a_good_copy_of_it_needs() {
    let bench = Bench::new();
    let keys = bench.open();
    let sealed = bench.make_keys(&keys, 3);
    let damaged = sealed[1].0;
    let good = bench.store.read(damaged).unwrap().unwrap();
    bench.store.replace(damaged, &good, b"damaged").unwrap();

    let rotated = keys.rotate(5).unwrap();

    assert_eq!((rotated.data_keys, rotated.retired.len()), (3, 0));
    bench.store.replace(damaged, b"damaged", &good).unwrap();
    let keys = bench.open();
    assert_all_there(&keys, &sealed);
    keys.finish_rotation().unwrap();
    assert_eq!(keys.masters().unwrap().len(), 1);
    assert_all_there(&keys, &sealed);
}

#[test]
fn a_disabled_master_key_stops_reading_and_sealing_at_once_and_an_enabled_one_resumes_them() {
    let bench = Bench::new();
    let keys = bench.open();
    let (name, secret) = bench.make_key(&keys, 1);
    let master = keys.masters().unwrap()[0].master.id.clone();
    assert!(keys.find(name).is_ok(), "it is in memory");

    keys.set_master(&master, MasterState::Disabled).unwrap();

    assert_eq!(keys.find(name).unwrap_err().refusal(), Some(KeyRefusal::Disabled));
    assert_eq!(seal(&keys, 1).unwrap_err().refusal(), Some(KeyRefusal::Disabled));
    assert_eq!(seal(&keys, 2).unwrap_err().refusal(), Some(KeyRefusal::Disabled), "and no new key is made");
    assert_eq!(keys.root().unwrap_err().refusal(), Some(KeyRefusal::Disabled));
    keys.set_master(&master, MasterState::Enabled).unwrap();
    assert_eq!(keys.find(name).unwrap().secret(), &secret);
    assert!(seal(&keys, 1).is_ok());
}

/// How many steps a rotation of the bench's keys has.
fn steps_of_a_rotation() -> i64 {
    let bench = Bench::new();
    bench.make_keys(&bench.open(), 8);
    bench.stop_after(i64::MAX);
    let keys = bench.open();
    let before = bench.steps.0.load(Ordering::SeqCst);
    keys.rotate(5).unwrap();
    before - bench.steps.0.load(Ordering::SeqCst)
}

fn assert_all_there(keys: &DataKeys, sealed: &[(KeyName, [u8; 32])]) {
    assert!(keys.root().is_ok());
    for (name, secret) in sealed {
        assert_eq!(keys.find(*name).unwrap().secret(), secret, "{name}");
    }
}

fn seal(keys: &DataKeys, owner: u64) -> Result<(KeyName, [u8; 32]), KeyError> {
    let scope = KeyScope { owner: OwnerId::from_u64(owner), epoch: KeyEpoch(3) };
    let demand = Demand { scope, usage: Usage { frames: 1, blocks: 1 } };
    let sealing = keys.for_sealing(&[demand], &|_| "a stream".to_owned())?.remove(0);
    Ok((scope.key(sealing.id), *sealing.key.secret()))
}

/// Keys in memory under a keyring on disk, both of which stop doing anything after so many steps.
struct Bench {
    folder: TempDir,
    store: Arc<MemoryKeys>,
    steps: Arc<Steps>,
    wrapped: Arc<Mutex<Option<Halt>>>,
}

/// Says that a key was wrapped, and waits before it is stored.
type Halt = (mpsc::Sender<()>, mpsc::Receiver<()>);

impl Bench {
    fn new() -> Self {
        let steps = Arc::new(Steps(AtomicI64::new(i64::MAX)));
        Self { folder: tempfile::tempdir().unwrap(), store: Arc::default(), steps, wrapped: Arc::default() }
    }

    fn open(&self) -> DataKeys {
        let (steps, wrapped) = (self.steps.clone(), self.wrapped.clone());
        let store = Arc::new(Stopping { inner: self.store.clone(), steps: steps.clone(), wrapped: wrapped.clone() });
        let ring = Stopping { inner: keyring(self.folder.path()), steps, wrapped };
        DataKeys::open(store, Arc::new(ring), Arc::new(OsEntropy), Clock::default(), Budgets::default()).unwrap()
    }

    fn make_keys(&self, keys: &DataKeys, count: u64) -> Vec<(KeyName, [u8; 32])> {
        (1..=count).map(|owner| self.make_key(keys, owner)).collect()
    }

    fn make_key(&self, keys: &DataKeys, owner: u64) -> (KeyName, [u8; 32]) {
        seal(keys, owner).unwrap()
    }

    fn stop_after(&self, steps: i64) {
        self.steps.0.store(steps, Ordering::SeqCst);
    }
}

fn keyring(folder: &Path) -> Arc<Keyring> {
    let home = Home::in_vault(folder);
    let ring = if home.path().exists() { Keyring::open(home, None) } else { Keyring::create(home, None, 1) };
    Arc::new(ring.unwrap())
}

/// How many steps are left.
struct Steps(AtomicI64);

impl Steps {
    fn take<E>(&self, stopped: impl FnOnce() -> E) -> Result<(), E> {
        if self.0.fetch_sub(1, Ordering::SeqCst) > 0 { Ok(()) } else { Err(stopped()) }
    }
}

/// A store or a service that does no more when there are no steps left.
struct Stopping<T> {
    inner: Arc<T>,
    steps: Arc<Steps>,
    wrapped: Arc<Mutex<Option<Halt>>>,
}

impl<T> Stopping<T> {
    fn store(&self) -> Result<&T, KeyStoreError> {
        self.steps.take(|| KeyStoreError::new("use", "the store", &std::io::Error::other("stopped")))?;
        Ok(&self.inner)
    }

    fn service(&self) -> Result<&T, KeyError> {
        self.steps.take(|| KeyError::refused(KeyRefusal::KeyUnavailable, "stopped"))?;
        Ok(&self.inner)
    }
}

impl KeyStore for Stopping<MemoryKeys> {
    fn list(&self) -> Result<Vec<KeyName>, KeyStoreError> {
        self.store()?.list()
    }

    fn read(&self, name: KeyName) -> Result<Option<Vec<u8>>, KeyStoreError> {
        self.store()?.read(name)
    }

    fn create(&self, name: KeyName, bytes: &[u8]) -> Result<bool, KeyStoreError> {
        self.store()?.create(name, bytes)
    }

    fn replace(&self, name: KeyName, old: &[u8], new: &[u8]) -> Result<bool, KeyStoreError> {
        self.store()?.replace(name, old, new)
    }

    fn remove(&self, name: KeyName) -> Result<(), KeyStoreError> {
        self.store()?.remove(name)
    }

    fn sync(&self) -> Result<(), KeyStoreError> {
        self.store()?.sync()
    }
}

impl KeyService for Stopping<Keyring> {
    fn generate(&self, context: &KeyContext) -> Result<(DataKey, WrappedKey), KeyError> {
        let generated = self.service()?.generate(context);
        if let Some((chosen, may_go_on)) = self.wrapped.lock().unwrap().take() {
            chosen.send(()).unwrap();
            may_go_on.recv().unwrap();
        }
        generated
    }

    fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<DataKey, KeyError> {
        self.service()?.unwrap(wrapped, context)
    }

    fn rewrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<Option<WrappedKey>, KeyError> {
        self.service()?.rewrap(wrapped, context)
    }

    fn master_of(&self, wrapped: &WrappedKey) -> Result<MasterId, KeyError> {
        self.inner.master_of(wrapped)
    }

    fn masters(&self, in_use: &BTreeSet<MasterId>) -> Result<Vec<MasterKey>, KeyError> {
        self.service()?.masters(in_use)
    }

    fn set_state(&self, id: &MasterId, state: MasterState) -> Result<(), KeyError> {
        self.service()?.set_state(id, state)
    }

    fn begin_rotation(&self, now: u64) -> Result<MasterId, KeyError> {
        self.service()?.begin_rotation(now)
    }

    fn end_rotation(&self, in_use: &BTreeSet<MasterId>) -> Result<Vec<MasterId>, KeyError> {
        self.service()?.end_rotation(in_use)
    }

    fn is_rotating(&self) -> bool {
        self.inner.is_rotating()
    }
}
