//! What a producer may send.

use std::time::Duration;

/// What a producer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The bytes of a fragment, as a document of its own.
    pub fragment_bytes_max: usize,
    /// The time that a fragment may last.
    pub fragment_duration_max: Duration,
    /// Names and values that a fragment may have, those with a meaning to the server not counted.
    pub tags_max: usize,
    /// The bytes of a name.
    pub tag_name_bytes_max: usize,
    /// The bytes of a value.
    pub tag_value_bytes_max: usize,
    /// Which frames have to lie after those of the fragment before.
    pub order: Order,
}

/// Which frames of a fragment have to lie after which of the fragment before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Those of each track after those of the same track: sound may lie across the border, as it does wherever a muxer
    /// cuts at key frames.
    OfEachTrack,
    /// All after all.
    OfAllTracks,
}

impl Limits {
    /// Those of AWS.
    pub const AWS: Self = Self {
        fragment_bytes_max: fragment::limits::FRAGMENT_BYTES_MAX,
        fragment_duration_max: fragment::limits::FRAGMENT_DURATION_MAX,
        tags_max: 10,
        tag_name_bytes_max: 128,
        tag_value_bytes_max: 256,
        order: Order::OfAllTracks,
    };

    /// What can be stored. ffmpeg gives a file a dozen tags of its own, with values of a line.
    pub const WIDE: Self = Self {
        tags_max: 64,
        tag_name_bytes_max: 512,
        tag_value_bytes_max: 4096,
        order: Order::OfEachTrack,
        ..Self::AWS
    };
}
