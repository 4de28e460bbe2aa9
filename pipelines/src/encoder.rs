//! The best encoders that this machine has.
//!
//! A hardware encoder that is there can still fail: it takes three pictures at a time on some boards, or its driver
//! refuses a size. One that failed is left out for a while, by all sources of the process, and the next in the order
//! does its work.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use gst::prelude::*;

use crate::{Error, limits};

/// An element, and the line that it stands in.
pub(crate) type Choice = (&'static str, &'static str);

/// H.264 encoders, best first: hardware of boards, hardware of PCs, then software. `{bitrate}` is in
/// kbit/s, `{bits}` in bit/s, `{keys}` in frames.
const H264: [Choice; 4] = [
    (
        "v4l2h264enc",
        "v4l2h264enc name=video-encoder \
         extra-controls=controls,repeat_sequence_header=1,video_bitrate={bits},h264_i_frame_period={keys} \
         ! video/x-h264,level=(string)4",
    ),
    ("vah264enc", "vah264enc name=video-encoder bitrate={bitrate} key-int-max={keys} b-frames=0"),
    (
        "x264enc",
        "x264enc name=video-encoder tune=zerolatency speed-preset=veryfast bitrate={bitrate} key-int-max={keys}",
    ),
    ("openh264enc", "openh264enc name=video-encoder bitrate={bits} gop-size={keys}"),
];

/// What an H.264 encoder is called in a line.
const VIDEO_ENCODER: &str = "video-encoder";

/// The encoders of this process.
pub(crate) static ENCODERS: Encoders = Encoders { h264: &H264, failed: Mutex::new(Vec::new()) };

/// AAC encoders, best first.
const AAC: [Choice; 3] = [
    ("fdkaacenc", "fdkaacenc name=aac-encoder bitrate=64000"),
    ("avenc_aac", "avenc_aac name=aac-encoder bitrate=64000"),
    ("voaacenc", "voaacenc name=aac-encoder bitrate=64000"),
];

/// What they are called in a line.
const AAC_ENCODER: &str = "aac-encoder";

/// By how many samples the sound comes out of each later than the times of its packets say: what an encoder needs to look
/// ahead, which GStreamer leaves in. That of fdkaacenc is by its documentation, the others were measured by an impulse.
const AAC_DELAY: [(&str, u64); 3] = [("fdkaacenc", 2048), ("avenc_aac", 1024), ("voaacenc", 1600)];

/// Seconds from key frame to key frame: a fragment can be no shorter, and two is what HLS advises.
const KEY_SECONDS: u32 = 2;

/// What a picture costs, for the bit rate: 0.1 bit a pixel suits H.264 at veryfast.
const BITS_PER_TEN_PIXELS: u64 = 1;

/// The H.264 encoders to choose from, and those of them that failed of late.
pub(crate) struct Encoders {
    pub(crate) h264: &'static [Choice],
    pub(crate) failed: Mutex<Vec<(&'static str, Instant)>>,
}

impl Encoders {
    /// The line that encodes `width`×`height` at `fps` to H.264.
    pub(crate) fn h264(&self, width: u32, height: u32, fps: u32) -> Result<String, Error> {
        let pixels_a_second = u64::from(width) * u64::from(height) * u64::from(fps);
        let bits = (pixels_a_second / 10 * BITS_PER_TEN_PIXELS).clamp(200_000, 16_000_000);
        let (element, line) = self.choice(Instant::now())?;
        tracing::info!(encoder = element, width, height, "pictures are encoded");
        Ok(line
            .replace("{bitrate}", &(bits / 1000).to_string())
            .replace("{bits}", &bits.to_string())
            .replace("{keys}", &(fps * KEY_SECONDS).to_string()))
    }

