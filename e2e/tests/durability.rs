//! kill -9 at random instants: what was acknowledged stays, what was spooled arrives, nothing comes twice.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Duration;

use e2e::{Agent, Playlist, Server, Source, frames, until};

const KILLS: u32 = 20;

/// Two streams, so that one commit often holds fragments of both.
const STREAMS: &[(&str, &str)] = &[("yard", "h264-aac.mp4"), ("door", "h264-vfr.mkv")];

/// Times in a playlist are rounded to the millisecond.
const SLACK: Duration = Duration::from_millis(5);

#[test]
fn killing_the_server_twenty_times_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Server::start(folder.path());
    let mut agent = start_agent(folder.path(), &server);
    let mut chance = chance();

    for kill in 0..KILLS {
        thread::sleep(Duration::from_millis(chance.u64(100..2500)));
        let acknowledged = agent.persisted();
        server.kill();
        server.restart();
        let stored = stored(&server);
        let lost: Vec<_> = acknowledged.iter().filter(|(_, number)| !stored.contains(number)).collect();
        assert!(lost.is_empty(), "kill {kill}: acknowledged but gone: {lost:?}");
    }

    settle(&mut agent, &server);
    assert!(!agent.persisted().is_empty(), "the agent's log names what is persisted");
    check_streams(&server, 0);
}

#[test]
fn killing_the_agent_twenty_times_loses_nothing_that_was_spooled() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let mut agent = start_agent(folder.path(), &server);
    let mut chance = chance();
    let mut seen: BTreeSet<String> = BTreeSet::new();

    for _ in 0..KILLS {
        thread::sleep(Duration::from_millis(chance.u64(300..2500)));
        agent.kill();
        // Each file that is in the spool now holds something captured, finished or torn.
        seen.extend(
            agent
                .spooled()
                .iter()
                .filter(|path| holds_media(path))
                .map(|path| path.file_stem().expect("a spool file has a name").to_string_lossy().into_owned()),
        );
        agent.restart();
    }

    settle(&mut agent, &server);
    let arrived: BTreeSet<String> = agent.persisted().into_keys().collect();
    let missing: Vec<_> = seen.difference(&arrived).collect();
    assert!(!seen.is_empty(), "some kill found something in the spool");
    assert!(missing.is_empty(), "spooled but never persisted: {missing:?}");
    check_streams(&server, KILLS as usize);
}

fn start_agent(folder: &std::path::Path, server: &Server) -> Agent {
    let sources: Vec<_> = STREAMS.iter().map(|(stream, clip)| (*stream, Source::Loop(clip))).collect();
    let agent = Agent::start(&folder.join("agent"), server, &sources);
    until("every stream has arrived", Duration::from_secs(30), || {
        STREAMS.iter().all(|(stream, _)| server.try_everything(stream).is_some()).then_some(())
    });
    agent
}

/// Waits until everything that is in the spool now has arrived, and stops the agent.
fn settle(agent: &mut Agent, server: &Server) {
    let waiting = agent.spooled();
    until("the spool empties", Duration::from_secs(60), || waiting.iter().all(|file| !file.exists()).then_some(()));
    agent.stop();
    assert_eq!(server.metric("millrace_fragments_refused_total"), 0.0, "no fragment was refused");
}

/// Nothing is stored twice, and everything that is stored can be read to its last frame.
fn check_streams(server: &Server, runs_more: usize) {
    for (stream, _) in STREAMS {
        let playlist: Playlist = server.everything(stream);
        let doubled = playlist.overlaps(SLACK);
        assert!(doubled.is_empty(), "{stream}: stored twice: {doubled:#?}");
        let gaps = playlist.gaps(SLACK);
        assert!(gaps.len() <= runs_more, "{stream} has gaps: {gaps:#?}");
        let url = server.whole(stream);
        let reading = frames::ffprobe(&url);
        assert!(reading.success && reading.complaints.is_empty(), "{stream}: {}", reading.complaints);
    }
}

/// The numbers of all fragments that can be played. Those of different streams may be equal only by a rare chance.
fn stored(server: &Server) -> BTreeSet<u64> {
    let playlists = STREAMS.iter().filter_map(|(stream, _)| server.try_everything(stream));
    playlists.flat_map(|playlist| playlist.segments.into_iter().map(|segment| segment.number())).collect()
}

fn holds_media(path: &std::path::Path) -> bool {
    // A header record alone, without one whole chunk, is no fragment yet.
    fs::metadata(path).is_ok_and(|file| file.len() > 16 * 1024)
}

/// Random instants; the seed is printed, so that a failure can be tried again with `SEED=n`.
fn chance() -> fastrand::Rng {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
