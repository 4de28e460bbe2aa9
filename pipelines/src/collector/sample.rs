//! One sample of a sink: its codec out of the caps, its unit out of the buffer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fragment::codec::{InvalidConfig, aac, h264, h265};
use fragment::{Codec, TrackKind};

use super::Timed;

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
    let Some(buffer) = sample.buffer().filter(|buffer| buffer.size() > 0) else { return Ok(None) };
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
        data: bytes(buffer)?,
        arrived,
    }))
}

/// A copy of the buffer: GStreamer's may belong to a driver's pool, which must get it back soon.
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
