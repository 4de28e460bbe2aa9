//! Tracks: what a fragment's blocks are coded with.

use std::fmt;

use bytes::Bytes;

use crate::codec::{aac, h264, h265};
use crate::limits;

/// The number of a track within a fragment, 1 to 127, as Matroska blocks carry it in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackNumber(u8);

impl TrackNumber {
    /// The usual number of the video track.
    pub const VIDEO: Self = Self(1);
    /// The usual number of the audio track.
    pub const AUDIO: Self = Self(2);

    /// The track number `number`, if Matroska can carry it in one byte.
    pub fn new(number: u64) -> Option<Self> {
        u8::try_from(number).ok().filter(|n| (1..=127).contains(n)).map(Self)
    }

    /// The number itself.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for TrackNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a track shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// How a track is coded, with the decoder's configuration parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Codec {
    /// H.264, configured by an `avcC` record.
    H264(h264::Config),
    /// H.265, configured by an `hvcC` record.
    H265(h265::Config),
    /// AAC, configured by an AudioSpecificConfig.
    Aac(aac::Config),
    /// Any other codec: stored and handed on as it came, not played.
    Other {
        /// The Matroska codec id, such as `A_OPUS`.
        id: String,
        /// The Matroska CodecPrivate.
        private: Bytes,
        /// What the track shows.
        kind: TrackKind,
    },
}

impl Codec {
    /// What a track of this codec shows.
    pub fn kind(&self) -> TrackKind {
        match self {
            Self::H264(_) | Self::H265(_) => TrackKind::Video,
            Self::Aac(_) => TrackKind::Audio,
            Self::Other { kind, .. } => *kind,
        }
    }

    /// The codec's RFC 6381 string for the CODECS attribute, or `None` where browsers have no name for it.
    pub fn rfc6381(&self) -> Option<String> {
        match self {
            Self::H264(config) => Some(config.rfc6381()),
            Self::H265(config) => Some(config.rfc6381()),
            Self::Aac(config) => Some(config.rfc6381()),
            Self::Other { .. } => None,
        }
    }
}

/// One track of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// The number that blocks refer to it by.
    pub number: TrackNumber,
    /// How it is coded.
    pub codec: Codec,
}

/// The tracks of a fragment: at least one, at most [`limits::TRACKS_MAX`], numbers distinct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracks(Vec<Track>);

/// Why a set of tracks can't be a fragment's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTracks {
    /// There is none.
    #[error("a fragment needs at least one track")]
    None,
    /// There are more than the limit.
    #[error("{0} tracks, but a fragment has at most {max}", max = limits::TRACKS_MAX)]
    TooMany(usize),
    /// Two have the same number.
    #[error("two tracks have the number {0}")]
    Duplicate(TrackNumber),
}

impl Tracks {
    /// Checks and takes a set of tracks.
    pub fn new(tracks: Vec<Track>) -> Result<Self, InvalidTracks> {
        if tracks.is_empty() {
            return Err(InvalidTracks::None);
        }
        if tracks.len() > limits::TRACKS_MAX {
            return Err(InvalidTracks::TooMany(tracks.len()));
        }
        for (i, track) in tracks.iter().enumerate() {
            if tracks[..i].iter().any(|t| t.number == track.number) {
                return Err(InvalidTracks::Duplicate(track.number));
            }
        }
        Ok(Self(tracks))
    }

    /// The tracks in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, Track> {
        self.0.iter()
    }

    /// The track with this number.
    pub fn find(&self, number: TrackNumber) -> Option<&Track> {
        self.0.iter().find(|track| track.number == number)
    }

    /// The first video track.
    pub fn video(&self) -> Option<&Track> {
        self.0.iter().find(|track| track.codec.kind() == TrackKind::Video)
    }

    /// The first audio track.
    pub fn audio(&self) -> Option<&Track> {
        self.0.iter().find(|track| track.codec.kind() == TrackKind::Audio)
    }
}

impl<'a> IntoIterator for &'a Tracks {
    type Item = &'a Track;
    type IntoIter = std::slice::Iter<'a, Track>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
