//! The messages of the control stream. wire.rs frames them.
//!
//! ```text
//! device → server  FromAgent   { 1: Hello | 2: Status | 3: CommandResult | 4: ConfigurationReport }
//! server → device  FromServer  { 1: Welcome | 2: Ack | 3: Command | 4: Configuration | 5: Confirmation }
//! Hello    1 agent_version: string   2 device_time_ns: sint64   3 clock_quality: uint32
//!          4 sub_streams: SubStream, repeated
//! SubStream 1 stream: string         2 of: string
//! Welcome  1 server_time_ns: sint64  2 fragments_in_flight: uint32  3 bytes_in_flight: uint64
//!          4 fragment_bytes: uint64  5 fragment_duration_ms: uint64 6 device: string
//!          7 certificate_expires_ns: sint64
//! Ack      1 stream: string  2 session: fixed64  3 sequence: uint32  4 kind: uint32
//!          5 code: uint32    6 message: string   7 retryable: bool   8 fragment_number: uint64
//! ```
//!
//! What is said about the device itself stands in [`crate::fleet`].
//!
//! Fields are only ever added. An unknown message is skipped, so that a newer end can speak to an
//! older one.

use std::time::Duration;

use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, FragmentNumber, Sequence, SessionId, StreamName, WallTime};
use prost::Message as _;

use crate::fleet::{Command, CommandResult, Configuration, ConfigurationReport, Confirmation, Status};
use crate::fragment_stream::FragmentKey;
use crate::wire::{self, MessageError};
use crate::{ErrorCode, fleet, limits};

/// A message from the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromAgent {
    /// Who speaks.
    Hello(Hello),
    /// How it is.
    Status(Box<Status>),
    /// What came of a command.
    Result(CommandResult),
    /// What it made of a configuration.
    Configuration(ConfigurationReport),
    /// Something that this version does not know.
    Unknown,
}

/// The device's first words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The agent's version, for the log.
    pub agent_version: String,
    /// What the device's clock says.
    pub device_time: WallTime,
    /// How far the device trusts its clock.
    pub clock_quality: ClockQuality,
    /// Which of its streams are smaller copies of others.
    pub sub_streams: Vec<SubStream>,
}

/// That a stream shows what another of the same camera shows, smaller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubStream {
    /// The smaller one.
    pub stream: StreamName,
    /// The other.
    pub of: StreamName,
}

/// A message from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromServer {
    /// The answer to Hello.
    Welcome(Welcome),
    /// What became of a fragment.
    Ack(Ack),
    /// What the device shall do.
    Command(Command),
    /// How it shall be configured.
    Configuration(Configuration),
    /// The device was heard under a configuration.
    Confirmation(Confirmation),
    /// Something that this version does not know.
    Unknown,
}

/// The server's first words: its time and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// What the server's clock says, for devices that have no better one.
    pub server_time: WallTime,
    /// Fragments that may be unacknowledged on this connection.
    pub fragments_in_flight: u32,
    /// Bytes that may be unacknowledged on this connection.
    pub bytes_in_flight: u64,
    /// The largest fragment that the server takes.
    pub fragment_bytes: u64,
    /// The longest fragment that the server takes.
    pub fragment_duration: Duration,
    /// The device's name, as the server knows it.
    pub device: String,
    /// When the presented certificate ends; renew well before.
    pub certificate_expires: WallTime,
}

/// How far a fragment has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AckKind {
    /// Its first bytes are in.
    Buffering,
    /// Its last byte is in and it is well formed.
    Received,
    /// It is on disk. The device may forget it.
    Persisted,
    /// It is not stored, and why.
    Error {
        /// The reason, for programs.
        code: ErrorCode,
        /// The reason, for people.
        message: String,
        /// Whether another attempt may succeed.
        retryable: bool,
    },
}

/// What became of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Which fragment.
    pub key: FragmentKey,
    /// How far it has come.
    pub kind: AckKind,
    /// The number that the server gave it, once persisted.
    pub number: Option<FragmentNumber>,
}

impl FromAgent {
    /// The message with its length in front.
    pub fn encode(&self) -> Bytes {
        let mut message = proto::FromAgent::default();
        match self {
            Self::Hello(hello) => message.hello = Some(hello.to_proto()),
            Self::Status(status) => message.status = Some(status.to_proto()),
            Self::Result(result) => message.result = Some(result.to_proto()),
            Self::Configuration(report) => message.configuration = Some(report.to_proto()),
            Self::Unknown => {}
        }
        wire::delimited(&message)
    }

    /// The message in these bytes, without the length in front.
    pub fn decode(bytes: Bytes) -> Result<Self, MessageError> {
        let message = proto::FromAgent::decode(bytes)?;
        if let Some(hello) = message.hello {
            return Ok(Self::Hello(Hello::from_proto(hello)));
        }
        if let Some(status) = message.status {
            return Ok(Self::Status(Box::new(Status::from_proto(status))));
        }
        let result = message.result.and_then(CommandResult::from_proto).map(Self::Result);
        let report = message.configuration.as_ref().and_then(ConfigurationReport::from_proto).map(Self::Configuration);
        Ok(result.or(report).unwrap_or(Self::Unknown))
    }
}

