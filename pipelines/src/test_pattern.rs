//! A generated picture and a ticking tone.
//!
//! ```text
//! gst-launch-1.0 videotestsrc is-live=true ! video/x-raw,width=640,height=360,framerate=25/1 \
//!     ! videoconvert ! video/x-raw,format=(string){I420,NV12} ! queue ! x264enc tune=zerolatency … \
//!     ! h264parse ! video/x-h264,stream-format=avc,alignment=au ! appsink name=video \
//!     audiotestsrc is-live=true wave=ticks ! audioconvert ! avenc_aac ! aacparse ! appsink name=audio
//! ```

use crate::encoder::Encoders;
use crate::launch::Launch;
use crate::{Error, branch, encoder};

/// A generated picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames a second.
    pub fps: u32,
    /// Whether a tone goes with it.
    pub audio: bool,
}

impl Default for Source {
    fn default() -> Self {
        Self { width: 640, height: 360, fps: 25, audio: true }
    }
}

impl Source {
    pub(crate) fn launch(&self, encoders: &Encoders) -> Result<Launch, Error> {
        let Self { width, height, fps, audio } = *self;
        let size = format!("video/x-raw,width={width},height={height},framerate={fps}/1");
        let mut line = format!("videotestsrc is-live=true ! {size} ! {}", encoded(encoders, width, height, fps)?);
        if audio {
            line += &format!(
                " audiotestsrc is-live=true wave=ticks samplesperbuffer=480 ! audio/x-raw,rate=48000,channels=1 ! queue \
                 ! {} ! {} ! {}",
                encoder::aac()?,
                branch::AAC,
                branch::SINK.replace("name=sink", "name=audio"),
            );
        }
        Ok(Launch { line, properties: Vec::new(), live: true })
    }
}

impl From<Source> for crate::Source {
    fn from(source: Source) -> Self {
        Self::TestPattern(source)
    }
}

/// The line from raw pictures of any format to the video sink. Encoders are held to 4:2:0, which is what
/// browsers play. The queue lets a camera's thread go on while the encoder works, and is short, since raw
/// pictures are large.
pub(crate) fn encoded(encoders: &Encoders, width: u32, height: u32, fps: u32) -> Result<String, Error> {
    Ok(format!(
        "videoconvert ! video/x-raw,format=(string){{I420,NV12}} ! queue max-size-buffers=8 max-size-bytes=0 ! {} ! {} ! {}",
        encoders.h264(width, height, fps)?,
        branch::H264,
        branch::SINK.replace("name=sink", "name=video"),
    ))
}
