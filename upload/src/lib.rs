//! How fragments travel from device to server: both ends of the protocol, without sockets.
//!
//! One QUIC connection carries all cameras of a device. Each fragment has a unidirectional stream of
//! its own, written while it is captured; acks come back on the control stream. This crate knows the
//! bytes ([`wire`]), decides on the device what to send next ([`Sender`]) and takes a fragment's
//! stream apart on the server ([`FragmentReceiver`]). Beside it stands the server's end of another protocol,
//! that of Kinesis Video Streams ([`put_media`]). It opens no socket, starts no task and reads no
//! clock: the caller passes bytes and `now` in and does what it is told. design/upload.md says why.
//!
//! Start reading at [`wire`], then [`Sender`] and [`FragmentReceiver`].

pub mod code;
pub mod control;
pub mod fleet;
pub mod fragment_stream;
pub mod join;
pub mod limits;
mod pace;
pub mod put_media;
mod receiver;
mod sender;
pub mod token;
pub mod wire;

pub use code::{CloseCode, ErrorCode};
pub use control::{Ack, AckKind, FromAgent, FromServer, Hello, SubStream, Welcome};
pub use fragment_stream::{FragmentHeader, FragmentKey, Trailer};
pub use pace::Allowance;
pub use receiver::{FragmentReceiver, ReceiveError, Received};
pub use sender::{Action, Priority, Sender};
pub use token::JoinToken;
