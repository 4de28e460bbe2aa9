//! What a server asks of a device, and what comes of it.
//!
//! ```text
//! Command        1 id: uint64   2 ping: Ping {}   3 restart_camera: { 1 stream: string }
//!                4 snapshot: { 1 stream: string  2 width_max: uint32 }
//!                5 fetch: { 1 stream: string  2 from_ns: sint64  3 to_ns: sint64 }
//! CommandResult  1 id: uint64   2 piece: bytes   3 state: uint32 (0 piece, 1 done, 2 failed)   4 message: string
//! Fetched        1 fragments: uint64   2 bytes: uint64   3 milliseconds: uint64   4 more: bool
//! ```
//!
//! A new command is a new kind with a number of its own. A device that does not know it gets a command without a kind
//! that it knows, and answers so. A result is any number of pieces and one end. What the pieces
//! are depends on the command: a version as text, a JPEG, a [`Fetched`].

use std::time::Duration;

use bytes::Bytes;
use fragment::WallTime;
use prost::Message as _;

use super::cut;
use crate::limits;

/// Something that the device shall do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Chosen by the server; results bear it.
    pub id: u64,
    /// What.
    pub kind: CommandKind,
}

/// What a device can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandKind {
    /// An answer.
    Ping,
    /// To close a camera and open it again.
    RestartCamera {
        /// The stream that it feeds.
        stream: String,
    },
    /// The newest key frame of a camera, as a JPEG.
    Snapshot {
        /// The stream that it feeds.
        stream: String,
        /// The most pixels in a row; 0 leaves it to the device.
        width_max: u32,
    },
    /// To upload what it has recorded in a range of time, whatever mode and hours say. Its answer is a [`Fetched`].
    Fetch {
        /// The stream that it was recorded for.
        stream: String,
        /// From when on.
        from: WallTime,
        /// Until when, excluded.
        to: WallTime,
    },
    /// Something that this version does not know.
    Unknown,
}

/// What of a range a device has that the server does not: it is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Fragments that are whole.
    pub fragments: u64,
    /// Their payload.
    pub bytes: u64,
    /// How long they play.
    pub duration: Duration,
    /// Whether more may follow: what is being captured, or will be, before the range ends.
    pub more: bool,
}

/// A part of the answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandResult {
    /// Which command.
    pub id: u64,
    /// What comes of it.
    pub part: CommandPart,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandPart {
    /// The next bytes; at most [`limits::RESULT_PIECE_BYTES_MAX`].
    Piece(Bytes),
    /// It is done, and nothing more comes.
    Done,
    /// It could not be done, and why.
    Failed(String),
}

impl Fetched {
    /// As the answer to a command.
    pub fn encode(&self) -> Bytes {
        let Self { fragments, bytes, duration, more } = *self;
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        proto::Fetched { fragments, bytes, milliseconds, more }.encode_to_vec().into()
    }

    /// `None` for bytes that are no such answer.
    pub fn decode(bytes: Bytes) -> Option<Self> {
        let proto::Fetched { fragments, bytes, milliseconds, more } = proto::Fetched::decode(bytes).ok()?;
        Some(Self { fragments, bytes, duration: Duration::from_millis(milliseconds), more })
    }
}

impl CommandResult {
    /// The results that carry `answer`: its bytes in pieces, or why there are none.
    pub fn parts(id: u64, answer: Result<Bytes, String>) -> Vec<Self> {
        let part = |part| Self { id, part };
        let mut bytes = match answer {
            Ok(bytes) => bytes,
            Err(why) => return vec![part(CommandPart::Failed(why))],
        };
        let mut parts = Vec::new();
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(limits::RESULT_PIECE_BYTES_MAX));
            parts.push(part(CommandPart::Piece(piece)));
        }
        parts.push(part(CommandPart::Done));
        parts
    }

    pub(crate) fn to_proto(&self) -> proto::CommandResult {
        let (piece, state, message) = match &self.part {
            CommandPart::Piece(bytes) => (bytes.clone(), PIECE, String::new()),
            CommandPart::Done => (Bytes::new(), DONE, String::new()),
            CommandPart::Failed(why) => (Bytes::new(), FAILED, cut(why, limits::RESULT_TEXT_BYTES_MAX)),
        };
        proto::CommandResult { id: self.id, piece, state, message }
    }

    /// `None` for a state that this version does not know.
    pub(crate) fn from_proto(result: proto::CommandResult) -> Option<Self> {
        let part = match result.state {
            PIECE => CommandPart::Piece(result.piece),
            DONE => CommandPart::Done,
            FAILED => CommandPart::Failed(cut(&result.message, limits::RESULT_TEXT_BYTES_MAX)),
            _ => return None,
        };
        Some(Self { id: result.id, part })
    }
}

