//! One `[[camera]]` of the configuration.

mod sub;

use std::path::{Path, PathBuf};
use std::time::Duration;

use fragment::StreamName;
use serde::Deserialize;

use super::tls::{self, TlsTrust};
use super::{Problems, uplink};
use crate::timekeeper::Believed;
use sub::Sub;

/// How long fragments are where nothing is said of it: what a viewer waits for, against what a fragment costs to store.
const FRAGMENT_TARGET: Duration = Duration::from_secs(2);

/// Where one stream's video comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Camera {
    /// The stream that it feeds.
    pub stream: StreamName,
    /// What is captured.
    pub source: Source,
    /// The fragment duration to aim for.
    pub fragment_target: Duration,
    /// Whose calendar its fragments go by.
    pub clock: Believed,
    /// After how long a picture that is the same counts as frozen, if it is watched for.
    pub frozen_picture: Option<Duration>,
    /// The stream of the same camera whose smaller copy this is.
    pub sub_of: Option<StreamName>,
}

impl Camera {
    /// A camera with nothing else said of it.
    pub fn new(stream: StreamName, source: Source) -> Self {
        let fragment_target = FRAGMENT_TARGET;
        Self { stream, source, fragment_target, clock: Believed::default(), frozen_picture: None, sub_of: None }
    }

