//! One run of a vault on a simulated disk: random work, a cut, and what must be true afterwards.
//!
//! The model is what the callers were told. An entry that was answered is there, with its bytes, exactly once; one
//! that was not answered is there whole or not at all; what was removed stays removed; what was destroyed can't be
//! read. Nothing else may be in the catalog.

mod checks;
mod names;
mod outcome;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use vault::{
    Batch, Catalog as _, Clock, Direction, Domain, Entry, ExpirySlot, Key, KeyRange, Location, OwnerId, Parts, Put,
    PutError, SegmentName, Space, Stepper, Vault,
};

use self::names::{GivenUp, Names};
pub use self::outcome::{Outcome, Violation};
use crate::catalog::JournalCatalog;
use crate::disk::{Faults, VirtualDisk};
use crate::entropy::{SeededEntropy, SeededKeys};
use crate::nonces::{Witness, Written};

/// What a run does.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Decides everything that is left open.
    pub seed: u64,
    /// Power cuts in the run.
    pub cuts: u32,
    /// Rounds of work between two cuts; the power goes within them.
    pub rounds: u32,
    /// Syncs of paths that end so are skipped: a run that finds nothing wrong then proves nothing.
    pub without_syncs_of: Option<&'static str>,
    /// Some syncs fail.
    pub failing_syncs: bool,
    /// The disk is full at times.
    pub full_disk: bool,
    /// Some disks take minutes for a commit: unwrapped keys go in its middle.
    pub slow_disk: bool,
}

/// Runs a plan.
pub fn run(plan: &Plan) -> Outcome {
    let mut run = Run::new(plan);
    let violation = run.work().err();
    let frames = run.written.frames();
    let violation = violation.or(frames.as_ref().err().cloned().map(Violation::Nonce));
    if let Some(violation) = &violation {
        run.disk.note(format!("VIOLATION: {violation}"));
    }
    let frames = frames.unwrap_or_default();
    Outcome { log: run.disk.log(), stored: run.stored, frames, cuts: run.cuts, violation }
}

const FOLDER: &str = "vault";
const OWNERS: u64 = 3;
/// The slot that entries of the run's beginning expire in.
const FIRST_SLOT: u32 = 15_000_000;

struct Run<'a> {
    plan: &'a Plan,
    rng: Rng,
    disk: VirtualDisk,
    /// What was handed to the disk for segments, in the whole run.
    written: Written,
    keys: Arc<SeededKeys>,
    entropy: Arc<SeededEntropy>,
    model: Model,
    /// Entries whose removal was answered, as their owner knows it.
    given_up: GivenUp,
    next_name: u64,
    stored: u64,
    cuts: u32,
}

/// What the callers know.
#[derive(Default)]
struct Model {
    entries: BTreeMap<String, Known>,
    /// The slot that the last sweep began with: what expires earlier may be gone.
    swept: Option<ExpirySlot>,
}

