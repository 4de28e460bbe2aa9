//! A passphrase, and the key that Argon2id makes of it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use crate::error::{KeyError, KeyringError};
use crate::keys::{DataKey, random};
use crate::limits;

/// A passphrase. Wiped from memory when dropped.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// A passphrase of these bytes, without the line's end that editors and terminals add. `None` if that
    /// leaves nothing.
    pub fn new(text: Zeroizing<Vec<u8>>) -> Option<Self> {
        let mut text = text;
        for end in [b'\n', b'\r'] {
            if text.last() == Some(&end) {
                text.pop();
            }
        }
        (!text.is_empty()).then_some(Self(text))
    }

    /// Reads a file that is for its owner only.
    pub fn read(path: &Path) -> Result<Self, KeyringError> {
        let file = open(path)?;
        let mode = disk::File::mode(&file).map_err(|e| failed(path, e))?;
        super::file::refuse_exposed(mode, path)?;
        Self::read_from(file, path)
    }

    /// Reads a file that something else put there and guards, such as systemd's credentials.
    pub fn read_credential(path: &Path) -> Result<Self, KeyringError> {
        Self::read_from(open(path)?, path)
    }

    fn read_from(file: File, path: &Path) -> Result<Self, KeyringError> {
        let unusable = |why| KeyringError::Passphrase { path: path.to_owned(), why };
        // Room for all of it, so that growing leaves no copy behind.
        let max = limits::PASSPHRASE_BYTES_MAX;
        let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(max).unwrap_or(0) + 2));
        file.take(max + 1).read_to_end(&mut text).map_err(|e| failed(path, e))?;
        if text.len() as u64 > max {
            return Err(unusable("it is longer than 4096 bytes"));
        }
        Self::new(text).ok_or_else(|| unusable("it is empty"))
    }
}

fn open(path: &Path) -> Result<File, KeyringError> {
    File::open(path).map_err(|e| failed(path, e))
}

fn failed(path: &Path, source: io::Error) -> KeyringError {
    KeyringError::Io { action: "read the passphrase of the", path: path.to_owned(), source }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// How hard a passphrase is made to guess. Stored beside what it protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hardness {
    pub(super) memory_kib: u32,
    pub(super) passes: u32,
    pub(super) lanes: u32,
}

impl Hardness {
    /// What new keyrings get.
    pub(super) const NOW: Self = Self {
        memory_kib: limits::PASSPHRASE_MEMORY_KIB,
        passes: limits::PASSPHRASE_PASSES,
        lanes: limits::PASSPHRASE_LANES,
    };
}

/// What protects a keyring file: the key made of a passphrase, and what it was made with. The passphrase
/// itself is not needed any more.
#[derive(Debug)]
pub(super) struct Protection {
    pub(super) hardness: Hardness,
    pub(super) salt: [u8; 16],
    pub(super) key: DataKey,
}

impl Protection {
    /// A protection with a new salt.
    pub(super) fn new(passphrase: &Passphrase) -> Result<Self, KeyError> {
        let mut salt = [0; 16];
        random(&mut salt)?;
        Ok(Self::again(passphrase, Hardness::NOW, salt).expect("the limits are what Argon2 takes"))
    }

    /// The protection of a file that states salt and hardness; `None` if nobody can have written those.
    pub(super) fn again(passphrase: &Passphrase, hardness: Hardness, salt: [u8; 16]) -> Option<Self> {
        let Hardness { memory_kib, passes, lanes } = hardness;
        if memory_kib > limits::PASSPHRASE_MEMORY_KIB_MAX || passes > limits::PASSPHRASE_PASSES_MAX {
            return None;
        }
        let mut key = Zeroizing::new([0; 32]);
        let params = Params::new(memory_kib, passes, lanes, Some(key.len())).ok()?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(&passphrase.0, &salt, &mut *key).ok()?;
        Some(Self { hardness, salt, key: DataKey::new(&key) })
    }
}
