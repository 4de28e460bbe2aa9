//! The file source on GStreamer: every clip's units are those of the file.

use std::process::Command;
use std::time::{Duration, Instant};

use fragment::codec::aac;
use fragment::{AccessUnit, Codec, MediaTime, TrackNumber, Tracks};
use pipelines::file::{Pace, Source};
use pipelines::{Error, Event, Handle, Pipeline, Receiver, State};

#[tokio::test]
async fn video_of_mp4_and_matroska_is_byte_for_byte_the_files() {
    for name in ["h264-aac.mp4", "h264-bframes.mp4", "h264-g711.mkv", "h264-vfr.mkv", "h265-aac.mp4"] {
        let units = of_track(&read_all(name).await.1, TrackNumber::VIDEO);
        assert_packets(name, "v:0", &units);
    }
}

#[tokio::test]
async fn aac_is_byte_for_byte_the_files() {
    for name in ["h264-aac.mp4", "h265-aac.mp4"] {
        let units = of_track(&read_all(name).await.1, TrackNumber::AUDIO);
        assert_packets(name, "a:0", &units);
    }
}

#[tokio::test]
async fn a_transport_stream_gives_the_pictures_and_sounds_of_the_mp4_that_it_was_made_of() {
    let (_, stream) = read_all("h264-aac.ts").await;
    let (_, file) = read_all("h264-aac.mp4").await;
    let pictures = |units: &[AccessUnit]| -> Vec<Vec<u8>> {
        of_track(units, TrackNumber::VIDEO).iter().map(|unit| slices(&unit.data)).collect()
    };
    assert_eq!(pictures(&stream), pictures(&file));
    let sounds = |units: &[AccessUnit]| -> Vec<bytes::Bytes> {
        of_track(units, TrackNumber::AUDIO).into_iter().map(|unit| unit.data).collect()
    };
    assert_eq!(sounds(&stream), sounds(&file));
}

