//! What a server asks of a device, and what comes of it.
//!
//! ```text
//! Command        1 id: uint64   2 ping: Ping {}   3 restart_camera: { 1 stream: string }
//!                4 snapshot: { 1 stream: string  2 width_max: uint32 }
//! CommandResult  1 id: uint64   2 piece: bytes   3 state: uint32 (0 piece, 1 done, 2 failed)   4 message: string
//! ```
//!
//! A new command is a new kind with a number of its own. A device that does not know it gets a command without a kind
//! that it knows, and answers so. A result is any number of pieces and one end.

use bytes::Bytes;

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
    /// Something that this version does not know.
    Unknown,
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
