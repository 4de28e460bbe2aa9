//! The fleet: devices are configured, asked and watched from the server, and none is lost by it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::{Agent, Camera, Server, until};
use serde_json::Value;

/// For what an agent does at once, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// For what it does when a trial of ten seconds is over.
const AFTER_THE_TRIAL: Duration = Duration::from_secs(90);

/// Times in a playlist are rounded to the millisecond.
const SLACK: Duration = Duration::from_millis(5);

#[test]
fn a_pushed_configuration_is_kept_and_cameras_that_did_not_change_lose_no_picture() {
    let stage = Stage::start(&["yard", "door"]);
    stage.records("yard", 2);
    stage.records("door", 2);
    let yard = stage.camera("yard", "");
    let door = stage.camera("door", "fragment_seconds = 2\nuser = \"me\"\npassword = \"correct-horse\"\n");
    let gate = "[[camera]]\nstream = \"gate\"\ntest_pattern = true\nwidth = 320\nheight = 240\n";
    let version = stage.push(&format!("{yard}{door}{gate}"));
    stage.keeps(version);
    stage.records("gate", 1);
    let seen = stage.server.everything("yard").segments.len();
    let everything = until("the yard goes on", SOON, || {
        stage.server.try_everything("yard").filter(|everything| everything.segments.len() >= seen + 2)
    });
    assert!(everything.gaps(SLACK).is_empty(), "{everything:?}");
    assert!(everything.segments.iter().skip(1).all(|segment| !segment.discontinuity), "the yard was started again");
    until("the door was started again", SOON, || {
        stage.server.try_everything("door")?.segments.iter().skip(1).any(|segment| segment.discontinuity).then_some(())
    });

    stage.shows_no_password();
    let history = stage.configure(&["--history"]);
    assert!(history.lines().any(|line| line.trim_start().starts_with("1 ") && line.ends_with("kept")), "{history}");

    stage.configure(&["--clear"]);
    stage.keeps(2);
    let cameras = |device: &Value| device["status"]["cameras_total"] == 2;
    until("the device works by its own file again", SOON, || Some(stage.show()).filter(cameras));
    stage.configure(&["--rollback", "1"]);
    stage.keeps(3);
    until("the gate is there again", SOON, || {
        Some(stage.show()).filter(|device| device["status"]["cameras_total"] == 3)
    });
}

#[test]
fn a_configuration_that_is_not_valid_comes_back_in_words_and_changes_nothing() {
    let stage = Stage::start(&["yard"]);
    stage.records("yard", 1);
    stage.push("state = \"/tmp/elsewhere\"\n[[camera]]\nstream = \"yard\"\nurl = \"http://camera\"\n");
    let failed = stage.fails(SOON);
    assert_eq!(failed["state"], "refused");
    let problems = failed["problems"].to_string();
    assert!(problems.contains("state can't be pushed") && problems.contains("not an RTSP address"), "{problems}");
    let shown = stage.server.admin(&["device", "show", DEVICE]);
    assert!(shown.contains("version 1 was refused") && shown.contains("not an RTSP address"), "{shown}");
    let before = stage.server.everything("yard").segments.len();
    stage.records("yard", before + 2);
    assert!(stage.server.everything("yard").gaps(SLACK).is_empty());
    let (well, said) = stage.try_push("[[camera]\n");
    assert!(!well && said.contains("not TOML"), "{said}");
}

#[test]
fn a_configuration_that_loses_the_server_is_rolled_back_and_loses_no_picture() {
    let stage = Stage::start(&["yard"]);
    stage.records("yard", 1);
    stage.push("server.address = \"127.0.0.1:9\"\n");
    let failed = stage.fails(AFTER_THE_TRIAL);
    assert_eq!(failed["state"], "rolled_back");
    let seen = stage.server.everything("yard").segments.len();
    stage.records("yard", seen + 2);
    let everything = until("what was captured meanwhile arrives", SOON, || {
        stage.server.try_everything("yard").filter(|everything| everything.gaps(SLACK).is_empty())
    });
    assert!(everything.segments.iter().skip(1).all(|segment| !segment.discontinuity), "the camera was started again");
}

#[test]
fn an_agent_that_is_killed_in_a_trial_goes_on_with_it_and_rolls_back() {
    let mut stage = Stage::start(&["yard"]);
    stage.records("yard", 1);
    stage.push("server.address = \"127.0.0.1:9\"\n");
    until("the trial is on disk", SOON, || stage.pushed().filter(|pushed| pushed["trial"].is_object()));
    stage.agent.kill();
    stage.agent.restart();
    let failed = stage.fails(AFTER_THE_TRIAL);
    assert_eq!(failed["state"], "rolled_back");
    assert_eq!(stage.show()["configuration"]["kept"], 0);
}

