//! A durable catalog of a hundred lines: all rows in memory, every commit appended to a journal and synced.
//!
//! ```text
//! record   [length of body: 4][crc32c of body: 4][body]
//! body     change*
//! change   [1: 1][length of key: 4][key][length of value: 4][value]     insert
//!          [2: 1][length of key: 4][key]                                remove
//! ```
//!
//! Reading the journal ends at the first record that is not whole, which was never answered.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use disk::{Disk, File};
use vault::catalog::{Change, MemoryCatalog};
use vault::{Batch, Catalog, CatalogError, CommitError, Key, Snapshot};

const INSERT: u8 = 1;
const REMOVE: u8 = 2;

/// The catalog of a simulated vault.
pub struct JournalCatalog {
    rows: MemoryCatalog,
    journal: Arc<dyn File>,
    end: Mutex<u64>,
}

impl JournalCatalog {
    /// Opens the journal `catalog` in the vault's folder, which exists.
    pub fn open(disk: &dyn Disk, vault: &Path) -> io::Result<Self> {
        let path = vault.join("catalog");
        let journal = match disk.open_to_cut(&path) {
            Ok(journal) => journal,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let journal = disk.create(&path)?;
                disk.sync_folder(vault)?;
                journal
            }
            Err(error) => return Err(error),
        };
        let mut bytes = vec![0; usize::try_from(journal.len()?).expect("a simulated journal fits memory")];
        journal.read_at(&mut bytes, 0)?;
        let rows = MemoryCatalog::default();
        let mut end = 0;
        let mut rest = &bytes[..];
        while let Some((batch, after)) = decode(rest) {
            rows.commit(batch).expect("a batch without conditions");
            end = (bytes.len() - after.len()) as u64;
            rest = after;
        }
        // What follows is torn: the next record must not be read as its continuation.
        journal.set_len(end)?;
        // A process that was killed has perhaps left its last record unsynced. It is read and built upon from now on.
        journal.sync()?;
        Ok(Self { rows, journal, end: Mutex::new(end) })
    }
}

impl Catalog for JournalCatalog {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, CatalogError> {
        self.rows.get(key)
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        self.rows.snapshot()
    }

    fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        batch.check(|key| self.rows.get(key))?;
        if batch.is_empty() {
            return Ok(());
        }
        let record = encode(&batch);
        let stored = self.journal.write_at(&record, *end).and_then(|()| self.journal.sync());
        stored.map_err(|error| CommitError::Broken(CatalogError::Failed(error.to_string())))?;
        *end += record.len() as u64;
        self.rows.commit(batch)
    }
}

fn encode(batch: &Batch) -> Vec<u8> {
    let mut body = Vec::new();
    let put = |bytes: &[u8], body: &mut Vec<u8>| {
        body.extend_from_slice(&u32::try_from(bytes.len()).expect("a row is small").to_be_bytes());
        body.extend_from_slice(bytes);
    };
    for change in batch.changes() {
        match change {
            Change::Insert(key, value) => {
                body.push(INSERT);
                put(key.as_bytes(), &mut body);
                put(value, &mut body);
            }
            Change::Remove(key) => {
                body.push(REMOVE);
                put(key.as_bytes(), &mut body);
            }
        }
    }
    let mut record = u32::try_from(body.len()).expect("a batch is small").to_be_bytes().to_vec();
    record.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
    record.extend_from_slice(&body);
    record
}

/// The first record of `stored`, if it is whole, and what follows it.
fn decode(stored: &[u8]) -> Option<(Batch, &[u8])> {
    let (len, rest) = stored.split_first_chunk()?;
    let (crc, rest) = rest.split_first_chunk()?;
    let (mut body, after) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
    if crc32c::crc32c(body) != u32::from_be_bytes(*crc) || body.is_empty() {
        return None;
    }
    let mut batch = Batch::new();
    while let Some((kind, rest)) = body.split_first() {
        let (key, rest) = text(rest)?;
        body = rest;
        let key = Key::from_stored(Bytes::copy_from_slice(key));
        if *kind == INSERT {
            let (value, rest) = text(body)?;
            body = rest;
            batch.insert(key, Bytes::copy_from_slice(value));
        } else {
            batch.remove(key);
        }
    }
    Some((batch, after))
}

fn text(stored: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = stored.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*len) as usize)
}
