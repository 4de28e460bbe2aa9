//! The data keys of a vault: one small file each, and a bounded cache of them unwrapped.
//!
//! Keys lie in files and not in the catalog, because destroying a key must destroy it: an LSM tree keeps
//! old values in its journal and tables until it compacts, an unlinked file is gone. It also lets frames
//! and keys alone rebuild a lost catalog.
//!
//! ```text
//! keys/<owner: 16 hex>-<epoch: 8 hex>.key, mode 0600:
//! [magic "MRKEY001": 8][owner: 8][epoch: 4][wrapped bytes (n): 2][wrapped key: n][crc32c: 4]
//! ```

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::KeyError;
use crate::id::{KeyEpoch, OwnerId};
use crate::keyring::crc_holds;
use crate::keys::{DataKey, KeyContext, KeyService, WrappedKey};
use crate::limits;
use disk::Disk;

const MAGIC: &[u8; 8] = b"MRKEY001";
const FOLDER: &str = "keys";
/// Ten times what any key service wraps a key into.
const KEY_FILE_BYTES_MAX: usize = 64 << 10;

/// The root key: not of a stream, sealing nothing itself, the source of derived keys.
pub(crate) const ROOT: KeyContext = KeyContext { owner: OwnerId::ROOT, epoch: KeyEpoch(u32::MAX) };

/// Whether the vault in `folder` has data keys.
pub(crate) fn exist(folder: &Path) -> bool {
    folder.join(FOLDER).join(file_name(ROOT)).exists()
}

/// The folder of key files and the service that unwraps them.
pub struct KeyFiles {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    service: Arc<dyn KeyService>,
    cache: Mutex<HashMap<KeyContext, Arc<DataKey>>>,
}

impl KeyFiles {
    /// Opens the folder and its root key; both are created in a new vault.
    pub fn open(disk: Arc<dyn Disk>, vault: &Path, service: Arc<dyn KeyService>) -> Result<Self, KeyError> {
        let folder = vault.join(FOLDER);
        disk.create_folder(&folder).map_err(|e| failed("create the folder of", &folder, e))?;
        let files = Self { disk, folder, service, cache: Mutex::default() };
        files.remove_unfinished()?;
        files.ensure(&[ROOT])?;
        Ok(files)
    }

    /// The data key of `context`, which must exist.
    pub(crate) fn find(&self, context: KeyContext) -> Result<Arc<DataKey>, KeyError> {
        if let Some(key) = self.cache().get(&context) {
            return Ok(key.clone());
        }
        let key = Arc::new(self.service.unwrap(&self.read(context)?, context)?);
        self.remember(context, &key);
        Ok(key)
    }

    /// The data keys of `contexts`, in their order. Those that do not exist are created, and are on disk
    /// on return: a frame must never be sealed under a key that a power cut can take.
    pub(crate) fn ensure(&self, contexts: &[KeyContext]) -> Result<Vec<Arc<DataKey>>, KeyError> {
        let mut created = Vec::new();
        let mut keys = Vec::with_capacity(contexts.len());
        for &context in contexts {
            match self.find(context) {
                Err(KeyError::Destroyed { .. }) => {
                    let key = Arc::new(self.create(context)?);
                    created.push((context, key.clone()));
                    keys.push(key);
                }
                found => keys.push(found?),
            }
        }
        if !created.is_empty() {
            self.sync(&self.folder)?;
            for (context, key) in &created {
                self.remember(*context, key);
            }
        }
        Ok(keys)
    }

    /// Destroys all keys of `owner`: its frames are unreadable from now on.
    pub(crate) fn destroy_owner(&self, owner: OwnerId) -> Result<(), KeyError> {
        let contexts: Vec<_> = self.list()?.into_iter().filter(|context| context.owner == owner).collect();
        self.destroy(&contexts)
    }

