//! A camera that only records: nothing leaves the device until somebody asks for a range, and then that range does.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use e2e::{Agent, Server, Source, binary, until};

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

    // Each file was written last when its fragment ended.
    let written = |path: PathBuf| jiff::Timestamp::try_from(path.metadata().ok()?.modified().ok()?).ok();
    let mut ends: Vec<_> = agent.spooled().into_iter().filter_map(written).collect();
    ends.sort();
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
