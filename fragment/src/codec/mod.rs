//! Decoder configuration records, parsed to types.
//!
//! Each module keeps the record's bytes as they came, since they are stored and handed on untouched,
//! and beside them the few facts that playlists and sample descriptions need.

pub mod aac;
mod bits;
pub mod h264;
pub mod h265;

/// Why bytes are not the decoder configuration that they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// The record ends too early.
    #[error("the record ends where {expected} was expected")]
    Truncated {
        /// What should have come.
        expected: &'static str,
    },
    /// A field has a value that the format forbids or this reader does not know.
    #[error("{field} is {value}, expected {expected}")]
    Value {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: u64,
        /// What it may hold.
        expected: &'static str,
    },
    /// The record lacks a parameter set that a decoder cannot do without.
    #[error("the record holds no {0}")]
    Missing(&'static str),
}