    /// An element of `bin` failed, which gave this account. If the encoder is to blame, answers which one is left out
    /// from now on. One that refuses a picture's form says so to the elements before it, and they fail.
    pub(crate) fn note_failure(&self, bin: &gst::Bin, element: &str, account: &str) -> Option<&'static str> {
        if element != VIDEO_ENCODER && !account.contains("not-negotiated") {
            return None;
        }
        let factory = bin.by_name(VIDEO_ENCODER)?.factory()?.name();
        let (failed, _) = self.h264.iter().find(|(name, _)| factory == *name)?;
        lock(&self.failed).push((failed, Instant::now()));
        Some(failed)
    }

    /// The first that is there and has not failed of late; if all have, the first that is there.
    fn choice(&self, now: Instant) -> Result<Choice, Error> {
        let mut failed = lock(&self.failed);
        failed.retain(|(_, since)| now.saturating_duration_since(*since) < limits::ENCODER_LEFT_OUT);
        let well = |element: &str| is_installed(element) && !failed.iter().any(|(name, _)| *name == element);
        best(self.h264, well).or_else(|_| best(self.h264, is_installed))
    }
}

/// Has the encoder in `bin` make a key frame each two seconds by the pictures' times. Its own count of pictures is
/// right only for a camera whose rate is known and steady.
pub(crate) fn make_key_frames(bin: &gst::Bin) {
    let Some(pad) = bin.by_name(VIDEO_ENCODER).and_then(|encoder| encoder.static_pad("sink")) else { return };
    let interval = gst::ClockTime::from_seconds(KEY_SECONDS.into());
    let last = Mutex::new(None::<gst::ClockTime>);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(pts) = info.buffer().and_then(|buffer| buffer.pts()) else { return gst::PadProbeReturn::Ok };
        let mut last = lock(&last);
        let since = last.get_or_insert(pts);
        if pts.saturating_sub(*since) >= interval || pts < *since {
            *since = pts;
            // An encoder that does not know the request goes by its own count.
            let _ = pad.send_event(gst_video::DownstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
        gst::PadProbeReturn::Ok
    });
}

/// The line that makes AAC of raw audio. Rates under 16 kHz are raised: not every player takes them.
pub(crate) fn aac() -> Result<String, Error> {
    let (_, encoder) = best(&AAC, is_installed)?;
    Ok(format!("audioconvert ! audioresample ! audio/x-raw,rate=[16000,48000],channels=[1,2] ! {encoder}"))
}

/// Puts the sound of an AAC encoder in `bin`, if there is one, back in step with the picture: at 16 kHz it would be 64 ms
/// late, which is seen. Its first packet then lies before the first sample, as it should.
pub(crate) fn put_in_step(bin: &gst::Bin) {
    let Some(encoder) = bin.by_name(AAC_ENCODER) else { return };
    let factory = encoder.factory().map(|factory| factory.name());
    let delay = AAC_DELAY.iter().find(|(name, _)| factory.as_deref() == Some(*name)).map_or(0, |(_, samples)| *samples);
    let Some(pad) = encoder.static_pad("src") else { return };
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, info| {
        // The rate is known when the encoder tells its caps, which is before its first packet.
        if let Some(gst::EventView::Caps(caps)) = info.event().map(|event| event.view())
            && let Some(rate) = caps.caps().structure(0).and_then(|caps| caps.get::<i32>("rate").ok())
        {
            let nanos = delay * gst::ClockTime::SECOND.nseconds() / u64::try_from(rate).unwrap_or(1).max(1);
            pad.set_offset(-i64::try_from(nanos).expect("a few thousand samples are less than seconds"));
        }
        gst::PadProbeReturn::Ok
    });
}

/// The first of `choices` whose element is there.
fn best(choices: &[Choice], is_there: impl Fn(&str) -> bool) -> Result<Choice, Error> {
    choices.iter().find(|(element, _)| is_there(element)).copied().ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(element, _)| *element).collect();
        Error::MissingElement { element: names.join(" or ") }
    })
}

/// Whether GStreamer has this element. A hardware encoder's is there only where its hardware is.
fn is_installed(element: &str) -> bool {
    gst::ElementFactory::find(element).is_some()
}

