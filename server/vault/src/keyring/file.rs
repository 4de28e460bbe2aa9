//! The keyring's file.
//!
//! ```text
//! [magic "MRKRING1": 8][protection: 1] body [crc32c: 4]
//!   protection 0, by the file's mode alone:  body = entries
//!   protection 1, by a passphrase:           body = [memory KiB: 4][passes: 4][lanes: 4][salt: 16][nonce: 12]
//!                                                   sealed entries [tag: 16]
//! entries: each [id: 8][state: 1][created, unix seconds: 8][key: 32]; state 0 is enabled, 1 disabled
//! ```
//!
//! The last entry wraps. Under a passphrase the entries are sealed by AES-256-GCM with a random nonce, and
//! everything before them is authenticated. A file is written in these steps, so that there is one at any
//! moment, the old or the new: 1 write a file beside it, 2 sync it, 3 rename it, 4 sync the folder.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::aead::{Aad, Nonce};
use disk::Disk;
use zeroize::Zeroizing;

use super::passphrase::{Hardness, Passphrase, Protection};
use super::{Home, Master, Ring};
use crate::error::KeyringError;
use crate::id::{u32_at, u64_at};
use crate::keys::{DataKey, random};
use crate::limits;
use crate::masters::MasterState;

const MAGIC: &[u8; 8] = b"MRKRING1";
const ENTRY_BYTES: usize = 49;
const BY_MODE: u8 = 0;
const BY_PASSPHRASE: u8 = 1;
/// Magic and protection; then, under a passphrase, hardness and salt, and the nonce.
const HEAD_BYTES: usize = 9;
const SALTED_BYTES: usize = HEAD_BYTES + 28;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// Reads a keyring. A passphrase that the file does not ask for protects it from its next change on.
pub(super) fn read(disk: &dyn Disk, home: &Home, passphrase: Option<&Passphrase>) -> Result<Ring, KeyringError> {
    let path = home.path();
    let file = disk.open(path).map_err(|e| failed("open", path, e))?;
    if let Home::File(_) = home {
        refuse_exposed(file.mode().map_err(|e| failed("examine", path, e))?, path)?;
    }
    // One byte more than is believed, so that a longer file is not taken for whole.
    let mut stored = Zeroizing::new(vec![0; limits::KEYRING_BYTES_MAX + 1]);
    let len = file.read_at(&mut stored, 0).map_err(|e| failed("read", path, e))?;
    decode(&stored[..len], passphrase, path)
}

/// Whether there is a file that says it is protected by a passphrase.
pub(super) fn is_protected(disk: &dyn Disk, path: &Path) -> Result<bool, KeyringError> {
    let mut head = [0; HEAD_BYTES];
    match disk.open(path).and_then(|file| file.read_at(&mut head, 0)) {
        // Missing or cut short: whoever opens it finds out what to do about that.
        Ok(len) => Ok(len == HEAD_BYTES && head[HEAD_BYTES - 1] == BY_PASSPHRASE),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(failed("open", path, e)),
    }
}

/// Writes a keyring in the place of what is there.
pub(super) fn write(disk: &dyn Disk, home: &Home, ring: &Ring) -> Result<(), KeyringError> {
    let Home::File(path) = home else { return Err(KeyringError::ReadOnly(home.path().to_owned())) };
    let bytes = encode(ring)?;
    let mut beside = path.clone().into_os_string();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // One that an interrupted change left.
    let _ = disk.remove(&beside);
    let file = disk.create(&beside).map_err(|e| failed("create", &beside, e))?;
    file.write_at(&bytes, 0).and_then(|()| file.sync()).map_err(|e| failed("write", &beside, e))?;
    disk.rename(&beside, path).map_err(|e| failed("name", path, e))?;
    disk.sync_folder(disk::folder_of(path)).map_err(|e| failed("sync the folder of the", path, e))
}

/// A file with secrets that others than its owner may read is as good as lost.
pub(super) fn refuse_exposed(mode: Option<u32>, path: &Path) -> Result<(), KeyringError> {
    match mode {
        Some(mode) if mode & 0o077 != 0 => Err(KeyringError::Exposed { path: path.to_owned(), mode }),
        _ => Ok(()),
    }
}

