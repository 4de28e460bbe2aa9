//! What we write as MP4 and MPEG-TS, read by ffprobe and ffmpeg, which must be installed.

#![cfg(test)]

mod clip;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fragment::WallTime;
use hls::clip::{Clip, FILE_TYPE, media};
use hls::cmaf::{self, Placement};
use hls::ts;

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
    write("clip.mp4", &[FILE_TYPE, &head, &media.collect::<Vec<_>>().concat()].concat())
}

#[test]
fn ffmpeg_decodes_the_same_pictures_from_our_transport_stream_as_from_the_file() {
    let (source, ours) = (pictures(&clip::path()), pictures(&write_as_ts()));
    assert_eq!(ours.len(), 50);
    assert_eq!(ours, source);
}

#[test]
fn ffmpeg_finds_the_same_sound_in_our_transport_stream_as_in_our_mp4() {
    let ts = write_as_ts();
    let remuxed = ts.with_extension("remuxed.mp4");
    let status =
        Command::new("ffmpeg").args(["-v", "warning", "-y", "-i"]).arg(&ts).args(["-c", "copy"]).arg(&remuxed).status();
    assert!(status.expect("ffmpeg is installed").success());
    assert_eq!(packets(&remuxed, "a", "data_hash"), packets(&write_as_cmaf(), "a", "data_hash"));
}

#[test]
fn the_segments_of_a_transport_stream_follow_each_other_without_a_seam() {
    let path = write_as_ts();
    let mut times: Vec<f64> = packets(&path, "v", "pts_time").iter().map(|t| t.parse().unwrap()).collect();
    let decoded: Vec<f64> = packets(&path, "v", "dts_time").iter().map(|t| t.parse().unwrap()).collect();
    assert!(decoded.is_sorted(), "{decoded:?}");
    times.sort_by(f64::total_cmp);
    assert!(times.windows(2).all(|pair| (pair[1] - pair[0] - 0.04).abs() < 0.0001), "{times:?}");
    // Continuity over both segments, of all packet ids.
    let mut next = std::collections::BTreeMap::new();
    let bytes = std::fs::read(&path).unwrap();
    for packet in bytes.chunks(188) {
        let (pid, counter) = (u16::from_be_bytes([packet[1] & 0x1f, packet[2]]), packet[3] & 0xf);
        assert_eq!(*next.entry(pid).or_insert(counter), counter, "of {pid:#x}");
        next.insert(pid, (counter + 1) & 0xf);
    }
    assert_eq!(next.into_values().collect::<Vec<u8>>(), [0; 4], "each ends where another segment begins");
}

#[test]
fn gstreamer_demultiplexes_our_transport_stream() {
    let path = write_as_ts();
    let location = format!("location={}", path.display());
    // A file for each: what the tool says of buffers of two threads is not complete.
    let folder = path.with_extension("pictures");
    std::fs::create_dir_all(&folder).unwrap();
    let pictures = format!("d. ! queue ! h264parse ! avdec_h264 ! multifilesink location={}/%d", folder.display());
    let sound = "d. ! queue ! aacparse ! avdec_aac ! fakesink";
    let output = Command::new("gst-launch-1.0")
        .args(["--no-fault", "filesrc", &location, "!", "tsdemux", "name=d"])
        .args(pictures.split(' ').chain(sound.split(' ')))
        .output()
        .expect("gst-launch-1.0 is installed");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 50, "{said}");
}

/// Writes the init segment and all media segments into one file, as a player would concatenate them.
fn write_as_cmaf() -> PathBuf {
    let (tracks, fragments) = clip::fragments();
    let mut file = cmaf::init(&tracks).unwrap().to_vec();
    for (i, units) in (0u32..).zip(&fragments) {
        file.extend_from_slice(&cmaf::segment(&tracks, units, placement(i)).unwrap());
    }
    write("cmaf.mp4", &file)
}

fn write_as_ts() -> PathBuf {
    let (tracks, fragments) = clip::fragments();
    let segments = (0..).zip(&fragments).map(|(i, units)| ts::segment(&tracks, units, placement(i)).unwrap());
    write("ts", &segments.collect::<Vec<_>>().concat())
}

fn placement(i: u32) -> Placement {
    Placement {
        origin: clip::BEGIN + clip::FRAGMENT * i,
        start: WallTime::from_millis(1_700_000_000_000) + clip::FRAGMENT * i,
        duration: Duration::from_secs(1),
        sequence_number: i + 1,
    }
}

fn write(extension: &str, file: &[u8]) -> PathBuf {
    let name = format!("{}-{:?}.{extension}", std::process::id(), std::thread::current().id());
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
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    // For packets of a transport stream there is an empty line each.
    printed.lines().filter(|line| !line.is_empty()).map(|line| line.trim_end_matches(',').to_owned()).collect()
}

/// The hash of each decoded picture.
fn pictures(path: &Path) -> Vec<String> {
    let output = Command::new("ffmpeg")
        .args(["-v", "warning", "-i"])
        .arg(path)
        .args(["-map", "0:v", "-fps_mode", "passthrough", "-f", "framehash", "-hash", "md5", "-"])
        .output()
        .expect("ffmpeg is installed");
    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && warnings.is_empty(), "{warnings}");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let frames = lines.lines().filter(|line| !line.starts_with('#'));
    frames.filter_map(|line| line.rsplit(' ').next().map(str::to_owned)).collect()
}
