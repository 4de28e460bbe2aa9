//! Retention: removing the rows of what has expired or whose stream was deleted, then sweeping the vault.
//!
//! Every step can stop anywhere and is taken up by the next call: rows are removed page by page, oldest
//! first, each page in one commit.

use fragment::WallTime;
use vault::{Batch, Direction, KeyRange, Swept};

use crate::archive::{Archive, owner_of};
use crate::entry::Stored;
use crate::error::{QueryError, StreamError};
use crate::key::{self, Row};
use crate::limits;
use crate::stream::State;

/// What an expiry removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Fragments whose rows were removed.
    pub fragments: u64,
    /// Files and keys that went with them or with those of earlier calls.
    pub swept: Swept,
}

impl Archive {
    /// Removes what has expired at `now`, finishes deletions that were begun, and sweeps the vault.
    pub async fn expire(&self, now: WallTime) -> Result<Expired, StreamError> {
        let deleting = self.index().streams().deleting.clone();
        for stream in deleting {
            self.finish_deletion(stream).await?;
        }
        let mut expired = Expired::default();
        for stream in self.list_streams() {
            let end = Row::ByNumber(stream.id, stream.first_kept(now)).key();
            let range = KeyRange::between(key::numbers(stream.id), end);
            let archive = self.clone();
            expired.fragments += blocking(move || archive.remove_rows(stream.id, &range)).await?;
        }
        let secs = u64::try_from(now.as_millis() / 1000).unwrap_or(0);
        expired.swept = self.vault().sweep(secs).await?;
        Ok(expired)
    }

    /// Deletes a stream: unreadable at once; the space of its fragments follows at their expiry.
    pub async fn delete_stream(&self, stream: u64) -> Result<(), StreamError> {
        let archive = self.clone();
        // From here on the stream is gone for everybody, also after a restart.
        blocking(move || archive.begin_deletion(stream)).await?;
        self.finish_deletion(stream).await
    }

    fn begin_deletion(&self, id: u64) -> Result<(), StreamError> {
        let mut streams = self.index().streams_mut();
        let stream = streams.by_id.get(&id).ok_or(StreamError::NotFound)?;
        let mut batch = Batch::new();
        batch.insert(Row::Stream(id).key(), stream.encode(State::Deleting));
        self.catalog().commit(batch)?;
        streams.remove(id);
        streams.deleting.push(id);
        Ok(())
    }

    async fn finish_deletion(&self, id: u64) -> Result<(), StreamError> {
        // Entries that were admitted before the stream went are committed now; no more can come.
        self.vault().barrier().await;
        self.vault().destroy_keys(owner_of(id)).await?;
        let archive = self.clone();
        blocking(move || {
            archive.remove_rows(id, &KeyRange::prefix(key::numbers(id)))?;
            let mut batch = Batch::new();
            batch.remove(Row::Stream(id).key());
            archive.catalog().commit(batch)?;
            archive.index().streams_mut().deleting.retain(|other| *other != id);
            archive.index().forget(id);
            Ok(())
        })
        .await
    }

    /// Removes all rows of the fragments in a range of rows by number.
    fn remove_rows(&self, stream: u64, range: &KeyRange) -> Result<u64, StreamError> {
        let mut removed = 0;
        loop {
            let rows = self.catalog().scan(range, Direction::Ascending, limits::EXPIRE_PAGE)?;
            if rows.is_empty() {
                return Ok(removed);
            }
            let mut batch = Batch::new();
            let mut gone = Vec::with_capacity(rows.len());
            for row in rows {
                let (_, stored) = Stored::decode_row(&row.value).ok_or(QueryError::Damaged("fragment"))?;
                batch.remove(row.key);
                batch.remove(Row::ByTime(stream, stored.start, stored.number).key());
                batch.remove(Row::ByIdentity(stream, stored.id).key());
                gone.push(stored);
            }
            removed += gone.len() as u64;
            let mut table = self.index().totals.lock();
            self.catalog().commit(batch)?;
            if let Some(totals) = table.get_mut(&stream) {
                gone.iter().for_each(|stored| totals.subtract(stored));
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StreamError> + Send + 'static,
) -> Result<T, StreamError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
