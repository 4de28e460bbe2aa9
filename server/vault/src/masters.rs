//! Master keys as their operator sees them: what wraps data keys, and whether it may.

use std::fmt;

/// What a key service calls a master key: the keyring a number of 16 hex digits, AWS KMS an ARN.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MasterId(pub String);

impl fmt::Display for MasterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a master key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MasterState {
    /// It wraps and unwraps.
    Enabled,
    /// Somebody disabled it: until it is enabled, what it guards can be neither read nor written.
    Disabled,
    /// The service does not let it be used for another reason, such as its coming deletion.
    Unavailable,
}

impl fmt::Display for MasterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Unavailable => "unavailable",
        })
    }
}

/// A master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterKey {
    /// What its service calls it.
    pub id: MasterId,
    /// Whether it may be used.
    pub state: MasterState,
    /// When it was made, in seconds since 1970, if that is known.
    pub created: Option<u64>,
    /// Whether it wraps new data keys. One does; the others are there to unwrap.
    pub wraps: bool,
}

/// A master key, and what it guards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterReport {
    /// The key.
    pub master: MasterKey,
    /// How many data keys are wrapped under it.
    pub data_keys: u64,
}

/// What a rotation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The master key that wraps from now on.
    pub master: MasterId,
    /// Data keys that were wrapped anew.
    pub data_keys: u64,
    /// Master keys that guard nothing any more and are forgotten.
    pub retired: Vec<MasterId>,
}
