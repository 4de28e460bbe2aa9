//! Data keys and the service that makes and wraps them.
//!
//! A wrapped data key is bound to its context: its name, and the name that its owner goes by outside of
//! the vault. It opens only as what it was made for.

use std::collections::BTreeSet;

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::entropy::Entropy;
use crate::error::{KeyError, KeyRefusal};
use crate::id::KeyName;
use crate::masters::{MasterId, MasterKey, MasterState};

/// What a data key is for; authenticated with its wrapped form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyContext {
    /// The key's name.
    pub name: KeyName,
    /// What its owner is called by others, for a stream its ARN. Stored with the wrapped key, because
    /// frames and keys have to suffice when the catalog is lost.
    pub resource: String,
}

impl KeyContext {
    /// `"millrace data key" [owner: 8][epoch: 4][key id: 8][resource]`
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = b"millrace data key".to_vec();
        bytes.extend_from_slice(&self.name.owner.to_u64().to_be_bytes());
        bytes.extend_from_slice(&self.name.epoch.0.to_be_bytes());
        bytes.extend_from_slice(&self.name.id.0.to_be_bytes());
        bytes.extend_from_slice(self.resource.as_bytes());
        bytes
    }
}

/// A data key as the key service wrapped it: safe to store, opaque to everyone else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey(pub Vec<u8>);

/// Makes data keys and unwraps them under master keys that only it has: a local
/// [`Keyring`](crate::Keyring), or a KMS. Its calls block, for as long as a KMS takes to answer.
pub trait KeyService: Send + Sync {
    /// A new data key and its wrapped form.
    fn generate(&self, context: &KeyContext) -> Result<(DataKey, WrappedKey), KeyError>;

    /// The data key of a wrapped form made for the same context.
    fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<DataKey, KeyError>;

    /// How many calls are worth making at once. A service within this process gains nothing by a second.
    fn calls_at_once(&self) -> usize {
        1
    }

    // A service need not have more than one master key that never changes.

    /// The same data key wrapped anew, under the master key that wraps now; `None` if it is under that one
    /// already.
    fn rewrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<Option<WrappedKey>, KeyError> {
        let _ = (wrapped, context);
        Ok(None)
    }

    /// Which master key a wrapped form says it is under.
    fn master_of(&self, wrapped: &WrappedKey) -> Result<MasterId, KeyError> {
        let _ = wrapped;
        Ok(MasterId("the only one".to_owned()))
    }

    /// The master keys: those that the service has, and what it says of those `in_use`.
    fn masters(&self, in_use: &BTreeSet<MasterId>) -> Result<Vec<MasterKey>, KeyError> {
        let _ = in_use;
        Ok(Vec::new())
    }

    /// Lets a master key be used, or not. Durable on return.
    fn set_state(&self, id: &MasterId, state: MasterState) -> Result<(), KeyError> {
        let _ = (id, state);
        Err(unchangeable())
    }

    /// Has another master key wrap from now on, made at `now` in seconds since 1970. Durable on return.
    fn begin_rotation(&self, now: u64) -> Result<MasterId, KeyError> {
        let _ = now;
        Err(unchangeable())
    }

    /// Forgets the master keys that neither wrap nor are `in_use`, and says which.
    fn end_rotation(&self, in_use: &BTreeSet<MasterId>) -> Result<Vec<MasterId>, KeyError> {
        let _ = in_use;
        Ok(Vec::new())
    }

    /// Whether a rotation was begun and not ended, for example because the process died.
    fn is_rotating(&self) -> bool {
        false
    }
}

fn unchangeable() -> KeyError {
    KeyError::refused(KeyRefusal::UnsupportedOperation, "this key service has one master key that never changes")
}

/// An AES-256 key in the clear, wiped from memory when dropped.
pub struct DataKey {
    /// On the heap, because what is moved leaves its bytes behind where it was.
    secret: Box<Zeroizing<[u8; 32]>>,
    /// The expanded key. aws-lc keeps it on its own heap, which it wipes as it frees.
    aead: LessSafeKey,
}

impl DataKey {
    /// A key of these bytes, of which the caller wipes its own copy.
    pub fn new(bytes: &[u8; 32]) -> Self {
        let unbound = UnboundKey::new(&AES_256_GCM, bytes).expect("an AES-256 key has 32 bytes");
        let mut secret = Box::new(Zeroizing::new([0; 32]));
        secret.copy_from_slice(bytes);
        Self { secret, aead: LessSafeKey::new(unbound) }
    }

    /// A random key.
    pub fn random() -> Result<Self, KeyError> {
        let mut secret = Zeroizing::new([0; 32]);
        random(&mut *secret)?;
        Ok(Self::new(&secret))
    }

    /// The key itself, for wrapping and derivation.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    pub(crate) fn aead(&self) -> &LessSafeKey {
        &self.aead
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataKey(..)")
    }
}

/// Fills `out` from the system's random source.
pub(crate) fn random(out: &mut [u8]) -> Result<(), KeyError> {
    rand::fill(out).map_err(|_| KeyError::Random)
}

/// A random number, for an id.
pub(crate) fn random_number(entropy: &dyn Entropy) -> Result<u64, KeyError> {
    let mut number = [0; 8];
    entropy.fill(&mut number)?;
    Ok(u64::from_be_bytes(number))
}
