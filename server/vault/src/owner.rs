//! What the vault asks of those who store in it.

use bytes::Bytes;

use crate::catalog::{Batch, Catalog};
use crate::error::CatalogError;
use crate::id::{Domain, Location, OwnerId};

/// Why an owner does not take an entry. The text reaches the caller of [`crate::Vault::put`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Why an entry's index was not completed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    /// The owner does not take the entry.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The catalog could not be read; the same entry may be taken later.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// What [`Owner::begin`] read has changed since: to be begun again. Only of an owner's first entry in a batch.
    #[error("another server stores in the same owner")]
    Overtaken,
}

/// The owner of a domain's frames: it knows what their index entries mean.
///
/// The committer's thread calls `begin` for each entry and, if it is new, `assign`, in the order of the commit, then
/// `rows` for each and `advance` once per owner, then either `committed` for each, or `abandoned` or `overtaken` for all. One batch is
/// under way at a time, so `assign` can number entries without a lock held across the commit.
pub trait Owner: Send + Sync {
    /// The domain that this owner speaks for.
    fn domain(&self) -> Domain;

    /// What others call this owner, for a stream its ARN: the context that a key service binds its data
    /// keys to, and by which it may tell who asks for what. At most a few hundred bytes.
    fn resource(&self, owner: OwnerId) -> String {
        format!("owner/{owner}")
    }

    /// Reads what the owner's next entries are built upon, before anything else is read for them. Whether an entry is
    /// stored already is looked up after it, so that a batch which was built upon this and holds stores nothing twice.
    fn begin(&self, catalog: &dyn Catalog, owner: OwnerId) -> Result<(), AssignError> {
        let _ = (catalog, owner);
        Ok(())
    }

    /// Completes an entry's index, for example with a number that follows the commit order. The answer
    /// is what the frame carries.
    fn assign(&self, catalog: &dyn Catalog, owner: OwnerId, index: Bytes) -> Result<Bytes, AssignError>;

    /// Adds the rows that this index entry makes to `batch`. Must depend on its arguments alone: the
    /// same call rebuilds the catalog from frames.
    fn rows(&self, owner: OwnerId, index: &[u8], location: Location, batch: &mut Batch);

    /// Adds to `batch` what an owner's entries in it are built upon, as conditions, and what the next ones will be.
    /// Other servers may store in the same catalog: if a condition does not hold any more, the batch is abandoned
    /// and made anew.
    fn advance(&self, owner: OwnerId, batch: &mut Batch) {
        let _ = (owner, batch);
    }

    /// The entry is on disk and in the catalog.
    fn committed(&self, owner: OwnerId, index: &[u8], location: Location) {
        let _ = (owner, index, location);
    }

    /// No entry of the batch is known to be stored: whatever `assign` remembered about this owner is void.
    fn abandoned(&self, owner: OwnerId) {
        let _ = owner;
    }

    /// Likewise, because another server was quicker. The same entries are begun again at once.
    fn overtaken(&self, owner: OwnerId) {
        self.abandoned(owner);
    }

    /// Whether the catalog still refers to the frame at `location`. Asked of frames whose expiry slot
    /// has passed; a segment is deleted when none of its frames is live.
    fn is_live(
        &self,
        catalog: &dyn Catalog,
        owner: OwnerId,
        index: &[u8],
        location: Location,
    ) -> Result<bool, CatalogError> {
        Ok(self.place(catalog, owner, index)? == Some(location))
    }

    /// Has the rows of this index entry lead to another place than before, on condition that they lead to that one.
    fn relocate(&self, owner: OwnerId, index: &[u8], from: Location, to: Location, batch: &mut Batch);

    /// Where the rows of this index entry lead, if it has any.
    fn place(&self, catalog: &dyn Catalog, owner: OwnerId, index: &[u8]) -> Result<Option<Location>, CatalogError>;

    /// Whether the owner has given a frame up before its expiry slot, as retention by size does. Asked by
    /// [`crate::Vault::reclaim`]. That no row refers to it is not enough to say so: the catalog may be an older one.
    fn is_given_up(&self, catalog: &dyn Catalog, owner: OwnerId, index: &[u8]) -> Result<bool, CatalogError> {
        let _ = (catalog, owner, index);
        Ok(false)
    }
}
