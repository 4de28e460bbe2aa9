//! One run of the agent's spool on a simulated disk: random work of a recorder and an uplink, a cut, and what must be
//! true afterwards.
//!
//! The model is what the spool said. A fragment that it calls whole, because it was finished, or ended early, or found
//! at the start, is on disk: there after every cut, once, with these bytes, until it is released, rejected or dropped.
//! Where syncs are made at intervals, that holds of what was finished longer ago than one, and of what was finished since as of what is being captured.
//! Whatever is dropped is counted and listed, is the oldest, and had to go by the settings, which are drawn for each run.
//! What the server has may stay, and is never offered again. One that was still being captured is there as its first chunks and a proper end, or not at all;
//! if the process ended and the power stayed, with every chunk whose writing was answered. What left may come back
//! at the next opening, since the server knows what it has, and at no later one. All come in the order of capture.

mod checks;
mod known;
mod outcome;
mod plan;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use disk::Disk as _;
use fastrand::Rng;
use fragment::{BootId, ClockQuality, FragmentId, MonotonicTime, Sequence, SessionId, StreamName, WallTime};
use spool::{Entry, Now, ReadError, Reader, Settings, Spool, Start, SyncTime, WhenFull, Writer};
use upload::FragmentKey;

use crate::disk::{Faults, VirtualDisk};
use crate::log::Log;
use known::{Knowledge, Known};

pub use outcome::{Outcome, Violation};
pub use plan::{Operation, Plan, Sync};

/// Runs a plan.
pub fn run(plan: &Plan) -> Outcome {
    let mut run = Run::new(plan);
    let violation = run.work().err();
    if let Some(violation) = &violation {
        run.disk.note(format!("VIOLATION: {violation}"));
    }
    Outcome { log: run.disk.log(), violation, ..run.outcome }
}

const STATE: &str = "state";
const STREAMS: [&str; 3] = ["front", "back", "yard"];
const INTERVAL: Duration = Duration::from_secs(5);
/// Between two looks of the spool at most.
const ROUND_SECONDS_MAX: u64 = 3;
const CLOSING: Bytes = Bytes::from_static(b"</fragment>");

struct Run<'a> {
    plan: &'a Plan,
    rng: Rng,
    disk: VirtualDisk,
    settings: Settings,
    /// Counts power cuts.
    boot: u128,
    /// Since the boot, and since the run began.
    seconds: u64,
    total_seconds: u64,
    /// Drops of which the line was synced.
    listed: Vec<FragmentKey>,
    /// Drops of which it may still be in memory.
    listed_in_memory: Vec<FragmentKey>,
    fragments: BTreeMap<FragmentKey, Known>,
    outcome: Outcome,
}

