//! A camera before a disk that stands still, or is full: whole fragments or none, each drop with its reason, and a bounded
//! memory.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use agent::limits;
use agent::scribe::Scribe;
use bytes::Bytes;
use disk::testing::{DiskOver, FileOver};
use disk::{Disk as _, File, OsDisk};
use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};
use spool::drops::{self, Reason, Run};
use spool::{Settings, Spool, Start, WhenFull};
use upload::FragmentKey;

const PIECE: usize = 1 << 20;

#[test]
fn what_a_quick_disk_takes_is_all_there() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), 1 << 30).unwrap();
    let mut scribe = Scribe::hurried(spool.clone());
    (0..3).for_each(|sequence| write(&mut scribe, sequence, 1));
    let pulse = scribe.pulse();
    drop(scribe);
    assert_eq!((spool.counters().spooled, spool.counters().dropped), (3, 0));
    assert!(!pulse.stands_still(Instant::now() + 2 * limits::PULSE_MAX), "it has nothing to do");
}

#[test]
fn a_disk_that_stands_still_costs_whole_fragments_and_a_bounded_memory() {
    let state = tempfile::tempdir().unwrap();
    let disk = Arc::new(Halting::default());
    let spool = Spool::open_on(disk.clone(), state.path(), 1 << 30).unwrap();
    let mut scribe = Scribe::hurried(spool.clone());
    write(&mut scribe, 0, 1);
    disk.halt(true);
    // Each is 3 MiB: the third breaks off in its middle, and what follows does not begin.
    (1..100).for_each(|sequence| write(&mut scribe, sequence, 3));
    let ahead = scribe.bytes_ahead();
    while !scribe.pulse().stands_still(Instant::now() + 2 * limits::PULSE_MAX) {
        std::thread::yield_now();
    }
    assert!(ahead <= limits::SCRIBE_BYTES_MAX + PIECE, "{ahead} bytes wait");
    disk.halt(false);
    while scribe.bytes_ahead() > 0 {
        std::thread::yield_now();
    }
    write(&mut scribe, 100, 1);
    drop(scribe);

    let counters = spool.counters();
    assert_eq!(counters.fragments + counters.drops.slow_disk, 101, "{counters:?}");
    assert!(counters.fragments >= 3 && counters.drops.slow_disk > 90, "{counters:?}");
    let listed = drops::read(&OsDisk, state.path()).unwrap();
    assert!(listed.iter().all(|run| run.reason == Reason::SlowDisk), "{listed:#?}");
    for sequence in 0..=100 {
        let is_listed = listed.iter().any(|run| (run.first.0..=run.last.0).contains(&sequence));
        assert_eq!(spool.holds(&key(sequence)), !is_listed, "fragment {sequence}: {listed:#?}");
    }
    let plays: Duration = listed.iter().map(|run: &Run| run.duration).sum();
    assert_eq!(plays, Duration::from_secs(2 * counters.drops.slow_disk));
    // Whole or not at all.
    let mut after = None;
    while let Some((ordinal, entry)) = spool.next(after) {
        let pieces = if matches!(entry.key.id.sequence.0, 0 | 100) { 1 } else { 3 };
        assert_eq!(entry.trailer.unwrap().bytes, (pieces * PIECE + 5) as u64, "{}", entry.key);
        after = Some(ordinal);
    }
    let files = std::fs::read_dir(state.path().join("spool/front")).unwrap().count();
    assert_eq!(files as u64, counters.fragments);
}

