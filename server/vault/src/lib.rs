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

pub mod backup;
pub mod catalog;
mod clock;
mod committer;
mod data_keys;
mod entropy;
mod error;
mod frame;
mod id;
mod key;
mod key_cache;
mod key_files;
mod key_store;
mod key_use;
mod keyring;
mod keys;
#[cfg(feature = "kms")]
mod kms;
pub mod limits;
mod masters;
#[cfg(feature = "objects")]
mod objects;
mod owner;
mod poison;
mod reader;
mod recovery;
mod secret;
mod segment;
pub mod segment_store;
mod stored_key;
mod sweep;
#[cfg(any(feature = "kms", feature = "objects", feature = "postgres"))]
mod threads;
mod vault;
mod walk;

pub use catalog::{Batch, Catalog, Direction, KeyRange, Row, Snapshot};
pub use clock::Clock;
pub use entropy::{Entropy, OsEntropy};
pub use error::{
    BackupError, CatalogError, CommitError, HeaderError, KeyError, KeyRefusal, KeyStoreError, KeyringError, OpenError,
    PutError, ReadError, SecretError, SweepError,
};
pub use frame::FrameHeader;
pub use id::{Domain, ExpirySlot, KeyEpoch, KeyId, KeyName, Location, OwnerId, SegmentId};
pub use key::{Key, Space};
#[cfg(feature = "objects")]
pub use key_store::ObjectKeys;
pub use key_store::{KeyStore, MemoryKeys};
pub use keyring::{Home, Keyring, Passphrase};
pub use keys::{DataKey, KeyContext, KeyService, WrappedKey};
#[cfg(feature = "kms")]
pub use kms::{Kms, KmsKey};
pub use masters::{MasterId, MasterKey, MasterReport, MasterState, Rotated};
#[cfg(feature = "objects")]
pub use objects::Objects;
pub use owner::{AssignError, Owner, Refused};
pub use recovery::Lock;
pub use segment_store::{SegmentFile, SegmentName, SegmentStore};
pub use sweep::{Reclaimed, Swept};
pub use vault::{ClosedVault, Entry, Health, Parts, Put, Receipt, Stepper, Vault};
pub use walk::{Walk, Walked};
