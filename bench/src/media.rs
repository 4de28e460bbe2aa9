//! Media for the measurements, made by ffmpeg.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;

/// A file of 1080p30 H.264 at 8 Mbit/s with AAC sound: ten coded seconds, repeated without coding again.
pub(crate) fn clip(folder: &Path, seconds: u32) -> anyhow::Result<PathBuf> {
    clip_of(folder, seconds, 30)
}

/// The same with so many pictures a second, each as large as there.
pub(crate) fn clip_of(folder: &Path, seconds: u32, rate: u32) -> anyhow::Result<PathBuf> {
    let (short, long) = (folder.join(format!("short-{rate}.mkv")), folder.join(format!("long-{rate}.mkv")));
    let video = format!("testsrc2=size=1920x1080:rate={rate}:duration=10");
    let (kbit, group) = (8000 * rate / 30, 2 * rate);
    let coding = format!(
        "-c:v libx264 -preset ultrafast -b:v {kbit}k -minrate {kbit}k -maxrate {kbit}k -bufsize {kbit}k -nal-hrd cbr \
         -g {group} -c:a aac"
    );
    let mut arguments = vec!["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", "sine=duration=10"];
    arguments.extend(coding.split_whitespace());
    arguments.push(short.to_str().context("path")?);
    ffmpeg(&arguments)?;
    let loops = (seconds / 10).saturating_sub(1).to_string();
    let (from, to) = (short.to_str().context("path")?, long.to_str().context("path")?);
    ffmpeg(&["-stream_loop", &loops, "-i", from, "-map", "0", "-c", "copy", to])?;
    Ok(long)
}

/// Runs ffmpeg to its end and returns the seconds it took.
pub(crate) fn ffmpeg(arguments: &[&str]) -> anyhow::Result<f64> {
    let start = Instant::now();
    let status = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-y"])
        .args(arguments)
        .stdout(Stdio::null())
        .stdin(Stdio::null())
        .status()
        .context("ffmpeg is needed: run make bench, which installs it")?;
    anyhow::ensure!(status.success(), "ffmpeg {arguments:?} failed");
    Ok(start.elapsed().as_secs_f64())
}

/// Bytes that stand for coded media where nobody decodes it.
pub(crate) fn bytes(count: usize) -> Vec<u8> {
    (0..=250_u8).cycle().take(count).collect()
}