#[test]
fn an_agent_that_is_killed_as_soon_as_it_has_a_good_configuration_keeps_it() {
    let mut stage = Stage::start(&["yard"]);
    stage.records("yard", 1);
    let version = stage.push(&stage.camera("yard", "fragment_seconds = 2\n"));
    until("it is on disk", SOON, || stage.pushed());
    stage.agent.kill();
    stage.agent.restart();
    stage.keeps(version);
}

#[test]
fn a_file_that_can_not_be_read_at_a_start_gives_no_configuration_up_and_is_looked_for_again() {
    let mut stage = Stage::start(&["yard"]);
    stage.records("yard", 1);
    let password = stage.folder().join("agent/yard.pass");
    fs::write(&password, "correct-horse").expect("it can be written");
    let version =
        stage.push(&stage.camera("yard", "fragment_seconds = 2\nuser = \"me\"\npassword_file = \"yard.pass\"\n"));
    stage.keeps(version);
    stage.agent.stop();
    let in_force = |stage: &Stage| stage.agent.logged().matches("has pushed is in force").count();
    let before = in_force(&stage);
    fs::remove_file(&password).expect("it is there");
    stage.agent.restart();
    until("it is missed", SOON, || stage.agent.logged().contains("can't be used yet").then_some(()));
    // Meanwhile the device's own file counts.
    stage.records("yard", stage.server.everything("yard").segments.len() + 2);
    assert_eq!(
        (stage.pushed().expect("it is there")["kept"]["version"].as_u64(), in_force(&stage)),
        (Some(version), before)
    );
    fs::write(&password, "correct-horse").expect("it can be written");
    until("it is found", SOON, || (in_force(&stage) > before).then_some(()));
    stage.records("yard", stage.server.everything("yard").segments.len() + 2);
}

#[test]
fn a_trial_that_waits_for_a_file_for_too_long_ends_with_that_as_its_reason() {
    let mut stage = Stage::start(&["yard"]);
    stage.records("yard", 1);
    let password = stage.folder().join("agent/yard.pass");
    fs::write(&password, "correct-horse").expect("it can be written");
    let camera = stage.camera("yard", "user = \"me\"\npassword_file = \"yard.pass\"\n");
    // It can't be confirmed before the file is gone.
    stage.push(&format!("server.address = \"127.0.0.1:9\"\n{camera}"));
    until("the trial is on disk", SOON, || stage.pushed().filter(|pushed| pushed["trial"].is_object()));
    stage.agent.kill();
    fs::remove_file(&password).expect("it is there");
    stage.agent.restart();
    let failed = stage.fails(AFTER_THE_TRIAL);
    assert_eq!(failed["state"], "rolled_back");
    let problems = failed["problems"].to_string();
    assert!(problems.contains("yard.pass can't be read") && problems.contains("push it again"), "{problems}");
    assert!(!problems.contains("confirm"), "{problems}");
}

#[test]
fn a_camera_whose_password_file_is_missing_is_left_out_until_it_is_there_and_the_others_are_recorded() {
    let mut stage = Stage::start(&["yard", "door"]);
    stage.records("yard", 1);
    stage.records("door", 1);
    stage.agent.stop();
    let config = stage.folder().join("agent/agent.toml");
    let text = fs::read_to_string(&config).expect("it was written");
    let own = stage.camera("door", "");
    let text = text.replace(&own, &stage.camera("door", "user = \"me\"\npassword_file = \"door.pass\"\n"));
    assert!(text.contains("door.pass"), "{text}");
    fs::write(&config, text).expect("it can be written");
    let before = stage.server.everything("door").segments.len();
    stage.agent.restart();
    stage.records("yard", stage.server.everything("yard").segments.len() + 2);
    let told = |device: &Value| {
        let cameras = device["status"]["cameras"].as_array().cloned().unwrap_or_default();
        let door = cameras.into_iter().find(|camera| camera["stream"] == "door")?;
        let why = door["last_failure"].as_str().is_some_and(|why| why.contains("file-missing"));
        (door["up"] == false && why).then_some(())
    };
    until("the server is told why there is no door", SOON, || told(&stage.show()));
    assert!(stage.agent.logged().contains("door.pass can't be read"));
    let everything = stage.server.everything("yard").segments.len();

    fs::write(stage.folder().join("agent/door.pass"), "correct-horse").expect("it can be written");
    stage.records("door", before + 2);
    stage.records("yard", everything + 2);
    assert_eq!(stage.agent.logged().matches("starting the camera stream=yard").count(), 2, "the yard went on");
}