    /// Destroys these keys.
    pub(crate) fn destroy(&self, contexts: &[KeyContext]) -> Result<(), KeyError> {
        for &context in contexts {
            assert_ne!(context, ROOT, "the root key lives as long as the vault");
            self.cache().remove(&context);
            match self.disk.remove(&self.path(context)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove", &self.path(context), e));
                }
                _ => {}
            }
        }
        if contexts.is_empty() { Ok(()) } else { self.sync(&self.folder) }
    }

    /// The contexts of all keys but the root key.
    pub(crate) fn list(&self) -> Result<Vec<KeyContext>, KeyError> {
        let mut contexts = Vec::new();
        for name in self.names()? {
            contexts.extend(parse_file_name(&name).filter(|context| *context != ROOT));
        }
        Ok(contexts)
    }

    fn create(&self, context: KeyContext) -> Result<DataKey, KeyError> {
        let (key, wrapped) = self.service.generate(context)?;
        let path = self.path(context);
        let unfinished = path.with_extension("tmp");
        // An earlier attempt may have left one when the disk was full.
        let _ = self.disk.remove(&unfinished);
        let file = self.disk.create(&unfinished).map_err(|e| failed("create", &unfinished, e))?;
        file.write_at(&encode(context, &wrapped), 0).map_err(|e| failed("write", &unfinished, e))?;
        file.sync().map_err(|e| failed("sync", &unfinished, e))?;
        self.disk.rename(&unfinished, &path).map_err(|e| failed("name", &path, e))?;
        Ok(key)
    }

    fn read(&self, context: KeyContext) -> Result<WrappedKey, KeyError> {
        let path = self.path(context);
        match disk::read(&*self.disk, &path, KEY_FILE_BYTES_MAX) {
            Ok(stored) => decode(&stored, context).ok_or(KeyError::Damaged),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(KeyError::Destroyed { owner: context.owner, epoch: context.epoch })
            }
            Err(e) => Err(failed("read", &path, e)),
        }
    }

    fn remove_unfinished(&self) -> Result<(), KeyError> {
        for name in self.names()?.iter().filter(|name| name.ends_with(".tmp")) {
            let path = self.folder.join(name);
            self.disk.remove(&path).map_err(|e| failed("remove", &path, e))?;
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, KeyError> {
        self.disk.list(&self.folder).map_err(|e| failed("list", &self.folder, e))
    }

    fn sync(&self, folder: &Path) -> Result<(), KeyError> {
        self.disk.sync_folder(folder).map_err(|e| failed("sync", folder, e))
    }

    fn remember(&self, context: KeyContext, key: &Arc<DataKey>) {
        let mut cache = self.cache();
        if cache.len() >= limits::KEYS_CACHED_MAX {
            // Any one will do: the next use unwraps it again.
            if let Some(&victim) = cache.keys().next() {
                cache.remove(&victim);
            }
        }
        cache.insert(context, key.clone());
    }

    fn cache(&self) -> MutexGuard<'_, HashMap<KeyContext, Arc<DataKey>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, context: KeyContext) -> PathBuf {
        self.folder.join(file_name(context))
    }
}

fn file_name(context: KeyContext) -> String {
    format!("{}-{:08x}.key", context.owner, context.epoch.0)
}

fn parse_file_name(name: &str) -> Option<KeyContext> {
    let (owner, epoch) = name.strip_suffix(".key")?.split_once('-')?;
    Some(KeyContext {
        owner: OwnerId::from_u64(u64::from_str_radix(owner, 16).ok()?),
        epoch: KeyEpoch(u32::from_str_radix(epoch, 16).ok()?),
    })
}

fn encode(context: KeyContext, wrapped: &WrappedKey) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&context.owner.to_u64().to_be_bytes());
    out.extend_from_slice(&context.epoch.0.to_be_bytes());
    let len = u16::try_from(wrapped.0.len()).expect("a wrapped key is some hundred bytes");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&wrapped.0);
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

fn decode(stored: &[u8], context: KeyContext) -> Option<WrappedKey> {
    if !crc_holds(stored) {
        return None;
    }
    let rest = stored.strip_prefix(MAGIC)?.strip_prefix(&context.owner.to_u64().to_be_bytes())?;
    let (len, rest) = rest.strip_prefix(&context.epoch.0.to_be_bytes())?.split_first_chunk::<2>()?;
    let len = usize::from(u16::from_be_bytes(*len));
    let (wrapped, crc) = rest.split_at_checked(len)?;
    (crc.len() == 4).then(|| WrappedKey(wrapped.to_vec()))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> KeyError {
    KeyError::Io { action, path: path.to_owned(), source }
}
