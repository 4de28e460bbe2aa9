//! A video file: MP4, Matroska or an MPEG transport stream.
//!
//! ```text
//! gst-launch-1.0 filesrc name=file location=clip.mp4 ! qtdemux name=media \
//!     media. ! h264parse ! video/x-h264,stream-format=avc,alignment=au ! appsink sync=false \
//!     media. ! aacparse ! audio/mpeg,mpegversion=4,stream-format=raw ! appsink sync=false
//! ```
//!
//! One thread reads, takes apart and hands over, so units come in the file's order. The pace is kept
//! behind the sinks, which lets a looped file stay on time from round to round.
//!
//! An MP4's edit list is honoured: what it says is not shown, as the first packet of an AAC encoder, is
//! not taken.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use crate::Error;
use crate::launch::{Launch, MEDIA};

/// How fast a file is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// As a camera would send it.
    #[default]
    RealTime,
    /// As fast as its reader takes it.
    Fast,
}

/// A video file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it begins again at its end, with time going on.
    pub looped: bool,
    /// How fast it is read.
    pub pace: Pace,
}

impl Source {
    /// The file at `path`, once, in real time.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), looped: false, pace: Pace::RealTime }
    }

    /// Beginning again at its end, or not.
    #[must_use]
    pub fn looped(self, looped: bool) -> Self {
        Self { looped, ..self }
    }

    /// At another pace.
    #[must_use]
    pub fn pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    pub(crate) fn label(&self) -> String {
        format!("the file {}", self.path.display())
    }

    pub(crate) fn launch(&self) -> Result<Launch, Error> {
        let demuxer = self.container()?.demuxer();
        let location = self
            .path
            .to_str()
            .ok_or_else(|| Error::Invalid { what: self.label(), detail: "its name is not valid UTF-8".to_owned() })?;
        Ok(Launch {
            line: format!("filesrc name=file ! {demuxer} name={MEDIA}"),
            properties: vec![("file", "location", location.to_owned())],
            live: false,
        })
    }

    /// What the file's first bytes say that it is.
    fn container(&self) -> Result<Container, Error> {
        let mut start = Vec::new();
        let read = File::open(&self.path).and_then(|file| file.take(SNIFFED).read_to_end(&mut start));
        read.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Error::NotFound { what: self.label(), detail: "there is no such file".to_owned() }
            }
            _ => Error::Unreachable { what: self.label(), detail: error.to_string() },
        })?;
        Container::of(&start).ok_or_else(|| Error::Damaged {
            what: self.label(),
            detail: "it is neither MP4 nor Matroska nor an MPEG transport stream".to_owned(),
        })
    }
}

impl From<Source> for crate::Source {
    fn from(source: Source) -> Self {
        Self::File(source)
    }
}

/// Bytes that tell a container: two packets of a transport stream.
const SNIFFED: u64 = 2 * 188;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Mp4,
    Matroska,
    TransportStream,
}

impl Container {
    fn of(start: &[u8]) -> Option<Self> {
        if start.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]) {
            return Some(Self::Matroska);
        }
        if matches!(start.get(4..8), Some(b"ftyp" | b"moov" | b"mdat" | b"free" | b"skip" | b"wide")) {
            return Some(Self::Mp4);
        }
        (start.first() == Some(&0x47) && start.get(188) == Some(&0x47)).then_some(Self::TransportStream)
    }

    fn demuxer(self) -> &'static str {
        match self {
            Self::Mp4 => "qtdemux",
            Self::Matroska => "matroskademux",
            // tsdemux wants whole packets, which its parser cuts.
            Self::TransportStream => "tsparse ! tsdemux",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_tell_the_container_and_not_the_name() {
        let of = |name| Source::new(samples::clip(name)).container().unwrap();
        assert_eq!(of("h264-aac.mp4"), Container::Mp4);
        assert_eq!(of("h264-g711.mkv"), Container::Matroska);
        assert_eq!(of("h264-aac.ts"), Container::TransportStream);
    }

    #[test]
    fn a_file_that_is_not_there_is_said_in_words() {
        let error = Source::new("/nowhere/clip.mp4").launch().err().unwrap();
        assert_eq!(error.to_string(), "the file /nowhere/clip.mp4 was not found: there is no such file");
    }
}
