//! What a run of the vault comes to.

use std::fmt;

use crate::log::Log;

/// What a run found.
#[derive(Debug)]
pub struct Outcome {
    /// Everything that the disk did.
    pub log: Log,
    /// Entries that were answered.
    pub stored: u64,
    /// Frames that were handed to the disk, each under a key and nonce of its own.
    pub frames: usize,
    /// Cuts that happened while work was under way.
    pub cuts: u32,
    /// What is wrong, if anything is.
    pub violation: Option<Violation>,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// An entry that was answered is not in the catalog.
    Lost(String),
    /// A row's bytes can't be read, or are others than were stored.
    Unreadable(String, String),
    /// A row that nobody stored, or that was removed.
    Unexpected(String),
    /// The bytes of an owner whose keys were destroyed can be read.
    NotDestroyed(String),
    /// The vault does not open.
    Closed(String),
    /// A nonce was used twice under one key.
    Nonce(String),
    /// Something worked that must not, or the other way round.
    Wrong(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(name) => write!(f, "{name} was answered and is lost"),
            Self::Unreadable(name, why) => write!(f, "{name} can't be read: {why}"),
            Self::Unexpected(name) => write!(f, "{name} is there and must not be"),
            Self::NotDestroyed(name) => write!(f, "{name} can be read though its owner's keys were destroyed"),
            Self::Closed(why) => write!(f, "the vault does not open: {why}"),
            Self::Nonce(what) | Self::Wrong(what) => f.write_str(what),
        }
    }
}
