//! The index is lost, and made again: everything plays as before.

use e2e::{Agent, Server};

#[test]
fn a_lost_index_is_made_again_and_everything_plays_as_before() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Server::start(folder.path());
    let agent = Agent::enrolled(&folder.path().join("agent"), &server);
    for (clip, stream) in [("h264-aac.mp4", "yard"), ("h265-aac.mp4", "door")] {
        let uploaded = agent.once(&e2e::clip(clip), stream);
        assert!(uploaded.status.success(), "{}", String::from_utf8_lossy(&uploaded.stderr));
    }
    let before = [bytes(&server, "yard"), bytes(&server, "door")];
    assert!(server.admin(&["check"]).contains("agree"));

    server.stop();
    std::fs::remove_dir_all(server.data().join("vault/catalog")).expect("the catalog is a folder");
    let said = server.admin(&["rebuild-index"]);
    assert!(said.contains("of 2 streams have their rows again"), "{said}");
    server.restart();

    assert_eq!([bytes(&server, "yard"), bytes(&server, "door")], before);
    assert!(server.admin(&["check"]).contains("agree"));
}

/// Every segment of a stream, as it is played.
fn bytes(server: &Server, stream: &str) -> Vec<Vec<u8>> {
    server.everything(stream).segments.iter().map(|segment| server.get_as_stranger(&segment.uri).body).collect()
}
