//! The local master keyring: a file of master keys, the key service of a vault without a KMS.
//!
//! Whoever has this file (and its passphrase, if it has one) and the vault's folder can read everything, and
//! without it nobody can. It must be backed up apart from the data.
//!
//! ```text
//! wrapped key: [version 1: 1][master key id: 8][nonce: 12][sealed key: 32][tag: 16]
//! ```
//!
//! The newest master key wraps; all unwrap, unless they are disabled. Nonces are random: a master key wraps a
//! few thousand data keys a day, and 2^32 are allowed. The file's own layout is in `keyring/file.rs`.

mod file;
mod passphrase;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::aead::{Aad, Nonce};
use disk::{Disk, OsDisk};
use zeroize::Zeroizing;

pub use self::passphrase::Passphrase;
use self::passphrase::Protection;
use crate::entropy::OsEntropy;
use crate::error::{KeyError, KeyRefusal, KeyringError};
use crate::id::u64_at;
use crate::keys::{DataKey, KeyContext, KeyService, WrappedKey, random, random_number};
use crate::limits;
use crate::masters::{MasterId, MasterKey, MasterState};

const FILE: &str = "master.keyring";
const WRAPPED_BYTES: usize = 1 + 8 + 12 + 32 + 16;
const WRAPPED_VERSION: u8 = 1;

/// The master keys of a vault, in memory and in their file.
pub struct Keyring {
    disk: Arc<dyn Disk>,
    home: Home,
    ring: Mutex<Arc<Ring>>,
}

/// Where a keyring lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// A file that is for its owner only.
    File(PathBuf),
    /// A file that something else put there and guards, such as systemd's credentials. It can't be changed.
    Credential(PathBuf),
}

impl Home {
    /// The file of the vault in `folder`, unless another one is named.
    pub fn in_vault(folder: &Path) -> Self {
        Self::File(folder.join(FILE))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Credential(path) => path,
        }
    }
}

/// The keys at one moment. A change makes another one, writes it, and then takes it.
#[derive(Debug)]
struct Ring {
    masters: Vec<Master>,
    protection: Option<Arc<Protection>>,
}

#[derive(Clone, Debug)]
struct Master {
    id: u64,
    state: MasterState,
    /// Unix seconds; 0 if unknown.
    created: u64,
    key: Arc<DataKey>,
}

impl Keyring {
    /// The keyring of the vault in `folder`: `master.keyring` in it, without a passphrase, created if the vault
    /// is new.
    pub fn of_vault(folder: &Path) -> Result<Self, KeyringError> {
        Self::open_or_create(Home::in_vault(folder), None, folder, 0)
    }

    /// Opens a keyring, or creates it at `now` (unix seconds) if the vault in `folder` is new. If the vault has
    /// keys and the keyring is missing, that is an error: a new one would open nothing.
    pub fn open_or_create(
        home: Home,
        passphrase: Option<&Passphrase>,
        folder: &Path,
        now: u64,
    ) -> Result<Self, KeyringError> {
        Self::on(Arc::new(OsDisk), home, passphrase, folder, now)
    }

    /// What [`Keyring::open_or_create`] does, on any disk.
    pub fn on(
        disk: Arc<dyn Disk>,
        home: Home,
        passphrase: Option<&Passphrase>,
        folder: &Path,
        now: u64,
    ) -> Result<Self, KeyringError> {
        if exists(&*disk, home.path()) {
            return Self::open_on(disk, home, passphrase);
        }
        if crate::key_files::exist(&*disk, folder) {
            return Err(KeyringError::Missing(home.path().to_owned()));
        }
        Self::create_on(disk, home, passphrase, now)
    }

    /// Creates a keyring with one random master key. Fails if there is a file already.
    pub fn create(home: Home, passphrase: Option<&Passphrase>, now: u64) -> Result<Self, KeyringError> {
        Self::create_on(Arc::new(OsDisk), home, passphrase, now)
    }

    fn create_on(
        disk: Arc<dyn Disk>,
        home: Home,
        passphrase: Option<&Passphrase>,
        now: u64,
    ) -> Result<Self, KeyringError> {
        let path = home.path();
        if exists(&*disk, path) {
            return Err(file::failed("create", path, io::ErrorKind::AlreadyExists.into()));
        }
        let made = disk.create_folder(disk::folder_of(path));
        made.map_err(|e| file::failed("create the folder of the", path, e))?;
        let master = Master::random(now).map_err(|_| KeyringError::Random)?;
        let protection = passphrase.map(Protection::new).transpose().map_err(|_| KeyringError::Random)?;
        let ring = Ring { masters: vec![master], protection: protection.map(Arc::new) };
        file::write(&*disk, &home, &ring)?;
        Ok(Self { disk, home, ring: Mutex::new(Arc::new(ring)) })
    }

