//! A camera that Video4Linux offers: USB cameras, capture cards.
//!
//! ```text
//! gst-launch-1.0 v4l2src name=camera device=/dev/video0 ! video/x-raw,width=1280,height=720,framerate=30/1 \
//!     ! videoconvert ! video/x-raw,format=(string){I420,NV12} ! queue ! x264enc tune=zerolatency … \
//!     ! h264parse ! video/x-h264,stream-format=avc,alignment=au ! appsink name=video
//! ```

use crate::encoder::Encoders;
use crate::launch::Launch;
use crate::{Error, branch, test_pattern};

/// What the camera is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Pictures as they are; encoded here.
    #[default]
    Raw,
    /// JPEG pictures, which let USB 2 carry more of them; decoded and encoded here.
    Jpeg,
    /// H.264 of the camera's own encoder; passed through.
    H264,
}

/// A camera that Video4Linux offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its device, such as `/dev/video0`.
    pub device: String,
    /// What it is asked for.
    pub format: Format,
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames a second.
    pub fps: u32,
}

impl Source {
    /// The camera at `device`: 1280×720 at 30 frames a second.
    pub fn new(device: impl Into<String>) -> Self {
        Self { device: device.into(), format: Format::Raw, width: 1280, height: 720, fps: 30 }
    }

    pub(crate) fn label(&self) -> String {
        format!("the camera {}", self.device)
    }

    pub(crate) fn launch(&self, encoders: &Encoders) -> Result<Launch, Error> {
        let Self { width, height, fps, .. } = *self;
        let size = format!("width={width},height={height},framerate={fps}/1");
        let taken = match self.format {
            Format::Raw => format!("video/x-raw,{size} ! {}", test_pattern::encoded(encoders, width, height, fps)?),
            Format::Jpeg => {
                format!("image/jpeg,{size} ! jpegdec ! {}", test_pattern::encoded(encoders, width, height, fps)?)
            }
            Format::H264 => {
                let sink = branch::SINK.replace("name=sink", "name=video");
                format!("video/x-h264,{size} ! {} ! {sink}", branch::H264)
            }
        };
        Ok(Launch {
            line: format!("v4l2src name=camera ! {taken}"),
            properties: vec![("camera", "device", self.device.clone())],
            live: true,
        })
    }
}

impl From<Source> for crate::Source {
    fn from(source: Source) -> Self {
        Self::V4l2(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::ENCODERS;

    #[test]
    fn pictures_of_the_size_asked_for_are_encoded() {
        let launch = launch(Format::Raw);
        assert!(launch.line.starts_with("v4l2src name=camera ! video/x-raw,width=800,height=600,framerate=15/1 ! "));
        assert!(launch.line.contains("h264enc") || launch.line.contains("x264enc"), "{}", launch.line);
        assert!(launch.live);
    }

    #[test]
    fn jpeg_pictures_are_decoded_first() {
        let line = launch(Format::Jpeg).line;
        let (jpeg, decoder, encoder) = (line.find("image/jpeg"), line.find("jpegdec"), line.find("264enc"));
        assert!(jpeg.is_some() && jpeg < decoder && decoder < encoder, "{line}");
    }

    #[test]
    fn h264_of_the_cameras_own_encoder_passes_through() {
        let line = launch(Format::H264).line;
        assert!(line.contains("video/x-h264,width=800") && !line.contains("264enc"), "{line}");
    }

    #[test]
    fn the_device_is_a_property_and_no_part_of_the_line() {
        let launch = launch(Format::Raw);
        assert_eq!(launch.properties, [("camera", "device", "/dev/a b ! c".to_owned())]);
        assert!(!launch.line.contains("/dev"));
    }

    #[test]
    fn the_line_is_one_that_gstreamer_understands() {
        for format in [Format::Raw, Format::Jpeg, Format::H264] {
            let line = launch(format).line;
            if let Err(error) = gst::parse::launch(&line) {
                panic!("{line}: {error}");
            }
        }
    }

    fn launch(format: Format) -> Launch {
        gst::init().unwrap();
        Source { format, width: 800, height: 600, fps: 15, ..Source::new("/dev/a b ! c") }.launch(&ENCODERS).unwrap()
    }
}
