//! Access keys: who may call the AWS APIs, and for which streams.
//!
//! Rows in the vault's catalog, space `Server`, values in JSON:
//!
//! ```text
//! [0x07][id]      AccessKey; its secret sealed under the master key, and bound to the id
//! ```
//!
//! A secret is needed in the clear to verify a signature, so unlike a join token it can't be kept as a hash. It is read anew for
//! each request: a key that is disabled at one server is so at all of them, at once.

mod identity;
mod temporary;

use std::fmt;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fragment::WallTime;
use serde::{Deserialize, Serialize};
use vault::{Batch, CommitError, Direction, Key, KeyRange, Space, Vault};
use zeroize::Zeroizing;

use crate::limits;
use crate::storage::point_read;

pub(crate) use identity::{Access, Identity, Role, StreamPattern};
pub(crate) use temporary::Temporary;

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AccessKeyCommand {
    Create { role: Role, streams: Vec<StreamPattern> },
    List,
    Disable { id: String },
    Enable { id: String },
    Delete { id: String },
}

/// An access key as it is told to an operator: without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccessKeyView {
    pub(crate) id: String,
    pub(crate) role: Role,
    pub(crate) streams: Vec<StreamPattern>,
    pub(crate) created_ns: i64,
    pub(crate) disabled_ns: Option<i64>,
}

/// An access key, as it is stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct AccessKey {
    role: Role,
    /// The streams that it is good for; none: any.
    streams: Vec<StreamPattern>,
    created_ns: i64,
    disabled_ns: Option<i64>,
    /// The sealed secret, in base64.
    secret: String,
}

/// A key that was just made. Its secret is shown this once.
pub(crate) struct Created {
    pub(crate) id: String,
    pub(crate) secret: Zeroizing<String>,
}

/// Whom a key stands for, and what its signatures are verified with.
pub(crate) struct Credentials {
    pub(crate) identity: Identity,
    pub(crate) secret: Zeroizing<Vec<u8>>,
}

/// Why an access key can't be changed or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessKeyError {
    #[error("there is no access key {0}; `millrace access-key list` shows them all")]
    Unknown(String),
    #[error("the access key {0} is disabled")]
    Disabled(String),
    #[error("the session token does not belong to the access key {0}")]
    Token(String),
    #[error("the access key {0} is temporary, and comes with a session token")]
    TokenMissing(String),
    #[error("The security token included in the request is expired")]
    Expired,
    #[error("{0}")]
    Withdrawn(String),
    #[error("an access key is limited to at most {max} patterns of streams", max = limits::PATTERNS_PER_KEY_MAX)]
    TooManyPatterns,
    #[error("there are {max} access keys, as many as there may be; `millrace access-key delete` removes one", max = limits::ACCESS_KEYS_MAX)]
    TooMany,
    #[error("the access keys can't be read or written: {0}")]
    Storage(String),
}

/// All access keys. Its calls block for the time of a catalog commit.
#[derive(Clone)]
pub(crate) struct AccessKeys {
    vault: Vault,
}

impl AccessKeys {
    /// The access keys of this vault's catalog.
    pub(crate) fn new(vault: Vault) -> Self {
        Self { vault }
    }

    /// Makes a key.
    pub(crate) fn create(
        &self,
        role: Role,
        streams: Vec<StreamPattern>,
        now: WallTime,
    ) -> Result<Created, AccessKeyError> {
        if streams.len() > limits::PATTERNS_PER_KEY_MAX {
            return Err(AccessKeyError::TooManyPatterns);
        }
        if self.list()?.len() >= limits::ACCESS_KEYS_MAX {
            return Err(AccessKeyError::TooMany);
        }
        let (id, secret) = (new_id(LASTING)?, new_secret()?);
        let sealed = self.vault.seal_secret(&label(&id), secret.as_bytes()).map_err(|e| storage(&e))?;
        let key =
            AccessKey { role, streams, created_ns: now.as_nanos(), disabled_ns: None, secret: STANDARD.encode(sealed) };
        let mut batch = Batch::new();
        batch.require_absent(row_key(&id)).insert(row_key(&id), encode(&key));
        self.vault.catalog().commit(batch).map_err(|e| storage(&e))?;
        Ok(Created { id, secret })
    }