#[test]
fn a_smaller_spool_counts_once_its_configuration_is_kept() {
    let stage = Stage::start(&["yard"]);
    stage.records("yard", 1);
    let version = stage.push("[spool]\nbytes_max = \"1 GiB\"\n");
    stage.keeps(version);
    let smaller = |device: &Value| device["status"]["spool"]["bytes_max"] == 1u64 << 30;
    until("the spool is smaller", SOON, || Some(stage.show()).filter(smaller));
    stage.records("yard", stage.server.everything("yard").segments.len() + 2);
}

#[test]
fn a_device_that_was_away_gets_its_newest_configuration_when_it_comes() {
    let mut stage = Stage::start(&["yard"]);
    stage.records("yard", 1);
    stage.agent.stop();
    stage.push("[[camera]]\nstream = \"never\"\ntest_pattern = true\n");
    let version = stage.push(&stage.camera("yard", "fragment_seconds = 2\n"));
    stage.server.kill();
    stage.server.restart();
    stage.agent.restart();
    stage.keeps(version);
    assert!(stage.server.try_everything("never").is_none());
}

#[test]
fn a_device_tells_how_it_is_and_does_what_it_is_told() {
    let mut stage = Stage::start(&["yard"]);
    stage.records("yard", 2);
    let up = |device: &Value| {
        let camera = &device["status"]["cameras"][0];
        camera["up"] == true
            && camera["milli_fps"].as_u64() > Some(1000)
            && camera["bits_per_second"].as_u64() > Some(0)
    };
    let device = until("the device tells how it is", SOON, || Some(stage.show()).filter(up));
    assert_eq!(device["connection"], "here");
    assert!(device["status"]["machine"]["memory_total"].as_u64() > Some(1 << 20), "{device}");
    assert!(device["clock_offset_ms"].as_i64().is_some_and(|ms| ms.abs() < 60_000), "{device}");
    assert_eq!(stage.server.get("/v1/devices").text().matches(DEVICE).count(), 1);
    let listed = stage.server.admin(&["device", "list"]);
    assert!(listed.lines().any(|line| line.starts_with(DEVICE) && line.contains(" 1/1 ")), "{listed}");
    assert!(stage.server.try_metric("millrace_device_cameras") == Some(1.0));

    assert!(stage.server.admin(&["device", "ping", DEVICE]).contains("answered in"));
    let picture = stage.folder().join("picture.jpg");
    let path = picture.to_string_lossy();
    stage.server.admin(&["device", "snapshot", DEVICE, "yard", "-o", &path, "--width", "160"]);
    assert_eq!(size(&picture).0, 160);
    let answer = stage.server.get(&format!("/v1/devices/{DEVICE}/cameras/yard/snapshot?width=64"));
    assert!(answer.status == 200 && answer.body.starts_with(&[0xff, 0xd8]), "{}", answer.text());
    let before = stage.server.everything("yard");
    assert!(before.segments.iter().skip(1).all(|segment| !segment.discontinuity), "a snapshot disturbed the recording");

    stage.server.admin(&["device", "restart-camera", DEVICE, "yard"]);
    until("the camera was started again", SOON, || {
        stage.server.try_everything("yard")?.segments.iter().skip(1).any(|segment| segment.discontinuity).then_some(())
    });
    let (well, said) = stage.server.try_admin(&["device", "restart-camera", DEVICE, "attic"]);
    assert!(!well && said.contains("no camera for \"attic\"; it has yard"), "{said}");
    let (well, said) = stage.server.try_admin(&["device", "ping", "nobody"]);
    assert!(!well && said.contains("no device nobody"), "{said}");

    stage.agent.stop();
    let offline = |device: &Value| device["connection"] == "offline" && device["last_seen"].is_string();
    until("the device is seen to be gone", SOON, || Some(stage.show()).filter(offline));
    let (well, said) = stage.server.try_admin(&["device", "ping", DEVICE]);
    assert!(!well && said.contains("is not connected (last seen"), "{said}");
    stage.server.stop();
    let (well, said) = stage.server.try_admin(&["device", "ping", DEVICE]);
    assert!(!well && said.contains("no server runs here"), "{said}");
    assert!(stage.server.admin(&["device", "show", DEVICE]).contains("last seen 20"));
}

#[test]
fn a_camera_that_is_down_has_no_picture_and_its_reason_is_told() {
    let mut stage = Stage::start(&["yard"]);
    stage.records("yard", 1);
    stage.cameras.clear();
    let down = |device: &Value| {
        let camera = &device["status"]["cameras"][0];
        camera["up"] == false && camera["last_failure"].as_str().is_some_and(|why| !why.is_empty())
    };
    until("the device tells that its camera is down", AFTER_THE_TRIAL, || Some(stage.show()).filter(down));
    let path = stage.folder().join("picture.jpg");
    let (well, said) = stage.server.try_admin(&["device", "snapshot", DEVICE, "yard", "-o", &path.to_string_lossy()]);
    assert!(!well && said.contains("gives no video now"), "{said}");
    assert!(!path.exists());
}

