//! Access units as ffmpeg sees them: one hash each, to compare what was stored with its source.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

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
    let select = match kind {
        Kind::Video => "0:v:0",
        Kind::Audio => "0:a:0",
    };
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-i", input, "-map", select, "-c", "copy", "-f", "framemd5", "-"]);
    let output = command.output().expect("ffmpeg can be run");
    assert!(output.status.success(), "ffmpeg on {input}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    // stream, dts, pts, duration, size, hash
    lines.map(|line| line.split(',').skip(4).map(str::trim).collect::<Vec<_>>().join(" ")).collect()
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

/// Like [`hashes`], for comparing across containers: only the coded pictures, without the parameter sets and delimiters
/// that a transport stream repeats in band, and without SEI (GStreamer's h264parse drops what stands before the first
/// parameter set, where ffmpeg's muxer puts x264's SEI); NAL units and AAC frames in the form of Matroska.
pub fn hashes_reframed(input: &str, kind: Kind) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let middle = folder.path().join("reframed.mkv").to_string_lossy().into_owned();
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-i", input, "-c", "copy", "-bsf:v", "filter_units=remove_types=6|7|8|9", &middle])
        .status()
        .expect("ffmpeg can be run");
    assert!(status.success(), "ffmpeg cannot reframe {input}");
    hashes(&middle, kind)
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

/// What a tool said while it read `url` to its end without decoding errors being tolerated.
pub struct Reading {
    /// Whether it succeeded.
    pub success: bool,
    /// Warnings and errors.
    pub complaints: String,
}

/// Reads `url` with ffprobe.
pub fn ffprobe(url: &str) -> Reading {
    let output = Command::new("ffprobe")
        .args(["-v", "warning", "-show_streams", "-show_packets", "-of", "compact", url])
        .output()
        .expect("ffprobe can be run");
    Reading { success: output.status.success(), complaints: String::from_utf8_lossy(&output.stderr).into_owned() }
}

/// Decodes `url` with GStreamer's playbin.
pub fn gstreamer(url: &str) -> Reading {
    let output = Command::new("gst-launch-1.0")
        .args(["-q", "playbin", &format!("uri={url}")])
        .args(["video-sink=fakesink sync=false", "audio-sink=fakesink sync=false"])
        .output()
        .expect("gst-launch-1.0 can be run");
    let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
    said += &String::from_utf8_lossy(&output.stdout);
    let complaints =
        said.lines().filter(|line| line.contains("WARN") || line.contains("ERROR") || line.contains("rror:"));
    Reading { success: output.status.success(), complaints: complaints.collect::<Vec<_>>().join("\n") }
}
