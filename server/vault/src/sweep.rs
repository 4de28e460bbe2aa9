//! Deleting what has expired: segment files whose hour has passed and that hold no live frame, then the
//! keys that no segment needs any more.
//!
//! What may go is a pure plan; the deleting can stop anywhere, and the next sweep continues. Two things
//! must agree before media is deleted: the expiry in the segment's own name, and the catalog. So neither a
//! lost catalog nor a raised retention deletes anything that is still wanted.

use std::fs;
use std::io;
use std::path::Path;

use crate::catalog::Catalog;
use crate::error::SweepError;
use crate::id::{ExpiryHour, KeyName};
use crate::segment::{Folder, Name};
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

/// The segments whose hour has passed at `now`.
fn expired(segments: &[Name], now: ExpiryHour) -> impl Iterator<Item = Name> + '_ {
    segments.iter().copied().filter(move |name| name.expiry < now)
}

/// The keys whose day of expiry has passed at `now` and of whose day no segment is left.
fn unneeded(keys: &[KeyName], segments: &[Name], now: ExpiryHour) -> Vec<KeyName> {
    let needed =
        |key: &KeyName| key.epoch >= now.epoch() || segments.iter().any(|segment| segment.expiry.epoch() == key.epoch);
    keys.iter().copied().filter(|key| !needed(key)).collect()
}

/// Deletes what may go. The committer has closed all segments that expire before `now` and takes no
/// entries for them any more. Blocks.
pub(crate) fn run(shared: &Shared, now: ExpiryHour) -> Result<Swept, SweepError> {
    let mut swept = Swept::default();
    let folder = &shared.segments;
    for name in expired(&list(folder)?, now) {
        if any_live(shared, name)? {
            continue;
        }
        let path = folder.path_of(name);
        let bytes = path.metadata().map_err(|e| failed("examine", &path, e))?.len();
        fs::remove_file(&path).map_err(|e| failed("delete", &path, e))?;
        shared.reader.forget(name);
        swept.segments += 1;
        swept.bytes += bytes;
    }
    if swept.segments > 0 {
        folder.sync().map_err(|e| failed("sync", folder.path(), e))?;
    }
    let keys = shared.keys.list()?;
    let unneeded = unneeded(&keys, &list(folder)?, now);
    shared.keys.destroy(&unneeded)?;
    swept.keys = unneeded.len() as u64;
    Ok(swept)
}

/// Whether the catalog refers to any frame of a segment. Stops at the first, which in a segment that is
/// still wanted is usually the first of all.
fn any_live(shared: &Shared, name: Name) -> Result<bool, SweepError> {
    let path = shared.segments.path_of(name);
    let walk = Walk::open(&path, name).map_err(|e| failed("open", &path, e))?;
    for walked in walk {
        let Walked::Frame(header, location) = walked.map_err(|e| failed("read", &path, e))? else {
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

fn list(folder: &Folder) -> Result<Vec<Name>, SweepError> {
    folder.list().map_err(|e| failed("list", folder.path(), e))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> SweepError {
    SweepError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{KeyEpoch, KeyId, OwnerId, SegmentId};

    #[test]
    fn a_segment_expires_when_its_hour_has_passed() {
        let segments = [segment(9), segment(10), segment(11)];
        let hours: Vec<_> = expired(&segments, ExpiryHour(10)).map(|name| name.expiry.0).collect();
        assert_eq!(hours, [9]);
    }

    #[test]
    fn a_key_goes_after_its_day_and_after_the_last_segment_of_that_day() {
        let keys = [key(0), key(1), key(2)];
        let now = ExpiryHour(2 * 24);
        assert_eq!(unneeded(&keys, &[], now), [key(0), key(1)]);
        assert_eq!(unneeded(&keys, &[segment(47)], now), [key(0)]);
        assert_eq!(unneeded(&keys, &[segment(0), segment(24)], now), []);
    }

    fn segment(hour: u32) -> Name {
        Name { expiry: ExpiryHour(hour), id: SegmentId(1) }
    }

    fn key(epoch: u32) -> KeyName {
        KeyName { owner: OwnerId::from_u64(1), epoch: KeyEpoch(epoch), id: KeyId(7) }
    }
}
