//! A device that does not know the time: what it records is found where it belongs.

use std::time::Duration;

use e2e::{Agent, Camera, Playlist, Server, Source, until};
use jiff::Timestamp;

/// A welcome's way, and a busy machine.
const SLACK: Duration = Duration::from_secs(3);

#[test]
fn what_is_recorded_offline_in_1970_while_the_clock_is_set_by_days_has_its_right_time_on_the_server() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Server::start(folder.path());
    let camera = Camera::start("h264-aac.mp4", folder.path());
    let mut agent = Agent::start(&folder.path().join("agent"), &server, &[("yard", Source::Rtsp(camera.url()))]);
    until("it joins", Duration::from_secs(30), || agent.logged().contains("connected").then_some(()));
    agent.stop();
    server.stop();

    agent.with_calendar("@1970-01-01 00:01:00");
    let began = Timestamp::now();
    agent.restart();
    let recorded =
        |count| until("it records", Duration::from_secs(60), || (agent.spooled().len() >= count).then_some(()));
    recorded(3);
    for (days, count) in [("@1970-01-02 00:01:00", 5), ("@1970-01-01 00:01:00", 7)] {
        agent.set_clock(days);
        recorded(count);
    }
    until("the status says that the time is not certain", Duration::from_secs(10), || {
        let text = std::fs::read_to_string(agent.state().join("status.json")).ok()?;
        let status: serde_json::Value = serde_json::from_str(&text).ok()?;
        (status["cameras"][0]["clock"]["quality"] == "unsynchronised").then_some(())
    });
    server.restart();
    let everything = until("what was recorded arrives", Duration::from_secs(60), || {
        server.try_everything("yard").filter(|playlist| playlist.segments.len() >= 9)
    });
    let ended = Timestamp::now();
    agent.stop();

    assert_between(&everything, began, ended);
    // What came before the first start in 1970 was another session.
    let new: Vec<_> = everything.segments.iter().filter(|segment| segment.start + SLACK > began).collect();
    let sessions = new.iter().skip(1).filter(|segment| segment.discontinuity).count();
    assert_eq!(sessions, 0, "one session, whatever the calendar said: {new:#?}");
    assert!(agent.logged().contains("the device's clock was set"), "the steps are said");
}

/// All that was captured meanwhile is there, and nothing lies elsewhere.
fn assert_between(playlist: &Playlist, began: Timestamp, ended: Timestamp) {
    let earliest = began - Duration::from_secs(60);
    for segment in &playlist.segments {
        assert!(segment.start > earliest && segment.end() < ended + SLACK, "{segment:?} between {began} and {ended}");
    }
    let meanwhile = playlist.segments.iter().filter(|segment| segment.start + SLACK > began);
    let recorded: Duration = meanwhile.map(|segment| segment.duration).sum();
    assert!(recorded > Duration::from_secs(12), "{recorded:?}");
}
