//! From the caps of a source's pad to the line of elements that makes access units of it.
//!
//! H.264, H.265 and AAC are only parsed: `stream-format` and `alignment` on the way out choose the form that
//! Matroska stores, and parsers that find that form already pass it untouched. Other audio is decoded and
//! becomes AAC. JPEG pictures are decoded, and encoded by what the machine has once their size is known, since no
//! browser plays them as they are. Other video is refused: encoding again is what a camera's second stream is for.

use fragment::TrackKind;

use crate::{Error, encoder, g726};

/// Every branch ends in this sink; the collector takes its samples.
pub(crate) const SINK: &str = "appsink name=sink sync=false async=false max-buffers=8";

pub(crate) const H264: &str = "h264parse ! video/x-h264,stream-format=avc,alignment=au";
pub(crate) const H265: &str = "h265parse ! video/x-h265,stream-format=hvc1,alignment=au";
pub(crate) const AAC: &str = "aacparse ! audio/mpeg,mpegversion=4,stream-format=raw";

/// RTP encoding names and what takes their packets apart. Video and AAC end in one of the forms above.
const RTP: [(&str, &str, Form); 19] = [
    ("H264", "rtph264depay", Form::H264),
    ("H265", "rtph265depay", Form::H265),
    ("MPEG4-GENERIC", "rtpmp4gdepay", Form::Aac),
    ("MP4A-LATM", "rtpmp4adepay", Form::Aac),
    ("PCMU", "rtppcmudepay ! mulawdec", Form::Raw),
    ("PCMA", "rtppcmadepay ! alawdec", Form::Raw),
    ("OPUS", "rtpopusdepay ! opusdec", Form::Raw),
    ("L16", "rtpL16depay", Form::Raw),
    ("G722", "rtpg722depay ! avdec_g722", Form::Raw),
    ("G726-16", g726::LINE, Form::Raw),
    ("G726-24", g726::LINE, Form::Raw),
    ("G726-32", g726::LINE, Form::Raw),
    ("G726-40", g726::LINE, Form::Raw),
    ("AAL2-G726-16", g726::LINE, Form::Raw),
    ("AAL2-G726-24", g726::LINE, Form::Raw),
    ("AAL2-G726-32", g726::LINE, Form::Raw),
    ("AAL2-G726-40", g726::LINE, Form::Raw),
    ("MPA", "rtpmpadepay ! mpegaudioparse ! avdec_mp3", Form::Raw),
    ("JPEG", "rtpjpegdepay", Form::Jpeg),
];

/// Media types in files and what decodes them.
const FILE: [(&str, &str, Form); 11] = [
    ("video/x-h264", "", Form::H264),
    ("video/x-h265", "", Form::H265),
    ("image/jpeg", "", Form::Jpeg),
    ("audio/x-mulaw", "mulawdec", Form::Raw),
    ("audio/x-alaw", "alawdec", Form::Raw),
    ("audio/x-opus", "opusdec", Form::Raw),
    ("audio/x-vorbis", "vorbisdec", Form::Raw),
    ("audio/x-flac", "flacparse ! flacdec", Form::Raw),
    ("audio/x-ac3", "ac3parse ! avdec_ac3", Form::Raw),
    ("audio/x-raw", "", Form::Raw),
    ("audio/x-adpcm", "avdec_adpcm_ms", Form::Raw),
];

/// What a track is before the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    H264,
    H265,
    /// Pictures that are decoded here, and encoded behind that.
    Jpeg,
    Aac,
    Raw,
}

/// How a pad's track is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    /// What it shows.
    pub(crate) kind: TrackKind,
    /// The elements from the pad to [`SINK`], or to raw pictures.
    pub(crate) line: String,
    /// Whether raw pictures come out, which have to be encoded.
    pub(crate) raw_pictures: bool,
}

/// The branch for a pad with `caps`; `Ok(None)` if its track cannot be used.
pub(crate) fn branch(caps: &gst::CapsRef) -> Result<Option<Branch>, Error> {
    let Some((before, form)) = caps.structure(0).and_then(form_of) else { return Ok(None) };
    let (kind, last) = match form {
        Form::H264 => (TrackKind::Video, H264.to_owned()),
        Form::H265 => (TrackKind::Video, H265.to_owned()),
        Form::Jpeg => {
            let line = if before.is_empty() { "jpegdec".to_owned() } else { format!("{before} ! jpegdec") };
            return Ok(Some(Branch { kind: TrackKind::Video, line, raw_pictures: true }));
        }
        Form::Aac => (TrackKind::Audio, AAC.to_owned()),
        Form::Raw => (TrackKind::Audio, format!("{} ! {AAC}", encoder::aac()?)),
    };
    let line = if before.is_empty() { format!("{last} ! {SINK}") } else { format!("{before} ! {last} ! {SINK}") };
    Ok(Some(Branch { kind, line, raw_pictures: false }))
}

/// What the track behind a pad is called, for messages.
pub(crate) fn name_of(caps: &gst::CapsRef) -> String {
    let Some(structure) = caps.structure(0) else { return "nothing".to_owned() };
    structure.get::<&str>("encoding-name").unwrap_or(structure.name().as_str()).to_owned()
}

fn form_of(structure: &gst::StructureRef) -> Option<(&'static str, Form)> {
    let name = structure.name().as_str();
    // rtspsrc asks about streams before it names their media type, but with the encoding.
    if let Ok(encoding) = structure.get::<&str>("encoding-name") {
        return RTP.iter().find(|(name, ..)| name.eq_ignore_ascii_case(encoding)).map(|(_, line, form)| (*line, *form));
    }
    if name == "audio/mpeg" {
        let layered = structure.get::<i32>("mpegversion") == Ok(1);
        return Some(if layered { ("mpegaudioparse ! avdec_mp3", Form::Raw) } else { ("", Form::Aac) });
    }
    FILE.iter().find(|(media, ..)| *media == name).map(|(_, line, form)| (*line, *form))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_video_is_only_parsed() {
        gst::init().unwrap();
        let caps = gst::Caps::builder("video/x-h264").build();
        let branch = branch(&caps).unwrap().unwrap();
        assert_eq!(branch.kind, TrackKind::Video);
        assert_eq!(branch.line, format!("{H264} ! {SINK}"));
    }

    #[test]
    fn telephone_audio_becomes_aac() {
        gst::init().unwrap();
        let caps = gst::Caps::builder("application/x-rtp").field("encoding-name", "PCMA").build();
        let branch = branch(&caps).unwrap().unwrap();
        assert_eq!(branch.kind, TrackKind::Audio);
        assert!(branch.line.starts_with("rtppcmadepay ! alawdec ! audioconvert"), "{}", branch.line);
        assert!(branch.line.ends_with(&format!("{AAC} ! {SINK}")), "{}", branch.line);
    }

    #[test]
    fn jpeg_pictures_are_decoded() {
        gst::init().unwrap();
        let caps = gst::Caps::builder("application/x-rtp").field("encoding-name", "JPEG").build();
        let branch = branch(&caps).unwrap().unwrap();
        assert_eq!((branch.kind, branch.raw_pictures), (TrackKind::Video, true));
        assert_eq!(branch.line, "rtpjpegdepay ! jpegdec");
    }

    #[test]
    fn other_video_is_not_taken() {
        gst::init().unwrap();
        let caps = gst::Caps::builder("application/x-rtp").field("encoding-name", "MP4V-ES").build();
        assert_eq!(branch(&caps).unwrap(), None);
        assert_eq!(name_of(&caps), "MP4V-ES");
    }
}
