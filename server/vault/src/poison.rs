//! The vault's poison: after a failed sync nobody knows what is on disk, so nothing more is written.
//!
//! The kernel may drop dirty pages after reporting a failed fsync once, and a second fsync would then
//! succeed without the data. Only opening the vault again, which reads what is really there, helps.

use std::sync::OnceLock;

use crate::error::PutError;

/// Set at most once, by the first failure; its text tells which.
#[derive(Debug, Default)]
pub(crate) struct Poison(OnceLock<String>);

impl Poison {
    /// Poisons the vault. Logged here, the one time that it happens.
    pub(crate) fn set(&self, reason: String) -> PutError {
        if self.0.set(reason.clone()).is_ok() {
            tracing::error!(%reason, "the vault refuses writes until restarted");
        }
        PutError::Poisoned(reason)
    }

    /// The failure, if there was one.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    /// An error if the vault is poisoned.
    pub(crate) fn check(&self) -> Result<(), PutError> {
        match self.0.get() {
            None => Ok(()),
            Some(reason) => Err(PutError::Poisoned(reason.clone())),
        }
    }
}
