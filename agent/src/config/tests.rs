//! Configurations, right and wrong.

use std::path::Path;

use super::{Config, ConfigError, Source, Transport};

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
        ("[[camera]]\nstream = \"a\"", "exactly one of url, onvif, file", "test_pattern = true"),
        ("[[camera]]\nstream = \"a\"\nurl = \"rtsp://c\"\nfile = \"f\"", "exactly one of url", "url = "),
        ("[[camera]]\nstream = \"a\"\nurl = \"http://c\"", "not an RTSP address", "rtsp://192.168.1.20"),
        ("[[camera]]\nstream = \"a\"\nurl = \"rtsp://c\"\nuser = \"u\"", "user and password", "both or none"),
        ("[[camera]]\nstream = \"a\"\nonvif = \"http://c\"", "onvif is \"http://c\"", "onvif = \"192.168.1.20\""),
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
        ("[[camera]]\nstream = \"a\"\nfile = \"f\"\nfragment_seconds = 60", "fragment_seconds is 60", "1 to 10"),
        ("[[camera]]\nstream = \"a\"\nlibcamera = \"\"", "libcamera has no name", "libcamera = true"),
        ("[spool]\nbytes_max = \"8 gigs\"", "spool.bytes_max is \"8 gigs\"", "8 GiB"),
        ("[spool]\nbytes_max = \"1 MB\"", "spool.bytes_max is \"1 MB\"", "128 MiB"),
    ] {
        let message = parse(cameras).unwrap_err().to_string();
        assert!(message.contains(key) && message.contains(advice), "{cameras}\n{message}");
    }
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
        assert_eq!(config.spool_bytes_max, bytes, "{written}");
    }
}

fn parse(cameras: &str) -> Result<Config, ConfigError> {
    Config::parse(&format!("{SERVER}{cameras}"), Path::new("/etc/millrace"))
}
