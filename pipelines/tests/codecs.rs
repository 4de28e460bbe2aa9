//! What cameras code in, over a real RTSP server: what passes, and what it becomes where it can't.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::time::Duration;

use fragment::{AccessUnit, Codec, MediaTime, Track, TrackNumber, Tracks};
use gst::prelude::*;
use pipelines::rtsp::Source;
use pipelines::{Event, Pipeline};
use samples::rtsp::{Camera, Coding, Settings};
use tokio::time::timeout;

/// Longer than any of these should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The tone of the clips swings between 287 and 313 Hz.
const TONE: std::ops::Range<f64> = 280.0..320.0;

#[tokio::test]
async fn sound_of_every_coding_becomes_aac_and_is_the_tone_that_it_was() {
    let mut wrong = Vec::new();
    for coding in Coding::all().filter(|coding| *coding != Coding::Mjpeg) {
        let camera = camera("h264-g711.mkv", coding);
        let (tracks, units) = watch(&camera, Duration::from_secs(3)).await;
        let Some(track) = tracks.audio() else {
            wrong.push(format!("{coding:?}: no sound"));
            continue;
        };
        let samples = decode(track, &units, "audio/x-raw,format=S16LE,channels=1");
        let (hertz, loudness) = measure(&samples, track);
        // A sine of 0.2 has 0.141; other sounds in it would add to that.
        if !TONE.contains(&hertz) || !(0.11..0.17).contains(&loudness) {
            wrong.push(format!("{coding:?}: {hertz} Hz, as loud as {loudness}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn pictures_of_a_jpeg_camera_become_h264_with_all_their_numbers() {
    let camera = camera("h264-g711.mkv", Coding::Mjpeg);
    let (tracks, units) = watch(&camera, Duration::from_secs(6)).await;
    let track = tracks.video().expect("it has pictures");
    let Codec::H264(config) = &track.codec else { panic!("{:?}", track.codec) };
    assert_eq!(config.width(), 320);
    let numbers = numbers(track, &units);
    assert!(numbers.len() > 60, "{}", numbers.len());
    assert!(numbers.windows(2).all(|pair| (pair[0] + 1) % 150 == pair[1]), "{numbers:?}");
    assert!(tracks.audio().is_some());
}

#[tokio::test]
async fn a_jpeg_camera_gives_a_key_frame_each_two_seconds() {
    let camera = camera("h264-vfr.mkv", Coding::Mjpeg);
    let (_, units) = watch(&camera, Duration::from_secs(9)).await;
    let keys: Vec<_> = units.iter().filter(|unit| unit.key).map(|unit| unit.pts).collect();
    assert!(keys.len() >= 4, "{keys:?}");
    for pair in keys.windows(2) {
        assert!(pair[1].since(pair[0]) < Duration::from_millis(2_300), "{keys:?}");
    }
}

#[tokio::test]
async fn h265_with_b_frames_passes_in_its_order_and_at_its_times() {
    let camera = Camera::start(&Settings::new(samples::clip("h265-bframes.mp4"))).expect("the camera starts");
    let (tracks, units) = watch(&camera, Duration::from_secs(5)).await;
    let track = tracks.video().expect("it has pictures");
    assert!(matches!(track.codec, Codec::H265(_)));
    let mut times: Vec<MediaTime> = units.iter().map(|unit| unit.pts).collect();
    assert!(!times.is_sorted(), "they come as they are decoded");
    times.sort_unstable();
    // The last pictures miss those that are shown before them.
    let whole = &times[..times.len() - 4];
    let steps: Vec<Duration> = whole.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    let exact = steps.iter().filter(|step| step.abs_diff(Duration::from_millis(50)) < Duration::from_millis(2)).count();
    assert!(exact * 20 > steps.len() * 19, "{exact} of {}: {steps:?}", steps.len());
    // A decoder shows them by their numbers only if their order was kept.
    let numbers = numbers(track, &units);
    let whole = &numbers[..numbers.len() - 4];
    assert!(whole.len() > 60 && whole.windows(2).all(|pair| (pair[0] + 1) % 200 == pair[1]), "{numbers:?}");
}

fn camera(clip: &str, coding: Coding) -> Camera {
    Camera::start(&Settings { recoded: vec![coding], ..Settings::new(samples::clip(clip)) }).expect("the camera starts")
}

/// What a camera gives until media time has come to `length`.
async fn watch(camera: &Camera, length: Duration) -> (Tracks, Vec<AccessUnit>) {
    let (handle, mut events) = Pipeline::start(Source::new(camera.url()));
    let watched = timeout(PATIENCE, async {
        let mut units: Vec<AccessUnit> = Vec::new();
        let mut tracks = None;
        while units.last().is_none_or(|unit| unit.pts.since(MediaTime::ZERO) < length) {
            match events.recv().await.expect("the camera goes on") {
                Event::Tracks(new) => tracks = Some(new),
                Event::Unit(unit) => units.push(unit),
                Event::Clock(_) => {}
                other => panic!("{other:?}"),
            }
        }
        (tracks.expect("tracks come first"), units)
    });
    let watched = watched.await.expect("units come");
    handle.stop();
    watched
}

/// The numbers of the pictures, in the order in which they are shown.
fn numbers(track: &Track, units: &[AccessUnit]) -> Vec<u32> {
    let (width, height) = (320, 180);
    let luma = decode(track, units, "video/x-raw,format=GRAY8");
    // JPEG over RTP has whole blocks of eight rows.
    let picture = if luma.len().is_multiple_of(width * 184) { width * 184 } else { width * height };
    let read = |luma: &[u8]| samples::barcode::read(luma, width, height, width).expect("a picture has its number");
    luma.chunks_exact(picture).map(read).collect()
}

/// The frequency of a tone, and its root mean square.
fn measure(bytes: &[u8], track: &Track) -> (f64, f64) {
    let Codec::Aac(config) = &track.codec else { panic!("{:?}", track.codec) };
    let samples: Vec<f64> =
        bytes.chunks_exact(2).map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]])) / 32768.0).collect();
    // Without what coders do at their start.
    let samples = &samples[samples.len() / 4..];
    let rises = samples.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
    #[expect(clippy::cast_precision_loss, reason = "some ten thousand samples")]
    let (rises, count) = (rises as f64, samples.len() as f64);
    let hertz = rises * f64::from(config.sampling_frequency()) / count;
    (hertz, (samples.iter().map(|sample| sample * sample).sum::<f64>() / count).sqrt())
}