/// An open spool, and what is being captured.
struct Bench {
    spool: Spool,
    writers: BTreeMap<StreamName, Writer>,
    open: BTreeMap<StreamName, FragmentKey>,
    /// Who reads along while it is captured, and how far they are.
    along: BTreeMap<FragmentKey, (Reader, usize)>,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan) -> Self {
        let mut rng = Rng::with_seed(plan.seed);
        let settings = Settings {
            bytes_max: [60_000, 400_000, 1 << 30][rng.usize(..3)],
            age_max: [None, None, Some(Duration::from_secs(90))][rng.usize(..3)],
            when_full: [WhenFull::DropOldest, WhenFull::DropOldest, WhenFull::StopRecording][rng.usize(..3)],
            sync: [SyncTime::Fragment, SyncTime::Interval(INTERVAL)][rng.usize(..2)],
            keep: [None, Some(Duration::from_secs(40))][rng.usize(..2)],
        };
        let outcome = Outcome {
            log: Log::default(),
            finished: 0,
            recovered: 0,
            ended_early: 0,
            cuts: 0,
            kills: 0,
            dropped: 0,
            refused: 0,
            synced_later: 0,
            violation: None,
        };
        let disk = VirtualDisk::new(plan.seed ^ 0x7370_6f6f);
        Self {
            plan,
            rng,
            disk,
            settings,
            boot: 0,
            seconds: 0,
            total_seconds: 0,
            listed: Vec::new(),
            listed_in_memory: Vec::new(),
            fragments: BTreeMap::new(),
            outcome,
        }
    }

    fn work(&mut self) -> Result<(), Violation> {
        for _ in 0..self.plan.cuts {
            self.begin_faults();
            // The power may go while the spool is being opened, which must do no harm either.
            if let Some(mut bench) = self.open()? {
                for _ in 0..self.plan.rounds {
                    if self.disk.is_off() {
                        break;
                    }
                    self.round(&mut bench)?;
                }
                self.stop(bench)?;
            }
            self.end_life();
        }
        self.open()?.map(drop).ok_or_else(|| Violation::Closed("without any fault".to_owned()))
    }

    fn begin_faults(&mut self) {
        let steps = self.disk.steps();
        // A round takes some two steps.
        let within = u64::from(self.plan.rounds) * 2 + 20;
        self.disk.set_faults(Faults {
            cut_at: Some(steps + self.rng.u64(..within)),
            fail_sync_at: (self.plan.failing_syncs && self.rng.bool()).then(|| steps + self.rng.u64(..within)),
            ignore_syncs_of: None,
            capacity: (self.plan.full_disk && self.rng.bool()).then(|| drops_bytes() + self.rng.u64(20_000..300_000)),
            // Two for the list of drops.
            files_max: (self.plan.full_disk && self.rng.bool()).then(|| 2 + self.rng.usize(4..24)),
            // The spool looks at no clock.
            step_takes: Duration::ZERO,
        });
    }

    /// Some stop in order, and end what they capture.
    fn stop(&mut self, mut bench: Bench) -> Result<(), Violation> {
        if self.rng.bool() {
            for stream in bench.writers.keys().cloned().collect::<Vec<_>>() {
                self.abandon(&mut bench, &stream)?;
            }
        }
        Ok(())
    }

    fn end_life(&mut self) {
        let at_work = u32::from(self.disk.is_off());
        self.disk.cut();
        if self.plan.restarts && self.rng.bool() {
            self.outcome.kills += at_work;
            self.disk.restart();
        } else {
            self.outcome.cuts += at_work;
            self.disk.cycle_power();
            self.boot += 1;
            self.seconds = 0;
            self.listed_in_memory.clear();
            for known in self.fragments.values_mut() {
                known.answered = 0;
                known.forget_what_waits();
            }
        }
    }

    /// Lets the sync that the plan leaves out do nothing meanwhile.
    fn during<T>(&self, operation: Operation, work: impl FnOnce() -> T) -> T {
        let without = self.plan.without.filter(|sync| sync.during == operation);
        self.disk.ignore_syncs_of(without.map(|sync| sync.of));
        let done = work();
        self.disk.ignore_syncs_of(None);
        done
    }

    fn is_faulty(&self) -> bool {
        self.disk.is_off() || self.plan.failing_syncs || self.plan.full_disk
    }

    /// An open spool that was held against the model, or none if the disk does not let it.
    fn open(&mut self) -> Result<Option<Bench>, Violation> {
        let failed_syncs = self.disk.failed_syncs();
        let disk = Arc::new(self.disk.clone());
        let state = Path::new(STATE);
        // Whose state folder it is makes it first.
        let made = disk.create_folder(state);
        let opened = made.and_then(|()| self.during(Operation::Open, || Spool::open_on(disk, state, self.settings)));
        let spool = match opened {
            Ok(spool) => spool,
            Err(_) if self.is_faulty() => return Ok(None),
            Err(error) => return Err(Violation::Closed(error.to_string())),
        };
        let bench = Bench { spool, writers: BTreeMap::new(), open: BTreeMap::new(), along: BTreeMap::new() };
        self.check_found(&bench, failed_syncs)?;
        Ok(Some(bench))
    }

    fn round(&mut self, bench: &mut Bench) -> Result<(), Violation> {
        let passed = self.rng.u64(1..=ROUND_SECONDS_MAX);
        self.seconds += passed;
        self.total_seconds += passed;
        let stream: StreamName = STREAMS[self.rng.usize(..STREAMS.len())].parse().expect("a good name");
        match self.rng.u8(..16) {
            0..=7 => self.capture(bench, &stream),
            8..=10 => self.finish(bench, &stream),
            11 => self.abandon(bench, &stream),
            12 | 13 => self.release(bench),
            14 => self.reject(bench),
            _ => self.read_one(bench),
        }?;
        self.tend(bench)?;
        self.check_held(bench)
    }

    fn now(&self) -> MonotonicTime {
        MonotonicTime { boot: BootId(self.boot), since_boot: Duration::from_secs(self.seconds) }
    }

    fn tend(&mut self, bench: &Bench) -> Result<(), Violation> {
        let (held, before) = (entries(&bench.spool), bench.spool.counters());
        let failed_syncs = self.disk.failed_syncs();
        let now = Now { monotonic: self.now(), wall: None };
        self.during(Operation::Tend, || bench.spool.tend(now));
        self.note_dropped(bench, &held, before)?;
        if self.disk.is_off() || self.disk.failed_syncs() > failed_syncs {
            // A sync that failed is not made again: what it was for is in memory, and not promised.
            self.fragments.values_mut().for_each(Known::forget_what_waits);
            return Ok(());
        }
        // It is seen to wait at the next look, and synced at the first one an interval after that.
        let synced = self.total_seconds.saturating_sub(INTERVAL.as_secs() + 2 * ROUND_SECONDS_MAX);
        for known in self.fragments.values_mut() {
            if let Knowledge::Waits(payload, finished) = &known.knowledge
                && *finished <= synced
                && known.failed_syncs == self.disk.failed_syncs()
            {
                known.knowledge = Knowledge::Whole(payload.clone());
                self.outcome.synced_later += 1;
            }
        }
        Ok(())
    }

    /// One more chunk of what is being captured, or the first of a new fragment.
    fn capture(&mut self, bench: &mut Bench, stream: &StreamName) -> Result<(), Violation> {
        if !bench.writers.contains_key(stream) {
            self.create(bench, stream)?;
        }
        let (Some(writer), Some(key)) = (bench.writers.get_mut(stream), bench.open.get(stream)) else {
            return Ok(());
        };
        let known = self.fragments.get_mut(key).expect("it was begun");
        // Also as long as what ends a fragment, and as the record of it.
        let mut chunk = vec![0; [1, CLOSING.len(), 28, 300, 4000, 9000, 20_000][self.rng.usize(..7)]];
        self.rng.fill(&mut chunk);
        let chunk = Bytes::from(chunk);
        let elapsed = Duration::from_millis(40 * (known.chunks.len() as u64 + 1));
        known.chunks.push((chunk.clone(), elapsed));
        let half = self.rng.usize(..=chunk.len());
        let (held, before) = (entries(&bench.spool), bench.spool.counters());
        let appended = writer.append(elapsed, &[chunk.slice(..half), chunk.slice(half..)]);
        known.answered += usize::from(appended.is_ok());
        let key = key.clone();
        self.note_dropped(bench, &held, before)?;
        match appended {
            Ok(()) => Ok(()),
            // What a recorder does then.
            Err(_) if self.is_faulty() => self.abandon(bench, stream),
            Err(error) => Err(Violation::Wrong(format!("{key} can't be appended to: {error}"))),
        }
    }

    fn create(&mut self, bench: &mut Bench, stream: &StreamName) -> Result<(), Violation> {
        let place = self.fragments.len() as u64;
        let id = FragmentId { session: SessionId(self.rng.u64(..)), sequence: Sequence(self.rng.u32(..)) };
        let key = FragmentKey { stream: stream.clone(), id };
        // Devices have wrong clocks.
        let wall = WallTime::from_millis(self.rng.i64(0..1_000_000));
        let start = Start { monotonic: Some(self.now()), wall, quality: ClockQuality::Unsynchronised };
        let (held, before) = (entries(&bench.spool), bench.spool.counters());
        let created = self.during(Operation::Create, || bench.spool.create(key.clone(), start, CLOSING));
        self.note_dropped(bench, &held, before)?;
        let is_full = before.bytes > self.settings.bytes_max && self.settings.when_full == WhenFull::StopRecording;
        match created {
            Ok(_) if is_full => return Err(Violation::Wrong(format!("{key} was begun in a full spool"))),
            Ok(writer) => {
                bench.writers.insert(stream.clone(), writer);
                bench.open.insert(stream.clone(), key.clone());
            }
            Err(_) if is_full => {
                self.outcome.refused += 1;
                self.check_nothing_is_left(&key)?;
            }
            Err(_) if self.is_faulty() => self.check_nothing_is_left(&key)?,
            Err(error) => return Err(Violation::Wrong(format!("{key} can't be begun: {error}"))),
        }
        let known = Known {
            place,
            began: self.total_seconds,
            failed_syncs: self.disk.failed_syncs(),
            chunks: Vec::new(),
            answered: 0,
            knowledge: Knowledge::Begun,
        };
        self.fragments.insert(key, known);
        Ok(())
    }

    fn finish(&mut self, bench: &mut Bench, stream: &StreamName) -> Result<(), Violation> {
        let (Some(writer), Some(key)) = (bench.writers.remove(stream), bench.open.remove(stream)) else {
            return Ok(());
        };
        let failed_syncs = self.disk.failed_syncs();
        let known = &self.fragments[&key];
        // A recorder finishes what has a unit, and in the time of its last one.
        let Some(duration) = known.chunks.last().map(|(_, elapsed)| *elapsed) else {
            return self.end_early(bench, writer, &key);
        };
        let (held, before) = (entries(&bench.spool), bench.spool.counters());
        let finished = self.during(Operation::Finish, || writer.finish(duration));
        self.note_dropped(bench, &held, before)?;
        match finished {
            Ok(_) => {
                self.outcome.finished += 1;
                let known = self.fragments.get_mut(&key).expect("it was begun");
                if self.settings.sync != SyncTime::Fragment {
                    known.knowledge = Knowledge::Waits(known.payload(), self.total_seconds);
                    return self.look_at(bench, &key, None);
                }
                known.knowledge = Knowledge::Whole(known.payload());
                // What was listed before is on disk with it, unless the power went in the last step.
                if !self.disk.is_off() {
                    self.listed.append(&mut self.listed_in_memory);
                }
                self.look_at(bench, &key, Some(failed_syncs))
            }
            // It was then ended early, or is not there.
            Err(_) if self.is_faulty() => {
                let failed_syncs = self.fragments[&key].failed_syncs;
                self.look_at(bench, &key, Some(failed_syncs))
            }
            Err(error) => Err(Violation::Wrong(format!("{key} can't be finished: {error}"))),
        }
    }

    /// Ends a fragment without its end, as when a camera is lost.
    fn abandon(&mut self, bench: &mut Bench, stream: &StreamName) -> Result<(), Violation> {
        match (bench.writers.remove(stream), bench.open.remove(stream)) {
            (Some(writer), Some(key)) => self.end_early(bench, writer, &key),
            _ => Ok(()),
        }
    }

    fn end_early(&mut self, bench: &Bench, writer: Writer, key: &FragmentKey) -> Result<(), Violation> {
        let failed_syncs = self.fragments[key].failed_syncs;
        self.during(Operation::Repair, || drop(writer));
        self.look_at(bench, key, Some(failed_syncs))
    }

    /// The server has one.
    fn release(&mut self, bench: &Bench) -> Result<(), Violation> {
        let Some(key) = self.any_whole(bench) else {
            return Ok(());
        };
        self.fragments.get_mut(&key).expect("it is held").knowledge = Knowledge::Gone;
        match bench.spool.release(&key) {
            Some(path) => bench.spool.remove(&path),
            None => return Err(Violation::Wrong(format!("{key} can't be released"))),
        }
        Ok(())
    }

    /// The server will never take one.
    fn reject(&mut self, bench: &Bench) -> Result<(), Violation> {
        let Some(key) = self.any_whole(bench) else {
            return Ok(());
        };
        self.fragments.get_mut(&key).expect("it is held").knowledge = Knowledge::Gone;
        match bench.spool.reject(&key) {
            Err(error) if !self.is_faulty() => Err(Violation::Wrong(format!("{key} can't be set aside: {error}"))),
            _ => Ok(()),
        }
    }

    fn any_whole(&mut self, bench: &Bench) -> Option<FragmentKey> {
        let mut whole: Vec<_> = entries(&bench.spool).into_iter().filter(|entry| entry.trailer.is_some()).collect();
        (!whole.is_empty()).then(|| whole.swap_remove(self.rng.usize(..whole.len())).key)
    }

    /// Reads one, also while it is being captured.
    fn read_one(&mut self, bench: &mut Bench) -> Result<(), Violation> {
        let held = entries(&bench.spool);
        if held.is_empty() {
            return Ok(());
        }
        let entry = &held[self.rng.usize(..held.len())];
        let known = &self.fragments[&entry.key];
        let changed = |how: &str| Err(Violation::Changed(entry.key.to_string(), how.to_owned()));
        match read(&bench.spool, entry) {
            Ok(payload) if entry.trailer.is_none() && !known.payload().starts_with(&payload) => {
                changed("it is not what was captured so far")
            }
            Ok(payload) if entry.trailer.is_some() && known.chunks_in(&payload).is_none() => {
                changed("it is not the first of its chunks and their end")
            }
            Err(error) if !self.disk.is_off() => changed(&error.to_string()),
            _ => self.read_along(bench, entry),
        }
    }

    /// Reads what one has gained since this was done last.
    fn read_along(&self, bench: &mut Bench, entry: &Entry) -> Result<(), Violation> {
        let along = bench.along.remove(&entry.key).map(Ok);
        let along = along.unwrap_or_else(|| bench.spool.read(&entry.key).map(|reader| (reader, 0)));
        let changed = |how: &str| Err(Violation::Changed(entry.key.to_string(), how.to_owned()));
        let bytes = usize::try_from(entry.bytes).expect("fragments of a simulation are small");
        let read = along.and_then(|(mut reader, at)| {
            let gained: Vec<u8> = reader.read(bytes.saturating_sub(at))?.into_iter().flatten().collect();
            Ok((reader, at, gained))
        });
        match read {
            Ok((reader, at, gained)) => {
                let whole = self.fragments[&entry.key].payload();
                if entry.trailer.is_none() && !whole[at..].starts_with(&gained) {
                    return changed("who reads along has something else");
                }
                bench.along.insert(entry.key.clone(), (reader, bytes));
                Ok(())
            }
            Err(error) if !self.disk.is_off() => changed(&error.to_string()),
            Err(_) => Ok(()),
        }
    }
}

/// The file of a fragment that waits.
fn path_of(key: &FragmentKey) -> PathBuf {
    Path::new(STATE).join("spool").join(key.stream.as_str()).join(format!("{}.frag", key.id))
}

/// The list of drops is laid out ahead.
fn drops_bytes() -> u64 {
    spool::limits::DROPS_BYTES_MAX
}

/// What the spool holds, in its order.
fn entries(spool: &Spool) -> Vec<Entry> {
    let (mut entries, mut after) = (Vec::new(), None);
    while let Some((ordinal, entry)) = spool.next(after) {
        entries.push(entry);
        after = Some(ordinal);
    }
    entries
}

fn find(spool: &Spool, key: &FragmentKey) -> Option<Entry> {
    entries(spool).into_iter().find(|entry| entry.key == *key)
}

fn read(spool: &Spool, entry: &Entry) -> Result<Vec<u8>, ReadError> {
    let bytes = usize::try_from(entry.bytes).expect("fragments of a simulation are small");
    Ok(spool.read(&entry.key)?.read(bytes)?.into_iter().flatten().collect())
}
