//! The model: fragments as those know them who captured them.

use std::time::Duration;

use bytes::Bytes;

use super::CLOSING;

/// A fragment as those know it who captured it.
pub(super) struct Known {
    /// Its place in the order of capture.
    pub(super) place: u64,
    /// When it began, by the time that the run has taken.
    pub(super) began: u64,
    /// How many syncs had failed by then: what a later one failed to sync, no sync makes up for.
    pub(super) failed_syncs: u64,
    /// What was given to the spool, whether it took it or not, and how long the fragment plays with it.
    pub(super) chunks: Vec<(Bytes, Duration)>,
    /// How many of these are to be there because their writing was answered and the power has stayed since.
    pub(super) answered: usize,
    pub(super) knowledge: Knowledge,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Knowledge {
    /// It was begun: there, whole or ended early, or not.
    Begun,
    /// The spool called it whole, with these bytes.
    Whole(Vec<u8>),
    /// It was finished at that second, and waits to be synced with others.
    Waits(Vec<u8>, u64),
    /// It left the spool: there or not.
    Gone,
    /// It had left at an opening: not there any more.
    Past,
}

impl Known {
    /// What waited to be synced is there, whole or ended early, or not.
    pub(super) fn forget_what_waits(&mut self) {
        if let Knowledge::Waits(..) = self.knowledge {
            self.knowledge = Knowledge::Begun;
        }
    }

    /// All of it, with its end.
    pub(super) fn payload(&self) -> Vec<u8> {
        self.chunks.iter().flat_map(|(chunk, _)| chunk).chain(&CLOSING).copied().collect()
    }

    /// Of how many chunks this payload is made, with an end behind them.
    pub(super) fn chunks_in(&self, payload: &[u8]) -> Option<usize> {
        let media = payload.strip_suffix(&CLOSING[..])?;
        let mut bytes = 0;
        let count = self.chunks.iter().position(|(chunk, _)| {
            bytes += chunk.len();
            bytes == media.len()
        })?;
        self.payload().starts_with(media).then_some(count + 1)
    }
}
