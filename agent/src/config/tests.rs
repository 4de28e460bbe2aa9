//! Configurations, right and wrong.

use std::path::Path;

use super::{Config, ConfigError, Local, Source, TlsTrust, Transport};

use crate::timekeeper::Believed;

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
fn a_cameras_clock_is_believed_only_where_that_is_said() {
    let camera = "[[camera]]\nstream = \"front\"\nurl = \"rtsp://cam/1\"\n";
    let clock = |line: &str| parse(&format!("{camera}{line}")).map(|config| config.cameras[0].clock);
    assert_eq!(clock("").unwrap(), Believed::Device);
    assert_eq!(clock("clock = \"device\"").unwrap(), Believed::Device);
    assert_eq!(clock("clock = \"camera\"").unwrap(), Believed::Camera);
    let error = clock("clock = \"sun\"").unwrap_err().to_string();
    assert!(error.contains("`device`") && error.contains("`camera`"), "{error}");
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
        ("[[camera]]\nstream = \"a\"", "exactly one of url, onvif, file", "test_pattern = true"),
        ("[[camera]]\nstream = \"a\"\nurl = \"rtsp://c\"\nfile = \"f\"", "exactly one of url", "url = "),
        ("[[camera]]\nstream = \"a\"\nurl = \"http://c\"", "not an RTSP address", "rtsp://192.168.1.20"),
        ("[[camera]]\nstream = \"a\"\nurl = \"rtsp://c\"\nuser = \"u\"", "user and password", "both or none"),
        ("[[camera]]\nstream = \"a\"\nonvif = \"http://c\"", "onvif is not an address", "onvif = \"192.168.1.20\""),
        ("[[camera]]\nstream = \"a\"\nonvif = \"c\"\nprofile = \"\"", "profile is empty", "\"main\""),
        ("[[camera]]\nstream = \"a\"\nurl = \"rtsp://c\"\nprofile = \"sub\"", "profile only goes with onvif", "remove"),
        (
            "[[camera]]\nstream = \"a\"\nonvif = \"c\"\nuser = \"u\"\npassword_file = \"no/such\"",
            "password_file no/such",
            "write the password into it",
        ),
        (
            "[[camera]]\nstream = \"a\"\nurl = \"rtsp://c\"\n[camera.sub]\nstream = \"b\"",
            "sub has no url",
            "url = \"rtsp://192.168.1.20/stream2\"",
        ),
        (
            "[[camera]]\nstream = \"a\"\nfile = \"f\"\n[camera.sub]\nstream = \"b\"",
            "sub only goes with url or onvif",
            "remove it",
        ),
        ("[[camera]]\nstream = \"a\"\nonvif = \"c\"\n[camera.sub]\n", "sub: stream is missing", "stream = "),
        ("[[camera]]\nstream = \"a\"\nfile = \"f\"\nfps = 5", "fps only goes with", "remove it"),
        ("[[camera]]\nstream = \"a\"\nfile = \"f\"\nclock = \"camera\"", "clock only goes with url", "remove it"),
        ("[[camera]]\nstream = \"a\"\nfile = \"f\"\nfragment_seconds = 60", "fragment_seconds is 60", "1 to 10"),
        ("[[camera]]\nstream = \"a\"\nlibcamera = \"\"", "libcamera has no name", "libcamera = true"),
        (
            "[[camera]]\nstream = \"a\"\nurl = \"rtsp://c\"\nfrozen_picture = \"1s\"",
            "frozen_picture is \"1s\"",
            "5s to 24h",
        ),
        (
            "[[camera]]\nstream = \"a\"\ntest_pattern = true\nfrozen_picture = \"30s\"",
            "frozen_picture only",
            "remove it",
        ),
        ("[[camera]]\nstream = \"a\"\nurl = \"rtsp://c\"\ntls_insecure = true", "tls_insecure only", "rtsps://"),
        (
            "[[camera]]\nstream = \"a\"\nurl = \"rtsps://c\"\ntls_ca = \"none.pem\"",
            "none.pem can't be read",
            "No such file",
        ),
        (
            "[[camera]]\nstream = \"a\"\nurl = \"rtsps://c\"\ntls_fingerprint = \"ab\"",
            "tls_fingerprint is \"ab\"",
            "64 hex",
        ),
        ("[[camera]]\nstream = \"a\"\nurl = \"rtsps://c\"\ntransport = \"udp\"", "in the clear", "remove it"),
        ("[metrics]\nlisten = \"9273\"", "metrics.listen is \"9273\"", "127.0.0.1:9273"),
        ("[fleet]\ntrial = \"soon\"", "fleet.trial is \"soon\"", "trial = \"2m\""),
        ("[fleet]\npushed = \"ignore\"\ntrial = \"1m\"", "fleet.trial has no effect", "remove one"),
        ("[spool]\nbytes_max = \"8 gigs\"", "spool.bytes_max is \"8 gigs\"", "8 GiB"),
        ("[spool]\nbytes_max = \"1 MB\"", "spool.bytes_max is \"1 MB\"", "128 MiB"),
        ("[spool]\nage_max = \"a week\"", "spool.age_max is \"a week\"", "age_max = \"7 days\""),
        ("[spool]\nkeep = \"24\"", "spool.keep is \"24\"", "keep = \"24h\""),
        ("[spool]\nkeep = \"5s\"", "spool.keep is \"5s\"", "the least is a minute"),
        ("[spool]\nsync = \"never\"", "spool.sync is \"never\"", "sync = \"10s\""),
        ("[spool]\nsync = \"1 hour\"", "spool.sync is \"1 hour\"", "1 to 60 seconds"),
        ("[spool]\nwhen_full = \"panic\"", "spool.when_full is \"panic\"", "\"stop-recording\" to lose the newest"),
    ] {
        let message = parse(cameras).unwrap_err().to_string();
        assert!(message.contains(key) && message.contains(advice), "{cameras}\n{message}");
    }
}

