//! Where random numbers come from: the system, or a seed where a run has to be repeatable.

use crate::error::KeyError;
use crate::keys::random;

/// A source of random bytes. What it gives must be unpredictable wherever keys matter.
pub trait Entropy: Send + Sync {
    /// Fills `out`.
    fn fill(&self, out: &mut [u8]) -> Result<(), KeyError>;
}

/// The system's random source.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), KeyError> {
        random(out)
    }
}