impl FromServer {
    /// The message with its length in front.
    pub fn encode(&self) -> Bytes {
        let mut message = proto::FromServer::default();
        match self {
            Self::Welcome(welcome) => message.welcome = Some(welcome.to_proto()),
            Self::Ack(ack) => message.ack = Some(ack.to_proto()),
            Self::Command(command) => message.command = Some(command.to_proto()),
            Self::Configuration(Configuration { version, toml }) => {
                let (version, toml) = (*version, toml.clone());
                message.configuration = Some(fleet::configuration::proto::Configuration { version, toml });
            }
            Self::Confirmation(Confirmation { version }) => {
                message.confirmation = Some(fleet::configuration::proto::Confirmation { version: *version });
            }
            Self::Unknown => {}
        }
        wire::delimited(&message)
    }

    /// The message in these bytes, without the length in front.
    pub fn decode(bytes: Bytes) -> Result<Self, MessageError> {
        let message = proto::FromServer::decode(bytes)?;
        if let Some(ack) = message.ack {
            return Ack::from_proto(ack).map(|ack| ack.map_or(Self::Unknown, Self::Ack));
        }
        if let Some(command) = message.command {
            return Ok(Self::Command(Command::from_proto(command)));
        }
        if let Some(given) = message.configuration {
            return Ok(Self::Configuration(Configuration { version: given.version, toml: given.toml }));
        }
        if let Some(confirmed) = message.confirmation {
            return Ok(Self::Confirmation(Confirmation { version: confirmed.version }));
        }
        Ok(message.welcome.map_or(Self::Unknown, |welcome| Self::Welcome(Welcome::from_proto(welcome))))
    }
}

impl Hello {
    fn to_proto(&self) -> proto::Hello {
        proto::Hello {
            agent_version: self.agent_version.clone(),
            device_time_ns: self.device_time.as_nanos(),
            clock_quality: self.clock_quality.to_wire().into(),
            sub_streams: sub_streams(&self.sub_streams),
        }
    }

    fn from_proto(hello: proto::Hello) -> Self {
        Self {
            agent_version: hello.agent_version,
            device_time: WallTime::from_nanos(hello.device_time_ns),
            clock_quality: quality(hello.clock_quality),
            sub_streams: hello.sub_streams.iter().filter_map(SubStream::from_proto).collect(),
        }
    }
}

impl Welcome {
    fn to_proto(&self) -> proto::Welcome {
        proto::Welcome {
            server_time_ns: self.server_time.as_nanos(),
            fragments_in_flight: self.fragments_in_flight,
            bytes_in_flight: self.bytes_in_flight,
            fragment_bytes: self.fragment_bytes,
            fragment_duration_ms: u64::try_from(self.fragment_duration.as_millis()).unwrap_or(u64::MAX),
            device: self.device.clone(),
            certificate_expires_ns: self.certificate_expires.as_nanos(),
        }
    }

    fn from_proto(welcome: proto::Welcome) -> Self {
        Self {
            server_time: WallTime::from_nanos(welcome.server_time_ns),
            // A window of nothing would be a connection that never sends.
            fragments_in_flight: welcome.fragments_in_flight.max(1),
            bytes_in_flight: welcome.bytes_in_flight.max(1),
            fragment_bytes: welcome.fragment_bytes,
            fragment_duration: Duration::from_millis(welcome.fragment_duration_ms),
            device: welcome.device,
            certificate_expires: WallTime::from_nanos(welcome.certificate_expires_ns),
        }
    }
}

impl Ack {
    fn to_proto(&self) -> proto::Ack {
        let mut ack = proto::Ack {
            stream: self.key.stream.to_string(),
            session: self.key.id.session.0,
            sequence: self.key.id.sequence.0,
            fragment_number: self.number.map_or(0, |number| number.0),
            ..proto::Ack::default()
        };
        match &self.kind {
            AckKind::Buffering => ack.kind = KIND_BUFFERING,
            AckKind::Received => ack.kind = KIND_RECEIVED,
            AckKind::Persisted => ack.kind = KIND_PERSISTED,
            AckKind::Error { code, message, retryable } => {
                ack.kind = KIND_ERROR;
                ack.code = code.number();
                ack.message = fleet::cut(message, limits::ACK_TEXT_BYTES_MAX);
                ack.retryable = *retryable;
            }
        }
        ack
    }

