//! The bytes of a spool file: one fragment, from its first unit on.
//!
//! ```text
//! [magic: 5 = "MRSP" 0x01]                     the last byte is the version of this layout
//! record*
//!   [kind: 1][length of body: u32][crc32c of kind, length and body: u32][body]       big endian
//!
//! first record   'H'  protobuf Header: 1 stream: string    2 session: fixed64   3 sequence: uint32
//!                     4 ordinal: uint64    5 wall_ns: sint64    6 clock_quality: uint32
//!                     7 boot: bytes (16, or none)    8 since_boot_ns: uint64    9 closing: bytes
//! then           'C'  [elapsed_ns: u64][payload]    whole Matroska elements; elapsed is how long the
//!                                                   fragment plays with this chunk in it
//! last           'T'  [duration_ns: u64][bytes: u64][crc32c of the payload: u32]
//! ```
//!
//! The payloads, joined, are the fragment. `closing` are the bytes that end its document: a recovery
//! appends them to a fragment that was torn, and so needs to know no Matroska. The ordinal orders
//! fragments by capture, across boots with wrong clocks.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use disk::File;
use fragment::{BootId, ClockQuality, FragmentId, MonotonicTime, Sequence, SessionId, WallTime};
use prost::Message as _;
use upload::{FragmentKey, Trailer};

use crate::checksum::append_to_each;
use crate::limits;

/// What a spool file begins with.
pub(crate) const MAGIC: [u8; 5] = *b"MRSP\x01";
/// Kind, length and checksum.
pub(crate) const RECORD_HEAD_BYTES: usize = 9;
/// Always the same, so that it can be looked for at a file's end.
pub(crate) const TRAILER_RECORD_BYTES: usize = RECORD_HEAD_BYTES + 20;
/// Where the checksum stands in a record.
const CHECKSUM: Range<usize> = 5..RECORD_HEAD_BYTES;
const ELAPSED_BYTES: usize = 8;
/// What stands before the payload of a chunk.
pub(crate) const CHUNK_HEAD_BYTES: usize = RECORD_HEAD_BYTES + ELAPSED_BYTES;

const KIND_HEADER: u8 = b'H';
const KIND_CHUNK: u8 = b'C';
const KIND_TRAILER: u8 = b'T';

/// What is known of a fragment when its first unit is captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which fragment.
    pub key: FragmentKey,
    /// Its place in the order of capture on this device.
    pub ordinal: u64,
    /// When it began.
    pub start: Start,
    /// The bytes that end its document.
    pub closing: Bytes,
}

/// When a fragment began, as far as was known at its capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// By the monotonic clock; `None` for a fragment that was not captured, but read from a file.
    pub monotonic: Option<MonotonicTime>,
    /// By the calendar.
    pub wall: WallTime,
    /// How far the calendar could be trusted.
    pub quality: ClockQuality,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Header(Header),
    Chunk { elapsed: Duration, payload: Bytes },
    Trailer(Trailer),
}

/// Reads a file from a place onwards.
pub(crate) struct InOrder {
    file: Arc<dyn File>,
    at: u64,
}

impl InOrder {
    pub(crate) fn new(file: Arc<dyn File>, at: u64) -> Self {
        Self { file, at }
    }

    /// Where it reads next.
    pub(crate) fn place(&self) -> u64 {
        self.at
    }
}

impl Read for InOrder {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(out, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Why a record can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file can't be read.
    #[error("a spool file can't be read: {0}")]
    Io(#[from] io::Error),
    /// The bytes are not what was written.
    #[error("a spool file is damaged: {0}")]
    Damaged(&'static str),
}

pub(crate) fn encode_header(header: &Header) -> Bytes {
    let (boot, since_boot) = match header.start.monotonic {
        Some(time) => (Bytes::copy_from_slice(&time.boot.0.to_be_bytes()), time.since_boot),
        None => (Bytes::new(), Duration::ZERO),
    };
    let body = proto::Header {
        stream: header.key.stream.to_string(),
        session: header.key.id.session.0,
        sequence: header.key.id.sequence.0,
        ordinal: header.ordinal,
        wall_ns: header.start.wall.as_nanos(),
        clock_quality: header.start.quality.to_wire().into(),
        boot,
        since_boot_ns: nanos(since_boot),
        closing: header.closing.clone(),
    };
    let mut out = BytesMut::with_capacity(256);
    out.put_slice(&MAGIC);
    put_record(&mut out, KIND_HEADER, &body.encode_to_vec());
    out.freeze()
}

pub(crate) fn encode_chunk(elapsed: Duration, pieces: &[Bytes]) -> Bytes {
    let head = ChunkHead::new(elapsed, pieces.iter().map(|piece| piece.len() as u64).sum());
    let [checksum] = append_to_each([head.crc32c()], pieces);
    let mut out = BytesMut::from(&head.with(checksum)[..]);
    pieces.iter().for_each(|piece| out.put_slice(piece));
    out.freeze()
}

/// What stands before a chunk's payload, without the checksum.
pub(crate) struct ChunkHead([u8; CHUNK_HEAD_BYTES]);

impl ChunkHead {
    pub(crate) fn new(elapsed: Duration, payload_bytes: u64) -> Self {
        let mut head = [0; CHUNK_HEAD_BYTES];
        let mut out = &mut head[..];
        out.put_u8(KIND_CHUNK);
        out.put_u32(record_length(ELAPSED_BYTES as u64 + payload_bytes));
        out.put_u32(0);
        out.put_u64(nanos(elapsed));
        Self(head)
    }

    /// The checksum of this much of the record. The payload is to be appended to it.
    pub(crate) fn crc32c(&self) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.0[..CHECKSUM.start]), &self.0[CHECKSUM.end..])
    }

