//! The bounds of this crate, each with its reason.

use std::time::Duration;

/// The largest control or join message. An ack is below 1 KiB, a certificate request below 2 KiB; what is largest is a
/// configuration, and the status of a device with hundreds of cameras.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// What the pairs of main and sub streams may take of a Hello: 128 pairs with names of 180 letters each.
pub(crate) const SUB_STREAMS_BYTES_MAX: usize = 48 * 1024;

/// The largest fragment header: the name of a stream is 256 bytes, everything else is numbers.
pub const HEADER_BYTES_MAX: usize = 4 * 1024;

/// The largest trailer: three numbers.
pub const TRAILER_BYTES_MAX: usize = 256;

/// The most bytes that one `Write` asks for: large enough that framing costs nothing, small enough
/// that a live fragment does not wait long behind a backlog chunk that has been handed to QUIC.
pub const CHUNK_BYTES_MAX: usize = 128 * 1024;

/// The longest error text in an ack: a sentence, not a log.
pub const ACK_TEXT_BYTES_MAX: usize = 512;

/// Backlog fragments that the sender wants to know ahead of those in flight. The rest stays in the
/// spool's folder, so that a week offline costs disk and no memory.
pub const BACKLOG_LOOKAHEAD: usize = 64;

/// Backlog fragments that wait for another attempt, beyond which no more of the backlog is wanted: what is refused
/// for now, as by a full disk, is refused to the next one too. Fragments whose own time is wrong must not hold up
/// those behind them, so this is far more than a connection has under way.
pub const POSTPONED_MAX: usize = 4096;

/// The first pause before a fragment is sent again after an error that may pass.
pub const RETRY_PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest such pause: a disk that was full for a day is retried within the minute.
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(60);

/// How long a fragment that was sent to its end may wait for PERSISTED. A group commit takes
/// milliseconds, but all that a server takes from its devices before it slows them, 512 MiB, takes a disk
/// of 1 MB/s nine minutes. A device that gave up before would send it all again and be behind it in the same queue.
/// A server that is silent for longer has lost the fragment, not delayed it.
pub const ACK_WAIT_MAX: Duration = Duration::from_secs(600);

/// What a server announces by default: fragments that may be unacknowledged on one connection.
/// Twice what 500 cameras need that are live at once, each with one more that awaits its ack.
pub const FRAGMENTS_IN_FLIGHT: u32 = 1024;

/// What a server announces by default: unacknowledged bytes on one connection. One second at
/// 1 Gbit/s is 125 MB; 64 MiB keeps such a link half busy at 250 ms and the memory bounded.
pub const BYTES_IN_FLIGHT: u64 = 64 * 1024 * 1024;

/// The largest UDP payload that either end is prepared for. QUIC finds out by itself what the path carries; each larger packet spares both
/// ends work. quinn hands the system up to ten packets at a time, and Linux takes no more than 65,507 bytes: what is more it refuses as
/// a whole, quinn takes that for a loss, and after some of them goes back to packets of 1,200 bytes.
pub const UDP_PAYLOAD_BYTES_MAX: u16 = 6_550;

/// Packets that the server may receive before it acknowledges them, if nothing is lost (the extension
/// draft-ietf-quic-ack-frequency). Every second packet, QUIC's own habit, makes a third of all packets acks; at
/// ten, what is lost is still known within one round trip, since a gap is acknowledged at once.
pub const PACKETS_PER_ACK: u32 = 9;

/// How long a burst of the backlog is, where it may take only a share of the line: many round trips, so that it shows how
/// fast the line is, and short enough that others on the line wait for a moment only.
pub const BURST: Duration = Duration::from_secs(1);

/// The longest time from one burst to the next. At 1 % a fragment that took a minute is followed by a pause of more than an
/// hour; beyond a day the line has changed, and the measure with it.
pub const SHARE_PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);

/// What a rate may catch up with after it was not used: less than a fragment, more than a scheduler's hiccup.
pub const RATE_SLACK: Duration = Duration::from_millis(250);

/// Writes a second at a rate: each is a quarter of a second, so that a low rate goes evenly.
pub const PIECES_PER_SECOND: u64 = 4;

/// The least of such writes: three packets. Smaller ones would be mostly headers.
pub const PIECE_BYTES_MIN: u64 = 4 * 1024;

/// The largest configuration that is pushed: 256 cameras at 180 bytes each, and it fits a message.
pub const CONFIGURATION_BYTES_MAX: usize = 48 * 1024;
const _: () = assert!(CONFIGURATION_BYTES_MAX + 1024 <= MESSAGE_BYTES_MAX);

/// Problems of a configuration that a report carries: a person mends these first and pushes again.
pub const PROBLEMS_MAX: usize = 32;

/// The longest of them: a sentence and what to write, or where TOML breaks off, with the line.
pub const PROBLEM_TEXT_BYTES_MAX: usize = 1024;
const _: () = assert!(PROBLEMS_MAX * PROBLEM_TEXT_BYTES_MAX + 1024 <= MESSAGE_BYTES_MAX);

/// What the cameras of one status may take: 256 that are well are 25 KiB.
pub const STATUS_CAMERAS_BYTES_MAX: usize = 48 * 1024;
const _: () = assert!(STATUS_CAMERAS_BYTES_MAX + 1024 <= MESSAGE_BYTES_MAX);

/// The longest reason of a camera's failure in a status: a sentence.
pub const FAILURE_TEXT_BYTES_MAX: usize = 256;

/// The longest word in a status.
pub const WORD_BYTES_MAX: usize = 32;

/// The longest reason why a command failed: a sentence.
pub const RESULT_TEXT_BYTES_MAX: usize = 1024;

/// The largest piece of a command's result: status and reports get in between.
pub const RESULT_PIECE_BYTES_MAX: usize = 32 * 1024;

/// The largest result of a command, a picture: a JPEG of eight megapixels.
pub const RESULT_BYTES_MAX: usize = 2 * 1024 * 1024;
