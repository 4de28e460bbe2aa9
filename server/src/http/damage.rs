//! Fragments that were found damaged when they were read.
//!
//! Playlists mark them as gaps from then on, so that players pass over them. It is remembered in memory: after a
//! restart they are found again.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fragment::FragmentNumber;

use super::limits;

/// The damaged fragments, by their stream's id and their number.
#[derive(Default)]
pub(crate) struct Damage(Mutex<BTreeSet<(u64, FragmentNumber)>>);

impl Damage {
    /// Remembers a fragment. Says whether it was unknown.
    pub(crate) fn note(&self, stream: u64, number: FragmentNumber) -> bool {
        let mut damaged = self.damaged();
        let new = damaged.insert((stream, number));
        if damaged.len() > limits::DAMAGED_MAX {
            damaged.pop_first();
        }
        new
    }

    /// Whether a fragment was found damaged.
    pub(crate) fn knows(&self, stream: u64, number: FragmentNumber) -> bool {
        self.damaged().contains(&(stream, number))
    }

    fn damaged(&self) -> MutexGuard<'_, BTreeSet<(u64, FragmentNumber)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
