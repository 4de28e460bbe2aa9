//! What must be true of the vault after a cut, and how it is seen.

use vault::{Direction, KeyRange, Location, ReadError};

use super::{Bench, Knowledge, Run, Violation, key};

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
        Ok(())
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
        match bench.vault.read_blocking(location) {
            Ok((_, payload)) if payload == known.payload => Ok(()),
            Ok(_) => Err(Violation::Unreadable(name.to_owned(), "it has other bytes".to_owned())),
            // Not the vault's fault.
            Err(ReadError::Io { .. } | ReadError::Key { .. }) if self.disk.is_off() => Ok(()),
            Err(error) => Err(Violation::Unreadable(name.to_owned(), error.to_string())),
        }
    }
}
