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

#[test]
fn a_file_goes_to_the_server_that_was_pushed_to_the_device() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    // The device's own file still names an address where no server is.
    let agent = Agent::enrolled_at(&folder.path().join("agent"), &server, "127.0.0.1:1");
    let pushed = format!("[server]\naddress = {:?}\n", server.upload_address());
    let kept = serde_json::json!({"kept": {"version": 1, "toml": pushed}, "trial": null, "failed": null});
    std::fs::create_dir_all(agent.state()).expect("the folder can be made");
    std::fs::write(agent.state().join("pushed.json"), kept.to_string()).expect("it can be written");

    let uploaded = agent.once(&e2e::clip("h264-aac.mp4"), "yard");

    assert!(uploaded.status.success(), "{}", String::from_utf8_lossy(&uploaded.stderr));
    assert!(!server.everything("yard").segments.is_empty());
}
