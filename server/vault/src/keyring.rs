//! The local master keyring: a file of master keys, the key service of a vault without a KMS.
//!
//! Whoever has this file and the vault's folder can read everything, and without it nobody can. It must
//! be backed up apart from the data.
//!
//! ```text
//! keyring file, mode 0600: [magic "MRKRING1": 8][count: 2] count × [id: 8][key: 32] [crc32c: 4]
//! wrapped key:             [version 1: 1][master key id: 8][nonce: 12][sealed key: 32][tag: 16]
//! ```
//!
//! The last key of the file wraps; all unwrap. Nonces are random: a master key wraps a few thousand data
//! keys a day, and 2^32 are allowed.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{Aad, Nonce};
use zeroize::Zeroizing;

use crate::error::{KeyError, KeyRefusal, KeyringError};
use crate::id::u64_at;
use crate::keys::{DataKey, KeyContext, KeyService, WrappedKey, random};

const MAGIC: &[u8; 8] = b"MRKRING1";
const ENTRY_BYTES: usize = 40;
const WRAPPED_BYTES: usize = 1 + 8 + 12 + 32 + 16;
const WRAPPED_VERSION: u8 = 1;

/// The master keys of a vault, in memory.
#[derive(Debug)]
pub struct Keyring {
    masters: Vec<(u64, DataKey)>,
}

impl Keyring {
    /// The keyring of the vault in `folder`: `master.keyring` in it, created if the vault is new. If the
    /// vault has keys and the keyring is missing, that is an error: a new one would open nothing.
    pub fn of_vault(folder: &Path) -> Result<Self, KeyringError> {
        let path = folder.join("master.keyring");
        if path.exists() {
            return Self::open(&path);
        }
        if crate::key_files::exist(folder) {
            return Err(KeyringError::Missing(path));
        }
        std::fs::create_dir_all(folder).map_err(|e| failed("create the folder of", &path, e))?;
        Self::create(&path)
    }

    /// Creates a keyring file with one random master key. Fails if the file exists.
    pub fn create(path: &Path) -> Result<Self, KeyringError> {
        let fresh = || -> Result<(u64, DataKey), KeyError> {
            let mut id = [0; 8];
            random(&mut id)?;
            Ok((u64::from_be_bytes(id), DataKey::random()?))
        };
        let master = fresh().map_err(|e| failed("make a key for", path, io::Error::other(e)))?;
        let keyring = Self { masters: vec![master] };
        disk::write_new(&disk::OsDisk, path, &keyring.encode()).map_err(|e| failed("write", path, e))?;
        Ok(keyring)
    }

