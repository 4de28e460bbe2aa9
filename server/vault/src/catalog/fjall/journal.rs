//! fjall's journals, examined before fjall replays them.
//!
//! fjall ends a journal at the first byte that it does not understand and cuts off what follows: right for the torn end
//! that a power cut leaves, and a silent loss of answered rows if a bit flipped further up. The number of a batch is under
//! no checksum, and lengths are believed before theirs is computed. So every batch is read here first.
//!
//! A journal is batches one behind the other, then zeros where nothing was written yet. All numbers are little-endian:
//!
//! ```text
//! begin  [1][items: 4][sequence number: 8]
//! item   [2][kind: 1][compression: 1][keyspace: 8][key bytes: 2][value bytes: 4][stored bytes: 4][key][value as stored]
//! end    [3][xxh3 of the items: 8]["FJL\x03"]
//! ```
//!
//! Each commit is synced before the next one begins, so of what a power cut leaves only the last batch of the last journal
//! can be incomplete, wherever in it pages are missing. It was not answered, and is cut off here. A batch that is broken with
//! a whole one behind it was answered: that is damage.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::commits::Commit;
use super::reader::Reader;
use crate::error::CatalogError;

/// What a batch's number may be above the one that was next when it began: changes of tables take numbers between the
/// two, a few at a time.
const NUMBERS_BETWEEN_MAX: u64 = 1 << 16;

/// What happens to a journal that is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnDamage {
    /// The catalog is not opened, and its files stay as they are.
    Refuse,
    /// What lies before the damage is kept. The whole journal is copied beside it first.
    Cut,
}

/// Examines all journals in a catalog's folder, one at a time in memory: fjall begins another at 64 MiB. Answers how
/// many bytes of damaged ones were cut off.
pub(super) fn examine(folder: &Path, on_damage: OnDamage) -> Result<u64, CatalogError> {
    let journals = list(folder).map_err(|e| CatalogError::io("list the journals in", folder, &e))?;
    let Some((newest, _)) = journals.last().cloned() else {
        return Err(CatalogError::damaged(folder, "it has no journal"));
    };
    let mut order = Order::default();
    let mut lost = 0;
    for (id, path) in journals {
        let bytes = fs::read(&path).map_err(|e| CatalogError::io("read", &path, &e))?;
        let whole = match order.judge(&bytes, id == newest) {
            Verdict::Sound => continue,
            Verdict::Torn { whole } => {
                tracing::info!("the catalog's last commit was broken off before it was answered, and is undone");
                whole
            }
            Verdict::Damaged { whole, what } if on_damage == OnDamage::Refuse => {
                return Err(CatalogError::damaged(&path, format!("{what} at byte {whole}")));
            }
            Verdict::Damaged { whole, .. } => {
                lost += (bytes.len() - whole) as u64;
                let copy = path.with_extension("damaged");
                fs::copy(&path, &copy).map_err(|e| CatalogError::io("copy to", &copy, &e))?;
                whole
            }
        };
        cut(&path, whole as u64).map_err(|e| CatalogError::io("cut", &path, &e))?;
    }
    Ok(lost)
}

/// The journals by their numbers. fjall reads them in this order.
fn list(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let id = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(id) = id
            && path.extension().is_some_and(|extension| extension == "jnl")
        {
            journals.push((id, path));
        }
    }
    journals.sort_unstable();
    Ok(journals)
}

fn cut(path: &Path, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(bytes)?;
    file.sync_all()
}

/// What a journal turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Whole batches, and zeros.
    Sound,
    /// Behind so many bytes of whole batches lies what a power cut left of the last one.
    Torn { whole: usize },
    /// Behind so many bytes of whole batches something is wrong.
    Damaged { whole: usize, what: &'static str },
}

/// How batches follow each other, over all journals.
#[derive(Default)]
pub(super) struct Order {
    sequence: Option<u64>,
    commit: Option<Commit>,
}

impl Order {
    /// Judges the journal that comes next.
    pub(super) fn judge(&mut self, journal: &[u8], is_newest: bool) -> Verdict {
        let mut whole = 0;
        while let Some(batch) = Batch::read(&journal[whole..]) {
            if let Some(what) = self.fault(&batch) {
                return Verdict::Damaged { whole, what };
            }
            self.sequence = Some(batch.sequence);
            self.commit = batch.commit.or(self.commit);
            whole += batch.bytes;
        }
        let rest = &journal[whole..];
        let Some(last_written) = rest.iter().rposition(|byte| *byte != 0) else { return Verdict::Sound };
        let has_whole_behind = || (1..last_written).any(|at| Batch::read(&rest[at..]).is_some());
        if is_newest && !has_whole_behind() {
            return Verdict::Torn { whole };
        }
        Verdict::Damaged { whole, what: "it is not what was written" }
    }

    fn fault(&self, batch: &Batch) -> Option<&'static str> {
        if self.sequence.is_some_and(|last| batch.sequence <= last) {
            return Some("a batch has the number of an earlier one");
        }
        // Batches of versions before have no commit in them.
        let commit = batch.commit?;
        let numbers = commit.next_sequence..=commit.next_sequence.saturating_add(NUMBERS_BETWEEN_MAX);
        if !numbers.contains(&batch.sequence) {
            return Some("a batch has another number than it was written with");
        }
        let is_next = self.commit.is_none_or(|last| commit.number == last.number + 1);
        (!is_next).then_some("a commit is missing before the batch")
    }
}

/// A whole batch.
struct Batch {
    bytes: usize,
    sequence: u64,
    commit: Option<Commit>,
}

impl Batch {
    /// The batch at the beginning of these bytes, if there is a whole one.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        reader.tag(1)?;
        let items = reader.number::<4>()?;
        let sequence = reader.number::<8>()?;
        let (mut checksum, mut commit) = (Xxh3::new(), None);
        for _ in 0..items {
            let before = reader.0;
            let item = Item::read(&mut reader)?;
            checksum.update(&before[..before.len() - reader.0.len()]);
            commit = Commit::decode_row(item.key, item.value).or(commit);
        }
        reader.tag(3)?;
        let is_whole = reader.number::<8>()? == checksum.digest() && reader.take(4)? == b"FJL\x03";
        is_whole.then_some(Self { bytes: bytes.len() - reader.0.len(), sequence, commit })
    }
}

struct Item<'a> {
    key: &'a [u8],
    /// As it is stored, which may be compressed.
    value: &'a [u8],
}

impl<'a> Item<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        reader.tag(2)?;
        let _kind_compression_and_keyspace = reader.take(10)?;
        let key_bytes = reader.size::<2>()?;
        let _value_bytes = reader.take(4)?;
        let stored_bytes = reader.size::<4>()?;
        Some(Self { key: reader.take(key_bytes)?, value: reader.take(stored_bytes)? })
    }
}
