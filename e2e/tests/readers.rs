//! What a camera sends is read by others than browsers, live and from the past, without a complaint.

use std::thread;

use e2e::frames::{self, Reading};
use e2e::{Playback, TwoCameras};

/// Seconds of each live reading: more than the playlist lists at first, so that it is fetched again and again.
const SECONDS: u32 = 16;

/// Pictures of a live reading: the clips have 25 in a second, and a reader has to begin.
const PICTURES: usize = 300;

/// Pictures that are stored when the readings begin: four fragments of two seconds.
const AT_FIRST: usize = 150;

#[test]
fn ffprobe_and_gstreamer_read_live_and_past_playlists_of_cameras_without_a_warning() {
    let TwoCameras { server, .. } = &TwoCameras::start();

    let read = |stream: &str| {
        let (live, past) = (server.playback(stream, Playback::Live), server.whole(stream));
        let readings = thread::scope(|scope| {
            let live_by_gstreamer = scope.spawn(|| frames::gstreamer(&live, Some(SECONDS)));
            let live_by_ffprobe = frames::ffprobe(&live, Some(SECONDS));
            [
                ("live, GStreamer", live_by_gstreamer.join().expect("reading does not panic"), PICTURES),
                ("live, ffprobe", live_by_ffprobe, PICTURES),
                ("past, GStreamer", frames::gstreamer(&past, None), AT_FIRST),
                ("past, ffprobe", frames::ffprobe(&past, None), AT_FIRST),
            ]
        });
        let bad = |(_, reading, least): &(&str, Reading, usize)| {
            !reading.success || !reading.complaints.is_empty() || reading.units < *least
        };
        let bad = readings.into_iter().filter(bad);
        let say = |(what, reading, _): (&str, Reading, usize)| {
            format!("{stream}, {what}: {} units; {:#?}", reading.units, reading.complaints)
        };
        bad.map(say).collect::<Vec<_>>()
    };
    let failures: Vec<String> = thread::scope(|scope| {
        let readers: Vec<_> = TwoCameras::STREAMS.iter().map(|stream| scope.spawn(|| read(stream))).collect();
        readers.into_iter().flat_map(|reader| reader.join().expect("reading does not panic")).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
