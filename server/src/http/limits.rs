//! The bounds of the HTTP side, each with its reason.

use std::time::Duration;

/// How long a playback URL works unless asked otherwise, and the longest that may be asked: the
/// longest of Kinesis Video Streams' GetHLSStreamingSessionURL.
pub(crate) const PLAYBACK_EXPIRY_MAX: Duration = Duration::from_secs(12 * 3600);

/// The longest range of the past in one playlist; with fragments of 2 s as many segments as
/// `hls::limits::PAST_SEGMENTS_MAX`.
pub(crate) const PAST_RANGE_MAX: Duration = Duration::from_secs(12 * 3600);

/// How long a browser stays logged in to the console.
pub(crate) const CONSOLE_SESSION: Duration = Duration::from_secs(7 * 24 * 3600);

/// A stream counts as live while its newest fragment arrived this recently: two of the longest fragments
/// that cameras usually make (key frames up to 5 s apart), and the time to upload one.
pub(crate) const LIVE_WITHIN: Duration = Duration::from_secs(15);

/// Bytes of finished media segments kept in memory. All viewers of a live stream ask for the same few
/// newest segments within seconds of each other: 64 MiB hold the last minute of 4 cameras at 2 Mbit/s, or the last
/// segments of a hundred.
pub(crate) const SEGMENT_CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Initialisation segments kept in memory, at about 1 KiB each. A stream has one at a time.
pub(crate) const RENDITION_CACHE_MAX: usize = 1024;

/// Segments built at the same time: each holds a fragment three times over (sealed, plain, MP4), up to
/// 150 MiB for the largest fragment allowed, and building is bound by processors anyway.
pub(crate) const SEGMENTS_BUILDING_MAX: usize = 8;

/// Bytes of segments on their way to clients: a thousand of half a MB, and memory that slow clients can hold.
/// Beyond it, requests for segments wait.
pub(crate) const OUTGOING_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Connections at one time. A browser opens up to six, so these are at least 170 viewers; with their buffers
/// they take up to 64 MiB. Later ones wait in the system's queue.
pub(crate) const CONNECTIONS_MAX: usize = 1024;

/// The read buffer of a connection, and so the largest request head: a cookie and a token are below 1 KiB.
pub(crate) const CONNECTION_BUFFER_BYTES: usize = 64 * 1024;

/// How long a connection may be without a whole request head, from its opening or from its last answer. Players
/// ask for the playlist every few seconds; who comes back later opens a new connection.
pub(crate) const HEAD_WAIT: Duration = Duration::from_secs(30);

/// How long a request may take from its head to its answer's first byte. The slowest is a segment of 50 MB
/// from a busy disk: some seconds.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// How long a client may take nothing of its response: mobile networks are away for some seconds at a time.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(30);

/// The largest request body: bodies are a few fields of JSON.
pub(crate) const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Fragments of sessions that are kept in memory, at some 200 bytes each: those of a thousand sessions that show five and keep
/// a few more, and of two dozen that show the most there may be. Sessions beyond it are counted again at each request.
pub(crate) const ITINERARY_FRAGMENTS_MAX: usize = 128 * 1024;

/// Fragments that are asked of the archive at once while a session is counted: a few milliseconds' work.
pub(crate) const ITINERARY_PAGE: usize = 512;

/// How old the newest fragment of a live session may be when it is opened, as at AWS.
pub(crate) const SESSION_LIVE_WITHIN: Duration = Duration::from_secs(30);

/// How long after the end of its range a session waits for fragments that are still on their way.
pub(crate) const SESSION_GRACE: Duration = Duration::from_secs(30);

/// The longest playback token: ours have 84 and 103 characters; longer ones are not worth decoding.
pub(crate) const TOKEN_CHARACTERS_MAX: usize = 256;

/// Damaged fragments that are remembered, 40 bytes each. With more, the disk has other troubles.
pub(super) const DAMAGED_MAX: usize = 64 * 1024;