    /// Complete, with the checksum of the whole record.
    pub(crate) fn with(mut self, crc32c: u32) -> [u8; CHUNK_HEAD_BYTES] {
        self.0[CHECKSUM].copy_from_slice(&crc32c.to_be_bytes());
        self.0
    }
}

pub(crate) fn encode_trailer(trailer: &Trailer) -> Bytes {
    let mut body = BytesMut::with_capacity(20);
    body.put_u64(nanos(trailer.duration));
    body.put_u64(trailer.bytes);
    body.put_u32(trailer.crc32c);
    let mut out = BytesMut::with_capacity(TRAILER_RECORD_BYTES);
    put_record(&mut out, KIND_TRAILER, &body);
    out.freeze()
}

pub(crate) fn read_magic(from: &mut impl Read) -> Result<(), ReadError> {
    let mut magic = [0; MAGIC.len()];
    match from.read_exact(&mut magic) {
        Ok(()) if magic == MAGIC => Ok(()),
        Ok(()) => Err(ReadError::Damaged("it does not begin like one")),
        Err(error) => Err(short(error)),
    }
}

/// The next record. A file that ends within or before it is damaged, too: the trailer tells the end.
pub(crate) fn read_record(from: &mut impl Read) -> Result<Record, ReadError> {
    let mut head = [0; RECORD_HEAD_BYTES];
    from.read_exact(&mut head).map_err(short)?;
    let (kind, mut rest) = (head[0], &head[1..]);
    let length = rest.get_u32() as usize;
    let checksum = rest.get_u32();
    let max = match kind {
        KIND_HEADER => limits::HEADER_BYTES_MAX,
        KIND_CHUNK => limits::RECORD_BYTES_MAX,
        KIND_TRAILER => TRAILER_RECORD_BYTES,
        _ => return Err(ReadError::Damaged("a record of no known kind")),
    };
    if length > max {
        return Err(ReadError::Damaged("a record is too long"));
    }
    let mut body = Vec::with_capacity(length);
    if from.take(length as u64).read_to_end(&mut body)? < length {
        return Err(ReadError::Damaged("it ends within a record"));
    }
    if crc32c::crc32c_append(crc32c::crc32c(&head[..5]), &body) != checksum {
        return Err(ReadError::Damaged("a record's checksum differs"));
    }
    parse_record(kind, body.into())
}

fn parse_record(kind: u8, mut body: Bytes) -> Result<Record, ReadError> {
    match kind {
        KIND_HEADER => parse_header(body).map(Record::Header).ok_or(ReadError::Damaged("its header makes no sense")),
        KIND_CHUNK if body.len() > ELAPSED_BYTES => {
            let elapsed = Duration::from_nanos(body.get_u64());
            Ok(Record::Chunk { elapsed, payload: body })
        }
        KIND_TRAILER if body.len() == 20 => Ok(Record::Trailer(Trailer {
            duration: Duration::from_nanos(body.get_u64()),
            bytes: body.get_u64(),
            crc32c: body.get_u32(),
        })),
        _ => Err(ReadError::Damaged("a record has the wrong length")),
    }
}

fn parse_header(body: Bytes) -> Option<Header> {
    let mut header = proto::Header::decode(body).ok()?;
    let monotonic = match header.boot.len() {
        0 => None,
        16 => Some(MonotonicTime {
            boot: BootId(header.boot.get_u128()),
            since_boot: Duration::from_nanos(header.since_boot_ns),
        }),
        _ => return None,
    };
    let id = FragmentId { session: SessionId(header.session), sequence: Sequence(header.sequence) };
    Some(Header {
        key: FragmentKey { stream: header.stream.parse().ok()?, id },
        ordinal: header.ordinal,
        start: Start {
            monotonic,
            wall: WallTime::from_nanos(header.wall_ns),
            quality: ClockQuality::from_wire(u8::try_from(header.clock_quality).unwrap_or(0)),
        },
        closing: header.closing,
    })
}

fn put_record(out: &mut BytesMut, kind: u8, body: &[u8]) {
    let start = out.len();
    out.put_u8(kind);
    out.put_u32(record_length(body.len() as u64));
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&out[start..]), body);
    out.put_u32(checksum);
    out.put_slice(body);
}

fn record_length(bytes: u64) -> u32 {
    u32::try_from(bytes).expect("a record is smaller than a fragment, which is at most 50 MiB")
}

fn short(error: io::Error) -> ReadError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ReadError::Damaged("it ends within a record"),
        _ => ReadError::Io(error),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

mod proto {
    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Header {
        #[prost(string, tag = "1")]
        pub(super) stream: String,
        #[prost(fixed64, tag = "2")]
        pub(super) session: u64,
        #[prost(uint32, tag = "3")]
        pub(super) sequence: u32,
        #[prost(uint64, tag = "4")]
        pub(super) ordinal: u64,
        #[prost(sint64, tag = "5")]
        pub(super) wall_ns: i64,
        #[prost(uint32, tag = "6")]
        pub(super) clock_quality: u32,
        #[prost(bytes = "bytes", tag = "7")]
        pub(super) boot: Bytes,
        #[prost(uint64, tag = "8")]
        pub(super) since_boot_ns: u64,
        #[prost(bytes = "bytes", tag = "9")]
        pub(super) closing: Bytes,
    }
}