    /// Opens an existing keyring file.
    pub fn open(path: &Path) -> Result<Self, KeyringError> {
        let mut file = File::open(path).map_err(|e| failed("open", path, e))?;
        refuse_exposed(&file, path)?;
        let mut stored = Zeroizing::new(Vec::with_capacity(4096));
        file.by_ref().take(1 << 20).read_to_end(&mut stored).map_err(|e| failed("read", path, e))?;
        Self::decode(&stored).ok_or_else(|| KeyringError::Damaged(path.to_owned()))
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        // The capacity is exact, so that no copy of a key is left behind by growth.
        let mut out = Zeroizing::new(Vec::with_capacity(10 + self.masters.len() * ENTRY_BYTES + 4));
        out.extend_from_slice(MAGIC);
        let count = u16::try_from(self.masters.len()).expect("a keyring holds a few keys");
        out.extend_from_slice(&count.to_be_bytes());
        for (id, key) in &self.masters {
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(key.secret());
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    fn decode(stored: &[u8]) -> Option<Self> {
        let (body, crc) = stored.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
            return None;
        }
        let (count, entries) = body.strip_prefix(MAGIC)?.split_first_chunk::<2>()?;
        let count = usize::from(u16::from_be_bytes(*count));
        if count == 0 || entries.len() != count * ENTRY_BYTES {
            return None;
        }
        let master = |entry: &[u8]| {
            let mut secret = Zeroizing::new([0; 32]);
            secret.copy_from_slice(&entry[8..]);
            (u64_at(entry, 0), DataKey::new(secret))
        };
        Some(Self { masters: entries.chunks_exact(ENTRY_BYTES).map(master).collect() })
    }
}

impl KeyService for Keyring {
    fn generate(&self, context: &KeyContext) -> Result<(DataKey, WrappedKey), KeyError> {
        let (id, master) = self.masters.last().expect("a keyring holds at least one key");
        let key = DataKey::random()?;
        let mut nonce = [0; 12];
        random(&mut nonce)?;
        let mut wrapped = vec![WRAPPED_VERSION];
        wrapped.extend_from_slice(&id.to_be_bytes());
        wrapped.extend_from_slice(&nonce);
        let mut sealed = Zeroizing::new(*key.secret());
        let tag = master
            .aead()
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context.encode()), &mut *sealed)
            .expect("AES-GCM seals 32 bytes");
        wrapped.extend_from_slice(&*sealed);
        wrapped.extend_from_slice(tag.as_ref());
        assert_eq!(wrapped.len(), WRAPPED_BYTES, "the layout above");
        Ok((key, WrappedKey(wrapped)))
    }

    fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<DataKey, KeyError> {
        let wrapped: &[u8; WRAPPED_BYTES] = wrapped.0[..].try_into().map_err(|_| damaged(context))?;
        if wrapped[0] != WRAPPED_VERSION {
            return Err(damaged(context));
        }
        let id = u64_at(wrapped, 1);
        let (_, master) = self.masters.iter().find(|(m, _)| *m == id).ok_or_else(|| not_found(id))?;
        let nonce = Nonce::try_assume_unique_for_key(&wrapped[9..21]).map_err(|_| damaged(context))?;
        let mut sealed = Zeroizing::new([0; 48]);
        sealed.copy_from_slice(&wrapped[21..]);
        let opened = master
            .aead()
            .open_in_place(nonce, Aad::from(context.encode()), &mut *sealed)
            .map_err(|_| damaged(context))?;
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(opened);
        Ok(DataKey::new(secret))
    }
}

fn damaged(context: &KeyContext) -> KeyError {
    let why = format!("the wrapped key {} is damaged or belongs elsewhere", context.name);
    KeyError::refused(KeyRefusal::InvalidCiphertext, why)
}

fn not_found(master: u64) -> KeyError {
    let why = format!("master key {master:016x} is not in the keyring: is this the right keyring?");
    KeyError::refused(KeyRefusal::NotFound, why)
}

fn refuse_exposed(file: &File, path: &Path) -> Result<(), KeyringError> {
    let mode = file.metadata().map_err(|e| failed("examine", path, e))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyringError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> KeyringError {
    KeyringError::Io { action, path: PathBuf::from(path), source }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::id::{KeyEpoch, KeyId, KeyName, OwnerId};

    #[test]
    fn a_wrapped_key_opens_with_the_reopened_keyring_only_in_its_context() {
        let folder = tempfile::tempdir().unwrap();
        let (key, wrapped) = Keyring::of_vault(folder.path()).unwrap().generate(&context(1)).unwrap();
        let again = Keyring::of_vault(folder.path()).unwrap();
        assert_eq!(again.unwrap(&wrapped, &context(1)).unwrap().secret(), key.secret());
        assert_eq!(again.unwrap(&wrapped, &context(2)).unwrap_err().refusal(), Some(KeyRefusal::InvalidCiphertext));
    }

    #[test]
    fn another_keyring_is_told_apart_from_damage() {
        let folder = tempfile::tempdir().unwrap();
        let one = Keyring::create(&folder.path().join("one")).unwrap();
        let two = Keyring::create(&folder.path().join("two")).unwrap();
        let (_, wrapped) = one.generate(&context(1)).unwrap();
        assert_eq!(two.unwrap(&wrapped, &context(1)).unwrap_err().refusal(), Some(KeyRefusal::NotFound));
    }

    #[test]
    fn a_keyring_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ring");
        Keyring::create(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Keyring::open(&path), Err(KeyringError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn a_damaged_keyring_is_refused_at_every_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ring");
        let stored = Keyring::create(&path).unwrap().encode();
        for len in 0..stored.len() {
            assert!(Keyring::decode(&stored[..len]).is_none(), "{len}");
        }
    }

    fn context(owner: u64) -> KeyContext {
        let name = KeyName { owner: OwnerId::from_u64(owner), epoch: KeyEpoch(3), id: KeyId(4) };
        KeyContext { name, resource: "a stream".to_owned() }
    }
}
