//! How a commit whose answer never came is found out about.
//!
//! When a connection breaks between COMMIT and its answer, the commit may have happened, may yet happen, or
//! may never. So every writing connection has a *lane*, a row of its own with a sequence number, and each
//! commit advances it by one in the same transaction, as its first statement:
//!
//! ```text
//! millrace_lanes   lane: 16 bytes   sequence: the last commit   open: whether there may be another   used: when
//! ```
//!
//! Closing the lane over another connection then tells. The row's lock makes the closing wait for a
//! transaction that is under way; a transaction that comes later finds the lane closed and fails. After
//! that the sequence says whether the commit was made, for good. Closing can be repeated, so its own lost
//! answers do no harm.

use std::sync::atomic::{AtomicU32, Ordering};

use super::session::Session;
use crate::error::CatalogError;

/// A writing connection's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) id: LaneId,
    /// The last commit that was answered.
    pub(super) sequence: i64,
}

/// A lane's name: 12 random bytes of the process, and which of its lanes it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LaneId(pub(super) [u8; 16]);

/// Names lanes that no other process names.
pub(super) struct LaneNames {
    process: [u8; 12],
    next: AtomicU32,
}

impl LaneNames {
    /// Names for this process. Slow at its first use, when the source of random bytes is started: not for a
    /// thread that others wait for.
    pub(super) fn new() -> Result<Self, CatalogError> {
        let mut process = [0; 12];
        let filled = aws_lc_rs::rand::fill(&mut process);
        filled.map_err(|_| CatalogError::Failed("the system's random source failed".to_owned()))?;
        Ok(Self { process, next: AtomicU32::new(0) })
    }

    fn next(&self) -> LaneId {
        let mut id = [0; 16];
        id[..12].copy_from_slice(&self.process);
        id[12..].copy_from_slice(&self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        LaneId(id)
    }
}

/// A commit without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unanswered {
    pub(super) lane: LaneId,
    pub(super) sequence: i64,
}

/// What a closed lane says about a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is in the catalog.
    Committed,
    /// It is not and never will be.
    Void,
    /// The lane's row was removed, days after it was closed. It will not appear if it has not.
    Forgotten,
}

impl Session {
    /// This connection's lane, made if it has none yet.
    pub(super) async fn lane(&mut self, names: &LaneNames) -> Result<Lane, tokio_postgres::Error> {
        if let Some(lane) = self.lane {
            return Ok(lane);
        }
        let id = names.next();
        self.client.execute(&self.statements.open_lane, &[&id.0.as_slice()]).await?;
        Ok(*self.lane.insert(Lane { id, sequence: 0 }))
    }

    /// Closes the lane of a commit and says what became of it. `self` is any other connection.
    pub(super) async fn close_lane(&self, commit: Unanswered) -> Result<Outcome, tokio_postgres::Error> {
        let row = self.client.query_opt(&self.statements.close_lane, &[&commit.lane.0.as_slice()]).await?;
        let sequence = row.map(|row| row.try_get::<_, i64>(0)).transpose()?;
        Ok(match sequence {
            None => Outcome::Forgotten,
            Some(last) if last >= commit.sequence => Outcome::Committed,
            Some(_) => Outcome::Void,
        })
    }
}
