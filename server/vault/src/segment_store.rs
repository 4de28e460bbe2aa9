//! Where segments lie: files in a folder, or whatever else can keep named runs of bytes.
//!
//! A store knows names and bytes and no frames. What a segment holds is for `segment.rs` to say, and when
//! something counts as stored for the committer.

mod local;
#[cfg(feature = "objects")]
mod objects;

use std::io;

pub use self::local::LocalSegments;
#[cfg(feature = "objects")]
pub use self::objects::ObjectSegments;
use crate::id::{ExpirySlot, Location, SegmentId};

/// A segment's name: enough to find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// When it may be deleted.
    pub expiry: ExpirySlot,
    /// Its random number.
    pub id: SegmentId,
}

impl From<Location> for SegmentName {
    /// The segment that a frame lies in.
    fn from(location: Location) -> Self {
        Self { expiry: location.expiry, id: location.segment }
    }
}

/// A segment as a store lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentFile {
    /// Its name.
    pub name: SegmentName,
    /// Its length.
    pub bytes: u64,
}

/// Why a segment was not made durable.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// What the place says of the segment can't be trusted until it is read again, as with a disk.
    #[error("{0}")]
    Doubtful(io::Error),
    /// This segment does not count; the same entries can be stored in another one.
    #[error("{0}")]
    NotStored(io::Error),
}

/// A place for segments. Calls block.
pub trait SegmentStore: Send + Sync {
    /// Begins a segment. That it exists is durable only after [`SegmentStore::sync_names`].
    fn create(&self, name: SegmentName) -> io::Result<Box<dyn SegmentWriter>>;

    /// Makes durable which segments exist and which do not.
    fn sync_names(&self) -> io::Result<()>;

    /// Reads at `offset` until `out` is full or the segment ends; answers how much was read. An error of the
    /// kind `NotFound` says that there is no such segment.
    fn read_at(&self, name: SegmentName, out: &mut [u8], offset: u64) -> io::Result<usize>;

    /// All segments, the first to expire first. What is not a segment is not ours to judge.
    fn list(&self) -> io::Result<Vec<SegmentFile>>;

    /// The length of a segment.
    fn len(&self, name: SegmentName) -> io::Result<u64>;

    /// Deletes a segment. Durable after [`SegmentStore::sync_names`].
    fn remove(&self, name: SegmentName) -> io::Result<()>;

    /// Gives back what need not be held any more, such as memory. Called when no caller waits for an answer.
    fn tidy(&self) {}

    /// Space that is left, where the store has an end.
    fn free_bytes(&self) -> io::Result<Option<u64>>;
}

/// A segment that is being written, by the process that created it and no other.
pub trait SegmentWriter: Send {
    /// Makes sure that the segment can be written up to `end`, or fails as a full disk does.
    fn reserve(&mut self, end: u64) -> io::Result<()>;

    /// Writes `bytes` at `offset`, within what was reserved.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written durable.
    fn sync(&mut self) -> Result<(), SyncError>;

    /// Whether more can be written after a sync. An object in a store is written once.
    fn goes_on(&self) -> bool;

    /// Ends the segment at `end`, or removes it if there is none. What lies beyond was never acknowledged.
    fn close(self: Box<Self>, end: Option<u64>) -> io::Result<()>;
}

/// The name of a segment's file or object.
pub(crate) fn file_name(name: SegmentName) -> String {
    format!("{:08}-{}.seg", name.expiry.0, name.id)
}

fn parse_name(file: &str) -> Option<SegmentName> {
    let (slot, id) = file.strip_suffix(".seg")?.split_once('-')?;
    if id.len() != 16 {
        return None;
    }
    Some(SegmentName { expiry: ExpirySlot(slot.parse().ok()?), id: SegmentId(u64::from_str_radix(id, 16).ok()?) })
}

#[cfg(test)]
mod tests;
