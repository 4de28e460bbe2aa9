//! `[uplink]`, right and wrong.

use std::path::Path;

use fragment::WallTime;
use upload::Allowance;

use super::super::Config;
use super::{Congestion, Hours};

const CAMERA: &str = "[[camera]]\nstream = \"yard\"\ntest_pattern = true\n";

#[test]
fn without_a_word_uploads_take_all_of_the_line_at_any_time() {
    let uplink = parse("").unwrap();
    assert_eq!(uplink, super::Uplink::default());
    assert_eq!(uplink.allowance, Allowance::default());
}

#[test]
fn rates_are_read_as_contracts_say_them() {
    for (written, bytes) in [("2 Mbit/s", 250_000), ("512kbit/s", 64_000), (" 1.5 Mbit/s ", 187_500)] {
        let uplink = parse(&format!("[uplink]\nrate_max = \"{written}\"\n")).unwrap();
        assert_eq!(uplink.allowance.rate_max, Some(bytes), "{written}");
    }
}

#[test]
fn a_share_is_per_cent_and_all_of_it_is_no_limit() {
    for (written, share) in [("50%", Some(50)), ("7 %", Some(7)), ("100%", None)] {
        let uplink = parse(&format!("[uplink]\nbacklog_share = \"{written}\"\n")).unwrap();
        assert_eq!(uplink.allowance.backlog_share, share, "{written}");
    }
}

#[test]
fn every_problem_of_the_uplink_names_its_key_and_what_to_write() {
    for (text, key, advice) in [
        ("rate_max = \"2 MB\"", "uplink.rate_max is \"2 MB\"", "rate_max = \"2 Mbit/s\""),
        ("rate_max = \"-2 Mbit/s\"", "uplink.rate_max", "2 Mbit/s"),
        ("backlog_rate_max = \"9 bit/s\"", "uplink.backlog_rate_max is \"9 bit/s\"", "the least is"),
        ("backlog_share = \"0%\"", "uplink.backlog_share is \"0%\"", "50%"),
        ("backlog_share = \"50\"", "uplink.backlog_share is \"50\"", "50%"),
        ("backlog_share = \"5%\"\nbacklog_rate_max = \"1 Mbit/s\"", "both backlog_share and backlog_rate_max", "keep"),
        ("backlog_hours = [\"25:00-26:00\"]", "uplink.backlog_hours has \"25:00-26:00\"", "22:00-06:00"),
        ("backlog_hours = []", "uplink.backlog_hours has no hours", "22:00-06:00"),
        ("backlog_hours = [\"1:00-2:00\"]\ntime_zone = \"Here\"", "uplink.time_zone is \"Here\"", "Europe/Berlin"),
        ("time_zone = \"UTC\"", "time_zone only goes with", "remove it"),
        ("upload_hours = [\"1:00-2:00\"]", "uplink.upload_hours only goes with mode = \"record\"", "remove it"),
        ("congestion = \"reno\"", "reno", "cubic"),
        ("mode = \"sometimes\"", "sometimes", "record"),
    ] {
        let message = parse(&format!("[uplink]\n{text}\n")).unwrap_err();
        assert!(message.contains(key) && message.contains(advice), "{text}\n{message}");
    }
    let message = parse_cameras(&format!("{CAMERA}upload_hours = [\"1:00-2:00\"]\n")).unwrap_err();
    assert!(message.contains("camera 1 (\"yard\"): upload_hours only goes with mode"), "{message}");
    let message = parse_cameras(&format!("{CAMERA}mode = \"record\"\nupload_hours = [\"x\"]\n")).unwrap_err();
    assert!(message.contains("camera 1 (\"yard\"): upload_hours has \"x\""), "{message}");
}

#[test]
fn a_camera_that_says_nothing_of_its_mode_does_as_the_uplink_says() {
    let text = "[uplink]\nmode = \"record\"\nupload_hours = [\"02:00-05:00\"]\ntime_zone = \"UTC\"\n\
                [[camera]]\nstream = \"a\"\ntest_pattern = true\n\
                [[camera]]\nstream = \"b\"\ntest_pattern = true\nmode = \"continuous\"\n\
                [[camera]]\nstream = \"c\"\ntest_pattern = true\nupload_hours = [\"07:00-08:00\"]\n";
    let rules = parse_cameras(text).unwrap().rules;
    let at = |hour: i64| WallTime::from_millis((hour * 60 + 30) * 60_000);
    let open = |stream: &str, hour| rules.open(&stream.parse().unwrap(), Some(at(hour)));
    assert_eq!([2, 7].map(|hour| open("a", hour)), [true, false]);
    assert_eq!([2, 7].map(|hour| open("b", hour)), [true, true]);
    assert_eq!([2, 7].map(|hour| open("c", hour)), [false, true]);
    assert_eq!([2, 7].map(|hour| open("gone", hour)), [true, false], "a camera that was removed records too");
    assert!(rules.is_live(&"b".parse().unwrap()) && !rules.is_live(&"a".parse().unwrap()));
}

#[test]
fn recordings_without_hours_wait_until_they_are_asked_for() {
    let rules = parse_cameras(&format!("{CAMERA}mode = \"record\"\n")).unwrap().rules;
    assert!(!rules.open(&"yard".parse().unwrap(), Some(WallTime::from_millis(0))));
    assert_ne!(Hours::never(), Hours::always());
}

#[test]
fn a_spool_that_would_fill_once_and_for_ever_is_refused() {
    let record = format!("{CAMERA}mode = \"record\"\n");
    let parse = |spool: &str, cameras: &str| parse_cameras(&format!("[spool]\n{spool}\n{cameras}"));
    let message = parse("when_full = \"stop-recording\"", &record).unwrap_err();
    assert!(message.contains("of \"yard\"") && message.contains("Set spool.age_max, or upload_hours"), "{message}");
    for (spool, cameras) in [
        ("when_full = \"drop-oldest\"", record.clone()),
        ("when_full = \"stop-recording\"\nage_max = \"3 days\"", record.clone()),
        ("when_full = \"stop-recording\"", format!("{record}upload_hours = [\"02:00-05:00\"]\n")),
        ("when_full = \"stop-recording\"", CAMERA.to_owned()),
    ] {
        parse(spool, &cameras).unwrap_or_else(|message| panic!("{spool}\n{cameras}\n{message}"));
    }
}

#[test]
fn the_congestion_control_can_be_chosen() {
    assert_eq!(parse("[uplink]\ncongestion = \"bbr\"\n").unwrap().congestion, Congestion::Bbr);
    assert_eq!(parse("[uplink]\ncongestion = \"cubic\"\n").unwrap().congestion, Congestion::Cubic);
}

fn parse(uplink: &str) -> Result<super::Uplink, String> {
    parse_cameras(uplink)
}

fn parse_cameras(rest: &str) -> Result<super::Uplink, String> {
    let text = format!("[server]\naddress = \"localhost:8443\"\n{rest}");
    Config::parse(&text, Path::new("/")).map(|config| config.uplink).map_err(|error| error.to_string())
}
