//! One run of the agent's spool on a simulated disk: random work of a recorder and an uplink, a cut, and what must be
//! true afterwards.
//!
//! The model is what the spool said. A fragment that it calls whole, because it was finished, or ended early, or found
//! at the start, is on disk: there after every cut, once, with these bytes, until it is released, rejected or dropped
//! for want of room. One that was still being captured is there as its first chunks and a proper end, or not at all;
//! if the process ended and the power stayed, with every chunk whose writing was answered. What left may come back
//! at the next opening, since the server knows what it has, and at no later one. All come in the order of capture.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use disk::Disk as _;
use fastrand::Rng;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId, StreamName, WallTime};
use spool::{Entry, ReadError, Spool, Start, Writer};
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
            Self::Wrong(what) => f.write_str(what),
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
const CLOSING: Bytes = Bytes::from_static(b"</fragment>");

struct Run<'a> {
    plan: &'a Plan,
    rng: Rng,
    disk: VirtualDisk,
    /// The spool's size.
    bytes_max: u64,
    fragments: BTreeMap<FragmentKey, Known>,
    outcome: Outcome,
}

/// A fragment as those know it who captured it.
struct Known {
    /// Its place in the order of capture.
    place: u64,
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
        let bytes_max = [60_000, 400_000, 1 << 30][rng.usize(..3)];
        let outcome = Outcome {
            log: Log::default(),
            finished: 0,
            recovered: 0,
            ended_early: 0,
            cuts: 0,
            kills: 0,
            violation: None,
        };
        let disk = VirtualDisk::new(plan.seed ^ 0x7370_6f6f);
        Self { plan, rng, disk, bytes_max, fragments: BTreeMap::new(), outcome }
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
            capacity: (self.plan.full_disk && self.rng.bool()).then(|| self.rng.u64(20_000..300_000)),
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
            self.fragments.values_mut().for_each(|known| known.answered = 0);
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
        let opened = made.and_then(|()| self.during(Operation::Open, || Spool::open_on(disk, state, self.bytes_max)));
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
                Ok((entry, payload)) => self.note_whole(&entry, payload, failed_syncs)?,
                Err(_) if self.disk.is_off() => return Ok(()),
                Err(error) => return Err(Violation::Changed(entry.key.to_string(), error.to_string())),
            }
        }
        if self.disk.is_off() {
            return Ok(());
        }
        if self.disk.failed_syncs() == 0 {
            for (key, known) in &mut self.fragments {
                if known.knowledge == Knowledge::Gone && !bench.spool.holds(key) {
                    known.knowledge = Knowledge::Past;
                }
            }
        }
        self.check_held(bench)
    }

    /// A fragment is called whole: it is what was captured, and it is promised if all syncs since then were good.
    fn note_whole(&mut self, entry: &Entry, payload: Vec<u8>, failed_syncs: u64) -> Result<(), Violation> {
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
        if self.disk.failed_syncs() == failed_syncs {
            known.knowledge = Knowledge::Whole(payload);
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
        let stream: StreamName = STREAMS[self.rng.usize(..STREAMS.len())].parse().expect("a good name");
        match self.rng.u8(..16) {
            0..=7 => self.capture(bench, &stream),
            8..=10 => self.finish(bench, &stream),
            11 => self.abandon(bench, &stream),
            12 | 13 => self.release(bench),
            14 => self.reject(bench),
            _ => self.read_one(bench),
        }?;
        self.check_held(bench)
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
        match writer.append(elapsed, &[chunk.slice(..half), chunk.slice(half..)]) {
            Ok(()) => {
                known.answered += 1;
                Ok(())
            }
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
        let start = Start { monotonic: None, wall, quality: ClockQuality::Unsynchronised };
        let (before, dropped) = (bench.spool.counters(), self.to_be_dropped(bench));
        let created = self.during(Operation::Create, || bench.spool.create(key.clone(), start, CLOSING));
        let after = bench.spool.counters();
        if after.dropped - before.dropped != dropped.len() as u64 {
            return Err(Violation::Wrong(format!("{} were to be dropped: {before:?}, then {after:?}", dropped.len())));
        }
        for key in dropped {
            self.fragments.get_mut(&key).expect("it is held").knowledge = Knowledge::Gone;
            if bench.spool.holds(&key) {
                return Err(Violation::Wrong(format!("{key} was to be dropped")));
            }
        }
        match created {
            Ok(writer) => {
                bench.writers.insert(stream.clone(), writer);
                bench.open.insert(stream.clone(), key.clone());
            }
            Err(_) if self.is_faulty() => self.check_nothing_is_left(&key)?,
            Err(error) => return Err(Violation::Wrong(format!("{key} can't be begun: {error}"))),
        }
        let known = Known { place, chunks: Vec::new(), answered: 0, knowledge: Knowledge::Begun };
        self.fragments.insert(key, known);
        Ok(())
    }

    /// A disk without room must not gather files of fragments that could not be begun.
    fn check_nothing_is_left(&self, key: &FragmentKey) -> Result<(), Violation> {
        let path = Path::new(STATE).join("spool").join(key.stream.as_str()).join(format!("{}.frag", key.id));
        match self.disk.file_bytes(&path) {
            Ok(_) => Err(Violation::Wrong(format!("{key} could not be begun and left a file"))),
            Err(_) => Ok(()),
        }
    }

    /// The oldest whole fragments that have to make room.
    fn to_be_dropped(&self, bench: &Bench) -> Vec<FragmentKey> {
        let mut bytes = bench.spool.counters().bytes;
        let mut dropped = Vec::new();
        for entry in entries(&bench.spool).into_iter().filter(|entry| entry.trailer.is_some()) {
            if bytes <= self.bytes_max {
                break;
            }
            bytes -= entry.file_bytes;
            dropped.push(entry.key);
        }
        dropped
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
        match self.during(Operation::Finish, || writer.finish(duration)) {
            Ok(_) => {
                self.outcome.finished += 1;
                let known = self.fragments.get_mut(&key).expect("it was begun");
                known.knowledge = Knowledge::Whole(known.payload());
                self.look_at(bench, &key, failed_syncs)
            }
            // It was then ended early.
            Err(_) if self.is_faulty() => self.look_at(bench, &key, failed_syncs),
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
        self.look_at(bench, key, failed_syncs)
    }

    /// Looks at a fragment that was just ended.
    fn look_at(&mut self, bench: &Bench, key: &FragmentKey, failed_syncs: u64) -> Result<(), Violation> {
        let Some(entry) = find(&bench.spool, key).filter(|_| !self.disk.is_off()) else {
            return Ok(());
        };
        match read(&bench.spool, &entry) {
            Ok(payload) => self.note_whole(&entry, payload, failed_syncs),
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
