//! One sample of a sink: its codec out of the caps, its unit out of the buffer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fragment::codec::{InvalidConfig, aac, h264, h265};
use fragment::{Codec, TrackKind};

use super::Timed;
use crate::limits;

/// Why a sample cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("a sink got a sample without caps")]
    NoCaps,
    #[error("{0} came without its decoder configuration")]
    NoConfig(String),
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    #[error("a buffer could not be read")]
    Unreadable,
}

/// The codec that `caps` tell.
pub(super) fn codec(caps: &gst::CapsRef) -> Result<Codec, Unusable> {
    let structure = caps.structure(0).ok_or(Unusable::NoCaps)?;
    let name = structure.name().as_str();
    let config = structure.get::<gst::Buffer>("codec_data").map_err(|_| Unusable::NoConfig(name.to_owned()))?;
    let config = bytes(&config)?;
    Ok(match name {
        "video/x-h264" => Codec::H264(h264::Config::parse(config)?),
        "video/x-h265" => Codec::H265(h265::Config::parse(config)?),
        _ => Codec::Aac(aac::Config::parse(config)?),
    })
}

/// The unit of a sample, which came at `arrived`. `last` is where its track has come to, for the rare buffer without a time.
pub(super) fn unit(
    kind: TrackKind,
    sample: &gst::Sample,
    last: Option<i64>,
    arrived: Instant,
) -> Result<Option<Timed>, Unusable> {
    let Some(buffer) = sample.buffer_owned().filter(|buffer| buffer.size() > 0) else { return Ok(None) };
    let running = |time: Option<gst::ClockTime>| {
        let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
        signed(segment.to_running_time_full(time?)?)
    };
    let dts = running(buffer.dts());
    let pts = running(buffer.pts()).or(dts).or(last).unwrap_or(0);
    Ok(Some(Timed {
        kind,
        pts,
        dts,
        duration: buffer.duration().map(|duration| Duration::from_nanos(duration.nseconds())),
        key: kind == TrackKind::Audio || !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
        data: unit_bytes(buffer)?,
        arrived,
    }))
}

/// The buffer's bytes: as they are where nothing else waits for them or lies beside them, so that a picture is not copied; otherwise
/// a copy.
fn unit_bytes(buffer: gst::Buffer) -> Result<Bytes, Unusable> {
    if buffer.size() < limits::COPIED_BYTES_MAX || is_lent(&buffer) {
        return bytes(&buffer);
    }
    let map = buffer.into_mapped_buffer_readable().map_err(|_| Unusable::Unreadable)?;
    Ok(Bytes::from_owner(map))
}

/// Whether the buffer belongs to a pool, such as a driver's, which must get it back soon; or is a small part of memory that
/// would be held on to as a whole.
fn is_lent(buffer: &gst::BufferRef) -> bool {
    #[expect(unsafe_code, reason = "no safe call tells a buffer's pool")]
    // SAFETY: the reference is to a valid buffer, whose fields nobody changes while it is shared.
    let has_pool = unsafe { !(*buffer.as_ptr()).pool.is_null() };
    let is_system = |memory: &gst::MemoryRef| memory.is_type("SystemMemory");
    has_pool
        || buffer.meta::<gst::ParentBufferMeta>().is_some()
        || !buffer.iter_memories().all(is_system)
        || buffer.maxsize() > 2 * buffer.size()
}

/// A copy of the buffer.
fn bytes(buffer: &gst::BufferRef) -> Result<Bytes, Unusable> {
    let map = buffer.map_readable().map_err(|_| Unusable::Unreadable)?;
    Ok(Bytes::copy_from_slice(&map))
}

fn signed(time: gst::Signed<gst::ClockTime>) -> Option<i64> {
    match time {
        gst::Signed::Positive(time) => i64::try_from(time.nseconds()).ok(),
        gst::Signed::Negative(time) => i64::try_from(time.nseconds()).ok().map(|nanos| -nanos),
    }
}
