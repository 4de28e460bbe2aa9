//! `millrace-agent recordings`: what the command line asks, and what is said about it.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use agent::config::Config;
use agent::recordings::export::{self, ExportError, Exported};
use agent::recordings::{Piece, Shelf, listing, shelves};
use agent::wanted::{self, Range};
use anyhow::{Context as _, bail};
use disk::OsDisk;
use fragment::StreamName;
use jiff::tz::TimeZone;

use crate::cli::{Place, Recordings};

/// Does it.
pub(crate) fn run(command: Recordings) -> anyhow::Result<()> {
    let zone = TimeZone::system();
    match command {
        Recordings::List { stream, place } => {
            let state = state(place)?;
            let shelves = shelves(&state, stream.as_ref())?;
            if shelves.is_empty() {
                say(&format!("there are no recordings in {}", state.display()));
            }
            shelves.iter().flat_map(|shelf| listing::lines(shelf, &zone)).for_each(|line| say(&line));
            Ok(())
        }
        Recordings::Drops { place } => {
            let state = state(place)?;
            let runs = spool::drops::read(&OsDisk, &state)
                .with_context(|| format!("the list of drops in {} can't be read", state.display()))?;
            if runs.is_empty() {
                say("nothing was dropped");
            }
            runs.iter().for_each(|run| say(&listing::drop_line(run, &zone)));
            Ok(())
        }
        Recordings::Export { stream, from, to, output, place } => {
            let shelf = shelf(&state(place)?, &stream)?;
            let pieces = export::within(&shelf.pieces, from, to);
            if pieces.is_empty() {
                return Err(ExportError::Nothing(stream).into());
            }
            export_to(&pieces, &output)
        }
        Recordings::Upload { stream, from, to, place } => {
            wanted::want(&state(place)?, &Range::new(stream, from, to))?;
            say("the agent uploads what it has of this range within moments of being connected");
            Ok(())
        }
        Recordings::Play { stream, from, place } => {
            let shelf = shelf(&state(place)?, &stream)?;
            let pieces = export::within(&shelf.pieces, from, None);
            if pieces.is_empty() {
                return Err(ExportError::Nothing(stream).into());
            }
            play(&pieces)
        }
    }
}

fn state(place: Place) -> anyhow::Result<PathBuf> {
    match place.state {
        Some(state) => Ok(state),
        None => Ok(Config::load(&place.config)?.state),
    }
}

fn shelf(state: &Path, stream: &StreamName) -> anyhow::Result<Shelf> {
    let found = shelves(state, Some(stream))?.into_iter().next();
    Ok(found.ok_or_else(|| ExportError::Nothing(stream.clone()))?)
}

fn export_to(pieces: &[&Piece], output: &Path) -> anyhow::Result<()> {
    if output == Path::new("-") {
        let mut out = BufWriter::new(io::stdout().lock());
        return match export::write(pieces, &mut out).and_then(|exported| Ok((exported, out.flush()?))) {
            Ok((exported, ())) => tell(&exported, "standard output"),
            // A player that was closed has seen enough.
            Err(ExportError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(error.into()),
        };
    }
    let named = output.display().to_string();
    let ending = output.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    match ending.as_deref() {
        Some("mkv") => {
            let file = OpenOptions::new().write(true).create_new(true).open(output);
            let mut out = BufWriter::new(file.with_context(|| format!("{named} can't be made"))?);
            let exported = export::write(pieces, &mut out)?;
            out.flush().and_then(|()| out.get_ref().sync_all()).with_context(|| format!("{named} can't be written"))?;
            tell(&exported, &named)
        }
        Some("mp4") if output.exists() => bail!("{named} is there already; give another name"),
        Some("mp4") => tell(&to_mp4(pieces, output)?, &named),
        _ => bail!("{named} says not what it is to be: name it .mkv or .mp4, or - for standard output"),
    }
}

#[cfg(feature = "capture")]
fn to_mp4(pieces: &[&Piece], output: &Path) -> anyhow::Result<Exported> {
    Ok(agent::recordings::replay::to_mp4(pieces, output)?)
}

#[cfg(feature = "capture")]
fn play(pieces: &[&Piece]) -> anyhow::Result<()> {
    tell(&agent::recordings::replay::play(pieces)?, "the screen")
}

#[cfg(not(feature = "capture"))]
fn to_mp4(_: &[&Piece], _: &Path) -> anyhow::Result<Exported> {
    bail!("this agent was built without capture and writes no MP4: name the file .mkv")
}

#[cfg(not(feature = "capture"))]
fn play(_: &[&Piece]) -> anyhow::Result<()> {
    bail!("this agent was built without capture and has no player: use recordings export with -o - and a player")
}

/// What was exported, beside it: standard output may be the export.
fn tell(exported: &Exported, to: &str) -> anyhow::Result<()> {
    let Exported { fragments, units, duration, gaps, left_out } = exported;
    let mut err = io::stderr().lock();
    for (at, gap) in gaps {
        writeln!(err, "at {:.1} s: a gap of {:.1} s is closed", at.as_secs_f64(), gap.as_secs_f64())?;
    }
    for why in left_out {
        writeln!(err, "left out: {why}")?;
    }
    writeln!(err, "{fragments} fragments, {units} units, {:.1} s to {to}", duration.as_secs_f64())?;
    Ok(())
}

fn say(line: &str) {
    // A reader that went away has seen enough.
    let _ = writeln!(io::stdout(), "{line}");
}
