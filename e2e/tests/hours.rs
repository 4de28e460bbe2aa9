//! What an outage has left keeps the hours of the backlog; live does not have to.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use e2e::{Agent, Server, Source, until};

/// For what an agent does at once, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// Times in a playlist are rounded to the millisecond.
const SLACK: Duration = Duration::from_millis(5);

#[test]
fn backlog_waits_outside_its_hours_while_live_goes_on_and_goes_when_they_begin() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Server::start(folder.path());
    let mut agent = Agent::start(&folder.path().join("agent"), &server, &[("yard", Source::Loop("h264-aac.mp4"))]);
    until("the agent uploads", SOON, || (!agent.persisted().is_empty()).then_some(()));
    server.kill();
    until("there is backlog", SOON, || (agent.spooled().len() >= 6).then_some(()));
    agent.stop();
    let backlog = agent.spooled();
    let left = |backlog: &[PathBuf]| backlog.iter().filter(|path| path.exists()).count();

    // Hours that are not now, nor soon, whatever the time is: those of six hours ago.
    let hour = (jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).hour() + 18) % 24;
    let uplink = |hours: &str| {
        format!("[uplink]\nbacklog_hours = [\"{hours}\"]\ntime_zone = \"UTC\"\nbacklog_share = \"50%\"\n")
    };
    let config = folder.path().join("agent/agent.toml");
    let text = fs::read_to_string(&config).expect("the agent has a configuration");
    fs::write(&config, text + &uplink(&format!("{hour:02}:00-{hour:02}:59"))).expect("it can be written");
    server.restart();
    agent.restart();
    let before = agent.persisted().len();
    until("live goes on", SOON, || (agent.persisted().len() >= before + 5).then_some(()));
    assert_eq!(left(&backlog), backlog.len(), "it is not the hour of the backlog");
    let gapped = server.everything("yard");
    assert!(!gapped.gaps(SLACK).is_empty(), "what was captured in the outage is not there yet");

    // The hours come: the server pushes others. Cameras and live do not notice.
    let pushed = folder.path().join("pushed.toml");
    fs::write(&pushed, uplink("00:00-24:00")).expect("a file can be written");
    server.admin(&["device", "configure", "e2e-agent", "--file", &pushed.to_string_lossy()]);
    until("the backlog is sent", SOON, || (left(&backlog) == 0).then_some(()));
    let persisted = agent.persisted();
    let ids: Vec<_> = persisted.iter().map(|persisted| persisted.id.as_str()).collect();
    for path in &backlog {
        let id = path.file_stem().expect("a fragment has a name").to_string_lossy();
        assert!(ids.contains(&&*id), "{id} is gone and was not persisted");
    }
    until("live goes on", SOON, || (agent.persisted().len() >= persisted.len() + 3).then_some(()));
    let everything = server.everything("yard");
    assert!(everything.overlaps(SLACK).is_empty(), "a fragment came twice: {everything:?}");
    agent.stop();
}
