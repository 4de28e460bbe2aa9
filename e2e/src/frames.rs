//! Access units as ffmpeg sees them: one hash each, to compare what was stored with its source.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A kind of track, as ffmpeg selects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// Size and hash of every access unit of one track of `input` (a path or an address), in decoding order.
pub fn hashes(input: &str, kind: Kind) -> Vec<String> {
    let text = framemd5(input, kind);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    // stream, dts, pts, duration, size, hash
    lines.map(|line| line.split(',').skip(4).map(str::trim).collect::<Vec<_>>().join(" ")).collect()
}

/// When each picture of a file of H.264 is shown, counted from the first that is, and a hash of what is coded of it: the same in
/// every container, and with parameter sets or without. In decoding order.
pub fn pictures(file: &Path) -> Vec<(Duration, String)> {
    let text =
        framemd5_of(&file.to_string_lossy(), &["-map", "0:v:0", "-c", "copy", "-bsf:v", "filter_units=pass_types=1-5"]);
    let hashes =
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit(',').next().unwrap_or_default());
    times_in(&text).into_iter().zip(hashes.map(|hash| hash.trim().to_owned())).collect()
}

/// When each access unit of one track of `input` is shown, counted from the first that is, in decoding order.
pub fn times(input: &str, kind: Kind) -> Vec<Duration> {
    times_in(&framemd5(input, kind))
}

fn times_in(text: &str) -> Vec<Duration> {
    let base = text.lines().find_map(|line| line.strip_prefix("#tb 0: ")).expect("framemd5 states its time base");
    let (numerator, denominator) = base.split_once('/').expect("a time base is a fraction");
    let parse = |number: &str| number.trim().parse::<i64>().unwrap_or_else(|error| panic!("{number:?}: {error}"));
    let (numerator, denominator) = (parse(numerator), parse(denominator));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let shown: Vec<i64> = lines.map(|line| parse(line.split(',').nth(2).expect("a line has its pts"))).collect();
    let first = shown.iter().min().copied().unwrap_or(0);
    let nanos = |ticks: i64| u64::try_from(ticks * numerator * 1_000_000_000 / denominator).expect("after the first");
    shown.iter().map(|pts| Duration::from_nanos(nanos(pts - first))).collect()
}

/// The hashes and times of one track as ffmpeg's muxer of that name writes them.
fn framemd5(input: &str, kind: Kind) -> String {
    let select = match kind {
        Kind::Video => "0:v:0",
        Kind::Audio => "0:a:0",
    };
    framemd5_of(input, &["-map", select, "-c", "copy"])
}

fn framemd5_of(input: &str, what: &[&str]) -> String {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-i", input]).args(what).args(["-f", "framemd5", "-"]);
    let output = command.output().expect("ffmpeg can be run");
    assert!(output.status.success(), "ffmpeg on {input}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Says where the times of two tracks part by more than `slack`, or `None` if they nowhere do.
pub fn drift(source: &[Duration], stored: &[Duration], slack: Duration) -> Option<String> {
    if source.len() != stored.len() {
        return Some(format!("{} times became {}", source.len(), stored.len()));
    }
    let apart = source.iter().zip(stored).position(|(a, b)| a.abs_diff(*b) > slack)?;
    Some(format!("unit {apart} is shown at {:?} and not at {:?}", stored[apart], source[apart]))
}

/// The kinds of track that `input` has.
pub fn kinds(input: &str) -> Vec<Kind> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "stream=codec_type", "-of", "csv=p=0", input])
        .output()
        .expect("ffprobe can be run");
    let mut kinds = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let kind = match line.trim().trim_end_matches(',') {
            "video" => Kind::Video,
            "audio" => Kind::Audio,
            _ => continue,
        };
        // A variant playlist names each track once for itself and once for its programme.
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

