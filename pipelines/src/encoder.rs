//! The best encoders that this machine has.

use gst::prelude::*;

use crate::Error;

/// H.264 encoders, best first: hardware of boards, hardware of PCs, then software. `{bitrate}` is in
/// kbit/s, `{bits}` in bit/s, `{keys}` in frames.
const H264: [(&str, &str); 4] = [
    (
        "v4l2h264enc",
        "v4l2h264enc extra-controls=controls,repeat_sequence_header=1,video_bitrate={bits},h264_i_frame_period={keys} \
         ! video/x-h264,level=(string)4",
    ),
    ("vah264enc", "vah264enc bitrate={bitrate} key-int-max={keys} b-frames=0"),
    ("x264enc", "x264enc tune=zerolatency speed-preset=veryfast bitrate={bitrate} key-int-max={keys}"),
    ("openh264enc", "openh264enc bitrate={bits} gop-size={keys}"),
];

/// AAC encoders, best first.
const AAC: [(&str, &str); 3] = [
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

/// The line that encodes `width`×`height` at `fps` to H.264.
pub(crate) fn h264(width: u32, height: u32, fps: u32) -> Result<String, Error> {
    let pixels_a_second = u64::from(width) * u64::from(height) * u64::from(fps);
    let bits = (pixels_a_second / 10 * BITS_PER_TEN_PIXELS).clamp(200_000, 16_000_000);
    Ok(best(&H264, is_installed)?
        .replace("{bitrate}", &(bits / 1000).to_string())
        .replace("{bits}", &bits.to_string())
        .replace("{keys}", &(fps * KEY_SECONDS).to_string()))
}

/// The line that makes AAC of raw audio. Rates under 16 kHz are raised: not every player takes them.
pub(crate) fn aac() -> Result<String, Error> {
    let encoder = best(&AAC, is_installed)?;
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
fn best(choices: &[(&str, &'static str)], is_there: impl Fn(&str) -> bool) -> Result<&'static str, Error> {
    choices.iter().find(|(element, _)| is_there(element)).map(|(_, line)| *line).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(element, _)| *element).collect();
        Error::MissingElement { element: names.join(" or ") }
    })
}

/// Whether GStreamer has this element. A hardware encoder's is there only where its hardware is.
fn is_installed(element: &str) -> bool {
    gst::ElementFactory::find(element).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_goes_before_software_and_boards_before_graphics_cards() {
        let order = ["v4l2h264enc", "vah264enc", "x264enc", "openh264enc"];
        for (i, best_there) in order.iter().enumerate() {
            let line = best(&H264, |element| order[i..].contains(&element)).unwrap();
            assert!(line.starts_with(best_there), "{line}");
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
        let line = h264(1280, 720, 30).unwrap();
        assert!(!line.contains('{'), "{line}");
        // 1280 × 720 × 30 / 10 bits a second, and a key frame each two seconds.
        assert!(line.contains("2764") && line.contains("60"), "{line}");
        assert!(h264(16, 16, 1).unwrap().contains("200"), "no less than 200 kbit/s");
    }
}
