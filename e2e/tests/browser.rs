//! Sets the stage for the tests in `browser/`, which watch in Chromium: a server, two cameras, an agent.

use std::process::Command;
use std::time::Duration;

use e2e::{Agent, Camera, Server, Source, root, until};
use serde_json::json;

#[test]
fn both_cameras_play_live_and_from_the_past_in_a_browser() {
    let browser = root().join("e2e/browser");
    assert!(browser.join("node_modules").exists(), "run `npm ci` in e2e/browser first");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let (yard, door) = (Camera::start("h264-aac.mp4", folder.path()), Camera::start("h264-bframes.mp4", folder.path()));
    let sources = [("yard", Source::Rtsp(yard.url())), ("door", Source::Rtsp(door.url()))];
    let _agent = Agent::start(&folder.path().join("agent"), &server, &sources);
    for (stream, _) in &sources {
        until(&format!("{stream} has a few fragments"), Duration::from_secs(60), || {
            server.try_everything(stream).filter(|playlist| playlist.segments.len() >= 4)
        });
    }

    let streams = json!([
        {"name": "yard", "frames": 250, "framesPerSecond": 25, "audio": true},
        {"name": "door", "frames": 250, "framesPerSecond": 25, "audio": false},
    ]);
    let output = Command::new("node")
        .args(["--test", "watch.test.mjs"])
        .current_dir(browser)
        .env("WATCH_URL", server.watch_address())
        .env("STREAMS", streams.to_string())
        .output()
        .expect("node can be run");

    let printed = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&printed));
}
