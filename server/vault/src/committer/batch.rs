//! A batch's entries from their admission to their answers.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::{Answer, Pending};
use crate::catalog::{Batch, Catalog};
use crate::error::PutError;
use crate::frame::{self, FrameHeader};
use crate::id::{ExpirySlot, KeyId, KeyScope, Location, OwnerId, SegmentId};
use crate::key::Key;
use crate::limits;
use crate::owner::{AssignError, Owner};
use crate::segment_store::SegmentName;
use crate::vault::{Entry, Put, Receipt, Shared};

/// An entry of the batch on its way to disk.
pub(super) struct Work {
    pub(super) entry: Entry,
    /// Where it is moved from, if it is.
    from: Option<Location>,
    /// The index as the owner completed it.
    pub(super) index: Bytes,
    place: Option<(Location, u32)>,
    answer: Answer,
    room: OwnedSemaphorePermit,
}

/// An entry that is stored already, or is the same as an earlier one of the batch.
pub(super) struct Duplicate {
    key: Key,
    pending: Pending,
}

impl Work {
    pub(super) fn key_scope(&self) -> KeyScope {
        KeyScope { owner: self.entry.owner, epoch: self.entry.expiry.epoch() }
    }

    pub(super) fn frame_bytes(&self) -> u32 {
        let bytes = frame::frame_bytes(self.index.len(), self.entry.payload.len());
        u32::try_from(bytes).expect("the limits of index and payload keep a frame far below 4 GiB")
    }

    pub(super) fn place(&mut self, location: Location, ordinal: u32) {
        self.place = Some((location, ordinal));
    }

    /// The expiry of the segment that it was placed in, if it came that far.
    pub(super) fn placed_in(&self) -> Option<ExpirySlot> {
        self.place.map(|(location, _)| location.expiry)
    }

    /// The segment that it was placed in.
    pub(super) fn segment(&self) -> SegmentName {
        let (location, _) = self.placed();
        SegmentName { expiry: location.expiry, id: location.segment }
    }

    /// Where in it.
    pub(super) fn offset(&self) -> u32 {
        self.placed().0.offset
    }

    pub(super) fn header(&self, key: KeyId) -> FrameHeader {
        let (location, ordinal) = self.placed();
        FrameHeader {
            segment: SegmentId(location.segment.0),
            ordinal,
            owner: self.entry.owner,
            expiry: self.entry.expiry,
            epoch: self.entry.expiry.epoch(),
            key,
            index: self.index.clone(),
            payload_bytes: u32::try_from(self.entry.payload.len()).expect("checked when it was put"),
        }
    }

    fn placed(&self) -> (Location, u32) {
        self.place.expect("placed before it is sealed")
    }

    fn owner<'a>(&self, shared: &'a Shared) -> &'a dyn Owner {
        shared.owners.of(self.entry.owner).expect("looked up at its admission")
    }
}

/// Answers entries of which nothing was begun.
pub(super) fn refuse(pending: Vec<Pending>, error: &PutError) {
    for Pending { answer, .. } in pending {
        // A caller that went away no longer cares.
        let _ = answer.send(Err(error.clone()));
    }
}

/// The rows of these entries, which were placed, and the conditions under which they hold.
pub(super) fn rows(shared: &Shared, works: &[Work]) -> Batch {
    let mut rows = Batch::new();
    let mut owners = BTreeMap::new();
    for work in works {
        let (location, _) = work.placed();
        let (owner, id) = (work.owner(shared), work.entry.owner);
        if let Some(from) = work.from {
            owner.relocate(id, &work.index, from, location, &mut rows);
        } else {
            owner.rows(id, &work.index, location, &mut rows);
            owners.insert(id, work);
        }
    }
    for (owner, work) in owners {
        work.owner(shared).advance(owner, &mut rows);
    }
    rows
}

/// The entries of a batch that is to be tried again, as they came.
pub(super) fn take_back(shared: &Shared, works: Vec<Work>, duplicates: Vec<Duplicate>) -> Vec<Pending> {
    tell_owners(shared, &works, |owner, id| owner.overtaken(id));
    let taken = works.into_iter().map(|Work { entry, from, answer, room, .. }| Pending { entry, from, answer, room });
    // An entry's duplicates stay behind it.
    taken.chain(duplicates.into_iter().map(|duplicate| duplicate.pending)).collect()
}

