//! Where random numbers come from: the system, or a seed where a run has to be repeatable.

use aws_lc_rs::rand;

use crate::error::KeyError;

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
        rand::fill(out).map_err(|_| KeyError::Service("the system's random source failed".to_owned()))
    }
}
