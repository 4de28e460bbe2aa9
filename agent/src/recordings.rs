//! What lies on the device: the recordings of its streams, with their times by the calendar.
//!
//! All of it only reads, beside a running agent as well as without one. What is still being captured is told,
//! and not taken.

pub mod export;
pub mod listing;
#[cfg(feature = "capture")]
pub mod replay;

use std::path::Path;
use std::time::Duration;

use fragment::{ClockQuality, StreamName, WallTime};
use spool::recordings::{self, Recording};

use crate::calendar::Calendar;
use crate::clock::Clock;

/// Why recordings can't be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The state folder can't be read.
    #[error(
        "{path} can't be read: {source}; give the agent's state folder with --state, and run this as a user who may read it"
    )]
    Unreadable {
        /// What.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A whole fragment on the device, and when it was captured.
#[derive(Debug)]
pub struct Piece {
    /// What lies on the disk.
    pub recording: Recording,
    /// Its start by the calendar.
    pub start: WallTime,
    /// How far that can be trusted.
    pub quality: ClockQuality,
    /// How long it plays.
    pub duration: Duration,
}

/// What there is of a stream.
#[derive(Debug)]
pub struct Shelf {
    /// Its name.
    pub stream: StreamName,
    /// Whole fragments, in the order of capture.
    pub pieces: Vec<Piece>,
    /// Fragments that have no end yet: what is being captured, or was when the agent ended.
    pub growing: usize,
}

/// What there is of each stream in a state folder, or of one.
pub fn shelves(state: &Path, only: Option<&StreamName>) -> Result<Vec<Shelf>, LookError> {
    let unreadable = |source| LookError::Unreadable { path: state.to_owned(), source };
    // A folder that is not there is a slip, and one without recordings is none.
    std::fs::read_dir(state).map_err(unreadable)?;
    let boot = Clock::open().map_err(unreadable)?.boot();
    let calendar = Calendar::open(state, boot);
    let mut shelves = Vec::new();
    for stream in recordings::streams(state).map_err(unreadable)? {
        if only.is_some_and(|only| *only != stream) {
            continue;
        }
        let mut shelf = Shelf { stream, pieces: Vec::new(), growing: 0 };
        for recording in recordings::of(state, &shelf.stream).map_err(unreadable)? {
            let Some(trailer) = recording.trailer else {
                shelf.growing += 1;
                continue;
            };
            let header = &recording.header;
            let (start, quality) = calendar.look(header.key.id, header.start, false);
            shelf.pieces.push(Piece { recording, start, quality, duration: trailer.duration });
        }
        shelves.push(shelf);
    }
    Ok(shelves)
}

impl Piece {
    /// When it ends.
    pub fn end(&self) -> WallTime {
        self.start + self.duration
    }
}
