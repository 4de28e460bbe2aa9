//! The vault as its users see it, on a real disk.

mod silent_catalog;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::faulty::{Faults, FaultyDisk};
use super::*;
use crate::catalog::{Batch, Direction, KeyRange};
use crate::error::{CatalogError, KeyRefusal, KeyringError};
use crate::id::{Domain, KeyEpoch};
use crate::key::Space;
use crate::keyring::{Home, Keyring};
use crate::masters::MasterState;
use crate::owner::AssignError;
use crate::walk::Walked;

const SLOT: ExpirySlot = ExpirySlot(15_000_000);
const DAY: u32 = 86_400 / ExpirySlot::SECONDS;

#[tokio::test]
async fn what_was_stored_is_read_back_before_and_after_reopening() {
    let bench = Bench::new();
    let vault = bench.open();
    let location = vault.store("a", b"payload a").await;
    assert_eq!(vault.read(location).await.unwrap().1, "payload a");
    drop(vault);
    let (header, payload) = bench.open().read(location).await.unwrap();
    assert_eq!(payload, "payload a");
    assert_eq!((&header.index[..], header.owner, header.expiry), (&b"a"[..], owner(1), SLOT));
}

#[tokio::test]
async fn an_empty_payload_and_an_empty_index_can_be_stored() {
    let bench = Bench::new();
    let location = bench.open().store("", b"").await;
    assert_eq!(bench.open().read(location).await.unwrap().1, "");
}

#[tokio::test]
async fn a_vault_is_open_in_one_place_at_a_time() {
    let bench = Bench::new();
    let vault = bench.open();
    assert!(matches!(bench.try_open(), Err(OpenError::Locked(_))));
    drop(vault);
    assert!(bench.try_open().is_ok());
}

#[tokio::test]
async fn entries_that_wait_share_a_commit() {
    let bench = Bench::new();
    let vault = bench.open();
    vault.store_many(200, 1000).await;
    let health = vault.health();
    assert_eq!((health.frames, health.payload_bytes, health.queued_bytes), (200, 200_000, 0));
    assert!(health.commits < 100, "{health:?}");
}

#[tokio::test]
async fn a_batch_that_another_server_overtakes_is_made_anew_elsewhere_and_answered_once() {
    let bench = Bench::new();
    let vault = bench.open();
    let first = vault.store("first", b"before").await;
    bench.owner.rivals.store(3, Ordering::SeqCst);
    let entry = bench.entry("twice", b"payload");
    let (one, two) = tokio::join!(vault.put(entry.clone()), vault.put(entry));
    let location = location_of(&one.unwrap());
    assert!(matches!(two.unwrap(), Put::AlreadyStored { value } if value == location.encode()[..]));
    assert_ne!(location.segment, first.segment, "no nonce of the segment that was begun is used again");
    for (location, payload) in [(first, &b"before"[..]), (location, b"payload")] {
        assert_eq!(vault.read(location).await.unwrap().1, payload);
    }
    vault.barrier().await;
    assert_eq!(vault.segments().unwrap().len(), 2, "what the others have begun is gone");
    assert_eq!(vault.health().queued_bytes, 0);
    // After many times the caller is told, and may try again.
    bench.owner.rivals.store(100, Ordering::SeqCst);
    let refused = vault.put(bench.entry("never", b"")).await.unwrap_err();
    assert!(refused.retryable(), "{refused}");
    assert_eq!(vault.catalog().get(&key("never")).unwrap(), None);
}

