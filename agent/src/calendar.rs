//! Which wall time a captured fragment has, decided when it is sent and not when it was captured.
//!
//! A device without a battery-backed clock captures in 1970 until something tells it the time. So a
//! fragment carries the monotonic clock's time, and this maps it: a clock that was synchronised at
//! capture is believed; otherwise the server's time maps the monotonic clock of this boot. The mapping of
//! a session is chosen once and kept, so that its fragments lie exactly as far apart as they were
//! captured. The mapping of a boot is written down, for backlog that is sent after the next boot:
//!
//! ```text
//! <state>/boots   one line per boot, oldest first:  [boot id: 32 hex digits] [wall time of the boot, ns] [quality]
//! ```

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use fragment::{BootId, ClockQuality, FragmentId, SessionId, WallTime};
use spool::Start;

use crate::clock::Instant;
use crate::{limits, state};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    wall_of_boot: WallTime,
    quality: ClockQuality,
}

/// Maps captured time to wall time.
#[derive(Debug)]
pub struct Calendar {
    path: PathBuf,
    boot: BootId,
    /// The best that is known of this boot now; new sessions take it.
    current: Option<Mapping>,
    sessions: HashMap<SessionId, Mapping>,
    /// What earlier runs of the agent knew, this boot included.
    remembered: Vec<(BootId, Mapping)>,
}

impl Calendar {
    /// The calendar that is kept in this state folder. A damaged file is the same as none: what it
    /// says is a help and never needed.
    pub fn open(state: &Path, boot: BootId) -> Self {
        let path = state.join("boots");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let remembered = text.lines().filter_map(parse_line).collect();
        Self { path, boot, current: None, sessions: HashMap::new(), remembered }
    }

    /// The server said `server_time` at the instant `now`.
    pub fn handle_server_time(&mut self, now: Instant, server_time: WallTime) -> io::Result<()> {
        let mapping = if now.quality >= ClockQuality::Synchronised {
            Mapping { wall_of_boot: now.wall_of_boot(), quality: now.quality }
        } else {
            Mapping { wall_of_boot: server_time - now.monotonic.since_boot, quality: ClockQuality::Server }
        };
        self.current = Some(mapping);
        self.remembered.retain(|(boot, _)| *boot != self.boot);
        self.remembered.push((self.boot, mapping));
        let surplus = self.remembered.len().saturating_sub(limits::BOOTS_REMEMBERED);
        self.remembered.drain(..surplus);
        let lines: String = self.remembered.iter().map(line).collect();
        state::replace(&self.path, lines.as_bytes())
    }

    /// The wall time of a fragment, and how far it can be trusted. `own` says that this run of the
    /// agent captured it.
    pub fn resolve(&mut self, id: FragmentId, start: Start, own: bool) -> (WallTime, ClockQuality) {
        let known = (start.wall, start.quality);
        let Some(monotonic) = start.monotonic.filter(|_| start.quality < ClockQuality::Synchronised) else {
            return known;
        };
        let Some(mapping) = self.mapping(id.session, monotonic.boot, own) else {
            return known;
        };
        (mapping.wall_of_boot + monotonic.since_boot, mapping.quality)
    }

    fn mapping(&mut self, session: SessionId, boot: BootId, own: bool) -> Option<Mapping> {
        if let Some(mapping) = self.sessions.get(&session) {
            return Some(*mapping);
        }
        let remembered = || self.remembered.iter().find(|(b, _)| *b == boot).map(|(_, mapping)| *mapping);
        let current = self.current.filter(|_| boot == self.boot);
        // Some fragments of an earlier run's session may have been sent by what was known then.
        let mapping = if own { current.or_else(remembered) } else { remembered().or(current) }?;
        if self.sessions.len() >= limits::SESSIONS_MAPPED_MAX {
            self.sessions.clear();
        }
        self.sessions.insert(session, mapping);
        Some(mapping)
    }
}