    /// Opens an existing keyring. A passphrase that it does not ask for protects it from its next change on.
    pub fn open(home: Home, passphrase: Option<&Passphrase>) -> Result<Self, KeyringError> {
        Self::open_on(Arc::new(OsDisk), home, passphrase)
    }

    fn open_on(disk: Arc<dyn Disk>, home: Home, passphrase: Option<&Passphrase>) -> Result<Self, KeyringError> {
        let ring = file::read(&*disk, &home, passphrase)?;
        Ok(Self { disk, home, ring: Mutex::new(Arc::new(ring)) })
    }

    /// Whether a keyring is there that asks for a passphrase.
    pub fn is_protected(home: &Home) -> Result<bool, KeyringError> {
        file::is_protected(&OsDisk, home.path())
    }

    /// Changes the keyring, on disk before in memory. What is in memory stays if that fails, also where the
    /// disk may have the change: whatever was wrapped before opens with either.
    fn change<T>(&self, change: impl FnOnce(&mut Vec<Master>) -> Result<T, KeyError>) -> Result<T, KeyError> {
        let mut ring = self.lock();
        let mut masters = ring.masters.clone();
        let answer = change(&mut masters)?;
        let changed = Ring { masters, protection: ring.protection.clone() };
        file::write(&*self.disk, &self.home, &changed).map_err(|e| KeyError::Masters(e.to_string()))?;
        *ring = Arc::new(changed);
        Ok(answer)
    }

    fn ring(&self) -> Arc<Ring> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Ring>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("home", &self.home).field("ring", &self.ring).finish_non_exhaustive()
    }
}

impl Ring {
    /// The master key that wraps. If it is disabled, an older one must not take its place unnoticed.
    fn wrapping(&self) -> Result<&Master, KeyError> {
        self.masters.last().expect("a keyring holds at least one key").enabled()
    }

    fn find(&self, id: u64) -> Result<&Master, KeyError> {
        self.masters.iter().find(|master| master.id == id).ok_or_else(|| not_found(&hex(id)))?.enabled()
    }
}

impl Master {
    fn random(created: u64) -> Result<Self, KeyError> {
        let (id, key) = (random_number(&OsEntropy)?, Arc::new(DataKey::random()?));
        Ok(Self { id, state: MasterState::Enabled, created, key })
    }

    fn enabled(&self) -> Result<&Self, KeyError> {
        match self.state {
            MasterState::Enabled => Ok(self),
            _ => {
                let why =
                    format!("master key {} is disabled; nothing is read or written until it is enabled", hex(self.id));
                Err(KeyError::refused(KeyRefusal::Disabled, why))
            }
        }
    }

    fn wrap(&self, key: &DataKey, context: &KeyContext) -> Result<WrappedKey, KeyError> {
        let mut nonce = [0; 12];
        random(&mut nonce)?;
        let mut sealed = Zeroizing::new([0; 32]);
        sealed.copy_from_slice(key.secret());
        let aad = Aad::from(context.encode());
        let tag = self.key.aead().seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut *sealed);
        let tag = tag.expect("AES-GCM seals 32 bytes");
        let mut wrapped = vec![WRAPPED_VERSION];
        for part in [&self.id.to_be_bytes()[..], &nonce, &*sealed, tag.as_ref()] {
            wrapped.extend_from_slice(part);
        }
        assert_eq!(wrapped.len(), WRAPPED_BYTES, "the layout above");
        Ok(WrappedKey(wrapped))
    }

    fn unwrap(&self, wrapped: &[u8; WRAPPED_BYTES], context: &KeyContext) -> Result<DataKey, KeyError> {
        let nonce = Nonce::try_assume_unique_for_key(&wrapped[9..21]).map_err(|_| damaged(context))?;
        let mut sealed = Zeroizing::new([0; 48]);
        sealed.copy_from_slice(&wrapped[21..]);
        let opened = self.key.aead().open_in_place(nonce, Aad::from(context.encode()), &mut *sealed);
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(opened.map_err(|_| damaged(context))?);
        Ok(DataKey::new(&secret))
    }

    fn describe(&self, wraps: bool) -> MasterKey {
        let created = (self.created > 0).then_some(self.created);
        MasterKey { id: MasterId(hex(self.id)), state: self.state, created, wraps }
    }
}

