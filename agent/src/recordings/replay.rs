//! Recordings as MP4, and on a screen: the joined document through a pipe to GStreamer.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;

use fragment::Tracks;

use super::Piece;
use super::export::{self, ExportError, Exported};

/// Why recordings can't be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// They can't be read or joined.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// GStreamer does not do it.
    #[error(transparent)]
    Pipeline(#[from] pipelines::Error),
    /// There is nothing to see it on.
    #[error(
        "there is no screen here; send it to a player elsewhere, as in\n  ssh camera-device millrace-agent recordings export front -o - | ffplay -"
    )]
    NoScreen,
}

/// Writes pieces as MP4, without coding anything anew.
pub fn to_mp4(pieces: &[&Piece], out: &Path) -> Result<Exported, ReplayError> {
    let made = through_pipe(pieces, |document, tracks| pipelines::stored::to_mp4(document, tracks, out));
    if made.is_err() {
        // Half an MP4 can't be played.
        let _ = std::fs::remove_file(out);
    }
    made
}

/// Plays pieces on the screen of this machine.
pub fn play(pieces: &[&Piece]) -> Result<Exported, ReplayError> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !is_set("DISPLAY") && !is_set("WAYLAND_DISPLAY") && !Path::new("/dev/dri/card0").exists() {
        return Err(ReplayError::NoScreen);
    }
    through_pipe(pieces, pipelines::stored::play)
}

/// Joins the pieces on one thread, and reads them on another.
fn through_pipe(
    pieces: &[&Piece],
    read: impl FnOnce(&OwnedFd, &Tracks) -> Result<(), pipelines::Error>,
) -> Result<Exported, ReplayError> {
    let tracks = export::tracks(pieces)?;
    let (document, mut pipe) = io::pipe().map_err(ExportError::Write)?;
    let document = OwnedFd::from(document);
    thread::scope(|scope| {
        let joining = scope.spawn(move || export::write(pieces, &mut pipe));
        let outcome = read(&document, &tracks);
        // A writer that is still at work finds the pipe closed.
        drop(document);
        let exported = joining.join().unwrap_or_else(|_| Err(ExportError::Write(io::Error::other("it panicked"))));
        match (exported, outcome) {
            (Err(ExportError::Write(_)), Err(error)) => Err(error.into()),
            (Err(error), _) => Err(error.into()),
            (Ok(_), Err(error)) => Err(error.into()),
            (Ok(exported), Ok(())) => Ok(exported),
        }
    })
}
