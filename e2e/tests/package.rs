//! The agent's package in a fresh Debian, arm64 under qemu: what `make test-arm64` runs.
//!
//! packaging/five-minutes.sh installs it and goes the way of docs/raspberry-pi.md; here is the server, a native
//! one, and here it is seen that every frame has arrived.

use std::path::PathBuf;
use std::process::Command;

use e2e::frames::{self, Kind};
use e2e::{Server, clip, root};

const CLIP: &str = "h264-aac.mp4";

#[test]
#[ignore = "needs root and a package: make test-arm64"]
fn a_package_installed_as_the_page_says_brings_every_frame_to_the_server() {
    let package = PathBuf::from(std::env::var("PACKAGE").expect("PACKAGE names the agent's package"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let printed = server.admin(&["device", "add", "pi"]);
    let line = printed.lines().find_map(|line| line.strip_prefix("millrace-agent join "));
    let options = line.expect("device add prints what to type").split_whitespace();

    let mut command = Command::new(root().join("packaging/try.sh"));
    let status = command.arg(package).arg(clip(CLIP)).args(options).status().expect("bash can be run");

    assert!(status.success(), "packaging/try.sh ended with {status}");
    let source = clip(CLIP).to_string_lossy().into_owned();
    for stream in ["once", "run"] {
        let stored = server.whole(stream);
        for kind in [Kind::Video, Kind::Audio] {
            let difference = frames::difference(&frames::hashes(&source, kind), &frames::hashes(&stored, kind));
            assert_eq!(difference, None, "{stream}, {kind:?}");
        }
    }
}