fn encode(ring: &Ring) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    // The capacity suffices, so that no copy of a key is left behind by growth.
    let room = SALTED_BYTES + NONCE_BYTES + ring.masters.len() * ENTRY_BYTES + TAG_BYTES + 4;
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    out.extend_from_slice(MAGIC);
    let Some(protection) = &ring.protection else {
        out.push(BY_MODE);
        encode_entries(ring, &mut out);
        return Ok(with_crc(out));
    };
    out.push(BY_PASSPHRASE);
    let Hardness { memory_kib, passes, lanes } = protection.hardness;
    for number in [memory_kib, passes, lanes] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&protection.salt);
    let mut nonce = [0; NONCE_BYTES];
    random(&mut nonce).map_err(|_| KeyringError::Random)?;
    out.extend_from_slice(&nonce);
    let sealed_from = out.len();
    encode_entries(ring, &mut out);
    let (head, entries) = out.split_at_mut(sealed_from);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = protection.key.aead().seal_in_place_separate_tag(nonce, Aad::from(&*head), entries);
    out.extend_from_slice(tag.expect("AES-GCM seals a few hundred bytes").as_ref());
    Ok(with_crc(out))
}

fn encode_entries(ring: &Ring, out: &mut Vec<u8>) {
    for master in &ring.masters {
        out.extend_from_slice(&master.id.to_be_bytes());
        out.push(u8::from(master.state != MasterState::Enabled));
        out.extend_from_slice(&master.created.to_be_bytes());
        out.extend_from_slice(master.key.secret());
    }
}

fn with_crc(mut out: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

pub(super) fn decode(stored: &[u8], passphrase: Option<&Passphrase>, path: &Path) -> Result<Ring, KeyringError> {
    let damaged = || KeyringError::Damaged(path.to_owned());
    let (body, crc) = stored.split_last_chunk::<4>().ok_or_else(damaged)?;
    if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
        return Err(damaged());
    }
    let (&protection, rest) = body.strip_prefix(MAGIC).and_then(<[u8]>::split_first).ok_or_else(damaged)?;
    let (masters, protection) = match (protection, passphrase) {
        (BY_MODE, None) => (decode_entries(rest), None),
        (BY_MODE, Some(passphrase)) => {
            tracing::warn!(path = %path.display(), "the keyring is not protected by the passphrase yet; rotating it will");
            let protection = Protection::new(passphrase).map_err(|_| KeyringError::Random)?;
            (decode_entries(rest), Some(protection))
        }
        (BY_PASSPHRASE, None) => return Err(KeyringError::Protected(path.to_owned())),
        (BY_PASSPHRASE, Some(passphrase)) => {
            let protection = protection_of(body, passphrase).ok_or_else(damaged)?;
            let entries = unseal(body, &protection).ok_or_else(|| KeyringError::WrongPassphrase(path.to_owned()))?;
            (decode_entries(&entries), Some(protection))
        }
        _ => return Err(damaged()),
    };
    Ok(Ring { masters: masters.ok_or_else(damaged)?, protection: protection.map(Arc::new) })
}

fn protection_of(body: &[u8], passphrase: &Passphrase) -> Option<Protection> {
    let salted = body.get(HEAD_BYTES..SALTED_BYTES)?;
    let hardness = Hardness { memory_kib: u32_at(salted, 0), passes: u32_at(salted, 4), lanes: u32_at(salted, 8) };
    Protection::again(passphrase, hardness, *salted.last_chunk()?)
}

fn unseal(body: &[u8], protection: &Protection) -> Option<Zeroizing<Vec<u8>>> {
    let (head, sealed) = body.split_at_checked(SALTED_BYTES + NONCE_BYTES)?;
    let nonce = Nonce::assume_unique_for_key(*head.last_chunk()?);
    let mut entries = Zeroizing::new(sealed.to_vec());
    let opened = protection.key.aead().open_in_place(nonce, Aad::from(head), &mut entries).ok()?.len();
    entries.truncate(opened);
    Some(entries)
}

fn decode_entries(entries: &[u8]) -> Option<Vec<Master>> {
    let master = |entry: &[u8]| {
        let state = match entry[8] {
            0 => MasterState::Enabled,
            1 => MasterState::Disabled,
            _ => return None,
        };
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(&entry[17..]);
        Some(Master { id: u64_at(entry, 0), state, created: u64_at(entry, 9), key: DataKey::new(&secret).into() })
    };
    let whole = !entries.is_empty() && entries.len().is_multiple_of(ENTRY_BYTES);
    whole.then(|| entries.chunks_exact(ENTRY_BYTES).map(master).collect())?
}

pub(super) fn failed(action: &'static str, path: &Path, source: io::Error) -> KeyringError {
    KeyringError::Io { action, path: path.to_owned(), source }
}
