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

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use disk::Disk as _;
use fastrand::Rng;
use fragment::{BootId, ClockQuality, FragmentId, MonotonicTime, Sequence, SessionId, StreamName, WallTime};
use spool::{Counters, Entry, Now, ReadError, Settings, Spool, Start, SyncTime, WhenFull, Writer, drops};
use upload::{FragmentKey, Trailer};

use crate::disk::{Faults, VirtualDisk};
use crate::log::Log;

/// What a run does.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Decides everything that is left open.
    pub seed: u64,
    /// Cuts in the run.
    pub cuts: u32,
    /// Rounds of work between two cuts, which happen within them.
    pub rounds: u32,
    /// Half of the cuts end the process only, and the power stays.
    pub restarts: bool,
    /// Some syncs fail.
    pub failing_syncs: bool,
    /// The disk is full at times.
    pub full_disk: bool,
    /// One sync of the spool's is skipped: a run that finds nothing wrong then proves nothing.
    pub without: Option<Sync>,
}

/// A sync that the spool makes.
#[derive(Clone, Copy, Debug)]
pub struct Sync {
    /// How the path ends of what it syncs.
    pub of: &'static str,
    /// What makes it.
    pub during: Operation,
}

/// What the spool does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is opened, and recovers what it finds.
    Open,
    /// A fragment is begun.
    Create,
    /// A fragment is finished.
    Finish,
    /// A fragment is ended early, or because it is damaged.
    Repair,
    /// Time passes: what is too old goes, what is due is synced.
    Tend,
}

/// What a run found.
#[derive(Debug)]
pub struct Outcome {
    /// Everything that the disk did.
    pub log: Log,
    /// Fragments that were finished.
    pub finished: u64,
    /// Fragments that were found in the spool at its opening.
    pub recovered: u64,
    /// Those of them that were still being captured when the process or the power went.
    pub ended_early: u64,
    /// Power cuts that happened while work was under way.
    pub cuts: u32,
    /// Ends of the process alone that did.
    pub kills: u32,
    /// Fragments that were dropped by the settings, and listed.
    pub dropped: u64,
    /// Fragments that were refused because the spool was full.
    pub refused: u64,
    /// Fragments that were finished, waited, and were synced with others.
    pub synced_later: u64,
    /// What is wrong, if anything is.
    pub violation: Option<Violation>,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A fragment that was on disk is not there.
    Lost(String),
    /// A fragment has other bytes than it must have, or can't be read.
    Changed(String, String),
    /// A fragment that nobody captured.
    Unexpected(String),
    /// A fragment that had left at an opening came back at a later one.
    Back(String),
    /// A fragment does not come in the order of capture.
    Order(String),
    /// The spool does not open.
    Closed(String),
    /// A drop is missing in the list.
    Unlisted(String),
    /// Something worked that must not, or the other way round.
    Wrong(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(key) => write!(f, "{key} was on disk and is lost"),
            Self::Changed(key, how) => write!(f, "{key} is not what was captured: {how}"),
            Self::Unexpected(key) => write!(f, "{key} is there and was never captured"),
            Self::Back(key) => write!(f, "{key} had left and is back"),
            Self::Order(key) => write!(f, "{key} does not come in the order of capture"),
            Self::Closed(why) => write!(f, "the spool does not open: {why}"),
            Self::Unlisted(what) | Self::Wrong(what) => f.write_str(what),
        }
    }
}

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

