//! The tables: made if they are not there, and refused if a later version made them.
//!
//! ```text
//! millrace_format  id: 1             version: 1
//! millrace_rows    key: bytea        value: bytea                      ordered by key, byte by byte
//! millrace_lanes   lane: bytea       sequence, open, used              see lane.rs
//! ```
//!
//! They lie where the connection's `search_path` says, so that several catalogs can share a database. The
//! row of the format comes last: where it is, the other tables are.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::failure::Failure;
use crate::limits;

const VERSION: i32 = 1;

/// How often setting up is tried: several processes may start at once on an empty database, and
/// PostgreSQL lets `IF NOT EXISTS` fail for all but one of them.
const TRIES_MAX: usize = 10;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS millrace_rows (key bytea PRIMARY KEY, value bytea NOT NULL);
    CREATE TABLE IF NOT EXISTS millrace_lanes (
        lane bytea PRIMARY KEY, sequence bigint NOT NULL, open boolean NOT NULL, used timestamptz NOT NULL);
    CREATE TABLE IF NOT EXISTS millrace_format (id integer PRIMARY KEY, version integer NOT NULL);
    INSERT INTO millrace_format (id, version) VALUES (1, 1) ON CONFLICT DO NOTHING";

/// Makes sure that the tables are there and of this version.
pub(super) async fn prepare(client: &Client) -> Result<(), Failure> {
    let mut tries = 0;
    let version = loop {
        match version(client).await {
            Ok(Some(version)) => break version,
            Ok(None) => {}
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => {}
            Err(error) => return Err(error.into()),
        }
        if let Err(error) = client.batch_execute(TABLES).await {
            tries += 1;
            if tries == TRIES_MAX || !is_race(error.code()) {
                return Err(error.into());
            }
        }
    };
    if version != VERSION {
        let what = format!("its tables have format {version}; this program understands format {VERSION}");
        return Err(Failure::Refused(what));
    }
    Ok(())
}

/// Closes all lanes. A commit that a former process left behind unanswered is over when this returns, and
/// one that the server has yet to begin will fail: nothing appears behind the back of the process that
/// starts now. Other processes notice it at their next commit and go on with a new lane.
pub(super) async fn close_lanes(client: &Client) -> Result<(), Failure> {
    let close = "UPDATE millrace_lanes SET open = false WHERE open";
    let mut tries = 0;
    while let Err(error) = client.execute(close, &[]).await {
        // A lane moved on meanwhile; seen only where transactions are strict by default.
        let failure = Failure::from(error);
        tries += 1;
        if tries == TRIES_MAX || !matches!(failure, Failure::Conflict(_)) {
            return Err(failure);
        }
    }
    let days = limits::CATALOG_LANE_DAYS;
    let forget = "DELETE FROM millrace_lanes WHERE NOT open AND used < now() - $1::integer * interval '1 day'";
    client.execute(forget, &[&days]).await?;
    Ok(())
}

/// Warns if the server is set up to lose what it has answered.
pub(super) async fn warn_if_not_durable(client: &Client) -> Result<(), Failure> {
    let rows = client.query("SELECT name, setting FROM pg_settings WHERE setting = 'off'", &[]).await?;
    for row in rows {
        let (name, setting) = (row.try_get(0)?, row.try_get(1)?);
        if let Some(danger) = danger(name, setting) {
            tracing::warn!("PostgreSQL runs with {name}={setting}: {danger}");
        }
    }
    Ok(())
}

/// What a setting of the server can cost.
fn danger(name: &str, setting: &str) -> Option<&'static str> {
    match (name, setting) {
        ("fsync", "off") => Some("a power cut or a crash of the system loses what was answered, or all of it"),
        ("full_page_writes", "off") => {
            Some("a power cut damages the catalog unless the file system never tears a page")
        }
        ("synchronous_commit", "off") => Some("it is switched on for the catalog's own commits"),
        _ => None,
    }
}

async fn version(client: &Client) -> Result<Option<i32>, tokio_postgres::Error> {
    let row = client.query_opt("SELECT version FROM millrace_format WHERE id = 1", &[]).await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Whether an error says that another process is making the same tables.
fn is_race(code: Option<&SqlState>) -> bool {
    let races = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_OBJECT,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        // "tuple concurrently updated"
        SqlState::INTERNAL_ERROR,
    ];
    code.is_some_and(|code| races.contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_lose_answered_commits_are_named() {
        assert!(danger("fsync", "off").is_some());
        assert!(danger("full_page_writes", "off").is_some());
        assert!(danger("synchronous_commit", "off").is_some());
        assert_eq!(danger("fsync", "on"), None);
        assert_eq!(danger("synchronous_commit", "local"), None);
    }
}
