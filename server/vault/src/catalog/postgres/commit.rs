//! A commit: one transaction, sent in two exchanges, tried again after conflicts and lost connections.
//!
//! `BEGIN` is awaited; then the lane's step, the conditions, the changes and `COMMIT` go out together, and
//! the server works through them without waiting for us. A statement that fails ends the transaction, and
//! the server takes the `COMMIT` behind it for a rollback. `BEGIN` is awaited because statements behind one
//! that failed would each be a transaction of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::failure::Failure;
use super::lane::{Lane, LaneNames, Outcome, Unanswered};
use super::plan::Plan;
use super::pool::{Lease, Pool};
use super::session::{Session, within};
use crate::error::{CatalogError, CommitError};
use crate::key::Key;
use crate::limits;

/// How one try ended.
#[derive(Debug)]
enum Attempt {
    /// Committed.
    Done,
    /// Rolled back: a row is not as required.
    Precondition,
    /// Rolled back, for another reason.
    RolledBack(Failure),
    /// No answer, and nobody knows.
    Unanswered(Unanswered, Failure),
}

/// What was sent, in this order. The first error tells why all was rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Lane,
    Hold,
    PutFresh,
    Put,
    Remove,
    Commit,
}

/// The writing side of a catalog.
pub(super) struct Writers {
    pool: Arc<Pool>,
    /// Commits that ended in [`CommitError::Unknown`]. Locked while they are being decided.
    unanswered: Mutex<Vec<Unanswered>>,
    lanes: LaneNames,
    patience: Duration,
}

impl Writers {
    /// Commits over these connections, trying for `patience`.
    pub(super) fn new(pool: Arc<Pool>, lanes: LaneNames, patience: Duration) -> Self {
        Self { pool, unanswered: Mutex::default(), lanes, patience }
    }

    /// Commits, or says for certain that nothing was changed, or says that it can't say.
    pub(super) async fn commit(&self, plan: &Plan) -> Result<(), CommitError> {
        let deadline = Instant::now() + self.patience;
        self.settle_by(deadline).await.map_err(CommitError::NotCommitted)?;
        let mut tries = 0;
        loop {
            let failure = match self.attempt(plan).await {
                Attempt::Done => return Ok(()),
                Attempt::Precondition => return Err(CommitError::Precondition),
                Attempt::RolledBack(failure) => failure,
                Attempt::Unanswered(commit, failure) => match self.decide_by(commit, deadline).await {
                    Ok(Outcome::Committed) => return Ok(()),
                    Ok(Outcome::Void) => failure,
                    Ok(Outcome::Forgotten) => return Err(CommitError::Unknown(failure.into())),
                    Err(error) => {
                        self.unanswered.lock().await.push(commit);
                        return Err(CommitError::Unknown(error.into()));
                    }
                },
            };
            if matches!(failure, Failure::Refused(_)) || Instant::now() >= deadline {
                return Err(CommitError::NotCommitted(failure.into()));
            }
            pause(&mut tries).await;
        }
    }

    /// Decides the commits that were never answered.
    pub(super) async fn settle(&self) -> Result<(), CatalogError> {
        self.settle_by(Instant::now() + self.patience).await
    }

    async fn settle_by(&self, deadline: Instant) -> Result<(), CatalogError> {
        let mut unanswered = self.unanswered.lock().await;
        while let Some(commit) = unanswered.last() {
            self.decide_by(*commit, deadline).await?;
            unanswered.pop();
        }
        Ok(())
    }

    async fn attempt(&self, plan: &Plan) -> Attempt {
        let mut lease = match self.pool.lease().await {
            Ok(lease) => lease,
            Err(failure) => return Attempt::RolledBack(failure),
        };
        let attempt = lease.session.attempt(plan, &self.lanes).await;
        self.end(lease, &attempt);
        attempt
    }

    fn end(&self, lease: Lease, attempt: &Attempt) {
        match attempt {
            Attempt::Done | Attempt::Precondition | Attempt::RolledBack(Failure::Conflict(_)) => lease.give_back(),
            Attempt::RolledBack(Failure::Lost(_)) | Attempt::Unanswered(..) => self.pool.forget_idle(),
            Attempt::RolledBack(Failure::Busy(_) | Failure::Refused(_)) => {}
        }
    }

    /// Finds out about a commit, at least once and until the deadline.
    async fn decide_by(&self, commit: Unanswered, deadline: Instant) -> Result<Outcome, Failure> {
        let mut tries = 0;
        loop {
            match self.decide(commit).await {
                Ok(outcome) => return Ok(outcome),
                Err(failure) if Instant::now() >= deadline => return Err(failure),
                Err(_) => pause(&mut tries).await,
            }
        }
    }

    async fn decide(&self, commit: Unanswered) -> Result<Outcome, Failure> {
        let lease = self.pool.lease().await?;
        let outcome = within(limits::CATALOG_ANSWER_TIME_MAX, lease.session.close_lane(commit)).await;
        match &outcome {
            Ok(_) | Err(Failure::Conflict(_)) => lease.give_back(),
            Err(_) => self.pool.forget_idle(),
        }
        outcome
    }
}