const DEVICE: &str = "e2e-agent";

/// A server, cameras, and an agent whose trials last ten seconds.
struct Stage {
    server: Server,
    agent: Agent,
    cameras: Vec<(&'static str, Camera)>,
    folder: tempfile::TempDir,
}

impl Stage {
    fn start(streams: &[&'static str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start(folder.path());
        let cameras: Vec<_> =
            streams.iter().map(|&stream| (stream, Camera::start("h264-aac.mp4", folder.path()))).collect();
        let agent = Agent::enrolled(&folder.path().join("agent"), &server);
        let mut stage = Self { server, agent, cameras, folder };
        let cameras: String = streams.iter().map(|stream| stage.camera(stream, "")).collect();
        let config = stage.folder().join("agent/agent.toml");
        let text = fs::read_to_string(&config).expect("the configuration was written a moment ago");
        fs::write(&config, format!("{text}\n[fleet]\ntrial = \"10s\"\n{cameras}")).expect("it can be written");
        stage.agent.restart();
        stage
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The section of a camera, with more keys.
    fn camera(&self, stream: &str, more: &str) -> String {
        let (_, camera) = self.cameras.iter().find(|(name, _)| *name == stream).expect("there is such a camera");
        let more =
            if more.contains("fragment_seconds") { more.to_owned() } else { format!("fragment_seconds = 1\n{more}") };
        format!("[[camera]]\nstream = {stream:?}\nurl = {:?}\n{more}", camera.url())
    }

    fn records(&self, stream: &str, segments: usize) {
        until(&format!("{stream} has {segments} fragments"), SOON, || {
            self.server.try_everything(stream).filter(|playlist| playlist.segments.len() >= segments)
        });
    }

    fn show(&self) -> Value {
        let shown = self.server.admin(&["device", "show", DEVICE, "--json"]);
        serde_json::from_str(&shown).unwrap_or_else(|error| panic!("{error}: {shown}"))
    }

    /// Pushes a configuration and gives back its version.
    fn push(&self, toml: &str) -> u64 {
        let (well, said) = self.try_push(toml);
        assert!(well, "{said}");
        let version = said.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        version.unwrap_or_else(|| panic!("no version in {said:?}"))
    }

    fn try_push(&self, toml: &str) -> (bool, String) {
        let file = self.folder().join("pushed.toml");
        fs::write(&file, toml).expect("a file can be written");
        self.server.try_admin(&["device", "configure", DEVICE, "--file", &file.to_string_lossy()])
    }

    fn configure(&self, arguments: &[&str]) -> String {
        self.server.admin(&[&["device", "configure", DEVICE], arguments].concat())
    }

    fn keeps(&self, version: u64) {
        until(&format!("version {version} is kept"), SOON, || {
            let configuration = &self.show()["configuration"];
            (configuration["kept"] == version && configuration["on_trial"].is_null()).then_some(())
        });
    }

    /// What is said of a configuration that was not kept.
    fn fails(&self, patience: Duration) -> Value {
        until("a configuration is not kept", patience, || {
            let device = self.show();
            let failed = device["configuration"]["failed"].clone();
            (failed.is_object() && device["configuration"]["on_trial"].is_null()).then_some(failed)
        })
    }

    /// What the device has on disk of what was pushed.
    fn pushed(&self) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.agent.state().join("pushed.json")).ok()?).ok()
    }

    /// The password of the door is shown when it is asked for, and lies nowhere at the server.
    fn shows_no_password(&self) {
        const PASSWORD: &str = "correct-horse";
        let shown = self.configure(&["--show"]);
        assert!(shown.contains("fragment_seconds") && !shown.contains(PASSWORD), "{shown}");
        assert!(self.configure(&["--show", "--secrets"]).contains(PASSWORD));
        let holds = |path: &Path| {
            let bytes = fs::read(path).unwrap_or_default();
            bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes())
        };
        let stored = files(&self.server.data());
        assert!(!stored.is_empty());
        for path in stored.iter().chain([&self.folder().join("server.log"), &self.folder().join("agent/agent.log")]) {
            assert!(!holds(path), "{} holds a password", path.display());
        }
        assert!(holds(&self.agent.state().join("pushed.json")), "the search finds what is there");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Width and height of a picture, as ffprobe sees them.
fn size(picture: &Path) -> (u32, u32) {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-show_entries", "stream=width,height,codec_name", "-of", "csv=p=0"]).arg(picture);
    let said = String::from_utf8_lossy(&command.output().expect("ffprobe can be run").stdout).into_owned();
    let mut fields = said.trim().split(',');
    assert_eq!(fields.next(), Some("mjpeg"), "{said}");
    let mut number = || fields.next().and_then(|field| field.parse().ok()).unwrap_or_else(|| panic!("{said}"));
    (number(), number())
}
