//! The catalog on PostgreSQL, or on what speaks its protocol: one table of keys and values, as kine keeps
//! for k3s, so that nodes need no state of their own and several can work on one catalog.
//!
//! Calls block, also inside of an async runtime, where they must not enter that runtime: the connections
//! live in a small runtime of this catalog's own, and the calling thread waits on a channel for the answer.
//!
//! A commit is a SERIALIZABLE transaction that locks the rows of its conditions (`commit.rs`), and a
//! connection that breaks in the middle of one is found out about (`lane.rs`). Why so, and what is lost when,
//! is in design/vault.md.

mod address;
mod commit;
mod failure;
mod lane;
mod plan;
mod pool;
mod schema;
mod session;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::address::Address;
use self::commit::Writers;
use self::failure::Failure;
use self::lane::LaneNames;
use self::plan::Plan;
use self::pool::{Lease, Pool};
use self::session::{Connector, Question, Role};
use super::{Batch, Catalog, Direction, KeyRange, Row, Snapshot};
use crate::error::{CatalogError, CommitError};
use crate::key::Key;
use crate::limits;
use crate::threads::Threads;

/// A catalog on a PostgreSQL server. Several processes may have it open.
pub struct PostgresCatalog {
    threads: Arc<Threads>,
    readers: Arc<Pool>,
    writers: Arc<Writers>,
}

impl PostgresCatalog {
    /// Connects to `postgres://user@host/database` and makes the tables if there are none. Takes libpq's
    /// options; the password is that of the URL or of `PGPASSWORD`. With `sslmode=verify-full`, which is the
    /// default for other machines, `sslrootcert`, `sslcert` and `sslkey` name files.
    pub fn open(url: &str) -> Result<Self, CatalogError> {
        Self::open_with(url, limits::CATALOG_PATIENCE)
    }

    fn open_with(url: &str, patience: Duration) -> Result<Self, CatalogError> {
        let address = Address::parse(url, std::env::var("PGPASSWORD").ok().as_deref())?;
        let name = address.name.clone();
        let tls = address.tls.as_ref().map(tls::connector).transpose()?;
        let connector = Arc::new(Connector { address, tls });
        let threads = Threads::start("vault-catalog");
        let threads =
            Arc::new(threads.map_err(|e| CatalogError::Failed(format!("its threads can't be started: {e}")))?);
        let opening = connector.clone();
        threads.run(async move { opening.prepare().await }).map_err(|failure| match failure {
            Failure::Refused(why) => CatalogError::Failed(format!("{name}: {why}")),
            other => CatalogError::Unavailable(format!("{name}: {}", other.why())),
        })?;
        let readers = Pool::new(connector.clone(), Role::Reader, limits::CATALOG_READERS_MAX);
        let writers = Pool::new(connector, Role::Writer, limits::CATALOG_WRITERS_MAX);
        let writers = Arc::new(Writers::new(writers, LaneNames::new()?, patience));
        Ok(Self { threads, readers, writers })
    }

    fn ask(&self, question: Question) -> Result<Vec<Row>, CatalogError> {
        let readers = self.readers.clone();
        self.threads.run(async move { ask(&readers, &question).await })
    }
}

impl Catalog for PostgresCatalog {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, CatalogError> {
        Ok(self.ask(Question::Row(key.clone()))?.pop().map(|row| row.value))
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        let readers = self.readers.clone();
        let held = self.threads.run(async move { begin_snapshot(&readers).await });
        Box::new(PostgresSnapshot { threads: self.threads.clone(), held: held.map(Arc::new) })
    }

    fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let plan = Plan::of(batch).map_err(CommitError::NotCommitted)?;
        if plan.is_empty() {
            return Ok(());
        }
        let writers = self.writers.clone();
        self.threads.run(async move { writers.commit(&plan).await })
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn settle(&self) -> Result<(), CatalogError> {
        let writers = self.writers.clone();
        self.threads.run(async move { writers.settle().await })
    }

    /// One statement, which is a snapshot by itself.
    fn scan(&self, range: &KeyRange, direction: Direction, limit: usize) -> Result<Vec<Row>, CatalogError> {
        match scan(range, direction, limit) {
            Some(question) => self.ask(question),
            None => Ok(Vec::new()),
        }
    }
}

/// A transaction that is held open on a connection of its own, or why there is none.
struct PostgresSnapshot {
    threads: Arc<Threads>,
    held: Result<Arc<Lease>, CatalogError>,
}

impl PostgresSnapshot {
    fn ask(&self, question: Question) -> Result<Vec<Row>, CatalogError> {
        let lease = self.held.clone()?;
        let answer = self.threads.run(async move { lease.session.ask(&question).await });
        answer.map_err(CatalogError::from)
    }
}

impl Snapshot for PostgresSnapshot {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, CatalogError> {
        Ok(self.ask(Question::Row(key.clone()))?.pop().map(|row| row.value))
    }

    fn scan(&self, range: &KeyRange, direction: Direction, limit: usize) -> Result<Vec<Row>, CatalogError> {
        match scan(range, direction, limit) {
            Some(question) => self.ask(question),
            None => Ok(Vec::new()),
        }
    }
}

impl Drop for PostgresSnapshot {
    /// Ends the transaction behind the caller's back; the connection is free for others after that.
    fn drop(&mut self) {
        if let Ok(lease) = &self.held {
            let lease = lease.clone();
            self.threads.spawn(async move {
                if lease.session.end_snapshot().await.is_ok()
                    && let Some(lease) = Arc::into_inner(lease)
                {
                    lease.give_back();
                }
            });
        }
    }
}

async fn ask(readers: &Arc<Pool>, question: &Question) -> Result<Vec<Row>, CatalogError> {
    let first = ask_once(readers, question).await;
    match first {
        // The server was restarted while the connection lay idle. A read can be repeated.
        Err(Failure::Lost(_)) => Ok(ask_once(readers, question).await?),
        answer => Ok(answer?),
    }
}

async fn ask_once(readers: &Arc<Pool>, question: &Question) -> Result<Vec<Row>, Failure> {
    let lease = readers.lease().await?;
    let answer = lease.session.ask(question).await;
    match &answer {
        Ok(_) => lease.give_back(),
        Err(Failure::Lost(_)) => readers.forget_idle(),
        Err(_) => {}
    }
    answer
}

async fn begin_snapshot(readers: &Arc<Pool>) -> Result<Lease, CatalogError> {
    for _ in 0..2 {
        let lease = readers.lease().await?;
        match lease.session.begin_snapshot().await {
            Ok(()) => return Ok(lease),
            Err(Failure::Lost(_)) => readers.forget_idle(),
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(CatalogError::Unavailable("the connection broke twice".to_owned()))
}

/// The question that a scan asks, if it can have an answer.
fn scan(range: &KeyRange, direction: Direction, limit: usize) -> Option<Question> {
    let limit = i64::try_from(limit.min(limits::SCAN_ROWS_MAX)).expect("the limit of a scan is small");
    (limit > 0 && !range.is_empty()).then(|| Question::Scan(range.clone(), direction, limit))
}

#[cfg(test)]
pub(super) mod tests;
