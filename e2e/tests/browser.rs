//! Sets the stage for the tests in `browser/`, which watch in Chromium: a server, two cameras, an agent.

use std::process::Command;

use e2e::{TwoCameras, root};
use serde_json::json;

#[test]
fn both_cameras_play_live_and_from_the_past_in_a_browser() {
    let browser = root().join("e2e/browser");
    assert!(browser.join("node_modules").exists(), "run `npm ci` in e2e/browser first");
    let TwoCameras { server, .. } = &TwoCameras::start();

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
