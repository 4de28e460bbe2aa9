//! Configurations, right and wrong.

use std::path::Path;

use super::{Config, ConfigError, Local, Source, Transport};

const SERVER: &str = "[server]\naddress = \"localhost:8443\"\n";

#[test]
fn a_camera_needs_its_stream_and_its_address_and_nothing_else() {
    let config = parse("[[camera]]\nstream = \"front\"\nurl = \"rtsp://cam/1\"\n").unwrap();
    assert_eq!(config.state, Path::new("/var/lib/millrace-agent"));
    let [camera] = &config.cameras[..] else { panic!("one camera") };
    assert_eq!(camera.stream.as_str(), "front");
    assert!(matches!(&camera.source, Source::Rtsp { url, transport: Transport::Tcp, .. } if url == "rtsp://cam/1"));
}

#[test]
fn paths_are_relative_to_the_configuration() {
    let text = format!("state = \"state\"\n{SERVER}[[camera]]\nstream = \"a\"\nfile = \"a.mp4\"\nlooped = true\n");
    let config = Config::parse(&text, Path::new("/etc/millrace")).unwrap();
    assert_eq!(config.state, Path::new("/etc/millrace/state"));
    let file = Source::File { path: "/etc/millrace/a.mp4".into(), looped: true };
    assert_eq!(config.cameras[0].source, file);
}

#[test]
fn every_example_configuration_is_right() {
    let examples = samples::configs().unwrap();
    assert!(!examples.is_empty());
    for path in examples {
        let config = Config::load(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!config.cameras.is_empty());
    }
}

#[test]
fn the_first_camera_of_libcamera_is_true_and_others_have_names() {
    for (value, camera) in [("true", None), ("\"imx219\"", Some("imx219".to_owned()))] {
        let config = parse(&format!("[[camera]]\nstream = \"nest\"\nlibcamera = {value}\n")).unwrap();
        let Source::Libcamera { camera: found, .. } = &config.cameras[0].source else { panic!("libcamera") };
        assert_eq!(*found, camera);
    }
}

#[test]
fn every_problem_names_its_key_and_what_to_write() {
    for (cameras, key, advice) in [
        ("[[camera]]\nurl = \"rtsp://c/1\"", "stream is missing", "stream = \"front\""),
        ("[[camera]]\nstream = \"a b\"\ntest_pattern = true", "\"a b\" is not a stream name", "letters, digits"),
        ("[[camera]]\nstream = \"a\"", "exactly one of url, file", "test_pattern = true"),
        ("[[camera]]\nstream = \"a\"\nurl = \"rtsp://c\"\nfile = \"f\"", "exactly one of url", "url = "),
        ("[[camera]]\nstream = \"a\"\nurl = \"http://c\"", "not an RTSP address", "rtsp://192.168.1.20"),
        ("[[camera]]\nstream = \"a\"\nurl = \"rtsp://c\"\nuser = \"u\"", "user and password", "both or none"),
        ("[[camera]]\nstream = \"a\"\nfile = \"f\"\nfps = 5", "fps only goes with", "remove it"),
        ("[[camera]]\nstream = \"a\"\nfile = \"f\"\nfragment_seconds = 60", "fragment_seconds is 60", "1 to 10"),
        ("[[camera]]\nstream = \"a\"\nlibcamera = \"\"", "libcamera has no name", "libcamera = true"),
        ("[fleet]\ntrial = \"soon\"", "fleet.trial is \"soon\"", "trial = \"2m\""),
        ("[fleet]\npushed = \"ignore\"\ntrial = \"1m\"", "fleet.trial has no effect", "remove one"),
        ("[spool]\nbytes_max = \"8 gigs\"", "spool.bytes_max is \"8 gigs\"", "8 GiB"),
        ("[spool]\nbytes_max = \"1 MB\"", "spool.bytes_max is \"1 MB\"", "128 MiB"),
    ] {
        let message = parse(cameras).unwrap_err().to_string();
        assert!(message.contains(key) && message.contains(advice), "{cameras}\n{message}");
    }
}

#[test]
fn all_problems_are_said_at_once() {
    let error = Config::parse("[server]\naddress = \"here\"\ntoken = \"x\"\n[[camera]]\n", Path::new("/")).unwrap_err();
    let ConfigError::Wrong(problems) = error else { panic!("{error}") };
    assert_eq!(problems.len(), 4, "{problems:#?}");
}

