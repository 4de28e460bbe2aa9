//! Joins recordings into one Matroska document.
//!
//! Fragments are taken whole, so a range begins and ends up to a fragment earlier and later than asked. Fragments that follow
//! each other keep their times to the millisecond. A gap is closed, so that a player does not stand still for it; where it
//! was is told.

use std::io::{self, Write};
use std::time::Duration;

use fragment::mkv::{self, WriteError};
use fragment::{AccessUnit, FragmentId, MediaTime, StreamName, Tracks, WallTime};

use super::Piece;

/// Why recordings can't be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There are none.
    #[error("there is no recording of {0} in that time; `millrace-agent recordings list` shows what there is")]
    Nothing(StreamName),
    /// None of them can be read.
    #[error("none of the recordings can be read; the first problem is: {0}")]
    Unreadable(String),
    /// One file can't hold them.
    #[error("the camera was coded otherwise from {} on, and one file can't hold both: end with --to there, or begin with --from", at.as_millis())]
    Coding {
        /// When it changed.
        at: WallTime,
    },
    /// The target can't be written.
    #[error("the export can't be written: {0}")]
    Write(#[from] io::Error),
}

/// What an export holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Fragments.
    pub fragments: usize,
    /// Access units of all tracks.
    pub units: usize,
    /// How long it plays.
    pub duration: Duration,
    /// Where gaps were closed, and how long they were.
    pub gaps: Vec<(Duration, Duration)>,
    /// What was left out because it can't be read, in words.
    pub left_out: Vec<String>,
}

/// The pieces that lie in a range at least in part.
pub fn within(pieces: &[Piece], from: Option<WallTime>, to: Option<WallTime>) -> Vec<&Piece> {
    let is_within = |piece: &&Piece| from.is_none_or(|from| piece.end() > from) && to.is_none_or(|to| piece.start < to);
    pieces.iter().filter(is_within).collect()
}

/// The tracks of the first piece that can be read.
pub fn tracks(pieces: &[&Piece]) -> Result<Tracks, ExportError> {
    let mut problem = "there is none".to_owned();
    for piece in pieces {
        match read(piece) {
            Ok(document) => return Ok(document.tracks),
            Err(why) => problem = why,
        }
    }
    Err(ExportError::Unreadable(problem))
}

/// Writes pieces as one document.
pub fn write(pieces: &[&Piece], out: &mut impl Write) -> Result<Exported, ExportError> {
    let mut joint: Option<Joint> = None;
    let mut exported = Exported::default();
    for piece in pieces {
        let document = match read(piece) {
            Ok(document) => document,
            Err(why) => {
                exported.left_out.push(why);
                continue;
            }
        };
        let joint = match &mut joint {
            Some(joint) if joint.tracks != document.tracks => return Err(ExportError::Coding { at: piece.start }),
            Some(joint) => joint,
            None => joint.insert(Joint::begin(document.tracks.clone(), out)?),
        };
        joint.add(piece, document.units, out, &mut exported)?;
    }
    match joint {
        Some(joint) => Ok(Exported { duration: joint.end.since(MediaTime::ZERO), ..exported }),
        None => Err(ExportError::Unreadable(exported.left_out.into_iter().next().unwrap_or_default())),
    }
}

/// A document that grows.
struct Joint {
    tracks: Tracks,
    writer: mkv::Writer,
    /// What was added last: which, and when it ended.
    last: Option<(FragmentId, WallTime)>,
    /// From the media time of its session to that of the document, in nanoseconds.
    shift: i64,
    end: MediaTime,
}

impl Joint {
    fn begin(tracks: Tracks, out: &mut impl Write) -> Result<Self, ExportError> {
        let writer = mkv::Writer::new(&tracks);
        out.write_all(&writer.header())?;
        Ok(Self { tracks, writer, last: None, shift: 0, end: MediaTime::ZERO })
    }

    fn add(
        &mut self,
        piece: &Piece,
        units: Vec<AccessUnit>,
        out: &mut impl Write,
        exported: &mut Exported,
    ) -> Result<(), ExportError> {
        let id = piece.recording.header.key.id;
        let Some(first) = units.iter().map(|unit| unit.pts).min() else {
            return Ok(());
        };
        if self.last.is_none_or(|(last, _)| !id.follows(last)) {
            self.shift = self.end.as_nanos() - first.as_nanos();
            let gap = self.last.map_or(Duration::ZERO, |(_, end)| piece.start.since(end));
            if gap > Duration::ZERO {
                exported.gaps.push((self.end.since(MediaTime::ZERO), gap));
            }
        }
        let moved = |pts: MediaTime| MediaTime::from_nanos(pts.as_nanos().saturating_add(self.shift));
        out.write_all(&self.writer.cluster(moved(first)))?;
        exported.fragments += 1;
        for unit in units {
            let unit = AccessUnit { pts: moved(unit.pts), ..unit };
            let (head, payload) = match self.writer.block(&unit) {
                Err(WriteError::OutOfReach { .. }) => {
                    out.write_all(&self.writer.cluster(unit.pts))?;
                    self.writer.block(&unit).map_err(io::Error::other)?
                }
                block => block.map_err(io::Error::other)?,
            };
            out.write_all(&head)?;
            out.write_all(&payload)?;
            exported.units += 1;
        }
        self.end = self.end.max(moved(first) + piece.duration);
        self.last = Some((id, piece.end()));
        Ok(())
    }
}

fn read(piece: &Piece) -> Result<mkv::Document, String> {
    let key = &piece.recording.header.key;
    let document = piece.recording.read().map_err(|error| format!("{key}: {error}"))?;
    mkv::document(document).map_err(|error| format!("{key}: {error}"))
}
