//! Random numbers and keys from a seed.

use std::sync::{Mutex, PoisonError};

use fastrand::Rng;
use vault::{DataKey, Entropy, KeyContext, KeyError, KeyService, WrappedKey};
use zeroize::Zeroizing;

/// Random bytes that are the same for the same seed. Not for keys that matter.
pub struct SeededEntropy(Mutex<Rng>);

impl SeededEntropy {
    /// The bytes of a seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(Rng::with_seed(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), KeyError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(out);
        Ok(())
    }
}

/// A key service whose data keys come from a seed, and whose wrapped form is the key itself: what is simulated
/// is where keys lie, not how they are wrapped.
pub struct SeededKeys(SeededEntropy);

impl SeededKeys {
    /// The keys of a seed.
    pub fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }
}

impl KeyService for SeededKeys {
    fn generate(&self, _: &KeyContext) -> Result<(DataKey, WrappedKey), KeyError> {
        let mut secret = Zeroizing::new([0; 32]);
        self.0.fill(&mut *secret)?;
        let wrapped = WrappedKey(secret.to_vec());
        Ok((DataKey::new(&secret), wrapped))
    }

    fn unwrap(&self, wrapped: &WrappedKey, _: &KeyContext) -> Result<DataKey, KeyError> {
        let secret: &[u8; 32] = wrapped.0[..].try_into().map_err(|_| KeyError::Random)?;
        Ok(DataKey::new(secret))
    }
}
