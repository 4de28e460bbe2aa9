//! What was uploaded comes back: every access unit, to every reader.

use std::time::Duration;

use e2e::frames::{self, Kind};
use e2e::{Agent, Server, clip};

/// Matroska and MP4 keep times in different units, as coarse as a millisecond: twice rounded.
const ROUNDING: Duration = Duration::from_millis(2);

/// How far the sound that was coded anew may be longer or shorter than it was: the encoder's first and last packet.
const RECODED: Duration = Duration::from_millis(100);

/// The least correlation with what was coded anew. AAC keeps a tone's wave all but exactly.
const ALIKE: f64 = 0.98;

/// How far sound that was coded anew may lie from where it was: less than an eye sees (ITU-R BT.1359: 45 ms).
const IN_STEP: Duration = Duration::from_millis(45);

struct Clip {
    name: &'static str,
    audio: Audio,
}

/// What becomes of a clip's sound.
#[derive(PartialEq, Eq)]
enum Audio {
    /// It has none, and gets none.
    None,
    /// It is stored as it came.
    Same,
    /// It becomes AAC.
    Recoded,
}

const CLIPS: &[Clip] = &[
    Clip { name: "h264-aac.mp4", audio: Audio::Same },
    Clip { name: "h264-aac.ts", audio: Audio::Same },
    Clip { name: "h264-bframes.mp4", audio: Audio::None },
    Clip { name: "h264-g711.mkv", audio: Audio::Recoded },
    Clip { name: "h264-vfr.mkv", audio: Audio::None },
    Clip { name: "h265-aac.mp4", audio: Audio::Same },
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
        let units = frames::difference(&hashes(&source, kind), &hashes(&url, kind));
        let times = frames::drift(&frames::times(&source, kind), &frames::times(&url, kind), ROUNDING);
        failures.extend(units.into_iter().chain(times).map(|what| format!("{name}, {kind:?}: {what}")));
    };
    compare(Kind::Video);
    let wanted = match audio {
        Audio::None => vec![Kind::Video],
        Audio::Same => {
            compare(Kind::Audio);
            vec![Kind::Video, Kind::Audio]
        }
        Audio::Recoded => {
            let last = |input: &str| frames::times(input, Kind::Audio).last().copied().unwrap_or_default();
            let (before, after) = (last(&source), last(&url));
            if before.abs_diff(after) > RECODED {
                failures.push(format!("{name}: its sound of {before:?} became one of {after:?}"));
            }
            let likeness = frames::likeness(&source, &url, RECODED);
            if likeness.correlation < ALIKE {
                failures.push(format!("{name}: its sound is another: correlation {}", likeness.correlation));
            }
            if likeness.apart > IN_STEP {
                failures.push(format!("{name}: its sound lies {:?} from where it was", likeness.apart));
            }
            vec![Kind::Video, Kind::Audio]
        }
    };
    if frames::kinds(&url) != wanted {
        failures.push(format!("{name}: {:?} came back, not {wanted:?}", frames::kinds(&url)));
    }
    // A clip whose coder left something out is warned of wherever it lies.
    let of_the_clip = frames::gstreamer(&format!("file://{source}"), None).complaints;
    for (reader, reading) in [("ffprobe", frames::ffprobe(&url, None)), ("GStreamer", frames::gstreamer(&url, None))] {
        let complaints: Vec<_> = reading.complaints.iter().filter(|line| !of_the_clip.contains(line)).collect();
        if !reading.success || !complaints.is_empty() {
            failures.push(format!("{name}, {reader} complains: {complaints:#?}"));
        }
    }
    failures
}