/// A fragment as those know it who captured it.
struct Known {
    /// Its place in the order of capture.
    place: u64,
    /// When it began, by the time that the run has taken.
    began: u64,
    /// What was given to the spool, whether it took it or not, and how long the fragment plays with it.
    chunks: Vec<(Bytes, Duration)>,
    /// How many of these are to be there because their writing was answered and the power has stayed since.
    answered: usize,
    knowledge: Knowledge,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Knowledge {
    /// It was begun: there, whole or ended early, or not.
    Begun,
    /// The spool called it whole, with these bytes.
    Whole(Vec<u8>),
    /// It was finished at that second, and waits to be synced with others.
    Waits(Vec<u8>, u64),
    /// It left the spool: there or not.
    Gone,
    /// It had left at an opening: not there any more.
    Past,
}

/// An open spool, and what is being captured.
struct Bench {
    spool: Spool,
    writers: BTreeMap<StreamName, Writer>,
    open: BTreeMap<StreamName, FragmentKey>,
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
        let bench = Bench { spool, writers: BTreeMap::new(), open: BTreeMap::new() };
        self.check_found(&bench, failed_syncs)?;
        Ok(Some(bench))
    }

    /// Holds all that was found at an opening against the model. It is on disk from then on.
    fn check_found(&mut self, bench: &Bench, failed_syncs: u64) -> Result<(), Violation> {
        for entry in entries(&bench.spool) {
            self.outcome.recovered += 1;
            if entry.trailer.is_none() {
                return Err(Violation::Wrong(format!("{} was found and has no end", entry.key)));
            }
            let Some(known) = self.fragments.get(&entry.key) else {
                return Err(Violation::Unexpected(entry.key.to_string()));
            };
            if known.knowledge == Knowledge::Past {
                return Err(Violation::Back(entry.key.to_string()));
            }
            let is_promised = matches!(known.knowledge, Knowledge::Whole(_));
            let read = match read(&bench.spool, &entry) {
                // Its middle did not reach the disk, and its end did. Whoever sends it finds out.
                Err(ReadError::Damaged(_)) if !is_promised => {
                    self.during(Operation::Repair, || bench.spool.repair(&entry.key));
                    match find(&bench.spool, &entry.key) {
                        Some(entry) => read(&bench.spool, &entry).map(|payload| (entry, payload)),
                        None => continue,
                    }
                }
                read => read.map(|payload| (entry.clone(), payload)),
            };
            match read {
                Ok((entry, payload)) => self.note_whole(&entry, payload, Some(failed_syncs))?,
                Err(_) if self.disk.is_off() => return Ok(()),
                Err(error) => return Err(Violation::Changed(entry.key.to_string(), error.to_string())),
            }
        }
        if self.disk.is_off() {
            return Ok(());
        }
        self.check_listed(&self.listed, None)?;
        if self.disk.failed_syncs() == 0 {
            for (key, known) in &mut self.fragments {
                // One that is back, torn, and could not be ended on a full disk is looked at again at the next opening.
                let is_torn = self.plan.full_disk && self.disk.file_bytes(&path_of(key)).is_ok();
                if known.knowledge == Knowledge::Gone && !bench.spool.holds(key) && !is_torn {
                    known.knowledge = Knowledge::Past;
                }
            }
        }
        self.check_held(bench)
    }

    /// A fragment is called whole: it is what was captured. It is promised if it was synced, and all syncs since then
    /// were good; without a number of failed ones it waits for that.
    fn note_whole(&mut self, entry: &Entry, payload: Vec<u8>, synced: Option<u64>) -> Result<(), Violation> {
        let known = self.fragments.get_mut(&entry.key).expect("looked at before");
        let changed = |how: &str| Err(Violation::Changed(entry.key.to_string(), how.to_owned()));
        let Some(count) = known.chunks_in(&payload) else {
            return changed("it is not the first of its chunks and their end");
        };
        if count < known.answered {
            return changed(&format!("{count} chunks are there and {} were answered", known.answered));
        }
        let trailer = Trailer {
            duration: known.chunks[count - 1].1,
            bytes: payload.len() as u64,
            crc32c: crc32c::crc32c(&payload),
        };
        if entry.trailer != Some(trailer) {
            return changed(&format!("its trailer is {:?} and not {trailer:?}", entry.trailer));
        }
        match &known.knowledge {
            Knowledge::Whole(before) if *before != payload => return changed("it was longer"),
            Knowledge::Begun if count < known.chunks.len() => self.outcome.ended_early += 1,
            _ => {}
        }
        match synced {
            Some(failed_syncs) if self.disk.failed_syncs() == failed_syncs => {
                known.knowledge = Knowledge::Whole(payload);
            }
            Some(_) => {}
            None => known.knowledge = Knowledge::Waits(payload, self.total_seconds),
        }
        Ok(())
    }

