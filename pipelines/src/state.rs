//! The state of a pipeline. It moves forwards only, whoever moves it.

use std::sync::atomic::{AtomicU8, Ordering};

/// How far a pipeline is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Opened, nothing has come yet.
    Starting,
    /// Units come.
    Playing,
    /// It was told to stop, or met its end, and is being taken down.
    Stopping,
    /// Nothing will come any more.
    Ended,
}

const ALL: [State; 4] = [State::Starting, State::Playing, State::Stopping, State::Ended];

/// A [`State`] that several threads move.
pub(crate) struct Progress(AtomicU8);

impl Progress {
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// Moves to `state`, unless already there or further on. Says whether it moved.
    pub(crate) fn advance(&self, state: State) -> bool {
        let to = state as u8;
        self.0.fetch_max(to, Ordering::AcqRel) < to
    }

    pub(crate) fn state(&self) -> State {
        ALL[usize::from(self.0.load(Ordering::Acquire))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_never_moves_backwards() {
        let progress = Progress::new();
        assert!(progress.advance(State::Stopping));
        assert!(!progress.advance(State::Playing));
        assert!(!progress.advance(State::Stopping));
        assert_eq!(progress.state(), State::Stopping);
        assert!(progress.advance(State::Ended));
    }
}