#[tokio::test]
async fn tracks_come_first_and_say_how_the_clip_is_coded() {
    for (name, video, audio) in [
        ("h264-aac.mp4", "h264", true),
        ("h264-aac.ts", "h264", true),
        ("h264-bframes.mp4", "h264", false),
        ("h264-g711.mkv", "h264", true),
        ("h265-aac.mp4", "h265", true),
    ] {
        let (tracks, _) = read_all(name).await;
        let codec = match &tracks.video().unwrap().codec {
            Codec::H264(_) => "h264",
            Codec::H265(_) => "h265",
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(codec, video, "{name}");
        let is_aac = tracks.audio().map(|track| matches!(track.codec, Codec::Aac(aac::Config { .. })));
        assert_eq!(is_aac, audio.then_some(true), "{name}");
    }
}

#[tokio::test]
async fn telephone_audio_comes_as_ten_seconds_of_aac() {
    let (_, units) = read_all("h264-g711.mkv").await;
    let audio = of_track(&units, TrackNumber::AUDIO);
    let (first, last) = (audio.first().unwrap(), audio.last().unwrap());
    let length = last.pts.since(first.pts);
    assert!(length > Duration::from_millis(9_800) && length < Duration::from_millis(10_300), "{length:?}");
}

#[tokio::test]
async fn media_time_begins_at_the_first_picture_and_key_frames_come_each_second() {
    for name in samples::CLIPS {
        let (_, units) = read_all(name).await;
        let video = of_track(&units, TrackNumber::VIDEO);
        assert_eq!(video[0].pts, MediaTime::ZERO, "{name}");
        assert!(video[0].key, "{name}");
        assert_eq!(video.iter().filter(|unit| unit.key).count(), 10, "{name}");
    }
}

#[tokio::test]
async fn pictures_with_b_frames_come_in_decoding_order_with_the_times_they_are_shown() {
    let (_, units) = read_all("h264-bframes.mp4").await;
    let mut times: Vec<i64> = units.iter().map(|unit| unit.pts.as_millis()).collect();
    assert!(!times.is_sorted());
    times.sort_unstable();
    assert_eq!(times, (0..250).map(|frame| frame * 40).collect::<Vec<i64>>());
}

#[tokio::test]
async fn a_looped_file_goes_on_without_a_jump() {
    for name in ["h264-aac.mp4", "h264-bframes.mp4", "h264-g711.mkv", "h264-vfr.mkv", "h264-aac.ts"] {
        let source = Source::new(samples::clip(name)).looped(true).pace(Pace::Fast);
        let (handle, mut events) = Pipeline::start(source);
        let mut video: Vec<MediaTime> = Vec::new();
        let mut audio: Vec<MediaTime> = Vec::new();
        let mut tracks = 0;
        while video.last().is_none_or(|last| last.as_millis() < 35_000) {
            match events.recv().await.unwrap() {
                Event::Tracks(_) => tracks += 1,
                Event::Unit(unit) if unit.track == TrackNumber::VIDEO => video.push(unit.pts),
                Event::Unit(unit) => audio.push(unit.pts),
                Event::Clock(_) => {}
                other => panic!("{name}: {other:?}"),
            }
        }
        handle.stop();
        assert_eq!(tracks, 1, "{name}");
        // A round is as long as its longest track, and an encoder pads the sound by up to two packets.
        // The last pictures may still miss those that are shown before them.
        video.truncate(video.len() - 10);
        video.sort_unstable();
        assert_steps(name, &video, Duration::from_millis(25)..Duration::from_millis(200));
        assert_steps(name, &audio, Duration::from_millis(1)..Duration::from_millis(150));
    }
}

#[tokio::test]
async fn real_time_is_kept() {
    let began = Instant::now();
    let (handle, mut events) = Pipeline::start(Source::new(samples::clip("h264-vfr.mkv")));
    let mut last = MediaTime::ZERO;
    while last.as_millis() < 2_000 {
        if let Some(Event::Unit(unit)) = events.recv().await {
            last = unit.pts;
        }
    }
    let took = began.elapsed();
    handle.stop();
    assert!(took > Duration::from_millis(1_900) && took < Duration::from_millis(4_000), "{took:?}");
}

#[tokio::test]
async fn a_stop_ends_at_once_while_nobody_reads() {
    let source = Source::new(samples::clip("h264-aac.mp4")).looped(true).pace(Pace::Fast);
    let (handle, events) = Pipeline::start(source);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(handle.state(), State::Playing);
    let began = Instant::now();
    handle.stop();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    drop(events);
}

#[tokio::test]
async fn after_a_stop_the_queue_ends() {
    let source = Source::new(samples::clip("h264-aac.mp4")).looped(true).pace(Pace::Fast);
    let (handle, mut events) = Pipeline::start(source);
    assert!(events.recv().await.is_some());
    handle.stop();
    while let Some(event) = events.recv().await {
        assert!(matches!(event, Event::Tracks(_) | Event::Unit(_) | Event::Clock(_)), "{event:?}");
    }
}

#[tokio::test]
async fn a_file_of_another_kind_is_refused_in_words() {
    let (_handle, mut events) = Pipeline::start(Source::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")));
    let Some(Event::Failed(error)) = events.recv().await else { panic!("it was taken") };
    assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
    assert!(error.to_string().ends_with("it is neither MP4 nor Matroska nor an MPEG transport stream"));
    assert!(events.recv().await.is_none());
}

#[tokio::test]
async fn other_audio_becomes_aac() {
    for audio in ["libopus", "pcm_s16le", "pcm_mulaw", "mp3", "flac"] {
        let file = made_with(&["-c:v", "copy", "-ar", "48000", "-c:a", audio]);
        let (tracks, units) = read(Source::new(file.path())).await;
        assert!(matches!(tracks.audio().unwrap().codec, Codec::Aac(_)), "{audio}");
        assert!(of_track(&units, TrackNumber::AUDIO).len() > 150, "{audio}");
    }
}

#[tokio::test]
async fn a_file_with_other_video_only_says_what_it_has() {
    let file = made_with(&["-c:v", "mpeg4", "-an"]);
    let (_handle, mut events) = Pipeline::start(Source::new(file.path()).pace(Pace::Fast));
    let Some(Event::Failed(error)) = events.recv().await else { panic!("it was taken") };
    assert!(error.to_string().contains("it offers video/mpeg"), "{error}");
    assert!(!error.is_retryable());
}

/// Everything that a clip gives, read as fast as can be.
async fn read_all(name: &str) -> (Tracks, Vec<AccessUnit>) {
    read(Source::new(samples::clip(name))).await
}

async fn read(source: Source) -> (Tracks, Vec<AccessUnit>) {
    let label = source.path.display().to_string();
    let (_handle, mut events): (Handle, Receiver<Event>) = Pipeline::start(source.pace(Pace::Fast));
    let Some(Event::Tracks(tracks)) = events.recv().await else { panic!("{label}: no tracks") };
    let mut units = Vec::new();
    loop {
        match events.recv().await {
            Some(Event::Unit(unit)) => units.push(unit),
            Some(Event::Clock(_)) => {}
            Some(Event::EndOfStream) => return (tracks, units),
            other => panic!("{label}: {other:?} after {} units", units.len()),
        }
    }
}

fn of_track(units: &[AccessUnit], track: TrackNumber) -> Vec<AccessUnit> {
    units.iter().filter(|unit| unit.track == track).cloned().collect()
}

/// Holds units against what ffmpeg's demuxer takes out of the clip, by order, size and bytes.
fn assert_packets(name: &str, stream: &str, units: &[AccessUnit]) {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(samples::clip(name))
        .args(["-map", &format!("0:{stream}"), "-c", "copy", "-f", "data", "-"])
        .output()
        .expect("ffmpeg runs");
    assert!(output.status.success());
    let sizes = packet_sizes(name, stream);
    let of_units: Vec<usize> = units.iter().map(|unit| unit.data.len()).collect();
    assert_eq!(of_units, sizes, "{name} {stream}");
    let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.data.iter().copied()).collect();
    assert!(bytes == output.stdout, "{name} {stream}: sizes agree, bytes do not");
}

fn packet_sizes(name: &str, stream: &str) -> Vec<usize> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", stream, "-show_entries", "packet=size", "-of", "csv=p=0"])
        .arg(samples::clip(name))
        .output()
        .expect("ffprobe runs");
    let text = String::from_utf8(output.stdout).expect("ffprobe writes text");
    text.lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect()
}

/// The NAL units of slices, types 1 and 5, of length-prefixed H.264: what is left when a container's own
/// additions are gone.
fn slices(mut data: &[u8]) -> Vec<u8> {
    let mut slices = Vec::new();
    while let [a, b, c, d, rest @ ..] = data {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (unit, after) = rest.split_at(length);
        if matches!(unit[0] & 0x1f, 1 | 5) {
            slices.extend_from_slice(unit);
        }
        data = after;
    }
    slices
}

fn assert_steps(name: &str, times: &[MediaTime], allowed: std::ops::Range<Duration>) {
    for pair in times.windows(2) {
        assert!(pair[1] > pair[0] && allowed.contains(&pair[1].since(pair[0])), "{name}: a step between {pair:?}");
    }
}

/// The first clip, coded otherwise, in Matroska.
fn made_with(args: &[&str]) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".mkv").tempfile().expect("a file can be made");
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-i"])
        .arg(samples::clip("h264-aac.mp4"))
        .args(args)
        .arg(file.path())
        .status()
        .expect("ffmpeg runs");
    assert!(status.success());
    file
}