/// What these locks guard is replaced in one step, so a panic of another thread leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_goes_before_software_and_boards_before_graphics_cards() {
        let order = ["v4l2h264enc", "vah264enc", "x264enc", "openh264enc"];
        for (i, best_there) in order.iter().enumerate() {
            let (element, _) = best(&H264, |element| order[i..].contains(&element)).unwrap();
            assert_eq!(element, *best_there);
        }
    }

    #[test]
    fn every_choice_is_a_line_of_its_own_element() {
        for (element, line) in H264.iter().chain(&AAC) {
            assert_eq!(line.split_whitespace().next(), Some(*element));
        }
    }

    #[test]
    fn every_aac_encoder_has_its_name_and_its_delay() {
        for (element, line) in AAC {
            assert!(line.contains(&format!(" name={AAC_ENCODER} ")), "{line}");
            assert!(AAC_DELAY.iter().any(|(name, samples)| *name == element && *samples >= 1024), "{element}");
        }
    }

    #[test]
    fn a_machine_without_an_encoder_is_told_which_would_do() {
        let error = best(&H264, |_| false).unwrap_err().to_string();
        for element in ["v4l2h264enc", "vah264enc", "x264enc", "openh264enc"] {
            assert!(error.contains(element), "{error}");
        }
    }

    #[test]
    fn bit_rate_and_key_frames_follow_the_picture() {
        gst::init().unwrap();
        let line = ENCODERS.h264(1280, 720, 30).unwrap();
        assert!(!line.contains('{'), "{line}");
        // 1280 × 720 × 30 / 10 bits a second, and a key frame each two seconds.
        assert!(line.contains("2764") && line.contains("60"), "{line}");
        assert!(ENCODERS.h264(16, 16, 1).unwrap().contains("200"), "no less than 200 kbit/s");
    }

    #[test]
    fn every_h264_encoder_has_its_name() {
        for (_, line) in H264 {
            assert!(line.contains(&format!(" name={VIDEO_ENCODER} ")), "{line}");
        }
    }

    #[test]
    fn an_encoder_that_failed_is_left_out_for_a_while() {
        let (encoders, bin) = machine(&[("identity", "first"), ("queue", "second")]);
        assert_eq!(encoders.note_failure(&bin, "jpegdec0", "it broke"), None);
        assert_eq!(encoders.choice(Instant::now()).unwrap().0, "identity");
        assert_eq!(encoders.note_failure(&bin, VIDEO_ENCODER, "it broke"), Some("identity"));
        assert_eq!(encoders.choice(Instant::now()).unwrap().0, "queue");
        let later = Instant::now() + limits::ENCODER_LEFT_OUT;
        assert_eq!(encoders.choice(later).unwrap().0, "identity");
    }

    #[test]
    fn an_encoder_that_refuses_the_pictures_is_to_blame_though_another_element_says_so() {
        let (encoders, bin) = machine(&[("identity", "first"), ("queue", "second")]);
        let account = "streaming stopped, reason not-negotiated (-4)";
        assert_eq!(encoders.note_failure(&bin, "camera", account), Some("identity"));
        assert_eq!(encoders.choice(Instant::now()).unwrap().0, "queue");
    }

    #[test]
    fn where_every_encoder_failed_the_best_is_tried_again() {
        let (encoders, bin) = machine(&[("identity", "only")]);
        encoders.note_failure(&bin, VIDEO_ENCODER, "it broke");
        assert_eq!(encoders.choice(Instant::now()).unwrap().0, "identity");
    }

    /// A machine with these encoders, and a pipeline in which `identity` encodes.
    fn machine(choices: &'static [Choice]) -> (Encoders, gst::Bin) {
        gst::init().unwrap();
        let bin = gst::Bin::new();
        bin.add(&gst::ElementFactory::make("identity").name(VIDEO_ENCODER).build().unwrap()).unwrap();
        (Encoders { h264: choices, failed: Mutex::default() }, bin)
    }
}