    /// Holds the spool's account of itself against the model.
    fn check_held(&self, bench: &Bench) -> Result<(), Violation> {
        if self.disk.is_off() {
            return Ok(());
        }
        let held = entries(&bench.spool);
        for (key, known) in &self.fragments {
            let is_promised = match known.knowledge {
                Knowledge::Whole(_) => true,
                // Nobody took it, and it is there unless the power went.
                Knowledge::Waits(..) => known.answered > 0,
                Knowledge::Begun => known.answered > 0 && !self.is_faulty(),
                Knowledge::Gone | Knowledge::Past => false,
            };
            if is_promised && !held.iter().any(|entry| entry.key == *key) {
                return Err(Violation::Lost(key.to_string()));
            }
        }
        let mut last = None;
        for entry in &held {
            let known = &self.fragments[&entry.key];
            // A disk that forgot a removal has no say in the order.
            if self.plan.failing_syncs && known.knowledge == Knowledge::Gone {
                continue;
            }
            if last.replace(known.place).is_some_and(|last| last >= known.place) {
                return Err(Violation::Order(entry.key.to_string()));
            }
        }
        let counters = bench.spool.counters();
        let bytes: u64 = held.iter().map(|entry| entry.file_bytes).sum();
        if (counters.fragments, counters.bytes) != (held.len() as u64, bytes) {
            return Err(Violation::Wrong(format!(
                "{counters:?} does not count {} fragments of {bytes} bytes",
                held.len()
            )));
        }
        Ok(())
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
            {
                known.knowledge = Knowledge::Whole(payload.clone());
                self.outcome.synced_later += 1;
            }
        }
        Ok(())
    }

    /// Holds what has left against the settings, and against the counters and the list of drops.
    fn note_dropped(&mut self, bench: &Bench, held: &[Entry], before: Counters) -> Result<(), Violation> {
        let after = bench.spool.counters();
        let whole: Vec<&Entry> = held.iter().filter(|entry| entry.trailer.is_some()).collect();
        let gone = whole.iter().filter(|entry| !bench.spool.holds(&entry.key)).count();
        let wrong = |what: &str| Err(Violation::Wrong(format!("{what}: {before:?}, then {after:?}")));
        // With the power gone nothing can be told of the disk, and the spool goes on in memory.
        let (quota, age) = (after.drops.quota - before.drops.quota, after.drops.age - before.drops.age);
        let disk_full = after.drops.disk_full - before.drops.disk_full;
        if gone as u64 != quota + age + disk_full {
            return wrong(&format!("{gone} are gone"));
        }
        if whole.iter().take(gone).any(|entry| bench.spool.holds(&entry.key)) {
            return wrong("others than the oldest are gone");
        }
        if disk_full > 0 && !self.plan.full_disk {
            return wrong("the disk is not full");
        }
        if (quota > 0 || disk_full > 0) && self.settings.when_full == WhenFull::StopRecording {
            return wrong("nothing was to make room");
        }
        if quota > 0 && after.kept > 0 {
            return wrong("what the server has was to go first");
        }
        let others: u64 = whole.iter().take(gone.saturating_sub(1)).map(|entry| entry.file_bytes).sum();
        if quota > 0 && disk_full == 0 && before.bytes - others <= self.settings.bytes_max {
            return wrong("there was room");
        }
        let keys: Vec<_> = whole.iter().take(gone).map(|entry| entry.key.clone()).collect();
        for key in &keys {
            let known = self.fragments.get_mut(key).expect("it is held");
            known.knowledge = Knowledge::Gone;
            if age > 0 && Some(Duration::from_secs(self.total_seconds - known.began)) < self.settings.age_max {
                return wrong("it was not as old as that");
            }
        }
        self.outcome.dropped += gone as u64;
        if !self.is_faulty() {
            self.check_listed(&keys, Some(&bench.spool))?;
        }
        // With the power gone, or the process, its line was not written, nor its file removed.
        if !self.disk.is_off() {
            self.listed_in_memory.extend(keys);
        }
        Ok(())
    }

    /// Whatever was dropped has a line.
    fn check_listed(&self, keys: &[FragmentKey], spool: Option<&Spool>) -> Result<(), Violation> {
        // A disk that is full or forgets may lose lines.
        if keys.is_empty() || self.plan.full_disk || self.plan.failing_syncs {
            return Ok(());
        }
        let runs = drops::read(&self.disk, Path::new(STATE))
            .map_err(|error| Violation::Wrong(format!("the list of drops can't be read: {error}")))?;
        let is_listed = |key: &FragmentKey| {
            runs.iter().any(|run| {
                run.stream == key.stream
                    && run.session == key.id.session
                    && (run.first..=run.last).contains(&key.id.sequence)
            })
        };
        match keys.iter().find(|key| !is_listed(key)) {
            Some(key) => {
                let when = if spool.is_some() { "dropped" } else { "dropped, and synced," };
                Err(Violation::Unlisted(format!("{key} was {when} and is not listed")))
            }
            None => Ok(()),
        }
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
        let known =
            Known { place, began: self.total_seconds, chunks: Vec::new(), answered: 0, knowledge: Knowledge::Begun };
        self.fragments.insert(key, known);
        Ok(())
    }

    /// A disk without room must not gather files of fragments that could not be begun.
    fn check_nothing_is_left(&self, key: &FragmentKey) -> Result<(), Violation> {
        match self.disk.file_bytes(&path_of(key)) {
            Ok(_) => Err(Violation::Wrong(format!("{key} could not be begun and left a file"))),
            Err(_) => Ok(()),
        }
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
            Err(_) if self.is_faulty() => self.look_at(bench, &key, Some(failed_syncs)),
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
        let failed_syncs = self.disk.failed_syncs();
        self.during(Operation::Repair, || drop(writer));
        self.look_at(bench, key, Some(failed_syncs))
    }

    /// Looks at a fragment that was just ended.
    fn look_at(&mut self, bench: &Bench, key: &FragmentKey, synced: Option<u64>) -> Result<(), Violation> {
        let Some(entry) = find(&bench.spool, key).filter(|_| !self.disk.is_off()) else {
            return Ok(());
        };
        match read(&bench.spool, &entry) {
            Ok(payload) => self.note_whole(&entry, payload, synced),
            Err(error) => Err(Violation::Changed(key.to_string(), error.to_string())),
        }
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
    fn read_one(&mut self, bench: &Bench) -> Result<(), Violation> {
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
            _ => Ok(()),
        }
    }
}

impl Known {
    /// What waited to be synced is there, whole or ended early, or not.
    fn forget_what_waits(&mut self) {
        if let Knowledge::Waits(..) = self.knowledge {
            self.knowledge = Knowledge::Begun;
        }
    }

    /// All of it, with its end.
    fn payload(&self) -> Vec<u8> {
        self.chunks.iter().flat_map(|(chunk, _)| chunk).chain(&CLOSING).copied().collect()
    }

    /// Of how many chunks this payload is made, with an end behind them.
    fn chunks_in(&self, payload: &[u8]) -> Option<usize> {
        let media = payload.strip_suffix(&CLOSING[..])?;
        let mut bytes = 0;
        let count = self.chunks.iter().position(|(chunk, _)| {
            bytes += chunk.len();
            bytes == media.len()
        })?;
        self.payload().starts_with(media).then_some(count + 1)
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