/// Size and hash of every access unit of all tracks of a file, pictures first, each track in decoding order. A file
/// that breaks off is read as far as it goes.
pub fn hashes_of_all(file: &Path) -> Vec<String> {
    let mut command = Command::new("ffmpeg");
    command
        .args(["-v", "fatal", "-i"])
        .arg(file)
        .args(["-map", "0:v?", "-map", "0:a?", "-c", "copy", "-f", "framemd5"]);
    let output = command.arg("-").output().expect("ffmpeg can be run");
    assert!(output.status.success(), "ffmpeg on {}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut units: Vec<(String, String)> = lines
        .map(|line| {
            let fields: Vec<_> = line.split(',').map(str::trim).collect();
            (fields[0].to_owned(), fields[4..].join(" "))
        })
        .collect();
    // Stable: within a track the order stays.
    units.sort_by(|a, b| a.0.cmp(&b.0));
    units.into_iter().map(|(_, unit)| unit).collect()
}

/// Like [`hashes`], for comparing across containers: NAL units and AAC frames in the form of Matroska. Of the first
/// picture only what is coded and its parameter sets: GStreamer's h264parse drops the delimiter and the SEI that stand
/// before the first parameter set.
pub fn hashes_reframed(input: &str, kind: Kind) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let reframed = |name: &str, filter: &[&str]| {
        let middle = folder.path().join(name).to_string_lossy().into_owned();
        let mut command = Command::new("ffmpeg");
        let status = command.args(["-v", "error", "-i", input, "-c", "copy"]).args(filter).arg(&middle).status();
        assert!(status.expect("ffmpeg can be run").success(), "ffmpeg cannot reframe {input}");
        hashes(&middle, kind)
    };
    let mut units = reframed("whole.mkv", &[]);
    let without = reframed("first.mkv", &["-bsf:v", "filter_units=remove_types=6|9"]);
    if let (Some(first), Some(coded)) = (units.first_mut(), without.into_iter().next()) {
        *first = coded;
    }
    units
}

/// Samples a second in which sounds are compared: those of a telephone.
const SOUND_RATE: u32 = 8000;

/// How alike two recordings of one sound are that was coded in different ways.
pub struct Likeness {
    /// The correlation of their samples: 1 if one is the other, louder or softer; about 0 if they have nothing in common.
    pub correlation: f64,
    /// How far one of them had to be moved for that.
    pub apart: Duration,
}

/// Compares the sound of two inputs, one of them moved by up to `slack` to where it fits best.
pub fn likeness(source: &str, stored: &str, slack: Duration) -> Likeness {
    let (source, stored) = (sound(source), sound(stored));
    let most = usize::try_from(slack.as_millis()).expect("a short time") * SOUND_RATE as usize / 1000;
    let best = |early: &[f64], late: &[f64]| {
        let moved = (0..=most).map(|lag| (lag, correlation(early, late.get(lag..).unwrap_or_default())));
        moved.max_by(|a, b| a.1.total_cmp(&b.1)).expect("there is a move of nothing")
    };
    let (later, earlier) = (best(&source, &stored), best(&stored, &source));
    let (lag, correlation) = if later.1 >= earlier.1 { later } else { earlier };
    let apart = Duration::from_secs(1) * u32::try_from(lag).expect("within the slack") / SOUND_RATE;
    Likeness { correlation, apart }
}

/// The normalised correlation of two sounds, as far as both go.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let both = || a.iter().zip(b);
    let power = |pick: fn((&f64, &f64)) -> f64| both().map(pick).sum::<f64>();
    let all = (power(|(a, _)| a * a) * power(|(_, b)| b * b)).sqrt();
    if all > 0.0 { power(|(a, b)| a * b) / all } else { 0.0 }
}

/// The samples of the first track of sound, from the beginning of the first picture on.
fn sound(input: &str) -> Vec<f64> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i", input, "-map", "0:a:0", "-ac", "1"])
        .args(["-ar", &SOUND_RATE.to_string(), "-f", "f32le", "-"])
        .output()
        .expect("ffmpeg can be run");
    assert!(output.status.success(), "ffmpeg on {input}: {}", String::from_utf8_lossy(&output.stderr));
    let samples = output.stdout.as_chunks().0.iter().map(|sample| f64::from(f32::from_le_bytes(*sample)));
    // In samples: how much later than the picture the sound begins.
    let late = (start(input, "a:0") - start(input, "v:0")) * f64::from(SOUND_RATE);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and far below 2^32")]
    let count = late.abs().round() as usize;
    if late >= 0.0 { std::iter::repeat_n(0.0, count).chain(samples).collect() } else { samples.skip(count).collect() }
}