#[tokio::test]
async fn a_frame_is_moved_with_its_row_and_what_it_leaves_behind_can_go() {
    let bench = Bench::new();
    let vault = bench.open();
    let from = vault.store("moved", b"payload").await;
    let gone = vault.store("gone", b"payload").await;
    vault.remove_row("gone");
    vault.close_segments(BTreeSet::from([from.into()])).await.unwrap();
    let (header, payload) = vault.read(gone).await.unwrap();
    assert!(!vault.relocate(gone, header, payload).await.unwrap(), "nothing leads to it any more");
    let (header, payload) = vault.read(from).await.unwrap();
    assert!(vault.relocate(from, header.clone(), payload.clone()).await.unwrap());
    let row = vault.catalog().get(&key("moved")).unwrap().unwrap();
    let to = Location::decode(&row).unwrap();
    assert_ne!(to.segment, from.segment);
    assert_eq!(to.expiry, from.expiry);
    assert_eq!(vault.read(to).await.unwrap().1, b"payload"[..]);
    assert!(!vault.relocate(from, header, payload).await.unwrap(), "it is there already");
    // An older catalog leads to where it was: what is there now is the only copy once that is gone.
    let mut older = Batch::new();
    older.insert(key("moved"), from.encode().to_vec());
    vault.catalog().commit(older).unwrap();
    vault.close_segments(BTreeSet::from([to.into()])).await.unwrap();
    drop(vault);
    fs::remove_file(files_below(bench.path()).into_iter().find(|file| is_of(file, from)).unwrap()).unwrap();
    let vault = bench.open();
    let kept = vault.reclaim(BTreeSet::from([to.into()])).await.unwrap();
    assert_eq!((kept.swept.segments, kept.held.len()), (0, 1));
}

#[tokio::test]
async fn an_entry_is_stored_once_however_often_it_is_sent() {
    let bench = Bench::new();
    let vault = bench.open();
    let sends: Vec<_> = (0..20).map(|_| tokio::spawn(vault.clone().send("a", b"payload", SLOT))).collect();
    let mut stored = 0;
    for send in sends {
        stored += usize::from(matches!(send.await.unwrap(), Ok(Put::Stored(_))));
    }
    assert_eq!(stored, 1);
    assert!(matches!(vault.clone().send("a", b"payload", SLOT).await, Ok(Put::AlreadyStored { .. })));
    drop(vault);
    let again = bench.open().clone().send("a", b"payload", SLOT).await.unwrap();
    let Put::AlreadyStored { value } = again else { panic!("{again:?}") };
    assert!(Location::decode(&value).is_some());
}

#[tokio::test]
async fn nothing_of_a_payload_is_readable_on_disk() {
    let bench = Bench::new();
    let vault = bench.open();
    let secret = b"0123456789 the plaintext of a payload";
    vault.store("a", &secret.repeat(1000)).await;
    drop(vault);
    for file in files_below(bench.path()) {
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{}", file.display());
    }
}

#[tokio::test]
async fn a_copy_taken_while_it_runs_holds_everything_acknowledged() {
    let bench = Bench::new();
    let vault = bench.open();
    let locations = vault.store_many(50, 5000).await;
    let copy = bench.copy();
    let after = copy.open();
    for (name, location) in locations {
        assert_eq!(after.read(location).await.unwrap().1, payload(&name, 5000));
    }
    after.store("new", b"new").await;
}

#[tokio::test]
async fn a_torn_tail_costs_the_torn_frame_only_at_every_byte() {
    let bench = Bench::new();
    let vault = bench.open();
    let first = vault.store("first", b"first payload").await;
    let last = vault.store("last", b"last payload").await;
    drop(vault);
    for cut in 0..last.bytes {
        let copy = bench.copy();
        let segment = copy.segment_file(last);
        fs::File::options().write(true).open(&segment).unwrap().set_len(u64::from(last.offset + cut)).unwrap();
        let vault = copy.open();
        assert_eq!(vault.read(first).await.unwrap().1, "first payload");
        assert!(matches!(vault.read(last).await, Err(ReadError::Damaged { .. })), "cut at {cut}");
        let new = vault.store("new", b"new").await;
        assert_ne!(new.segment, last.segment, "a segment is never appended to after a restart");
    }
}

