//! Deleting what has expired: segment files whose slot has passed and that hold no live frame, then the
//! keys that no segment needs any more.
//!
//! What may go is a pure plan; the deleting can stop anywhere, and the next sweep continues. Two things
//! must agree before media is deleted: the expiry in the segment's own name, and the catalog. So neither a
//! lost catalog nor a raised retention deletes anything that is still wanted.
//!
//! Before its slot a segment goes only when the owners of all its frames say that they gave them up.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::AddAssign;

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

impl AddAssign for Swept {
    fn add_assign(&mut self, other: Self) {
        self.segments += other.segments;
        self.bytes += other.bytes;
        self.keys += other.keys;
    }
}

/// What came of [`crate::Vault::reclaim`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// What was deleted.
    pub swept: Swept,
    /// The segments that hold something yet, and their lengths.
    pub held: BTreeMap<SegmentName, u64>,
    /// The segments that could not be looked at or deleted.
    pub failed: BTreeSet<SegmentName>,
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
/// entries for them any more. What can't be looked at or deleted stays, and holds up nothing else: the first such
/// failure is told when all the rest is done. Blocks.
pub(crate) fn run(shared: &Shared, now: ExpirySlot) -> Result<Swept, SweepError> {
    let (mut swept, mut failure) = (Swept::default(), None);
    for SegmentFile { name, bytes } in expired(&list(shared)?, now) {
        match remove_unless_live(shared, name) {
            Ok(true) => {
                swept.segments += 1;
                swept.bytes += bytes;
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(segment = %name.id, %error, "what has expired stays; the rest goes");
                failure.get_or_insert(error);
            }
        }
    }
    sync_names(shared, swept.segments)?;
    let keys = shared.keys.list()?;
    let unneeded = unneeded(&keys, &list(shared)?, now);
    shared.keys.destroy(&unneeded)?;
    swept.keys = unneeded.len() as u64;
    failure.map_or(Ok(swept), Err)
}

fn remove_unless_live(shared: &Shared, name: SegmentName) -> Result<bool, SweepError> {
    if unless_gone(any_live(shared, name))?.unwrap_or(true) {
        return Ok(false);
    }
    remove(shared, name).map(|()| true)
}

/// Deletes those of the segments whose frames were all given up. The committer has closed them. Blocks.
pub(crate) fn reclaim(shared: &Shared, names: BTreeSet<SegmentName>) -> Result<Reclaimed, SweepError> {
    let mut reclaimed = Reclaimed::default();
    for name in names {
        match remove_if_given_up(shared, name) {
            Ok(Some((bytes, true))) => {
                reclaimed.swept.segments += 1;
                reclaimed.swept.bytes += bytes;
            }
            Ok(Some((bytes, false))) => drop(reclaimed.held.insert(name, bytes)),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(segment = %name.id, %error, "what was given up stays for now; the rest goes");
                reclaimed.failed.insert(name);
            }
        }
    }
    sync_names(shared, reclaimed.swept.segments)?;
    Ok(reclaimed)
}

/// The length of a segment, and whether it was deleted; `None` if a sweep was before.
fn remove_if_given_up(shared: &Shared, name: SegmentName) -> Result<Option<(u64, bool)>, SweepError> {
    let Some(bytes) = unless_gone(shared.segments.len(name).map_err(|error| failed("open", name, error)))? else {
        return Ok(None);
    };
    match unless_gone(all_given_up(shared, name))? {
        Some(true) => remove(shared, name).map(|()| Some((bytes, true))),
        Some(false) => Ok(Some((bytes, false))),
        None => Ok(None),
    }
}

/// None if the segment is not there any more: another server on the same store deletes too.
fn unless_gone<T>(looked: Result<T, SweepError>) -> Result<Option<T>, SweepError> {
    match looked {
        Err(SweepError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        looked => looked.map(Some),
    }
}

fn remove(shared: &Shared, name: SegmentName) -> Result<(), SweepError> {
    match shared.segments.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("delete", name, error)),
        _ => Ok(()),
    }
}

/// Makes it durable that segments were deleted, if any were.
fn sync_names(shared: &Shared, deleted: u64) -> Result<(), SweepError> {
    if deleted == 0 {
        return Ok(());
    }
    let failed = |source| SweepError::Io { action: "sync", what: "the segments' folder".to_owned(), source };
    shared.segments.sync_names().map_err(failed)
}

/// Whether the owners have given up every frame of a segment, or have it elsewhere. Where it is damaged, nobody can tell.
fn all_given_up(shared: &Shared, name: SegmentName) -> Result<bool, SweepError> {
    let walk = Walk::open(shared.segments.clone(), name).map_err(|e| failed("open", name, e))?;
    for walked in walk {
        let Walked::Frame(header, location) = walked.map_err(|e| failed("read", name, e))? else {
            return Ok(false);
        };
        let catalog: &dyn Catalog = &*shared.catalog;
        let Some(owner) = shared.owners.of(header.owner) else { return Ok(false) };
        let dispensable = match owner.place(catalog, header.owner, &header.index)? {
            Some(place) if place == location => false,
            // Moved, if it is there: an older catalog leads to where it was.
            Some(place) => shared.reader.examine(place).is_ok_and(|there| there.index == header.index),
            None => owner.is_given_up(catalog, header.owner, &header.index)?,
        };
        if !dispensable {
            return Ok(false);
        }
    }
    Ok(true)
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
