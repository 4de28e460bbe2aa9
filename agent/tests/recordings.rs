//! `millrace-agent recordings` on a spool beside a running agent: what there is, and every frame of it once and in order,
//! as ffmpeg sees it.

#![cfg(feature = "capture")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use agent::capture;
use agent::recorder::{Recorder, TimeSource};
use agent::state::StateFolder;
use bytes::Bytes;
use fragment::cutter::Settings as Cut;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};
use pipelines::Event;
use spool::{Settings, Spool, Start};
use tempfile::TempDir;
use upload::FragmentKey;

const START: WallTime = WallTime::from_millis(1_700_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_of_every_clip_is_exported_once_and_in_order() {
    for name in ["h264-aac.mp4", "h264-bframes.mp4", "h264-vfr.mkv", "h265-aac.mp4"] {
        let stage = Stage::new();
        stage.record(name, START).await;
        let clip = samples::clip(name);
        let wanted = frames(&clip);
        assert!(wanted.len() > 50, "{name}");
        let (mkv, mp4) = (stage.path("clip.mkv"), stage.path("clip.mp4"));
        stage.recordings(&["export", "yard", "-o", mkv.to_str().unwrap()]);
        assert_eq!(frames(&mkv), wanted, "{name} as Matroska");
        stage.recordings(&["export", "yard", "-o", mp4.to_str().unwrap()]);
        assert_eq!(frames(&mp4), wanted, "{name} as MP4");
        let piped = stage.recordings(&["export", "yard", "-o", "-"]).stdout;
        assert_eq!(piped, std::fs::read(&mkv).unwrap(), "{name} through a pipe");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_cut_out_at_fragments_and_a_gap_is_closed_and_told() {
    let stage = Stage::new();
    stage.record("h264-aac.mp4", START).await;
    stage.record("h264-aac.mp4", START + HOUR).await;
    let clip = frames(&samples::clip("h264-aac.mp4"));
    let both = stage.path("both.mkv");
    let said = text(&stage.recordings(&["export", "yard", "-o", both.to_str().unwrap()]).stderr);
    assert_eq!(frames(&both), [clip.clone(), clip.clone()].concat());
    assert!(said.contains("a gap of 3") && said.contains("is closed"), "{said}");
    let plays = seconds(&both);
    assert!(plays < 60.0, "the gap is not in the file: it plays for {plays} s");

    let second = stage.path("second.mkv");
    // An hour and ten seconds later than 2023-11-14T22:13:20Z lies behind the first.
    stage.recordings(&["export", "yard", "--from", "2023-11-14T23:13:00Z", "-o", second.to_str().unwrap()]);
    assert_eq!(frames(&second), clip);
    let part = stage.path("part.mkv");
    let range = ["--from", "2023-11-14T22:13:22.5Z", "--to", "2023-11-14T22:13:22.6Z"];
    stage.recordings(&[&["export", "yard"], &range[..], &["-o", part.to_str().unwrap()]].concat());
    let part = frames(&part);
    let at = clip.windows(part.len()).position(|window| window == part).expect("frames that follow each other");
    assert!(at > 0 && part.len() < clip.len(), "{} frames from {at} on", part.len());

    let nothing = stage.run(&["export", "yard", "--from", "2030-01-01T00:00:00Z", "-o", "-"]);
    assert!(!nothing.status.success() && text(&nothing.stderr).contains("recordings list"), "{nothing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_says_what_is_uploaded_what_waits_and_where_gaps_are() {
    let stage = Stage::new();
    stage.record("h264-aac.mp4", START).await;
    stage.record("h264-aac.mp4", START + HOUR).await;
    let (_, oldest) = stage.spool.next(None).unwrap();
    stage.spool.remove(&stage.spool.release(&oldest.key).unwrap());
    let id = FragmentId { session: SessionId(1), sequence: Sequence(0) };
    let key = FragmentKey { stream: "yard".parse().unwrap(), id };
    let start = Start { monotonic: None, wall: START, quality: ClockQuality::Given };
    let mut growing = stage.spool.create(key, start, Bytes::from_static(b"</it>")).unwrap();
    growing.append(Duration::ZERO, &[Bytes::from_static(b"so far")]).unwrap();
    let listed = text(&stage.recordings(&["list"]).stdout);
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 5, "{listed}");
    assert!(lines[1].contains("1 uploaded") && lines[2].contains("gap of 59m"), "{listed}");
    assert!(lines[3].contains("0 uploaded") && lines[4].contains("1 being captured"), "{listed}");
    // What the server has is in the export, too.
    let mkv = stage.path("all.mkv");
    stage.recordings(&["export", "yard", "-o", mkv.to_str().unwrap()]);
    assert_eq!(frames(&mkv).len(), 2 * frames(&samples::clip("h264-aac.mp4")).len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_damaged_is_left_out_and_told() {
    let stage = Stage::new();
    stage.record("h264-aac.mp4", START).await;
    let (_, oldest) = stage.spool.next(None).unwrap();
    let file = stage.path("state/spool/yard").join(format!("{}.frag", oldest.key.id));
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let mkv = stage.path("rest.mkv");
    let said = text(&stage.recordings(&["export", "yard", "-o", mkv.to_str().unwrap()]).stderr);
    assert!(said.contains("left out: yard/"), "{said}");
    let clip = frames(&samples::clip("h264-aac.mp4"));
    let rest = frames(&mkv);
    assert!(!rest.is_empty() && clip.ends_with(&rest), "{} of {} frames", rest.len(), clip.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn drops_are_listed_in_words() {
    let stage = Stage::new();
    stage.record("h264-aac.mp4", START).await;
    assert!(text(&stage.recordings(&["drops"]).stdout).contains("nothing was dropped"));
    let (_, oldest) = stage.spool.next(None).unwrap();
    stage.spool.reject(&oldest.key).unwrap();
    let listed = text(&stage.recordings(&["drops"]).stdout);
    assert!(listed.contains("yard  rejected  1 fragments"), "{listed}");
}

/// A state folder that an agent is at work in.
struct Stage {
    folder: TempDir,
    spool: Spool,
    _lock: StateFolder,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lock = StateFolder::open(&folder.path().join("state")).unwrap();
        let settings = Settings { keep: Some(HOUR), ..Settings::from(1 << 30) };
        let spool = Spool::open(lock.path(), settings).unwrap();
        Self { folder, spool, _lock: lock }
    }

    async fn record(&self, clip: &str, start: WallTime) {
        let stream = "yard".parse().unwrap();
        let mut recorder = Recorder::new(stream, self.spool.clone(), TimeSource::Given(start), Cut::default());
        let (handle, mut events) = capture::fast(&samples::clip(clip));
        while let Some(event) = events.recv().await {
            match event {
                Event::Tracks(tracks) => recorder.tracks(&tracks),
                Event::Unit(unit) => recorder.unit(unit),
                Event::Clock(_) | Event::Lost(..) => {}
                Event::Failed(error) => panic!("{error}"),
                Event::EndOfStream => break,
            }
        }
        recorder.end();
        tokio::task::block_in_place(|| handle.stop());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace-agent"));
        command.arg("recordings").args(arguments).arg("--state").arg(self.path("state"));
        command.env("NO_COLOR", "1").output().unwrap()
    }

    /// The same, which has to succeed.
    fn recordings(&self, arguments: &[&str]) -> Output {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        output
    }
}

/// Size and hash of each picture of a file, in decoding order.
fn frames(file: &Path) -> Vec<String> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(file).args(["-map", "0:v:0", "-c", "copy", "-f", "framemd5", "-"]);
    let output = ffmpeg.output().expect("ffmpeg can be run");
    assert!(output.status.success(), "{}: {}", file.display(), text(&output.stderr));
    let all = text(&output.stdout);
    let lines = all.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(',').skip(4).map(str::trim).collect::<Vec<_>>().join(" ")).collect()
}

/// When the last picture of a file is shown.
fn seconds(file: &Path) -> f64 {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-select_streams", "v:0", "-show_entries", "packet=pts_time", "-of", "csv=p=0"]);
    let output = ffprobe.arg(file).output().expect("ffprobe can be run");
    let times = text(&output.stdout);
    times.lines().filter_map(|line| line.trim_end_matches(',').parse::<f64>().ok()).fold(0.0, f64::max)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
