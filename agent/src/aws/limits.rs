//! The bounds of an upload to AWS, each with its reason. What AWS sets stands in its quota page for Kinesis Video Streams.

use std::time::Duration;

/// AWS takes five fragments a second of each stream; one each 200 ms is never more.
pub(super) const FRAGMENT_PAUSE: Duration = Duration::from_millis(200);

/// AWS takes 12.5 MB/s of each stream.
pub(super) const BYTES_PER_SECOND: u64 = 12_500_000;

/// Bytes of one stream that were sent and are not persisted. A broken session sends as much again; at 12.5 MB/s it
/// covers acks that take more than two seconds.
pub(super) const WINDOW_BYTES: u64 = 32 * 1024 * 1024;

/// Fragments of one stream that were sent and are not persisted: at five a second, acks may take twelve seconds.
pub(super) const WINDOW_FRAGMENTS: usize = 64;

/// AWS ends a session after 45 minutes, in the middle of a fragment. We end it before, between two.
pub(super) const SESSION_MAX: Duration = Duration::from_secs(40 * 60);

/// Credentials are renewed, and sessions made with them ended, this long before they expire. AWS gives out new ones
/// at least five minutes before.
pub(super) const CREDENTIALS_MARGIN: Duration = Duration::from_secs(4 * 60);

/// A session lasts at least so long, whatever its credentials say: a source that gives out credentials which have all
/// but expired must not cost a session each moment.
pub(super) const SESSION_MIN: Duration = Duration::from_secs(30);

/// Sent, and no ack of any kind for this long: the connection is dead. The same as in AWS's own producer.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Sent, and acked but not persisted for this long: it is sent again on another connection.
pub(super) const PERSIST_MAX: Duration = Duration::from_secs(300);

/// How long connecting, and the answer to a request's head, may take each.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How often, and after which pauses, it is asked whether a stream that was just made can be used.
pub(super) const ACTIVE_LOOKS: u32 = 20;
/// The pause between two of these looks: AWS takes five such calls a second.
pub(super) const ACTIVE_PAUSE: Duration = Duration::from_millis(500);

/// How long the end of a session in order may take: the last acks, if the agent is stopped, and AWS's end.
pub(super) const CLOSE_WAIT_MAX: Duration = Duration::from_secs(1);

/// One ack is below 1 kB at AWS; more than this without an end to it is none.
pub(super) const ACK_BYTES_MAX: usize = 64 * 1024;

/// An error's text, of which the first sentences are of use.
pub(super) const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Pieces of a fragment that wait for the socket. Each is a unit or its head.
pub(super) const PIECES_MAX: usize = 8;

/// Names and values of a fragment that AWS takes.
pub(super) const TAGS_MAX: usize = 10;
