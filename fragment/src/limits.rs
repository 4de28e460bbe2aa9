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
