//! Fragments as CMAF: fragmented MP4 with video and audio multiplexed, written by mp4-atom.
//!
//! ```text
//! init-….mp4   [ftyp][moov: mvhd, trak per track, mvex]
//! ….m4s        [styp][moof: mfhd, traf per track][mdat: video samples, then audio samples]
//! ```
//!
//! MP4 track ids are the fragment's track numbers. Decode times count from 1970, so that each segment can
//! be made from its fragment alone, in any order, by any node. Tracks of other codecs than H.264, H.265
//! and AAC are left out: browsers don't play them.

mod init;
mod segment;

pub use crate::placement::Placement;
pub use init::init;
pub use segment::segment;

pub(crate) use init::{sample_entry, trak};
pub(crate) use segment::{Run, runs};

use fragment::{Codec, Track};

/// Ticks per second of video tracks: the clock of MPEG, a multiple of all common frame rates.
const VIDEO_TIMESCALE: u32 = 90_000;

/// The ticks per second of a track, or `None` if it is left out.
///
/// Audio counts in samples, so that packets follow each other without rounding.
pub(crate) fn timescale(track: &Track) -> Option<u32> {
    match &track.codec {
        Codec::H264(_) | Codec::H265(_) => Some(VIDEO_TIMESCALE),
        Codec::Aac(config) => Some(config.sampling_frequency()).filter(|frequency| *frequency > 0),
        Codec::Other { .. } => None,
    }
}