#[test]
fn two_cameras_can_not_feed_one_stream() {
    let camera = "[[camera]]\nstream = \"a\"\ntest_pattern = true\n";
    let message = parse(&format!("{camera}{camera}")).unwrap_err().to_string();
    assert!(message.contains("camera 2 (\"a\"): another camera has this stream"), "{message}");
}

#[test]
fn a_misspelt_key_is_shown_with_its_line() {
    let message = parse("[[camera]]\nstraem = \"a\"").unwrap_err().to_string();
    assert!(message.contains("straem") && message.contains("line 4"), "{message}");
}

#[test]
fn no_password_shows_in_debug_output() {
    let text = "[[camera]]\nstream = \"a\"\nurl = \"rtsp://c/1\"\nuser = \"u\"\npassword = \"hush\"";
    assert!(!format!("{:?}", parse(text).unwrap()).contains("hush"));
}

#[test]
fn the_size_of_the_spool_is_read_as_people_write_sizes() {
    for (written, bytes) in
        [("8 GiB", 8 << 30), ("500MB", 500_000_000), ("1.5 GiB", 3 << 29), (" 200000000 ", 200_000_000)]
    {
        let config =
            parse(&format!("[spool]\nbytes_max = \"{written}\"\n[[camera]]\nstream = \"a\"\nfile = \"f\"")).unwrap();
        assert_eq!(config.spool_bytes_max, bytes, "{written}");
    }
}

#[test]
fn a_pushed_section_replaces_that_of_the_file_and_no_other() {
    let local = local("[spool]\nbytes_max = \"1 GiB\"\n[[camera]]\nstream = \"a\"\ntest_pattern = true\n");
    let config = local.with("[[camera]]\nstream = \"b\"\nfile = \"b.mp4\"\n").unwrap();
    let streams: Vec<_> = config.cameras.iter().map(|camera| camera.stream.as_str()).collect();
    assert_eq!(streams, ["b"]);
    assert!(matches!(&config.cameras[0].source, Source::File { path, .. } if path == Path::new("/etc/millrace/b.mp4")));
    assert_eq!(config.spool_bytes_max, 1 << 30);
    assert_eq!(config.server, local.config().server);
    assert_eq!(local.with("").unwrap(), *local.config());
}

#[test]
fn a_pushed_address_keeps_the_token_of_the_device() {
    let local = local("token_file = \"nowhere\"\n[[camera]]\nstream = \"a\"\ntest_pattern = true\n");
    let config = local.with("server.address = \"elsewhere:8443\"").unwrap();
    assert_eq!(config.server.address, "elsewhere:8443");
    assert_eq!(config.cameras, local.config().cameras);
}

#[test]
fn all_that_is_wrong_with_a_pushed_configuration_is_said_at_once() {
    let pushed = "state = \"/tmp\"\n[fleet]\npushed = \"accept\"\n[server]\ntoken = \"x\"\n[spool]\nbytes_max = \"1 B\"\n\
                  [[camera]]\nstream = \"a\"\n";
    let problems = local("").with(pushed).unwrap_err();
    for part in
        ["state can't be pushed", "fleet can't be pushed", "server.token", "spool.bytes_max", "exactly one of url"]
    {
        assert!(problems.iter().any(|problem| problem.contains(part)), "{part}: {problems:#?}");
    }
}

#[test]
fn a_misspelt_key_in_a_pushed_configuration_is_shown_with_its_line() {
    let problems = local("").with("[[camera]]\nstraem = \"a\"").unwrap_err();
    assert!(problems[0].contains("straem") && problems[0].contains("line 2"), "{problems:?}");
}

#[test]
fn what_is_wrong_with_a_pushed_configuration_is_said_without_its_passwords() {
    let camera = "[[camera]]\nstream = \"a\"\nurl = \"rtsp://c/1\"\nuser = \"u\"\n";
    for (line, part) in [
        ("passwrd = \"hush1\"", "passwrd"),
        ("password = hush1", "line 5"),
        ("password = [\"hush1\"]", "line 5"),
        ("latency_ms = \"hush1\"", "line 5: there is a value of the kind string"),
        ("password = 4711", "kind integer"),
    ] {
        let problems = local("").with(&format!("{camera}{line}\n")).unwrap_err();
        let said = problems.join("\n");
        assert!(said.contains(part) && !said.contains("hush1") && !said.contains("4711"), "{line}: {said}");
    }
}

fn local(rest: &str) -> Local {
    Local::parse(&format!("{SERVER}{rest}"), Path::new("/etc/millrace")).unwrap()
}

fn parse(cameras: &str) -> Result<Config, ConfigError> {
    Config::parse(&format!("{SERVER}{cameras}"), Path::new("/etc/millrace"))
}
