//! One coded picture as a JPEG. What is recorded is not touched: the picture was copied out of it.

use std::time::Duration;

use bytes::Bytes;
use fragment::Codec;
use gst::prelude::*;

use crate::Error;

/// How long a decoder may take: a small board takes half a second for a large picture.
const DECODING_MAX: Duration = Duration::from_secs(10);

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum StillError {
    /// GStreamer can't decode it, or lacks a part.
    #[error(transparent)]
    Pipeline(#[from] Error),
    /// The track is no video that is known here.
    #[error("the camera's video is neither H.264 nor H.265")]
    Codec,
    /// The decoder gave no picture.
    #[error("the picture could not be decoded within {} seconds", DECODING_MAX.as_secs())]
    Nothing,
}

/// Decodes a key frame, makes it at most `width_max` wide, and codes it as a JPEG. Blocks.
pub fn jpeg(codec: &Codec, key_frame: &Bytes, width_max: u32) -> Result<Bytes, StillError> {
    let (caps, parser, config) = match codec {
        Codec::H264(config) => ("video/x-h264,stream-format=avc,alignment=au", "h264parse", config.as_bytes()),
        Codec::H265(config) => ("video/x-h265,stream-format=hvc1,alignment=au", "h265parse", config.as_bytes()),
        _ => return Err(StillError::Codec),
    };
    const WHAT: &str = "the picture";
    gst::init().map_err(|error| Error::Other { what: WHAT.to_owned(), detail: error.to_string() })?;
    let line = format!(
        "appsrc name=source format=time ! {parser} ! decodebin ! videoconvert ! videoscale ! \
         video/x-raw,width=[1,{width_max}],height=[1,2147483647],pixel-aspect-ratio=1/1 ! jpegenc quality=85 ! \
         appsink name=sink sync=false max-buffers=1"
    );
    let launch = crate::launch::Launch { line, properties: Vec::new(), live: false };
    let pipeline = Running(launch.pipeline(WHAT)?);
    let source = element::<gst_app::AppSrc>(&pipeline.0, "source");
    let sink = element::<gst_app::AppSink>(&pipeline.0, "sink");
    let mut caps: gst::Caps = caps.parse().expect("the caps are written above");
    caps.make_mut().set("codec_data", gst::Buffer::from_slice(config.clone()));
    source.set_caps(Some(&caps));
    let started = pipeline.0.set_state(gst::State::Playing);
    let mut buffer = gst::Buffer::from_slice(key_frame.clone());
    buffer.get_mut().expect("it was made here").set_pts(gst::ClockTime::ZERO);
    // A pipeline that failed says why on its bus, whatever these two answer.
    let _ = started.is_ok() && source.push_buffer(buffer).is_ok() && source.end_of_stream().is_ok();
    let patience = gst::ClockTime::from_nseconds(u64::try_from(DECODING_MAX.as_nanos()).unwrap_or(u64::MAX));
    let sample = sink.try_pull_sample(patience);
    if let Some(map) = sample.as_ref().and_then(|sample| sample.buffer()?.map_readable().ok()) {
        return Ok(Bytes::copy_from_slice(&map));
    }
    let said = pipeline.0.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
    match said.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => Err(Error::from_bus(WHAT, false, &error.error()).into()),
        _ => Err(StillError::Nothing),
    }
}

/// A pipeline that ends with its owner.
struct Running(gst::Pipeline);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.set_state(gst::State::Null);
    }
}

fn element<T: IsA<gst::Element>>(pipeline: &gst::Pipeline, name: &str) -> T {
    let element = pipeline.by_name(name).expect("the line names it");
    element.downcast().unwrap_or_else(|_| unreachable!("the line says what {name} is"))
}
