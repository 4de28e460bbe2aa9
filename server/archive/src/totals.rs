//! How much a stream holds, counted along with its commits so that nobody has to scan for it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fragment::{FragmentNumber, WallTime};

use crate::entry::Stored;

/// Sums over a stream's rows by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) fragments: u64,
    pub(crate) bytes: u64,
    pub(crate) last_arrival: Option<WallTime>,
    /// The newest fragment that is counted in.
    through: Option<FragmentNumber>,
}

impl Totals {
    /// Counts a fragment in, unless it is already. Numbers of a stream are committed in ascending order.
    pub(crate) fn add(&mut self, stored: &Stored) {
        if self.through.is_some_and(|through| stored.number <= through) {
            return;
        }
        self.through = Some(stored.number);
        self.fragments += 1;
        self.bytes += stored.bytes;
        self.last_arrival = Some(stored.arrived);
    }

    /// Counts a fragment out whose rows were removed.
    pub(crate) fn subtract(&mut self, stored: &Stored) {
        if self.through.is_some_and(|through| stored.number <= through) {
            self.fragments = self.fragments.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(stored.bytes);
        }
    }
}

/// The totals of the streams that were asked for since the start. The lock is held while rows are
/// counted or removed, so that no fragment is counted twice.
#[derive(Default)]
pub(crate) struct Table(Mutex<HashMap<u64, Totals>>);

impl Table {
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<u64, Totals>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
