//! One run of a vault on a simulated disk: random work, a cut, and what must be true afterwards.
//!
//! The model is what the callers were told. An entry that was answered is there, with its bytes, exactly once; one
//! that was not answered is there whole or not at all; what was removed stays removed; what was destroyed can't be
//! read. Nothing else may be in the catalog.

mod bench;
mod checks;
mod model;
mod names;
mod outcome;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use vault::{
    Batch, Catalog as _, Clock, Direction, Domain, Entry, ExpirySlot, Home, Key, KeyRange, KeyService, Keyring,
    KeyringError, Location, OwnerId, Parts, Put, PutError, SegmentName, Space, Stepper, Vault,
};

use self::bench::Bench;
use self::model::{Knowledge, Known, Model};
use self::names::{GivenUp, Names};
pub use self::outcome::{Counts, Outcome, Violation};
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
    /// The master keys are those of a keyring on the disk, which is rotated now and then. Its keys are not of the seed.
    pub keyring: bool,
    /// In the end a bit of a segment flips.
    pub flipped_bit: bool,
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
    let counts = Counts { failed_syncs: run.disk.failed_syncs(), ..run.counts };
    Outcome { log: run.disk.log(), stored: run.stored, frames, cuts: run.cuts, kills: run.kills, counts, violation }
}

