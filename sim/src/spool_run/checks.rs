//! What must be true: the spool is held against the model.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use disk::Disk as _;
use spool::{Counters, Entry, ReadError, Spool, WhenFull, drops};
use upload::{FragmentKey, Trailer};

use super::known::Knowledge;
use super::{Bench, Operation, Run, STATE, Violation, entries, find, path_of, read};

impl Run<'_> {
    /// Holds all that was found at an opening against the model. It is on disk from then on.
    pub(super) fn check_found(&mut self, bench: &Bench, failed_syncs: u64) -> Result<(), Violation> {
        let mut found = BTreeSet::new();
        for entry in entries(&bench.spool) {
            found.insert(entry.key.clone());
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
                // One that was found and left since, as damage that nothing is left of, has a removal that is not synced.
                if known.knowledge == Knowledge::Gone && !found.contains(key) && !is_torn {
                    known.knowledge = Knowledge::Past;
                }
            }
        }
        self.check_held(bench)
    }

    /// A fragment is called whole: it is what was captured. It is promised if it was synced, and all syncs since then
    /// were good; without a number of failed ones it waits for that.
    pub(super) fn note_whole(&mut self, entry: &Entry, payload: Vec<u8>, synced: Option<u64>) -> Result<(), Violation> {
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
    pub(super) fn check_held(&self, bench: &Bench) -> Result<(), Violation> {
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

    /// Holds what has left against the settings, and against the counters and the list of drops.
    pub(super) fn note_dropped(&mut self, bench: &Bench, held: &[Entry], before: Counters) -> Result<(), Violation> {
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
    pub(super) fn check_listed(&self, keys: &[FragmentKey], spool: Option<&Spool>) -> Result<(), Violation> {
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

    /// A disk without room must not gather files of fragments that could not be begun.
    pub(super) fn check_nothing_is_left(&self, key: &FragmentKey) -> Result<(), Violation> {
        match self.disk.file_bytes(&path_of(key)) {
            Ok(_) => Err(Violation::Wrong(format!("{key} could not be begun and left a file"))),
            Err(_) => Ok(()),
        }
    }

    /// Looks at a fragment that was just ended.
    pub(super) fn look_at(&mut self, bench: &Bench, key: &FragmentKey, synced: Option<u64>) -> Result<(), Violation> {
        let Some(entry) = find(&bench.spool, key).filter(|_| !self.disk.is_off()) else {
            return Ok(());
        };
        match read(&bench.spool, &entry) {
            Ok(payload) => self.note_whole(&entry, payload, synced),
            Err(error) => Err(Violation::Changed(key.to_string(), error.to_string())),
        }
    }
}
