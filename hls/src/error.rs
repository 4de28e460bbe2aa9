//! What can go wrong when a fragment is made into MP4 or MPEG-TS. Making playlists can't fail.

use fragment::TrackNumber;

/// Why no initialisation segment can be made of a set of tracks.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// No track has a codec that browsers play.
    #[error("none of the tracks has a codec that can be played: H.264, H.265 or AAC")]
    NothingPlayable,
    /// The decoder configuration of a track is not what its codec demands.
    #[error("the decoder configuration of track {track} can't be written as MP4: {source}")]
    Configuration {
        /// The track.
        track: TrackNumber,
        /// What the MP4 writer says.
        source: mp4_atom::Error,
    },
    /// A picture is larger than MP4 can describe.
    #[error("track {track} has pictures of {width} x {height}, MP4 describes at most 65535 x 65535")]
    PictureTooLarge {
        /// The track.
        track: TrackNumber,
        /// The width in pixels.
        width: u32,
        /// The height in pixels.
        height: u32,
    },
    /// The MP4 writer refused.
    #[error("the initialisation segment can't be written: {0}")]
    Write(#[from] mp4_atom::Error),
}

/// Why no media segment can be made of a fragment.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// No access unit belongs to a track that browsers play.
    #[error("the fragment has no access unit of a codec that can be played: H.264, H.265 or AAC")]
    NothingPlayable,
    /// The media is larger than a segment may be.
    #[error("the fragment holds {0} bytes of media, a segment at most {max}", max = crate::limits::SEGMENT_BYTES_MAX)]
    TooLarge(usize),
    /// The fragment lies before 1970, where MP4's decode time can't reach.
    #[error("the fragment begins before 1970-01-01, which MP4 can't express")]
    BeforeEpoch,
    /// Two neighbouring units lie further apart than MP4 can express.
    #[error("two access units of track {0} lie further apart than MP4 can express")]
    TimeJump(TrackNumber),
    /// A unit is not what its codec says.
    #[error("an access unit of track {0} does not hold what its lengths say")]
    BrokenUnit(TrackNumber),
    /// The MP4 writer refused.
    #[error("the media segment can't be written: {0}")]
    Write(#[from] mp4_atom::Error),
}

/// Why a fragment can't be in a clip.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// Its tracks can't be described.
    #[error(transparent)]
    Tracks(#[from] InitError),
    /// Its units can't be described.
    #[error(transparent)]
    Units(#[from] SegmentError),
    /// A track is of another kind than in the fragments before, or of another sampling frequency.
    #[error("track {0} is not what it was in the fragments before")]
    Changed(TrackNumber),
    /// The clip has as much as one can have.
    #[error("the clip has as many samples or configurations as one can have")]
    Full,
    /// The MP4 writer refused.
    #[error("the clip can't be written: {0}")]
    Write(#[from] mp4_atom::Error),
}
