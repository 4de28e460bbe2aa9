//! Intake: is a fragment what it claims to be? Decides on each fragment as its bytes come.
//!
//! Payload is parsed as Matroska on its way, so that a malformed fragment is refused at its first wrong byte
//! and not after 50 MB. The pieces are kept as they came, and joined once, when the fragment is whole. Nothing
//! here waits or knows QUIC: bytes in, a header, and at the end a [`Whole`] out.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fragment::mkv::{self, Block, Event};
use fragment::{Codec, MediaTime, Tracks, WallTime};
use upload::{ErrorCode, FragmentHeader, FragmentReceiver, ReceiveError, Received, Trailer};

use crate::ca::sha256;
use crate::limits;

/// Why a fragment is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    /// Whether the same fragment may be taken at another attempt.
    pub(crate) retryable: bool,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retryable: code.is_retryable() }
    }

    /// A reason that passes by itself, whatever its code says.
    fn that_passes(self) -> Self {
        Self { retryable: true, ..self }
    }
}

impl From<ReceiveError> for Refusal {
    fn from(error: ReceiveError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<mkv::Error> for Refusal {
    fn from(error: mkv::Error) -> Self {
        Self::new(ErrorCode::InvalidMkv, error.to_string())
    }
}

/// A fragment that is whole and well formed.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) header: FragmentHeader,
    pub(crate) payload: Bytes,
    pub(crate) duration: Duration,
    pub(crate) tracks: Tracks,
    /// Whether it begins with a key frame of its leading track.
    pub(crate) independent: bool,
}

/// One fragment under way.
pub(crate) struct Intake {
    receiver: FragmentReceiver,
    document: Document,
    header: Option<FragmentHeader>,
    pieces: Vec<Bytes>,
    trailer: Option<Trailer>,
}

impl Intake {
    /// A fragment of which nothing is known.
    pub(crate) fn new() -> Self {
        let bytes_max = fragment::limits::FRAGMENT_BYTES_MAX as u64;
        Self {
            receiver: FragmentReceiver::new(bytes_max),
            document: Document::new(),
            header: None,
            pieces: Vec::new(),
            trailer: None,
        }
    }

    /// Takes the next bytes of the stream. Follow with [`Self::step`] until `None`.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.receiver.push(bytes);
    }

    /// Goes through what has come: which fragment this is, as soon as that is known, then `None`, as more bytes
    /// are needed.
    pub(crate) fn step(&mut self) -> Result<Option<FragmentHeader>, Refusal> {
        while let Some(part) = self.receiver.pull()? {
            match part {
                Received::Header(header) => {
                    self.header = Some(header.clone());
                    return Ok(Some(header));
                }
                Received::Media(piece) => {
                    self.document.push(piece.clone())?;
                    self.pieces.push(piece);
                }
                Received::Trailer(trailer) => self.trailer = Some(trailer),
            }
        }
        Ok(None)
    }

    /// Payload bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.receiver.bytes()
    }

    /// The stream has ended: the whole fragment, if it is one.
    pub(crate) fn finish(self) -> Result<Whole, Refusal> {
        self.receiver.finish()?;
        let (Some(header), Some(trailer)) = (self.header, self.trailer) else {
            unreachable!("a receiver that finished has given header and trailer")
        };
        let duration_max = fragment::limits::FRAGMENT_DURATION_MAX;
        if trailer.duration > duration_max {
            let message =
                format!("the fragment lasts {:?}, but at most {duration_max:?} are allowed", trailer.duration);
            return Err(Refusal::new(ErrorCode::FragmentTooLong, message));
        }
        let (tracks, independent) = self.document.finish()?;
        let payload = joined(self.pieces, trailer.bytes);
        Ok(Whole { header, payload, duration: trailer.duration, tracks, independent })
    }
}

/// Refuses a start that can't be kept. One that lies too far ahead can't be kept yet: which of the two clocks is
/// wrong is not known here, and the device must not throw its video away because this one is behind.
pub(crate) fn check_start(start: WallTime, now: WallTime) -> Result<(), Refusal> {
    if start < WallTime::from_nanos(0) {
        return Err(Refusal::new(ErrorCode::InvalidTimestamp, "the fragment's start lies before 1970"));
    }
    if start > now + limits::FUTURE_MAX {
        let (ahead, max) = (start.since(now).as_secs(), limits::FUTURE_MAX.as_secs());
        let message = format!(
            "the fragment begins {ahead} s ahead of this server's clock; it is taken once that is {max} s at most: \
             check the clocks of both"
        );
        return Err(Refusal::new(ErrorCode::InvalidTimestamp, message).that_passes());
    }
    Ok(())
}

