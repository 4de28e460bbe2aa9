//! The server's disk is slower than the cameras: the device keeps what the disk has not taken, the server's memory stays
//! flat, and its counters say why. Or it breaks: a sync fails, and nothing more is written until the server is started again.
//!
//! `slow_disk.c` makes the disk slow, or breaks it. The cameras give ten times what a slow one takes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::{Agent, Server, Source, noise, root, stored, until};

const STREAMS: &[&str] = &["yard", "door", "hall", "roof", "gate", "shed"];

/// What the disk takes in a second. The largest group commit then takes ten seconds, so that some of them end while the
/// disk is slow.
const DISK_BYTES_PER_SECOND: u32 = 4_000_000;

/// What the device has sent and the server has not stored: a window of 64 MiB, and of each stream the fragment that was
/// being captured when that was full.
const TAKEN_BYTES: u64 = (64 << 20) + STREAMS.len() as u64 * (8 << 20);

/// What else the server needs: the sealed copy of a group commit of 32 MiB and a fragment, and itself.
const BESIDES_BYTES: u64 = 128 << 20;

/// Moments at which the device has so much to send: as much as the server may need, and three times that.
const FULL_BYTES: u64 = TAKEN_BYTES + BESIDES_BYTES;
const MUCH_BYTES: u64 = 3 * FULL_BYTES;

/// Times in a playlist are rounded to the millisecond.
const SLACK: Duration = Duration::from_millis(5);

#[test]
fn a_slow_disk_makes_the_device_wait_and_costs_neither_memory_nor_video() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = SlowDisk::new(folder.path());
    let server = Server::start_with(folder.path(), &[], &disk.environment());
    let clip = noise(folder.path());
    let sources: Vec<_> = STREAMS.iter().map(|stream| (*stream, Source::LoopOf(clip.clone()))).collect();
    let mut agent = Agent::start(&folder.path().join("agent"), &server, &sources);

    until("the server has taken what it takes", Duration::from_secs(60), || spools(&agent, FULL_BYTES));
    let early = memory(&server);
    until("the device keeps the rest", Duration::from_secs(60), || spools(&agent, MUCH_BYTES));
    let late = memory(&server);
    eprintln!("{} MiB of memory, then {} MiB", early >> 20, late >> 20);
    assert!(late < FULL_BYTES, "the server needs {} MiB of memory", late >> 20);
    let grown = late.saturating_sub(early);
    assert!(grown < (MUCH_BYTES - FULL_BYTES) / 8, "while the device waits, the server grows by {} MiB", grown >> 20);
    check_counters(&server);

    until("something is acknowledged", Duration::from_secs(60), || (!agent.persisted().is_empty()).then_some(()));
    let acknowledged = agent.persisted();
    let read: Vec<_> = acknowledged.iter().map(|it| (it, segment(&server, &it.stream, it.number))).collect();

    disk.make_quick();
    let waiting = agent.spooled();
    until("the spool empties", Duration::from_secs(60), || waiting.iter().all(|file| !file.exists()).then_some(()));
    let duplicates = server.try_metric("millrace_fragments_duplicate_total");
    assert_eq!(duplicates, None, "the device sent again what the server had stored");
    agent.stop();
    assert_eq!(agent.rejected(), 0, "the server refused fragments for good");
    assert!(!agent.logged().contains(" ERROR "), "the device lost something: {}", agent.logged());
    for (it, bytes) in read {
        assert!(bytes == segment(&server, &it.stream, it.number), "{it:?} is not what it was");
    }
    for stream in STREAMS {
        check_stream(&server, stream, &agent);
    }
}

#[test]
fn a_failed_sync_ends_writing_and_nothing_else_until_the_next_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = SlowDisk::new(folder.path());
    disk.make_quick();
    let mut server = Server::start_with(folder.path(), &[], &disk.environment());
    let mut agent = Agent::start(&folder.path().join("agent"), &server, &[("yard", Source::Loop("h264-aac.mp4"))]);
    until("something is stored", Duration::from_secs(60), || (agent.persisted().len() >= 3).then_some(()));
    assert_eq!(server.try_metric("millrace_vault_poisoned"), Some(0.0));
    assert_eq!(server.get_as_stranger("/healthz").status, 200);

    disk.fail();
    let health = until("/healthz tells", Duration::from_secs(60), || {
        Some(server.get_as_stranger("/healthz")).filter(|health| health.status != 200)
    });
    assert_eq!(health.status, 503);
    let said = health.text();
    assert!(said.contains("syncing a segment failed") && said.contains("Input/output error"), "{said}");
    assert_eq!(server.try_metric("millrace_vault_poisoned"), Some(1.0));
    // The disk is well again, and what it has lost nobody knows.
    disk.make_quick();
    until("the device is told why", Duration::from_secs(60), || {
        let logged = agent.logged();
        let told = logged.lines().find(|line| line.contains("refuses writes until restarted"))?;
        assert!(told.contains("ARCHIVAL_ERROR"), "{told}");
        Some(())
    });
    let acknowledged = agent.persisted();
    until("it keeps what it has", Duration::from_secs(60), || (agent.spooled().len() >= 6).then_some(()));
    assert_eq!(agent.persisted(), acknowledged, "something was stored after a failed sync");
    assert_eq!(server.get_as_stranger("/healthz").status, 503);
    let read: Vec<_> = acknowledged.iter().map(|it| (it, segment(&server, &it.stream, it.number))).collect();

    server.stop();
    server.restart();
    assert_eq!(server.try_metric("millrace_vault_poisoned"), Some(0.0));
    stored::settle(&mut agent);
    for (it, bytes) in read {
        assert!(bytes == segment(&server, &it.stream, it.number), "{it:?} is not what it was");
    }
    let playlist = stored::once(&server, "yard", &[&agent]);
    let (gaps, overlaps) = (playlist.gaps(SLACK), playlist.overlaps(SLACK));
    assert!(gaps.is_empty() && overlaps.is_empty(), "dropped: {gaps:#?}, twice: {overlaps:#?}");
    assert!(agent.persisted().len() >= acknowledged.len() + 6, "it stores again");
}

