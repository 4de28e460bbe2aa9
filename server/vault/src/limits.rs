//! The bounds of this crate, each with its reason.

use std::time::Duration;

/// The largest payload of a frame. Above a fragment's 50 MiB, far below what a segment can address.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// The largest index entry: it is rewritten into every frame header and catalog row, so it stays small.
pub const INDEX_BYTES_MAX: usize = 4096;

/// Entries waiting for the committer. At 500 cameras with a fragment every second each waits a few
/// milliseconds; a queue as deep as two seconds of them means that the disk has stalled.
pub const QUEUE_ENTRIES_MAX: usize = 1024;

/// Payload bytes waiting for the committer, the vault's largest share of memory: four batches, so
/// that the next ones gather while one is on its way to disk. [`crate::Vault::put`] waits beyond it.
pub const QUEUE_BYTES_MAX: usize = 128 << 20;

/// Payload bytes in one group commit. 32 MiB take a disk of 500 MB/s 64 ms: larger batches gain no
/// throughput and cost latency. One larger payload still makes a batch of its own.
pub const BATCH_BYTES_MAX: usize = 32 << 20;

/// Entries in one group commit: 1024 entries make about 3000 rows, where the catalog's gain by
/// grouping has levelled off.
pub const BATCH_ENTRIES_MAX: usize = 1024;

/// How often a batch is made anew in one go because another server stored in the same streams meanwhile. Of two
/// that meet each time one gets through, so that each of them is overtaken so often once in some hundred batches.
pub const OVERTAKEN_MAX: usize = 8;

/// How long a connection to an object store may take to be made: one lost packet costs a second.
pub const OBJECT_CONNECT_WAIT: Duration = Duration::from_secs(3);

/// How long one attempt of a call to an object store may take: a batch of 32 MiB over 20 Mbit/s takes 13 s.
pub const OBJECT_ATTEMPT_WAIT: Duration = Duration::from_secs(15);

/// How long after its beginning a call to an object store is still tried again. The commits of all streams wait for it
/// meanwhile, and devices for their acks for ten minutes at most: with the last attempt, it is 25 seconds.
pub const OBJECT_PATIENCE: Duration = Duration::from_secs(10);

/// The longest pause between two attempts of a call to an object store.
pub const OBJECT_RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Bytes at which a segment is closed and a new one begun. Small enough that a scan of one is quick; large
/// enough that a terabyte is some 4,000 files.
pub const SEGMENT_BYTES_MAX: u32 = 256 << 20;

/// How far a segment is laid out ahead of its end: syncing an append to a file that needs no growth
/// took 0.13 ms against 0.20 ms.
pub const PREALLOCATE_BYTES: u64 = 16 << 20;

/// Segments open for appending, one per expiry slot in use: few retentions are used at a time, and closing
/// one early costs only a shorter file.
pub const SEGMENTS_OPEN_MAX: usize = 24;

/// Commits after which a segment that none of them used is closed when the next one is begun. With one retention
/// in use its slot is over by then; with several a rare one costs a shorter file.
pub const SEGMENT_IDLE_COMMITS: u64 = 256;

/// What of the segments stays in the system's page cache after it was written: two seconds of 500 cameras, ten of 100,
/// which is where live viewers read.
pub const PAGES_KEPT_BYTES: u64 = 256 << 20;

/// Segment files kept open for reading. Players read around few places; a file costs a descriptor.
pub const READ_FILES_MAX: usize = 64;

/// Unwrapped data keys kept in memory: those of 4,000 streams that are written, and as many that are
/// played. Another one is unwrapped again when it is needed: microseconds by the keyring, milliseconds by a
/// KMS. One takes about 700 bytes.
pub const KEYS_CACHED_MAX: usize = 8192;

/// How long an unwrapped data key is kept before its service is asked again: so late at most does a
/// vault notice that a master key was disabled elsewhere. A KMS answers 500 streams 1.7 times a second then,
/// some thousandth of what it allows.
pub const KEY_CACHED_TIME_MAX: Duration = Duration::from_secs(300);

/// How long KMS may take to accept a connection: one lost packet costs a second.
pub const KMS_CONNECT_WAIT: Duration = Duration::from_secs(3);

/// How long one attempt of a call to KMS may take: they take milliseconds.
pub const KMS_ATTEMPT_WAIT: Duration = Duration::from_secs(4);

/// How long a call to KMS may take with its repetitions. The commits of all streams wait for it meanwhile, and devices
/// for their acks for ten minutes at most.
pub const KMS_CALL_WAIT: Duration = Duration::from_secs(12);

/// Calls to KMS at one time: at midnight each stream needs a key, and 500 calls of 10 ms one by one are five seconds.
pub const KMS_CALLS_AT_ONCE: usize = 8;

/// Master keys in a keyring: one wraps, one more is there during a rotation, the others stem from
/// rotations that could not be finished.
pub const MASTER_KEYS_MAX: usize = 16;

