//! What must be true of the vault after a cut, and how it is seen.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use disk::Disk as _;
use vault::{
    Direction, Domain, ExpirySlot, FrameHeader, KeyEpoch, KeyRange, Location, OwnerId, ReadError, SegmentName, Walked,
};

use super::{Bench, FOLDER, Knowledge, Run, Violation, key};

impl Run<'_> {
    /// Holds everything against the model.
    pub(super) fn check(&mut self, bench: &Bench, last: bool) -> Result<(), Violation> {
        let names: Vec<String> = self.model.entries.keys().cloned().collect();
        for name in &names {
            // The power may go while the check reads, which only ends it.
            if self.disk.is_off() && !last {
                return Ok(());
            }
            self.check_one(bench, name)?;
        }
        let rows = bench.vault.catalog().scan(&KeyRange::prefix(key("")), Direction::Ascending, 4096);
        for row in rows.map_err(|e| Violation::Wrong(e.to_string()))? {
            let name = String::from_utf8_lossy(row.key.rest()).into_owned();
            if !self.model.entries.contains_key(&name) {
                return Err(Violation::Unexpected(name));
            }
        }
        self.check_destroyed(bench)
    }

    pub(super) fn check_one(&mut self, bench: &Bench, name: &str) -> Result<(), Violation> {
        let known = &self.model.entries[name];
        let row = bench.vault.catalog().get(&key(name)).map_err(|e| Violation::Wrong(e.to_string()))?;
        let Some(row) = row else {
            return match known.state {
                Knowledge::Stored => Err(Violation::Lost(name.to_owned())),
                _ => Ok(()),
            };
        };
        if known.state == Knowledge::Removed {
            return Err(Violation::Unexpected(name.to_owned()));
        }
        let location = Location::decode(&row).ok_or_else(|| Violation::Wrong(format!("{name} has a damaged row")))?;
        let destroyed = self.model.destroyed.get(&known.owner);
        match bench.vault.read_blocking(location) {
            Ok(_) if destroyed == Some(&true) => Err(Violation::NotDestroyed(name.to_owned())),
            Err(ReadError::Key { .. }) if destroyed.is_some() => Ok(()),
            Ok((_, payload)) if payload == known.payload => Ok(()),
            Ok(_) => Err(Violation::Unreadable(name.to_owned(), "it has other bytes".to_owned())),
            // Not the vault's fault.
            Err(ReadError::Io { .. } | ReadError::Key { .. }) if self.disk.is_off() => Ok(()),
            Err(error) => Err(Violation::Unreadable(name.to_owned(), error.to_string())),
        }
    }
    /// No frame of an owner whose keys were destroyed can be read, wherever it lies.
    pub(super) fn check_destroyed(&mut self, bench: &Bench) -> Result<(), Violation> {
        if !self.model.destroyed.values().any(|answered| *answered) {
            return Ok(());
        }
        let mut frames = Vec::new();
        self.walk(bench, |header, location| frames.push((header.owner, location)))?;
        for (owner, location) in frames {
            if self.model.destroyed.get(&owner) != Some(&true) {
                continue;
            }
            match bench.vault.read_blocking(location) {
                Ok(_) => return Err(Violation::NotDestroyed(location.to_string())),
                Err(_) => self.counts.unreadable += 1,
            }
        }
        Ok(())
    }

    /// After a sweep at `now` the disk has of the slots and days before it what a row needs, and nothing else.
    pub(super) fn check_swept(&mut self, bench: &Bench, now: ExpirySlot) -> Result<(), Violation> {
        if self.disk.is_off() {
            return Ok(());
        }
        let rows = bench.vault.catalog().scan(&KeyRange::prefix(key("")), Direction::Ascending, 4096);
        let rows = rows.map_err(|e| Violation::Wrong(e.to_string()))?;
        let wanted: BTreeSet<SegmentName> =
            rows.iter().filter_map(|row| Location::decode(&row.value)).map(SegmentName::from).collect();
        let segments = bench.vault.segments().map_err(|e| Violation::Wrong(e.to_string()))?;
        let dead = segments.iter().find(|segment| segment.name.expiry < now && !wanted.contains(&segment.name));
        if let Some(dead) = dead {
            return Err(Violation::NotDeleted(format!("segment {:08}-{}", dead.name.expiry.0, dead.name.id)));
        }
        let days: BTreeSet<KeyEpoch> = segments.iter().map(|segment| segment.name.expiry.epoch()).collect();
        for (owner, epoch, file) in self.keys()? {
            let is_past = epoch < now.epoch() && !days.contains(&epoch);
            let is_destroyed = self.model.destroyed.iter().any(|(id, answered)| *answered && id.to_string() == owner);
            if is_past || is_destroyed {
                return Err(Violation::NotDeleted(file));
            }
        }
        self.counts.swept += 1;
        Ok(())
    }

    /// Not a segment and not a key is on the disk, but for the vault's own.
    pub(super) fn check_empty(&self) -> Result<(), Violation> {
        let segments = self.list("segments")?;
        let left = segments.into_iter().next().or(self.keys()?.into_iter().next().map(|(.., file)| file));
        left.map_or(Ok(()), |file| Err(Violation::NotDeleted(file)))
    }

    /// Flips a bit somewhere in a segment: of all entries it costs the one whose frame it is in, and that is told.
    pub(super) fn flip_a_bit(&mut self, bench: &Bench) -> Result<(), Violation> {
        let Some((path, at)) = self.disk.flip_bit(".seg") else { return Ok(()) };
        let names: Vec<String> = self.model.entries.keys().cloned().collect();
        for name in &names {
            let row = bench.vault.catalog().get(&key(name)).map_err(|e| Violation::Wrong(e.to_string()))?;
            let Some(place) = row.and_then(|row| Location::decode(&row)) else { continue };
            let file = format!("{:08}-{}.seg", place.expiry.0, place.segment);
            let begin = u64::from(place.offset);
            let is_hit = path.ends_with(&file) && (begin..begin + u64::from(place.bytes)).contains(&at);
            match bench.vault.read_blocking(place) {
                Ok((_, payload)) if !is_hit && payload == self.model.entries[name].payload => {}
                Err(ReadError::Damaged { .. }) if is_hit => self.counts.damaged += 1,
                // Its row may still be there.
                Err(ReadError::Key { .. }) if self.model.destroyed.contains_key(&self.model.entries[name].owner) => {}
                Ok(_) => return Err(Violation::Unreadable(name.clone(), "it has other bytes".to_owned())),
                Err(error) => return Err(Violation::Unreadable(name.clone(), error.to_string())),
            }
        }
        Ok(())
    }

    /// The frames of all segments. The power may go meanwhile, which only ends it.
    fn walk(&self, bench: &Bench, mut frame: impl FnMut(FrameHeader, Location)) -> Result<(), Violation> {
        let failed =
            |error: io::Error| if self.disk.is_off() { Ok(()) } else { Err(Violation::Wrong(error.to_string())) };
        let segments = match bench.vault.segments() {
            Ok(segments) => segments,
            Err(error) => return failed(error),
        };
        for segment in segments {
            let walk = match bench.vault.walk(segment.name) {
                Ok(walk) => walk,
                Err(error) => return failed(error),
            };
            for walked in walk {
                match walked {
                    Ok(Walked::Frame(header, location)) => frame(header, location),
                    Ok(Walked::Damaged { .. }) => {}
                    Err(error) => return failed(error),
                }
            }
        }
        Ok(())
    }

    /// The key files on the disk but the root key's: whose they are, as text, and of which day.
    fn keys(&self) -> Result<Vec<(String, KeyEpoch, String)>, Violation> {
        let root = OwnerId::new(Domain::new(0), 0).expect("a small number").to_string();
        let mut keys = Vec::new();
        for file in self.list("keys")? {
            let day = file.split('-').nth(1).and_then(|day| u32::from_str_radix(day, 16).ok());
            let day = day.ok_or_else(|| Violation::Wrong(format!("{file} is not the name of a key")))?;
            let owner = file.split('-').next().unwrap_or_default().to_owned();
            if owner != root {
                keys.push((owner, KeyEpoch(day), file));
            }
        }
        Ok(keys)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, Violation> {
        self.disk.list(&Path::new(FOLDER).join(folder)).map_err(|e| Violation::Wrong(e.to_string()))
    }
}
