//! From an ONVIF camera somewhere in the network to its two streams on the server.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use e2e::{Agent, Process, Server, binary, until};

/// Longer than any of it should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

const PASSWORD: &str = "sesame & <open>";

/// One test, since a machine has one port for calls.
#[test]
fn a_camera_is_discovered_recorded_as_a_pair_and_found_again_where_it_moved_to() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let password = folder.path().join("camera.password");
    fs::write(&password, format!("{PASSWORD}\n")).expect("it can be written");
    let camera = camera(folder.path(), "first");

    let found = until("the camera answers", PATIENCE, || {
        let found = discover(&["--user", "admin", "--password-file", &password.to_string_lossy()]);
        found.status.success().then(|| String::from_utf8_lossy(&found.stdout).into_owned())
    });

    for part in ["Millrace Sample 1", "MainProfile  H264  320×180  25 fps", "SubProfile  H264  160×90  15 fps"] {
        assert!(found.contains(part), "no {part:?} in\n{found}");
    }
    assert!(found.contains("its clock is 31536000 s behind"), "{found}");
    assert!(!found.contains("sesame"), "the password shows in\n{found}");

    let stranger = discover(&[]);
    assert!(!stranger.status.success());
    let said = String::from_utf8_lossy(&stranger.stdout);
    assert!(said.contains("refused the user name or the password; give --user"), "{said}");

    let server = Server::start(folder.path());
    let home = folder.path().join("agent");
    let mut agent = Agent::enrolled(&home, &server);
    let (_, blocks) = found.split_once("For the configuration:").expect("there is something for the configuration");
    let text = fs::read_to_string(home.join("agent.toml")).expect("it was written") + "\n" + blocks;
    fs::write(home.join("agent.toml"), text).expect("it can be written");
    agent.restart();

    let stored = |stream: &str| server.try_everything(stream).map_or(0, |playlist| playlist.segments.len());
    for stream in ["millrace-sample-1", "millrace-sample-1-sub"] {
        until(stream, PATIENCE, || (stored(stream) >= 2).then_some(()));
    }
    let listed: serde_json::Value = serde_json::from_str(&server.get("/api/streams").text()).expect("JSON");
    let sub_of = |name: &str| {
        let streams = listed["streams"].as_array().expect("a list");
        streams.iter().find(|stream| stream["name"] == name).expect("it is listed")["sub_of"].clone()
    };
    assert_eq!(sub_of("millrace-sample-1-sub"), "millrace-sample-1");
    assert_eq!(sub_of("millrace-sample-1"), serde_json::Value::Null);

    // It comes back with other ports, under its name.
    camera.kill();
    let before = stored("millrace-sample-1");
    let _camera = self::camera(folder.path(), "second");
    until("it is found again", PATIENCE, || (stored("millrace-sample-1") >= before + 2).then_some(()));
    agent.stop();
}

/// A camera whose clock is a year behind.
fn camera(folder: &Path, name: &str) -> Process {
    let mut command = Command::new(binary("onvif-camera"));
    command.arg("--clip").arg(e2e::clip("h264-aac.mp4")).arg("--sub-clip").arg(e2e::clip("h264-g711.mkv"));
    command.args(["--port", "0", "--user", "admin", "--password", PASSWORD, "--clock-ahead", "-31536000"]);
    Process::start("onvif-camera", &mut command, &folder.join(format!("{name}.log")))
}

fn discover(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary("millrace-agent"));
    command.args(["discover", "--timeout", "2s"]).args(arguments).output().expect("millrace-agent can be run")
}
