//! How a set of tracks is presented: its initialisation segment, codecs and size.
//!
//! Needed by every player that joins, and costly to find (a whole fragment is read for it), so the few that are
//! in use are kept. The tracks' fingerprint tells them apart.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use fragment::{Codec, Tracks};

use super::limits;

/// What a player must know of a set of tracks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rendition {
    /// The initialisation segment.
    pub(crate) init: Bytes,
    /// RFC 6381 strings, video first.
    pub(crate) codecs: Vec<String>,
    /// Width and height of the video.
    pub(crate) resolution: Option<(u32, u32)>,
}

impl Rendition {
    /// How these tracks are presented.
    pub(crate) fn new(tracks: &Tracks) -> Result<Self, hls::InitError> {
        let init = hls::cmaf::init(tracks)?;
        let mut playable: Vec<_> = tracks.iter().filter(|track| track.codec.rfc6381().is_some()).collect();
        playable.sort_by_key(|track| !matches!(track.codec, Codec::H264(_) | Codec::H265(_)));
        let resolution = playable.iter().find_map(|track| match &track.codec {
            Codec::H264(config) => Some((config.width(), config.height())),
            Codec::H265(config) => Some((config.width(), config.height())),
            Codec::Aac(_) | Codec::Other { .. } => None,
        });
        Ok(Self { init, codecs: playable.iter().filter_map(|track| track.codec.rfc6381()).collect(), resolution })
    }
}

/// The renditions in use, by stream and fingerprint. They show no picture, so they may outlive the key that
/// opened the fragment that they were found in.
#[derive(Default)]
pub(crate) struct Renditions(Mutex<HashMap<(u64, u64), Rendition>>);

impl Renditions {
    /// The rendition, if it is known.
    pub(crate) fn find(&self, stream: u64, fingerprint: u64) -> Option<Rendition> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(stream, fingerprint)).cloned()
    }

    /// Keeps a rendition. A full cache is emptied: what is in use comes back with the next request.
    pub(crate) fn insert(&self, stream: u64, fingerprint: u64, rendition: Rendition) {
        let mut renditions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if renditions.len() >= limits::RENDITION_CACHE_MAX {
            renditions.clear();
        }
        renditions.insert((stream, fingerprint), rendition);
    }
}
