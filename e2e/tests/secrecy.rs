//! What a thief of the disk, or a stranger with a playback address, does not get.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use e2e::{Agent, Server, clip, keys, stored};

const CLIPS: &[&str] =
    &["h264-aac.mp4", "h264-aac.ts", "h264-bframes.mp4", "h264-g711.mkv", "h264-vfr.mkv", "h265-aac.mp4"];

#[test]
fn nothing_of_the_media_is_readable_in_the_data_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Server::start(folder.path());
    let agent = Agent::enrolled(&folder.path().join("agent"), &server);
    let clips: Vec<Vec<u8>> = CLIPS.iter().map(|name| fs::read(clip(name)).expect("the clip is readable")).collect();
    for name in CLIPS {
        let output = agent.once(&clip(name), &name.replace('.', "-"));
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let search = Search::for_what_is_in(&clips);

    search.finds_nothing_in(&server.data(), "while the server runs");
    server.kill();
    search.finds_nothing_in(&server.data(), "after kill -9");
    server.restart();
    server.stop();
    search.finds_nothing_in(&server.data(), "after an orderly stop");
}

#[test]
fn no_key_of_a_local_keyring_is_in_a_log_a_metric_or_a_file_but_the_keyring() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Server::start_with(folder.path(), &[], &[("RUST_LOG", "trace")]);
    let agent = Agent::enrolled(&folder.path().join("agent"), &server);
    let keyring = server.data().join("vault/master.keyring");
    let mut keys = Vec::new();
    let mut said = String::new();
    for stream in ["yard", "door"] {
        let output = agent.once(&clip("h264-aac.mp4"), stream);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!stored::bytes(&server, stream).is_empty());
        let master = keys::master(&keyring);
        keys.extend(keys::data_keys(&server.data().join("vault"), &master));
        keys.push(master);
        // The next round is under another master key, and after a start that unwraps everything anew.
        said += &server.admin(&["key", "rotate"]);
        said += &server.admin(&["key", "list"]);
        server.stop();
        server.restart();
        assert!(!stored::bytes(&server, stream).is_empty());
    }
    keys.push(keys::master(&keyring));
    assert!(keys.len() >= 8, "the root key and those of the streams so far, and three master keys");

    let said = vec![
        ("what commands print".to_owned(), said.into_bytes()),
        ("the metrics".to_owned(), server.get("/metrics").body),
        ("what /healthz says".to_owned(), server.get("/healthz").body),
    ];
    server.stop();
    let log = fs::read(folder.path().join("server.log")).expect("the server has a log");
    assert!(find(&log, b"TRACE").is_some(), "the server told everything");
    let mut places = [said, vec![("the log".to_owned(), log)], keys::places(&server.data())].concat();
    let whole = places.len();
    places.retain(|(place, _)| !place.ends_with("master.keyring"));
    assert_eq!(places.len(), whole - 1, "the keyring is the one file with a key in it");
    keys::are_nowhere_in(&places, &keys);
}

/// What must not be found.
struct Search<'a> {
    /// 16 bytes of each clip at every 64th place: no run of a clip could hide between them.
    samples: HashSet<&'a [u8]>,
    /// Bytes that media begins with: start codes with what follows them in these clips, and names of formats. A start code
    /// alone is four small bytes, which any table of lengths has.
    words: Vec<(&'static str, Vec<u8>)>,
    /// The least that is stored of the clips.
    bytes: usize,
}

impl<'a> Search<'a> {
    fn for_what_is_in(clips: &'a [Vec<u8>]) -> Self {
        let samples = |clip: &'a Vec<u8>| clip.windows(16).step_by(64).filter(|sample| is_varied(sample));
        let configuration = find(&clips[0], b"avcC").expect("an MP4 file with H.264 has its configuration");
        let set = configuration + 12;
        assert_eq!(clips[0][set], 0x67, "a parameter set begins here");
        let words = vec![
            ("an avcC box", clips[0][configuration..configuration + 8].to_vec()),
            ("a start code and a parameter set", [b"\0\0\0\x01", &clips[0][set..set + 4]].concat()),
            ("a start code and a key frame", b"\0\0\0\x01\x65\x88".to_vec()),
            ("Matroska", b"matroska".to_vec()),
            ("a Matroska codec", b"V_MPEG".to_vec()),
        ];
        let bytes = clips.iter().map(Vec::len).sum::<usize>() / 2;
        Self { samples: clips.iter().flat_map(samples).collect(), words, bytes }
    }

    fn finds_nothing_in(&self, folder: &Path, when: &str) {
        let mut bytes = 0;
        for path in files(folder) {
            // A file of the catalog may go while the server runs.
            let Ok(data) = fs::read(&path) else { continue };
            bytes += data.len();
            let leaked = data.windows(16).filter(|window| self.samples.contains(window)).count();
            assert_eq!(leaked, 0, "{when}, {} holds bytes of a clip", path.display());
            for (what, word) in &self.words {
                assert!(find(&data, word).is_none(), "{when}, {} holds {what}", path.display());
            }
        }
        assert!(bytes > self.bytes, "{when}, the search has seen the stored media: {bytes} bytes");
    }
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
