//! The bounds of this crate, each with its reason.

use std::time::Duration;

/// How far a fragment may begin from the end of the one that it follows and still continue it.
/// Above the rounding of Matroska's milliseconds and a dropped frame at 5 frames/s; below what a
/// player bridges by itself (hls.js jumps over holes of up to 0.5 s).
pub const SEAM_MAX: Duration = Duration::from_millis(400);

/// How much of the newest video a live playlist shows: enough to join in without a stall on a slow
/// network and to pause for a moment, little enough that a refresh stays one small answer.
pub const LIVE_WINDOW: Duration = Duration::from_secs(30);

/// The fewest segments in a live playlist, however long they are: RFC 8216 (6.3.3) has clients start
/// three target durations from the end.
pub const LIVE_SEGMENTS_MIN: usize = 3;

/// The most segments in a live playlist: bounds the answer when fragments are a fraction of a second.
pub const LIVE_SEGMENTS_MAX: usize = 64;

/// The most segments in a playlist of the past: 12 hours of 2 s fragments, about 3 MB of text, the
/// most that hls.js parses without a noticeable pause.
pub const PAST_SEGMENTS_MAX: usize = 21_600;

/// The most media bytes in one segment: the MP4 box sizes that we write have 32 bits, and a fragment
/// is at most 50 MiB (`fragment::limits`); anything larger is a fault upstream.
pub const SEGMENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most samples in a clip: a day of video at 30 pictures a second with sound. At most 28 bytes of tables each, and as much again
/// while they are written.
pub const CLIP_SAMPLES_MAX: usize = 8_000_000;

/// The most configurations of a decoder in one track of a clip: as many changes as Kinesis Video Streams allows in a session.
pub const CLIP_CONFIGURATIONS_MAX: usize = 500;
/// The fragments that a replay shows at its beginning: those that a player wants before it starts ([`LIVE_SEGMENTS_MIN`]).
pub const REPLAY_SEGMENTS_AT_ONCE: u64 = 3;
