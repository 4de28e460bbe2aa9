//! The server is away for a while: the agent goes on capturing, live resumes at once, the gap fills.

use std::thread;
use std::time::{Duration, Instant};

use e2e::{Agent, Camera, Playback, Server, Source, until};

#[test]
fn after_an_outage_live_resumes_at_once_and_the_gap_fills() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Server::start(folder.path());
    let camera = Camera::start("h264-aac.mp4", folder.path());
    let mut agent = Agent::start(&folder.path().join("agent"), &server, &[("yard", Source::Rtsp(camera.url()))]);
    until("the stream arrives", Duration::from_secs(30), || {
        server.try_everything("yard").filter(|playlist| playlist.segments.len() >= 2)
    });

    server.stop();
    thread::sleep(outage());
    let waiting = agent.spooled().len();
    assert!(waiting >= 3, "the agent captured while the server was away, but only {waiting} fragments wait");
    let back = jiff::Timestamp::now();
    server.restart();

    // The back-off of the agent is capped; live is there soon after, whatever the backlog.
    let clock = Instant::now();
    until("live resumes", Duration::from_secs(20), || {
        let playlist = server.try_playlist(&server.try_playback("yard", Playback::Live)?)?;
        playlist.segments.last().filter(|segment| segment.end() > back).map(|_| ())
    });
    eprintln!("live after {:?}", clock.elapsed());

    let gaps = until("the gap fills", Duration::from_secs(60), || {
        let everything = server.try_everything("yard")?;
        everything.gaps(Duration::from_millis(5)).is_empty().then_some(everything)
    });
    assert!(gaps.overlaps(Duration::from_millis(5)).is_empty(), "no fragment came twice");
    agent.stop();
}

/// A minute, or `OUTAGE_SECONDS`.
fn outage() -> Duration {
    let seconds = std::env::var("OUTAGE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}