struct Known {
    owner: OwnerId,
    payload: Bytes,
    expiry: ExpirySlot,
    state: Knowledge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    /// It was sent and not answered well: there or not.
    Sent,
    /// It was answered.
    Stored,
    /// Its removal was begun and not answered: there or not.
    Leaving,
    /// Its removal was answered.
    Removed,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            rng: Rng::with_seed(plan.seed),
            disk: VirtualDisk::new(plan.seed ^ 0x6469_736b),
            written: Written::default(),
            keys: Arc::new(SeededKeys::new(plan.seed ^ 0x6b65_7973)),
            entropy: Arc::new(SeededEntropy::new(plan.seed ^ 0x7365_6564)),
            model: Model::default(),
            given_up: GivenUp::default(),
            next_name: 0,
            stored: 0,
            cuts: 0,
        }
    }

    fn work(&mut self) -> Result<(), Violation> {
        for _ in 0..self.plan.cuts {
            self.begin_faults();
            // The power may go while the vault is being opened, which must do no harm either.
            if let Some(mut bench) = self.open()? {
                self.check(&bench, false)?;
                for _ in 0..self.plan.rounds {
                    if self.disk.is_off() {
                        break;
                    }
                    self.round(&mut bench)?;
                }
            }
            self.cuts += u32::from(self.disk.is_off());
            self.disk.cycle_power();
        }
        let bench = self.open()?.ok_or_else(|| Violation::Closed("without any fault".to_owned()))?;
        self.check(&bench, true)
    }

    fn begin_faults(&mut self) {
        let steps = self.disk.steps();
        // A round takes some six steps.
        let within = u64::from(self.plan.rounds) * 6 + 10;
        self.disk.set_faults(Faults {
            cut_at: Some(steps + self.rng.u64(..within)),
            fail_sync_at: (self.plan.failing_syncs && self.rng.bool()).then(|| steps + self.rng.u64(..within)),
            ignore_syncs_of: self.plan.without_syncs_of,
            step_takes: Duration::from_secs(if self.plan.slow_disk { self.rng.u64(..120) } else { 0 }),
            capacity: (self.plan.full_disk && self.rng.bool()).then(|| (128 << 20) + self.rng.u64(..64 << 20)),
            files_max: None,
        });
    }

    /// An open vault, or none if the disk does not let it.
    fn open(&mut self) -> Result<Option<Bench>, Violation> {
        let disk = Arc::new(Witness::new(self.disk.clone(), self.written.clone()));
        let open = || -> Result<(Vault, Stepper), Box<dyn std::error::Error>> {
            let folder = Path::new(FOLDER);
            disk::Disk::create_folder(&*disk, folder)?;
            let catalog = Arc::new(JournalCatalog::open(&*disk, folder)?);
            let mut parts = Parts::on(disk.clone(), folder, self.keys.clone(), catalog, self.entropy.clone())?;
            let clock = self.disk.clone();
            parts.clock = Clock::new(move || clock.elapsed());
            Ok(Vault::assemble_stepped(parts, vec![Arc::new(Names(self.given_up.clone()))])?)
        };
        match open() {
            Ok((vault, stepper)) => Ok(Some(Bench { vault, stepper })),
            Err(_) if self.disk.is_off() || self.plan.failing_syncs || self.plan.full_disk => Ok(None),
            Err(error) => Err(Violation::Closed(error.to_string())),
        }
    }

    fn round(&mut self, bench: &mut Bench) -> Result<(), Violation> {
        match self.rng.u8(..12) {
            0..=5 => self.store(bench),
            6 => self.send_again(bench),
            7 => self.remove(bench),
            8 => self.read_one(bench),
            9 => self.sweep(bench),
            10 => self.relocate(bench),
            _ => self.reclaim(bench),
        }
    }

    /// Several entries at once, so that they share a commit.
    fn store(&mut self, bench: &mut Bench) -> Result<(), Violation> {
        let mut sent = Vec::new();
        for _ in 0..self.rng.usize(1..6) {
            let name = format!("entry {}", self.next_name);
            self.next_name += 1;
            // The largest are written in several pieces.
            let len = [0, 1, 100, 4096, 20_000, 100_000, 600_000][self.rng.usize(..7)];
            let mut payload = vec![0; len];
            self.rng.fill(&mut payload);
            let known = Known {
                owner: owner(self.rng.u64(..OWNERS)),
                payload: payload.into(),
                expiry: ExpirySlot(FIRST_SLOT + self.rng.u32(..4)),
                state: Knowledge::Sent,
            };
            self.model.entries.insert(name.clone(), known);
            sent.push(name);
        }
        // Now and then one is sent twice at once.
        if self.rng.bool() {
            sent.push(sent[0].clone());
        }
        self.send(bench, &sent)
    }

    fn send_again(&mut self, bench: &mut Bench) -> Result<(), Violation> {
        let wanted = |known: &Known| matches!(known.state, Knowledge::Sent | Knowledge::Stored);
        let names: Vec<String> =
            self.model.entries.iter().filter(|(_, known)| wanted(known)).map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let name = names[self.rng.usize(..names.len())].clone();
        self.send(bench, &[name])
    }

    fn send(&mut self, bench: &mut Bench, names: &[String]) -> Result<(), Violation> {
        let entries: Vec<Entry> = names.iter().map(|name| self.model.entries[name].entry(name)).collect();
        let vault = bench.vault.clone();
        let puts = entries.into_iter().map(|entry| {
            Box::pin({
                let vault = vault.clone();
                async move { vault.put(entry).await }
            }) as Pin<Box<dyn Future<Output = Result<Put, PutError>>>>
        });
        let answers = bench.finish(puts.collect());
        for (name, answer) in names.iter().zip(answers) {
            let known = self.model.entries.get_mut(name).expect("it was sent");
            match answer {
                Ok(Put::Stored(_)) if known.state == Knowledge::Stored && !self.model.swept_away(name) => {
                    return Err(Violation::Wrong(format!("{name} was stored twice")));
                }
                Ok(_) => {
                    self.stored += 1;
                    self.model.entries.get_mut(name).expect("it was sent").state = Knowledge::Stored;
                }
                // What was answered before stays answered; the rest is open.
                Err(error) if error.retryable() || error == PutError::Expired => {}
                Err(error) => return Err(Violation::Wrong(format!("{name} was refused for good: {error}"))),
            }
        }
        Ok(())
    }

    fn remove(&mut self, bench: &mut Bench) -> Result<(), Violation> {
        let names: Vec<String> = self
            .model
            .entries
            .iter()
            .filter(|(_, known)| known.state == Knowledge::Stored)
            .map(|(name, _)| name.clone())
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let name = names[self.rng.usize(..names.len())].clone();
        let known = self.model.entries.get_mut(&name).expect("chosen among them");
        known.state = Knowledge::Leaving;
        let mut batch = Batch::new();
        batch.remove(key(&name));
        // After a failed commit nobody knows; the vault itself would have been poisoned by it.
        if bench.vault.catalog().commit(batch).is_ok() {
            known.state = Knowledge::Removed;
            self.given_up.names().insert(name);
        }
        Ok(())
    }

    fn read_one(&mut self, bench: &Bench) -> Result<(), Violation> {
        let names: Vec<&String> = self.model.entries.keys().collect();
        if names.is_empty() {
            return Ok(());
        }
        let name = names[self.rng.usize(..names.len())].clone();
        self.check_one(bench, &name)
    }

    /// Deletes what nobody refers to in slots that have passed.
    fn sweep(&mut self, bench: &mut Bench) -> Result<(), Violation> {
        let slot = ExpirySlot(FIRST_SLOT + self.rng.u32(..6));
        self.model.swept = self.model.swept.max(Some(slot));
        let secs = u64::from(slot.0) * u64::from(ExpirySlot::SECONDS);
        self.excused(bench.sweep(secs))
    }

    /// Deletes what was given up, of slots that have not passed too.
    fn reclaim(&mut self, bench: &mut Bench) -> Result<(), Violation> {
        self.excused(bench.reclaim())
    }

    /// Moves some entries to other segments, and deletes what they leave behind.
    fn relocate(&mut self, bench: &mut Bench) -> Result<(), Violation> {
        let rows = bench.vault.catalog().scan(&KeyRange::prefix(key("")), Direction::Ascending, 4096);
        let rows = rows.map_err(|e| Violation::Wrong(e.to_string()))?;
        let mut moving = Vec::new();
        for row in rows {
            let Some(from) = Location::decode(&row.value).filter(|_| self.rng.u8(..4) == 0) else { continue };
            // What can't be read is for the check to judge.
            if let Ok((header, payload)) = bench.vault.read_blocking(from) {
                moving.push((from, header, payload));
            }
        }
        let segments: BTreeSet<_> = moving.iter().map(|(from, ..)| SegmentName::from(*from)).collect();
        // So that nothing moves to where it comes from.
        bench.close(segments);
        let vault = bench.vault.clone();
        let moves = moving.into_iter().map(|(from, header, payload)| {
            let vault = vault.clone();
            let moved = async move { vault.relocate(from, header, payload).await };
            Box::pin(moved) as Pin<Box<dyn Future<Output = Result<bool, PutError>>>>
        });
        for answer in bench.finish(moves.collect()) {
            match answer {
                Ok(_) => {}
                Err(error) if error.retryable() => {}
                Err(error) => return Err(Violation::Wrong(format!("it can't be moved: {error}"))),
            }
        }
        self.excused(bench.reclaim())
    }

    /// Deleting may fail on a disk that fails.
    fn excused(&self, outcome: Result<(), String>) -> Result<(), Violation> {
        let faulty = self.disk.is_off() || self.plan.failing_syncs || self.plan.full_disk;
        if faulty { Ok(()) } else { outcome.map_err(Violation::Wrong) }
    }
}