/// A real camera, over RTSP: behind a reader that waits GStreamer would gather what it sends.
#[cfg(feature = "capture")]
#[tokio::test(flavor = "multi_thread")]
async fn a_camera_before_a_disk_that_stands_still_costs_no_more_memory_and_goes_on_in_its_session() {
    use agent::config::{Camera, Source, TlsTrust, Transport};
    use samples::rtsp;
    let (state, disk) = (tempfile::tempdir().unwrap(), Arc::new(Halting::default()));
    let spool = Spool::open_on(disk.clone(), state.path(), 1 << 30).unwrap();
    let camera = rtsp::Camera::start(&rtsp::Settings::new(noise(state.path()))).unwrap();
    let (url, transport, trust) = (camera.url(), Transport::Tcp, TlsTrust::System);
    let source = Source::Rtsp { url, transport, credentials: None, latency: None, trust };
    let config = Camera { fragment_target: Duration::from_secs(1), ..Camera::new("front".parse().unwrap(), source) };
    let stop = tokio_util::sync::CancellationToken::new();
    let recording = tokio::task::spawn_blocking({
        let (spool, stop) = (spool.clone(), stop.clone());
        let status = agent::status::CameraStatus::new("front");
        let clock = agent::clock::Clock::open().unwrap();
        move || agent::capture::run(&config, &spool, clock, &status, &stop)
    });
    reaches("a fragment is recorded", || spool.counters().spooled > 0).await;
    disk.halt(true);
    reaches("the room is used up", || spool.counters().drops.slow_disk > 1).await;
    let early = memory();
    let bytes_a_fragment = spool.next(None).unwrap().1.bytes;
    let more = (30 << 20) / bytes_a_fragment;
    reaches("much is dropped", || spool.counters().drops.slow_disk > more).await;
    let grown = memory().saturating_sub(early);
    eprintln!("{more} fragments of {bytes_a_fragment} bytes were dropped; the process grew by {grown} bytes");
    assert!(grown < 15 << 20, "30 MiB were dropped, and the process grew by {grown} bytes");
    disk.halt(false);
    let before = spool.counters().spooled + 10;
    reaches("recording goes on", || spool.counters().spooled > before).await;
    stop.cancel();
    recording.await.unwrap();
    let (mut sessions, mut after) = (std::collections::BTreeSet::new(), None);
    while let Some((ordinal, entry)) = spool.next(after) {
        sessions.insert(entry.key.id.session);
        after = Some(ordinal);
    }
    assert_eq!(sessions.len(), 1, "the camera was not started again");
    let listed = drops::read(&OsDisk, state.path()).unwrap();
    let count: u64 = listed.iter().map(|run| u64::from(run.last.0 - run.first.0) + 1).sum();
    assert_eq!(count, spool.counters().dropped, "{listed:#?}");
}

#[cfg(feature = "capture")]
async fn reaches(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(180), wait).await.unwrap_or_else(|_| panic!("{what}: it took too long"));
}

/// The memory of this process that is no file's.
#[cfg(feature = "capture")]
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// A clip of some 2 MB/s: nothing is as hard to code as noise.
#[cfg(feature = "capture")]
fn noise(folder: &Path) -> PathBuf {
    let clip = folder.join("noise.mp4");
    let mut ffmpeg = std::process::Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "320x180", "-r", "25"]);
    ffmpeg.args(["-i", "/dev/urandom", "-t", "4", "-c:v", "libx264", "-preset", "ultrafast", "-qp", "22"]);
    ffmpeg.args(["-g", "25", "-bf", "0"]).arg(&clip);
    assert!(ffmpeg.status().expect("ffmpeg can be run").success(), "ffmpeg can't make a clip");
    clip
}

#[test]
fn a_spool_that_is_full_and_does_not_drop_refuses_whole_fragments_until_there_is_room() {
    let state = tempfile::tempdir().unwrap();
    let settings = Settings { when_full: WhenFull::StopRecording, ..Settings::from(3 << 20) };
    let spool = Spool::open(state.path(), settings).unwrap();
    let mut scribe = Scribe::waiting(spool.clone());
    (0..10).for_each(|sequence| write(&mut scribe, sequence, 1));
    drop(scribe);
    let counters = spool.counters();
    assert!(counters.stopped && counters.drops.refused_full == 10 - counters.fragments, "{counters:?}");
    assert!((0..counters.fragments).all(|sequence| spool.holds(&key(u32::try_from(sequence).unwrap()))));
    let [run] = &drops::read(&OsDisk, state.path()).unwrap()[..] else { panic!("one run") };
    assert_eq!(
        (run.reason, run.last, run.duration),
        (Reason::RefusedFull, Sequence(9), Duration::from_secs(2 * counters.drops.refused_full))
    );

    (0..2).for_each(|sequence| spool.remove(&spool.release(&key(sequence)).unwrap()));
    let mut scribe = Scribe::waiting(spool.clone());
    write(&mut scribe, 10, 1);
    drop(scribe);
    assert!(spool.holds(&key(10)) && !spool.counters().stopped);
}

#[test]
fn a_full_disk_costs_the_oldest_fragments() {
    let (state, spool) = on_a_full_disk(WhenFull::DropOldest);
    let mut scribe = Scribe::waiting(spool.clone());
    (0..10).for_each(|sequence| write(&mut scribe, sequence, 1));
    drop(scribe);
    let counters = spool.counters();
    assert!(counters.drops.disk_full > 0 && counters.fragments > 1, "{counters:?}");
    assert_eq!(counters.fragments + counters.drops.disk_full, 10);
    let first = u32::try_from(counters.drops.disk_full).unwrap();
    assert!((first..10).all(|sequence| spool.holds(&key(sequence))));
    check_whole(state.path(), &spool);
}

