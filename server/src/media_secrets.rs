//! Secrets: addresses of cameras with their passwords, which edge configurations name by ARNs as of AWS's Secrets Manager.
//!
//! Rows in the vault's catalog, space `Server`:
//!
//! ```text
//! [0x08][name]      the address, sealed under the master key and bound to the name
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};
use vault::{Batch, Direction, Key, KeyRange, Space, Vault};

use crate::limits;

/// What an operator asks for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SecretCommand {
    Put { name: String, uri: String },
    List,
    Delete { name: String },
}

/// An address is not shown: it may hold a password.
impl fmt::Debug for SecretCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { name, .. } => f.debug_struct("Put").field("name", name).finish_non_exhaustive(),
            Self::List => f.write_str("List"),
            Self::Delete { name } => f.debug_struct("Delete").field("name", name).finish(),
        }
    }
}

/// Why a secret can't be kept or had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("{0:?} is no name of a secret: use 1 to {max} letters, digits, '_', '.' or '-'", max = limits::SECRET_NAME_CHARS_MAX)]
    Name(String),
    #[error("an address has 1 to {max} characters", max = limits::SECRET_URI_CHARS_MAX)]
    Uri,
    #[error("there is no secret {0}; `millrace secret list` shows them all")]
    Unknown(String),
    #[error("there are {max} secrets, as many as there may be; `millrace secret delete` removes one", max = limits::SECRETS_MAX)]
    TooMany,
    #[error("the secrets can't be read or written: {0}")]
    Storage(String),
}

/// All secrets. Its calls block for the time of a catalog commit.
#[derive(Clone)]
pub(crate) struct MediaSecrets {
    vault: Vault,
}

impl MediaSecrets {
    /// The secrets of this vault's catalog.
    pub(crate) fn new(vault: Vault) -> Self {
        Self { vault }
    }

    /// Keeps an address, in place of one that had this name before.
    pub(crate) fn put(&self, name: &str, uri: &str) -> Result<(), SecretError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if !(1..=limits::SECRET_NAME_CHARS_MAX).contains(&name.len()) || !name.chars().all(allowed) {
            return Err(SecretError::Name(name.chars().take(limits::SECRET_NAME_CHARS_MAX).collect()));
        }
        if !(1..=limits::SECRET_URI_CHARS_MAX).contains(&uri.chars().count()) {
            return Err(SecretError::Uri);
        }
        let names = self.list()?;
        if names.len() >= limits::SECRETS_MAX && !names.iter().any(|known| known == name) {
            return Err(SecretError::TooMany);
        }
        let sealed = self.vault.seal_secret(&label(name), uri.as_bytes()).map_err(|e| storage(&e))?;
        let mut batch = Batch::new();
        batch.insert(row_key(name), sealed);
        self.vault.catalog().commit(batch).map_err(|e| storage(&e))
    }

    /// An address.
    pub(crate) fn get(&self, name: &str) -> Result<String, SecretError> {
        let row = self.vault.catalog().get(&row_key(name)).map_err(|e| storage(&e))?;
        let sealed = row.ok_or_else(|| SecretError::Unknown(name.to_owned()))?;
        let uri = self.vault.open_secret(&label(name), &sealed).map_err(|e| storage(&e))?;
        String::from_utf8(uri).map_err(|e| storage(&e))
    }

    /// The names of all, in their order.
    pub(crate) fn list(&self) -> Result<Vec<String>, SecretError> {
        let range = KeyRange::prefix(Key::new(Space::Server, &[SECRET]));
        let rows = self.vault.catalog().scan(&range, Direction::Ascending, limits::SECRETS_MAX + 1);
        let name = |row: vault::Row| String::from_utf8_lossy(&row.key.rest()[1..]).into_owned();
        Ok(rows.map_err(|e| storage(&e))?.into_iter().map(name).collect())
    }

    /// Forgets one. Devices that were told its address keep it until they are configured otherwise.
    pub(crate) fn delete(&self, name: &str) -> Result<(), SecretError> {
        if !self.list()?.iter().any(|known| known == name) {
            return Err(SecretError::Unknown(name.to_owned()));
        }
        let mut batch = Batch::new();
        batch.remove(row_key(name));
        self.vault.catalog().commit(batch).map_err(|e| storage(&e))
    }
}

/// How edge configurations name a secret.
pub(crate) fn arn(name: &str) -> String {
    format!("arn:aws:secretsmanager:us-east-1:000000000000:secret:{name}")
}

const SECRET: u8 = 8;

fn row_key(name: &str) -> Key {
    Key::new(Space::Server, &[&[SECRET], name.as_bytes()].concat())
}

fn label(name: &str) -> String {
    format!("media secret {name}")
}

fn storage(error: &dyn fmt::Display) -> SecretError {
    SecretError::Storage(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use archive::Archive;
    use vault::Keyring;

    use super::*;

    const URI: &str = "rtsp://me:hush@192.0.2.9/1";

    #[test]
    fn an_address_is_kept_sealed_and_given_by_its_name_until_it_is_forgotten() {
        let (secrets, _folder) = secrets();
        secrets.put("front", "rtsp://before/1").unwrap();
        secrets.put("front", URI).unwrap();
        assert_eq!(secrets.get("front").unwrap(), URI);
        let row = secrets.vault.catalog().get(&row_key("front")).unwrap().unwrap();
        assert!(!row.windows(4).any(|window| window == b"hush"));
        assert_eq!(secrets.list().unwrap(), ["front"]);
        secrets.delete("front").unwrap();
        for error in [secrets.get("front").map(drop), secrets.delete("front")] {
            assert!(matches!(error, Err(SecretError::Unknown(_))));
        }
    }

    #[test]
    fn names_addresses_and_their_number_have_bounds() {
        let (secrets, _folder) = secrets();
        for name in ["", "a b", "a:b", &"a".repeat(limits::SECRET_NAME_CHARS_MAX + 1)] {
            assert!(matches!(secrets.put(name, URI), Err(SecretError::Name(_))), "{name}");
        }
        for uri in ["", &"a".repeat(limits::SECRET_URI_CHARS_MAX + 1)] {
            assert!(matches!(secrets.put("front", uri), Err(SecretError::Uri)));
        }
        let mut batch = Batch::new();
        for at in 0..limits::SECRETS_MAX {
            batch.insert(row_key(&format!("secret-{at}")), b"sealed".to_vec());
        }
        secrets.vault.catalog().commit(batch).unwrap();
        assert!(matches!(secrets.put("front", URI), Err(SecretError::TooMany)));
        secrets.put("secret-0", URI).unwrap();
    }

    fn secrets() -> (MediaSecrets, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::of_vault(folder.path()).unwrap();
        let archive = Archive::open(folder.path(), Arc::new(keyring)).unwrap();
        (MediaSecrets::new(archive.vault().clone()), folder)
    }
}
