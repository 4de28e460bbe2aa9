//! A camera that libcamera offers: those of the Raspberry Pi and of other boards.
//!
//! ```text
//! gst-launch-1.0 libcamerasrc name=camera camera-name=… ! video/x-raw,width=1280,height=720,framerate=30/1 \
//!     ! videoconvert ! video/x-raw,format=(string){I420,NV12} ! queue ! v4l2h264enc … \
//!     ! h264parse ! video/x-h264,stream-format=avc,alignment=au ! appsink name=video
//! ```

use crate::encoder::Encoders;
use crate::launch::Launch;
use crate::{Error, test_pattern};

/// A camera that libcamera offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name, as `cam --list` shows it; the first camera if there is none.
    pub camera: Option<String>,
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames a second.
    pub fps: u32,
}

impl Default for Source {
    fn default() -> Self {
        Self { camera: None, width: 1280, height: 720, fps: 30 }
    }
}

impl Source {
    pub(crate) fn label(&self) -> String {
        match &self.camera {
            Some(camera) => format!("the camera {camera}"),
            None => "the first camera of libcamera".to_owned(),
        }
    }

    pub(crate) fn launch(&self, encoders: &Encoders) -> Result<Launch, Error> {
        let Self { width, height, fps, .. } = *self;
        let encoded = test_pattern::encoded(encoders, width, height, fps)?;
        let line = format!(
            "libcamerasrc name=camera ! video/x-raw,width={width},height={height},framerate={fps}/1 ! {encoded}"
        );
        let properties = self.camera.iter().map(|name| ("camera", "camera-name", name.clone())).collect();
        Ok(Launch { line, properties, live: true })
    }
}

impl From<Source> for crate::Source {
    fn from(source: Source) -> Self {
        Self::Libcamera(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::ENCODERS;

    #[test]
    fn the_first_camera_is_the_one_without_a_name() {
        let launch = launch(None);
        assert!(
            launch.line.starts_with("libcamerasrc name=camera ! video/x-raw,width=1280,height=720,framerate=30/1 ! ")
        );
        assert_eq!(launch.properties, []);
    }

    #[test]
    fn a_camera_is_asked_for_by_its_name() {
        let name = "/base/soc/i2c0mux/i2c@1/imx219@10";
        assert_eq!(launch(Some(name)).properties, [("camera", "camera-name", name.to_owned())]);
    }

    fn launch(camera: Option<&str>) -> Launch {
        gst::init().unwrap();
        Source { camera: camera.map(str::to_owned), ..Source::default() }.launch(&ENCODERS).unwrap()
    }
}
