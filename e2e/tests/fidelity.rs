//! What was uploaded comes back: every access unit, to every reader.

use e2e::frames::{self, Kind};
use e2e::{Agent, Server, clip};

struct Clip {
    name: &'static str,
    /// Whether the audio is stored as it came: there is some, and it is not G.711, which becomes AAC.
    audio: bool,
}

const CLIPS: &[Clip] = &[
    Clip { name: "h264-aac.mp4", audio: true },
    Clip { name: "h264-aac.ts", audio: true },
    Clip { name: "h264-bframes.mp4", audio: false },
    Clip { name: "h264-g711.mkv", audio: false },
    Clip { name: "h264-vfr.mkv", audio: false },
    Clip { name: "h265-aac.mp4", audio: true },
];

#[test]
fn a_file_uploaded_once_returns_every_access_unit_to_every_reader() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let agent = Agent::enrolled(&folder.path().join("agent"), &server);

    let failures: Vec<String> = CLIPS.iter().flat_map(|clip| check(clip, &server, &agent)).collect();

    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Uploads a clip, reads it back, and says what is not as it should be.
fn check(Clip { name, audio }: &Clip, server: &Server, agent: &Agent) -> Vec<String> {
    let stream = name.replace('.', "-");
    let upload = agent.once(&clip(name), &stream);
    if !upload.status.success() {
        let said = [upload.stdout, upload.stderr].concat();
        return vec![format!("once {name}: {}: {}", upload.status, String::from_utf8_lossy(&said))];
    }

    let mut failures = Vec::new();
    let url = server.whole(&stream);
    let source = clip(name).to_string_lossy().into_owned();
    let mut compare = |kind| {
        // A transport stream frames NAL units and AAC in its own way: both sides are brought into one form.
        let hashes = if name.ends_with(".ts") { frames::hashes_reframed } else { frames::hashes };
        if let Some(difference) = frames::difference(&hashes(&source, kind), &hashes(&url, kind)) {
            failures.push(format!("{name}, {kind:?}: {difference}"));
        }
    };
    compare(Kind::Video);
    if *audio {
        compare(Kind::Audio);
    }
    for (reader, reading) in [("ffprobe", frames::ffprobe(&url)), ("GStreamer", frames::gstreamer(&url))] {
        if !reading.success || !reading.complaints.is_empty() {
            failures.push(format!("{name}, {reader} complains: {}", reading.complaints));
        }
    }
    failures
}