    /// All keys in the order of their creation.
    pub(crate) fn list(&self) -> Result<Vec<AccessKeyView>, AccessKeyError> {
        let range = KeyRange::prefix(Key::new(Space::Server, &[ACCESS_KEY]));
        let rows = self.vault.catalog().scan(&range, Direction::Ascending, limits::ACCESS_KEYS_MAX + 1);
        let view = |row: vault::Row| {
            let id = String::from_utf8_lossy(&row.key.rest()[1..]).into_owned();
            let AccessKey { role, streams, created_ns, disabled_ns, .. } = decode(&row.value)?;
            Ok(AccessKeyView { id, role, streams, created_ns, disabled_ns })
        };
        let mut keys: Vec<_> = rows.map_err(|e| storage(&e))?.into_iter().map(view).collect::<Result<_, _>>()?;
        keys.sort_by_key(|key: &AccessKeyView| key.created_ns);
        Ok(keys)
    }

    /// Has a key refused from now on.
    pub(crate) fn disable(&self, id: &str, now: WallTime) -> Result<(), AccessKeyError> {
        self.change(id, |key| AccessKey { disabled_ns: key.disabled_ns.or(Some(now.as_nanos())), ..key })
    }

    /// Has a disabled key taken again.
    pub(crate) fn enable(&self, id: &str) -> Result<(), AccessKeyError> {
        self.change(id, |key| AccessKey { disabled_ns: None, ..key })
    }

    /// Forgets a key for good.
    pub(crate) fn delete(&self, id: &str) -> Result<(), AccessKeyError> {
        self.row(id)?;
        let mut batch = Batch::new();
        batch.remove(row_key(id));
        self.vault.catalog().commit(batch).map_err(|e| storage(&e))
    }

    /// What a signature with this key, and with the session token that a temporary one has, is verified with.
    pub(crate) async fn credentials(
        &self,
        id: &str,
        token: Option<&str>,
        now: WallTime,
    ) -> Result<Credentials, AccessKeyError> {
        match token {
            Some(token) => return self.temporary(id, token, now).await,
            None if id.starts_with(TEMPORARY) => return Err(AccessKeyError::TokenMissing(id.to_owned())),
            None => {}
        }
        let (keys, id) = (self.clone(), id.to_owned());
        point_read(&**self.vault.catalog(), move || keys.open(id)).await
    }

    fn open(&self, id: String) -> Result<Credentials, AccessKeyError> {
        let key: AccessKey = decode(&self.row(&id)?)?;
        if key.disabled_ns.is_some() {
            return Err(AccessKeyError::Disabled(id));
        }
        let sealed = STANDARD.decode(&key.secret).map_err(|e| storage(&e))?;
        let secret = Zeroizing::new(self.vault.open_secret(&label(&id), &sealed).map_err(|e| storage(&e))?);
        Ok(Credentials { identity: Identity { access_key: id, role: key.role, streams: key.streams }, secret })
    }

    fn row(&self, id: &str) -> Result<bytes::Bytes, AccessKeyError> {
        let row = self.vault.catalog().get(&row_key(id)).map_err(|e| storage(&e))?;
        row.ok_or_else(|| AccessKeyError::Unknown(id.to_owned()))
    }

    fn change(&self, id: &str, change: impl Fn(AccessKey) -> AccessKey) -> Result<(), AccessKeyError> {
        for _ in 0..limits::COMMIT_ATTEMPTS_MAX {
            let row = self.row(id)?;
            let mut batch = Batch::new();
            batch.insert(row_key(id), encode(&change(decode(&row)?))).require_value(row_key(id), row);
            match self.vault.catalog().commit(batch) {
                Ok(()) => return Ok(()),
                Err(CommitError::Precondition) => {}
                Err(error) => return Err(storage(&error)),
            }
        }
        Err(storage(&"the record changes too often"))
    }
}

const ACCESS_KEY: u8 = 7;

/// The digits of ids: those of base 32, which nobody takes for each other.
const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// How ids begin, as those of AWS do with `AKIA` and `ASIA`: of keys that have a row, and of those that end by themselves.
const LASTING: &str = "MRAK";
const TEMPORARY: &str = "MRTK";

/// As long as those of AWS: a beginning and 80 random bits.
fn new_id(beginning: &str) -> Result<String, AccessKeyError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| storage(&"the system gives no random numbers"))?;
    Ok(bytes.iter().fold(beginning.to_owned(), |id, byte| id + &char::from(DIGITS[usize::from(byte % 32)]).to_string()))
}

/// 240 random bits in 40 characters, as those of AWS.
fn new_secret() -> Result<Zeroizing<String>, AccessKeyError> {
    let mut bytes = Zeroizing::new([0; 30]);
    rand::fill(&mut *bytes).map_err(|_| storage(&"the system gives no random numbers"))?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes)))
}

fn row_key(id: &str) -> Key {
    Key::new(Space::Server, &[&[ACCESS_KEY], id.as_bytes()].concat())
}