#[test]
fn a_camera_over_tls_is_believed_by_its_fingerprint_or_by_none_but_not_by_two_things() {
    let camera = |keys: &str| parse(&format!("[[camera]]\nstream = \"a\"\nurl = \"rtsps://c/1\"\n{keys}"));
    let trust = |keys: &str| match camera(keys).unwrap().cameras.remove(0).source {
        Source::Rtsp { trust, .. } => trust,
        other => panic!("{other:?}"),
    };
    assert_eq!(trust(""), TlsTrust::System);
    assert_eq!(trust("tls_insecure = true"), TlsTrust::Anyone);
    let with_colons = vec!["AB"; 32].join(":");
    for digits in [with_colons, "ab".repeat(32)] {
        assert_eq!(trust(&format!("tls_fingerprint = \"{digits}\"")), TlsTrust::Fingerprint([0xab; 32]));
    }
    // An ONVIF camera says at each start where it streams; that may be over TLS.
    let asked =
        parse("[[camera]]\nstream = \"a\"\nonvif = \"c\"\ntls_insecure = true").unwrap().cameras.remove(0).source;
    assert!(matches!(asked, Source::Onvif { trust: TlsTrust::Anyone, .. }), "{asked:?}");
    for (trust, url, in_vain) in [
        (TlsTrust::Anyone, "rtsp://c/1", true),
        (TlsTrust::Fingerprint([0; 32]), "rtsps://c/1", false),
        (TlsTrust::System, "rtsp://c/1", false),
    ] {
        assert_eq!(trust.is_in_vain(url), in_vain, "{trust:?} of a camera that says by ONVIF that it streams at {url}");
    }
    let both = format!("tls_insecure = true\ntls_fingerprint = \"{}\"", "ab".repeat(32));
    let message = camera(&both).unwrap_err().to_string();
    assert!(message.contains("exclude each other"), "{message}");
}