impl Command {
    pub(crate) fn to_proto(&self) -> proto::Command {
        let mut command = proto::Command { id: self.id, ..proto::Command::default() };
        match &self.kind {
            CommandKind::Ping => command.ping = Some(proto::Ping {}),
            CommandKind::RestartCamera { stream } => {
                command.restart_camera = Some(proto::RestartCamera { stream: stream.clone() });
            }
            CommandKind::Snapshot { stream, width_max } => {
                command.snapshot = Some(proto::Snapshot { stream: stream.clone(), width_max: *width_max });
            }
            CommandKind::Fetch { stream, from, to } => {
                let (from_ns, to_ns) = (from.as_nanos(), to.as_nanos());
                command.fetch = Some(proto::Fetch { stream: stream.clone(), from_ns, to_ns });
            }
            CommandKind::Unknown => {}
        }
        command
    }

    pub(crate) fn from_proto(command: proto::Command) -> Self {
        let kind = match command {
            proto::Command { ping: Some(proto::Ping {}), .. } => CommandKind::Ping,
            proto::Command { restart_camera: Some(restart), .. } => {
                CommandKind::RestartCamera { stream: restart.stream }
            }
            proto::Command { snapshot: Some(snapshot), .. } => {
                CommandKind::Snapshot { stream: snapshot.stream, width_max: snapshot.width_max }
            }
            proto::Command { fetch: Some(fetch), .. } => CommandKind::Fetch {
                stream: fetch.stream,
                from: WallTime::from_nanos(fetch.from_ns),
                to: WallTime::from_nanos(fetch.to_ns),
            },
            _ => CommandKind::Unknown,
        };
        Self { id: command.id, kind }
    }
}

const PIECE: u32 = 0;
const DONE: u32 = 1;
const FAILED: u32 = 2;

/// The fields on the wire.
pub(crate) mod proto {
    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Command {
        #[prost(uint64, tag = "1")]
        pub(crate) id: u64,
        #[prost(message, optional, tag = "2")]
        pub(crate) ping: Option<Ping>,
        #[prost(message, optional, tag = "3")]
        pub(crate) restart_camera: Option<RestartCamera>,
        #[prost(message, optional, tag = "4")]
        pub(crate) snapshot: Option<Snapshot>,
        #[prost(message, optional, tag = "5")]
        pub(crate) fetch: Option<Fetch>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Ping {}

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct RestartCamera {
        #[prost(string, tag = "1")]
        pub(crate) stream: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Snapshot {
        #[prost(string, tag = "1")]
        pub(crate) stream: String,
        #[prost(uint32, tag = "2")]
        pub(crate) width_max: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Fetch {
        #[prost(string, tag = "1")]
        pub(crate) stream: String,
        #[prost(sint64, tag = "2")]
        pub(crate) from_ns: i64,
        #[prost(sint64, tag = "3")]
        pub(crate) to_ns: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Fetched {
        #[prost(uint64, tag = "1")]
        pub(crate) fragments: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) bytes: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) milliseconds: u64,
        #[prost(bool, tag = "4")]
        pub(crate) more: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct CommandResult {
        #[prost(uint64, tag = "1")]
        pub(crate) id: u64,
        #[prost(bytes = "bytes", tag = "2")]
        pub(crate) piece: Bytes,
        #[prost(uint32, tag = "3")]
        pub(crate) state: u32,
        #[prost(string, tag = "4")]
        pub(crate) message: String,
    }
}
