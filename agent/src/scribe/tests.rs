//! A scribe before a disk that stands still, and one that is full.

use std::io;
use std::path::Path;

use disk::{Disk, File, OsDisk};
use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};
use spool::drops::{self, Run};
use spool::{Settings, WhenFull};

use super::*;

const PIECE: usize = 1 << 20;

#[test]
fn what_a_quick_disk_takes_is_all_there() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), 1 << 30).unwrap();
    let mut scribe = Scribe::hurried(spool.clone());
    (0..3).for_each(|sequence| write(&mut scribe, sequence, 1));
    drop(scribe);
    assert_eq!((spool.counters().spooled, spool.counters().dropped), (3, 0));
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
    let Desk::There { queue, .. } = &scribe.desk else { panic!("it has a thread") };
    assert!(queue.bytes() <= limits::SCRIBE_BYTES_MAX + PIECE, "{} bytes wait", queue.bytes());
    assert!(queue.lock().orders.len() < 30, "drops that follow each other wait as one");
    disk.halt(false);
    while !queue.is_empty() {
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

#[test]
fn a_spool_that_is_full_and_does_not_drop_refuses_whole_fragments_until_there_is_room() {
    let state = tempfile::tempdir().unwrap();
    let settings = Settings { when_full: WhenFull::StopRecording, ..Settings::from(3 << 20) };
    let spool = Spool::open(state.path(), settings).unwrap();
    let mut scribe = Scribe::hurried(spool.clone());
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
    let mut scribe = Scribe::hurried(spool.clone());
    write(&mut scribe, 10, 1);
    drop(scribe);
    assert!(spool.holds(&key(10)) && !spool.counters().stopped);
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

/// A disk that can stand still.
#[derive(Default)]
struct Halting {
    gate: Arc<(Mutex<bool>, Condvar)>,
}

struct HaltingFile {
    file: Arc<dyn File>,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Halting {
    fn halt(&self, halted: bool) {
        *self.gate.0.lock().unwrap() = halted;
        self.gate.1.notify_all();
    }

    fn file(&self, file: io::Result<Arc<dyn File>>) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(HaltingFile { file: file?, gate: self.gate.clone() }))
    }
}

impl HaltingFile {
    fn pass(&self) {
        let mut halted = self.gate.0.lock().unwrap();
        while *halted {
            halted = self.gate.1.wait(halted).unwrap();
        }
    }
}

impl Disk for Halting {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_folder(path)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.file(OsDisk.create(path))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.file(OsDisk.open(path))
    }
    fn open_to_cut(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.file(OsDisk.open_to_cut(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(folder)
    }
    fn file_bytes(&self, path: &Path) -> io::Result<u64> {
        OsDisk.file_bytes(path)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        OsDisk.sync_folder(folder)
    }
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        OsDisk.free_bytes(path)
    }
}

impl File for HaltingFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(out, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.pass();
        self.file.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.pass();
        self.file.sync()
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn lay_out(&self, from: u64, bytes: u64) -> io::Result<()> {
        self.file.lay_out(from, bytes)
    }
    fn written_end(&self) -> io::Result<u64> {
        self.file.written_end()
    }
}
