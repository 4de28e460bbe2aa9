//! A connection by the agent's own plan, feed and sender, on a line of a given rate, to a server that stores all it gets.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use agent::feed::Feed;
use agent::plan::{Plan, Rules};
use anyhow::{Context as _, bail, ensure};
use fragment::WallTime;
use upload::{Ack, AckKind, Action, FragmentKey, FromServer, Priority, Sender, Welcome, limits};

use super::device::{Device, FRAGMENT, FRAGMENT_BYTES, began};

/// From the last byte to PERSISTED.
const ROUND_TRIP: Duration = Duration::from_millis(60);

/// What was begun.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    pub(super) live: u64,
    pub(super) live_bytes: u64,
    pub(super) backlog: u64,
    pub(super) backlog_bytes: u64,
    /// The backlog is begun up to here.
    pub(super) backlog_until: Duration,
}

pub(super) struct Connection {
    sender: Sender,
    plan: Plan,
    feed: Feed,
    /// By the device's clock.
    began: Duration,
    now: Duration,
    /// Bytes in a second.
    rate: f64,
    line_is_free: Duration,
    acks: VecDeque<(Duration, FragmentKey)>,
    live: HashSet<FragmentKey>,
    /// The last fragment of the backlog that was begun.
    last: Option<(u64, u64)>,
    persisted: HashSet<FragmentKey>,
    persisted_of_backlog: u64,
    backlog: u64,
    caught_up: Option<Duration>,
    pub(super) sent: Sent,
}

impl Connection {
    pub(super) fn new(device: &Device, line: u32) -> Self {
        let mut sender = Sender::new(1);
        let plan = Plan::new(Rules::default());
        let feed = Feed::new(&device.spool, &mut sender, &plan);
        let welcome = FromServer::Welcome(Welcome {
            server_time: WallTime::from_millis(0),
            fragments_in_flight: limits::FRAGMENTS_IN_FLIGHT,
            bytes_in_flight: limits::BYTES_IN_FLIGHT,
            fragment_bytes: 1 << 20,
            fragment_duration: Duration::from_secs(20),
            device: "test".to_owned(),
            certificate_expires: WallTime::from_millis(0),
        });
        sender.handle_control(Duration::ZERO, &welcome.encode()).expect("a welcome is understood");
        let of_cameras = device.cameras() as f64 * FRAGMENT_BYTES as f64 / FRAGMENT.as_secs_f64();
        Self {
            sender,
            plan,
            feed,
            began: device.now,
            now: Duration::ZERO,
            rate: of_cameras * f64::from(line),
            line_is_free: Duration::ZERO,
            acks: VecDeque::new(),
            live: HashSet::new(),
            last: None,
            persisted: HashSet::new(),
            persisted_of_backlog: 0,
            backlog: device.spool.counters().fragments,
            caught_up: None,
            sent: Sent::default(),
        }
    }

    /// Whether all of the backlog that there was at the beginning is persisted.
    pub(super) fn is_done(&self) -> bool {
        self.caught_up.is_some()
    }

    /// When that was, since the beginning.
    pub(super) fn caught_up(&self) -> Option<Duration> {
        self.caught_up
    }

    /// Time passes, on the line and for the cameras.
    pub(super) fn run(&mut self, device: &mut Device, time: Duration) -> anyhow::Result<()> {
        let end = self.now + time;
        while self.now < end && !self.is_done() {
            while self.line_is_free <= self.now {
                let Some(action) = self.next(device) else { break };
                self.act(device, action)?;
            }
            let next_picture = device.now - self.began;
            let busy = Some(self.line_is_free).filter(|&free| free > self.now);
            let acked = self.acks.front().map(|&(at, _)| at);
            let events = [busy, acked, self.sender.poll_timeout()];
            self.now = events.into_iter().flatten().fold(next_picture, Duration::min).max(self.now);
            while self.acks.front().is_some_and(|&(at, _)| at <= self.now)
                && let Some((_, key)) = self.acks.pop_front()
            {
                let ack = FromServer::Ack(Ack { key, kind: AckKind::Persisted, number: None });
                self.sender.handle_control(self.now, &ack.encode())?;
            }
            if next_picture <= self.now {
                device.tick()?;
            }
        }
        Ok(())
    }

    fn next(&mut self, device: &Device) -> Option<Action> {
        let Self { feed, sender, plan, .. } = self;
        feed.poll_action(&device.spool, sender, plan, &mut |_| None, self.now)
    }

    fn act(&mut self, device: &Device, action: Action) -> anyhow::Result<()> {
        match action {
            Action::Open { key, priority: Priority::Live } => {
                ensure!(began(key.id).0 >= self.began.as_secs(), "{key} was captured before, and is not live");
                ensure!(self.live.insert(key.clone()), "{key} is begun twice");
                self.sent.live += 1;
            }
            Action::Open { key, priority: Priority::Backlog } => {
                let place = began(key.id);
                ensure!(self.last.is_none_or(|last| last < place), "{key} is begun twice, or not in its order");
                self.last = Some(place);
                self.sent.backlog += 1;
                self.sent.backlog_until = Duration::from_secs(place.0);
            }
            Action::Write { key, range } => {
                let bytes = range.end - range.start;
                let of =
                    if self.live.contains(&key) { &mut self.sent.live_bytes } else { &mut self.sent.backlog_bytes };
                *of += bytes;
                self.line_is_free = self.now.max(self.line_is_free) + Duration::from_secs_f64(bytes as f64 / self.rate);
                self.sender.handle_written(&key);
            }
            Action::Finish { key, trailer } => {
                ensure!(trailer.bytes == FRAGMENT_BYTES && trailer.duration == FRAGMENT, "{key}: {trailer:?}");
                self.acks.push_back((self.line_is_free.max(self.now) + ROUND_TRIP, key));
            }
            Action::Persisted { key, .. } => self.free(device, key)?,
            other => bail!("on a line without faults: {other:?}"),
        }
        Ok(())
    }

    fn free(&mut self, device: &Device, key: FragmentKey) -> anyhow::Result<()> {
        device.spool.remove(&device.spool.release(&key).context("what is persisted was in the spool")?);
        if began(key.id).0 < self.began.as_secs() {
            self.persisted_of_backlog += 1;
            if self.persisted_of_backlog == self.backlog {
                self.caught_up = Some(self.now);
            }
        } else {
            ensure!(self.live.contains(&key), "{key} was captured with a line, and went as backlog");
            ensure!(self.persisted.insert(key), "a fragment is persisted twice");
        }
        Ok(())
    }

    /// All of the backlog was sent, once, and all that was captured meanwhile went live.
    pub(super) fn check(&self, backlog: u64) -> anyhow::Result<()> {
        let Sent { live, backlog: sent, backlog_bytes, .. } = self.sent;
        ensure!((sent, self.persisted_of_backlog) == (backlog, backlog), "{:?} of {backlog}", self.sent);
        ensure!(backlog_bytes == backlog * FRAGMENT_BYTES, "{:?}", self.sent);
        ensure!(live >= self.persisted.len() as u64, "{:?}", self.sent);
        Ok(())
    }
}
