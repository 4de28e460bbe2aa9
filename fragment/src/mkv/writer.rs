//! Writes fragments as Matroska documents.
//!
//! ```text
//! EBML header
//! Segment, unknown size
//!   Info              TimestampScale 1 ms
//!   Tracks            CodecPrivate, size or sampling frequency
//!   Cluster, unknown size
//!     Timestamp       media time of the fragment's start in ms, 0 if that is negative
//!     SimpleBlock...  [track: 1][time from the Timestamp in ms: 2, signed][flags: 1, 0x80 = key][payload]
//!   Tags              the fragment's tags and END_OF_FRAGMENT; closes the Cluster
//! ```
//!
//! Sizes are unknown where they would have to be known ahead: a fragment is written, spooled and sent
//! unit by unit as it is captured. Times are rounded to the millisecond. Durations of units are not
//! written: the next unit tells, and the fragment's own duration travels beside it.
//!
//! What is cut out of another document keeps that one's Info and Tracks, byte by byte, and its scale, so that no time is rounded
//! and nothing that only its tracks tell is lost.

use bytes::Bytes;

use crate::{AccessUnit, Codec, MediaTime, Track, TrackKind, TrackNumber, Tracks};

use super::ebml::{write_element, write_id, write_master, write_size, write_unsigned};
use super::elements::Id;
use super::reader::Reader;
use super::tags::{self, END_OF_FRAGMENT, Tag};

const APPLICATION: &[u8] = b"millrace";
const TIMESTAMP_SCALE_NANOS: i64 = 1_000_000;
/// In eight bytes, the form that every tool knows.
pub(super) const UNKNOWN_SIZE: [u8; 8] = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
const FLAG_KEY: u8 = 0x80;

/// Writes one fragment after another, each a document of its own: [`Self::header`],
/// [`Self::cluster`], [`Self::block`] for each unit, [`Self::end`].
#[derive(Clone, Debug)]
pub struct Writer {
    tracks: Tracks,
    /// The nanoseconds that a timestamp counts.
    scale: i64,
    /// Info and Tracks.
    preamble: Bytes,
    /// The Timestamp of the open Cluster.
    cluster: Option<i64>,
    /// The name of the tag that ends a fragment.
    end: &'static str,
}

/// Why a unit can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// No Cluster has been begun.
    #[error("a unit before the first cluster")]
    NoCluster,
    /// Its track is not among the tracks.
    #[error("a unit of track {0}, which is not declared")]
    UnknownTrack(TrackNumber),
    /// It lies further from the Cluster's start than 16 bits of milliseconds reach.
    #[error("a unit {distance_ms} ms from its cluster's start, beyond the reach of a block")]
    OutOfReach {
        /// How far.
        distance_ms: i64,
    },
}

impl Writer {
    /// A writer for fragments of these tracks.
    pub fn new(tracks: &Tracks) -> Self {
        Self {
            tracks: tracks.clone(),
            scale: TIMESTAMP_SCALE_NANOS,
            preamble: preamble(tracks),
            cluster: None,
            end: END_OF_FRAGMENT,
        }
    }

    /// A writer for fragments that are cut out of the document that `reader` has read as far as its Tracks; `None` if there
    /// were none.
    pub fn cutting(reader: &Reader) -> Option<Self> {
        let (tracks, read) = (reader.tracks()?.clone(), reader.preamble());
        let preamble = [read.info.as_slice(), &read.tracks].concat().into();
        Some(Self { tracks, scale: reader.scale(), preamble, cluster: None, end: END_OF_FRAGMENT })
    }

    /// The same, with another name for the tag that ends a fragment: other servers look for one of their own.
    #[must_use]
    pub fn ending_with(self, end: &'static str) -> Self {
        Self { end, ..self }
    }

    /// Everything before the first Cluster. The same for every fragment of these tracks.
    pub fn header(&self) -> Bytes {
        let mut out = Vec::with_capacity(512);
        write_ebml(&mut out);
        write_id(&mut out, Id::SEGMENT);
        out.extend_from_slice(&UNKNOWN_SIZE);
        out.extend_from_slice(&self.preamble);
        out.into()
    }

    /// The start of a Cluster at `start`.
    pub fn cluster(&mut self, start: MediaTime) -> Bytes {
        // Timestamps are unsigned; units before zero are reached by their signed relative time.
        let timestamp = self.timestamp(start).max(0);
        self.cluster = Some(timestamp);
        let mut out = Vec::with_capacity(24);
        write_id(&mut out, Id::CLUSTER);
        out.extend_from_slice(&UNKNOWN_SIZE);
        write_unsigned(&mut out, Id::TIMESTAMP, timestamp.unsigned_abs());
        out.into()
    }

    /// The head of a SimpleBlock and its payload, which is not copied.
    pub fn block(&mut self, unit: &AccessUnit) -> Result<(Bytes, Bytes), WriteError> {
        let head = self.block_head(unit.track, unit.pts, unit.key, unit.data.len())?;
        Ok((head, unit.data.clone()))
    }

