//! A camera that only records: nothing leaves the device until somebody asks for a range, and then that range does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::frames;
use e2e::{Agent, Persisted, Playback, Server, Source, binary, until};
use jiff::Timestamp;
use serde_json::{Value, json};

/// For what an agent does at once, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// A range stays wanted for half a minute after its end: something of it may still be on its way to the disk.
const AFTER_THE_RANGE: Duration = Duration::from_secs(120);

/// Times in a playlist are rounded to the millisecond.
const SLACK: Duration = Duration::from_millis(5);

const DEVICE: &str = "e2e-agent";

#[test]
fn a_range_of_a_recording_is_uploaded_when_it_is_asked_for_and_the_rest_stays() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let mut agent = Agent::start(&folder.path().join("agent"), &server, &[("yard", Source::Loop("h264-aac.mp4"))]);
    until("the agent uploads", Duration::from_secs(60), || (!agent.persisted().is_empty()).then_some(()));
    // The second configuration is that of an agent which has joined already.
    agent.stop();
    let before = agent.persisted().len();
    let config = folder.path().join("agent/agent.toml");
    let text = std::fs::read_to_string(&config).expect("the agent has a configuration");
    std::fs::write(&config, text + "mode = \"record\"\n").expect("the configuration can be written");
    // What was still in the spool at the stop is a recording now.
    agent.restart();
    until("ten fragments are recorded", Duration::from_secs(60), || (agent.spooled().len() >= 10).then_some(()));
    assert_eq!(agent.persisted().len(), before, "no one has asked for anything");

    let ends = ends(&agent);
    let (from, to) = (ends[3], ends[6]);
    let mut ask = Command::new(binary("millrace-agent"));
    ask.args(["recordings", "upload", "yard", "--from", &from.to_string(), "--to", &to.to_string(), "--config"]);
    let asked = ask.arg(&config).output().expect("millrace-agent can be run");
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));

    until("the range is uploaded", Duration::from_secs(60), || {
        let wanted = std::fs::read_dir(agent.state().join("wanted")).map_or(1, Iterator::count);
        (wanted == 0 && agent.persisted().len() > before).then_some(())
    });
    let uploaded = agent.persisted().len() - before;
    // Those at both edges included.
    assert!((2..=6).contains(&uploaded), "{uploaded} fragments for the time of three");
    assert!(agent.spooled().len() >= 4, "the rest stays");
    agent.stop();
}

#[test]
fn the_server_asks_for_a_range_and_exactly_that_arrives_once_also_if_the_agent_is_killed_meanwhile() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let mut agent = record_only(folder.path(), &server);
    until("eight fragments are recorded", SOON, || (agent.spooled().len() >= 8).then_some(()));
    assert_eq!(agent.persisted().len(), 0, "no one has asked for anything");
    assert!(server.try_everything("yard").is_none());
    is_held_and_not_late(&server);

    // From a moment of the past to one of the near future: some of it is captured when the agent runs again.
    let (from, to) = (ends(&agent)[3], Timestamp::now() + Duration::from_secs(3));
    let said = fetch(&server, "yard", from, to).expect("the device has it");
    assert!(said.contains(" fragments of yard in this range, ") && said.contains("on their way"), "{said}");
    assert!(said.contains("What it captures before the range ends follows."), "{said}");
    agent.kill();
    agent.restart();
    until("all of the range is uploaded", AFTER_THE_RANGE, || {
        let wanted = std::fs::read_dir(agent.state().join("wanted")).map_or(1, Iterator::count);
        (wanted == 0).then_some(())
    });
    let arrived = agent.persisted();
    assert_eq!(server.everything("yard").segments.len(), arrived.len(), "nothing else is there, and nothing twice");
    let url = server.playback("yard", Playback::Past(&from.to_string(), &to.to_string()));
    let played = frames::gstreamer(&url, None);
    assert!(played.success && played.units > 50, "{} units, {:?}", played.units, played.complaints);

    let again = fetch(&server, "yard", from, to).expect_err("nothing of it is left");
    assert!(again.contains("nothing of yard from") && again.contains("What waits of it lies from"), "{again}");
    // What lies around the range shows, once it is there too, that the range was cut where it should be.
    let path = format!("/v1/devices/{DEVICE}/cameras/yard/fetch");
    let all = json!({"from": "2020-01-01T00:00:00Z", "to": Timestamp::now().to_string()});
    let answer = server.post(&path, &all);
    let fetching: Value = serde_json::from_slice(&answer.body).expect("the answer is JSON");
    let fragments = fetching["fragments"].as_u64().and_then(|fragments| usize::try_from(fragments).ok());
    let fragments = fragments.unwrap_or_else(|| panic!("{}", answer.text()));
    assert!(fragments > 5 && fetching["bytes"].as_u64() > Some(1000), "{fetching}");
    until("all is uploaded", SOON, || (agent.persisted().len() >= arrived.len() + fragments).then_some(()));
    is_the_range(&server, &arrived, from, to);
    let everything = server.everything("yard");
    assert!(everything.overlaps(SLACK).is_empty(), "a fragment came twice: {everything:?}");
    agent.stop();
}

