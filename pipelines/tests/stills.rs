//! A key frame becomes a JPEG, by the decoders that the machine has.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use bytes::Bytes;
use fragment::{Codec, TrackNumber};
use pipelines::file::{Pace, Source};
use pipelines::still::{StillError, jpeg};
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
