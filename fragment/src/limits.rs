//! The bounds of this crate, each with its reason.

use std::time::Duration;

/// The longest stream name: the limit of Kinesis Video Streams.
pub const STREAM_NAME_BYTES_MAX: usize = 256;

/// Tracks in a fragment: the limit of Kinesis Video Streams (ErrorId 4012).
pub const TRACKS_MAX: usize = 3;

/// The largest fragment: the limit of Kinesis Video Streams (ErrorId 4001).
pub const FRAGMENT_BYTES_MAX: usize = 50 * 1024 * 1024;

/// The longest fragment: the limit of Kinesis Video Streams (ErrorId 4002); also well inside the
/// ±32.7 s that a block's 16-bit relative time can reach.
pub const FRAGMENT_DURATION_MAX: Duration = Duration::from_secs(20);

/// The longest side of a picture: beyond 8K, and fits the 16 bits that MP4 gives it.
pub const PICTURE_SIDE_MAX: u32 = 16_384;

/// The largest header (EBML, Info or Tracks) that a reader takes: 3 tracks' records are some hundred
/// bytes; files with many languages and long titles reach some ten thousand.
pub const HEADER_BYTES_MAX: usize = 1024 * 1024;

/// The largest Tags element that a reader takes: ten pairs of 128 + 256 bytes from Kinesis Video
/// Streams' producers, and what tools write for whole files.
pub const TAGS_BYTES_MAX: usize = 1024 * 1024;

/// Tags inside tags that a reader follows; deeper ones are passed over, so that the stack is bounded.
pub const TAG_DEPTH_MAX: usize = 8;

/// Pushed pieces below this size are joined, so that many tiny ones do not cost a handle each
/// (32 bytes) and cannot be used to fill memory.
pub const PIECE_BYTES_MIN: usize = 512;
