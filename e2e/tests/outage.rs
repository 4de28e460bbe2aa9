//! The server is away for a while: the agent goes on capturing, live resumes at once, the gap fills.
//!
//! The line between the two is slow, so that the backlog takes many times as long as a live fragment: an agent that sent the
//! oldest first would be found out.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Agent, Camera, Link, Playback, Playlist, Server, Source, until};

/// Less than three times what the camera gives: a second of outage takes half a second or more to catch up with.
const BYTES_PER_SECOND: u32 = 60_000;

/// Times in a playlist are rounded to the millisecond.
const SLACK: Duration = Duration::from_millis(5);

/// A live playlist ends so near to now: a fragment, its way through the slow line, and a busy machine.
const LIVE: Duration = Duration::from_secs(5);

#[test]
fn after_a_server_that_was_stopped_is_back_live_resumes_at_once_and_the_gap_fills() {
    live_first_then_the_gap(Server::stop);
}

#[test]
fn after_a_server_that_was_killed_is_back_live_resumes_at_once_and_the_gap_fills() {
    live_first_then_the_gap(Server::kill);
}

fn live_first_then_the_gap(end: impl FnOnce(&mut Server)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Server::start(folder.path());
    let (_camera, mut agent) = start_agent(folder.path(), &server);
    until("the stream arrives", Duration::from_secs(30), || {
        server.try_everything("yard").filter(|playlist| playlist.segments.len() >= 2)
    });

    end(&mut server);
    thread::sleep(outage());
    let waiting = agent.spooled().len();
    assert!(waiting >= 3, "the agent captured while the server was away, but only {waiting} fragments wait");
    server.restart();

    // The back-off of the agent is capped; live is there soon after, whatever the backlog.
    let clock = Instant::now();
    let resumed = until("live resumes", Duration::from_secs(30), || {
        let live = server.try_playlist(&server.try_playback("yard", Playback::Live)?)?;
        let everything = server.try_everything("yard")?;
        is_current(&live).then_some(everything)
    });
    eprintln!("live after {:?}", clock.elapsed());
    assert!(!resumed.gaps(SLACK).is_empty(), "live resumed only when the backlog had arrived");

    let filled = until("the gap fills", Duration::from_secs(90), || {
        server.try_everything("yard").filter(|everything| everything.gaps(SLACK).is_empty())
    });
    eprintln!("all of it after {:?}", clock.elapsed());
    assert!(filled.overlaps(SLACK).is_empty(), "a fragment came twice");
    agent.stop();
}

fn start_agent(folder: &Path, server: &Server) -> (Camera, Agent) {
    let camera = Camera::start("h264-aac.mp4", folder);
    let line = Link::start(&server.upload_address(), BYTES_PER_SECOND);
    let agent =
        Agent::start_at(&folder.join("agent"), server, &line.address(), &[("yard", Source::Rtsp(camera.url()))]);
    (camera, agent)
}

fn is_current(playlist: &Playlist) -> bool {
    let now = jiff::Timestamp::now();
    playlist.segments.last().is_some_and(|segment| segment.end() > now - LIVE)
}

/// Twenty seconds, or `OUTAGE_SECONDS`.
fn outage() -> Duration {
    let seconds = std::env::var("OUTAGE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20))
}
