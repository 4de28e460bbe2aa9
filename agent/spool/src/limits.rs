//! The bounds of the spool, each with its reason. Its size in bytes is the caller's to choose.

use std::time::Duration;

/// Fragments in the spool. Each costs about 300 bytes of memory, so this is 60 MB; at 2 s each it is
/// 4.6 days of one camera, or the quota in bytes ends it before.
pub const FRAGMENTS_MAX: usize = 200_000;

/// The header record of a spool file: a stream name of 256 bytes and the closing bytes of a document.
pub const HEADER_BYTES_MAX: usize = 4 * 1024;

/// One record of a spool file: an access unit is never cut, and none is larger than a fragment.
pub const RECORD_BYTES_MAX: usize = fragment::limits::FRAGMENT_BYTES_MAX + 1024;

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

/// Old fragments that one write may drop on a disk that is full. Where that makes no room, another program takes
/// it, and the rest of the spool is not thrown after it.
pub const DROPS_PER_WRITE_MAX: u32 = 4;
