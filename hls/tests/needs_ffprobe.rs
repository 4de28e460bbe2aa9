//! What we write as MP4, read by ffprobe, which must be installed.

#![cfg(test)]

mod clip;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fragment::WallTime;
use hls::clip::{Clip, FILE_TYPE, media};
use hls::cmaf::{self, Placement};

#[test]
fn ffprobe_reads_the_same_packets_from_our_segments_as_from_the_file() {
    let path = write_as_cmaf();
    for stream in ["v", "a"] {
        let source = packets(&clip::path(), stream, "data_hash");
        let ours = packets(&path, stream, "data_hash");
        // The clip's sound begins before its first picture: the cutter has dropped those packets, and
        // those behind its last fragment.
        let first = source.iter().position(|hash| *hash == ours[0]).unwrap();
        assert_eq!(source[first..first + ours.len()], ours[..]);
        assert!(stream == "a" || ours.len() == 50, "{} pictures", ours.len());
    }
}

#[test]
fn ffprobe_finds_pictures_at_an_even_pace_across_segments() {
    let mut times: Vec<f64> = packets(&write_as_cmaf(), "v", "pts_time").iter().map(|t| t.parse().unwrap()).collect();
    times.sort_by(f64::total_cmp);
    assert!(times.windows(2).all(|pair| (pair[1] - pair[0] - 0.04).abs() < 0.0001), "{times:?}");
}

#[test]
fn ffprobe_reads_the_same_packets_from_a_clip_and_at_the_same_pace() {
    let path = write_as_clip();
    let of_cmaf = write_as_cmaf();
    for stream in ["v", "a"] {
        for field in ["data_hash", "flags"] {
            assert_eq!(packets(&path, stream, field), packets(&of_cmaf, stream, field), "{field} of {stream}");
        }
        let times = |path: &Path| -> Vec<f64> {
            packets(path, stream, "pts_time").iter().map(|time| time.parse().unwrap()).collect()
        };
        let (clip, cmaf) = (times(&path), times(&of_cmaf));
        let offsets: Vec<f64> = clip.iter().zip(&cmaf).map(|(clip, cmaf)| cmaf - clip).collect();
        assert!(offsets.iter().all(|offset| (offset - offsets[0]).abs() < 0.0011), "{offsets:?}");
    }
}

/// Writes all fragments into one clip.
fn write_as_clip() -> PathBuf {
    let (tracks, fragments) = clip::fragments();
    let mut clip = Clip::default();
    for (i, units) in (0u32..).zip(&fragments) {
        clip.add(&tracks, units, placement(i)).unwrap();
    }
    let head = clip.head(FILE_TYPE.len() as u64).unwrap();
    let media = fragments.iter().map(|units| media(&tracks, units));
    write(&[FILE_TYPE, &head, &media.collect::<Vec<_>>().concat()].concat(), "clip")
}

/// Writes the init segment and all media segments into one file, as a player would concatenate them.
fn write_as_cmaf() -> PathBuf {
    let (tracks, fragments) = clip::fragments();
    let mut file = cmaf::init(&tracks).unwrap().to_vec();
    for (i, units) in (0u32..).zip(&fragments) {
        file.extend_from_slice(&cmaf::segment(&tracks, units, placement(i)).unwrap());
    }
    write(&file, "cmaf")
}

fn placement(number: u32) -> Placement {
    Placement {
        origin: clip::BEGIN + clip::FRAGMENT * number,
        start: WallTime::from_millis(1_700_000_000_000) + clip::FRAGMENT * number,
        duration: Duration::from_secs(1),
        sequence_number: number + 1,
    }
}

fn write(file: &[u8], kind: &str) -> PathBuf {
    let name = format!("{kind}-{}-{:?}.mp4", std::process::id(), std::thread::current().id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, file).unwrap();
    path
}

fn packets(path: &Path, stream: &str, field: &str) -> Vec<String> {
    let output = Command::new("ffprobe")
        .args(["-v", "warning", "-show_data_hash", "md5", "-of", "csv=p=0", "-select_streams", stream])
        .args(["-show_entries", &format!("packet={field}")])
        .arg(path)
        .output()
        .expect("ffprobe is installed");
    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && warnings.is_empty(), "{warnings}");
    String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim_end_matches(',').to_owned()).collect()
}
