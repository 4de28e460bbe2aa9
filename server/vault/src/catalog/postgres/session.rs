//! One connection, set up: its statements are prepared, its settings are what this catalog needs.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row as SqlRow, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::Address;
use super::failure::{self, Failure};
use super::lane::Lane;
use super::schema;
use crate::catalog::{Direction, KeyRange, Row};
use crate::key::Key;
use crate::limits;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Reads and snapshots.
    Reader,
    /// Commits.
    Writer,
}

/// What is asked of the rows.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// The row of a key.
    Row(Key),
    /// Rows of a range, the limit already cut to what one scan answers.
    Scan(KeyRange, Direction, i64),
}

/// How connections are made: shared by the pools.
pub(super) struct Connector {
    pub(super) address: Address,
    pub(super) tls: Option<MakeRustlsConnect>,
}

/// A connection and what is known of it.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) statements: Statements,
    /// Made at the first commit; see `lane.rs`.
    pub(super) lane: Option<Lane>,
    _serving: AbortOnDrop,
}

/// The task that moves a connection's bytes. Dropping it closes the socket, also while the server owes an
/// answer that nobody waits for any more.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident: $sql:expr,)*) => {
        /// The prepared statements. The server parses and plans them once per connection.
        pub(super) struct Statements {
            $($(#[$doc])* pub(super) $name: Statement,)*
        }

        impl Statements {
            /// Prepares all of them in one exchange.
            async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
                let ($($name,)*) = tokio::try_join!($(client.prepare($sql),)*)?;
                Ok(Self { $($name,)* })
            }
        }
    };
}

statements! {
    get: "SELECT key, value FROM millrace_rows WHERE key = $1",
    up: "SELECT key, value FROM millrace_rows WHERE key >= $1 AND key < $2 ORDER BY key LIMIT $3",
    up_to_end: "SELECT key, value FROM millrace_rows WHERE key >= $1 ORDER BY key LIMIT $2",
    down: "SELECT key, value FROM millrace_rows WHERE key >= $1 AND key < $2 ORDER BY key DESC LIMIT $3",
    down_from_end: "SELECT key, value FROM millrace_rows WHERE key >= $1 ORDER BY key DESC LIMIT $2",
    /// Divides by zero, which ends the transaction, unless all rows have the given values. It locks them.
    hold: "WITH held AS (
             SELECT r.key FROM millrace_rows r, unnest($1::bytea[], $2::bytea[]) AS c (key, value)
             WHERE r.key = c.key AND r.value = c.value ORDER BY r.key FOR UPDATE OF r)
           SELECT 1 / CASE WHEN count(*) = $3::bigint THEN 1 ELSE 0 END FROM held",
    /// Fails on the uniqueness of the key if a row exists. A row of a transaction under way is waited for.
    put_fresh: "INSERT INTO millrace_rows (key, value) SELECT * FROM unnest($1::bytea[], $2::bytea[])",
    put: "INSERT INTO millrace_rows (key, value) SELECT * FROM unnest($1::bytea[], $2::bytea[])
          ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    remove: "DELETE FROM millrace_rows WHERE key = ANY($1::bytea[])",
    open_lane: "INSERT INTO millrace_lanes (lane, sequence, open, used) VALUES ($1, 0, true, now())",
    /// Divides by zero unless the lane is open and at the sequence before.
    advance_lane: "WITH moved AS (
                     UPDATE millrace_lanes SET sequence = $2::bigint, used = now()
                     WHERE lane = $1 AND sequence = $2::bigint - 1 AND open RETURNING lane)
                   SELECT 1 / count(*) FROM moved",
    /// Waits for the transaction that holds the lane, if one does.
    close_lane: "UPDATE millrace_lanes SET open = false WHERE lane = $1 RETURNING sequence",
}

impl Connector {
    /// Connects and sets up. An error of a server that is not there yet is `Busy`.
    pub(super) async fn session(&self, role: Role) -> Result<Session, Failure> {
        let open = async {
            let Bare { client, serving } = self.connect(role).await?;
            let statements = Statements::prepare(&client).await?;
            Ok(Session { client, statements, lane: None, _serving: serving })
        };
        // On the heap: connecting is rare, and every call of the catalog would be as large as this.
        in_time(limits::CATALOG_CONNECT_TIME_MAX, Box::pin(open)).await
    }

    /// Connects and makes the tables, of which the statements of a session speak.
    pub(super) async fn prepare(&self) -> Result<(), Failure> {
        let prepare = async {
            let bare = self.connect(Role::Writer).await?;
            schema::prepare(&bare.client).await?;
            schema::close_lanes(&bare.client).await?;
            schema::warn_if_not_durable(&bare.client).await
        };
        in_time(limits::CATALOG_OPEN_TIME_MAX, Box::pin(prepare)).await
    }

    async fn connect(&self, role: Role) -> Result<Bare, Failure> {
        let bare = connect(&self.address, self.tls.clone()).await.map_err(|e| failure::of_connecting(&e))?;
        configure(&bare.client, role).await?;
        Ok(bare)
    }
}

impl Session {
    /// Answers a question about the rows as last committed, or as the session's snapshot has them.
    pub(super) async fn ask(&self, question: &Question) -> Result<Vec<Row>, Failure> {
        let rows = within(limits::CATALOG_ANSWER_TIME_MAX, self.query(question)).await?;
        rows.iter().map(row).collect()
    }

