//! The bounds of the spool, each with its reason. Its size in bytes is the caller's to choose.

use std::time::Duration;

/// The memory that the index of the spool may take. A fragment takes 32 bytes, a stretch of up to 256 of one session as much as eight
/// more: this is 1.8 million fragments of cameras that run for long, ten days of four cameras at 2 s each, or 200,000 of a camera that
/// is lost with every one of them. The quota in bytes ends it before, mostly.
pub const INDEX_BYTES_MAX: u64 = 60_000_000;

/// The header record of a spool file: a stream name of 256 bytes and the closing bytes of a document.
pub const HEADER_BYTES_MAX: usize = 4 * 1024;

/// One record of a spool file: an access unit is never cut, and none is larger than a fragment.
pub const RECORD_BYTES_MAX: usize = fragment::limits::FRAGMENT_BYTES_MAX + 1024;

/// What is kept in memory of a fragment that is sent while it is captured: half a second at 8 Mbit/s, or a large key frame. The uplink is
/// behind by less, and where the line is too slow it reads from the file.
pub const TAIL_BYTES_MAX: usize = 512 * 1024;

/// Of so many files and more, the ends are read by several threads at the start, so many files at a time. Fewer are read before
/// the threads have begun.
pub const FILES_LOOKED_AT_TOGETHER: usize = 1024;

/// These threads. They wait for the disk, so there may be more of them than cores.
pub const LOOKING_THREADS: usize = 8;

/// Refused fragments that are kept for a look; older ones make room.
pub const REJECTED_FRAGMENTS_MAX: usize = 64;

/// The list of drops, and as much again of what was joined: some 3000 drops each, or runs of them.
pub const DROPS_BYTES_MAX: u64 = 256 * 1024;

/// Drops that wait in memory for a disk that does not take their line.
pub const DROPS_WAITING_MAX: usize = 1024;

/// The list of drops is synced with the next fragment. Where none comes, it is synced after this.
pub const DROPS_UNSYNCED_MAX: Duration = Duration::from_secs(10);

/// Fragments that wait to be synced together. So many are synced again at the next start, since an ended process may
/// have left them in memory.
pub const UNSYNCED_FRAGMENTS_MAX: usize = 256;

/// Files that the beginning of a fragment may remove to make room. One large fragment takes the room of several small ones; of a
/// spool that was made smaller, thousands are to go, on a card that takes tens of milliseconds for each, while live waits for its turn.
pub const DROPS_PER_BEGINNING_MAX: u32 = 8;

/// Files that are removed in one step of the upkeep: some seconds on such a card, after which what is due is synced.
pub const DROPS_PER_STEP_MAX: u32 = 64;

/// Old fragments that one write may drop on a disk that is full. Where that makes no room, another program takes
/// it, and the rest of the spool is not thrown after it.
pub const DROPS_PER_WRITE_MAX: u32 = 4;