/// Sorts the batch by expiry, refuses what can't be stored, sets duplicates aside and has the owners
/// complete the rest in the order of the commit.
pub(super) fn admit(shared: &Shared, floor: ExpirySlot, mut pending: Vec<Pending>) -> (Vec<Work>, Vec<Duplicate>) {
    // Segments of earlier slots may be deleted under them. An entry that expires so early comes by a clock that was set back.
    for pending in pending.iter_mut().filter(|pending| pending.from.is_none()) {
        pending.entry.expiry = pending.entry.expiry.max(floor);
    }
    // Frames of one segment then lie side by side; entries of one owner keep their order unless their
    // retention was changed in between. Owners in one order on all servers: what they may wait for each other for.
    pending.sort_by_key(|pending| (pending.entry.expiry, pending.entry.owner));
    let mut works = Vec::with_capacity(pending.len());
    let mut duplicates = Vec::new();
    let mut new_keys = HashSet::new();
    for pending in pending {
        let admitted = match pending.from {
            Some(from) => admit_move(shared, floor, &pending.entry, from),
            None => admit_one(shared, &pending.entry, &mut new_keys),
        };
        match admitted {
            Ok(Admitted::New(index)) => {
                let Pending { entry, from, answer, room } = pending;
                works.push(Work { entry, from, index, place: None, answer, room });
            }
            Ok(Admitted::InBatch(key)) => duplicates.push(Duplicate { key, pending }),
            Ok(Admitted::Stored(value)) => drop(pending.answer.send(Ok(Put::AlreadyStored { value }))),
            Err(error) => drop(pending.answer.send(Err(error))),
        }
    }
    (works, duplicates)
}

enum Admitted {
    New(Bytes),
    InBatch(Key),
    Stored(Bytes),
}

fn admit_one(shared: &Shared, entry: &Entry, new_keys: &mut HashSet<Key>) -> Result<Admitted, PutError> {
    let owner = shared.owners.of(entry.owner);
    let owner = owner.ok_or_else(|| PutError::Refused(format!("owner {} has no domain here", entry.owner)))?;
    let catalog: &dyn Catalog = &*shared.catalog;
    for _ in 0..limits::OVERTAKEN_MAX {
        owner.begin(catalog, entry.owner).map_err(refused)?;
        if let Some(key) = &entry.unless_exists {
            if new_keys.contains(key) {
                return Ok(Admitted::InBatch(key.clone()));
            }
            let stored = catalog.get(key).map_err(|e| PutError::Catalog(e.to_string()))?;
            if let Some(value) = stored {
                return Ok(Admitted::Stored(value));
            }
        }
        match owner.assign(catalog, entry.owner, entry.index.clone()) {
            Ok(index) => {
                assert!(index.len() <= limits::INDEX_BYTES_MAX, "an owner completes its index within the limit");
                new_keys.extend(entry.unless_exists.clone());
                return Ok(Admitted::New(index));
            }
            Err(AssignError::Overtaken) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    Err(refused(AssignError::Overtaken))
}

/// A frame is moved as long as its owner's rows lead to it.
fn admit_move(shared: &Shared, floor: ExpirySlot, entry: &Entry, from: Location) -> Result<Admitted, PutError> {
    let owner = shared.owners.of(entry.owner).ok_or(PutError::Expired)?;
    let live = owner.is_live(&*shared.catalog, entry.owner, &entry.index, from);
    if entry.expiry < floor || !live.map_err(|e| PutError::Catalog(e.to_string()))? {
        return Err(PutError::Expired);
    }
    Ok(Admitted::New(entry.index.clone()))
}

fn refused(error: AssignError) -> PutError {
    match error {
        AssignError::Refused(refused) => PutError::Refused(refused.0),
        other => PutError::Catalog(other.to_string()),
    }
}

/// Step 10: everything is on disk; tells the owners, then the callers.
pub(super) fn answer_stored(shared: &Shared, works: Vec<Work>, duplicates: Vec<Duplicate>, rows: &Batch) {
    for work in works.iter().filter(|work| work.from.is_none()) {
        work.owner(shared).committed(work.entry.owner, &work.index, work.placed().0);
    }
    for work in works {
        let (location, _) = work.placed();
        let Work { index, answer, room, .. } = work;
        // First, so that whoever has the answer finds the room.
        drop(room);
        // A caller that went away no longer cares; the entry is stored all the same.
        let _ = answer.send(Ok(Put::Stored(Receipt { location, index })));
    }
    for duplicate in duplicates {
        let value = rows.inserted(&duplicate.key);
        let answer = value.map(|value| Put::AlreadyStored { value });
        let _ = duplicate.pending.answer.send(answer.ok_or_else(|| {
            PutError::Refused("the row that makes this entry unique is not among its owner's rows".to_owned())
        }));
    }
}

/// Nothing of the batch is known to be stored.
pub(super) fn answer_failed(shared: &Shared, works: Vec<Work>, duplicates: Vec<Duplicate>, error: &PutError) {
    tell_owners(shared, &works, |owner, id| owner.abandoned(id));
    let answers = works.into_iter().map(|work| work.answer);
    for answer in answers.chain(duplicates.into_iter().map(|duplicate| duplicate.pending.answer)) {
        let _ = answer.send(Err(error.clone()));
    }
}

/// Tells each owner once that what it made of these entries is void.
fn tell_owners(shared: &Shared, works: &[Work], tell: impl Fn(&dyn Owner, OwnerId)) {
    let made = works.iter().filter(|work| work.from.is_none());
    let owners: BTreeMap<OwnerId, &Work> = made.map(|work| (work.entry.owner, work)).collect();
    for (owner, work) in owners {
        tell(work.owner(shared), owner);
    }
}
