//! The bounds of this crate, each with its reason.

use std::time::Duration;

use vault::ExpirySlot;

/// The shortest retention: below an hour, segments would be smaller than is good for a disk.
pub const RETENTION_MIN: Duration = Duration::from_secs(3600);

/// The longest retention that can be written down: Kinesis Video Streams' ten years.
pub const RETENTION_MAX: Duration = Duration::from_secs(87_600 * 3600);

/// The longest retention that may be asked for, unless the operator sets another ceiling: a week is what is measured.
pub const RETENTION_CEILING_DEFAULT: Duration = Duration::from_secs(168 * 3600);

/// The retention of a stream that was created without one.
pub const RETENTION_DEFAULT: Duration = Duration::from_secs(24 * 3600);

/// How long the fragments of a stream are kept that is live only: as long as Kinesis Video Streams has them readable, so that
/// a viewer whose connection breaks finds what it missed.
pub const LIVE_ONLY_KEPT: Duration = Duration::from_secs(5 * 60);

/// Bytes that the users of a stream may note of it: 50 tags of Kinesis Video Streams in their longest, and as much again.
pub const ATTRIBUTES_BYTES_MAX: usize = 256 * 1024;

/// The smallest bound of a stream's bytes: one fragment of the largest size and a little more.
pub const RETENTION_BYTES_MIN: u64 = 64 << 20;

/// What is younger is not given up to make room: the shortest retention that can be asked for. When the disk is
/// full of younger fragments, devices keep what they have until there is room.
pub const GIVEN_UP_AGE_MIN: Duration = RETENTION_MIN;

/// How much is given up at a time, in the time of its arrival: as much as may lie in one segment, so that each
/// step gives space back and none much more than is asked for.
pub const GIVEN_UP_STEP: Duration = Duration::from_secs(ExpirySlot::SECONDS as u64);

/// Streams of an archive: each costs some hundred bytes of memory and a data key per day.
pub const STREAMS_MAX: usize = 10_000;

/// Bytes of all codec strings of a fragment: three tracks of some 20 characters each, with room.
pub const CODECS_BYTES_MAX: usize = 512;

/// How far a fragment may begin from the end of the one that it follows and still continue it. The same
/// value as that of the playlists of the past (`hls::limits::SEAM_MAX`, which says why), so that live and
/// past break at the same places.
pub const SEAM_MAX: Duration = Duration::from_millis(400);

/// How far beyond its arrival a fragment's own time may lie and still lead the live playlist. A camera
/// whose clock is wrong by a time zone is common; one that says next month would end live for good.
pub const LIVE_AHEAD_MAX: Duration = Duration::from_secs(24 * 3600);

/// How often the end of a stream is looked at that another server has claimed, before it is taken for dead, and the
/// pause in between: a second in all. A batch takes some 10 ms on a disk, and 100 ms to an object store.
pub const CLAIM_LOOKS: usize = 200;
/// See [`CLAIM_LOOKS`].
pub const CLAIM_PAUSE: Duration = Duration::from_millis(5);

/// Fragments whose rows are removed in one commit when they expire: keeps each commit, which delays
/// uploads by its length, to a few milliseconds.
pub const EXPIRE_PAGE: usize = 256;

/// The part of a segment, as a divisor, that has to be given up before the rest is copied out of it: a quarter. For
/// less, a byte that comes back would cost more than three that are read and written; it comes back at the slot.
pub const THINNED_SHARE_MIN: u64 = 4;

/// Expiries for which a segment has to lose nothing more before that. The end of what a stream keeps passes a segment
/// in the two minutes that it was written in; it would else be copied while it goes by itself.
pub const THINNED_QUIET_MIN: u32 = 3;

/// Bytes copied out of segments in one expiry: some ten seconds of a disk, after which others have their turn.
pub const COPIED_BYTES_MAX: u64 = 2 << 30;

/// Bytes copied at a time: what is read but not yet stored, and has a share of the committer's queue.
pub const COPIED_AT_ONCE: u64 = 16 << 20;

/// Rows looked at together by a query.
pub const QUERY_PAGE: usize = 512;

/// Rows in one commit while the index is rebuilt: some hundred kilobytes, where grouping gains no more.
pub const REBUILD_ROWS: usize = 3072;