#[tokio::test]
async fn any_flipped_bit_of_a_segment_costs_the_frame_that_it_lies_in_and_no_other() {
    let bench = Bench::new();
    let vault = bench.open();
    let names = ["a", "b", "c"];
    let mut locations = Vec::new();
    for name in names {
        locations.push(vault.store(name, &payload(name, 30)).await);
    }
    drop(vault);
    let vault = bench.open();
    let segment = vault.segments().unwrap()[0];
    let file = fs::File::options().read(true).write(true).open(bench.segment_file(locations[0])).unwrap();
    let costs = |at: u64| {
        locations.iter().position(|place| {
            at.checked_sub(u64::from(place.offset)).is_some_and(|within| within < u64::from(place.bytes))
        })
    };

    for bit in 0..segment.bytes * 8 {
        let (at, flip) = (bit / 8, 1 << (bit % 8));
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ flip], at).unwrap();

        let lost = costs(at);
        for (nth, (name, location)) in names.iter().zip(&locations).enumerate() {
            match vault.read_blocking(*location) {
                Ok((_, read)) => assert!(lost != Some(nth) && read == payload(name, 30), "bit {bit}, frame {name}"),
                Err(ReadError::Damaged { .. }) => assert_eq!(lost, Some(nth), "bit {bit}, frame {name}"),
                Err(error) => panic!("bit {bit}, frame {name}: {error}"),
            }
        }
        let walk = vault.walk(segment.name).unwrap();
        assert_eq!(walk.check_header().unwrap().is_err(), lost.is_none(), "bit {bit}");
        let found: Vec<_> = walk.filter_map(|walked| place_of(&walked.unwrap())).collect();
        for (nth, location) in locations.iter().enumerate() {
            assert!(lost == Some(nth) || found.contains(location), "bit {bit} hides frame {nth} from a walk");
        }

        file.write_all_at(&byte, at).unwrap();
    }
    assert!((0..segment.bytes).filter(|at| costs(*at).is_none()).eq(0..32), "all else than the header is frames");
}

#[tokio::test]
async fn another_master_key_is_refused_by_name() {
    let bench = Bench::new();
    drop(bench.open());
    let other = tempfile::tempdir().unwrap();
    let ring = Arc::new(Keyring::create(Home::in_vault(other.path()), None, 1).unwrap());
    let opened = Vault::open(bench.path(), ring, vec![]);
    let error = opened.err().unwrap();
    assert!(matches!(&error, OpenError::Key(e) if e.refusal() == Some(KeyRefusal::NotFound)), "{error}");
    assert!(error.to_string().contains("is this the right keyring?"), "{error}");
}

#[tokio::test]
async fn a_lost_keyring_is_not_replaced_by_a_new_one() {
    let bench = Bench::new();
    drop(bench.open());
    fs::remove_file(bench.path().join("master.keyring")).unwrap();
    assert!(matches!(Keyring::of_vault(bench.path()), Err(KeyringError::Missing(_))));
    assert!(!bench.path().join("master.keyring").exists());
}

#[tokio::test]
async fn a_frame_whose_key_was_destroyed_is_unreadable_and_others_are_not() {
    let bench = Bench::new();
    let vault = bench.open();
    let mine = vault.store("mine", b"mine").await;
    let other = vault.put_as(owner(2), "other", b"other", SLOT).await.unwrap();
    vault.destroy_keys(owner(1)).await.unwrap();
    for vault in [vault.clone(), vault] {
        assert!(matches!(vault.read(mine).await, Err(ReadError::Key { .. })));
        assert_eq!(vault.read(location_of(&other)).await.unwrap().1, "other");
    }
    assert!(matches!(bench.open().read(mine).await, Err(ReadError::Key { .. })));
}

#[tokio::test]
async fn keys_whose_removal_could_not_be_synced_are_not_said_to_be_destroyed_until_the_vault_is_opened_again() {
    let bench = Bench::new();
    let vault = bench.open();
    vault.store("mine", b"mine").await;
    bench.faults.sync.store(true, Ordering::SeqCst);
    assert!(matches!(vault.destroy_keys(owner(1)).await, Err(KeyError::Store(_))));
    bench.faults.sync.store(false, Ordering::SeqCst);
    // The disk would now say that it has no such keys, and may bring them back.
    assert!(matches!(vault.destroy_keys(owner(1)).await, Err(KeyError::Poisoned)));
    assert!(vault.health().poisoned.unwrap().contains("injected"));
    drop(vault);
    bench.open().destroy_keys(owner(1)).await.unwrap();
}

