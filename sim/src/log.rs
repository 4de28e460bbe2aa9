//! What happened in a run, line by line: the same for the same seed.

use std::fmt;

/// The last lines of a run, and a checksum of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    lines: Vec<String>,
    checksum: u32,
    count: u64,
}

/// Lines kept for a person to read after a failure; the checksum covers all.
const LINES_KEPT: usize = 400;

impl Log {
    /// Adds a line.
    pub fn push(&mut self, line: String) {
        self.checksum = crc32c::crc32c_append(self.checksum, line.as_bytes());
        self.count += 1;
        if self.lines.len() == LINES_KEPT {
            self.lines.drain(..LINES_KEPT / 2);
        }
        self.lines.push(line);
    }

    /// How many lines there were, and a checksum of them.
    pub fn digest(&self) -> (u64, u32) {
        (self.count, self.checksum)
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
