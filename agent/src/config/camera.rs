//! One `[[camera]]` of the configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fragment::StreamName;
use serde::Deserialize;

use super::uplink;

/// Where one stream's video comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Camera {
    /// The stream that it feeds.
    pub stream: StreamName,
    /// What is captured.
    pub source: Source,
    /// The fragment duration to aim for.
    pub fragment_target: Duration,
}

/// What is captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A network camera.
    Rtsp {
        /// Its address.
        url: String,
        /// How its packets travel.
        transport: Transport,
        /// Its credentials.
        credentials: Option<(String, Secret)>,
        /// How long packets wait to be put in order.
        latency: Option<Duration>,
    },
    /// A file, played in real time.
    File {
        /// Which.
        path: PathBuf,
        /// Whether it begins again at its end.
        looped: bool,
    },
    /// A generated picture.
    TestPattern {
        /// Its size and rate.
        picture: Picture,
        /// Whether there is a tone.
        audio: bool,
    },
    /// A local camera.
    V4l2 {
        /// Its device file.
        device: String,
        /// What it is asked for.
        format: V4l2Format,
        /// Size and rate.
        picture: Picture,
    },
    /// A camera that libcamera drives.
    Libcamera {
        /// Its name, or the first one.
        camera: Option<String>,
        /// Size and rate.
        picture: Picture,
    },
}

/// How packets of a network camera travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Within the RTSP connection.
    #[default]
    Tcp,
    /// As datagrams.
    Udp,
}

/// What a local camera is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum V4l2Format {
    /// Pictures as they are.
    #[default]
    Raw,
    /// JPEG pictures.
    Jpeg,
    /// H.264 of its own encoder.
    H264,
}

/// Size and rate of pictures; `None` is what the source does by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: Option<u32>,
    /// Rows.
    pub height: Option<u32>,
    /// Pictures a second.
    pub fps: Option<u32>,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// `true` for the first camera, or a name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Libcamera {
    Any(bool),
    Named(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    stream: Option<String>,
    fragment_seconds: Option<f64>,
    url: Option<String>,
    transport: Option<Transport>,
    user: Option<String>,
    password: Option<Secret>,
    latency_ms: Option<u64>,
    file: Option<PathBuf>,
    looped: Option<bool>,
    test_pattern: Option<bool>,
    audio: Option<bool>,
    v4l2: Option<String>,
    format: Option<V4l2Format>,
    libcamera: Option<Libcamera>,
    width: Option<u32>,
    height: Option<u32>,
    fps: Option<u32>,
    mode: Option<uplink::Mode>,
    upload_hours: Option<Vec<String>>,
}

impl Raw {
    /// How messages name it.
    pub(super) fn place(&self, index: usize) -> String {
        match &self.stream {
            Some(stream) => format!("camera {} ({stream:?})", index + 1),
            None => format!("camera {}", index + 1),
        }
    }

    /// What it says of its uploads, which `[uplink]` completes.
    pub(super) fn mode(&self, index: usize) -> uplink::OfCamera {
        uplink::OfCamera {
            place: self.place(index),
            stream: self.stream.clone(),
            mode: self.mode,
            upload_hours: self.upload_hours.clone(),
        }
    }

    pub(super) fn resolve(self, folder: &Path) -> Result<Camera, Vec<String>> {
        let mut problems = Vec::new();
        let stream = match &self.stream {
            Some(text) => text.parse::<StreamName>().map_err(|error| problems.push(format!("stream: {error}"))).ok(),
            None => {
                problems.push("stream is missing: name the stream that it feeds, as in stream = \"front\"".to_owned());
                None
            }
        };
        let fragment_target = self.fragment_target(&mut problems);
        self.refuse_strangers(&mut problems);
        let source = self.source(folder, &mut problems);
        match (stream, source) {
            (Some(stream), Some(source)) if problems.is_empty() => Ok(Camera { stream, source, fragment_target }),
            _ => Err(problems),
        }
    }

