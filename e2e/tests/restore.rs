//! A backup of a server under load, and the way back: what was acknowledged before it plays as it did.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use e2e::{Agent, Server, Source, until};

/// For what happens at once, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

const STREAMS: &[(&str, &str)] = &[("yard", "h264-aac.mp4"), ("door", "h264-vfr.mkv")];

#[test]
fn a_backup_under_load_costs_no_space_for_segments_and_plays_after_a_restore() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (then, now) = (folder.path().join("then"), folder.path().join("now"));
    fs::create_dir_all(&then).expect("a folder can be made");
    fs::create_dir_all(now.join("data/vault")).expect("a folder can be made");
    let mut server = Server::start(&then);
    let sources: Vec<_> = STREAMS.iter().map(|(stream, clip)| (*stream, Source::Loop(clip))).collect();
    let mut agent = Agent::start(&folder.path().join("agent"), &server, &sources);
    until("some of each stream is stored", SOON, || {
        let persisted = agent.persisted();
        let stored = |stream: &str| persisted.iter().filter(|fragment| fragment.stream == stream).count();
        STREAMS.iter().all(|(stream, _)| stored(stream) >= 4).then_some(())
    });

    let acknowledged = agent.persisted();
    let backup = folder.path().join("backup");
    server.admin(&["backup", &backup.to_string_lossy()]);
    let mut segments = 0;
    for file in fs::read_dir(backup.join("vault/segments")).expect("the backup has segments") {
        let file = file.expect("it can be listed");
        let copy = file.metadata().expect("it is there");
        let original = server.data().join("vault/segments").join(file.file_name()).metadata().expect("none expired");
        assert_eq!((copy.dev(), copy.ino()), (original.dev(), original.ino()), "{:?} was copied", file.file_name());
        segments += 1;
    }
    assert!(segments > 0, "something is stored");
    let before = agent.persisted().len();
    until("writing goes on", SOON, || (agent.persisted().len() > before + 4).then_some(()));
    let mut played = BTreeMap::new();
    for (stream, _) in STREAMS {
        for segment in server.everything(stream).segments {
            played.insert(((*stream).to_owned(), segment.number()), server.segment(&segment));
        }
    }
    agent.stop();
    server.stop();

    // The master key comes from elsewhere, as it is in no backup.
    let keyring = "vault/master.keyring";
    fs::copy(server.data().join(keyring), now.join("data").join(keyring)).expect("the keyring can be copied");
    let restored = Server::of_others(&now.join("data"));
    restored.admin(&["restore", &backup.to_string_lossy()]);
    let restored = Server::start(&now);
    for (stream, _) in STREAMS {
        let segments = restored.everything(stream).segments;
        for fragment in acknowledged.iter().filter(|fragment| fragment.stream == *stream) {
            let segment = segments.iter().find(|segment| segment.number() == fragment.number);
            assert!(segment.is_some(), "{fragment:?} was acknowledged before the backup and is not in it");
        }
        for segment in &segments {
            let bytes = restored.segment(segment);
            let before = played.get(&((*stream).to_owned(), segment.number()));
            assert!(before == Some(&bytes), "{stream}: {} is not what it was", segment.number());
        }
    }
    assert!(restored.admin(&["check"]).contains("agree"));
}
