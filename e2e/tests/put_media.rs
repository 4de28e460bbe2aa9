//! PutMedia from a producer that behaves as AWS's own does, and from what others' muxers write: everything that is acknowledged
//! is there, frame by frame, also through kills.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::frames::{self, Kind};
use e2e::{AccessKey, Media, Producer, Server, Timecodes, clip, of_kind, tags, until};
use serde_json::Value;

/// Matroska and MP4 keep times in different units, as coarse as a millisecond: twice rounded.
const ROUNDING: Duration = Duration::from_millis(2);

#[test]
fn what_kvssink_sends_is_acknowledged_and_comes_back_frame_by_frame() {
    let stage = Stage::start(&[]);
    for name in ["h264-aac.mp4", "h264-bframes.mp4", "h265-aac.mp4", "h264-vfr.mkv"] {
        let stream = stage.stream(name);
        let media = Media::of(&clip(name), an_hour_ago_ms());
        let acks = stage.connect(&stream, Timecodes::Absolute).put(&media);

        assert_eq!(acks.len(), 3 * media.fragments.len(), "{name}: {acks:?}");
        let timecodes: Vec<u64> = (0..media.fragments.len()).map(|at| media.timecode(at)).collect();
        for kind in ["BUFFERING", "RECEIVED", "PERSISTED"] {
            let told: Vec<u64> =
                of_kind(&acks, kind).iter().filter_map(|ack| ack["FragmentTimecode"].as_u64()).collect();
            assert_eq!(told, timecodes, "{name}: {kind}");
        }
        stage.is_identical(&stream, &clip(name));
        let playlist = stage.server.everything(&stream);
        assert!(!playlist.segments[1..].iter().any(|segment| segment.discontinuity), "{name} plays without a break");
    }
}

#[test]
fn what_ffmpeg_and_gstreamer_mux_is_taken_as_it_is() {
    let stage = Stage::start(&[]);
    let folder = stage.folder.path();
    let ffmpeg = |name: &str, clip_name: &str, more: &[&str]| {
        let path = folder.join(name);
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-i"]).arg(clip(clip_name)).args(["-c", "copy"]).args(more).arg(&path);
        assert!(command.status().expect("ffmpeg can be run").success());
        path
    };
    let gstreamer = |name: &str, clip_name: &str, pipeline: &str| {
        let path = folder.join(name);
        let (source, sink) = (clip(clip_name), path.display().to_string());
        let pipeline = pipeline.replace("CLIP", &source.display().to_string()).replace("FILE", &sink);
        let mut command = Command::new("gst-launch-1.0");
        assert!(command.arg("-q").args(pipeline.split_whitespace()).status().expect("GStreamer can be run").success());
        path
    };
    // A file; one of a live recording, whose sizes are not known; and what matroskamux makes of both.
    let video = "filesrc location=CLIP ! qtdemux ! h264parse ! matroskamux MORE ! filesink location=FILE";
    let files = [
        (ffmpeg("file.mkv", "h264-aac.mp4", &[]), "h264-aac.mp4"),
        (ffmpeg("live.mkv", "h264-bframes.mp4", &["-live", "1"]), "h264-bframes.mp4"),
        (gstreamer("file-gst.mkv", "h264-bframes.mp4", &video.replace("MORE", "")), "h264-bframes.mp4"),
        (gstreamer("live-gst.mkv", "h264-bframes.mp4", &video.replace("MORE", "streamable=true")), "h264-bframes.mp4"),
    ];
    for (file, source) in files {
        let stream = stage.stream(&file.file_name().expect("a name").to_string_lossy());
        let start_ms = an_hour_ago_ms();
        let mut producer = stage.connect(&stream, Timecodes::Relative(start_ms));
        producer.send(&std::fs::read(&file).expect("the file is there")).expect("it is taken");
        let acks = producer.end();

        assert_eq!(of_kind(&acks, "ERROR"), Vec::<&Value>::new(), "{}", file.display());
        let persisted = of_kind(&acks, "PERSISTED");
        assert!(!persisted.is_empty() && acks.len() == 3 * persisted.len(), "{}: {acks:?}", file.display());
        stage.is_identical(&stream, &clip(source));
    }
}

