//! Sets the stage for the tests in `browser/`, which watch in Chromium: a server, cameras or files, an agent.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::Duration;

use e2e::{Agent, Camera, Segment, Server, Source, TwoCameras, root, until};
use serde_json::{Value, json};

#[test]
fn both_cameras_play_live_and_from_the_past_in_a_browser() {
    let TwoCameras { server, .. } = &TwoCameras::start();

    let streams = json!([
        {"name": "yard", "frames": 250, "framesPerSecond": 25, "audio": true},
        {"name": "door", "frames": 250, "framesPerSecond": 25, "audio": false},
    ]);
    watch("watch.test.mjs", server, "STREAMS", &streams);
}

#[test]
fn a_past_that_is_damaged_plays_on_behind_the_gap() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let agent = Agent::enrolled(&folder.path().join("agent"), &server);
    let gaps = [("middle", 2), ("beginning", 0), ("end", 4)].map(|(stream, fragment)| {
        let uploaded = agent.once(&e2e::clip("h264-aac.mp4"), stream);
        assert!(uploaded.status.success(), "{}", String::from_utf8_lossy(&uploaded.stderr));
        damage(&server, stream, fragment)
    });
    watch("gap.test.mjs", &server, "GAPS", &json!(gaps));

    assert_eq!(server.try_metric("millrace_fragments_damaged_total"), Some(3.0));
    // At the ends there is nothing to tell.
    for (stream, gaps) in [("middle", 1), ("beginning", 0), ("end", 0)] {
        let playlist = server.get_as_stranger(&server.whole(stream).replace("index.m3u8", "media.m3u8")).text();
        assert_eq!(playlist.matches("#EXT-X-GAP").count(), gaps, "players of others are told too: {playlist}");
    }
}

#[test]
fn a_main_and_a_sub_stream_are_one_camera_and_neither_stops_with_the_other() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let (main, sub) = (Camera::start("h264-aac.mp4", folder.path()), Camera::start("h264-g711.mkv", folder.path()));
    let home = folder.path().join("agent");
    let mut agent = Agent::enrolled(&home, &server);
    let text = std::fs::read_to_string(home.join("agent.toml")).expect("it was written");
    let camera = format!(
        "[[camera]]\nstream = \"gate\"\nurl = {:?}\n[camera.sub]\nstream = \"gate-sub\"\nurl = {:?}\n",
        main.url(),
        sub.url()
    );
    std::fs::write(home.join("agent.toml"), format!("{text}\n{camera}")).expect("it can be written");
    agent.restart();
    let stored = |stream: &str| server.try_everything(stream).map_or(0, |playlist| playlist.segments.len());
    let patience = Duration::from_secs(90);
    for stream in ["gate", "gate-sub"] {
        until(stream, patience, || (stored(stream) >= 4).then_some(()));
    }
    watch("pair.test.mjs", &server, "PAIR", &json!({"main": "gate", "sub": "gate-sub"}));

    drop(sub);
    until("the sub stream fails", patience, || agent.logged().contains("the camera failed").then_some(()));
    let before = stored("gate");
    until("the main stream goes on", patience, || (stored("gate") >= before + 3).then_some(()));
    assert!(!agent.logged().contains("stream=gate why"), "the main stream did not fail");
}

#[test]
fn why_a_camera_has_no_picture_now_is_said_in_the_servers_words() {
    let TwoCameras { server, .. } = &TwoCameras::start();
    watch("snapshot.test.mjs", server, "STREAM", &json!("yard"));
}

#[test]
fn a_range_of_what_a_camera_only_records_is_fetched_with_the_form_of_the_page() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let yard = [("yard", Source::Loop("h264-aac.mp4"))];
    let home = folder.path().join("agent");
    let mut agent = Agent::configured(&home, &server, &server.upload_address(), &yard);
    let text = std::fs::read_to_string(home.join("agent.toml")).expect("it was written");
    std::fs::write(home.join("agent.toml"), text + "mode = \"record\"\n").expect("it can be written");
    agent.restart();
    until("something is recorded", Duration::from_secs(60), || (agent.spooled().len() >= 4).then_some(()));
    assert!(server.try_everything("yard").is_none(), "no one has asked for it");

    watch("fetch.test.mjs", &server, "STREAM", &json!("yard"));
    until("what was asked for arrives", Duration::from_secs(60), || {
        server.try_everything("yard").filter(|playlist| playlist.segments.len() >= 3)
    });
    agent.stop();
}

