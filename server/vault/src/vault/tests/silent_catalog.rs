//! The vault on a catalog that can be lost sight of in the middle of a commit, as one across a network can.

use std::sync::Mutex;

use super::*;
use crate::catalog::MemoryCatalog;
use crate::error::CommitError;

#[tokio::test]
async fn a_commit_that_the_catalog_did_not_make_can_be_tried_again_and_leaves_no_litter() {
    let (bench, catalog) = (Bench::new(), Arc::new(SilentCatalog::default()));
    let vault = bench.open_on(catalog.clone());
    catalog.behave(Behaviour::Refuse);
    let refused = vault.clone().send("a", b"a", SLOT).await.unwrap_err();
    assert!(matches!(refused, PutError::Catalog(_)) && refused.retryable(), "{refused}");
    assert_eq!(vault.health().poisoned, None);
    assert!(vault.segments().unwrap().is_empty());
    catalog.behave(Behaviour::Answer);
    let location = vault.store("a", b"a").await;
    assert_eq!(vault.read(location).await.unwrap().1, "a");
}

#[tokio::test]
async fn an_entry_whose_commit_was_made_unheard_is_stored_once_and_can_be_read() {
    let (bench, catalog) = (Bench::new(), Arc::new(SilentCatalog::default()));
    let vault = bench.open_on(catalog.clone());
    vault.store("before", b"before").await;
    catalog.behave(Behaviour::StaySilent { commits: true });
    let unheard = vault.clone().send("a", b"a", SLOT).await.unwrap_err();
    assert!(matches!(unheard, PutError::Unknown(_)) && unheard.retryable(), "{unheard}");
    catalog.behave(Behaviour::Answer);
    let again = vault.clone().send("a", b"a", SLOT).await.unwrap();
    let Put::AlreadyStored { value } = again else { panic!("stored twice") };
    let location = Location::decode(&value).unwrap();
    assert_eq!(vault.read(location).await.unwrap().1, "a");
    drop(vault);
    assert_eq!(bench.open_on(catalog).read(location).await.unwrap().1, "a");
}

#[tokio::test]
async fn an_entry_whose_commit_came_to_nothing_is_stored_when_it_is_sent_again() {
    let (bench, catalog) = (Bench::new(), Arc::new(SilentCatalog::default()));
    let vault = bench.open_on(catalog.clone());
    catalog.behave(Behaviour::StaySilent { commits: false });
    assert!(matches!(vault.clone().send("a", b"a", SLOT).await, Err(PutError::Unknown(_))));
    catalog.behave(Behaviour::Answer);
    let location = vault.store("a", b"a").await;
    assert_eq!(vault.read(location).await.unwrap().1, "a");
}

#[tokio::test]
async fn nothing_is_stored_while_a_commit_may_yet_appear() {
    let (bench, catalog) = (Bench::new(), Arc::new(SilentCatalog::default()));
    let vault = bench.open_on(catalog.clone());
    catalog.behave(Behaviour::StaySilent { commits: true });
    assert!(matches!(vault.clone().send("a", b"a", SLOT).await, Err(PutError::Unknown(_))));
    // The catalog answers reads, in which the commit is not to be seen, and can't say what became of it.
    let refused = vault.clone().send("a", b"a", SLOT).await.unwrap_err();
    assert!(matches!(refused, PutError::Catalog(_)) && refused.retryable(), "{refused}");
    assert_eq!(vault.catalog().get(&key("a")), Ok(None));
    catalog.behave(Behaviour::Answer);
    assert!(matches!(vault.clone().send("a", b"a", SLOT).await, Ok(Put::AlreadyStored { .. })));
}

#[tokio::test]
async fn a_catalog_that_broke_under_a_commit_poisons_the_vault() {
    let (bench, catalog) = (Bench::new(), Arc::new(SilentCatalog::default()));
    let vault = bench.open_on(catalog.clone());
    catalog.behave(Behaviour::Break);
    assert!(matches!(vault.clone().send("a", b"a", SLOT).await, Err(PutError::Poisoned(_))));
    catalog.behave(Behaviour::Answer);
    assert!(matches!(vault.clone().send("a", b"a", SLOT).await, Err(PutError::Poisoned(_))));
}

/// How the catalog takes a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Behaviour {
    #[default]
    Answer,
    Refuse,
    /// Says nothing, and makes the commit or not when it is settled.
    StaySilent {
        commits: bool,
    },
    Break,
}

/// A catalog in memory that takes commits as it is told.
#[derive(Default)]
struct SilentCatalog {
    rows: MemoryCatalog,
    behaviour: Mutex<Behaviour>,
    pending: Mutex<Option<Batch>>,
}

impl SilentCatalog {
    fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }
}

impl Catalog for SilentCatalog {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, CatalogError> {
        self.rows.get(key)
    }

    fn snapshot(&self) -> Box<dyn crate::Snapshot> {
        self.rows.snapshot()
    }

    fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let why = || CatalogError::Unavailable("injected".to_owned());
        match *self.behaviour.lock().unwrap() {
            Behaviour::Answer => self.rows.commit(batch),
            Behaviour::Refuse => Err(CommitError::NotCommitted(why())),
            Behaviour::StaySilent { commits } => {
                *self.pending.lock().unwrap() = commits.then_some(batch);
                Err(CommitError::Unknown(why()))
            }
            Behaviour::Break => Err(CommitError::Broken(why())),
        }
    }

    fn settle(&self) -> Result<(), CatalogError> {
        if matches!(*self.behaviour.lock().unwrap(), Behaviour::StaySilent { .. }) {
            return Err(CatalogError::Unavailable("injected".to_owned()));
        }
        if let Some(batch) = self.pending.lock().unwrap().take() {
            self.rows.commit(batch).unwrap();
        }
        Ok(())
    }
}

impl Bench {
    fn open_on(&self, catalog: Arc<dyn Catalog>) -> Vault {
        let ring = Arc::new(Keyring::of_vault(self.path()).unwrap());
        let disk = Arc::new(FaultyDisk(self.faults.clone()));
        let parts = Parts::on(disk, self.path(), ring, catalog, Arc::new(OsEntropy)).unwrap();
        Vault::assemble(parts, vec![self.owner.clone()]).unwrap()
    }
}
