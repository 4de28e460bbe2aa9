//! What stands before and after a fragment's bytes on its stream. wire.rs has the whole layout.
//!
//! ```text
//! FragmentHeader  1 stream: string   2 session: fixed64  3 sequence: uint32  4 start_ns: sint64
//!                 5 clock_quality: uint32  6 boot: bytes (16)  7 since_boot_ns: uint64  8 live: bool
//! Trailer         1 duration_ns: uint64   2 bytes: uint64     3 crc32c: fixed32
//! ```

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use fragment::{BootId, ClockQuality, FragmentId, MonotonicTime, Sequence, SessionId, StreamName, WallTime};
use prost::Message as _;

use crate::control::quality;
use crate::wire::{self, MessageError};

/// Which fragment: its stream and its identity in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentKey {
    /// The stream.
    pub stream: StreamName,
    /// The identity chosen at capture.
    pub id: FragmentId,
}

impl std::fmt::Display for FragmentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.stream, self.id)
    }
}

/// What is known of a fragment when its first unit is captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentHeader {
    /// Which fragment.
    pub key: FragmentKey,
    /// When its first picture was taken.
    pub start: WallTime,
    /// How far `start` can be trusted.
    pub quality: ClockQuality,
    /// The same instant by the device's monotonic clock, where it is known.
    pub monotonic: Option<MonotonicTime>,
    /// Whether it is being captured as it is sent.
    pub live: bool,
}

/// What is known of a fragment only at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// How long it plays.
    pub duration: Duration,
    /// How many bytes its chunks hold.
    pub bytes: u64,
    /// CRC-32C of those bytes: a check against faults of memory and software on the way, which
    /// QUIC's own authentication does not see.
    pub crc32c: u32,
}

impl FragmentHeader {
    /// What a fragment stream begins with: magic, length, header.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(128);
        out.extend_from_slice(&wire::FRAGMENT_MAGIC);
        let (boot, since_boot) = match self.monotonic {
            Some(time) => (Bytes::copy_from_slice(&time.boot.0.to_be_bytes()), time.since_boot),
            None => (Bytes::new(), Duration::ZERO),
        };
        let header = proto::FragmentHeader {
            stream: self.key.stream.to_string(),
            session: self.key.id.session.0,
            sequence: self.key.id.sequence.0,
            start_ns: self.start.as_nanos(),
            clock_quality: self.quality.to_wire().into(),
            boot,
            since_boot_ns: nanos(since_boot),
            live: self.live,
        };
        wire::put_delimited(&header, &mut out);
        out.freeze()
    }

    /// The header in these protobuf bytes.
    pub fn decode(bytes: Bytes) -> Result<Self, MessageError> {
        let mut header = proto::FragmentHeader::decode(bytes)?;
        let monotonic = match header.boot.len() {
            0 => None,
            16 => Some(MonotonicTime {
                boot: BootId(header.boot.get_u128()),
                since_boot: Duration::from_nanos(header.since_boot_ns),
            }),
            length => {
                return Err(MessageError::BadField { field: "boot", why: format!("{length} bytes, not 16") });
            }
        };
        let stream = header.stream.parse().map_err(|e: fragment::id::InvalidStreamName| MessageError::BadField {
            field: "stream",
            why: e.to_string(),
        })?;
        let id = FragmentId { session: SessionId(header.session), sequence: Sequence(header.sequence) };
        Ok(Self {
            key: FragmentKey { stream, id },
            start: WallTime::from_nanos(header.start_ns),
            quality: quality(header.clock_quality),
            monotonic,
            live: header.live,
        })
    }
}

impl Trailer {
    /// What a fragment stream ends with: the mark of the last chunk, length, trailer.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(40);
        out.extend_from_slice(&wire::LAST_CHUNK);
        let trailer = proto::Trailer { duration_ns: nanos(self.duration), bytes: self.bytes, crc32c: self.crc32c };
        wire::put_delimited(&trailer, &mut out);
        out.freeze()
    }

    /// The trailer in these protobuf bytes.
    pub fn decode(bytes: Bytes) -> Result<Self, MessageError> {
        let trailer = proto::Trailer::decode(bytes)?;
        Ok(Self { duration: Duration::from_nanos(trailer.duration_ns), bytes: trailer.bytes, crc32c: trailer.crc32c })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The fields on the wire.
mod proto {
    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct FragmentHeader {
        #[prost(string, tag = "1")]
        pub(super) stream: String,
        #[prost(fixed64, tag = "2")]
        pub(super) session: u64,
        #[prost(uint32, tag = "3")]
        pub(super) sequence: u32,
        #[prost(sint64, tag = "4")]
        pub(super) start_ns: i64,
        #[prost(uint32, tag = "5")]
        pub(super) clock_quality: u32,
        #[prost(bytes = "bytes", tag = "6")]
        pub(super) boot: Bytes,
        #[prost(uint64, tag = "7")]
        pub(super) since_boot_ns: u64,
        #[prost(bool, tag = "8")]
        pub(super) live: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Trailer {
        #[prost(uint64, tag = "1")]
        pub(super) duration_ns: u64,
        #[prost(uint64, tag = "2")]
        pub(super) bytes: u64,
        #[prost(fixed32, tag = "3")]
        pub(super) crc32c: u32,
    }
}
