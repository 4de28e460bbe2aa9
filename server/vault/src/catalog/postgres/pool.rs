//! A bounded number of connections, each lent to one user at a time.
//!
//! A connection is lent out and comes back only if its user says that it is as good as before; one that is
//! merely dropped is closed. So nothing half done, by a time-out or a panic, meets the next user.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::failure::Failure;
use super::session::{Connector, Role, Session};
use crate::limits;

/// The connections of one role.
pub(super) struct Pool {
    connector: Arc<Connector>,
    role: Role,
    room: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: Vec<Session>,
    /// When connecting failed last, and why.
    failed: Option<(Instant, Failure)>,
}

/// A connection lent out.
pub(super) struct Lease {
    pub(super) session: Session,
    pool: Arc<Pool>,
    _room: OwnedSemaphorePermit,
}

impl Pool {
    /// An empty pool of at most `max` connections.
    pub(super) fn new(connector: Arc<Connector>, role: Role, max: usize) -> Arc<Self> {
        let room = Arc::new(Semaphore::new(max));
        Arc::new(Self { connector, role, room, state: Mutex::default() })
    }

    /// Lends a connection, making one if none lies idle. Fails at once while the server is known to be
    /// out of reach.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Lease, Failure> {
        let room = timeout(limits::CATALOG_CONNECTION_WAIT, self.room.clone().acquire_owned()).await;
        let Ok(Ok(room)) = room else {
            let waited = limits::CATALOG_CONNECTION_WAIT;
            return Err(Failure::Busy(format!("all connections were in use for {waited:?}")));
        };
        let session = match self.idle()? {
            Some(session) => session,
            None => self.connect().await?,
        };
        Ok(Lease { session, pool: self.clone(), _room: room })
    }

    /// Forgets the idle connections: one of their kind was found dead, so they are likely to be too.
    pub(super) fn forget_idle(&self) {
        self.state().idle.clear();
    }

    fn idle(&self) -> Result<Option<Session>, Failure> {
        let mut state = self.state();
        while let Some(session) = state.idle.pop() {
            if !session.client.is_closed() {
                return Ok(Some(session));
            }
        }
        match &state.failed {
            Some((when, failure)) if when.elapsed() < limits::CATALOG_CONNECT_PAUSE => Err(failure.clone()),
            _ => Ok(None),
        }
    }

    async fn connect(&self) -> Result<Session, Failure> {
        let session = self.connector.session(self.role).await;
        self.state().failed = session.as_ref().err().map(|failure| (Instant::now(), failure.clone()));
        session
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Puts the connection back for the next user.
    pub(super) fn give_back(self) {
        self.pool.state().idle.push(self.session);
    }
}
