//! Video streams and their fragment index, on the vault.
//!
//! A fragment is stored once under its identity, gets a number in the order of its commit and, if it is
//! newer than everything before it, a place in the live playlist. It is found by number (which is its
//! time of arrival), by producer time and by identity, until its stream's retention has passed.
//!
//! The archive does not look into a fragment's bytes, knows no HTTP and no playlist, and reads no clock:
//! `now` is an argument. Calls that are not `async` block on the catalog or the disk.
//!
//! Start reading at [`Archive`]; `entry.rs` has the stored form of a fragment's index entry.

mod archive;
mod check;
mod entry;
mod error;
mod expiry;
mod index;
mod key;
pub mod limits;
mod live;
mod query;
mod raise;
mod rebuild;
mod stream;
mod streams;
mod tail;

pub use archive::{Archive, Fragment, StoreOutcome};
pub use check::{Checked, Finding};
pub use entry::Stored;
pub use error::{CheckError, OpenError, QueryError, ReadError, RebuildError, StoreError, StreamError};
pub use expiry::Expired;
pub use index::Index;
pub use live::LivePosition;
pub use query::Overview;
pub use rebuild::Rebuilt;
pub use stream::{Retention, Stream, number_at};
