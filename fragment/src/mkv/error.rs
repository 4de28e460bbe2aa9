//! What can be wrong with a Matroska document, and where.

use crate::codec::InvalidConfig;
use crate::track::InvalidTracks;

use super::elements::Id;

/// A document that cannot be read on, with the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {kind}")]
pub struct Error {
    /// The offset of the faulty element or field, counted from the first byte pushed.
    pub offset: u64,
    /// What is wrong there.
    pub kind: ErrorKind,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// No element id stands where one must.
    #[error("expected an element id of 1 to 4 bytes, found the byte 0x{found:02x}")]
    InvalidId {
        /// The first byte.
        found: u8,
    },
    /// No element size stands where one must.
    #[error("expected the size of {element} in 1 to 8 bytes, found the byte 0x00")]
    InvalidSize {
        /// The element.
        element: Id,
    },
    /// An element must say its size and does not.
    #[error("expected a known size for {element}: only Segment and Cluster may have an unknown one")]
    UnknownSize {
        /// The element.
        element: Id,
    },
    /// An element is larger than the limit.
    #[error("{element} has {size} bytes, expected at most {max}")]
    TooLarge {
        /// The element.
        element: Id,
        /// Its size.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// An element reaches beyond its parent.
    #[error("{element} ends at byte {end}, beyond its parent's end at byte {parent_end}")]
    PastParent {
        /// The element.
        element: Id,
        /// Where it ends.
        end: u64,
        /// Where its parent ends.
        parent_end: u64,
    },
    /// An element stands where it must not.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What should stand there.
        expected: &'static str,
        /// What does.
        found: Id,
    },
    /// A mandatory element is missing.
    #[error("expected {missing} in {parent}")]
    Missing {
        /// What is missing.
        missing: Id,
        /// Where.
        parent: Id,
    },
    /// An element's content is not of its kind.
    #[error("expected {expected} in {element}")]
    InvalidValue {
        /// The element.
        element: Id,
        /// What it should hold.
        expected: &'static str,
    },
    /// The document's type is neither matroska nor webm.
    #[error("expected the document type matroska or webm, found {found:?}")]
    DocType {
        /// What it is.
        found: String,
    },
    /// The tracks can't be a fragment's.
    #[error(transparent)]
    Tracks(#[from] InvalidTracks),
    /// A track's CodecPrivate can't be read.
    #[error("track {track}, {codec_id}: {source}")]
    Codec {
        /// The number of the track.
        track: u64,
        /// Its codec.
        codec_id: String,
        /// What is wrong with its configuration.
        source: InvalidConfig,
    },
    /// A track's blocks are compressed or encrypted in Matroska's own ways, which nobody uses for video.
    #[error("track {track} has content encodings, which are not read")]
    ContentEncodings {
        /// The number of the track.
        track: u64,
    },
    /// A block belongs to a track that was not declared.
    #[error("a block of track {track}, which Tracks does not declare")]
    UndeclaredTrack {
        /// The number of the track.
        track: u64,
    },
    /// The sizes of laced frames do not add up.
    #[error("expected {expected} in a laced block")]
    Lacing {
        /// What should stand there.
        expected: &'static str,
    },
    /// A time does not fit into 64 bits of nanoseconds.
    #[error("expected a time within 292 years")]
    TimeRange,
    /// The input ended inside an element.
    #[error("the input ended within {element}")]
    Truncated {
        /// The element.
        element: Id,
    },
    /// The input ended inside the id or size of an element.
    #[error("the input ended within the id or size of an element")]
    TruncatedHeader,
}

impl ErrorKind {
    pub(super) fn at(self, offset: u64) -> Error {
        Error { offset, kind: self }
    }
}
