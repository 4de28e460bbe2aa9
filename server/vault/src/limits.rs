//! The bounds of this crate, each with its reason.

use std::time::Duration;

/// The largest payload of a frame. Above a fragment's 50 MiB, far below what a segment can address.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// The largest index entry: it is rewritten into every frame header and catalog row, so it stays small.
pub const INDEX_BYTES_MAX: usize = 4096;

/// Entries waiting for the committer. At 500 cameras with a fragment every second each waits a few
/// milliseconds; a queue as deep as two seconds of them means that the disk has stalled.
pub const QUEUE_ENTRIES_MAX: usize = 1024;

/// Payload bytes waiting for the committer, the vault's largest share of memory: twice a batch, so
/// that the next batch gathers while one is on its way to disk. [`crate::Vault::put`] waits beyond it.
pub const QUEUE_BYTES_MAX: usize = 128 << 20;

/// Payload bytes in one group commit. 32 MiB take a disk of 500 MB/s 64 ms: larger batches gain no
/// throughput and cost latency. One larger payload still makes a batch of its own.
pub const BATCH_BYTES_MAX: usize = 32 << 20;

/// Entries in one group commit: 1024 entries make about 3000 rows, where the catalog's gain by
/// grouping has levelled off.
pub const BATCH_ENTRIES_MAX: usize = 1024;

/// Bytes at which a segment is closed and a new one begun. Small enough that expiry frees space hour by
/// hour and a scan of one is quick; large enough that a terabyte is some 4,000 files.
pub const SEGMENT_BYTES_MAX: u32 = 256 << 20;

/// How far a segment is laid out ahead of its end: syncing an append to a file that needs no growth
/// took 0.13 ms against 0.20 ms.
pub const PREALLOCATE_BYTES: u64 = 16 << 20;

/// Segments open for appending, one per expiry hour in use. 168 retentions are possible; few are used
/// at a time, and closing one early costs only a shorter file.
pub const SEGMENTS_OPEN_MAX: usize = 24;

/// Segment files kept open for reading. Players read around few places; a file costs a descriptor.
pub const READ_FILES_MAX: usize = 64;

/// Unwrapped data keys kept in memory: 1,000 streams over the two days of expiry that are written and
/// played most. Others are unwrapped again when they are needed, a few microseconds.
pub const KEYS_CACHED_MAX: usize = 2048;

/// Free space below which payloads are refused as [`crate::PutError::DiskFull`], so that the catalog's
/// journal (which can't be told to try again) and deletion always find room.
pub const DISK_RESERVE_BYTES: u64 = 128 << 20;

/// Rows answered by one catalog scan: bounds the memory of any caller's loop.
pub const SCAN_ROWS_MAX: usize = 4096;

/// The catalog's cache of blocks: index rows are about 150 bytes, so this holds the rows of some
/// hundred thousand fragments.
pub const CATALOG_CACHE_BYTES: u64 = 32 << 20;

/// The catalog's journals, replayed at start: bounds the time that a restart takes to under a second.
pub const CATALOG_JOURNAL_BYTES_MAX: u64 = 128 << 20;

/// The catalog's memory for rows that are not yet in tables.
pub const CATALOG_MEMTABLE_BYTES_MAX: u64 = 16 << 20;

/// The longest key of the catalog that every backend takes. PostgreSQL refuses an entry of its index above
/// a third of a page, 2,704 bytes; the longest key in use is a stream's name, 256 bytes.
pub const CATALOG_KEY_BYTES_MAX: usize = 1024;

/// Keys and values of one batch on their way to PostgreSQL: four times a group commit's rows with index
/// entries of the largest size, and far below the 1 GiB at which the protocol ends.
pub const CATALOG_BATCH_BYTES_MAX: usize = 128 << 20;

/// Connections of one node to PostgreSQL for reads and snapshots, each of which has one to itself. With
/// [`CATALOG_WRITERS_MAX`], five nodes stay within the server's default of 100.
pub const CATALOG_READERS_MAX: usize = 12;

/// Connections of one node to PostgreSQL for commits. The committer uses one; the others are for changes
/// of streams, devices and expiry, which wait for nobody.
pub const CATALOG_WRITERS_MAX: usize = 4;

/// How long a call waits for a connection while all are in use: longer than any single answer should take.
pub const CATALOG_CONNECTION_WAIT: Duration = Duration::from_secs(5);

/// How long connecting to PostgreSQL may take, with TLS and the set-up of the session.
pub const CATALOG_CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// How long opening a catalog may take, with making its tables and waiting for commits of a former process.
pub const CATALOG_OPEN_TIME_MAX: Duration = Duration::from_secs(60);

/// For how long after a failed attempt to connect others fail at once, so that a thousand entries that
/// wait for an unreachable server cost one time-out and not a thousand.
pub const CATALOG_CONNECT_PAUSE: Duration = Duration::from_millis(250);

/// How long PostgreSQL may take for one statement before it gives up on it. A commit of 3,000 rows takes
/// some 20 ms; what takes this long waits for a lock of a node that has died.
pub const CATALOG_STATEMENT_TIME_MAX: Duration = Duration::from_secs(6);

/// How long an answer is awaited before its connection counts as lost: the server's own limit, and then
/// some for the way there and back.
pub const CATALOG_ANSWER_TIME_MAX: Duration = Duration::from_secs(8);

/// For how long a commit is tried again after conflicts and lost connections: over two answers' time, so
/// that one connection that fell silent leaves time for another. A restart of the server takes seconds;
/// callers of a longer outage are told, and keep their data.
pub const CATALOG_PATIENCE: Duration = Duration::from_secs(20);

/// The longest pause between two tries of a commit.
pub const CATALOG_RETRY_PAUSE_MAX: Duration = Duration::from_millis(250);

/// How long a snapshot may lie unused before PostgreSQL ends it: an old one keeps the server from clearing
/// away dead rows.
pub const CATALOG_SNAPSHOT_IDLE_MAX: Duration = Duration::from_secs(600);

/// How long a commit may lie half sent before PostgreSQL ends it: its locks hold up other nodes.
pub const CATALOG_COMMIT_IDLE_MAX: Duration = Duration::from_secs(5);

/// After how many days the trace of a closed lane is removed: far longer than any process waits to learn
/// the outcome of a commit.
pub const CATALOG_LANE_DAYS: i32 = 7;