#[test]
fn a_range_that_can_not_be_fetched_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let mut agent = record_only(folder.path(), &server);
    until("something is recorded", SOON, || (agent.spooled().len() >= 3).then_some(()));
    is_held_and_not_late(&server);
    let (early, late) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + Duration::from_secs(60));
    for (stream, from, to, said) in [
        ("attic", early, late, "no camera for \"attic\" and no recordings of it; it has yard"),
        ("yard", late, early, "its end has to be later than its beginning"),
        ("yard", early, late, "nothing of yard from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z waits here"),
    ] {
        let refused = fetch(&server, stream, from, to).expect_err(said);
        assert!(refused.contains(said), "{refused}");
    }
    let (well, said) = server.try_admin(&["device", "fetch", DEVICE, "yard", "--from", "noon", "--to", "midnight"]);
    assert!(!well && said.contains("as in 2026-03-01T12:00:00Z"), "{said}");
    let path = format!("/v1/devices/{DEVICE}/cameras/yard/fetch");
    let answer = server.post(&path, &json!({"from": late.to_string(), "to": early.to_string()}));
    assert_eq!(answer.status, 400, "{}", answer.text());
    agent.stop();
    let refused = fetch(&server, "yard", early, late).expect_err("it is gone");
    assert!(refused.contains("is not connected (last seen"), "{refused}");
    assert_eq!(agent.persisted().len(), 0);
}

/// An agent whose camera only records, from its first start on.
fn record_only(folder: &Path, server: &Server) -> Agent {
    let yard = [("yard", Source::Loop("h264-aac.mp4"))];
    let mut agent = Agent::configured(&folder.join("agent"), server, &server.upload_address(), &yard);
    let config = folder.join("agent/agent.toml");
    let text = std::fs::read_to_string(&config).expect("the agent has a configuration");
    std::fs::write(&config, text + "mode = \"record\"\n").expect("the configuration can be written");
    agent.restart();
    agent
}

/// When each fragment in the spool ended, the earliest first: its file was written last then.
fn ends(agent: &Agent) -> Vec<Timestamp> {
    let written = |path: PathBuf| Timestamp::try_from(path.metadata().ok()?.modified().ok()?).ok();
    let mut ends: Vec<_> = agent.spooled().into_iter().filter_map(written).collect();
    ends.sort();
    ends
}

/// What the command says: well, or not.
fn fetch(server: &Server, stream: &str, from: Timestamp, to: Timestamp) -> Result<String, String> {
    let (from, to) = (from.to_string(), to.to_string());
    let (well, said) = server.try_admin(&["device", "fetch", DEVICE, stream, "--from", &from, "--to", &to]);
    if well { Ok(said) } else { Err(said) }
}

/// The server is told that nothing waits for it, and how much is held.
fn is_held_and_not_late(server: &Server) {
    until("the device tells what it holds", SOON, || {
        let shown: Value = serde_json::from_str(&server.admin(&["device", "show", DEVICE, "--json"])).ok()?;
        let spool = &shown["status"]["spool"];
        let held = spool["held_fragments"].as_u64()? > 0 && spool["held_bytes"].as_u64()? > 0;
        assert!(!held || spool["fragments"] == 0 && spool["bytes"] == 0, "{shown}");
        assert!(!held || shown["oldest_unsent_seconds"].is_null(), "{shown}");
        held.then_some(())
    });
    let shown = server.admin(&["device", "show", DEVICE]);
    assert!(shown.contains(" held in ") && shown.contains("oldest unsent none"), "{shown}");
    assert!(server.try_metric("millrace_device_held_bytes") > Some(0.0));
    assert_eq!(server.try_metric("millrace_device_spool_bytes"), Some(0.0));
}

/// By the times that the server has of them, `arrived` are the fragments that lie in the range, and no others.
fn is_the_range(server: &Server, arrived: &BTreeSet<Persisted>, from: Timestamp, to: Timestamp) {
    let arrived: BTreeSet<_> = arrived.iter().map(|persisted| persisted.number).collect();
    let mut around = 0;
    for segment in server.everything("yard").segments {
        let is_there = arrived.contains(&segment.number());
        around += usize::from(!is_there);
        let (inside, outside) = (
            segment.start + SLACK < to && segment.end() > from + SLACK,
            segment.start > to + SLACK || segment.end() + SLACK < from,
        );
        assert!(!inside || is_there, "{segment:?} lies in the range and did not come");
        assert!(!outside || !is_there, "{segment:?} lies outside the range and came");
    }
    assert!(around > 3, "{around} fragments lie around it");
}
