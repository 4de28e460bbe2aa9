//! The access unit: one video frame or one audio packet, as the decoder takes it.

use std::time::Duration;

use bytes::Bytes;

use crate::{MediaTime, TrackNumber};

/// One coded picture or audio packet. Units of a track come in decoding order; only the
/// presentation time is carried, as in Matroska.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessUnit {
    /// The track that it belongs to.
    pub track: TrackNumber,
    /// When it is shown.
    pub pts: MediaTime,
    /// How long it is shown, where the source says so.
    pub duration: Option<Duration>,
    /// Whether decoding can begin here. True for every audio packet.
    pub key: bool,
    /// The coded bytes: length-prefixed NAL units for H.264 and H.265, a raw frame for AAC.
    pub data: Bytes,
}
