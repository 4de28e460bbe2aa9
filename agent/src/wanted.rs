//! Ranges of time that someone asked for, kept until all of them is uploaded.
//!
//! ```text
//! <state>/wanted/<from>-<to>-<stream>   an empty file per range; both times in milliseconds since 1970
//! <state>/wanted/session-<id>           likewise for all of a session; its id as 16 hexadecimal digits
//! ```
//!
//! Names alone, so that whoever asks, the server through the agent or a person by `millrace-agent recordings upload`, makes
//! a range by one call that happens or does not. The agent, which takes ranges away, looks each second. Ranges of one
//! stream that touch are made one: first the whole is there, then its parts go.
//!
//! A session is wanted by `once`, which names it as its first fragment begins: so what it leaves is sent by the next run,
//! whatever mode and hours say of its stream, and nothing else is. The name is taken away when all of it is persisted, or at
//! a start that finds nothing of it in the spool.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use fragment::{Sequence, SessionId, StreamName, WallTime};
use spool::Spool;

use crate::{limits, state};

/// A range of time of a stream, its end excluded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// Which stream.
    pub stream: StreamName,
    /// From when.
    pub from: WallTime,
    /// Until when.
    pub to: WallTime,
}

/// Why a range can't be asked for.
#[derive(Debug, thiserror::Error)]
pub enum WantError {
    /// It holds no time.
    #[error("the range ends before it begins: give --to a later time than --from")]
    Empty,
    /// There are enough.
    #[error(
        "{} ranges wait for their upload already; wait until some are done, or ask for a longer range",
        limits::WANTED_RANGES_MAX
    )]
    TooMany,
    /// There is no agent to ask.
    #[error("no agent has run with the state folder {0} yet: start it first, with this configuration")]
    NoAgent(PathBuf),
    /// It can't be written down.
    #[error(
        "the range can't be written into {path}: {source}; it takes the agent's user or root, and some room on the disk"
    )]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes room for ranges in a state folder: its owner is to take them away again.
pub fn prepare(state: &Path) -> io::Result<()> {
    let folder = folder(state);
    if !folder.is_dir() {
        fs::create_dir(&folder)?;
        state::sync_folder(state)?;
    }
    Ok(())
}

/// Asks for a range. What of it is captured is uploaded at any hour, and what will be is too.
pub fn want(state: &Path, range: &Range) -> Result<(), WantError> {
    if range.to <= range.from {
        return Err(WantError::Empty);
    }
    let folder = folder(state);
    let listed = match list(state) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(WantError::NoAgent(state.to_owned())),
        listed => listed.map_err(|source| WantError::Io { path: folder.clone(), source })?,
    };
    let (parts, rest): (Vec<_>, Vec<_>) = listed.into_iter().partition(|other| other.touches(range));
    if rest.len() >= limits::WANTED_RANGES_MAX {
        return Err(WantError::TooMany);
    }
    let whole = parts.iter().fold(range.clone(), |whole, part| Range {
        from: whole.from.min(part.from),
        to: whole.to.max(part.to),
        stream: whole.stream,
    });
    let written = File::create(folder.join(whole.name())).and_then(|_| {
        state::sync_folder(&folder)?;
        parts.iter().filter(|part| **part != whole).for_each(|part| done(state, part));
        Ok(())
    });
    written.map_err(|source| WantError::Io { path: folder, source })
}

/// The ranges that wait for their upload, no more than there may be.
pub fn list(state: &Path) -> io::Result<Vec<Range>> {
    let mut ranges = Vec::new();
    for entry in fs::read_dir(folder(state))? {
        if let Some(range) = entry?.file_name().to_str().and_then(Range::parse) {
            ranges.push(range);
        }
        if ranges.len() == limits::WANTED_RANGES_MAX {
            break;
        }
    }
    ranges.sort();
    Ok(ranges)
}

/// All of it is uploaded. Not synced: one that comes back after a power cut is done at once.
pub fn done(state: &Path, range: &Range) {
    if let Err(error) = fs::remove_file(folder(state).join(range.name())) {
        tracing::warn!(%error, stream = %range.stream, "a range that is uploaded can't be taken from the wanted ones");
    }
}

/// Asks for all of a session.
pub fn want_session(state: &Path, session: SessionId) -> io::Result<()> {
    prepare(state)?;
    let folder = folder(state);
    File::create(folder.join(session_name(session)))?;
    state::sync_folder(&folder)
}

/// The sessions that are wanted as a whole, no more than there may be.
pub fn sessions(state: &Path) -> io::Result<Vec<SessionId>> {
    let names = fs::read_dir(folder(state))?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| parse_session(&name)).take(limits::WANTED_RANGES_MAX).collect())
}

/// Takes away the sessions of earlier runs of which the spool holds nothing any more.
pub fn tidy_sessions(state: &Path, spool: &Spool) {
    let streams = spool.streams();
    let is_there = |session| streams.iter().any(|stream| spool.next_in(stream, session, Sequence(0)).is_some());
    let sessions = sessions(state).unwrap_or_default();
    sessions.into_iter().filter(|&session| !is_there(session)).for_each(|session| session_done(state, session));
}