#[tokio::test]
async fn a_disabled_master_key_stops_reads_and_writes_at_once_until_it_is_enabled() {
    let bench = Bench::new();
    let vault = bench.open();
    let location = vault.store("before", b"before").await;
    let master = vault.masters().unwrap().remove(0);
    assert_eq!((master.master.state, master.data_keys), (MasterState::Enabled, 2));
    let drops = vault.key_drops();

    vault.set_master(master.master.id.clone(), MasterState::Disabled).await.unwrap();

    assert_ne!(vault.key_drops(), drops);
    let refused = vault.clone().send("a", b"a", SLOT).await.unwrap_err();
    assert!(matches!(&refused, PutError::Key(e) if e.refusal() == Some(KeyRefusal::Disabled)), "{refused}");
    assert!(refused.retryable());
    let unread = vault.read(location).await.unwrap_err();
    assert!(matches!(&unread, ReadError::Key { source, .. } if source.refusal() == Some(KeyRefusal::Disabled)));
    assert!(vault.seal_secret("x", b"text").is_err());

    vault.set_master(master.master.id, MasterState::Enabled).await.unwrap();
    vault.store("a", b"a").await;
    assert_eq!(vault.read(location).await.unwrap().1, "before");
}

#[tokio::test]
async fn a_vault_whose_master_key_is_disabled_says_so_and_can_be_enabled_while_it_is_closed() {
    let bench = Bench::new();
    let vault = bench.open();
    let location = vault.store("a", b"a").await;
    let id = vault.masters().unwrap().remove(0).master.id;
    vault.set_master(id.clone(), MasterState::Disabled).await.unwrap();
    drop(vault);
    let refused = bench.try_open().err().unwrap();
    assert!(matches!(&refused, OpenError::Key(e) if e.refusal() == Some(KeyRefusal::Disabled)), "{refused}");

    let ring = Arc::new(Keyring::of_vault(bench.path()).unwrap());
    let closed = ClosedVault::open(bench.path(), ring).unwrap();
    assert!(matches!(bench.try_open(), Err(OpenError::Locked(_))));
    closed.set_master(&id, MasterState::Enabled).unwrap();
    drop(closed);

    assert_eq!(bench.open().read(location).await.unwrap().1, "a");
}

#[tokio::test]
async fn a_rotation_leaves_every_segment_as_it_is_and_every_frame_readable() {
    let bench = Bench::new();
    let vault = bench.open();
    let stored = vault.store_many(20, 500).await;
    let before = fs::read(bench.segment_file(stored[0].1)).unwrap();
    let rotated = vault.rotate_master(7).unwrap();
    assert_eq!((rotated.data_keys, rotated.retired.len()), (2, 1));
    assert_eq!(fs::read(bench.segment_file(stored[0].1)).unwrap(), before);
    let after = vault.store("after", b"after").await;
    drop(vault);
    let vault = bench.open();
    assert_eq!(vault.read(stored[3].1).await.unwrap().1, payload(&stored[3].0, 500));
    assert_eq!(vault.read(after).await.unwrap().1, "after");
}

#[tokio::test]
async fn expiry_deletes_files_and_keys_of_what_nobody_refers_to() {
    let bench = Bench::new();
    let vault = bench.open();
    let old = vault.store("old", b"old").await;
    let later = ExpirySlot(SLOT.0 + DAY);
    let young = location_of(&vault.put_as(owner(1), "young", b"young", later).await.unwrap());
    vault.remove_row("old");
    vault.remove_row("young");

    let early = vault.sweep(SLOT.end_secs() - 1).await.unwrap();
    assert_eq!(early, Swept::default(), "its slot has not passed");

    // The whole day of the key has to pass before it goes.
    let day_after = u64::from(SLOT.epoch().0 + 1) * 86_400;
    let swept = vault.sweep(day_after).await.unwrap();
    assert_eq!((swept.segments, swept.keys), (1, 1));
    assert!(!bench.segment_file(old).exists());
    assert!(matches!(vault.read(old).await, Err(ReadError::Missing(_))));
    assert_eq!(vault.read(young).await.unwrap().1, "young");
    assert_eq!(vault.sweep(day_after).await.unwrap(), Swept::default());
}

