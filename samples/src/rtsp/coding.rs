//! How a camera codes what its clip shows, where that is to be another way than the clip's own.

use std::fmt;
use std::str::FromStr;

/// A coding that cameras use and no sample clip has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Pictures as JPEG each, RFC 2435.
    Mjpeg,
    /// G.711 μ-law.
    Pcmu,
    /// G.722 at 64 kbit/s.
    G722,
    /// G.726 at 16, 24, 32 or 40 kbit/s. RFC 3551 packs its codes from the least significant bit; with `aal2`
    /// they are packed from the most significant one and called AAL2-G726.
    G726 {
        /// Thousands of bits a second.
        kbits: u32,
        /// Which packing.
        aal2: bool,
    },
    /// Samples of 16 bits, big-endian.
    L16,
    /// Opus.
    Opus,
    /// AAC, RFC 3016.
    Latm,
}

/// The names, as they are written on a command line.
const NAMES: [(&str, Coding); 14] = [
    ("mjpeg", Coding::Mjpeg),
    ("pcmu", Coding::Pcmu),
    ("g722", Coding::G722),
    ("g726-16", Coding::G726 { kbits: 16, aal2: false }),
    ("g726-24", Coding::G726 { kbits: 24, aal2: false }),
    ("g726-32", Coding::G726 { kbits: 32, aal2: false }),
    ("g726-40", Coding::G726 { kbits: 40, aal2: false }),
    ("aal2-g726-16", Coding::G726 { kbits: 16, aal2: true }),
    ("aal2-g726-24", Coding::G726 { kbits: 24, aal2: true }),
    ("aal2-g726-32", Coding::G726 { kbits: 32, aal2: true }),
    ("aal2-g726-40", Coding::G726 { kbits: 40, aal2: true }),
    ("l16", Coding::L16),
    ("opus", Coding::Opus),
    ("latm", Coding::Latm),
];

/// Media types and what decodes them.
const DECODERS: [(&str, &str); 5] = [
    ("video/x-h264", "h264parse ! avdec_h264 ! videoconvert"),
    ("video/x-h265", "h265parse ! avdec_h265 ! videoconvert"),
    ("audio/mpeg", "aacparse ! avdec_aac ! audioconvert ! audioresample"),
    ("audio/x-alaw", "alawdec ! audioconvert ! audioresample"),
    ("audio/x-mulaw", "mulawdec ! audioconvert ! audioresample"),
];

/// That there is no such coding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotACoding;

impl Coding {
    /// Every coding.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.into_iter().map(|(_, coding)| coding)
    }

    /// What makes units of this coding out of a clip's track of `media`, and what sends them. `None` if the
    /// track is of the other kind.
    pub(super) fn lines(self, media: &str) -> Option<(String, String)> {
        let kind = if self == Self::Mjpeg { "video/" } else { "audio/" };
        let (_, decoder) = DECODERS.iter().find(|(name, _)| *name == media && media.starts_with(kind))?;
        let raw = |rate: u32| format!("audio/x-raw,rate={rate},channels=1");
        let (encoder, payloader) = match self {
            Self::Mjpeg => ("video/x-raw,format=I420 ! jpegenc quality=85".to_owned(), "rtpjpegpay".to_owned()),
            Self::Pcmu => (format!("{} ! mulawenc", raw(8000)), "rtppcmupay".to_owned()),
            Self::G722 => (format!("{} ! avenc_g722", raw(16_000)), "rtpg722pay".to_owned()),
            Self::G726 { kbits, aal2 } => (
                format!("{} ! avenc_g726 bitrate={}", raw(8000), kbits * 1000),
                format!("rtpg726pay force-aal2={aal2}"),
            ),
            Self::L16 => (format!("{},format=S16BE", raw(16_000)), "rtpL16pay".to_owned()),
            Self::Opus => (format!("{} ! opusenc", raw(48_000)), "rtpopuspay".to_owned()),
            Self::Latm => {
                let aac = "avenc_aac ! aacparse ! audio/mpeg,mpegversion=4,stream-format=raw";
                (format!("{} ! {aac}", raw(16_000)), "rtpmp4apay".to_owned())
            }
        };
        Some((format!("{decoder} ! {encoder}"), payloader))
    }
}

impl FromStr for Coding {
    type Err = NotACoding;

    fn from_str(text: &str) -> Result<Self, NotACoding> {
        NAMES.iter().find(|(name, _)| *name == text).map(|(_, coding)| *coding).ok_or(NotACoding)
    }
}

impl fmt::Display for NotACoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "write one of {}", NAMES.map(|(name, _)| name).join(", "))
    }
}

impl std::error::Error for NotACoding {}
