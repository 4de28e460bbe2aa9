use std::path::Path;

use fragment::Codec;

use crate::probe::assert_same;
use crate::tool::{Folder, H264_AAC, ffmpeg, run};

#[test]
fn a_streamable_file_of_matroskamux_is_read() {
    let folder = Folder::new();
    let file = folder.file("streamable.mkv");
    remux(&folder, "streamable=true", &file);
    let tracks = assert_same(&file, 1);
    assert!(matches!(tracks.video().unwrap().codec, Codec::H264(_)));
    assert!(matches!(tracks.audio().unwrap().codec, Codec::Aac(_)));
}

#[test]
fn a_seekable_file_of_matroskamux_is_read() {
    let folder = Folder::new();
    let file = folder.file("seekable.mkv");
    remux(&folder, "min-index-interval=500000000", &file);
    assert_same(&file, 1);
}

fn remux(folder: &Folder, settings: &str, to: &Path) {
    let source = folder.file("source.mp4");
    ffmpeg(H264_AAC, "", &source);
    let pipeline = format!(
        "-q filesrc location={{}} ! qtdemux name=d matroskamux name=m {settings} ! filesink location={{}} \
         d.video_0 ! queue ! h264parse ! m. d.audio_0 ! queue ! aacparse ! m."
    );
    run("gst-launch-1.0", &pipeline, &[&source, to]);
}
