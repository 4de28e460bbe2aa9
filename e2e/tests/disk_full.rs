//! The server's disk is full to the last byte, by somebody else's file: devices wait, viewers go on watching, and when
//! there is space again everything arrives, once. Needs root, for a disk of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::{Agent, Server, SmallDisk, Source, stored, until};

const STREAMS: &[(&str, &str)] = &[("yard", "h264-aac.mp4"), ("door", "h264-vfr.mkv")];

/// What the vault keeps free of payloads, and room for some segments.
const DISK_BYTES: u64 = 256 << 20;

/// Less than it keeps free.
const RESERVE_BYTES: u64 = 100 << 20;

/// For what happens at once, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// Times in a playlist are rounded to the millisecond.
const SLACK: Duration = Duration::from_millis(5);

#[test]
fn a_full_disk_makes_devices_wait_and_viewers_watch_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(disk) = SmallDisk::try_new(&folder.path().join("data"), DISK_BYTES) else { return };
    let mut server = Server::start(folder.path());
    let sources: Vec<_> = STREAMS.iter().map(|(stream, clip)| (*stream, Source::Loop(clip))).collect();
    let mut agent = Agent::start(&folder.path().join("agent"), &server, &sources);
    until("each stream has some fragments", SOON, || has_stored(&agent, 3));

    // In the middle of a segment, for which there is space, to the last byte.
    disk.fill(0);
    wait_for_refusals(&server, &agent);
    // What was under way before is over.
    let before = agent.persisted();
    until("the device keeps what it has", SOON, || (agent.spooled().len() >= 12).then_some(()));
    assert_eq!(agent.persisted(), before, "something was stored on a full disk");
    check_that_it_serves(&server, &agent);
    let free = server.try_metric("millrace_free_bytes").expect("it is measured");
    assert!(free < 1e6, "{free} bytes are free");
    let (added, said) = server.try_admin(&["device", "add", "another"]);
    assert!(!added && said.contains("the disk is full"), "{said}");
    disk.give_back();
    wait_until_it_stores(&agent);
    server.admin(&["device", "add", "another"]);

    // A server that starts where only the reserve is left, and has no segment yet.
    server.stop();
    disk.fill(RESERVE_BYTES);
    server.restart();
    wait_for_refusals(&server, &agent);
    until("the device keeps what it has", SOON, || (agent.spooled().len() >= 12).then_some(()));
    check_that_it_serves(&server, &agent);
    disk.give_back();
    wait_until_it_stores(&agent);

    stored::settle(&mut agent);
    for (stream, _) in STREAMS {
        let playlist = stored::once(&server, stream, &[&agent]);
        let (gaps, overlaps) = (playlist.gaps(SLACK), playlist.overlaps(SLACK));
        assert!(gaps.is_empty(), "{stream}: something was dropped: {gaps:#?}");
        assert!(overlaps.is_empty(), "{stream}: something came twice: {overlaps:#?}");
    }
    assert!(server.admin(&["check"]).contains("agree"));
}

fn has_stored(agent: &Agent, fragments: usize) -> Option<()> {
    let mut stored = BTreeMap::new();
    for fragment in agent.persisted() {
        *stored.entry(fragment.stream).or_insert(0) += 1;
    }
    (stored.len() == STREAMS.len() && stored.values().all(|stored| *stored >= fragments)).then_some(())
}

/// Refusals that the device may try again; others there are none.
fn refusals(server: &Server) -> f64 {
    let text = server.get("/metrics").text();
    let of_full = |line: &&str| line.starts_with("millrace_fragments_refused_total{code=\"ARCHIVAL_ERROR\"}");
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number");
    let refused = text.lines().find(of_full).map_or(0.0, value);
    assert_eq!(refused, server.try_metric("millrace_fragments_refused_total").unwrap_or_default(), "{text}");
    refused
}

/// The device is told to try again, more than once.
fn wait_for_refusals(server: &Server, agent: &Agent) {
    until("the device is told to try again", SOON, || (refusals(server) > 4.0).then_some(()));
    assert!(agent.logged().contains("the disk is full"), "the device says why: {}", agent.logged());
}

/// What waited arrives, and what is captured now.
fn wait_until_it_stores(agent: &Agent) {
    let waiting = agent.spooled();
    until("what waited arrives", SOON, || waiting.iter().all(|file| !file.exists()).then_some(()));
    let before = agent.persisted().len();
    until("so does what comes after it", SOON, || (agent.persisted().len() > before + 4).then_some(()));
}

/// All that was acknowledged can be played, and the server is well.
fn check_that_it_serves(server: &Server, agent: &Agent) {
    assert_eq!(server.try_metric("millrace_vault_poisoned"), Some(0.0), "a full disk is no broken one");
    assert_eq!(server.get_as_stranger("/healthz").status, 200);
    for (stream, _) in STREAMS {
        let playlist = server.everything(stream);
        for fragment in agent.persisted().iter().filter(|fragment| fragment.stream == *stream) {
            let segment = playlist.segments.iter().find(|segment| segment.number() == fragment.number);
            let segment = segment.unwrap_or_else(|| panic!("{fragment:?} was acknowledged and is gone"));
            assert!(!server.segment(segment).is_empty());
        }
    }
}