const FOLDER: &str = "vault";
/// Owners at one time. One whose keys were destroyed is followed by another.
const OWNERS: usize = 3;
/// The first slot of the days that entries expire in.
const FIRST_SLOT: u32 = 20_833 * SLOTS_PER_DAY;
const SLOTS_PER_DAY: u32 = 86_400 / ExpirySlot::SECONDS;
/// Days that entries expire in. Each has keys of its own.
const DAYS: u32 = 3;

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
    next_owner: u64,
    stored: u64,
    cuts: u32,
    kills: u32,
    counts: Counts,
    /// A vault was poisoned by a sync that failed, and none has stored anything since.
    is_ill: bool,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan) -> Self {
        let owners = (0..OWNERS as u64).map(owner).collect();
        Self {
            plan,
            rng: Rng::with_seed(plan.seed),
            disk: VirtualDisk::new(plan.seed ^ 0x6469_736b),
            written: Written::default(),
            keys: Arc::new(SeededKeys::new(plan.seed ^ 0x6b65_7973)),
            entropy: Arc::new(SeededEntropy::new(plan.seed ^ 0x7365_6564)),
            model: Model { owners, ..Model::default() },
            given_up: GivenUp::default(),
            next_name: 0,
            next_owner: OWNERS as u64,
            stored: 0,
            cuts: 0,
            kills: 0,
            counts: Counts::default(),
            is_ill: false,
        }
    }

    fn work(&mut self) -> Result<(), Violation> {
        for _ in 0..self.plan.cuts {
            self.begin_faults();
            // The power may go while the vault is being opened, which must do no harm either.
            if let Some(mut bench) = self.open()? {
                self.check(&bench, false)?;
                // What a process before has begun is mostly gone on with at once.
                if self.model.destroyed.values().any(|answered| !answered) && self.rng.u8(..4) > 0 {
                    self.destroy(&mut bench)?;
                }
                for _ in 0..self.plan.rounds {
                    if self.disk.is_off() {
                        break;
                    }
                    self.round(&mut bench)?;
                }
            }
            self.end_process();
        }
        let mut bench = self.open()?.ok_or_else(|| Violation::Closed("without any fault".to_owned()))?;
        self.check(&bench, true)?;
        self.destroy_the_rest(&mut bench)?;
        if self.plan.flipped_bit {
            self.flip_a_bit(&bench)?;
        } else {
            self.leave_nothing(&mut bench)?;
        }
        Ok(())
    }

    /// The power goes, or the process alone. A process that saw a sync fail must not be followed by one that believes
    /// the system's memory, so where that happens it is always the power.
    fn end_process(&mut self) {
        let was_at_work = u32::from(self.disk.is_off());
        if !self.plan.failing_syncs && self.rng.u8(..3) == 0 {
            self.kills += was_at_work;
            self.disk.restart();
        } else {
            self.cuts += was_at_work;
            self.disk.cycle_power();
        }
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
            let mut parts = Parts::on(disk.clone(), folder, self.service(&disk)?, catalog, self.entropy.clone())?;
            let clock = self.disk.clone();
            parts.clock = Clock::new(move || clock.elapsed());
            Ok(Vault::assemble_stepped(parts, vec![Arc::new(Names(self.given_up.clone()))])?)
        };
        match open() {
            Ok((vault, stepper)) => Ok(Some(Bench { vault, stepper, is_poisoned: false })),
            Err(_) if self.disk.is_off() || self.plan.failing_syncs || self.plan.full_disk => Ok(None),
            Err(error) => Err(Violation::Closed(error.to_string())),
        }
    }

    fn service(&self, disk: &Arc<Witness>) -> Result<Arc<dyn KeyService>, KeyringError> {
        let folder = Path::new(FOLDER);
        Ok(match self.plan.keyring {
            true => Arc::new(Keyring::on(disk.clone(), Home::in_vault(folder), None, folder, 1)?),
            false => self.keys.clone(),
        })
    }

    fn round(&mut self, bench: &mut Bench) -> Result<(), Violation> {
        if self.plan.keyring && self.rng.u8(..8) == 0 {
            return self.rotate(bench);
        }
        match self.rng.u8(..26) {
            0..=11 => self.store(bench),
            12..=13 => self.send_again(bench),
            14..=15 => self.remove(bench),
            16..=17 => self.read_one(bench),
            18..=19 => self.sweep(bench),
            20..=21 => self.relocate(bench),
            22..=23 => self.reclaim(bench),
            _ => self.destroy(bench),
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
                owner: self.model.owners[self.rng.usize(..OWNERS)],
                payload: payload.into(),
                expiry: ExpirySlot(FIRST_SLOT + self.rng.u32(..DAYS) * SLOTS_PER_DAY + self.rng.u32(..2)),
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
        let answers = self.put(bench, names)?;
        let is_full = |answer: &Result<Put, PutError>| matches!(answer, Err(PutError::DiskFull));
        let refused: Vec<String> =
            names.iter().zip(&answers).filter(|(_, answer)| is_full(answer)).map(|(name, _)| name.clone()).collect();
        self.hear(names, answers)?;
        self.counts.full += refused.len() as u64;
        if !refused.is_empty() && self.rng.bool() {
            self.make_room(bench, &refused)?;
        }
        Ok(())
    }

    /// There is room again, and the process that refused entries for the lack of it takes them.
    fn make_room(&mut self, bench: &mut Bench, names: &[String]) -> Result<(), Violation> {
        self.disk.set_capacity(None);
        let answers = self.put(bench, names)?;
        if answers.iter().any(|answer| matches!(answer, Err(PutError::DiskFull))) {
            return Err(Violation::Wrong("an entry is refused for lack of room that there is".to_owned()));
        }
        self.counts.resumed += answers.iter().filter(|answer| answer.is_ok()).count() as u64;
        self.hear(names, answers)
    }

    /// Hands entries over at the same time. A vault that was poisoned before takes none of them.
    fn put(&mut self, bench: &mut Bench, names: &[String]) -> Result<Vec<Result<Put, PutError>>, Violation> {
        let entries: Vec<Entry> = names.iter().map(|name| self.model.entries[name].entry(name)).collect();
        let vault = bench.vault.clone();
        let puts = entries.into_iter().map(|entry| {
            Box::pin({
                let vault = vault.clone();
                async move { vault.put(entry).await }
            }) as Pin<Box<dyn Future<Output = Result<Put, PutError>>>>
        });
        let answers = bench.finish(puts.collect());
        let poisoned = answers.iter().filter(|answer| matches!(answer, Err(PutError::Poisoned(_)))).count();
        if bench.is_poisoned && poisoned < answers.len() {
            return Err(Violation::Wrong(format!("a poisoned vault does not refuse everything: {answers:?}")));
        }
        bench.is_poisoned |= poisoned > 0;
        if poisoned > 0 && !self.disk.is_off() {
            self.counts.poisoned += poisoned as u64;
            self.is_ill = true;
        } else if answers.iter().any(Result::is_ok) && std::mem::take(&mut self.is_ill) {
            self.counts.healed += 1;
        }
        Ok(answers)
    }

    /// Notes what became of entries.
    fn hear(&mut self, names: &[String], answers: Vec<Result<Put, PutError>>) -> Result<(), Violation> {
        for (name, answer) in names.iter().zip(answers) {
            let was_stored = self.model.entries[name].state == Knowledge::Stored;
            match answer {
                Ok(Put::Stored(_)) if was_stored && !self.model.swept_away(name) => {
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
        self.give_up(bench, &[name]);
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
        // Mostly early, so that something is left.
        let day = self.rng.u32(..DAYS).min(self.rng.u32(..DAYS));
        let slot = FIRST_SLOT + day * SLOTS_PER_DAY + self.rng.u32(..3);
        self.sweep_at(bench, ExpirySlot(slot))
    }

    fn sweep_at(&mut self, bench: &mut Bench, slot: ExpirySlot) -> Result<(), Violation> {
        self.model.swept = self.model.swept.max(Some(slot));
        let secs = u64::from(slot.0) * u64::from(ExpirySlot::SECONDS);
        match bench.sweep(secs) {
            Ok(swept) => {
                self.counts.deleted += swept.segments;
                self.check_swept(bench, slot)
            }
            Err(error) => self.excused(Err(error)),
        }
    }

    /// Destroys an owner's keys, and then its rows, as the deletion of a stream does; or goes on with one that was
    /// not answered.
    fn destroy(&mut self, bench: &mut Bench) -> Result<(), Violation> {
        let begun = self.model.destroyed.iter().find(|(_, answered)| !**answered).map(|(owner, _)| *owner);
        let leaving = begun.unwrap_or_else(|| {
            let next = owner(self.next_owner);
            self.next_owner += 1;
            std::mem::replace(&mut self.model.owners[self.rng.usize(..OWNERS)], next)
        });
        self.model.destroyed.insert(leaving, false);
        for known in self.model.entries.values_mut() {
            if known.owner == leaving && known.state != Knowledge::Removed {
                known.state = Knowledge::Leaving;
            }
        }
        match bench.destroy_keys(leaving) {
            Ok(()) => {}
            Err(error) => return self.excused(Err(error)),
        }
        self.model.destroyed.insert(leaving, true);
        self.counts.destroyed += 1;
        self.check_destroyed(bench)?;
        let of_it = |known: &Known| known.owner == leaving;
        let names: Vec<String> =
            self.model.entries.iter().filter(|(_, known)| of_it(known)).map(|(name, _)| name.clone()).collect();
        self.give_up(bench, &names);
        Ok(())
    }

    /// Ends what cuts have interrupted.
    fn destroy_the_rest(&mut self, bench: &mut Bench) -> Result<(), Violation> {
        while self.model.destroyed.values().any(|answered| !answered) {
            self.destroy(bench)?;
        }
        self.sweep_at(bench, ExpirySlot(FIRST_SLOT + (DAYS + 1) * SLOTS_PER_DAY))
    }

    /// When everything has been given up and has expired, nothing is left on the disk.
    fn leave_nothing(&mut self, bench: &mut Bench) -> Result<(), Violation> {
        let names: Vec<String> = self.model.entries.keys().cloned().collect();
        self.give_up(bench, &names);
        self.sweep_at(bench, ExpirySlot(FIRST_SLOT + (DAYS + 1) * SLOTS_PER_DAY))?;
        self.check_empty()
    }

    /// Wraps all data keys anew, under another master key.
    fn rotate(&mut self, bench: &Bench) -> Result<(), Violation> {
        let rotated = bench.vault.rotate_master(1).map(|_| self.counts.rotated += 1);
        self.excused(rotated.map_err(|error| error.to_string()))
    }

    /// Removes rows in one commit.
    fn give_up(&mut self, bench: &Bench, names: &[String]) {
        let mut batch = Batch::new();
        for name in names {
            batch.remove(key(name));
        }
        // After a failed commit nobody knows; the vault itself would have been poisoned by it.
        let is_done = bench.vault.catalog().commit(batch).is_ok();
        for name in names {
            let known = self.model.entries.get_mut(name).expect("chosen among them");
            known.state = if is_done { Knowledge::Removed } else { Knowledge::Leaving };
        }
        if is_done {
            self.given_up.names().extend(names.iter().cloned());
        }
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
            if let Ok((header, payload)) = bench.vault.read_blocking(from)
                && self.model.owners.contains(&header.owner)
            {
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

fn owner(number: u64) -> OwnerId {
    OwnerId::new(Domain::new(9), number).expect("a small number")
}

fn key(name: &str) -> Key {
    Key::new(Space::Shardlog, name.as_bytes())
}