#[test]
fn a_server_that_is_killed_has_what_it_acknowledged_and_the_rest_is_sent_again() {
    let mut stage = Stage::start(&[]);
    let stream = stage.stream("yard");
    let media = Media::of(&clip("h264-aac-large.mp4"), an_hour_ago_ms());
    let mut persisted: BTreeSet<u64> = BTreeSet::new();
    let timecodes: Vec<u64> = (0..media.fragments.len()).map(|at| media.timecode(at)).collect();
    for kill_after in [2, 5] {
        let mut producer = stage.connect(&stream, Timecodes::Absolute);
        producer.send(&media.head()).expect("it is taken");
        let todo: Vec<usize> = (0..timecodes.len()).filter(|&at| !persisted.contains(&timecodes[at])).collect();
        for at in &todo[..=kill_after - persisted.len()] {
            producer.send(&media.fragment(*at)).expect("it is taken");
        }
        // The last of them is under way: nothing has ended it.
        let acks = producer.until("PERSISTED", kill_after - persisted.len());
        persisted.extend(of_kind(&acks, "PERSISTED").iter().filter_map(|ack| ack["FragmentTimecode"].as_u64()));
        stage.server.kill();
        assert!(producer.end().iter().all(|ack| ack["EventType"] != "ERROR"), "it is gone, and says no more");
        stage.server.restart();
        let stored = stage.starts(&stream);
        assert_eq!(stored, timecodes[..kill_after], "all that was acknowledged, and no half of what was not");
    }

    let mut producer = stage.connect(&stream, Timecodes::Absolute);
    producer.send(&media.head()).expect("it is taken");
    for at in (0..timecodes.len()).filter(|&at| !persisted.contains(&timecodes[at])) {
        producer.send(&media.fragment(at)).expect("it is taken");
    }
    producer.send(&tags(&[("AWS_KINESISVIDEO_END_OF_FRAGMENT", "")])).expect("it is taken");
    producer.until("PERSISTED", timecodes.len() - persisted.len());
    producer.end();
    assert_eq!(stage.starts(&stream), timecodes);
    stage.is_identical(&stream, &clip("h264-aac-large.mp4"));
}

#[test]
fn sessions_that_break_at_any_byte_leave_whole_fragments_only() {
    let stage = Stage::start(&[]);
    let media = Media::of(&clip("h264-bframes.mp4"), an_hour_ago_ms());
    let session = media.session();
    let stream = stage.stream("broken");
    for part in 1..12 {
        let mut producer = stage.connect(&stream, Timecodes::Absolute);
        producer.send(&session[..session.len() * part / 12]).expect("it is taken");
        producer.until("BUFFERING", 1);
        producer.break_off();
    }
    until("the sessions have ended", Duration::from_secs(30), || {
        (stage.server.try_metric("millrace_producers") == Some(0.0)).then_some(())
    });
    let known: BTreeSet<Vec<String>> = {
        let whole = stage.stream("whole");
        stage.connect(&whole, Timecodes::Absolute).put(&media);
        stage.segments(&whole).into_iter().collect()
    };
    let stored = stage.segments(&stream);
    assert!(stored.len() > 11, "{}", stored.len());
    assert!(stored.iter().all(|segment| known.contains(segment)));
}

/// A server and a producer's key.
struct Stage {
    server: Server,
    key: AccessKey,
    folder: tempfile::TempDir,
}

impl Stage {
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start_with(folder.path(), arguments, &[]);
        let key = AccessKey::parse(&server.admin(&["access-key", "create", "--role", "producer"]));
        Self { server, key, folder }
    }

    /// Makes a stream of nearly this name.
    fn stream(&self, name: &str) -> String {
        let stream = name.replace('.', "-");
        self.server.admin(&["stream", "create", &stream]);
        stream
    }

    fn connect(&self, stream: &str, timecodes: Timecodes) -> Producer {
        Producer::connect(&self.server.http_address(), &self.key, stream, timecodes)
    }

    /// All that is stored of a stream has the frames of this file, at their times.
    fn is_identical(&self, stream: &str, source: &Path) {
        let (source, url) = (source.to_string_lossy(), self.server.whole(stream));
        for kind in frames::kinds(&url) {
            let difference = frames::difference(&frames::hashes(&source, kind), &frames::hashes(&url, kind));
            assert_eq!(difference, None, "{stream}, {kind:?}");
        }
        let drift = frames::drift(&frames::times(&source, Kind::Video), &frames::times(&url, Kind::Video), ROUNDING);
        assert_eq!(drift, None, "{stream}");
    }

    /// When the stored fragments of a stream begin, in ms since 1970.
    fn starts(&self, stream: &str) -> Vec<u64> {
        let starts = self.server.everything(stream).segments.into_iter().map(|segment| segment.start.as_millisecond());
        starts.map(|ms| u64::try_from(ms).expect("after 1970")).collect()
    }

    /// The frames of each stored fragment.
    fn segments(&self, stream: &str) -> Vec<Vec<String>> {
        let segments = self.server.everything(stream).segments;
        let file = self.folder.path().join("segment.mp4");
        let hashes = |segment| {
            std::fs::write(&file, self.server.segment(segment)).expect("the folder can be written");
            frames::hashes(&file.to_string_lossy(), Kind::Video)
        };
        segments.iter().map(hashes).collect()
    }
}

/// Long enough for what is played to have an end.
fn an_hour_ago_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    u64::try_from(since.as_millis()).expect("before the year 584 million") - 3_600_000
}
