//! What gives way last: fragments that somebody has asked for and that still wait. Pure bookkeeping beside the index.
//!
//! The owner of the spool says which, by their sequences, since these can be said of fragments that are not captured yet.

use std::collections::HashMap;

use fragment::{Sequence, SessionId};

/// Fragments of a session, from the first sequence to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spared {
    /// Which session.
    pub session: SessionId,
    /// The first of them.
    pub first: Sequence,
    /// The last of them, which may be yet to come.
    pub last: Sequence,
}

/// All that is spared.
#[derive(Debug, Default)]
pub(crate) struct Sparings(HashMap<SessionId, Vec<Spared>>);

impl Sparings {
    pub(crate) fn new(all: &[Spared]) -> Self {
        let mut sparings: HashMap<_, Vec<Spared>> = HashMap::new();
        for spared in all {
            sparings.entry(spared.session).or_default().push(*spared);
        }
        Self(sparings)
    }

    /// What is spared of a session.
    pub(crate) fn of(&self, session: SessionId) -> &[Spared] {
        self.0.get(&session).map_or(&[], Vec::as_slice)
    }
}

impl Spared {
    /// Whether this fragment of the session is one of them.
    pub(crate) fn holds(&self, sequence: Sequence) -> bool {
        self.first <= sequence && sequence <= self.last
    }
}