/// Whether the device has so many bytes that it must keep.
fn spools(agent: &Agent, bytes: u64) -> Option<()> {
    let files = agent.spooled();
    // One that is gone by now was persisted.
    let kept: u64 = files.iter().filter_map(|file| fs::metadata(file).ok()).map(|file| file.len()).sum();
    (kept >= bytes).then_some(())
}

/// The memory of the server's process that is no file's.
fn memory(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("the system counts it");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or_else(|error| panic!("{line:?}: {error}"));
    kib << 10
}

/// The queue is full, nothing was given up, and the disk is what takes the time.
fn check_counters(server: &Server) {
    let metric = |name| server.try_metric(name).unwrap_or_default();
    // A commit has just given back its 32 MiB of the window, at the worst.
    let queued = metric("millrace_queued_bytes");
    assert!(queued >= f64::from(24 << 20), "only {queued} bytes wait for the disk");
    let (committed, synced) = (metric("millrace_committed_bytes_total"), metric("millrace_sync_milliseconds_total"));
    let least = committed / f64::from(DISK_BYTES_PER_SECOND) * 1000.0;
    eprintln!("{queued} bytes wait, {committed} are committed, which took {synced} ms of syncs");
    // A sync may have ended since, whose rows are still being committed.
    assert!(committed > 0.0 && synced >= 0.9 * least, "{committed} bytes are committed by {synced} ms of syncs");
    assert_eq!(metric("millrace_vault_poisoned"), 0.0, "a slow disk is no broken one");
}

/// The segment of a stored fragment, with its initialisation.
fn segment(server: &Server, stream: &str, number: u64) -> Vec<u8> {
    let segments = server.everything(stream).segments;
    let segment = segments.iter().find(|segment| segment.number() == number);
    server.segment(segment.unwrap_or_else(|| panic!("{stream}: {number} was acknowledged and is gone")))
}

/// Everything that was captured is there once, from the first picture to the last that was whole.
fn check_stream(server: &Server, stream: &str, agent: &Agent) {
    let persisted = agent.persisted();
    let numbers: BTreeMap<_, _> =
        persisted.iter().filter(|it| it.stream == stream).map(|it| (it.number, &it.id)).collect();
    let ids = persisted.iter().filter(|it| it.stream == stream).count();
    assert_eq!(numbers.len(), ids, "{stream}: two fragments have one number");
    let playlist = server.everything(stream);
    let gone: Vec<_> =
        numbers.keys().filter(|number| !playlist.segments.iter().any(|it| it.number() == **number)).collect();
    assert!(gone.is_empty(), "{stream}: acknowledged and gone: {gone:?}");
    // The agent stopped before it heard of the last ones, and still has them.
    let unheard = agent.spooled().iter().filter(|file| file.parent().is_some_and(|it| it.ends_with(stream))).count();
    let stored = playlist.segments.len();
    assert!(stored <= ids + unheard, "{stream}: {stored} are stored, and {ids} were acknowledged");
    let (gaps, overlaps) = (playlist.gaps(SLACK), playlist.overlaps(SLACK));
    assert!(gaps.is_empty(), "{stream}: something was dropped: {gaps:#?}");
    assert!(overlaps.is_empty(), "{stream}: something came twice: {overlaps:#?}");
}

/// A disk whose syncs of segments take their time, or fail.
struct SlowDisk {
    library: PathBuf,
    rate: PathBuf,
}

impl SlowDisk {
    fn new(folder: &Path) -> SlowDisk {
        let disk = SlowDisk { library: folder.join("slow_disk.so"), rate: folder.join("rate") };
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&disk.library).arg(root().join("e2e/slow_disk.c"));
        assert!(compiler.status().expect("cc can be run").success(), "slow_disk.c can't be compiled");
        fs::write(&disk.rate, DISK_BYTES_PER_SECOND.to_string()).expect("the rate can be written");
        disk
    }

    /// What a process needs to have this disk.
    fn environment(&self) -> [(&str, &str); 2] {
        let [library, rate] = [&self.library, &self.rate].map(|path| path.to_str().expect("a path in UTF-8"));
        [("LD_PRELOAD", library), ("SLOW_DISK_RATE", rate)]
    }

    /// From now on it takes what the machine's disk takes, also for a sync under way.
    fn make_quick(&self) {
        fs::remove_file(&self.rate).expect("the rate was written");
    }

    /// From now on its syncs fail.
    fn fail(&self) {
        fs::write(&self.rate, "-1").expect("the rate can be written");
    }
}
