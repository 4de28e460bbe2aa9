//! What an error of PostgreSQL, or its silence, means for whoever asked.

use std::error::Error as _;
use std::fmt::Write as _;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::error::CatalogError;

/// Why a statement has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It came into conflict with another transaction, and its own was rolled back.
    Conflict(String),
    /// The server refused it for now: no room, shutting down, read-only since a failover.
    Busy(String),
    /// The connection is gone or silent. What the server did with the statement is unknown.
    Lost(String),
    /// The server refused it, and will again.
    Refused(String),
}

impl Failure {
    /// The server's message, or what happened to the connection.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Conflict(why) | Self::Busy(why) | Self::Lost(why) | Self::Refused(why) => why,
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        match error.as_db_error() {
            Some(answer) => of_answer(answer),
            None => Self::Lost(text(error)),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<Failure> for CatalogError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Conflict(why) | Failure::Busy(why) | Failure::Lost(why) => Self::Unavailable(why),
            Failure::Refused(why) => Self::Failed(why),
        }
    }
}

fn of_answer(answer: &DbError) -> Failure {
    let why = format!("{} (SQLSTATE {})", answer.message(), answer.code().code());
    // A server that ends the session says so in place of an answer.
    if !matches!(answer.parsed_severity(), None | Some(Severity::Error)) {
        return Failure::Lost(why);
    }
    let code = answer.code();
    if *code == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN {
        return Failure::Lost(why);
    }
    match &code.code()[..2] {
        "08" => Failure::Lost(why),
        "40" => Failure::Conflict(why),
        // An invalid state of the transaction: a failover made the server read-only, or a snapshot has failed
        // before. Then: out of resources, locked, stopped by the operator or by a time limit, I/O.
        "25" | "53" | "55" | "57" | "58" => Failure::Busy(why),
        _ => Failure::Refused(why),
    }
}

/// The message with its causes, without the values that were sent.
fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        // Writing into a string does not fail.
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    text
}

/// What an error says when connecting, when nothing can have been done: only a refusal is final.
pub(super) fn of_connecting(error: &Error) -> Failure {
    match Failure::from(error) {
        Failure::Lost(why) | Failure::Busy(why) | Failure::Conflict(why) => {
            match error.as_db_error().map(|answer| &answer.code().code()[..2]) {
                // A wrong password, a database that does not exist: fatal to the session, and not to be waited for.
                Some("28" | "3D" | "42" | "0A") => Failure::Refused(why),
                _ => Failure::Busy(why),
            }
        }
        refused @ Failure::Refused(_) => refused,
    }
}