#[test]
fn sessions_of_awss_api_play_in_a_browser_in_every_way() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let uploaded = Agent::enrolled(&folder.path().join("once"), &server).once(&e2e::clip("h264-aac.mp4"), "clip");
    assert!(uploaded.status.success(), "{}", String::from_utf8_lossy(&uploaded.stderr));
    let camera = Camera::start("h264-aac.mp4", folder.path());
    let _agent = Agent::start(&folder.path().join("agent"), &server, &[("yard", Source::Rtsp(camera.url()))]);
    let enough = |playlist: &e2e::Playlist| playlist.segments.len() >= 5;
    until("the camera has a few fragments", Duration::from_secs(60), || server.try_everything("yard").filter(enough));

    let segments = server.everything("clip").segments;
    let (start, end) = (segments[0].start, segments[segments.len() - 1].start);
    let sessions = json!({
        "clip": {
            "name": "clip",
            "frames": 250,
            "framesPerSecond": 25,
            "start": start.as_millisecond(),
            "end": end.as_millisecond() + 1,
        },
        "live": { "name": "yard", "frames": 250 },
    });
    let mut environment = server.access_key();
    environment.push(("AWS_ENDPOINT_URL".to_owned(), server.address("")));
    environment.push(("AWS_REGION".to_owned(), "us-west-2".to_owned()));
    environment.push(("SESSIONS".to_owned(), sessions.to_string()));
    run("sessions.test.mjs", &environment);
}

/// Changes one bit of a fragment on the disk; says what can't be seen any more.
fn damage(server: &Server, stream: &str, fragment: usize) -> Value {
    // A frame's header and index entry are shorter, and its payload longer.
    const INTO_THE_PAYLOAD: usize = 1000;
    let segments = server.everything(stream).segments;
    let number = segments[fragment].uri.rsplit('/').next().and_then(|name| name.strip_suffix(".m4s"));
    let number: u64 = number.and_then(|number| number.parse().ok()).expect("a segment is named by its number");
    let folder = server.data().join("vault/segments");
    let found = std::fs::read_dir(folder).expect("there are segments").find_map(|entry| {
        let path = entry.expect("it is listed").path();
        let bytes = std::fs::read(&path).expect("it can be read");
        let at = bytes.windows(8).position(|window| window == number.to_be_bytes())? + INTO_THE_PAYLOAD;
        Some((path, at as u64, bytes[at]))
    });
    let (path, at, byte) = found.expect("the number stands in the frame's index entry");
    let file = File::options().write(true).open(path).expect("it can be opened");
    file.write_all_at(&[byte ^ 1], at).expect("it can be written");
    let (sound, said) = server.try_admin(&["check"]);
    assert!(!sound && said.contains(&format!("fragment {number}: ")), "a check names it: {said}");

    // The clip has 25 frames a second.
    let seconds = |segments: &[Segment]| segments.iter().map(|segment| segment.duration.as_secs_f64()).sum::<f64>();
    let frame = |segment: usize| (seconds(&segments[..segment]) * 25.0).round();
    json!({
        "name": stream,
        "start": segments[0].start.as_millisecond(),
        "damaged": [frame(fragment), frame(fragment + 1) - 1.0],
        "last": if fragment + 1 == segments.len() { frame(fragment) - 1.0 } else { 249.0 },
    })
}

/// Has a script of `browser/` watch what the server has.
fn watch(script: &str, server: &Server, name: &str, streams: &Value) {
    run(script, &[("WATCH_URL".to_owned(), server.watch_address()), (name.to_owned(), streams.to_string())]);
}

fn run(script: &str, environment: &[(String, String)]) {
    let browser = root().join("e2e/browser");
    assert!(browser.join("node_modules").exists(), "run `npm ci` in e2e/browser first");
    let output = Command::new("node")
        .args(["--test", script])
        .current_dir(browser)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("node can be run");
    let printed = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&printed));
}