    /// The head of a SimpleBlock whose payload has so many bytes.
    pub fn block_head(&self, track: TrackNumber, pts: MediaTime, key: bool, bytes: usize) -> Result<Bytes, WriteError> {
        let cluster = self.cluster.ok_or(WriteError::NoCluster)?;
        if self.tracks.find(track).is_none() {
            return Err(WriteError::UnknownTrack(track));
        }
        let distance = self.timestamp(pts).saturating_sub(cluster);
        let out_of_reach = |_| WriteError::OutOfReach { distance_ms: distance.saturating_mul(self.scale) / 1_000_000 };
        let relative = i16::try_from(distance).map_err(out_of_reach)?;
        let mut out = Vec::with_capacity(16);
        write_id(&mut out, Id::SIMPLE_BLOCK);
        write_size(&mut out, bytes as u64 + 4);
        out.push(0x80 | track.get());
        out.extend_from_slice(&relative.to_be_bytes());
        out.push(if key { FLAG_KEY } else { 0 });
        Ok(out.into())
    }

    /// The end of a fragment: its tags and [`END_OF_FRAGMENT`], or what stands for it. Needs no open Cluster, so that a
    /// recovery can end a fragment that another process began.
    pub fn end(&mut self, tags: &[Tag]) -> Bytes {
        self.cluster = None;
        let mut out = Vec::with_capacity(64);
        let pairs = tags.iter().map(|tag| (tag.name.as_str(), tag.value.as_str()));
        tags::write(&mut out, pairs.chain(std::iter::once((self.end, ""))));
        out.into()
    }

    /// Rounded to the nearest.
    fn timestamp(&self, time: MediaTime) -> i64 {
        time.as_nanos().saturating_add(self.scale / 2).div_euclid(self.scale)
    }
}

fn preamble(tracks: &Tracks) -> Bytes {
    let mut out = Vec::with_capacity(256);
    write_master(&mut out, Id::INFO, |out| {
        write_unsigned(out, Id::TIMESTAMP_SCALE, TIMESTAMP_SCALE_NANOS.unsigned_abs());
        write_element(out, Id::MUXING_APP, APPLICATION);
        write_element(out, Id::WRITING_APP, APPLICATION);
    });
    write_master(&mut out, Id::TRACKS, |out| tracks.iter().for_each(|track| write_track(out, track)));
    out.into()
}

/// The header that every document begins with.
pub(super) fn write_ebml(out: &mut Vec<u8>) {
    write_master(out, Id::EBML, |out| {
        write_unsigned(out, Id::EBML_VERSION, 1);
        write_unsigned(out, Id::EBML_READ_VERSION, 1);
        write_unsigned(out, Id::EBML_MAX_ID_LENGTH, 4);
        write_unsigned(out, Id::EBML_MAX_SIZE_LENGTH, 8);
        write_element(out, Id::DOC_TYPE, b"matroska");
        write_unsigned(out, Id::DOC_TYPE_VERSION, 4);
        write_unsigned(out, Id::DOC_TYPE_READ_VERSION, 2);
    });
}

fn write_track(out: &mut Vec<u8>, track: &Track) {
    write_master(out, Id::TRACK_ENTRY, |out| {
        let number = u64::from(track.number.get());
        write_unsigned(out, Id::TRACK_NUMBER, number);
        write_unsigned(out, Id::TRACK_UID, number);
        let kind = match track.codec.kind() {
            TrackKind::Video => 1,
            TrackKind::Audio => 2,
        };
        write_unsigned(out, Id::TRACK_TYPE, kind);
        write_unsigned(out, Id::FLAG_LACING, 0);
        write_element(out, Id::LANGUAGE, b"und");
        match &track.codec {
            Codec::H264(config) => {
                write_codec(out, "V_MPEG4/ISO/AVC", config.as_bytes());
                write_video(out, config.width(), config.height());
            }
            Codec::H265(config) => {
                write_codec(out, "V_MPEGH/ISO/HEVC", config.as_bytes());
                write_video(out, config.width(), config.height());
            }
            Codec::Aac(config) => {
                write_codec(out, "A_AAC", config.as_bytes());
                write_master(out, Id::AUDIO, |out| {
                    let frequency = f64::from(config.sampling_frequency());
                    write_element(out, Id::SAMPLING_FREQUENCY, &frequency.to_be_bytes());
                    write_unsigned(out, Id::CHANNELS, config.channels().into());
                });
            }
            Codec::Other { id, private, .. } => write_codec(out, id, private),
        }
    });
}

fn write_codec(out: &mut Vec<u8>, id: &str, private: &[u8]) {
    write_element(out, Id::CODEC_ID, id.as_bytes());
    if !private.is_empty() {
        write_element(out, Id::CODEC_PRIVATE, private);
    }
}

fn write_video(out: &mut Vec<u8>, width: u32, height: u32) {
    write_master(out, Id::VIDEO, |out| {
        write_unsigned(out, Id::PIXEL_WIDTH, width.into());
        write_unsigned(out, Id::PIXEL_HEIGHT, height.into());
    });
}