#[test]
fn a_full_disk_costs_the_newest_fragments_where_recording_is_to_stop() {
    let (state, spool) = on_a_full_disk(WhenFull::StopRecording);
    let mut scribe = Scribe::waiting(spool.clone());
    (0..10).for_each(|sequence| write(&mut scribe, sequence, 1));
    drop(scribe);
    let counters = spool.counters();
    assert!(counters.drops.disk_full > 0 && counters.fragments > 1, "{counters:?}");
    assert_eq!(counters.fragments + counters.drops.disk_full, 10);
    assert!((0..u32::try_from(counters.fragments).unwrap()).all(|sequence| spool.holds(&key(sequence))));
    check_whole(state.path(), &spool);
}

/// Room for five fragments and a half.
fn on_a_full_disk(when_full: WhenFull) -> (tempfile::TempDir, Spool) {
    let state = tempfile::tempdir().unwrap();
    let disk = Arc::new(Halting::default());
    let folder = state.path().join("spool/front");
    *disk.gate.room.lock().unwrap() = Some((folder, 11 * (PIECE as u64) / 2));
    let settings = Settings { when_full, ..Settings::from(1 << 30) };
    let spool = Spool::open_on(disk, state.path(), settings).unwrap();
    (state, spool)
}

/// What is there is whole, and what is not is listed.
fn check_whole(state: &Path, spool: &Spool) {
    let mut after = None;
    while let Some((ordinal, entry)) = spool.next(after) {
        assert_eq!(entry.trailer.unwrap().bytes, (PIECE + 5) as u64, "{}", entry.key);
        after = Some(ordinal);
    }
    assert_eq!(files(&state.join("spool/front")).len() as u64, spool.counters().fragments);
    let listed = drops::read(&OsDisk, state).unwrap();
    assert!(listed.iter().all(|run| run.reason == Reason::DiskFull), "{listed:#?}");
    let count: u64 = listed.iter().map(|run| u64::from(run.last.0 - run.first.0) + 1).sum();
    assert_eq!(count, spool.counters().drops.disk_full, "{listed:#?}");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).map(|files| files.map(|file| file.unwrap().path()).collect()).unwrap_or_default()
}

fn write(scribe: &mut Scribe, sequence: u32, pieces: usize) {
    let start = WallTime::from_millis(2000 * i64::from(sequence));
    let start = Start { monotonic: None, wall: start, quality: ClockQuality::Given };
    scribe.begin(key(sequence), start, Bytes::from_static(b"</it>"));
    for _ in 0..pieces {
        scribe.append(Duration::from_secs(1), vec![Bytes::from_static(&[7; PIECE])]);
    }
    scribe.finish(Duration::from_secs(2));
}

fn key(sequence: u32) -> FragmentKey {
    let id = FragmentId { session: SessionId(7), sequence: Sequence(sequence) };
    FragmentKey { stream: "front".parse().unwrap(), id }
}

#[derive(Default)]
struct Gate {
    halted: Mutex<bool>,
    moves: Condvar,
    /// A folder, and how much may lie in it.
    room: Mutex<Option<(PathBuf, u64)>>,
}

/// A disk that can stand still, and be full.
#[derive(Default)]
struct Halting {
    gate: Arc<Gate>,
}

struct HaltingFile {
    file: Arc<dyn File>,
    gate: Arc<Gate>,
    needs_room: bool,
}

impl Halting {
    fn halt(&self, halted: bool) {
        *self.gate.halted.lock().unwrap() = halted;
        self.gate.moves.notify_all();
    }

    fn file(&self, path: &Path, file: io::Result<Arc<dyn File>>) -> io::Result<Arc<dyn File>> {
        // The list of drops is laid out ahead.
        let needs_room = path.extension().is_some_and(|end| end == "frag");
        Ok(Arc::new(HaltingFile { file: file?, gate: self.gate.clone(), needs_room }))
    }
}

impl HaltingFile {
    fn pass(&self) {
        let mut halted = self.gate.halted.lock().unwrap();
        while *halted {
            halted = self.gate.moves.wait(halted).unwrap();
        }
    }

    fn check_room(&self, bytes: usize) -> io::Result<()> {
        let room = self.gate.room.lock().unwrap();
        let Some((folder, most)) = room.as_ref().filter(|_| self.needs_room) else {
            return Ok(());
        };
        let used: u64 = files(folder).iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
        if used + bytes as u64 > *most { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl DiskOver for Halting {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.file(path, OsDisk.create(path))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.file(path, OsDisk.open(path))
    }
    fn open_to_cut(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.file(path, OsDisk.open_to_cut(path))
    }
}

impl FileOver for HaltingFile {
    fn under(&self) -> &dyn File {
        &*self.file
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.pass();
        self.check_room(bytes.len())?;
        self.file.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.pass();
        self.file.sync()
    }
}
