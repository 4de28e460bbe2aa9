//! Coded pictures as JPEG or PNG. What is recorded is not touched: the pictures were copied out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fragment::{AccessUnit, Codec, MediaTime};
use gst::prelude::*;

use crate::Error;

/// How long a decoder may take: a small board takes half a second for a large picture, a server some seconds for a fragment
/// of many.
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

/// How pictures are to be coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With losses.
    Jpeg {
        /// 1 to 100.
        quality: u8,
    },
    /// Without.
    Png,
}

/// How large pictures are to be, in pixels. With one of the two the other follows from the picture's shape; with both it is
/// stretched; with none it stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// From left to right.
    pub width: Option<u32>,
    /// From top to bottom.
    pub height: Option<u32>,
}

/// The largest side that a picture can have.
const SIDE_MAX: u32 = 16_384;

const WHAT: &str = "the picture";

/// Decodes a key frame, makes it at most `width_max` wide, and codes it as a JPEG. Blocks.
pub fn jpeg(codec: &Codec, key_frame: &Bytes, width_max: u32) -> Result<Bytes, StillError> {
    let size = format!("width=[1,{width_max}],height=[1,{SIDE_MAX}],pixel-aspect-ratio=1/1");
    let tail = format!("videoscale ! video/x-raw,{size} ! jpegenc quality=85");
    let decoding = Decoding::start(codec, &tail, None)?;
    decoding.push(gst::ClockTime::ZERO, key_frame);
    let (_, picture) = decoding.finish().next().ok_or(StillError::Nothing)??;
    Ok(picture)
}

/// Decodes units of one track, which begin with a key frame and come in decoding order, and codes those of their pictures that
/// are shown at these times. Pictures that the decoder does not give are missing; an error means that none came. Blocks.
pub fn pictures(
    codec: &Codec,
    units: &[AccessUnit],
    wanted: &BTreeSet<MediaTime>,
    format: Format,
    size: Size,
) -> Result<BTreeMap<MediaTime, Bytes>, StillError> {
    let first = units.iter().map(|unit| unit.pts).min().unwrap_or_default();
    let clock =
        |time: MediaTime| gst::ClockTime::from_nseconds(u64::try_from(time.since(first).as_nanos()).unwrap_or(0));
    // No picture needs one that is decoded after it.
    let needed = units.iter().rposition(|unit| wanted.contains(&unit.pts)).map_or(0, |last| last + 1);
    let encoder = match format {
        Format::Jpeg { quality } => format!("jpegenc quality={quality}"),
        Format::Png => "pngenc snapshot=false".to_owned(),
    };
    let chosen = wanted.iter().map(|time| clock(*time)).collect();
    let decoding = Decoding::start(codec, &format!("{}{encoder}", scaling(size)), Some(chosen))?;
    units[..needed].iter().for_each(|unit| decoding.push(clock(unit.pts), &unit.data));
    let mut found = BTreeMap::new();
    for picture in decoding.finish() {
        match picture {
            Ok((time, picture)) => {
                found.extend(time.map(|time| (first + Duration::from_nanos(time.nseconds()), picture)));
            }
            Err(error) if found.is_empty() => return Err(error),
            // What came before is good.
            Err(_) => break,
        }
    }
    Ok(found)
}

/// What makes pictures of that size, with what connects it to an encoder.
fn scaling(size: Size) -> String {
    let free = |side: &str| format!("{side}=[1,{SIDE_MAX}]");
    let of = |side: &str, pixels: Option<u32>| pixels.map_or_else(|| free(side), |pixels| format!("{side}={pixels}"));
    if size == Size::default() {
        return String::new();
    }
    let (width, height) = (of("width", size.width), of("height", size.height));
    format!("videoscale add-borders=false ! video/x-raw,{width},{height},pixel-aspect-ratio=1/1 ! ")
}

