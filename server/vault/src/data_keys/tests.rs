//! Data keys as the committer and the readers have them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::entropy::OsEntropy;
use crate::error::KeyStoreError;
use crate::id::KeyEpoch;
use crate::key_store::MemoryKeys;
use crate::key_use::Budget;
use crate::keys::WrappedKey;
use crate::limits;

const BUDGETS: Budgets = Budgets {
    own: Budget { frames: 100, blocks: 1000, segments: 1000 },
    adopted: Budget { frames: 10, blocks: 100, segments: 1000 },
};

#[test]
fn a_key_is_made_once_for_each_owner_and_day_and_bound_to_their_names() {
    let bench = Bench::new();
    let keys = bench.open();
    let both = keys.for_sealing(&[demand(1, 10), demand(2, 10)], &named).unwrap();
    let again = keys.for_sealing(&[demand(1, 10), demand(2, 10)], &named).unwrap();
    assert_eq!([both[0].id, both[1].id], [again[0].id, again[1].id]);
    assert_eq!(bench.service.made.load(Ordering::SeqCst), 3, "and the root key");
    let stored = keys.read(scope(2).key(both[1].id)).unwrap();
    assert_eq!(stored.context.resource, "stream 2");
}

#[test]
fn keys_are_answered_in_the_order_in_which_they_were_demanded() {
    let bench = Bench::new();
    let keys = bench.open();
    keys.for_sealing(&[demand(3, 1), demand(7, 1)], &named).unwrap();
    let demands: Vec<Demand> = (0..20).map(|owner| demand(owner, 1)).collect();
    let answered = keys.for_sealing(&demands, &named).unwrap();
    for (demand, sealing) in demands.iter().zip(answered) {
        let found = keys.find(demand.scope.key(sealing.id)).unwrap();
        assert_eq!(found.secret(), sealing.key.secret());
    }
}

#[test]
fn a_key_that_has_sealed_enough_is_followed_by_another_of_the_same_day() {
    let bench = Bench::new();
    let keys = bench.open();
    let first = one(&keys, 600);
    let second = one(&keys, 600);
    assert_ne!(first.id, second.id);
    assert_eq!(one(&keys, 300).id, second.id);
    for key in [&first, &second] {
        assert_eq!(keys.find(scope(1).key(key.id)).unwrap().secret(), key.key.secret());
    }
}

#[test]
fn a_thousand_starts_that_seal_little_make_no_more_keys_than_one() {
    let bench = Bench::new();
    for _ in 0..1000 {
        one(&bench.open(), 10);
    }
    assert_eq!(bench.open().list().unwrap().len(), 1);
}

#[test]
fn a_start_that_seals_much_takes_a_little_of_an_old_key_and_then_makes_its_own() {
    let bench = Bench::new();
    let old = one(&bench.open(), 10);
    let keys = bench.open();
    assert_eq!(one(&keys, 100).id, old.id);
    assert_ne!(one(&keys, 1).id, old.id);
    assert_eq!(keys.list().unwrap().len(), 2);
}

#[test]
fn two_servers_on_one_store_make_keys_that_both_can_use() {
    let bench = Bench::new();
    let (here, there) = (bench.open(), bench.open());
    let (mine, yours) = (one(&here, 500), one(&there, 500));
    assert_ne!(mine.id, yours.id);
    assert_eq!(here.find(scope(1).key(yours.id)).unwrap().secret(), yours.key.secret());
    assert_eq!(there.find(scope(1).key(mine.id)).unwrap().secret(), mine.key.secret());
    assert_eq!(here.root().unwrap().secret(), there.root().unwrap().secret());
}

#[test]
fn a_key_is_durable_before_it_seals() {
    let bench = Bench::new();
    let sealing = one(&bench.open(), 10);
    bench.store.cut_power();
    assert_eq!(bench.open().find(scope(1).key(sealing.id)).unwrap().secret(), sealing.key.secret());
}

#[test]
fn a_key_that_was_made_in_a_batch_that_failed_is_durable_when_the_next_uses_it() {
    let bench = Bench::new();
    let keys = bench.open();
    bench.service.refuses_owner.store(2, Ordering::SeqCst);
    assert!(keys.for_sealing(&[demand(1, 10), demand(2, 10)], &named).is_err());
    bench.store.cut_power();
    let sealing = one(&keys, 10);
    assert!(bench.open().find(scope(1).key(sealing.id)).is_ok());
    assert_eq!(keys.list().unwrap().len(), 1);
}

#[test]
fn a_key_that_is_not_known_to_be_durable_seals_nothing() {
    let bench = Bench::new();
    drop(bench.open());
    let failing = Arc::new(FailingSync(bench.store.clone()));
    let keys = DataKeys::open(failing, bench.service.clone(), Arc::new(OsEntropy), Clock::default(), BUDGETS).unwrap();
    assert!(matches!(keys.for_sealing(&[demand(1, 1)], &named), Err(KeyError::Store(e)) if e.is_of_sync()));
}