    fn fragment_target(&self, problems: &mut Vec<String>) -> Duration {
        let seconds = self.fragment_seconds.unwrap_or(2.0);
        if (1.0..=10.0).contains(&seconds) {
            return Duration::from_secs_f64(seconds);
        }
        problems.push(format!("fragment_seconds is {seconds}: write 1 to 10, as in fragment_seconds = 2"));
        Duration::from_secs(2)
    }

    fn source(self, folder: &Path, problems: &mut Vec<String>) -> Option<Source> {
        let picture = Picture { width: self.width, height: self.height, fps: self.fps };
        let kinds = [
            self.url.is_some(),
            self.file.is_some(),
            self.test_pattern == Some(true),
            self.v4l2.is_some(),
            self.is_libcamera(),
        ];
        if kinds.iter().filter(|given| **given).count() != 1 {
            problems.push(
                "give exactly one of url, file, test_pattern, v4l2 and libcamera, as in \
                 url = \"rtsp://192.168.1.20/stream1\" or test_pattern = true"
                    .to_owned(),
            );
            return None;
        }
        if let Some(url) = self.url {
            if !url.starts_with("rtsp://") && !url.starts_with("rtsps://") {
                // Not the address itself: it may hold a password.
                problems.push("url is not an RTSP address: write url = \"rtsp://192.168.1.20/stream1\"".to_owned());
                return None;
            }
            if self.user.is_some() != self.password.is_some() {
                problems.push("user and password go together: write both or none".to_owned());
                return None;
            }
            return Some(Source::Rtsp {
                url,
                transport: self.transport.unwrap_or_default(),
                credentials: self.user.zip(self.password),
                latency: self.latency_ms.map(Duration::from_millis),
            });
        }
        if let Some(path) = self.file {
            return Some(Source::File { path: folder.join(path), looped: self.looped.unwrap_or(false) });
        }
        if let Some(device) = self.v4l2 {
            return Some(Source::V4l2 { device, format: self.format.unwrap_or_default(), picture });
        }
        match self.libcamera {
            Some(Libcamera::Named(name)) if name.trim().is_empty() => {
                problems.push("libcamera has no name: write libcamera = true for the first camera".to_owned());
                return None;
            }
            Some(Libcamera::Named(name)) => return Some(Source::Libcamera { camera: Some(name), picture }),
            Some(Libcamera::Any(true)) => return Some(Source::Libcamera { camera: None, picture }),
            Some(Libcamera::Any(false)) | None => {}
        }
        Some(Source::TestPattern { picture, audio: self.audio.unwrap_or(true) })
    }

    fn is_libcamera(&self) -> bool {
        self.libcamera.as_ref().is_some_and(|camera| *camera != Libcamera::Any(false))
    }

    /// A key that would have no effect is a misunderstanding, and is said.
    fn refuse_strangers(&self, problems: &mut Vec<String>) {
        let (rtsp, file, v4l2) = (self.url.is_some(), self.file.is_some(), self.v4l2.is_some());
        let pattern = self.test_pattern == Some(true);
        let made_here = v4l2 || pattern || self.is_libcamera();
        let keys = [
            ("transport", self.transport.is_some(), rtsp, "url"),
            ("user", self.user.is_some(), rtsp, "url"),
            ("password", self.password.is_some(), rtsp, "url"),
            ("latency_ms", self.latency_ms.is_some(), rtsp, "url"),
            ("looped", self.looped.is_some(), file, "file"),
            ("format", self.format.is_some(), v4l2, "v4l2"),
            ("audio", self.audio.is_some(), pattern, "test_pattern"),
            ("width", self.width.is_some(), made_here, "test_pattern, v4l2 or libcamera"),
            ("height", self.height.is_some(), made_here, "test_pattern, v4l2 or libcamera"),
            ("fps", self.fps.is_some(), made_here, "test_pattern, v4l2 or libcamera"),
        ];
        for (key, given, allowed, with) in keys {
            if given && !allowed {
                problems.push(format!("{key} only goes with {with}: remove it"));
            }
        }
    }
}
