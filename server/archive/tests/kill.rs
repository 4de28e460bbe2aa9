//! A process that stores fragments is killed at random instants: nothing acknowledged is lost.
//!
//! The test starts itself as the process to kill, told where to store by an environment variable.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use archive::{Archive, Fragment};
use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};

const TEST: &str = "what_was_acknowledged_survives_kill_9_at_any_instant";
const FOLDER: &str = "MILLRACE_TEST_KILL_FOLDER";
const WORKERS: u32 = 8;
/// Rounds in one folder: enough that what was stored lives through several kills, and few enough that looking at all of
/// it after each does not take the most of the time.
const ROUNDS: u64 = 8;

/// KILLS=n for another number, as in `make torture`.
fn kills() -> u64 {
    std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(ROUNDS)
}

#[test]
fn what_was_acknowledged_survives_kill_9_at_any_instant() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        store_for_ever(Path::new(&folder));
    }
    let (mut left, mut acknowledged) = (kills(), 0);
    while left > 0 {
        let rounds = left.min(ROUNDS);
        acknowledged += survive(rounds);
        left -= rounds;
    }
    println!("{} kills, {acknowledged} fragments were acknowledged", kills());
    assert!(acknowledged as u64 > 2 * kills(), "only {acknowledged} fragments were acknowledged");
}

/// Kills so often in one folder; answers how many fragments were acknowledged in it.
fn survive(rounds: u64) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 1..=rounds {
        acknowledged.extend(store_until_killed(folder.path(), round));
        let archive = open(folder.path());
        let stream = archive.find_or_create_stream(&"front".parse().unwrap(), at(0)).unwrap();
        for &id in &acknowledged {
            let stored = archive.find(stream.id, id, at(60)).unwrap();
            let stored = stored.unwrap_or_else(|| panic!("{id} was acknowledged and is missing"));
            assert_eq!(archive.read(stream.id, stored.number).unwrap().unwrap(), payload(id));
        }
        assert_every_row_has_its_frame(&archive, stream.id);
    }
    acknowledged.len()
}

/// The process to kill: stores fragments and says so, until it is.
fn store_for_ever(folder: &Path) -> ! {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let archive = open(folder);
        let stream = archive.find_or_create_stream(&"front".parse().unwrap(), at(0)).unwrap();
        let session = SessionId(u64::from(std::process::id()));
        let mut stores = Vec::new();
        for worker in 0..WORKERS {
            let archive = archive.clone();
            stores.push(tokio::spawn(async move {
                for round in 0.. {
                    let id = FragmentId { session, sequence: Sequence(round * WORKERS + worker) };
                    archive.store(stream.id, fragment(id)).await.unwrap();
                    println!("stored {id}");
                }
            }));
        }
        for store in stores {
            store.await.unwrap();
        }
    });
    unreachable!("a worker ends only by a panic, which is passed on")
}

/// Runs a storing process, kills it after a while, and answers what it had said to be stored.
fn store_until_killed(folder: &Path, round: u64) -> Vec<FragmentId> {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    let mut lines = output.lines().map_while(Result::ok);
    let mut stored: Vec<FragmentId> = lines.by_ref().find_map(|line| parse(&line)).into_iter().collect();
    // Counted from the first acknowledgement, so that a slow machine is killed at work too.
    std::thread::sleep(Duration::from_millis(23 * round));
    process.kill().unwrap();
    process.wait().unwrap();
    stored.extend(lines.filter_map(|line| parse(&line)));
    stored
}

fn assert_every_row_has_its_frame(archive: &Archive, stream: u64) {
    let rows = archive.range(stream, at(-1)..at(1_000_000), usize::MAX, at(60)).unwrap();
    let mut ids: Vec<FragmentId> = rows.iter().map(|stored| stored.id).collect();
    ids.sort_unstable();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count, "a fragment is there twice");
    for stored in &rows {
        assert_eq!(archive.read(stream, stored.number).unwrap().unwrap(), payload(stored.id));
    }
}

/// The harness may print its own words before the first line of ours.
fn parse(line: &str) -> Option<FragmentId> {
    line.split_once("stored ")?.1.parse().ok()
}

fn open(folder: &Path) -> Archive {
    let ring = Arc::new(vault::Keyring::of_vault(folder).unwrap());
    Archive::open(folder, ring).unwrap()
}

fn fragment(id: FragmentId) -> Fragment {
    Fragment {
        id,
        start: at(i64::from(id.sequence.0)),
        quality: ClockQuality::Synchronised,
        duration: Duration::from_secs(1),
        tracks_fingerprint: 7,
        independent: true,
        codecs: Vec::new(),
        arrived: at(0),
        payload: payload(id),
    }
}

fn payload(id: FragmentId) -> Bytes {
    let bytes = 1000 + (id.sequence.0 as usize * 7919) % 60_000;
    Bytes::from(id.to_string().bytes().cycle().take(bytes).collect::<Vec<u8>>())
}

fn at(secs: i64) -> WallTime {
    WallTime::from_millis((1_767_225_600 + secs) * 1000)
}
