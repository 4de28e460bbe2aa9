//! What a run of the spool found.

use std::fmt;

use crate::log::Log;

/// What a run found.
#[derive(Debug)]
pub struct Outcome {
    /// Everything that the disk did.
    pub log: Log,
    /// Fragments that were finished.
    pub finished: u64,
    /// Fragments that were found in the spool at its opening.
    pub recovered: u64,
    /// Those of them that were still being captured when the process or the power went.
    pub ended_early: u64,
    /// Power cuts that happened while work was under way.
    pub cuts: u32,
    /// Ends of the process alone that did.
    pub kills: u32,
    /// Fragments that were dropped by the settings, and listed.
    pub dropped: u64,
    /// Fragments that were refused because the spool was full.
    pub refused: u64,
    /// Fragments that were finished, waited, and were synced with others.
    pub synced_later: u64,
    /// What is wrong, if anything is.
    pub violation: Option<Violation>,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A fragment that was on disk is not there.
    Lost(String),
    /// A fragment has other bytes than it must have, or can't be read.
    Changed(String, String),
    /// A fragment that nobody captured.
    Unexpected(String),
    /// A fragment that had left at an opening came back at a later one.
    Back(String),
    /// A fragment does not come in the order of capture.
    Order(String),
    /// The spool does not open.
    Closed(String),
    /// A drop is missing in the list.
    Unlisted(String),
    /// Something worked that must not, or the other way round.
    Wrong(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(key) => write!(f, "{key} was on disk and is lost"),
            Self::Changed(key, how) => write!(f, "{key} is not what was captured: {how}"),
            Self::Unexpected(key) => write!(f, "{key} is there and was never captured"),
            Self::Back(key) => write!(f, "{key} had left and is back"),
            Self::Order(key) => write!(f, "{key} does not come in the order of capture"),
            Self::Closed(why) => write!(f, "the spool does not open: {why}"),
            Self::Unlisted(what) | Self::Wrong(what) => f.write_str(what),
        }
    }
}