impl Model {
    /// Whether a sweep may have taken the entry: never while its row is there.
    fn swept_away(&self, name: &str) -> bool {
        let known = &self.entries[name];
        self.swept.is_some_and(|swept| known.expiry < swept) && known.state != Knowledge::Stored
    }
}

impl Known {
    fn entry(&self, name: &str) -> Entry {
        Entry {
            owner: self.owner,
            expiry: self.expiry,
            index: Bytes::copy_from_slice(name.as_bytes()),
            payload: self.payload.clone(),
            unless_exists: Some(key(name)),
        }
    }
}

/// An open vault and its committer.
struct Bench {
    vault: Vault,
    stepper: Stepper,
}

impl Bench {
    /// Lets the committer work until all of these have an answer.
    fn finish<T>(&mut self, mut waiting: Vec<Pin<Box<dyn Future<Output = T> + '_>>>) -> Vec<T> {
        let mut context = Context::from_waker(Waker::noop());
        let mut answers: Vec<Option<T>> = waiting.iter().map(|_| None).collect();
        // Each waits at most for the queue and then for its answer.
        for _ in 0..8 {
            for (future, answer) in waiting.iter_mut().zip(&mut answers) {
                if answer.is_none()
                    && let Poll::Ready(ready) = future.as_mut().poll(&mut context)
                {
                    *answer = Some(ready);
                }
            }
            if answers.iter().all(Option::is_some) {
                break;
            }
            while self.stepper.step() {}
        }
        answers.into_iter().map(|answer| answer.expect("the committer answers whatever happens")).collect()
    }

    fn sweep(&mut self, unix_secs: u64) -> Result<(), String> {
        let vault = self.vault.clone();
        self.finish(vec![Box::pin(async move { vault.close_before(unix_secs).await })]);
        self.vault.sweep_closed(unix_secs).map(drop).map_err(|error| error.to_string())
    }

    fn close(&mut self, segments: BTreeSet<SegmentName>) {
        let vault = self.vault.clone();
        self.finish(vec![Box::pin(async move { vault.close_segments(segments).await })]);
    }

    fn reclaim(&mut self) -> Result<(), String> {
        let segments = self.vault.segments().map_err(|error| error.to_string())?;
        let names: BTreeSet<_> = segments.into_iter().map(|segment| segment.name).collect();
        self.close(names.clone());
        self.vault.reclaim_closed(names).map(drop).map_err(|error| error.to_string())
    }
}

fn owner(number: u64) -> OwnerId {
    OwnerId::new(Domain::new(9), number).expect("a small number")
}

fn key(name: &str) -> Key {
    Key::new(Space::Shardlog, name.as_bytes())
}
