//! Coded pictures become JPEG and PNG, by the decoders that the machine has.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use bytes::Bytes;
use fragment::{AccessUnit, Codec, MediaTime, TrackNumber};
use pipelines::file::{Pace, Source};
use pipelines::still::{Format, Size, StillError, jpeg, pictures};
use pipelines::{Event, Pipeline};

#[tokio::test]
async fn a_key_frame_of_either_codec_becomes_a_jpeg_of_its_size() {
    for name in ["h264-aac.mp4", "h264-bframes.mp4", "h265-aac.mp4"] {
        let (codec, picture) = key_frame(name).await;
        let size = match &codec {
            Codec::H264(config) => (config.width(), config.height()),
            Codec::H265(config) => (config.width(), config.height()),
            other => panic!("{other:?}"),
        };
        let decoded = tokio::task::spawn_blocking(move || jpeg(&codec, &picture, 4096)).await.unwrap().unwrap();
        assert_eq!(jpeg_size(&decoded), size, "{name}");
    }
}

#[tokio::test]
async fn a_picture_that_is_wider_than_wanted_is_made_smaller_and_keeps_its_shape() {
    let (codec, picture) = key_frame("h264-aac.mp4").await;
    let Codec::H264(config) = &codec else { panic!("H.264") };
    let (width, height) = (config.width(), config.height());
    let decoded = tokio::task::spawn_blocking(move || jpeg(&codec, &picture, 64)).await.unwrap().unwrap();
    let size = jpeg_size(&decoded);
    assert_eq!(size.0, 64);
    assert!(size.1.abs_diff(64 * height / width) <= 1, "{size:?}");
}

#[tokio::test]
async fn what_is_no_picture_is_an_error_and_no_hang() {
    let (codec, _) = key_frame("h264-aac.mp4").await;
    let broken = Bytes::from_static(b"\0\0\0\x04\xff\xff\xff\xff");
    let decoded = tokio::task::spawn_blocking(move || jpeg(&codec, &broken, 64)).await.unwrap();
    assert!(matches!(decoded, Err(StillError::Nothing | StillError::Pipeline(_))), "{decoded:?}");
}

#[tokio::test]
async fn pictures_of_chosen_times_carry_the_numbers_of_their_frames_in_each_format() {
    for name in ["h264-aac.mp4", "h264-bframes.mp4", "h265-aac.mp4"] {
        let (codec, units) = first_fragment(name).await;
        let mut shown: Vec<MediaTime> = units.iter().map(|unit| unit.pts).collect();
        shown.sort();
        let chosen = [0, 1, 7, shown.len() - 1];
        let wanted: BTreeSet<MediaTime> = chosen.iter().map(|&at| shown[at]).collect();
        for format in [Format::Jpeg { quality: 80 }, Format::Png] {
            let (codec, units, wanted) = (codec.clone(), units.clone(), wanted.clone());
            let made = move || pictures(&codec, &units, &wanted, format, Size::default());
            let made = tokio::task::spawn_blocking(made).await.unwrap().unwrap();
            let numbers: Vec<_> = made.values().map(|picture| number(picture, 320, 180) as usize).collect();
            assert_eq!(numbers, chosen, "{name} {format:?}");
        }
    }
}

#[tokio::test]
async fn a_size_is_met_and_the_side_that_is_not_given_follows() {
    let (codec, units) = first_fragment("h264-aac.mp4").await;
    let wanted = BTreeSet::from([units[0].pts]);
    for (width, height, expected) in [
        (Some(640), Some(640), (640, 640)),
        (None, Some(360), (640, 360)),
        (Some(160), None, (160, 90)),
        (None, None, (320, 180)),
    ] {
        let (codec, units, wanted) = (codec.clone(), units.clone(), wanted.clone());
        let format = Format::Jpeg { quality: 90 };
        let made = move || pictures(&codec, &units, &wanted, format, Size { width, height });
        let made = tokio::task::spawn_blocking(made).await.unwrap().unwrap();
        let picture = made.values().next().unwrap();
        assert_eq!(jpeg_size(picture), expected);
        if height != Some(90) && width != Some(160) {
            assert_eq!(number(picture, expected.0, expected.1), 0, "nothing was put around it");
        }
    }
}