/// The largest keyring file that is read: 16 entries of 49 bytes and a header, with much room.
pub const KEYRING_BYTES_MAX: usize = 16 << 10;

/// The longest passphrase.
pub const PASSPHRASE_BYTES_MAX: u64 = 4096;

/// Argon2id's memory in KiB, passes and lanes: RFC 9106's second choice, for where 2 GiB of memory are
/// too much, as they are for a small server beside its cameras. It takes a tenth of a second, once at each
/// start, and somebody who guesses needs 64 MiB for each guess.
pub const PASSPHRASE_MEMORY_KIB: u32 = 64 << 10;
/// See [`PASSPHRASE_MEMORY_KIB`].
pub const PASSPHRASE_PASSES: u32 = 3;
/// See [`PASSPHRASE_MEMORY_KIB`].
pub const PASSPHRASE_LANES: u32 = 4;

/// The most memory in KiB and passes that a keyring file may ask for: RFC 9106's first choice. A damaged file
/// must not take the machine's memory.
pub const PASSPHRASE_MEMORY_KIB_MAX: u32 = 2 << 20;
/// See [`PASSPHRASE_MEMORY_KIB_MAX`].
pub const PASSPHRASE_PASSES_MAX: u32 = 64;

/// How many calls to a key service are under way at once when a batch needs many keys, as at midnight: at
/// 10 ms each, 500 take 0.6 s.
pub const KEY_CALLS_AT_ONCE: usize = 8;

/// Blocks of 16 bytes sealed under one data key: 2^32, 64 GiB. The chance to tell q messages of s blocks from
/// noise is at most (s + q)² / 2^129 for AES-GCM (Luykx and Paterson, from which TLS 1.3 has its 2^24.5
/// records of 16 KiB: 2^34.5 blocks, 2^-60); here it is 2^-65. A camera of 6 Mbit/s needs one key a day.
pub const KEY_BLOCKS_MAX: u64 = 1 << 32;

/// Frames sealed under one data key: 2^28, a thousand per second for three days. NIST SP 800-38D allows 2^32
/// where a part of the nonce is random.
pub const KEY_FRAMES_MAX: u64 = 1 << 28;

/// Segments begun while a data key is in use. Half a nonce is the segment's random id, and two of n are the
/// same with a chance of n² / 2^65: 2^-33, where SP 800-38D asks for less than 2^-32. One begins every few
/// seconds at 125 MB/s.
pub const KEY_SEGMENTS_MAX: u64 = 1 << 16;

/// Blocks sealed under a data key that an earlier process made: 2^22, 64 MiB. Nobody knows what that
/// process sealed and did not commit, so no more than this is added to it; then a new key is begun. So a
/// server that starts over and over makes no keys, and one that works makes one for each stream.
pub const ADOPTED_KEY_BLOCKS_MAX: u64 = 1 << 22;

/// Frames sealed under such a key: 64 MiB of 1 KiB.
pub const ADOPTED_KEY_FRAMES_MAX: u64 = 1 << 16;

/// Segments begun while such a key is in use: some minutes of a busy server.
pub const ADOPTED_KEY_SEGMENTS_MAX: u64 = 1 << 8;

/// Free space below which payloads are refused as [`crate::PutError::DiskFull`], so that the catalog's
/// journal (which can't be told to try again) and deletion always find room.
pub const DISK_RESERVE_BYTES: u64 = 128 << 20;

/// Free space below which no entry is stored, as when others on the same disk use up the reserve: half of that, so that
/// deletion has the rest to itself.
pub const CATALOG_ROOM_BYTES: u64 = 64 << 20;

/// Free space below which the catalog takes no commit at all: without space for its journal fjall stops until it is opened
/// again. A group commit of 1024 entries has half a megabyte of rows.
pub const CATALOG_COMMIT_BYTES: u64 = 8 << 20;

/// The longest key or value that is believed when rows are read from a backup: the largest index entry, many times.
pub const ROW_BYTES_MAX: usize = 1 << 20;

/// Rows answered by one catalog scan: bounds the memory of any caller's loop.
pub const SCAN_ROWS_MAX: usize = 4096;

/// The catalog's cache of blocks: index rows are about 150 bytes, so this holds the rows of some
/// hundred thousand fragments.
pub const CATALOG_CACHE_BYTES: u64 = 32 << 20;

/// The catalog's journals, replayed at start: bounds the time that a restart takes to under a second.
pub const CATALOG_JOURNAL_BYTES_MAX: u64 = 128 << 20;

/// The catalog's memory for rows that are not yet in tables.
pub const CATALOG_MEMTABLE_BYTES_MAX: u64 = 16 << 20;

/// The longest table of contents of a file of the catalog that is believed: a table's has ten short entries.
pub const CATALOG_CONTENTS_BYTES_MAX: u64 = 64 << 10;

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
