//! Wrapped keys as objects: `keys/<owner>-<epoch>-<key id>.key` in a bucket.
//!
//! What depends on the state of a key is a conditional write (`If-None-Match`, `If-Match`), so that servers which share
//! the bucket don't undo each other's changes. A bucket that keeps old versions of its objects keeps destroyed keys.

use std::io;

use bytes::Bytes;

use super::{KeyStore, KeyStoreError};
use crate::id::KeyName;
use crate::objects::{Objects, Written};

const FOLDER: &str = "keys";

/// The keys in a bucket.
pub struct ObjectKeys(Objects);

impl ObjectKeys {
    /// Those in this one.
    pub fn new(objects: Objects) -> Self {
        Self(objects)
    }
}

impl KeyStore for ObjectKeys {
    fn list(&self) -> Result<Vec<KeyName>, KeyStoreError> {
        let failed = |e: io::Error| KeyStoreError::new("list", format!("the keys in {}", self.0.name()), &e);
        let listed = self.0.list(FOLDER).map_err(failed)?;
        Ok(listed.iter().filter_map(|object| KeyName::parse(object.name.strip_suffix(".key")?)).collect())
    }

    fn read(&self, name: KeyName) -> Result<Option<Vec<u8>>, KeyStoreError> {
        let found = self.0.get(FOLDER, &object_name(name)).map_err(|e| failed("read", name, &e))?;
        Ok(found.map(|(bytes, _)| bytes.to_vec()))
    }

    fn create(&self, name: KeyName, bytes: &[u8]) -> Result<bool, KeyStoreError> {
        let created = self.0.create(FOLDER, &object_name(name), &Bytes::copy_from_slice(bytes));
        Ok(created.map_err(|e| failed("create", name, &e))? == Written::Done)
    }

    fn replace(&self, name: KeyName, old: &[u8], new: &[u8]) -> Result<bool, KeyStoreError> {
        let object = object_name(name);
        let failed = |e: io::Error| failed("replace", name, &e);
        let version = match self.0.get(FOLDER, &object).map_err(failed)? {
            Some((found, version)) if found == old => version,
            _ => return Ok(false),
        };
        let updated = self.0.update(FOLDER, &object, version, Bytes::copy_from_slice(new)).map_err(failed)?;
        // An answer may have been lost, and the repetition found what the first attempt stored.
        Ok(updated == Written::Done || self.read(name)?.as_deref() == Some(new))
    }

    fn remove(&self, name: KeyName) -> Result<(), KeyStoreError> {
        self.0.delete(FOLDER, &object_name(name)).map_err(|e| failed("delete", name, &e))
    }

    fn sync(&self) -> Result<(), KeyStoreError> {
        Ok(())
    }
}

fn object_name(name: KeyName) -> String {
    format!("{name}.key")
}

fn failed(action: &'static str, name: KeyName, error: &io::Error) -> KeyStoreError {
    KeyStoreError::new(action, format!("data key {name}"), error)
}