#[test]
fn metrics_are_served_only_where_the_configuration_says_so() {
    let camera = "[[camera]]\nstream = \"a\"\ntest_pattern = true\n";
    assert_eq!(parse(camera).unwrap().metrics, None);
    let config = parse(&format!("[metrics]\nlisten = \"127.0.0.1:9273\"\n{camera}")).unwrap();
    assert_eq!(config.metrics, Some("127.0.0.1:9273".parse().unwrap()));
}

#[test]
fn a_sub_stream_is_a_stream_of_its_own_with_what_its_camera_has() {
    let main = "[[camera]]\nstream = \"front\"\nuser = \"u\"\npassword = \"p\"\ntransport = \"udp\"\n";
    let text = format!(
        "{main}url = \"rtsp://c/1\"\n[camera.sub]\nstream = \"front-sub\"\nurl = \"rtsp://c/2\"\n\
         [[camera]]\nstream = \"back\"\nonvif = \"192.168.1.21\"\n[camera.sub]\nstream = \"back-sub\"\n"
    );
    let [front, front_sub, back, back_sub] = &parse(&text).unwrap().cameras[..] else { panic!("four streams") };
    assert_eq!((&front.sub_of, front_sub.sub_of.as_ref()), (&None, Some(&front.stream)));
    let Source::Rtsp { url, transport: Transport::Udp, credentials: Some((user, _)), .. } = &front_sub.source else {
        panic!("{front_sub:?}")
    };
    assert_eq!((url.as_str(), user.as_str()), ("rtsp://c/2", "u"));
    let wanted = |camera: &super::Camera| match &camera.source {
        Source::Onvif { profile, .. } => profile.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((wanted(back), wanted(back_sub)), (onvif::Wanted::Main, onvif::Wanted::Sub));
    assert_eq!(back_sub.sub_of.as_ref(), Some(&back.stream));
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
        assert_eq!(config.spool.bytes_max, bytes, "{written}");
    }
}

#[test]
fn the_spool_keeps_what_its_section_says() {
    use spool::{Settings, SyncTime, WhenFull};
    let camera = "[[camera]]\nstream = \"a\"\nfile = \"f\"";
    let config = parse(camera).unwrap();
    assert_eq!(config.spool, Settings::from(8 << 30));
    let section = "[spool]\nage_max = \"7 days\"\nkeep = \"24h\"\nsync = \"10s\"\nwhen_full = \"stop-recording\"\n";
    let hours = |hours: u64| Some(std::time::Duration::from_secs(hours * 3600));
    let expected = Settings {
        bytes_max: 8 << 30,
        age_max: hours(7 * 24),
        when_full: WhenFull::StopRecording,
        sync: SyncTime::Interval(std::time::Duration::from_secs(10)),
        keep: hours(24),
    };
    assert_eq!(parse(&format!("{section}{camera}")).unwrap().spool, expected);
}

#[test]
fn a_pushed_section_replaces_that_of_the_file_and_no_other() {
    let local = local("[spool]\nbytes_max = \"1 GiB\"\n[[camera]]\nstream = \"a\"\ntest_pattern = true\n");
    let config = local.with("[[camera]]\nstream = \"b\"\nfile = \"b.mp4\"\n").unwrap();
    let streams: Vec<_> = config.cameras.iter().map(|camera| camera.stream.as_str()).collect();
    assert_eq!(streams, ["b"]);
    assert!(matches!(&config.cameras[0].source, Source::File { path, .. } if path == Path::new("/etc/millrace/b.mp4")));
    assert_eq!(config.spool.bytes_max, 1 << 30);
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

#[test]
fn the_packaged_configuration_is_right_as_it_is_and_with_its_cameras() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packaged = std::fs::read_to_string(folder.join("../packaging/agent.toml")).unwrap();
    assert!(parse(&packaged).unwrap().cameras.is_empty());
    // Sentences have a space behind their mark, settings have none.
    let uncommented: Vec<_> = packaged
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .collect();
    assert_eq!(parse(&uncommented.join("\n")).unwrap().cameras.len(), 4);
}
