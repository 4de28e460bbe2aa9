//! Deleting what has expired: segment files whose slot has passed and that hold no live frame, then the
//! keys that no segment needs any more.
//!
//! What may go is a pure plan; the deleting can stop anywhere, and the next sweep continues. Two things
//! must agree before media is deleted: the expiry in the segment's own name, and the catalog. So neither a
//! lost catalog nor a raised retention deletes anything that is still wanted.

use std::io;

use crate::catalog::Catalog;
use crate::error::SweepError;
use crate::id::{ExpirySlot, KeyName};
use crate::segment_store::{SegmentFile, SegmentName};
use crate::vault::Shared;
use crate::walk::{Walk, Walked};

/// What a sweep deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Segment files.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Data keys.
    pub keys: u64,
}

/// The segments whose slot has passed at `now`.
fn expired(segments: &[SegmentFile], now: ExpirySlot) -> impl Iterator<Item = SegmentFile> + '_ {
    segments.iter().copied().filter(move |segment| segment.name.expiry < now)
}

/// The keys whose day of expiry has passed at `now` and of whose day no segment is left.
fn unneeded(keys: &[KeyName], segments: &[SegmentFile], now: ExpirySlot) -> Vec<KeyName> {
    let needed = |key: &KeyName| {
        key.epoch >= now.epoch() || segments.iter().any(|segment| segment.name.expiry.epoch() == key.epoch)
    };
    keys.iter().copied().filter(|key| !needed(key)).collect()
}

/// Deletes what may go. The committer has closed all segments that expire before `now` and takes no
/// entries for them any more. Blocks.
pub(crate) fn run(shared: &Shared, now: ExpirySlot) -> Result<Swept, SweepError> {
    let mut swept = Swept::default();
    for SegmentFile { name, bytes } in expired(&list(shared)?, now) {
        if any_live(shared, name)? {
            continue;
        }
        shared.segments.remove(name).map_err(|e| failed("delete", name, e))?;
        swept.segments += 1;
        swept.bytes += bytes;
    }
    if swept.segments > 0 {
        let synced = shared.segments.sync_names();
        synced.map_err(|source| SweepError::Io { action: "sync", what: "the segments' folder".to_owned(), source })?;
    }
    let keys = shared.keys.list()?;
    let unneeded = unneeded(&keys, &list(shared)?, now);
    shared.keys.destroy(&unneeded)?;
    swept.keys = unneeded.len() as u64;
    Ok(swept)
}

/// Whether the catalog refers to any frame of a segment. Stops at the first, which in a segment that is
/// still wanted is usually the first of all.
fn any_live(shared: &Shared, name: SegmentName) -> Result<bool, SweepError> {
    let walk = Walk::open(shared.segments.clone(), name).map_err(|e| failed("open", name, e))?;
    for walked in walk {
        let Walked::Frame(header, location) = walked.map_err(|e| failed("read", name, e))? else {
            continue;
        };
        let catalog: &dyn Catalog = &*shared.catalog;
        let live = match shared.owners.of(header.owner) {
            Some(owner) => owner.is_live(catalog, header.owner, &header.index, location)?,
            // Nobody speaks for it in this process; that is no reason to delete it.
            None => true,
        };
        if live {
            return Ok(true);
        }
    }
    Ok(false)
}

fn list(shared: &Shared) -> Result<Vec<SegmentFile>, SweepError> {
    let listed = shared.segments.list();
    listed.map_err(|source| SweepError::Io { action: "list", what: "the segments".to_owned(), source })
}

fn failed(action: &'static str, name: SegmentName, source: io::Error) -> SweepError {
    SweepError::Io { action, what: format!("segment {:08}-{}", name.expiry.0, name.id), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{KeyEpoch, KeyId, OwnerId, SegmentId};

    #[test]
    fn a_segment_expires_when_its_slot_has_passed() {
        let segments = [segment(9), segment(10), segment(11)];
        let slots: Vec<_> = expired(&segments, ExpirySlot(10)).map(|segment| segment.name.expiry.0).collect();
        assert_eq!(slots, [9]);
    }

    #[test]
    fn a_key_goes_after_its_day_and_after_the_last_segment_of_that_day() {
        let keys = [key(0), key(1), key(2)];
        let now = ExpirySlot(2 * 720);
        assert_eq!(unneeded(&keys, &[], now), [key(0), key(1)]);
        assert_eq!(unneeded(&keys, &[segment(2 * 720 - 1)], now), [key(0)]);
        assert_eq!(unneeded(&keys, &[segment(0), segment(720)], now), []);
    }

    fn segment(slot: u32) -> SegmentFile {
        SegmentFile { name: SegmentName { expiry: ExpirySlot(slot), id: SegmentId(1) }, bytes: 0 }
    }

    fn key(epoch: u32) -> KeyName {
        KeyName { owner: OwnerId::from_u64(1), epoch: KeyEpoch(epoch), id: KeyId(7) }
    }
}