    /// `None` for a kind that this version does not know: it can't be acted upon.
    fn from_proto(ack: proto::Ack) -> Result<Option<Self>, MessageError> {
        let kind = match ack.kind {
            KIND_BUFFERING => AckKind::Buffering,
            KIND_RECEIVED => AckKind::Received,
            KIND_PERSISTED => AckKind::Persisted,
            KIND_ERROR => AckKind::Error {
                code: ErrorCode::from_number(ack.code),
                message: ack.message,
                retryable: ack.retryable,
            },
            _ => return Ok(None),
        };
        let stream = ack.stream.parse().map_err(|e: fragment::id::InvalidStreamName| MessageError::BadField {
            field: "stream",
            why: e.to_string(),
        })?;
        let id = FragmentId { session: SessionId(ack.session), sequence: Sequence(ack.sequence) };
        let number = (ack.fragment_number != 0).then_some(FragmentNumber(ack.fragment_number));
        Ok(Some(Self { key: FragmentKey { stream, id }, kind, number }))
    }
}

impl SubStream {
    /// `None` if a name is none: what it would say is a convenience, and no reason to refuse a device.
    fn from_proto(sub: &proto::SubStream) -> Option<Self> {
        Some(Self { stream: sub.stream.parse().ok()?, of: sub.of.parse().ok()? })
    }
}

/// As many as Hello has room for.
fn sub_streams(subs: &[SubStream]) -> Vec<proto::SubStream> {
    let mut room = limits::SUB_STREAMS_BYTES_MAX;
    let fits = |sub: &&SubStream| {
        let bytes = sub.stream.as_str().len() + sub.of.as_str().len() + 8;
        room = room.saturating_sub(bytes);
        room > 0
    };
    let proto = |sub: &SubStream| proto::SubStream { stream: sub.stream.to_string(), of: sub.of.to_string() };
    subs.iter().take_while(fits).map(proto).collect()
}

/// The clock quality of a number of the wire.
pub(crate) fn quality(number: u32) -> ClockQuality {
    ClockQuality::from_wire(u8::try_from(number).unwrap_or(0))
}

const KIND_BUFFERING: u32 = 1;
const KIND_RECEIVED: u32 = 2;
const KIND_PERSISTED: u32 = 3;
const KIND_ERROR: u32 = 4;

/// The fields on the wire.
mod proto {
    use crate::fleet::{command, configuration, status};

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct FromAgent {
        #[prost(message, optional, tag = "1")]
        pub(super) hello: Option<Hello>,
        #[prost(message, optional, tag = "2")]
        pub(super) status: Option<status::proto::Status>,
        #[prost(message, optional, tag = "3")]
        pub(super) result: Option<command::proto::CommandResult>,
        #[prost(message, optional, tag = "4")]
        pub(super) configuration: Option<configuration::proto::ConfigurationReport>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Hello {
        #[prost(string, tag = "1")]
        pub(super) agent_version: String,
        #[prost(sint64, tag = "2")]
        pub(super) device_time_ns: i64,
        #[prost(uint32, tag = "3")]
        pub(super) clock_quality: u32,
        #[prost(message, repeated, tag = "4")]
        pub(super) sub_streams: Vec<SubStream>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct SubStream {
        #[prost(string, tag = "1")]
        pub(super) stream: String,
        #[prost(string, tag = "2")]
        pub(super) of: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct FromServer {
        #[prost(message, optional, tag = "1")]
        pub(super) welcome: Option<Welcome>,
        #[prost(message, optional, tag = "2")]
        pub(super) ack: Option<Ack>,
        #[prost(message, optional, tag = "3")]
        pub(super) command: Option<command::proto::Command>,
        #[prost(message, optional, tag = "4")]
        pub(super) configuration: Option<configuration::proto::Configuration>,
        #[prost(message, optional, tag = "5")]
        pub(super) confirmation: Option<configuration::proto::Confirmation>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Welcome {
        #[prost(sint64, tag = "1")]
        pub(super) server_time_ns: i64,
        #[prost(uint32, tag = "2")]
        pub(super) fragments_in_flight: u32,
        #[prost(uint64, tag = "3")]
        pub(super) bytes_in_flight: u64,
        #[prost(uint64, tag = "4")]
        pub(super) fragment_bytes: u64,
        #[prost(uint64, tag = "5")]
        pub(super) fragment_duration_ms: u64,
        #[prost(string, tag = "6")]
        pub(super) device: String,
        #[prost(sint64, tag = "7")]
        pub(super) certificate_expires_ns: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Ack {
        #[prost(string, tag = "1")]
        pub(super) stream: String,
        #[prost(fixed64, tag = "2")]
        pub(super) session: u64,
        #[prost(uint32, tag = "3")]
        pub(super) sequence: u32,
        #[prost(uint32, tag = "4")]
        pub(super) kind: u32,
        #[prost(uint32, tag = "5")]
        pub(super) code: u32,
        #[prost(string, tag = "6")]
        pub(super) message: String,
        #[prost(bool, tag = "7")]
        pub(super) retryable: bool,
        #[prost(uint64, tag = "8")]
        pub(super) fragment_number: u64,
    }
}
