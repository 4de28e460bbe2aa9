//! Sealed extents: envelope keys, segments, a catalog, group commit, expiry.
//!
//! An *owner* (a video stream, a shard) hands over entries: a payload of any size and a small index
//! entry. The vault seals each payload into a *frame*, appends frames to *segment* files, and commits
//! the owner's rows to the *catalog*; [`Vault::put`] answers when all of that is on disk. The numbered
//! steps, the byte layouts and what each failure loses are in design/vault.md.
//!
//! The vault knows no video: what rows an index entry makes is for the [`Owner`] to say. It does not
//! replicate, has no protocol of its own, and reads no clock: the time is an argument.
//!
//! Start reading at [`Vault`], then `committer.rs` for writing and `reader.rs` for reading.

pub mod catalog;
mod committer;
mod disk;
mod error;
mod frame;
mod id;
mod key;
mod key_files;
mod keyring;
mod keys;
pub mod limits;
mod owner;
mod poison;
mod reader;
mod recovery;
mod secret;
mod segment;
mod sweep;
mod vault;
mod walk;

pub use catalog::{Batch, Catalog, Direction, KeyRange, Row, Snapshot};
pub use error::{
    CatalogError, CommitError, KeyError, KeyringError, OpenError, PutError, ReadError, SecretError, SweepError,
};
pub use frame::FrameHeader;
pub use id::{Domain, ExpiryHour, KeyEpoch, Location, OwnerId, SegmentId};
pub use key::{Key, Space};
pub use keyring::Keyring;
pub use keys::{DataKey, KeyContext, KeyService, WrappedKey};
pub use owner::{AssignError, Owner, Refused};
pub use sweep::Swept;
pub use vault::{Entry, Health, Options, Put, Receipt, Vault};
pub use walk::{SegmentFile, Walk, Walked};
