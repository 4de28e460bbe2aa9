//! The data keys of a vault: found, made and destroyed, with store, service and cache brought together.

mod rotation;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::error::{KeyError, KeyRefusal};
use crate::id::{KeyId, KeyName, KeyScope, OwnerId};
use crate::key_cache::KeyCache;
use crate::key_store::KeyStore;
use crate::key_use::{Budgets, KeyUse, Usage};
use crate::keys::{DataKey, KeyContext, KeyService, random_number};
use crate::stored_key::StoredKey;

/// What the vault itself is called by a key service.
const ROOT_RESOURCE: &str = "vault";

/// All data keys of a vault.
pub(crate) struct DataKeys {
    store: Arc<dyn KeyStore>,
    service: Arc<dyn KeyService>,
    entropy: Arc<dyn Entropy>,
    cache: KeyCache,
    uses: Mutex<KeyUse>,
    /// Held for reading from when a master key is chosen for a new data key until that is in the store, so that
    /// a rotation can wait for those that chose the old one.
    wrapping: RwLock<()>,
    /// Held through a rotation.
    rotating: Mutex<()>,
}

/// Says what an owner is called by others.
pub(crate) type Naming<'a> = dyn Fn(OwnerId) -> String + Sync + 'a;

/// What a batch is going to seal for one owner and day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    pub(crate) scope: KeyScope,
    pub(crate) usage: Usage,
}

/// A key that seals, and which one it is.
#[derive(Clone, Debug)]
pub(crate) struct SealingKey {
    pub(crate) id: KeyId,
    pub(crate) key: Arc<DataKey>,
}

/// A demand on its way to its key.
#[derive(Clone, Copy, Debug)]
struct Choice {
    demand: Demand,
    /// The key that shall meet it; `None` if one has to be made.
    id: Option<KeyId>,
}

/// How a choice that no key in memory meets was met.
enum Met {
    Found(SealingKey),
    /// Durable only after the store was synced.
    Made(SealingKey),
}

impl Met {
    fn into_key(self) -> SealingKey {
        match self {
            Self::Found(key) | Self::Made(key) => key,
        }
    }
}

impl DataKeys {
    /// The keys of a store, whether its service gives them out just now or not.
    pub(crate) fn new(
        store: Arc<dyn KeyStore>,
        service: Arc<dyn KeyService>,
        entropy: Arc<dyn Entropy>,
        clock: Clock,
        budgets: Budgets,
    ) -> Result<Self, KeyError> {
        let found = without_root(store.list()?);
        let uses = Mutex::new(KeyUse::new(budgets, found, random_number(&*entropy)?));
        let (cache, wrapping, rotating) = (KeyCache::new(clock), RwLock::default(), Mutex::default());
        Ok(Self { store, service, entropy, cache, uses, wrapping, rotating })
    }

    /// Opens the keys of a store. Its root key shows whether the service can do it; in a new vault it is made.
    pub(crate) fn open(
        store: Arc<dyn KeyStore>,
        service: Arc<dyn KeyService>,
        entropy: Arc<dyn Entropy>,
        clock: Clock,
        budgets: Budgets,
    ) -> Result<Self, KeyError> {
        let keys = Self::new(store, service, entropy, clock, budgets)?;
        match keys.root() {
            Err(KeyError::Destroyed(_)) => keys.make_root()?,
            found => drop(found?),
        }
        Ok(keys)
    }

    /// The root key: it seals no frame and is the source of derived keys.
    pub(crate) fn root(&self) -> Result<Arc<DataKey>, KeyError> {
        self.find(KeyName::ROOT)
    }

    /// The data key of this name, which must exist.
    pub(crate) fn find(&self, name: KeyName) -> Result<Arc<DataKey>, KeyError> {
        if let Some(key) = self.cache.find(name) {
            return Ok(key);
        }
        let generation = self.cache.generation();
        let stored = self.read(name)?;
        let key = Arc::new(self.service.unwrap(&stored.wrapped, &stored.context)?);
        self.cache.keep(generation, name, &key);
        Ok(key)
    }

