//! What the reader gives, and how much it takes.

use std::time::Duration;

use crate::{MediaTime, TrackNumber, Tracks, limits};

pub use super::headers::Info;
use super::payload::Payload;
use super::tags::Tag;

/// How large the elements that are taken whole may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The EBML header, Info and Tracks, each.
    pub header_bytes_max: usize,
    /// A Tags element.
    pub tags_bytes_max: usize,
    /// A block.
    pub block_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: limits::HEADER_BYTES_MAX,
            tags_bytes_max: limits::TAGS_BYTES_MAX,
            block_bytes_max: limits::FRAGMENT_BYTES_MAX,
        }
    }
}

/// What a document holds, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An EBML header: a document begins.
    Ebml,
    /// A Segment begins.
    Segment,
    /// The Segment's Info.
    Info(Info),
    /// The Segment's tracks.
    Tracks(Tracks),
    /// A Cluster begins; known once its Timestamp is.
    Cluster {
        /// Its Timestamp.
        time: MediaTime,
    },
    /// A frame of the Cluster.
    Block(Block),
    /// The Cluster is complete.
    ClusterEnd {
        /// Whether a size said so. Otherwise the next element did, which is known by its id and still to come, or the
        /// end of the input.
        sized: bool,
    },
    /// Tags of the Segment.
    Tags(Vec<Tag>),
}

/// One frame. A block with lacing gives several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its track.
    pub track: TrackNumber,
    /// Its presentation time.
    pub pts: MediaTime,
    /// From its BlockGroup, or the track's default duration.
    pub duration: Option<Duration>,
    /// Whether decoding can begin here.
    pub key: bool,
    /// Its bytes.
    pub data: Payload,
}