#[tokio::test]
async fn a_segment_with_a_live_frame_outlives_its_slot() {
    let bench = Bench::new();
    let vault = bench.open();
    vault.store("dead", b"dead").await;
    let live = vault.store("live", b"live").await;
    vault.remove_row("dead");
    let swept = vault.sweep(SLOT.end_secs() + 1000).await.unwrap();
    assert_eq!(swept, Swept::default());
    assert_eq!(vault.read(live).await.unwrap().1, "live");
}

#[tokio::test]
async fn an_entry_that_would_have_expired_before_the_sweep_is_kept_for_longer() {
    let bench = Bench::new();
    let vault = bench.open();
    vault.sweep(SLOT.end_secs()).await.unwrap();
    let stored = vault.store("a", b"a").await;
    assert_eq!(stored.expiry, ExpirySlot(SLOT.0 + 1));
    assert_eq!(vault.sweep(SLOT.end_secs()).await.unwrap(), Swept::default());
    assert_eq!(vault.read(stored).await.unwrap().1, "a");
}

#[tokio::test]
async fn a_failed_sync_poisons_the_vault_until_it_is_opened_again() {
    let bench = Bench::new();
    let vault = bench.open();
    let before = vault.store("before", b"before").await;
    bench.faults.sync.store(true, Ordering::SeqCst);
    assert!(matches!(vault.clone().send("a", b"a", SLOT).await, Err(PutError::Poisoned(_))));
    bench.faults.sync.store(false, Ordering::SeqCst);
    assert!(matches!(vault.clone().send("a", b"a", SLOT).await, Err(PutError::Poisoned(_))));
    assert!(vault.health().poisoned.unwrap().contains("injected"));
    assert_eq!(vault.read(before).await.unwrap().1, "before", "reading goes on");
    drop(vault);
    let vault = bench.open();
    assert_eq!(vault.read(before).await.unwrap().1, "before");
    vault.store("a", b"a").await;
}