    /// What the server is told of it, if it is a smaller copy.
    pub fn as_sub_stream(&self) -> Option<upload::SubStream> {
        Some(upload::SubStream { stream: self.stream.clone(), of: self.sub_of.clone()? })
    }
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
        /// Whose certificate is believed, where it speaks TLS.
        trust: TlsTrust,
    },
    /// A network camera that is asked for its address at each start.
    Onvif {
        /// Where it is asked.
        place: onvif::address::Place,
        /// Which of its streams.
        profile: onvif::Wanted,
        /// How packets travel.
        transport: Transport,
        /// Its credentials.
        credentials: Option<(String, Secret)>,
        /// How long packets wait to be put in order.
        latency: Option<Duration>,
        /// Whose certificate is believed, where it streams over TLS.
        trust: TlsTrust,
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
    frozen_picture: Option<String>,
    url: Option<String>,
    tls_ca: Option<PathBuf>,
    tls_fingerprint: Option<String>,
    tls_insecure: Option<bool>,
    onvif: Option<String>,
    profile: Option<String>,
    transport: Option<Transport>,
    user: Option<String>,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
    latency_ms: Option<u64>,
    clock: Option<Believed>,
    sub: Option<Sub>,
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

    /// The stream that it feeds, if it names one.
    pub(super) fn stream(&self) -> Option<StreamName> {
        self.stream.as_ref()?.parse().ok()
    }

    /// What it says of its uploads and those of its smaller stream, which `[uplink]` completes.
    pub(super) fn modes(&self, index: usize) -> Vec<uplink::OfCamera> {
        let of = |stream: Option<String>| uplink::OfCamera {
            place: self.place(index),
            stream,
            mode: self.mode,
            upload_hours: self.upload_hours.clone(),
        };
        let sub = self.sub.as_ref().and_then(Sub::stream).map(|stream| of(Some(stream.to_owned())));
        std::iter::once(of(self.stream.clone())).chain(sub).collect()
    }

    pub(super) fn resolve(self, folder: &Path) -> Result<Camera, Problems> {
        let mut problems = Problems::default();
        let stream = match &self.stream {
            Some(text) => text.parse::<StreamName>().map_err(|error| problems.push(format!("stream: {error}"))).ok(),
            None => {
                problems.push("stream is missing: name the stream that it feeds, as in stream = \"front\"".to_owned());
                None
            }
        };
        let fragment_target = self.fragment_target(&mut problems);
        let frozen_picture = tls::frozen_picture(self.frozen_picture.as_deref(), &mut problems);
        self.refuse_strangers(&mut problems);
        let clock = self.clock.unwrap_or_default();
        let source = self.source(folder, &mut problems);
        match (stream, source) {
            (Some(stream), Some(source)) if problems.is_empty() => {
                Ok(Camera { fragment_target, clock, frozen_picture, ..Camera::new(stream, source) })
            }
            _ => Err(problems),
        }
    }

    fn fragment_target(&self, problems: &mut Problems) -> Duration {
        let Some(seconds) = self.fragment_seconds else { return FRAGMENT_TARGET };
        if (1.0..=10.0).contains(&seconds) {
            return Duration::from_secs_f64(seconds);
        }
        problems.push(format!("fragment_seconds is {seconds}: write 1 to 10, as in fragment_seconds = 2"));
        FRAGMENT_TARGET
    }

    fn source(self, folder: &Path, problems: &mut Problems) -> Option<Source> {
        let picture = Picture { width: self.width, height: self.height, fps: self.fps };
        let kinds = [
            self.url.is_some(),
            self.onvif.is_some(),
            self.file.is_some(),
            self.test_pattern == Some(true),
            self.v4l2.is_some(),
            self.is_libcamera(),
        ];
        if kinds.iter().filter(|given| **given).count() != 1 {
            problems.push(
                "give exactly one of url, onvif, file, test_pattern, v4l2 and libcamera, as in \
                 url = \"rtsp://192.168.1.20/stream1\" or test_pattern = true"
                    .to_owned(),
            );
            return None;
        }
        if self.url.is_some() || self.onvif.is_some() {
            return self.network(folder, problems);
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

    /// The source of a network camera.
    fn network(self, folder: &Path, problems: &mut Problems) -> Option<Source> {
        let password = self.password(folder, problems)?;
        let (transport, latency) = (self.transport.unwrap_or_default(), self.latency_ms.map(Duration::from_millis));
        let credentials = self.user.zip(password);
        let tls = tls::Raw {
            ca: self.tls_ca.as_deref(),
            fingerprint: self.tls_fingerprint.as_deref(),
            insecure: self.tls_insecure,
        };
        let trust = tls.resolve(self.url.as_deref(), folder, problems);
        if let Some(url) = self.url {
            if !url.starts_with("rtsp://") && !url.starts_with("rtsps://") {
                // Not the address itself: it may hold a password.
                problems.push("url is not an RTSP address: write url = \"rtsp://192.168.1.20/stream1\"".to_owned());
                return None;
            }
            if url.starts_with("rtsps://") && transport == Transport::Udp {
                problems.push(
                    "transport = \"udp\" would send the pictures of an rtsps address in the clear: remove it"
                        .to_owned(),
                );
            }
            return Some(Source::Rtsp { url, transport, credentials, latency, trust });
        }
        let onvif = self.onvif?;
        let place = onvif::address::Place::parse(&onvif).or_else(|| {
            // Not the value itself: an address may hold a password.
            problems.push(
                "onvif is not an address: write the camera's, as in onvif = \"192.168.1.20\", or what discover calls it"
                    .to_owned(),
            );
            None
        })?;
        let wanted = self.profile.as_deref().unwrap_or("main");
        let profile = onvif::Wanted::parse(wanted).or_else(|| {
            problems.push("profile is empty: write \"main\", \"sub\" or a token that discover shows".to_owned());
            None
        })?;
        Some(Source::Onvif { place, profile, transport, credentials, latency, trust })
    }

    /// The password, if there is one. `None` after a problem.
    fn password(&self, folder: &Path, problems: &mut Problems) -> Option<Option<Secret>> {
        let given = self.password.is_some() || self.password_file.is_some();
        if self.user.is_some() != given {
            problems.push("user and password go together: write both or none".to_owned());
            return None;
        }
        match (&self.password, &self.password_file) {
            (Some(_), Some(_)) => {
                problems.push("both password and password_file are there: keep one of them".to_owned());
                None
            }
            (None, Some(file)) => match std::fs::read_to_string(folder.join(file)) {
                Ok(text) => Some(Some(Secret(text.trim_end_matches(['\r', '\n']).to_owned()))),
                Err(error) => {
                    problems.unreadable(format!(
                        "password_file {} can't be read: {error}; write the password into it",
                        file.display()
                    ));
                    None
                }
            },
            (password, None) => Some(password.clone()),
        }
    }

    fn is_libcamera(&self) -> bool {
        self.libcamera.as_ref().is_some_and(|camera| *camera != Libcamera::Any(false))
    }

    /// A key that would have no effect is a misunderstanding, and is said.
    fn refuse_strangers(&self, problems: &mut Problems) {
        let (file, v4l2, onvif) = (self.file.is_some(), self.v4l2.is_some(), self.onvif.is_some());
        let network = self.url.is_some() || onvif;
        let pattern = self.test_pattern == Some(true);
        let made_here = v4l2 || pattern || self.is_libcamera();
        let keys = [
            ("transport", self.transport.is_some(), network, "url or onvif"),
            ("user", self.user.is_some(), network, "url or onvif"),
            ("password", self.password.is_some(), network, "url or onvif"),
            ("latency_ms", self.latency_ms.is_some(), network, "url or onvif"),
            ("password_file", self.password_file.is_some(), network, "url or onvif"),
            ("profile", self.profile.is_some(), onvif, "onvif"),
            ("clock", self.clock.is_some(), network, "url or onvif"),
            ("tls_ca", self.tls_ca.is_some(), network, "url or onvif"),
            ("tls_fingerprint", self.tls_fingerprint.is_some(), network, "url or onvif"),
            ("tls_insecure", self.tls_insecure.is_some(), network, "url or onvif"),
            (
                "frozen_picture",
                self.frozen_picture.is_some(),
                network || v4l2 || self.is_libcamera(),
                "url, onvif, v4l2 or libcamera",
            ),
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