/// The one copy of a payload: the vault seals what lies in one piece.
fn joined(mut pieces: Vec<Bytes>, bytes: u64) -> Bytes {
    if pieces.len() == 1 {
        return pieces.remove(0);
    }
    let mut whole = BytesMut::with_capacity(usize::try_from(bytes).unwrap_or(0));
    for piece in pieces {
        whole.extend_from_slice(&piece);
    }
    whole.freeze()
}

/// The Matroska document of a fragment, as far as it has come: exactly one document with tracks and a
/// cluster that has a block of the leading track.
struct Document {
    reader: mkv::Reader,
    documents: u32,
    tracks: Option<Tracks>,
    /// Whether the leading track's first block is a key frame; `None` before there is one.
    begins_with_key: Option<bool>,
    first: Option<MediaTime>,
}

impl Document {
    fn new() -> Self {
        Self {
            reader: mkv::Reader::new(mkv::Limits::default()),
            documents: 0,
            tracks: None,
            begins_with_key: None,
            first: None,
        }
    }

    fn push(&mut self, bytes: Bytes) -> Result<(), Refusal> {
        self.reader.push(bytes);
        self.drain()
    }

    fn drain(&mut self) -> Result<(), Refusal> {
        while let Some(event) = self.reader.next()? {
            self.take(event)?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event) -> Result<(), Refusal> {
        match event {
            Event::Ebml => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(invalid("a fragment holds one Matroska document, and here a second one begins"));
                }
            }
            Event::Tracks(tracks) => self.tracks = Some(tracks),
            Event::Block(block) => self.take_block(&block)?,
            Event::Segment | Event::Info(_) | Event::Cluster { .. } | Event::ClusterEnd { .. } | Event::Tags(_) => {}
        }
        Ok(())
    }

    fn take_block(&mut self, block: &Block) -> Result<(), Refusal> {
        let decodes_from = match &self.tracks {
            Some(tracks) => tracks.video().map(|video| video.number),
            None => return Err(invalid("a block comes before the Tracks")),
        };
        if decodes_from.is_none_or(|video| video == block.track) {
            // It need not be a key frame: a camera that sends those rarely has fragments cut by duration.
            self.begins_with_key.get_or_insert(block.key);
        }
        let first = *self.first.get_or_insert(block.pts);
        // Twice: B-frames and audio may lie on both sides of the first block.
        let after = block.pts.since(first);
        if after > fragment::limits::FRAGMENT_DURATION_MAX * 2 {
            let message = format!("a block lies {after:?} after the first");
            return Err(Refusal::new(ErrorCode::FragmentTooLong, message));
        }
        Ok(())
    }

    /// Its tracks, and whether it begins with a key frame.
    fn finish(mut self) -> Result<(Tracks, bool), Refusal> {
        self.reader.finish()?;
        self.drain()?;
        let begins_with_key =
            self.begins_with_key.ok_or_else(|| invalid("the document holds no frame to begin with"))?;
        let tracks = self.tracks.ok_or_else(|| invalid("the document has no Tracks"))?;
        Ok((tracks, begins_with_key))
    }
}

fn invalid(why: &str) -> Refusal {
    Refusal::new(ErrorCode::InvalidMkv, why)
}

/// What two fragments have in common exactly when one initialisation segment fits both.
pub(crate) fn fingerprint(tracks: &Tracks) -> u64 {
    let mut text = Vec::new();
    for track in tracks {
        let (id, private): (&str, &[u8]) = match &track.codec {
            Codec::H264(config) => ("h264", config.as_bytes()),
            Codec::H265(config) => ("h265", config.as_bytes()),
            Codec::Aac(config) => ("aac", config.as_bytes()),
            Codec::Other { id, private, .. } => (id, private),
        };
        text.push(track.number.get());
        for part in [id.as_bytes(), private] {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part);
        }
    }
    let [a, b, c, d, e, f, g, h, ..] = sha256(&text);
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}
