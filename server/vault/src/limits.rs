//! The bounds of this crate, each with its reason.

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
