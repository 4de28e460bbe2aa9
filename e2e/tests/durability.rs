//! kill -9 at random instants: what was acknowledged stays, what was spooled arrives, nothing comes twice.
//!
//! Every kill meets both programs at work: it comes at a random instant after the server has stored something since the
//! last one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread;
use std::time::Duration;

use e2e::frames::Kind;
use e2e::{Agent, Persisted, Playlist, Server, Source, Spooled, clip, frames, stored, until};
use jiff::Timestamp;

/// How often each test kills; KILLS=n for another number, as in `make torture`.
fn rounds() -> usize {
    std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(20)
}

/// Two streams, so that one commit often holds fragments of both.
const STREAMS: &[(&str, &str)] = &[("yard", "h264-aac.mp4"), ("door", "h264-vfr.mkv")];

/// Times in a playlist are rounded to the millisecond.
const SLACK: Duration = Duration::from_millis(5);

/// Where one run of the agent ends and the next begins, the times of two sessions meet that were mapped apart, each by
/// the arrival of its first unit.
const BORDER: Duration = Duration::from_millis(500);

/// How near to a kill the recording before it has to come: a picture and the way of its bytes into the spool, on a
/// machine that does other things too.
const REACH: Duration = Duration::from_secs(1);

#[test]
fn killing_the_server_again_and_again_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Server::start(folder.path());
    let mut agent = start_agent(folder.path(), &server);
    let mut chance = chance();
    let mut read = BTreeMap::new();

    for _ in 0..rounds() {
        until("the server stores what is captured", Duration::from_secs(30), || {
            server.try_metric("millrace_fragments_persisted_total").filter(|stored| *stored > 0.0)
        });
        thread::sleep(Duration::from_millis(chance.u64(0..1500)));
        until("a fragment is under way", Duration::from_secs(5), || agent.spooled().first().map(|_| ()));
        let acknowledged = agent.persisted();
        server.kill();
        server.restart();
        check_acknowledged(&server, &acknowledged, &mut read);
    }

    stored::settle(&mut agent);
    check_acknowledged(&server, &agent.persisted(), &mut read);
    for (stream, source) in STREAMS {
        let playlist = check_stream(&server, stream, &agent);
        let doubled = playlist.overlaps(SLACK);
        assert!(doubled.is_empty(), "{stream}: stored twice: {doubled:#?}");
        let gaps = playlist.gaps(SLACK);
        assert!(gaps.is_empty(), "{stream}: the agent never stopped, and there are gaps: {gaps:#?}");
        check_content(&server, stream, source);
    }
    let noticed = agent.logged().matches("was started again").count();
    let kills = rounds();
    assert!(noticed >= kills, "the agent noticed {noticed} of {kills} restarts at once");
}

#[test]
fn killing_the_agent_again_and_again_loses_nothing_that_was_spooled() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let mut agent = start_agent(folder.path(), &server);
    let mut chance = chance();
    let mut spooled: BTreeMap<(String, String), Spooled> = BTreeMap::new();
    let mut kills: Vec<Timestamp> = Vec::new();

    for _ in 0..rounds() {
        let before = agent.persisted().len();
        until("something is captured and stored", Duration::from_secs(30), || {
            (agent.persisted().len() > before).then_some(())
        });
        thread::sleep(Duration::from_millis(chance.u64(0..1500)));
        agent.kill();
        kills.push(Timestamp::now());
        for held in agent.spooled().iter().filter_map(|path| Spooled::read(path)) {
            spooled.insert((held.stream.clone(), held.id.clone()), held);
        }
        agent.restart();
    }

    stored::settle(&mut agent);
    for (stream, _) in STREAMS {
        let held = spooled.keys().filter(|(of, _)| of == stream).count();
        // Some kills fall between two fragments.
        assert!(held > kills.len() / 2, "{stream}: of {} kills only {held} found something in the spool", kills.len());
        let playlist = check_stream(&server, stream, &agent);
        let doubled = playlist.overlaps(BORDER);
        assert!(doubled.is_empty(), "{stream}: stored twice: {doubled:#?}");
        check_gaps(&playlist, &kills);
    }
    check_spooled(&server, &agent.persisted(), &spooled);
}

