//! What a thief of the disk, or a stranger with a playback address, does not get.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use e2e::{Agent, Server, clip};

#[test]
fn nothing_of_the_media_is_readable_in_the_data_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Server::start(folder.path());
    upload(&server, folder.path(), "h264-aac.mp4");
    let media = fs::read(clip("h264-aac.mp4")).expect("the clip is readable");
    server.stop();

    // 16 bytes of the clip at every 64th place of its media data: no run of the clip could hide between them.
    let start = find(&media, b"mdat").expect("an MP4 file has media data") + 8;
    let samples: HashSet<&[u8]> = media[start..].windows(16).step_by(64).filter(|sample| is_varied(sample)).collect();
    // Start codes with what follows them in this clip: the parameter set, and the first slice of a key frame. A start code
    // alone is four small bytes, which any table of lengths has.
    let set = find(&media, b"avcC").expect("an MP4 file with H.264 has its configuration") + 12;
    let codes = [[b"\0\0\0\x01", &media[set..set + 4]].concat(), b"\0\0\0\x01\x65\x88".to_vec()];
    assert_eq!(codes[0][4], 0x67, "a parameter set begins here");
    let mut bytes = 0;
    for path in files(&server.data()) {
        let data = fs::read(&path).expect("a file of the data folder is readable");
        bytes += data.len();
        for (what, word) in
            [("an avcC box", &b"avcC"[..]), ("Matroska", b"V_MPEG4/ISO/AVC"), ("EBML", b"\x1aE\xdf\xa3")]
        {
            assert!(find(&data, word).is_none(), "{} holds {what}", path.display());
        }
        let leaked = data.windows(16).filter(|window| samples.contains(window)).count();
        assert_eq!(leaked, 0, "{} holds bytes of the clip", path.display());
        for code in &codes {
            assert!(find(&data, code).is_none(), "{} holds a start code", path.display());
        }
    }
    assert!(bytes > media.len() / 2, "the search has seen the stored media");
}

#[test]
fn a_playback_address_that_was_changed_by_one_bit_plays_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    upload(&server, folder.path(), "h264-vfr.mkv");
    let url = server.whole("clip");
    assert_eq!(server.get_as_stranger(&url).status, 200, "the address as given plays");

    let (before, rest) = url.split_once("/hls/").expect("the address names HLS");
    let (token, file) = rest.split_once('/').expect("a token and a file");
    for at in [0, token.len() / 2, token.len() - 3] {
        let mut changed = token.as_bytes().to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("a token is ASCII");
        let answer = server.get_as_stranger(&format!("{before}/hls/{changed}/{file}"));
        assert!((401..=404).contains(&answer.status), "byte {at} changed: {}", answer.status);
        assert!(!answer.text().contains("#EXTM3U"), "byte {at} changed, and it plays");
    }
}

#[test]
fn without_the_key_the_console_tells_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    assert_eq!(server.get_as_stranger("/api/streams").status, 401);
    assert_eq!(server.get_as_stranger("/?key=guess").status, 401);
    assert_eq!(server.get("/api/streams").status, 200, "with the key");
}

fn upload(server: &Server, folder: &Path, name: &str) {
    let agent = Agent::enrolled(&folder.join("agent"), server);
    let output = agent.once(&clip(name), "clip");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Padding and other repeated bytes appear anywhere and prove nothing.
fn is_varied(sample: &[u8]) -> bool {
    let mut seen = sample.to_vec();
    seen.sort_unstable();
    seen.dedup();
    seen.len() >= 12
}

fn find(data: &[u8], word: &[u8]) -> Option<usize> {
    data.windows(word.len()).position(|window| window == word)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the data folder is readable").flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("an entry has a type");
        if kind.is_dir() {
            found.extend(files(&path));
        } else if kind.is_file() {
            found.push(path);
        }
    }
    found
}
