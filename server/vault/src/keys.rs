//! Data keys and the service that makes and wraps them.
//!
//! A wrapped data key names its owner and epoch as context: it opens only as what it was made for.

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::error::KeyError;
use crate::id::{KeyEpoch, OwnerId};

/// What a data key is for; authenticated with its wrapped form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyContext {
    /// Whose frames it seals.
    pub owner: OwnerId,
    /// Of which day of expiry.
    pub epoch: KeyEpoch,
}

impl KeyContext {
    /// `"millrace data key" [owner: 8][epoch: 4]`
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = b"millrace data key".to_vec();
        bytes.extend_from_slice(&self.owner.to_u64().to_be_bytes());
        bytes.extend_from_slice(&self.epoch.0.to_be_bytes());
        bytes
    }
}

/// A data key as the key service wrapped it: safe to store, opaque to everyone else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey(pub Vec<u8>);

/// Makes data keys and unwraps them: a local [`Keyring`](crate::Keyring), later a KMS.
pub trait KeyService: Send + Sync {
    /// A new data key and its wrapped form.
    fn generate(&self, context: KeyContext) -> Result<(DataKey, WrappedKey), KeyError>;

    /// The data key of a wrapped form made for the same context.
    fn unwrap(&self, wrapped: &WrappedKey, context: KeyContext) -> Result<DataKey, KeyError>;
}

/// An AES-256 key in the clear, wiped from memory when dropped.
pub struct DataKey {
    secret: Zeroizing<[u8; 32]>,
    aead: LessSafeKey,
}

impl DataKey {
    /// A key of these bytes.
    pub fn new(secret: Zeroizing<[u8; 32]>) -> Self {
        let unbound = UnboundKey::new(&AES_256_GCM, &*secret).expect("an AES-256 key has 32 bytes");
        Self { secret, aead: LessSafeKey::new(unbound) }
    }

    /// A random key.
    pub fn random() -> Result<Self, KeyError> {
        let mut secret = Zeroizing::new([0; 32]);
        random(&mut *secret)?;
        Ok(Self::new(secret))
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
    rand::fill(out).map_err(|_| KeyError::Service("the system's random source failed".to_owned()))
}