fn start_agent(folder: &Path, server: &Server) -> Agent {
    let sources: Vec<_> = STREAMS.iter().map(|(stream, clip)| (*stream, Source::Loop(clip))).collect();
    let agent = Agent::start(&folder.join("agent"), server, &sources);
    until("every stream has arrived", Duration::from_secs(30), || {
        STREAMS.iter().all(|(stream, _)| server.try_everything(stream).is_some()).then_some(())
    });
    agent
}

/// Everything acknowledged is there under its stream and number, and can be read: the same bytes each time.
fn check_acknowledged(
    server: &Server,
    acknowledged: &BTreeSet<Persisted>,
    read: &mut BTreeMap<(String, u64), Vec<u8>>,
) {
    for (stream, _) in STREAMS {
        let segments: BTreeMap<_, _> =
            server.everything(stream).segments.into_iter().map(|segment| (segment.number(), segment)).collect();
        for Persisted { number, id, .. } in acknowledged.iter().filter(|fragment| fragment.stream == *stream) {
            let segment = segments.get(number);
            let segment = segment.unwrap_or_else(|| panic!("{stream}/{id} ({number}) was acknowledged and is gone"));
            let bytes = server.segment(segment);
            let first = read.entry(((*stream).to_owned(), *number)).or_insert_with(|| bytes.clone());
            assert!(*first == bytes, "{stream}/{id} ({number}) is not what it was");
        }
    }
}

/// Each fragment is stored once, and everything that is stored can be read to its last frame.
fn check_stream(server: &Server, stream: &str, agent: &Agent) -> Playlist {
    let playlist = stored::once(server, stream, &[agent]);
    let reading = frames::ffprobe(&server.whole(stream), None);
    assert!(reading.success && reading.complaints.is_empty(), "{stream}: {:?}", reading.complaints);
    playlist
}

/// The pictures are those of the clip, round after round, each where it belongs.
fn check_content(server: &Server, stream: &str, source: &str) {
    let source = frames::hashes(&clip(source).to_string_lossy(), Kind::Video);
    let stored = frames::hashes(&server.whole(stream), Kind::Video);
    let expected: Vec<_> = source.iter().cycle().take(stored.len()).cloned().collect();
    assert!(stored.len() > 2 * source.len(), "{stream}: only {} pictures", stored.len());
    if let Some(difference) = frames::difference(&expected, &stored) {
        panic!("{stream}: {difference}");
    }
}

/// There is no gap but those that a kill made, and before each of them the recording comes up to the kill.
fn check_gaps(playlist: &Playlist, kills: &[Timestamp]) {
    for (before, after) in playlist.gaps(SLACK) {
        let made_by = |kill: &&Timestamp| **kill > before.end() - REACH && **kill < after.start + REACH;
        let Some(kill) = kills.iter().find(made_by) else {
            panic!("a gap without a kill: {before:#?}\n{after:#?}");
        };
        assert!(*kill < before.end() + REACH, "the kill at {kill} lost more than the last moment: {before:#?}");
    }
}

/// What was in the spool at a kill was stored, unit for unit.
fn check_spooled(server: &Server, persisted: &BTreeSet<Persisted>, spooled: &BTreeMap<(String, String), Spooled>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut segments = BTreeMap::new();
    for (stream, _) in STREAMS {
        let listed = server.everything(stream).segments.into_iter();
        segments.extend(listed.map(|segment| (((*stream).to_owned(), segment.number()), segment)));
    }
    for ((stream, id), held) in spooled {
        let number = persisted.iter().find(|fragment| fragment.stream == *stream && fragment.id == *id);
        let number = number.unwrap_or_else(|| panic!("{stream}/{id} was spooled and never persisted")).number;
        let segment = segments.get(&(stream.clone(), number));
        let segment = segment.unwrap_or_else(|| panic!("{stream}/{id} ({number}) was persisted and is gone"));
        let stored = folder.path().join("stored.mp4");
        std::fs::write(&stored, server.segment(segment)).expect("a segment can be written");
        let expected = frames::hashes_of_all(&held.extract(folder.path()));
        assert!(!expected.is_empty(), "{stream}/{id}: something was spooled");
        if let Some(difference) = frames::difference(&expected, &frames::hashes_of_all(&stored)) {
            panic!("{stream}/{id}: between the spool and the server, {difference}");
        }
    }
}

/// Random instants; the seed is printed, so that a failure can be tried again with `SEED=n`.
fn chance() -> fastrand::Rng {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
