use crate::probe::assert_same;
use crate::tool::{Folder, H264_AAC, ffmpeg, run};

#[test]
fn a_file_with_laced_audio_and_block_groups_is_read() {
    let folder = Folder::new();
    let (source, file) = (folder.file("source.mp4"), folder.file("laced.mkv"));
    ffmpeg(H264_AAC, "", &source);
    run("mkvmerge", "-q --engage no_simpleblocks -o {} {}", &[&file, &source]);
    assert_same(&file, LACED_MS);
}

#[test]
fn a_file_with_simple_blocks_and_statistics_is_read() {
    let folder = Folder::new();
    let (source, file) = (folder.file("source.mkv"), folder.file("simple.mkv"));
    ffmpeg(H264_AAC, "", &source);
    run("mkvmerge", "-q --clusters-in-meta-seek -o {} {}", &[&file, &source]);
    assert_same(&file, LACED_MS);
}

/// ffmpeg adds up whole milliseconds within a laced block, we the exact default duration: for the
/// eight frames of 23.2 ms that mkvmerge laces they differ by up to 1.6 ms and its rounding.
const LACED_MS: i64 = 2;
