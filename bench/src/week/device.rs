//! A device whose cameras never pause, by a clock that is moved on.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use fragment::{BootId, ClockQuality, FragmentId, MonotonicTime, Sequence, SessionId, StreamName, WallTime};
use spool::drops::{Reason, Run};
use spool::{Now, Spool, Start, Writer};
use upload::FragmentKey;

use super::{DAY, HOUR, days};

/// A camera gives a piece of this size each second.
const PIECE: &[u8] = &[7; 100];
const CLOSING: &[u8] = b"</fragment>";
const SECOND: Duration = Duration::from_secs(1);
const PIECES: u32 = 2;
/// What the upload has to carry of a fragment.
pub(super) const FRAGMENT_BYTES: u64 = PIECES as u64 * PIECE.len() as u64 + CLOSING.len() as u64;
/// How long a fragment plays.
pub(super) const FRAGMENT: Duration = Duration::from_secs(PIECES as u64);
/// The beginning of a day, 2026-09-14.
const BEGIN_MILLIS: i64 = 1_789_344_000_000;

pub(super) struct Device {
    pub(super) spool: Spool,
    cameras: Vec<Camera>,
    /// Since the boot.
    pub(super) now: Duration,
}

/// A device whose agent has ended.
pub(super) struct Stopped {
    cameras: usize,
    now: Duration,
}

struct Camera {
    stream: StreamName,
    /// What is being captured, and how many pieces of it there are.
    writer: Option<(Writer, u32)>,
}

impl Device {
    pub(super) fn new(spool: Spool, cameras: usize) -> Self {
        Stopped { cameras, now: Duration::ZERO }.start(spool)
    }

    /// Ends the agent between two fragments.
    pub(super) fn stop(self) -> Stopped {
        Stopped { cameras: self.cameras.len(), now: self.now }
    }

    pub(super) fn cameras(&self) -> usize {
        self.cameras.len()
    }

    /// Time passes.
    pub(super) fn capture(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = self.now + time;
        while self.now < end {
            self.tick()?;
        }
        Ok(())
    }

    /// A second passes.
    pub(super) fn tick(&mut self) -> anyhow::Result<()> {
        let monotonic = self.monotonic();
        let start = Start { monotonic: Some(monotonic), wall: self.wall(), quality: ClockQuality::Synchronised };
        for (number, camera) in (0..).zip(&mut self.cameras) {
            let seconds = self.now.as_secs();
            if camera.writer.is_none() {
                let key = FragmentKey { stream: camera.stream.clone(), id: id(number, seconds) };
                camera.writer = Some((self.spool.create(key, start, Bytes::from_static(CLOSING))?, 0));
            }
            let (writer, pieces) = camera.writer.as_mut().context("it was just begun")?;
            *pieces += 1;
            writer.append(SECOND * *pieces, &[Bytes::from_static(PIECE)])?;
            if *pieces == PIECES
                && let Some((writer, _)) = camera.writer.take()
            {
                writer.finish(FRAGMENT)?;
            }
        }
        self.now += SECOND;
        if self.now.as_secs().is_multiple_of(60) {
            self.spool.tend(Now { monotonic: self.monotonic(), wall: Some(self.wall()) });
        }
        Ok(())
    }

    fn monotonic(&self) -> MonotonicTime {
        MonotonicTime { boot: BootId(1), since_boot: self.now }
    }

    fn wall(&self) -> WallTime {
        WallTime::from_millis(BEGIN_MILLIS) + self.now
    }

    /// Each fragment that was captured is in the spool or in the list, which has a line for each session.
    pub(super) fn check_drops(&self, listed: &[Run]) -> anyhow::Result<()> {
        let counters = self.spool.counters();
        let is_quota = |run: &Run| run.reason == Reason::Quota;
        ensure!(listed.iter().all(is_quota), "{listed:#?}");
        let fragments: u64 = listed.iter().map(|run| u64::from(run.last.0 - run.first.0) + 1).sum();
        let captured = self.now.as_secs() / FRAGMENT.as_secs() * self.cameras.len() as u64;
        ensure!(
            fragments == counters.dropped && fragments + counters.fragments == captured,
            "{counters:?}: {listed:#?}"
        );
        let playing: Duration = listed.iter().map(|run| run.duration).sum();
        ensure!(playing.as_secs() == fragments * FRAGMENT.as_secs(), "{listed:#?}");
        let sessions = (days(self.now) + 1) * self.cameras.len() as u64;
        ensure!(listed.len() as u64 <= sessions, "one line for each session: {listed:#?}");
        // What is left begins behind what was dropped.
        let oldest = self.spool.next(None).context("it is not empty")?.1;
        let begins = |run: &Run| began(FragmentId { session: run.session, sequence: run.last }).0;
        let last = listed.iter().map(begins).max().unwrap_or_default();
        ensure!(listed.is_empty() || last <= began(oldest.key.id).0, "the oldest go first");
        Ok(())
    }
}

impl Stopped {
    pub(super) fn start(self, spool: Spool) -> Device {
        let camera =
            |number: usize| Camera { stream: format!("camera-{number}").parse().expect("a good name"), writer: None };
        Device { spool, cameras: (0..self.cameras).map(camera).collect(), now: self.now }
    }
}

/// The identity of the fragment that a camera begins in this second: each has a session a day.
fn id(camera: u64, seconds: u64) -> FragmentId {
    let (day, rest) = (seconds / DAY.as_secs(), seconds % DAY.as_secs());
    let sequence = u32::try_from(rest / FRAGMENT.as_secs()).expect("a day is short");
    FragmentId { session: SessionId(day << 16 | camera), sequence: Sequence(sequence) }
}

/// The second in which it began, and its camera: the order of capture.
pub(super) fn began(id: FragmentId) -> (u64, u64) {
    let seconds = day_of(id.session) * DAY.as_secs() + u64::from(id.sequence.0) * FRAGMENT.as_secs();
    (seconds, id.session.0 & 0xffff)
}

pub(super) fn day_of(session: SessionId) -> u64 {
    session.0 >> 16
}

/// Such as "day 2, 13:05".
pub(super) fn time_of_week(time: Duration) -> String {
    let (day, rest) = (days(time), time.as_secs() % DAY.as_secs());
    format!("day {}, {:02}:{:02}", day + 1, rest / HOUR.as_secs(), rest % HOUR.as_secs() / 60)
}