/// The units of a track, decoded by GStreamer.
fn decode(track: &Track, units: &[AccessUnit], raw: &str) -> Vec<u8> {
    let (caps, decoder) = match &track.codec {
        Codec::H264(config) => (coded("video/x-h264", "avc", config.as_bytes()), "avdec_h264 ! videoconvert"),
        Codec::H265(config) => (coded("video/x-h265", "hvc1", config.as_bytes()), "avdec_h265 ! videoconvert"),
        Codec::Aac(config) => {
            let mut caps = coded("audio/mpeg", "raw", config.as_bytes());
            let structure = caps.make_mut().structure_mut(0).expect("it has one");
            structure.set("mpegversion", 4);
            structure.set("rate", i32::try_from(config.sampling_frequency()).expect("a small number"));
            structure.set("channels", i32::from(config.channels()));
            (caps, "avdec_aac ! audioconvert")
        }
        other => panic!("{other:?}"),
    };
    let line = format!("appsrc name=in format=time ! {decoder} ! {raw} ! appsink name=out sync=false");
    let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let input = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    let output = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    input.set_caps(Some(&caps));
    input.set_property("max-bytes", 0_u64);
    pipeline.set_state(gst::State::Playing).unwrap();
    for unit in units.iter().filter(|unit| unit.track == track.number) {
        let mut buffer = gst::Buffer::from_slice(unit.data.clone());
        let nanos = u64::try_from(unit.pts.as_nanos() + 1_000_000_000).expect("no earlier than a second before");
        buffer.make_mut().set_pts(gst::ClockTime::from_nseconds(nanos));
        input.push_buffer(buffer).unwrap();
    }
    input.end_of_stream().unwrap();
    let mut bytes = Vec::new();
    while let Ok(sample) = output.pull_sample() {
        bytes.extend_from_slice(&sample.buffer().unwrap().map_readable().unwrap());
    }
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(!bytes.is_empty(), "nothing could be decoded of {:?}", TrackNumber::VIDEO);
    bytes
}

fn coded(media: &str, format: &str, config: &[u8]) -> gst::Caps {
    gst::Caps::builder(media)
        .field("stream-format", format)
        .field("alignment", if media.starts_with("video") { "au" } else { "frame" })
        .field("codec_data", gst::Buffer::from_slice(config.to_vec()))
        .build()
}