#[tokio::test]
async fn a_lower_quality_makes_a_smaller_jpeg() {
    let (codec, units) = first_fragment("h264-aac.mp4").await;
    let wanted = BTreeSet::from([units[0].pts]);
    let sizes: Vec<usize> = [10, 50, 95]
        .map(|quality| pictures(&codec, &units, &wanted, Format::Jpeg { quality }, Size::default()).unwrap())
        .iter()
        .map(|made| made.values().next().unwrap().len())
        .collect();
    assert!(sizes.is_sorted() && sizes[0] < sizes[2], "{sizes:?}");
}

#[tokio::test]
async fn units_that_are_no_pictures_are_an_error_and_no_hang() {
    let (codec, mut units) = first_fragment("h264-aac.mp4").await;
    units.iter_mut().for_each(|unit| unit.data = Bytes::from_static(b"\0\0\0\x04\xff\xff\xff\xff"));
    let wanted = BTreeSet::from([units[0].pts]);
    let made = move || pictures(&codec, &units, &wanted, Format::Png, Size::default());
    let made = tokio::task::spawn_blocking(made).await.unwrap();
    assert!(made.as_ref().map_or(true, |made| made.is_empty()), "{made:?}");
}

/// The units of a clip's video up to its second key frame.
async fn first_fragment(name: &str) -> (Codec, Vec<AccessUnit>) {
    let (handle, mut events) = Pipeline::start(Source::new(samples::clip(name)).pace(Pace::Fast));
    let (mut codec, mut units) = (None, Vec::new());
    while let Some(event) = events.recv().await {
        match event {
            Event::Tracks(tracks) => codec = Some(tracks.video().unwrap().codec.clone()),
            Event::Unit(unit) if unit.key && unit.track == TrackNumber::VIDEO && !units.is_empty() => break,
            Event::Unit(unit) if unit.track == TrackNumber::VIDEO => units.push(unit),
            _ => {}
        }
    }
    handle.stop();
    (codec.unwrap(), units)
}

/// The number in a picture of this size, as ffmpeg decodes it.
fn number(picture: &[u8], width: u32, height: u32) -> u32 {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-i", "pipe:", "-f", "rawvideo", "-pix_fmt", "gray", "pipe:"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(picture).unwrap();
    let luma = child.wait_with_output().unwrap().stdout;
    let (width, height) = (width as usize, height as usize);
    assert_eq!(luma.len(), width * height);
    samples::barcode::read(&luma, width, height, width).unwrap()
}

async fn key_frame(name: &str) -> (Codec, Bytes) {
    let (handle, mut events) = Pipeline::start(Source::new(samples::clip(name)).pace(Pace::Fast));
    let mut codec = None;
    let found = loop {
        match events.recv().await.expect("the clip has a key frame") {
            Event::Tracks(tracks) => codec = Some(tracks.video().unwrap().codec.clone()),
            Event::Unit(unit) if unit.key && unit.track == TrackNumber::VIDEO => break (codec.unwrap(), unit.data),
            _ => {}
        }
    };
    handle.stop();
    found
}

/// Width and height, out of the start of frame.
fn jpeg_size(jpeg: &[u8]) -> (u32, u32) {
    assert_eq!(&jpeg[..2], [0xff, 0xd8], "it begins as a JPEG does");
    let mut at = 2;
    loop {
        let (marker, length) = (jpeg[at + 1], usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]])));
        if (0xc0..=0xc2).contains(&marker) {
            let number = |at: usize| u32::from(u16::from_be_bytes([jpeg[at], jpeg[at + 1]]));
            return (number(at + 7), number(at + 5));
        }
        at += 2 + length;
    }
}
