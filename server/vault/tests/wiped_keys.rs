//! Data keys in the clear are wiped: when they are too old, and when they are destroyed, the memory of this process has
//! no byte sequence of theirs any more. Alone in a process, so that nothing else has keys in its memory.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use vault::{
    AssignError, Batch, Catalog, CatalogError, Clock, DataKey, Domain, Entry, ExpirySlot, Key, KeyContext, KeyError,
    KeyService, Location, Owner, OwnerId, Parts, Put, ReadError, Space, Vault, WrappedKey, limits,
};
use zeroize::Zeroizing;

/// What the bytes of keys are masked by where this test itself holds them.
const MASK: u8 = 0x5a;
const SLOT: ExpirySlot = ExpirySlot(15_000_000);

#[test]
fn keys_that_are_too_old_or_destroyed_are_nowhere_in_memory() {
    let bench = Bench::new();
    let location = bench.store("old");
    assert!(keys_in_memory() > 0, "a key that is in use is found, or the search would prove nothing");
    bench.vault.read_blocking(location).unwrap();

    bench.pass(limits::KEY_CACHED_TIME_MAX);
    bench.vault.sweep_closed(0).unwrap();
    assert_eq!(keys_in_memory(), 0, "keys that are too old");

    bench.vault.read_blocking(location).unwrap();
    assert!(keys_in_memory() > 0, "it is unwrapped again");
    // The root key lives as long as the vault; it is not in use here, and old by now.
    bench.pass(limits::KEY_CACHED_TIME_MAX / 2);
    bench.runtime.block_on(bench.vault.destroy_keys(owner())).unwrap();
    assert!(matches!(bench.vault.read_blocking(location), Err(ReadError::Key { .. })));
    assert_eq!(keys_in_memory(), 0, "keys that were destroyed");

    bench.store("new");
    assert!(keys_in_memory() > 0);
    drop(bench);
    assert_eq!(keys_in_memory(), 0, "keys of a vault that is closed");
}

/// How often a key's bytes are found in what this process may write to.
///
/// Looked for are the first half and the second half of the key, since a copy that was half overwritten is half a key.
fn keys_in_memory() -> usize {
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = BufReader::new(File::open("/proc/self/maps").unwrap());
    let regions: Vec<(u64, u64)> = maps.lines().filter_map(|line| writable(&line.unwrap())).collect();
    let mut buffer = vec![0; 1 << 20];
    let mut found = 0;
    for (begin, end) in regions {
        let mut at = begin;
        while at < end {
            let len = usize::try_from((end - at).min(buffer.len() as u64)).unwrap();
            // Guard pages and the kernel's own can't be read.
            if memory.read_exact_at(&mut buffer[..len], at).is_err() {
                break;
            }
            // Masked at once, so that this copy is none.
            buffer[..len].iter_mut().for_each(|byte| *byte ^= MASK);
            found += buffer[..len].windows(16).filter(|window| is_half_of_a_key(window)).count();
            // A key may lie across two reads.
            at += if len < buffer.len() { len as u64 } else { len as u64 - 15 };
        }
    }
    found
}

/// Whether bytes of the memory, each of them masked, are those of the key, of which this test has no copy: each byte of
/// the masked key is that before it and `STEP`.
fn is_half_of_a_key(masked: &[u8]) -> bool {
    let begins = [MASKED_BEGIN, MASKED_BEGIN.wrapping_add(STEP.wrapping_mul(16))];
    begins.contains(&masked[0]) && masked.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(STEP))
}

const MASKED_BEGIN: u8 = 0x11;
const STEP: u8 = 0x25;

fn writable(line: &str) -> Option<(u64, u64)> {
    let (range, rest) = line.split_once(' ')?;
    let (begin, end) = range.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    rest.starts_with("rw").then(|| number(begin).zip(number(end)))?
}

/// A vault whose keys are known and whose time passes when it is told to.
struct Bench {
    runtime: tokio::runtime::Runtime,
    vault: Vault,
    millis: Arc<AtomicU64>,
    _folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let millis = Arc::new(AtomicU64::new(0));
        let mut parts = Parts::local(folder.path(), Arc::new(KnownKeys)).unwrap();
        let shown = millis.clone();
        parts.clock = Clock::new(move || Duration::from_millis(shown.load(Ordering::SeqCst)));
        let vault = Vault::assemble(parts, vec![Arc::new(Names)]).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        Self { runtime, vault, millis, _folder: folder }
    }

    fn store(&self, name: &str) -> Location {
        let entry = Entry {
            owner: owner(),
            expiry: SLOT,
            index: Bytes::copy_from_slice(name.as_bytes()),
            payload: Bytes::from_static(b"payload"),
            unless_exists: None,
        };
        match self.runtime.block_on(self.vault.put(entry)).unwrap() {
            Put::Stored(receipt) => receipt.location,
            Put::AlreadyStored { .. } => panic!("stored before"),
        }
    }

    fn pass(&self, time: Duration) {
        self.millis.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

/// A service whose keys all have the same bytes, which it holds masked only.
struct KnownKeys;

impl KnownKeys {
    fn key() -> DataKey {
        let mut secret = Zeroizing::new([0; 32]);
        let mut masked = MASKED_BEGIN;
        for byte in secret.iter_mut() {
            *byte = masked ^ MASK;
            masked = masked.wrapping_add(STEP);
        }
        DataKey::new(&secret)
    }
}

impl KeyService for KnownKeys {
    fn generate(&self, _: &KeyContext) -> Result<(DataKey, WrappedKey), KeyError> {
        Ok((Self::key(), WrappedKey(b"wrapped".to_vec())))
    }

    fn unwrap(&self, _: &WrappedKey, _: &KeyContext) -> Result<DataKey, KeyError> {
        Ok(Self::key())
    }
}

fn owner() -> OwnerId {
    OwnerId::new(Names.domain(), 1).unwrap()
}

/// An owner without rows.
struct Names;

impl Owner for Names {
    fn domain(&self) -> Domain {
        Domain::new(9)
    }

    fn assign(&self, _: &dyn Catalog, _: OwnerId, index: Bytes) -> Result<Bytes, AssignError> {
        Ok(index)
    }

    fn rows(&self, _: OwnerId, index: &[u8], location: Location, batch: &mut Batch) {
        batch.insert(Key::new(Space::Shardlog, index), location.encode().to_vec());
    }

    fn relocate(&self, _: OwnerId, _: &[u8], _: Location, _: Location, _: &mut Batch) {}

    fn place(&self, _: &dyn Catalog, _: OwnerId, _: &[u8]) -> Result<Option<Location>, CatalogError> {
        Ok(None)
    }
}