    /// Keys that seal what is demanded, in the order of the demands. New ones are durable on return: a
    /// frame must never be sealed under a key that a power cut can take.
    pub(crate) fn for_sealing(&self, demands: &[Demand], resource: &Naming<'_>) -> Result<Vec<SealingKey>, KeyError> {
        let choices: Vec<Choice> = demands.iter().map(|demand| self.choose(*demand)).collect();
        let at_hand: Vec<Option<SealingKey>> = choices.iter().map(|choice| self.at_hand(choice)).collect();
        let slow: Vec<Choice> =
            choices.iter().zip(&at_hand).filter(|(_, key)| key.is_none()).map(|(choice, _)| *choice).collect();
        let mut fetched = self.fetch(&slow, resource)?.into_iter();
        let in_order = at_hand.into_iter().map(|key| key.or_else(|| fetched.next()));
        Ok(in_order.map(|key| key.expect("what was not at hand was fetched")).collect())
    }

    /// A segment was begun: it counts against every key that may seal in it.
    pub(crate) fn segment_begun(&self) {
        self.uses().segment_begun();
    }

    /// Destroys all keys of `owner`: its frames are unreadable from now on.
    pub(crate) fn destroy_owner(&self, owner: OwnerId) -> Result<(), KeyError> {
        let names: Vec<_> = self.list()?.into_iter().filter(|name| name.owner == owner).collect();
        // Also if there are none any more: an attempt before may have removed them, and ended before it synced that.
        self.remove(&names)
    }

    /// Destroys these keys.
    pub(crate) fn destroy(&self, names: &[KeyName]) -> Result<(), KeyError> {
        if names.is_empty() { Ok(()) } else { self.remove(names) }
    }

    fn remove(&self, names: &[KeyName]) -> Result<(), KeyError> {
        assert!(!names.contains(&KeyName::ROOT), "the root key lives as long as the vault");
        for &name in names {
            self.store.remove(name)?;
            self.uses().forget(name);
        }
        // After they have gone from the store, so that none comes back from there.
        self.cache.remove(names);
        Ok(self.store.sync()?)
    }

    /// The names of all keys but the root key.
    pub(crate) fn list(&self) -> Result<Vec<KeyName>, KeyError> {
        Ok(without_root(self.store.list()?))
    }

    /// How often unwrapped keys were dropped on purpose.
    pub(crate) fn drops(&self) -> u64 {
        self.cache.generation().0
    }

    /// What the owner of each key is called by others. Keys that are damaged tell nothing.
    pub(crate) fn resources(&self) -> Result<BTreeMap<OwnerId, String>, KeyError> {
        let mut resources = BTreeMap::new();
        for name in self.list()? {
            match self.read(name) {
                Ok(stored) => drop(resources.insert(name.owner, stored.context.resource)),
                Err(error) if error.is_of_one_key() => tracing::warn!(key = %name, %error, "a data key can't be read"),
                Err(error) => return Err(error),
            }
        }
        Ok(resources)
    }

    /// Drops unwrapped keys that are too old.
    pub(crate) fn expire_cache(&self) {
        self.cache.expire();
    }

    fn choose(&self, demand: Demand) -> Choice {
        Choice { demand, id: self.uses().choose(demand.scope, demand.usage) }
    }

    fn at_hand(&self, choice: &Choice) -> Option<SealingKey> {
        let id = choice.id?;
        self.cache.find(choice.demand.scope.key(id)).map(|key| SealingKey { id, key })
    }