impl Session {
    async fn attempt(&mut self, plan: &Plan, lanes: &LaneNames) -> Attempt {
        let begun = within(limits::CATALOG_ANSWER_TIME_MAX, async {
            let lane = self.lane(lanes).await?;
            self.client.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE").await?;
            Ok(lane)
        });
        let lane = match begun.await {
            Ok(lane) => lane,
            Err(failure) => return Attempt::RolledBack(failure),
        };
        let commit = Unanswered { lane: lane.id, sequence: lane.sequence + 1 };
        let attempt = match timeout(limits::CATALOG_ANSWER_TIME_MAX, self.send(plan, commit)).await {
            Ok(results) => judge(results, commit),
            Err(_) => {
                let waited = limits::CATALOG_ANSWER_TIME_MAX;
                Attempt::Unanswered(commit, Failure::Lost(format!("no answer to a commit within {waited:?}")))
            }
        };
        if matches!(attempt, Attempt::Done) {
            self.lane = Some(Lane { sequence: commit.sequence, ..lane });
        }
        attempt
    }

    /// Sends a transaction's statements without waiting between them.
    async fn send(&self, plan: &Plan, commit: Unanswered) -> [(Step, Result<(), Error>); 6] {
        let (client, statements) = (&self.client, &self.statements);
        let (held_keys, held_values) = columns(plan.held.iter().map(|(key, value)| (key, value)));
        let (fresh_keys, fresh_values) = columns(&plan.fresh);
        let (set_keys, set_values) = columns(&plan.set);
        let removed: Vec<&[u8]> = plan.removed.iter().map(Key::as_bytes).collect();
        let held_count = i64::try_from(plan.held.len()).expect("the batch's size is limited");

        // Set when a statement could not even be sent: then there must be no COMMIT behind it.
        let unsent = AtomicBool::new(false);
        let sent = |result: Result<u64, Error>| {
            unsent.fetch_or(result.is_err(), Ordering::Relaxed);
            result.map(drop)
        };
        // `biased` polls in this order, and the first poll of each sends it.
        let (lane, hold, fresh, set, remove, end) = tokio::join!(
            biased;
            async {
                let lane: &[u8] = &commit.lane.0;
                sent(client.execute(&statements.advance_lane, &[&lane, &commit.sequence]).await)
            },
            async {
                if plan.held.is_empty() {
                    return Ok(());
                }
                sent(client.execute(&statements.hold, &[&held_keys, &held_values, &held_count]).await)
            },
            async {
                if plan.fresh.is_empty() {
                    return Ok(());
                }
                sent(client.execute(&statements.put_fresh, &[&fresh_keys, &fresh_values]).await)
            },
            async {
                if plan.set.is_empty() {
                    return Ok(());
                }
                sent(client.execute(&statements.put, &[&set_keys, &set_values]).await)
            },
            async {
                if plan.removed.is_empty() {
                    return Ok(());
                }
                sent(client.execute(&statements.remove, &[&removed]).await)
            },
            async {
                let end = if unsent.load(Ordering::Relaxed) { "ROLLBACK" } else { "COMMIT" };
                client.batch_execute(end).await
            },
        );
        [
            (Step::Lane, lane),
            (Step::Hold, hold),
            (Step::PutFresh, fresh),
            (Step::Put, set),
            (Step::Remove, remove),
            (Step::Commit, end),
        ]
    }
}

/// What the answers to a transaction's statements come to. The first error is the cause of the others.
fn judge(results: [(Step, Result<(), Error>); 6], commit: Unanswered) -> Attempt {
    let first = results.into_iter().find_map(|(step, result)| result.err().map(|error| (step, error)));
    let Some((step, error)) = first else {
        return Attempt::Done;
    };
    let failure = Failure::from(&error);
    match (step, error.code()) {
        _ if matches!(failure, Failure::Lost(_)) => Attempt::Unanswered(commit, failure),
        (Step::Hold, Some(code)) if *code == SqlState::DIVISION_BY_ZERO => Attempt::Precondition,
        (Step::PutFresh, Some(code)) if *code == SqlState::UNIQUE_VIOLATION => Attempt::Precondition,
        (Step::Lane, Some(code)) if *code == SqlState::DIVISION_BY_ZERO => {
            Attempt::RolledBack(Failure::Busy("another process has just started and closed this lane".to_owned()))
        }
        _ => Attempt::RolledBack(failure),
    }
}

fn columns<'a>(rows: impl IntoIterator<Item = (&'a Key, &'a Bytes)>) -> (Vec<&'a [u8]>, Vec<&'a [u8]>) {
    rows.into_iter().map(|(key, value)| (key.as_bytes(), &value[..])).unzip()
}

/// Waits before the next try, longer each time, and by chance not as long as others that try.
async fn pause(tries: &mut u32) {
    let longest = Duration::from_millis(2).saturating_mul(1 << (*tries).min(16));
    *tries += 1;
    sleep(longest.min(limits::CATALOG_RETRY_PAUSE_MAX).mul_f64(0.5 + fastrand::f64() / 2.0)).await;
}
