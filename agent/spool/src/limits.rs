//! The bounds of the spool, each with its reason. Its size in bytes is the caller's to choose.

/// Fragments in the spool. Each costs about 200 bytes of memory, so this is 40 MB; at 2 s each it is
/// 4.6 days of one camera, or the quota in bytes ends it before.
pub const FRAGMENTS_MAX: usize = 200_000;

/// The header record of a spool file: a stream name of 256 bytes and the closing bytes of a document.
pub const HEADER_BYTES_MAX: usize = 4 * 1024;

/// One record of a spool file: an access unit is never cut, and none is larger than a fragment.
pub const RECORD_BYTES_MAX: usize = fragment::limits::FRAGMENT_BYTES_MAX + 1024;

/// Refused fragments that are kept for a look; older ones make room.
pub const REJECTED_FRAGMENTS_MAX: usize = 64;