/// All of it is uploaded. Not synced, like [`done`].
pub fn session_done(state: &Path, session: SessionId) {
    if let Err(error) = fs::remove_file(folder(state).join(session_name(session))) {
        tracing::warn!(%error, "a session that is uploaded can't be taken from the wanted ones");
    }
}

fn session_name(session: SessionId) -> String {
    format!("session-{:016x}", session.0)
}

fn parse_session(name: &str) -> Option<SessionId> {
    let digits = name.strip_prefix("session-")?;
    let session = u64::from_str_radix(digits, 16).ok().map(SessionId)?;
    (session_name(session) == name).then_some(session)
}

impl Range {
    /// A range whose times are rounded outwards to milliseconds.
    pub fn new(stream: StreamName, from: WallTime, to: WallTime) -> Self {
        let millis =
            |time: WallTime, up: i64| WallTime::from_millis(time.as_nanos().max(0).saturating_add(up) / 1_000_000);
        Self { stream, from: millis(from, 0), to: millis(to, 999_999) }
    }

    fn touches(&self, other: &Self) -> bool {
        self.stream == other.stream && self.from <= other.to && other.from <= self.to
    }

    fn name(&self) -> String {
        let millis = |time: WallTime| time.as_nanos() / 1_000_000;
        format!("{}-{}-{}", millis(self.from), millis(self.to), self.stream)
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.splitn(3, '-');
        let mut time = || {
            let millis = parts.next()?.parse::<i64>().ok()?;
            millis.checked_mul(1_000_000).map(WallTime::from_nanos)
        };
        let (from, to) = (time()?, time()?);
        let stream = parts.next()?.parse().ok()?;
        (from < to).then_some(Self { stream, from, to })
    }
}

fn folder(state: &Path) -> PathBuf {
    state.join("wanted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_there_until_it_is_done() {
        let state = state();
        want(state.path(), &range("yard-2", 10, 20)).unwrap();
        assert_eq!(list(state.path()).unwrap(), [range("yard-2", 10, 20)]);
        done(state.path(), &range("yard-2", 10, 20));
        assert_eq!(list(state.path()).unwrap(), []);
    }

    #[test]
    fn ranges_of_one_stream_that_touch_are_one() {
        let state = state();
        for (stream, from, to) in [("a", 10, 20), ("a", 30, 40), ("b", 10, 20), ("a", 20, 32), ("a", 12, 15)] {
            want(state.path(), &range(stream, from, to)).unwrap();
        }
        assert_eq!(list(state.path()).unwrap(), [range("a", 10, 40), range("b", 10, 20)]);
    }

    #[test]
    fn times_beyond_all_calendars_make_a_range_too() {
        let state = state();
        let all = Range::new("a".parse().unwrap(), WallTime::from_nanos(i64::MIN), WallTime::from_nanos(i64::MAX));
        want(state.path(), &all).unwrap();
        assert_eq!(list(state.path()).unwrap(), [all]);
    }

    #[test]
    fn only_so_many_ranges_are_taken() {
        let state = state();
        let most = i64::try_from(limits::WANTED_RANGES_MAX).unwrap();
        for at in 0..most {
            want(state.path(), &range("a", at * 10, at * 10 + 5)).unwrap();
        }
        let refused = want(state.path(), &range("a", most * 10, most * 10 + 5));
        assert!(matches!(refused, Err(WantError::TooMany)));
        want(state.path(), &range("a", 0, most * 10)).unwrap();
        assert_eq!(list(state.path()).unwrap(), [range("a", 0, most * 10)]);
    }

    #[test]
    fn what_is_no_range_is_refused_and_what_is_no_range_of_ours_is_left() {
        let state = state();
        assert!(matches!(want(state.path(), &range("a", 10, 10)), Err(WantError::Empty)));
        for name in ["notes", "1-2", "5-1-a", "1-99999999999999999999-a", "-1-2-a", "1-2-not a stream"] {
            File::create(folder(state.path()).join(name)).unwrap();
        }
        assert_eq!(list(state.path()).unwrap(), []);
    }

    #[test]
    fn a_session_is_there_until_it_is_done_and_is_no_range() {
        let state = state();
        let (one, other) = (SessionId(7), SessionId(u64::MAX));
        want_session(state.path(), one).unwrap();
        want_session(state.path(), other).unwrap();
        want(state.path(), &range("session", 1, 2)).unwrap();
        File::create(folder(state.path()).join("session-+00000000000007f")).unwrap();
        let mut found = sessions(state.path()).unwrap();
        found.sort_by_key(|session| session.0);
        assert_eq!(found, [one, other]);
        assert_eq!(list(state.path()).unwrap(), [range("session", 1, 2)]);
        session_done(state.path(), one);
        assert_eq!(sessions(state.path()).unwrap(), [other]);
    }

    #[test]
    fn without_an_agent_there_is_no_one_to_ask() {
        let state = tempfile::tempdir().unwrap();
        assert!(matches!(want(state.path(), &range("a", 1, 2)), Err(WantError::NoAgent(_))));
    }

    fn state() -> tempfile::TempDir {
        let state = tempfile::tempdir().unwrap();
        prepare(state.path()).unwrap();
        state
    }

    fn range(stream: &str, from: i64, to: i64) -> Range {
        Range::new(stream.parse().unwrap(), WallTime::from_millis(from), WallTime::from_millis(to))
    }
}
