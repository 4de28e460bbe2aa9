//! What a run of the vault comes to.

use std::fmt;
use std::ops::AddAssign;

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
    /// Ends of the process alone that did.
    pub kills: u32,
    /// What else the run came upon.
    pub counts: Counts,
    /// What is wrong, if anything is.
    pub violation: Option<Violation>,
}

/// How often a run came upon what its plan is about: one that never does shows nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Entries that were refused because of one.
    pub poisoned: u64,
    /// Vaults that were poisoned, and stored again when they were opened again.
    pub healed: u64,
    /// Entries that were refused for lack of room.
    pub full: u64,
    /// Of those, entries that were stored as soon as there was room, by the same process.
    pub resumed: u64,
    /// Owners whose keys were destroyed.
    pub destroyed: u64,
    /// Frames of them that were tried, and could not be read.
    pub unreadable: u64,
    /// Sweeps after which the disk held what it must, and nothing else.
    pub swept: u64,
    /// Segments that were deleted in the run.
    pub deleted: u64,
    /// Rotations of the master key that were answered.
    pub rotated: u64,
    /// Flipped bits that cost a fragment.
    pub damaged: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.failed_syncs += other.failed_syncs;
        self.poisoned += other.poisoned;
        self.healed += other.healed;
        self.full += other.full;
        self.resumed += other.resumed;
        self.destroyed += other.destroyed;
        self.unreadable += other.unreadable;
        self.swept += other.swept;
        self.deleted += other.deleted;
        self.rotated += other.rotated;
        self.damaged += other.damaged;
    }
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
    /// A file that nothing needs any more is there after a sweep.
    NotDeleted(String),
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
            Self::NotDeleted(file) => write!(f, "{file} is there after a sweep, and nothing needs it"),
            Self::Closed(why) => write!(f, "the vault does not open: {why}"),
            Self::Nonce(what) | Self::Wrong(what) => f.write_str(what),
        }
    }
}