#[test]
fn a_damaged_key_costs_what_it_sealed_and_not_what_comes() {
    let bench = Bench::new();
    let damaged = scope(1).key(one(&bench.open(), 10).id);
    let stored = bench.store.read(damaged).unwrap().unwrap();
    bench.store.replace(damaged, &stored, b"damaged").unwrap();
    let keys = bench.open();
    assert_ne!(one(&keys, 10).id, damaged.id);
    assert_eq!(keys.find(damaged).unwrap_err().refusal(), Some(KeyRefusal::InvalidCiphertext));
}

#[test]
fn a_destroyed_owners_keys_are_gone_from_memory_and_store_at_once() {
    let bench = Bench::new();
    let keys = bench.open();
    let sealing = keys.for_sealing(&[demand(1, 10), demand(2, 10)], &named).unwrap();
    keys.destroy_owner(OwnerId::from_u64(1)).unwrap();
    bench.store.cut_power();
    assert_eq!(keys.find(scope(1).key(sealing[0].id)).unwrap_err(), KeyError::Destroyed(scope(1).key(sealing[0].id)));
    assert!(keys.find(scope(2).key(sealing[1].id)).is_ok());
    assert_eq!(Arc::strong_count(&sealing[0].key), 1, "nobody else has it any more");
    assert_ne!(one(&keys, 1).id, sealing[0].id);
}

#[test]
fn the_service_is_asked_again_when_a_key_has_been_in_memory_for_its_time() {
    let bench = Bench::new();
    let keys = bench.open();
    let sealing = one(&keys, 10);
    bench.service.refuses_owner.store(1, Ordering::SeqCst);
    assert!(keys.find(scope(1).key(sealing.id)).is_ok());
    let time = u64::try_from(limits::KEY_CACHED_TIME_MAX.as_nanos()).unwrap();
    bench.nanos.fetch_add(time, Ordering::SeqCst);
    assert_eq!(keys.find(scope(1).key(sealing.id)).unwrap_err().refusal(), Some(KeyRefusal::AccessDenied));
    assert!(keys.for_sealing(&[demand(1, 1)], &named).is_err(), "sealing asks too");
}

fn one(keys: &DataKeys, blocks: u64) -> SealingKey {
    keys.for_sealing(&[demand(1, blocks)], &named).unwrap().remove(0)
}

fn demand(owner: u64, blocks: u64) -> Demand {
    Demand { scope: scope(owner), usage: Usage { frames: 1, blocks } }
}

fn scope(owner: u64) -> KeyScope {
    KeyScope { owner: OwnerId::from_u64(owner), epoch: KeyEpoch(3) }
}

fn named(owner: OwnerId) -> String {
    format!("stream {}", owner.number())
}

/// A store and a service that outlive what is opened on them, and the time.
#[derive(Default)]
struct Bench {
    store: Arc<MemoryKeys>,
    service: Arc<Plain>,
    nanos: Arc<AtomicU64>,
}

impl Bench {
    fn new() -> Self {
        Self::default()
    }

    fn open(&self) -> DataKeys {
        let nanos = self.nanos.clone();
        let clock = Clock::new(move || Duration::from_nanos(nanos.load(Ordering::SeqCst)));
        DataKeys::open(self.store.clone(), self.service.clone(), Arc::new(OsEntropy), clock, BUDGETS).unwrap()
    }
}

/// A service that wraps by writing context and key side by side.
#[derive(Default)]
struct Plain {
    made: AtomicU64,
    refuses_owner: AtomicU64,
}

impl Plain {
    fn check(&self, context: &KeyContext) -> Result<(), KeyError> {
        let owner = context.name.owner.number();
        if owner != 0 && owner == self.refuses_owner.load(Ordering::SeqCst) {
            return Err(KeyError::refused(KeyRefusal::AccessDenied, "a test"));
        }
        Ok(())
    }
}

impl KeyService for Plain {
    fn generate(&self, context: &KeyContext) -> Result<(DataKey, WrappedKey), KeyError> {
        self.check(context)?;
        self.made.fetch_add(1, Ordering::SeqCst);
        let key = DataKey::random()?;
        let mut wrapped = context.encode();
        wrapped.extend_from_slice(key.secret());
        Ok((key, WrappedKey(wrapped)))
    }

    fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<DataKey, KeyError> {
        self.check(context)?;
        let secret = wrapped.0.strip_prefix(&context.encode()[..]).expect("the context it was wrapped in");
        Ok(DataKey::new(&secret.try_into().expect("a key")))
    }
}

/// A store whose syncs fail.
struct FailingSync(Arc<MemoryKeys>);

impl KeyStore for FailingSync {
    fn list(&self) -> Result<Vec<KeyName>, KeyStoreError> {
        self.0.list()
    }

    fn read(&self, name: KeyName) -> Result<Option<Vec<u8>>, KeyStoreError> {
        self.0.read(name)
    }

    fn create(&self, name: KeyName, bytes: &[u8]) -> Result<bool, KeyStoreError> {
        self.0.create(name, bytes)
    }

    fn replace(&self, name: KeyName, old: &[u8], new: &[u8]) -> Result<bool, KeyStoreError> {
        self.0.replace(name, old, new)
    }

    fn remove(&self, name: KeyName) -> Result<(), KeyStoreError> {
        self.0.remove(name)
    }

    fn sync(&self) -> Result<(), KeyStoreError> {
        Err(KeyStoreError::new(KeyStoreError::SYNC, "the keys", &std::io::Error::other("a test")))
    }
}