impl KeyService for Keyring {
    fn generate(&self, context: &KeyContext) -> Result<(DataKey, WrappedKey), KeyError> {
        let ring = self.ring();
        let master = ring.wrapping()?;
        let key = DataKey::random()?;
        let wrapped = master.wrap(&key, context)?;
        Ok((key, wrapped))
    }

    fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<DataKey, KeyError> {
        let wrapped = parse(wrapped).ok_or_else(|| damaged(context))?;
        self.ring().find(u64_at(wrapped, 1))?.unwrap(wrapped, context)
    }

    fn rewrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<Option<WrappedKey>, KeyError> {
        let ring = self.ring();
        let wrapping = ring.wrapping()?;
        let wrapped = parse(wrapped).ok_or_else(|| damaged(context))?;
        let id = u64_at(wrapped, 1);
        if id == wrapping.id {
            return Ok(None);
        }
        let key = ring.find(id)?.unwrap(wrapped, context)?;
        wrapping.wrap(&key, context).map(Some)
    }

    fn master_of(&self, wrapped: &WrappedKey) -> Result<MasterId, KeyError> {
        let foreign = || KeyError::refused(KeyRefusal::InvalidCiphertext, "no keyring has wrapped this key");
        parse(wrapped).map(|wrapped| MasterId(hex(u64_at(wrapped, 1)))).ok_or_else(foreign)
    }

    fn masters(&self, _: &BTreeSet<MasterId>) -> Result<Vec<MasterKey>, KeyError> {
        let ring = self.ring();
        let last = ring.masters.len() - 1;
        Ok(ring.masters.iter().enumerate().map(|(at, master)| master.describe(at == last)).collect())
    }

    fn set_state(&self, id: &MasterId, state: MasterState) -> Result<(), KeyError> {
        self.change(|masters| {
            let master = masters.iter_mut().find(|master| hex(master.id) == id.0).ok_or_else(|| not_found(&id.0))?;
            master.state = state;
            Ok(())
        })
    }

    fn begin_rotation(&self, now: u64) -> Result<MasterId, KeyError> {
        self.change(|masters| {
            if masters.len() >= limits::MASTER_KEYS_MAX {
                let why = format!("there are {} of them, from rotations that were not finished", masters.len());
                return Err(KeyError::Masters(why));
            }
            let master = Master::random(now)?;
            let id = MasterId(hex(master.id));
            masters.push(master);
            Ok(id)
        })
    }

    fn end_rotation(&self, in_use: &BTreeSet<MasterId>) -> Result<Vec<MasterId>, KeyError> {
        if !self.is_rotating() {
            return Ok(Vec::new());
        }
        self.change(|masters| {
            let last = masters.last().map(|master| master.id);
            let stays = |master: &Master| Some(master.id) == last || in_use.contains(&MasterId(hex(master.id)));
            let retired = masters.extract_if(.., |master| !stays(master)).map(|master| MasterId(hex(master.id)));
            Ok(retired.collect())
        })
    }

    fn is_rotating(&self) -> bool {
        self.ring().masters.len() > 1
    }
}

/// A wrapped key of this service, as far as its length and version tell.
fn parse(wrapped: &WrappedKey) -> Option<&[u8; WRAPPED_BYTES]> {
    let wrapped: &[u8; WRAPPED_BYTES] = wrapped.0[..].try_into().ok()?;
    (wrapped[0] == WRAPPED_VERSION).then_some(wrapped)
}

/// Whether there is such a file, as far as can be told: one that can't be opened is there.
fn exists(disk: &dyn Disk, path: &Path) -> bool {
    disk.open(path).map_or_else(|error| error.kind() != io::ErrorKind::NotFound, |_| true)
}

fn hex(id: u64) -> String {
    format!("{id:016x}")
}

fn damaged(context: &KeyContext) -> KeyError {
    let why = format!("the wrapped key {} is damaged or belongs elsewhere", context.name);
    KeyError::refused(KeyRefusal::InvalidCiphertext, why)
}

fn not_found(id: &str) -> KeyError {
    let why = format!("master key {id} is not in the keyring: is this the right keyring?");
    KeyError::refused(KeyRefusal::NotFound, why)
}

#[cfg(test)]
mod tests;