/// What [`Vault::seal_secret`] binds a secret to: a sealed secret in the row of another key opens nothing.
fn label(id: &str) -> String {
    format!("access key {id}")
}

fn storage(error: &dyn fmt::Display) -> AccessKeyError {
    AccessKeyError::Storage(error.to_string())
}

fn encode(key: &AccessKey) -> Vec<u8> {
    serde_json::to_vec(key).expect("an access key is plain JSON")
}

fn decode(row: &[u8]) -> Result<AccessKey, AccessKeyError> {
    serde_json::from_slice(row).map_err(|error| AccessKeyError::Storage(format!("a record is damaged: {error}")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use archive::Archive;
    use vault::Keyring;

    use super::*;

    const NOW: WallTime = WallTime::from_millis(1_790_000_000_000);

    #[tokio::test]
    async fn a_key_gives_its_secret_and_whom_it_stands_for_until_it_is_disabled() {
        let (keys, _folder) = keys();
        let Created { id, secret } = keys.create(Role::Viewer, vec![pattern("garden-*")], NOW).unwrap();
        assert_eq!((id.len(), secret.len()), (20, 40));
        let Credentials { identity, secret: opened } = keys.credentials(&id, None, NOW).await.unwrap();
        assert_eq!(&opened[..], secret.as_bytes());
        assert_eq!((&identity.access_key, identity.role), (&id, Role::Viewer));
        assert!(identity.may(Access::Watch, &"garden-1".parse().unwrap()));
        assert!(!identity.may(Access::Watch, &"door".parse().unwrap()));

        keys.disable(&id, NOW).unwrap();
        assert!(matches!(keys.credentials(&id, None, NOW).await, Err(AccessKeyError::Disabled(_))));
        keys.enable(&id).unwrap();
        assert!(keys.credentials(&id, None, NOW).await.is_ok());
        keys.delete(&id).unwrap();
        assert!(matches!(keys.credentials(&id, None, NOW).await, Err(AccessKeyError::Unknown(_))));
    }

    #[test]
    fn what_is_not_there_is_said() {
        let (keys, _folder) = keys();
        for error in [keys.disable("MRAK", NOW), keys.enable("MRAK"), keys.delete("MRAK")] {
            assert!(matches!(error, Err(AccessKeyError::Unknown(_))));
        }
    }

    #[test]
    fn keys_are_listed_as_they_were_made_and_without_their_secrets() {
        let (keys, _folder) = keys();
        let first = keys.create(Role::Admin, Vec::new(), NOW).unwrap();
        let second = keys.create(Role::Producer, vec![pattern("a"), pattern("b*")], WallTime::from_millis(2)).unwrap();
        keys.disable(&first.id, NOW).unwrap();
        let listed = keys.list().unwrap();
        let told: Vec<_> = listed.iter().map(|key| (&key.id, key.role, key.disabled_ns.is_some())).collect();
        assert_eq!(told, [(&second.id, Role::Producer, false), (&first.id, Role::Admin, true)]);
        let json = serde_json::to_string(&listed).unwrap();
        assert!(!json.contains("secret"), "{json}");
    }

    #[tokio::test]
    async fn a_secret_is_stored_sealed_and_opens_in_its_own_row_only() {
        let (keys, _folder) = keys();
        let (one, two) = (new(&keys), new(&keys));
        let row = keys.row(&one.id).unwrap();
        assert!(!row.windows(40).any(|window| window == one.secret.as_bytes()));
        let mut batch = Batch::new();
        batch.insert(row_key(&two.id), row);
        keys.vault.catalog().commit(batch).unwrap();
        assert!(matches!(keys.credentials(&two.id, None, NOW).await, Err(AccessKeyError::Storage(_))));
    }

    #[test]
    fn there_is_a_bound_of_patterns() {
        let (keys, _folder) = keys();
        let many = vec![pattern("a*"); limits::PATTERNS_PER_KEY_MAX + 1];
        assert!(matches!(keys.create(Role::Admin, many, NOW), Err(AccessKeyError::TooManyPatterns)));
    }

    fn keys() -> (AccessKeys, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::of_vault(folder.path()).unwrap();
        let archive = Archive::open(folder.path(), Arc::new(keyring)).unwrap();
        (AccessKeys::new(archive.vault().clone()), folder)
    }

    fn new(keys: &AccessKeys) -> Created {
        keys.create(Role::Admin, Vec::new(), NOW).unwrap()
    }

    fn pattern(text: &str) -> StreamPattern {
        text.parse().unwrap()
    }
}