#[tokio::test]
async fn a_full_disk_is_an_error_to_try_again_and_leaves_no_litter() {
    let bench = Bench::new();
    let vault = bench.open();
    bench.faults.full.store(true, Ordering::SeqCst);
    let refused = vault.clone().send("a", b"a", SLOT).await.unwrap_err();
    assert_eq!(refused, PutError::DiskFull);
    assert!(refused.retryable());
    assert!(vault.segments().unwrap().is_empty());
    bench.faults.full.store(false, Ordering::SeqCst);
    let location = vault.store("a", b"a").await;
    assert_eq!(vault.read(location).await.unwrap().1, "a");
    assert_eq!(bench.owner.abandoned.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_write_that_stops_half_way_never_spends_a_nonce_twice() {
    let bench = Bench::new();
    let vault = bench.open();
    let before = vault.store("before", b"before").await;
    bench.faults.half_writes.store(true, Ordering::SeqCst);
    assert_eq!(vault.clone().send("a", b"first try", SLOT).await, Err(PutError::DiskFull));
    bench.faults.half_writes.store(false, Ordering::SeqCst);
    let after = vault.store("a", b"second try").await;
    assert_ne!(after.segment, before.segment);
    assert_eq!(vault.read(before).await.unwrap().1, "before");
    assert_eq!(vault.read(after).await.unwrap().1, "second try");
    let committed = u64::from(before.offset + before.bytes);
    assert_eq!(bench.segment_file(before).metadata().unwrap().len(), committed);
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_its_size() {
    let bench = Bench::new();
    let mut entry = bench.entry("a", b"");
    entry.index = vec![0; limits::INDEX_BYTES_MAX + 1].into();
    let refused = bench.open().put(entry).await.unwrap_err();
    assert!(matches!(refused, PutError::TooLarge { what: "index entry", .. }), "{refused}");
    let mut entry = bench.entry("a", b"");
    entry.payload = vec![0; limits::PAYLOAD_BYTES_MAX + 1].into();
    let refused = bench.open().put(entry).await.unwrap_err();
    assert!(matches!(refused, PutError::TooLarge { what: "payload", .. }), "{refused}");
}

#[tokio::test]
async fn an_owner_that_is_not_there_is_refused() {
    let bench = Bench::new();
    let stranger = OwnerId::new(Domain::new(77), 1).unwrap();
    let refused = bench.open().put_as(stranger, "a", b"a", SLOT).await;
    assert!(matches!(refused, Err(PutError::Refused(_))));
}

#[tokio::test]
async fn a_segment_that_fills_up_within_a_batch_is_followed_by_another() {
    let bench = Bench::new();
    let vault = bench.open();
    for n in 0..4 {
        vault.store(&format!("big {n}"), &payload("big", 63 << 20)).await;
    }
    let locations = vault.store_many(16, 1 << 20).await;
    assert_eq!(vault.segments().unwrap().len(), 2);
    assert!(vault.segments().unwrap().iter().all(|s| s.bytes <= u64::from(limits::SEGMENT_BYTES_MAX)));
    for (name, location) in locations {
        assert_eq!(vault.read(location).await.unwrap().1, payload(&name, 1 << 20));
    }
}

#[tokio::test]
async fn the_catalog_can_be_rebuilt_from_frames_and_keys_alone() {
    let bench = Bench::new();
    let vault = bench.open();
    let stored = vault.store_many(20, 500).await;
    let rows = vault.catalog().scan(&all(), Direction::Ascending, 100).unwrap();
    drop(vault);
    fs::remove_dir_all(bench.path().join("catalog")).unwrap();
    let vault = bench.open();
    let mut rebuilt = Batch::new();
    for segment in vault.segments().unwrap() {
        for walked in vault.walk(segment.name).unwrap() {
            let Walked::Frame(header, location) = walked.unwrap() else { panic!("nothing is damaged") };
            bench.owner.rows(header.owner, &header.index, location, &mut rebuilt);
        }
    }
    vault.catalog().commit(rebuilt).unwrap();
    assert_eq!(vault.catalog().scan(&all(), Direction::Ascending, 100).unwrap(), rows);
    assert_eq!(vault.read(stored[3].1).await.unwrap().1, payload(&stored[3].0, 500));
}

#[tokio::test]
async fn derived_keys_and_secrets_survive_reopening() {
    let bench = Bench::new();
    let vault = bench.open();
    let (key, sealed) = (vault.derive_key("x").unwrap(), vault.seal_secret("x", b"text").unwrap());
    assert_ne!(*key, *vault.derive_key("y").unwrap());
    drop(vault);
    let vault = bench.open();
    assert_eq!(*vault.derive_key("x").unwrap(), *key);
    assert_eq!(vault.open_secret("x", &sealed).unwrap(), b"text");
}

#[test]
fn keys_of_other_days_are_other_keys() {
    assert_ne!(ExpirySlot(DAY).epoch(), ExpirySlot(DAY - 1).epoch());
    assert_eq!(ExpirySlot(DAY).epoch(), KeyEpoch(1));
}

/// A vault's folder, its keyring, its owner and its faults.
struct Bench {
    folder: TempDir,
    owner: Arc<NamedRows>,
    faults: Arc<Faults>,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), owner: Arc::default(), faults: Arc::default() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn try_open(&self) -> Result<Vault, OpenError> {
        let ring = Arc::new(Keyring::of_vault(self.path())?);
        let lock = recovery::lock(self.path())?;
        let catalog = Arc::new(FjallCatalog::open(&self.path().join("catalog"))?);
        let disk = Arc::new(FaultyDisk(self.faults.clone()));
        let parts = Parts::on(disk, self.path(), ring, catalog, Arc::new(OsEntropy))?;
        Vault::assemble(Parts { lock: Some(lock), ..parts }, vec![self.owner.clone()])
    }

    fn open(&self) -> Vault {
        self.try_open().unwrap()
    }

    fn entry(&self, name: &str, payload: &[u8]) -> Entry {
        entry(owner(1), name, payload, SLOT)
    }

    fn copy(&self) -> Self {
        let copy = Self::new();
        for file in files_below(self.path()) {
            let to = copy.path().join(file.strip_prefix(self.path()).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&file, to).unwrap();
        }
        copy
    }

    fn segment_file(&self, location: Location) -> PathBuf {
        self.path().join(format!("segments/{:08}-{}.seg", location.expiry.0, location.segment))
    }
}

impl Vault {
    async fn send(self, name: &'static str, payload: &'static [u8], expiry: ExpirySlot) -> Result<Put, PutError> {
        self.put_as(owner(1), name, payload, expiry).await
    }

    async fn put_as(&self, owner: OwnerId, name: &str, payload: &[u8], expiry: ExpirySlot) -> Result<Put, PutError> {
        self.put(entry(owner, name, payload, expiry)).await
    }

    async fn store(&self, name: &str, payload: &[u8]) -> Location {
        location_of(&self.put_as(owner(1), name, payload, SLOT).await.unwrap())
    }

    /// Stores entries at the same time.
    async fn store_many(&self, count: usize, bytes: usize) -> Vec<(String, Location)> {
        let puts: Vec<_> = (0..count)
            .map(|n| {
                let (vault, name) = (self.clone(), format!("entry {n}"));
                tokio::spawn(async move {
                    let location = vault.store(&name, &payload(&name, bytes)).await;
                    (name, location)
                })
            })
            .collect();
        let mut stored = Vec::new();
        for put in puts {
            stored.push(put.await.unwrap());
        }
        stored
    }

    fn remove_row(&self, name: &str) {
        let mut batch = Batch::new();
        batch.remove(key(name));
        self.catalog().commit(batch).unwrap();
    }
}

/// An owner whose index entry is a name and whose one row is `name -> location`.
#[derive(Default)]
struct NamedRows {
    abandoned: AtomicUsize,
    /// So many batches will be overtaken by another server.
    rivals: AtomicUsize,
}

impl Owner for NamedRows {
    fn domain(&self) -> Domain {
        Domain::new(9)
    }

    fn assign(&self, _: &dyn Catalog, _: OwnerId, index: Bytes) -> Result<Bytes, AssignError> {
        Ok(index)
    }

    fn rows(&self, _: OwnerId, index: &[u8], location: Location, batch: &mut Batch) {
        batch.insert(Key::new(Space::Shardlog, index), location.encode().to_vec());
    }

    fn relocate(&self, _: OwnerId, index: &[u8], from: Location, to: Location, batch: &mut Batch) {
        let key = Key::new(Space::Shardlog, index);
        batch.require_value(key.clone(), from.encode().to_vec()).insert(key, to.encode().to_vec());
    }

    fn advance(&self, _: OwnerId, batch: &mut Batch) {
        let less = self.rivals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |rivals| rivals.checked_sub(1));
        if less.is_ok() {
            batch.require_value(key("nobody"), "has it");
        }
    }

    fn abandoned(&self, _: OwnerId) {
        self.abandoned.fetch_add(1, Ordering::SeqCst);
    }

    fn place(&self, catalog: &dyn Catalog, _: OwnerId, index: &[u8]) -> Result<Option<Location>, CatalogError> {
        Ok(catalog.get(&Key::new(Space::Shardlog, index))?.and_then(|row| Location::decode(&row)))
    }
}

fn owner(number: u64) -> OwnerId {
    OwnerId::new(Domain::new(9), number).unwrap()
}

fn key(name: &str) -> Key {
    Key::new(Space::Shardlog, name.as_bytes())
}

fn all() -> KeyRange {
    KeyRange::prefix(Key::new(Space::Shardlog, b""))
}

fn entry(owner: OwnerId, name: &str, payload: &[u8], expiry: ExpirySlot) -> Entry {
    Entry {
        owner,
        expiry,
        index: Bytes::copy_from_slice(name.as_bytes()),
        payload: Bytes::copy_from_slice(payload),
        unless_exists: Some(key(name)),
    }
}

fn payload(name: &str, bytes: usize) -> Vec<u8> {
    name.bytes().cycle().take(bytes).collect()
}

fn location_of(put: &Put) -> Location {
    match put {
        Put::Stored(receipt) => receipt.location,
        Put::AlreadyStored { .. } => panic!("stored before"),
    }
}

fn place_of(walked: &Walked) -> Option<Location> {
    match walked {
        Walked::Frame(_, location) => Some(*location),
        Walked::Damaged { .. } => None,
    }
}

fn is_of(file: &Path, location: Location) -> bool {
    file.to_string_lossy().contains(&location.segment.to_string())
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}