    /// Has keys unwrapped or made, in the order of the choices.
    fn fetch(&self, choices: &[Choice], resource: &Naming<'_>) -> Result<Vec<SealingKey>, KeyError> {
        let generation = self.cache.generation();
        let met = in_parallel(choices, self.service.calls_at_once(), |choice| self.meet(choice, resource));
        // Synced even if another choice was not met: a key that was made is used by the next batch.
        if met.iter().any(|met| matches!(met, Ok(Met::Made(_)))) {
            self.store.sync()?;
        }
        for (Choice { demand, .. }, met) in choices.iter().zip(&met) {
            if let Ok(Met::Made(made)) = met {
                let name = demand.scope.key(made.id);
                self.uses().made(name, demand.usage);
                self.cache.keep(generation, name, &made.key);
            }
        }
        met.into_iter().map(|met| met.map(Met::into_key)).collect()
    }

    fn meet(&self, choice: &Choice, resource: &Naming<'_>) -> Result<Met, KeyError> {
        let scope = choice.demand.scope;
        if let Some(id) = choice.id {
            let name = scope.key(id);
            match self.find(name) {
                Ok(key) => return Ok(Met::Found(SealingKey { id, key })),
                Err(error) if error.is_of_one_key() => {
                    // What it has sealed is as unreadable as before; that is no reason to store nothing more.
                    tracing::warn!(key = %name, %error, "a data key can't be used; a new one takes its place");
                    self.uses().forget(name);
                }
                Err(error) => return Err(error),
            }
        }
        self.make(scope, resource).map(Met::Made)
    }

    /// Makes a key under a name that nobody has.
    fn make(&self, scope: KeyScope, resource: &Naming<'_>) -> Result<SealingKey, KeyError> {
        let _wrapping = self.wrapping.read().unwrap_or_else(PoisonError::into_inner);
        loop {
            let id = KeyId(random_number(&*self.entropy)?);
            let context = KeyContext { name: scope.key(id), resource: resource(scope.owner) };
            let (key, wrapped) = self.service.generate(&context)?;
            let stored = StoredKey { context, wrapped };
            if self.store.create(scope.key(id), &stored.encode())? {
                return Ok(SealingKey { id, key: Arc::new(key) });
            }
        }
    }

    /// Makes the root key. If another server was faster, its key is the root key.
    fn make_root(&self) -> Result<(), KeyError> {
        let _wrapping = self.wrapping.read().unwrap_or_else(PoisonError::into_inner);
        let context = KeyContext { name: KeyName::ROOT, resource: ROOT_RESOURCE.to_owned() };
        let (_, wrapped) = self.service.generate(&context)?;
        self.store.create(KeyName::ROOT, &StoredKey { context, wrapped }.encode())?;
        self.store.sync()?;
        self.root().map(drop)
    }

    fn read(&self, name: KeyName) -> Result<StoredKey, KeyError> {
        let stored = self.store.read(name)?.ok_or(KeyError::Destroyed(name))?;
        Self::decode(&stored, name)
    }

    fn decode(stored: &[u8], name: KeyName) -> Result<StoredKey, KeyError> {
        let damaged = || KeyError::refused(KeyRefusal::InvalidCiphertext, format!("the stored key {name} is damaged"));
        StoredKey::decode(stored, name).ok_or_else(damaged)
    }

    pub(crate) fn rotating(&self) -> MutexGuard<'_, ()> {
        self.rotating.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uses(&self) -> MutexGuard<'_, KeyUse> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn without_root(mut names: Vec<KeyName>) -> Vec<KeyName> {
    names.retain(|name| *name != KeyName::ROOT);
    names
}

/// Does `task` for each item, several at a time, and answers in the order of the items.
fn in_parallel<T: Sync, R: Send>(items: &[T], at_once: usize, task: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let share = items.len().div_ceil(at_once.max(1)).max(1);
    if items.len() <= share {
        return items.iter().map(task).collect();
    }
    let task = &task;
    thread::scope(|scope| {
        let threads: Vec<_> =
            items.chunks(share).map(|items| scope.spawn(move || items.iter().map(task).collect::<Vec<R>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a key task panicked")).collect()
    })
}

#[cfg(test)]
mod tests;