fn line((boot, mapping): &(BootId, Mapping)) -> String {
    format!("{:032x} {} {}\n", boot.0, mapping.wall_of_boot.as_nanos(), mapping.quality.to_wire())
}

fn parse_line(line: &str) -> Option<(BootId, Mapping)> {
    let mut words = line.split_ascii_whitespace();
    let boot = BootId(u128::from_str_radix(words.next()?, 16).ok()?);
    let wall_of_boot = WallTime::from_nanos(words.next()?.parse().ok()?);
    let quality = ClockQuality::from_wire(words.next()?.parse().ok()?);
    Some((boot, Mapping { wall_of_boot, quality }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fragment::{MonotonicTime, Sequence};

    use super::*;

    const SERVER: WallTime = WallTime::from_millis(1_700_000_000_000);

    #[test]
    fn a_synchronised_clock_at_capture_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let mut calendar = Calendar::open(folder.path(), BootId(1));
        calendar.handle_server_time(instant(1, 50), SERVER).unwrap();
        let start = Start { quality: ClockQuality::Synchronised, ..captured(1, 10) };
        assert_eq!(calendar.resolve(id(1), start, true), (start.wall, ClockQuality::Synchronised));
    }

    #[test]
    fn a_fragment_of_1970_gets_the_servers_time_through_the_monotonic_clock() {
        let folder = tempfile::tempdir().unwrap();
        let mut calendar = Calendar::open(folder.path(), BootId(1));
        assert_eq!(calendar.resolve(id(1), captured(1, 10), true).1, ClockQuality::Unsynchronised);
        calendar.handle_server_time(instant(1, 50), SERVER).unwrap();
        let expected = (SERVER - Duration::from_secs(40), ClockQuality::Server);
        assert_eq!(calendar.resolve(id(1), captured(1, 10), true), expected);
    }

    #[test]
    fn a_session_keeps_its_mapping_when_the_servers_time_moves() {
        let folder = tempfile::tempdir().unwrap();
        let mut calendar = Calendar::open(folder.path(), BootId(1));
        calendar.handle_server_time(instant(1, 50), SERVER).unwrap();
        let before = calendar.resolve(id(1), captured(1, 10), true);
        calendar.handle_server_time(instant(1, 60), SERVER + Duration::from_secs(999)).unwrap();
        assert_eq!(calendar.resolve(id(1), captured(1, 10), true), before);
        assert_ne!(calendar.resolve(id(2), captured(1, 10), true), before);
    }

    #[test]
    fn backlog_of_an_earlier_boot_keeps_what_that_boot_learned() {
        let folder = tempfile::tempdir().unwrap();
        Calendar::open(folder.path(), BootId(1)).handle_server_time(instant(1, 50), SERVER).unwrap();
        let mut calendar = Calendar::open(folder.path(), BootId(2));
        calendar.handle_server_time(instant(2, 5), SERVER + Duration::from_secs(3600)).unwrap();
        let expected = (SERVER - Duration::from_secs(40), ClockQuality::Server);
        assert_eq!(calendar.resolve(id(1), captured(1, 10), false), expected);
    }

    fn id(session: u64) -> FragmentId {
        FragmentId { session: SessionId(session), sequence: Sequence(0) }
    }

    fn monotonic(boot: u128, secs: u64) -> MonotonicTime {
        MonotonicTime { boot: BootId(boot), since_boot: Duration::from_secs(secs) }
    }

    fn instant(boot: u128, secs: u64) -> Instant {
        let wall = WallTime::from_millis(0) + Duration::from_secs(secs);
        Instant { monotonic: monotonic(boot, secs), wall, quality: ClockQuality::Unsynchronised }
    }

    fn captured(boot: u128, secs: u64) -> Start {
        let Instant { monotonic, wall, quality } = instant(boot, secs);
        Start { monotonic: Some(monotonic), wall, quality }
    }
}
