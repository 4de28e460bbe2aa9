//! Uploading a file by hand, as it looks at a terminal.

use e2e::{Agent, Server};

#[test]
fn at_a_terminal_a_bar_shows_how_much_is_persisted_beside_each_ack() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let agent = Agent::enrolled(&folder.path().join("agent"), &server);

    let output = agent.once_at_a_terminal(&e2e::clip("h264-aac.mp4"), "yard");

    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    let acks = shown.lines().filter(|line| line.contains("PERSISTED yard/")).count();
    assert_eq!(acks, server.everything("yard").segments.len(), "{shown}");
    assert!(shown.contains(&format!("{acks}/{acks} fragments persisted")), "{shown}");
}
