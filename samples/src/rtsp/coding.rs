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
    /// G.726 at 16, 24, 32 or 40 kbit/s, its codes packed from the least significant bit, RFC 3551.
    G726 {
        /// Thousands of bits a second.
        kbits: u32,
    },
    /// Samples of 16 bits, big-endian.
    L16,
    /// Opus.
    Opus,
    /// AAC, RFC 3016.
    Latm,
}

/// The names, as they are written on a command line.
const NAMES: [(&str, Coding); 10] = [
    ("mjpeg", Coding::Mjpeg),
    ("pcmu", Coding::Pcmu),
    ("g722", Coding::G722),
    ("g726-16", Coding::G726 { kbits: 16 }),
    ("g726-24", Coding::G726 { kbits: 24 }),
    ("g726-32", Coding::G726 { kbits: 32 }),
    ("g726-40", Coding::G726 { kbits: 40 }),
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
            // The payloader garbles codes of 3 and 5 bits when it is to pack them; `packed` does that.
            Self::G726 { kbits } => (
                format!("{} ! avenc_g726 bitrate={}", raw(8000), kbits * 1000),
                "rtpg726pay force-aal2=true".to_owned(),
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

/// Codes of G.726, which the encoder packs from the highest bit, packed from the lowest; other units as they are.
pub(super) fn packed(buffer: gst::Buffer, caps: &gst::CapsRef) -> gst::Buffer {
    let kbits =
        caps.structure(0).filter(|s| s.get::<&str>("layout") == Ok("g726")).and_then(|s| s.get::<i32>("bitrate").ok());
    let Some(bits) = kbits.and_then(|bits| usize::try_from(bits / 8000).ok()) else { return buffer };
    let Ok(map) = buffer.map_readable() else { return buffer.clone() };
    let bit = |at: usize| map[at / 8] >> (7 - at % 8) & 1;
    let mut bytes = vec![0_u8; map.len()];
    for code in 0..map.len() * 8 / bits {
        for place in 0..bits {
            let to = code * bits + place;
            bytes[to / 8] |= bit(code * bits + bits - 1 - place) << (to % 8);
        }
    }
    let mut packed = gst::Buffer::from_mut_slice(bytes);
    let times = packed.make_mut();
    times.set_pts(buffer.pts());
    times.set_duration(buffer.duration());
    packed
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
