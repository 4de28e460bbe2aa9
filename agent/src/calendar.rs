//! Which wall time a captured fragment has, decided when it is sent and not when it was captured.
//!
//! A device without a battery-backed clock captures in 1970 until something tells it the time. So a
//! fragment carries the monotonic clock's time, and this maps it: a clock that was synchronised at
//! capture is believed; otherwise the monotonic clock of this boot is mapped by the device's clock once that is
//! synchronised, or by the server's time. A session keeps its mapping, and follows a better one so slowly that no
//! seam shows. The mapping of a boot is written down, for backlog that is sent after the next boot:
//!
//! ```text
//! <state>/boots   one line per boot, oldest first:  [boot id: 32 hex digits] [wall time of the boot, ns] [quality]
//! ```

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fragment::{BootId, ClockQuality, FragmentId, SessionId, WallTime};
use spool::Start;

use crate::clock::Instant;
use crate::{limits, state};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    wall_of_boot: WallTime,
    quality: ClockQuality,
}

/// The mapping of a session, as of its fragment that began this long after the boot.
#[derive(Clone, Copy, Debug)]
struct Followed {
    mapping: Mapping,
    since_boot: Duration,
}

/// Maps captured time to wall time.
#[derive(Debug)]
pub struct Calendar {
    path: PathBuf,
    boot: BootId,
    /// The best that is known of this boot now; new sessions take it.
    current: Option<Mapping>,
    sessions: HashMap<SessionId, Followed>,
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

    /// The device's clocks show `now`. Once they are synchronised, this boot is mapped by them, whether a server was ever met
    /// or not.
    pub fn handle_clock(&mut self, now: Instant) -> io::Result<()> {
        if now.quality < ClockQuality::Synchronised {
            return Ok(());
        }
        let mapping = Mapping { wall_of_boot: now.wall_of_boot(), quality: now.quality };
        let is_known = self.current.is_some_and(|known| {
            let apart = known.wall_of_boot.as_nanos().abs_diff(mapping.wall_of_boot.as_nanos());
            known.quality == mapping.quality && u128::from(apart) < limits::MAPPING_APART_MIN.as_nanos()
        });
        if is_known { Ok(()) } else { self.learn(mapping) }
    }

    /// The server said `server_time` at the instant `now`. A synchronised clock is believed before it.
    pub fn handle_server_time(&mut self, now: Instant, server_time: WallTime) -> io::Result<()> {
        self.handle_clock(now)?;
        let wall_of_boot = server_time - now.monotonic.since_boot;
        self.learn(Mapping { wall_of_boot, quality: ClockQuality::Server })
    }

    fn learn(&mut self, mapping: Mapping) -> io::Result<()> {
        let before = self.current.or(self.of_boot(self.boot));
        if before.is_some_and(|before| before.quality > mapping.quality) {
            // A clock that was synchronised in this boot and then set by hand: the monotonic clock still tells.
            self.current = before;
            return Ok(());
        }
        self.current = Some(mapping);
        self.remembered.retain(|(boot, _)| *boot != self.boot);
        self.remembered.push((self.boot, mapping));
        let surplus = self.remembered.len().saturating_sub(limits::BOOTS_REMEMBERED);
        self.remembered.drain(..surplus);
        let lines: String = self.remembered.iter().map(line).collect();
        state::replace(&self.path, lines.as_bytes())
    }

    /// The wall time of a fragment that is sent, and how far it can be trusted. `own` says that this run of the
    /// agent captured it.
    pub fn resolve(&mut self, id: FragmentId, start: Start, own: bool) -> (WallTime, ClockQuality) {
        let followed = self.followed(id.session, start, own);
        if let Some(followed) = followed {
            if self.sessions.len() >= limits::SESSIONS_MAPPED_MAX && !self.sessions.contains_key(&id.session) {
                self.sessions.clear();
            }
            self.sessions.insert(id.session, followed);
        }
        time(start, followed)
    }

    /// What [`Self::resolve`] would say of a fragment now, for whoever only looks at it: its session goes no step further.
    pub fn look(&self, id: FragmentId, start: Start, own: bool) -> (WallTime, ClockQuality) {
        time(start, self.followed(id.session, start, own))
    }

    /// The time now, by the best that is known of this boot.
    pub fn now(&self, now: Instant) -> WallTime {
        let mapping = self.current.or(self.of_boot(self.boot));
        match mapping.filter(|mapping| mapping.quality > now.quality) {
            Some(mapping) => mapping.wall_of_boot + now.monotonic.since_boot,
            None => now.wall,
        }
    }

    /// How a session is mapped for its fragment that began there; `None` for one that needs no mapping, or has none.
    fn followed(&self, session: SessionId, start: Start, own: bool) -> Option<Followed> {
        let at = start.monotonic.filter(|_| start.quality < ClockQuality::Synchronised)?;
        let current = self.current.filter(|_| at.boot == self.boot);
        if let Some(&followed) = self.sessions.get(&session) {
            return Some(followed.towards(current.filter(|_| own), at.since_boot));
        }
        let remembered = self.of_boot(at.boot);
        // Some fragments of an earlier run's session may have been sent by what was known then.
        let mapping = if own { current.or(remembered) } else { remembered.or(current) }?;
        Some(Followed { mapping, since_boot: at.since_boot })
    }

    fn of_boot(&self, boot: BootId) -> Option<Mapping> {
        self.remembered.iter().find(|(known, _)| *known == boot).map(|(_, mapping)| *mapping)
    }
}

impl Followed {
    /// The same, moved towards what is known now, by as much as the time since the last fragment allows.
    fn towards(mut self, current: Option<Mapping>, since_boot: Duration) -> Self {
        let Some(target) = current.filter(|current| current.quality >= self.mapping.quality) else {
            return self;
        };
        let Some(elapsed) = since_boot.checked_sub(self.since_boot) else {
            return self;
        };
        self.since_boot = since_boot;
        let (behind, ahead) = (
            target.wall_of_boot.since(self.mapping.wall_of_boot),
            self.mapping.wall_of_boot.since(target.wall_of_boot),
        );
        let step = (elapsed / limits::SLEW).min(limits::SLEW_STEP_MAX);
        self.mapping.wall_of_boot = self.mapping.wall_of_boot + behind.min(step) - ahead.min(step);
        if behind.max(ahead) <= limits::MAPPING_APART_MIN {
            self.mapping.quality = target.quality;
        }
        self
    }
}

/// By the mapping of its session, or as it was captured.
fn time(start: Start, followed: Option<Followed>) -> (WallTime, ClockQuality) {
    match start.monotonic.zip(followed) {
        Some((monotonic, Followed { mapping, .. })) => (mapping.wall_of_boot + monotonic.since_boot, mapping.quality),
        None => (start.wall, start.quality),
    }
}

/// What to say and do where a clock that is held for synchronised and the server's differ by more than a line explains.
pub fn disagreement(now: Instant, server_time: WallTime) -> Option<String> {
    let ahead = now.wall.as_nanos().saturating_sub(server_time.as_nanos());
    let apart = Duration::from_nanos(ahead.unsigned_abs());
    if now.quality < ClockQuality::Synchronised || apart <= limits::CLOCKS_APART_MAX {
        return None;
    }
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    Some(format!(
        "this device's clock is held for synchronised, and is {} s {side} the server's: compare both with a clock that \
         you trust, and look at the NTP servers of the one that is wrong (`timedatectl timesync-status` or `chronyc sources`). \
         The recordings go by this device's",
        apart.as_secs()
    ))
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
mod tests;