/// A pipeline that makes pictures out of what is pushed. It ends with its owner.
struct Decoding {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    sink: gst_app::AppSink,
}

impl Decoding {
    /// Starts one. `tail` is what codes the pictures; only those of the chosen times come there.
    fn start(codec: &Codec, tail: &str, chosen: Option<BTreeSet<gst::ClockTime>>) -> Result<Self, StillError> {
        let (caps, parser, config) = match codec {
            Codec::H264(config) => ("video/x-h264,stream-format=avc,alignment=au", "h264parse", config.as_bytes()),
            Codec::H265(config) => ("video/x-h265,stream-format=hvc1,alignment=au", "h265parse", config.as_bytes()),
            _ => return Err(StillError::Codec),
        };
        gst::init().map_err(|error| Error::Other { what: WHAT.to_owned(), detail: error.to_string() })?;
        let line = format!(
            "appsrc name=source format=time max-bytes=0 ! {parser} ! decodebin ! identity name=choice ! videoconvert ! {tail} ! \
             appsink name=sink sync=false max-buffers=1"
        );
        let pipeline = crate::launch::Launch { line, properties: Vec::new(), live: false }.pipeline(WHAT)?;
        let (source, sink) = (element::<gst_app::AppSrc>(&pipeline, "source"), element(&pipeline, "sink"));
        let mut caps: gst::Caps = caps.parse().expect("the caps are written above");
        caps.make_mut().set("codec_data", gst::Buffer::from_slice(config.clone()));
        source.set_caps(Some(&caps));
        if let Some(chosen) = chosen {
            let choice: gst::Element = element(&pipeline, "choice");
            let pad = choice.static_pad("src").expect("identity has one");
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                let time = info.buffer().and_then(|buffer| buffer.pts());
                let is_chosen = time.is_some_and(|time| chosen.contains(&time));
                if is_chosen { gst::PadProbeReturn::Ok } else { gst::PadProbeReturn::Drop }
            });
        }
        // Why it does not start is on its bus.
        let _ = pipeline.set_state(gst::State::Playing);
        Ok(Self { pipeline, source, sink })
    }

    /// Takes a unit that is shown then. A pipeline that has failed says why on its bus, whatever is answered here.
    fn push(&self, time: gst::ClockTime, data: &Bytes) {
        let mut buffer = gst::Buffer::from_slice(data.clone());
        buffer.get_mut().expect("it was made here").set_pts(time);
        let _ = self.source.push_buffer(buffer);
    }

    /// The pictures, with their times, as they come. What ends them early is the last item.
    fn finish(self) -> impl Iterator<Item = Result<(Option<gst::ClockTime>, Bytes), StillError>> {
        let _ = self.source.end_of_stream();
        let deadline = Instant::now() + DECODING_MAX;
        let mut over = false;
        std::iter::from_fn(move || {
            if over {
                return None;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let patience = gst::ClockTime::from_nseconds(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX));
            let sample = self.sink.try_pull_sample(patience);
            let picture = sample.as_ref().and_then(|sample| {
                let buffer = sample.buffer()?;
                Some((buffer.pts(), Bytes::copy_from_slice(&buffer.map_readable().ok()?)))
            });
            over = picture.is_none();
            picture.map(Ok).or_else(|| self.failure().map(Err))
        })
    }

    /// Why no picture comes any more; `None` at the end.
    fn failure(&self) -> Option<StillError> {
        if self.sink.is_eos() {
            return None;
        }
        let said = self.pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
        match said.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => Some(Error::from_bus(WHAT, false, &error.error()).into()),
            _ => Some(StillError::Nothing),
        }
    }
}

impl Drop for Decoding {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn element<T: IsA<gst::Element>>(pipeline: &gst::Pipeline, name: &str) -> T {
    let element = pipeline.by_name(name).expect("the line names it");
    element.downcast().unwrap_or_else(|_| unreachable!("the line says what {name} is"))
}
