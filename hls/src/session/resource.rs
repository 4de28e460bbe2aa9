//! The names of what a session consists of, as Kinesis Video Streams has them: a file for each kind, and a query that says which.
//!
//! ```text
//! getHLSMasterPlaylist.m3u8  SessionToken
//! getHLSMediaPlaylist.m3u8   SessionToken, TrackNumber (not of MPEG-TS)
//! getDASHManifest.mpd        SessionToken
//! getMP4InitFragment.mp4     SessionToken, TrackNumber, SequenceNumber (changes of the tracks before)
//! getMP4MediaFragment.mp4    FragmentNumber (in DASH: counted from 1), SessionToken, TrackNumber
//! getTSFragment.ts           FragmentNumber, SessionToken
//! ```
//!
//! All names are relative to the folder of the protocol.

use std::fmt;

/// What a playlist or a manifest refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// The multivariant playlist.
    Master,
    /// The media playlist, of one track or of all.
    Media(Option<u8>),
    /// The manifest.
    Manifest,
    /// An initialisation segment.
    Init {
        /// Of this track.
        track: u8,
        /// After so many changes.
        codings: u64,
    },
    /// A media segment of fragmented MP4. Of DASH the number may be `$Number$`.
    Mp4 {
        /// Of this fragment.
        fragment: &'a str,
        /// Of this track.
        track: u8,
    },
    /// A media segment of MPEG-TS.
    Ts {
        /// Of this fragment.
        fragment: &'a str,
    },
}

impl Resource<'_> {
    /// The file's name.
    pub fn file(&self) -> &'static str {
        match self {
            Self::Master => "getHLSMasterPlaylist.m3u8",
            Self::Media(_) => "getHLSMediaPlaylist.m3u8",
            Self::Manifest => "getDASHManifest.mpd",
            Self::Init { .. } => "getMP4InitFragment.mp4",
            Self::Mp4 { .. } => "getMP4MediaFragment.mp4",
            Self::Ts { .. } => "getTSFragment.ts",
        }
    }

    /// The address, relative to the protocol's folder.
    pub fn address(&self, token: &str) -> String {
        Address { resource: self, token }.to_string()
    }
}

struct Address<'a> {
    resource: &'a Resource<'a>,
    token: &'a str,
}

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, token } = self;
        write!(f, "{}?", resource.file())?;
        if let Resource::Mp4 { fragment, .. } | Resource::Ts { fragment } = resource {
            write!(f, "FragmentNumber={fragment}&")?;
        }
        write!(f, "SessionToken={token}")?;
        match resource {
            Resource::Master | Resource::Media(None) | Resource::Manifest | Resource::Ts { .. } => Ok(()),
            Resource::Media(Some(track)) | Resource::Mp4 { track, .. } => write!(f, "&TrackNumber={track}"),
            Resource::Init { track, codings } => write!(f, "&TrackNumber={track}&SequenceNumber={codings}"),
        }
    }
}