    /// Begins a snapshot: the state is that of this moment, not of the first question.
    pub(super) async fn begin_snapshot(&self) -> Result<(), Failure> {
        let begin = self.client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1");
        within(limits::CATALOG_ANSWER_TIME_MAX, begin).await
    }

    /// Ends it. The connection is then free for other use.
    pub(super) async fn end_snapshot(&self) -> Result<(), Failure> {
        within(limits::CATALOG_ANSWER_TIME_MAX, self.client.batch_execute("ROLLBACK")).await
    }

    async fn query(&self, question: &Question) -> Result<Vec<SqlRow>, tokio_postgres::Error> {
        let statements = &self.statements;
        match question {
            Question::Row(key) => self.client.query(&statements.get, &[&key.as_bytes()]).await,
            Question::Scan(range, direction, limit) => {
                let (start, end) = (range.start.as_bytes(), range.end.as_ref().map(Key::as_bytes));
                let (statement, end) = match (direction, &end) {
                    (Direction::Ascending, Some(end)) => (&statements.up, Some(end)),
                    (Direction::Ascending, None) => (&statements.up_to_end, None),
                    (Direction::Descending, Some(end)) => (&statements.down, Some(end)),
                    (Direction::Descending, None) => (&statements.down_from_end, None),
                };
                let mut values: Vec<&(dyn ToSql + Sync)> = vec![&start];
                values.extend(end.map(|end| end as &(dyn ToSql + Sync)));
                values.push(limit);
                self.client.query(statement, &values).await
            }
        }
    }
}

/// A result of the server, if it comes in time.
pub(super) async fn within<T>(
    time: Duration,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failure> {
    match timeout(time, answer).await {
        Ok(answer) => answer.map_err(Failure::from),
        Err(_) => Err(Failure::Lost(format!("no answer within {time:?}"))),
    }
}

/// A connection whose statements are not prepared.
struct Bare {
    client: Client,
    serving: AbortOnDrop,
}

async fn connect(address: &Address, tls: Option<MakeRustlsConnect>) -> Result<Bare, tokio_postgres::Error> {
    match tls {
        Some(tls) => {
            let (client, connection) = address.config.connect(tls).await?;
            Ok(Bare { client, serving: AbortOnDrop(tokio::spawn(serve(connection))) })
        }
        None => {
            let (client, connection) = address.config.connect(NoTls).await?;
            Ok(Bare { client, serving: AbortOnDrop(tokio::spawn(serve(connection))) })
        }
    }
}

/// A set-up, if it comes to its end in time. It asked nothing that matters, so a connection that broke has
/// lost nothing.
async fn in_time<T>(time: Duration, set_up: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match timeout(time, set_up).await {
        Ok(Err(Failure::Lost(why))) => Err(Failure::Busy(why)),
        Ok(done) => done,
        Err(_) => Err(Failure::Busy(format!("no connection within {time:?}"))),
    }
}

/// Moves bytes until the connection ends. Whoever has a question under way gets the error with it.
async fn serve(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(error = %Failure::from(error).why(), "a connection to the catalog ended");
    }
}

/// Sets what this catalog needs, where the server has such a setting: others that speak PostgreSQL's
/// protocol do not have all of them.
async fn configure(client: &Client, role: Role) -> Result<(), Failure> {
    let millis = |time: Duration| time.as_millis().to_string();
    let (idle, statement) = match role {
        Role::Reader => (limits::CATALOG_SNAPSHOT_IDLE_MAX, limits::CATALOG_STATEMENT_TIME_MAX),
        Role::Writer => (limits::CATALOG_COMMIT_IDLE_MAX, limits::CATALOG_STATEMENT_TIME_MAX),
    };
    let (idle, statement) = (millis(idle), millis(statement));
    let settings: [(&str, &str); 8] = [
        // An answered commit is on disk.
        ("synchronous_commit", "on"),
        ("idle_in_transaction_session_timeout", &idle),
        ("statement_timeout", &statement),
        // Every question is a walk along the key's index. Statistics that are out of date, as they are right
        // after a node has filled its tables, must not talk the planner into reading or sorting everything.
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("enable_sort", "off"),
        // Compiling costs more than any of these statements, and the settings above feign high costs.
        ("jit", "off"),
        ("client_min_messages", "warning"),
    ];
    let (names, values): (Vec<&str>, Vec<&str>) = settings.into_iter().unzip();
    // A stricter `synchronous_commit`, which waits for replicas too, is left as it is.
    let set = "SELECT set_config(s.name, w.value, false)
               FROM pg_settings s, unnest($1::text[], $2::text[]) AS w (name, value)
               WHERE s.name = w.name AND (s.name <> 'synchronous_commit' OR s.setting = 'off')";
    client.query(set, &[&names, &values]).await?;
    Ok(())
}

fn row(row: &SqlRow) -> Result<Row, Failure> {
    let bytes = |at| row.try_get::<_, &[u8]>(at).map(Bytes::copy_from_slice);
    Ok(Row { key: Key::from_stored(bytes(0)?), value: bytes(1)? })
}