/// When a stream of `input` begins, in seconds.
fn start(input: &str, stream: &str) -> f64 {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", stream, "-show_entries", "stream=start_time", "-of", "csv=p=0", input])
        .output()
        .expect("ffprobe can be run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let first = text.lines().next().unwrap_or_default().trim().trim_end_matches(',');
    first.parse().unwrap_or_else(|error| panic!("ffprobe on {input}: {stream} begins at {first:?}: {error}"))
}

/// Says where two tracks part, or `None` if they are equal.
pub fn difference(source: &[String], stored: &[String]) -> Option<String> {
    if source == stored {
        return None;
    }
    let first = source.iter().zip(stored).position(|(a, b)| a != b).unwrap_or(source.len().min(stored.len()));
    let mut missing: BTreeMap<&str, i64> = BTreeMap::new();
    for unit in source {
        *missing.entry(unit).or_default() += 1;
    }
    for unit in stored {
        *missing.entry(unit).or_default() -= 1;
    }
    let lost = missing.values().filter(|n| **n > 0).sum::<i64>();
    let added = -missing.values().filter(|n| **n < 0).sum::<i64>();
    Some(format!(
        "{} units became {}; they part at unit {first}; {lost} are lost, {added} were not there before",
        source.len(),
        stored.len()
    ))
}

/// What a tool said while it read an address.
pub struct Reading {
    /// Whether it succeeded.
    pub success: bool,
    /// Access units that it was given, of all tracks.
    pub units: usize,
    /// Warnings and errors, but for what the readers say whatever they read.
    pub complaints: Vec<String>,
}

/// What the readers say whatever they read.
const OF_THE_READER: &[&str] = &[
    // GStreamer's HTTP client, of a structure of its own.
    "No value transform to serialize field 'session'",
    // ffmpeg, when it fetches the initialisation anew after a reload of a live playlist: also of one by its own muxer.
    "Found duplicated MOOV Atom",
];

fn complaints<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    lines.filter(|line| !OF_THE_READER.iter().any(|known| line.contains(known))).map(str::to_owned).collect()
}

/// Reads `url` with ffprobe to its end, or, of a live playlist, the next `seconds`.
pub fn ffprobe(url: &str, seconds: Option<u32>) -> Reading {
    let mut command = Command::new("timeout");
    command.args(["60", "ffprobe", "-v", "warning", "-show_packets", "-show_entries", "packet=pts_time", "-of", "csv"]);
    if let Some(seconds) = seconds {
        command.args(["-read_intervals", &format!("%+{seconds}")]);
    }
    let output = command.arg(url).output().expect("ffprobe can be run");
    let units = String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with("packet")).count();
    Reading {
        success: output.status.success(),
        units,
        complaints: complaints(String::from_utf8_lossy(&output.stderr).lines().filter(|line| !line.trim().is_empty())),
    }
}

/// Decodes `url` with GStreamer's playbin3 to its end, or, of a live playlist, for `seconds` at the pace of a player.
pub fn gstreamer(url: &str, seconds: Option<u32>) -> Reading {
    let (seconds, pace) = seconds.map_or((60, "sync=false"), |seconds| (seconds, "sync=true"));
    let output = Command::new("timeout")
        // As by Ctrl-C. Pictures counted by a sink end it in the middle of decoding, and the decoder complains of that.
        .args(["--preserve-status", "--signal=INT", &seconds.to_string()])
        .args(["gst-launch-1.0", "-v", "playbin3", &format!("uri={url}")])
        .args([format!("video-sink=fakesink silent=false {pace}"), format!("audio-sink=fakesink {pace}")])
        .env("GST_DEBUG", "WARNING")
        .env("GST_DEBUG_NO_COLOR", "1")
        .output()
        .expect("gst-launch-1.0 can be run");
    let said = [output.stderr, output.stdout].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let grave = |line: &&str| [" WARN ", " ERROR ", "rror:"].iter().any(|sign| line.contains(sign));
    Reading {
        success: output.status.success(),
        // How a fakesink that is not silent tells of each buffer.
        units: said.matches("last-message = chain").count(),
        complaints: complaints(said.lines().filter(grave).map(without_stamp)),
    }
}

/// A line of GStreamer's log without time, process and thread, so that two runs say the same.
fn without_stamp(line: &str) -> &str {
    [" WARN ", " ERROR "].iter().find_map(|level| line.find(level)).map_or(line, |at| line[at..].trim_start())
}
