//! What the cutter and the writer make of a file, read by ffprobe.

use bytes::Bytes;
use fragment::cutter::{self, Cutter};
use fragment::mkv;

use crate::probe::{assert_near, by_ffprobe};
use crate::tool::{Folder, H264_AAC, ffmpeg, run};

#[test]
fn every_fragment_is_a_document_that_ffprobe_reads_without_a_word() {
    let folder = Folder::new();
    let source = folder.file("source.mkv");
    ffmpeg(H264_AAC, "", &source);
    let (mut video, mut audio) = (Vec::new(), Vec::new());
    let fragments = cut(Bytes::from(std::fs::read(&source).unwrap()));
    assert_eq!(fragments.len(), 2, "key frames at 0 s and 1 s");
    for (i, bytes) in fragments.into_iter().enumerate() {
        let file = folder.file(&format!("{i}.mkv"));
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(
            run("ffprobe", "-v warning -show_streams -of default=nw=1 {}", &[&file]).matches("codec_name").count(),
            2
        );
        let (v, a) = by_ffprobe(&file);
        video.extend(v);
        audio.extend(a);
        assert!(mkv::document(bytes).unwrap().complete);
    }
    let (source_video, source_audio) = by_ffprobe(&source);
    assert_near(&video, &source_video, 0);
    assert_near(&audio, &source_audio, 0);
}

fn cut(source: Bytes) -> Vec<Bytes> {
    let document = mkv::document(source).unwrap();
    let settings = cutter::Settings { target: std::time::Duration::from_secs(1), ..Default::default() };
    let mut cutter = Cutter::new(settings, document.tracks.clone());
    let mut writer = mkv::Writer::new(&document.tracks);
    let mut fragments = Vec::new();
    for unit in document.units {
        cutter.push(unit).unwrap();
        drain(&mut cutter, &mut writer, &mut fragments);
    }
    cutter.finish();
    drain(&mut cutter, &mut writer, &mut fragments);
    assert_eq!(cutter.dropped(), 0);
    fragments.into_iter().map(Bytes::from).collect()
}

fn drain(cutter: &mut Cutter, writer: &mut mkv::Writer, fragments: &mut Vec<Vec<u8>>) {
    while let Some(event) = cutter.poll() {
        match event {
            cutter::Event::Started { start, .. } => {
                fragments.push([writer.header(), writer.cluster(start)].concat());
            }
            cutter::Event::Unit(unit) => {
                let (head, payload) = writer.block(&unit).unwrap();
                let fragment = fragments.last_mut().unwrap();
                fragment.extend(head);
                fragment.extend(payload);
            }
            cutter::Event::Finished { .. } => fragments.last_mut().unwrap().extend(writer.end(&[])),
            cutter::Event::SessionEnded(reason) => panic!("{reason:?}"),
            cutter::Event::LeftOut(unit) => panic!("{unit:?}"),
        }
    }
}
