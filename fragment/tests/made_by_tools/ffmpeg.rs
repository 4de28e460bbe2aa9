use fragment::Codec;

use crate::probe::assert_same;
use crate::tool::{Folder, H264_AAC, H265_AAC, ffmpeg};

#[test]
fn a_seekable_file_with_cues_is_read() {
    let folder = Folder::new();
    let file = folder.file("seekable.mkv");
    ffmpeg(H264_AAC, "", &file);
    let tracks = assert_same(&file, 0);
    let Some(Codec::H264(video)) = tracks.video().map(|track| &track.codec) else { panic!("{tracks:?}") };
    assert_eq!((video.width(), video.height()), (318, 178), "cropped from 320x192");
    assert!(video.rfc6381().starts_with("avc1.64"), "{}", video.rfc6381());
    let Some(Codec::Aac(audio)) = tracks.audio().map(|track| &track.codec) else { panic!("{tracks:?}") };
    assert_eq!((audio.sampling_frequency(), audio.channels()), (44_100, 1));
}

#[test]
fn a_live_stream_with_unknown_sizes_is_read() {
    let folder = Folder::new();
    let file = folder.file("live.mkv");
    ffmpeg(H264_AAC, "-live 1 -f matroska", &file);
    assert_same(&file, 0);
}

#[test]
fn a_file_with_cues_in_front_and_small_clusters_is_read() {
    let folder = Folder::new();
    let file = folder.file("front.mkv");
    ffmpeg(H264_AAC, "-cues_to_front 1 -cluster_time_limit 200 -metadata title=front", &file);
    assert_same(&file, 0);
}

#[test]
fn h265_is_read() {
    let folder = Folder::new();
    let file = folder.file("h265.mkv");
    ffmpeg(H265_AAC, "", &file);
    let tracks = assert_same(&file, 0);
    let Some(Codec::H265(video)) = tracks.video().map(|track| &track.codec) else { panic!("{tracks:?}") };
    assert_eq!((video.width(), video.height()), (318, 178));
    assert!(video.rfc6381().starts_with("hvc1.1.6.L"), "{}", video.rfc6381());
}

#[test]
fn several_documents_in_a_row_are_read() {
    let folder = Folder::new();
    let (one, both) = (folder.file("one.mkv"), folder.file("both.mkv"));
    ffmpeg(H264_AAC, "-live 1 -f matroska", &one);
    let bytes = std::fs::read(&one).unwrap();
    std::fs::write(&both, [&bytes[..], &bytes[..]].concat()).unwrap();
    let (_, video, audio) = crate::probe::by_reader(&one, 4096);
    let (_, video_twice, audio_twice) = crate::probe::by_reader(&both, 4096);
    assert_eq!(video_twice, [&video[..], &video[..]].concat());
    assert_eq!(audio_twice, [&audio[..], &audio[..]].concat());
}

#[test]
fn webm_and_codecs_without_a_type_are_read() {
    let folder = Folder::new();
    let file = folder.file("pcm.mkv");
    ffmpeg("-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a pcm_mulaw", "", &file);
    let tracks = assert_same(&file, 0);
    assert!(matches!(tracks.audio().unwrap().codec, Codec::Other { .. }));
}
