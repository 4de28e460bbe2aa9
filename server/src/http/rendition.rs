//! How a set of tracks is presented: its initialisation segment, codecs and size.
//!
//! Needed by every player that joins, and costly to find (a whole fragment is read for it), so the few that are
//! in use are kept. The tracks' fingerprint tells them apart.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fragment::mkv::Document;
use fragment::{Codec, FragmentNumber, TrackKind, TrackNumber, Tracks, mkv};
use hls::InitError;

use super::error::Problem;
use super::library::Stream;
use super::segments::{track_of, unplayable};
use super::{State, limits};

/// What a player must know of a set of tracks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rendition {
    /// The tracks themselves.
    pub(crate) tracks: Tracks,
    /// The initialisation segment.
    pub(crate) init: Bytes,
    /// RFC 6381 strings, video first.
    pub(crate) codecs: Vec<String>,
    /// Width and height of the video.
    pub(crate) resolution: Option<(u32, u32)>,
    /// Pictures per second, in the fragment that it was found in.
    pub(crate) frame_rate: Option<f64>,
    /// Bits of sound per second, in the same.
    pub(crate) audio_bits_per_second: u64,
}

impl Rendition {
    /// How the tracks of this document, which lasts so long, are presented.
    pub(crate) fn new(document: &Document, duration: Duration) -> Result<Self, InitError> {
        let tracks = &document.tracks;
        let init = hls::cmaf::init(tracks)?;
        let mut playable: Vec<_> = tracks.iter().filter(|track| track.codec.rfc6381().is_some()).collect();
        playable.sort_by_key(|track| !matches!(track.codec, Codec::H264(_) | Codec::H265(_)));
        let resolution = playable.iter().find_map(|track| match &track.codec {
            Codec::H264(config) => Some((config.width(), config.height())),
            Codec::H265(config) => Some((config.width(), config.height())),
            Codec::Aac(_) | Codec::Other { .. } => None,
        });
        let seconds = duration.as_secs_f64().max(0.001);
        let shown_by = |kind| track_of(tracks, kind).map(|track| track.number);
        let of = |number: TrackNumber| document.units.iter().filter(move |unit| unit.track == number);
        #[expect(clippy::cast_precision_loss, reason = "a fragment holds far fewer pictures than 2^52")]
        let frame_rate = shown_by(TrackKind::Video).map(|number| of(number).count() as f64 / seconds);
        let audio_bytes = shown_by(TrackKind::Audio).map_or(0, |number| of(number).map(|unit| unit.data.len()).sum());
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1);
        Ok(Self {
            tracks: tracks.clone(),
            init,
            codecs: playable.iter().filter_map(|track| track.codec.rfc6381()).collect(),
            resolution,
            frame_rate,
            audio_bits_per_second: (audio_bytes as u64).saturating_mul(8000) / millis,
        })
    }

    /// The initialisation segment of one track.
    pub(crate) fn init_of(&self, number: TrackNumber) -> Option<Result<Bytes, InitError>> {
        let track = self.tracks.find(number)?.clone();
        Some(hls::cmaf::init(&Tracks::new(vec![track]).expect("one track is a set of tracks")))
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

impl State {
    /// What the fragments with these tracks are coded as, by the first of these candidates, each with its length, that can be read.
    pub(super) async fn rendition(
        &self,
        stream: &Stream,
        fingerprint: u64,
        candidates: impl Iterator<Item = (FragmentNumber, Duration)>,
    ) -> Result<Rendition, Problem> {
        if let Some(rendition) = self.0.renditions.find(stream.id, fingerprint) {
            return Ok(rendition);
        }
        let mut missing = Problem::SegmentGone;
        for (number, duration) in candidates {
            missing = Problem::Damaged;
            if self.library().knows_damage(stream.id, number) {
                continue;
            }
            let stored = match self.library().read(stream, number).await {
                Err(Problem::Damaged) => continue,
                stored => stored?,
            };
            let document = mkv::document(stored).map_err(|error| unplayable(number, &error))?;
            let rendition = Rendition::new(&document, duration).map_err(|error| unplayable(number, &error))?;
            self.0.renditions.insert(stream.id, fingerprint, rendition.clone());
            return Ok(rendition);
        }
        Err(missing)
    }
}
