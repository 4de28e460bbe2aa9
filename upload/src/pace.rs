//! How much of the line the backlog may take, and all of it together.
//!
//! Two ways to say it, since they answer different questions. A **rate** is what a contract allows: it is kept by
//! counting payload as it is written. A **share** is what others on the line are left, and the line's own rate is
//! not known, nor is it the same tomorrow. So the backlog goes in bursts at full speed: how fast a burst was at the
//! server, together with what live sent meanwhile, is the rate of the line, and the pause that follows makes the
//! burst its share of the time. The next burst is as large as the line carries in [`limits::BURST`].
//!
//! Live is asked only whether all together may go as fast, never about the backlog's limits, and what the backlog took does not
//! count against it. What is written may put a rate into debt, so nothing is too large to go.

use std::time::Duration;

use crate::{Priority, limits};

/// What a device may take of its line. By default all that there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Bytes a second of everything.
    pub rate_max: Option<u64>,
    /// Bytes a second of the backlog.
    pub backlog_rate_max: Option<u64>,
    /// Per cent of the line for the backlog, 1 to 99.
    pub backlog_share: Option<u8>,
}

/// Keeps an allowance.
#[derive(Debug)]
pub(crate) struct Pace {
    /// What live alone has written.
    live: Option<Rate>,
    /// What both have written; only the backlog waits for it.
    all: Option<Rate>,
    backlog: Option<Rate>,
    share: Option<Share>,
}

impl Pace {
    pub(crate) fn new(allowance: Allowance) -> Self {
        Self {
            live: allowance.rate_max.map(Rate::new),
            all: allowance.rate_max.map(Rate::new),
            backlog: allowance.backlog_rate_max.map(Rate::new),
            share: allowance.backlog_share.map(Share::new),
        }
    }

    /// From when on something of this priority may be written.
    pub(crate) fn writes_from(&self, priority: Priority) -> Duration {
        let rates = match priority {
            Priority::Live => [&self.live, &None],
            Priority::Backlog => [&self.all, &self.backlog],
        };
        rates.into_iter().flatten().map(|rate| rate.free_at).max().unwrap_or_default()
    }

    /// From when on a fragment of the backlog may be begun; `None` if what was begun has to arrive first.
    pub(crate) fn begins_from(&mut self, now: Duration) -> Option<Duration> {
        let begins = self.share.as_mut().map_or(Some(Duration::ZERO), |share| share.begins_from(now))?;
        Some(begins.max(self.writes_from(Priority::Backlog)))
    }

    /// The most to write at once, so that a low rate goes evenly.
    pub(crate) fn piece(&self, priority: Priority) -> u64 {
        let rates = match priority {
            Priority::Live => [&self.live, &None],
            Priority::Backlog => [&self.all, &self.backlog],
        };
        let least = rates.into_iter().flatten().map(|rate| rate.piece()).min();
        least.unwrap_or(u64::MAX).min(limits::CHUNK_BYTES_MAX as u64)
    }

    pub(crate) fn wrote(&mut self, now: Duration, priority: Priority, bytes: u64) {
        let own = match priority {
            Priority::Live => &mut self.live,
            Priority::Backlog => &mut self.backlog,
        };
        for rate in [own, &mut self.all].into_iter().flatten() {
            rate.take(now, bytes);
        }
        if priority == Priority::Live
            && let Some(burst) = self.share.as_mut().and_then(|share| share.burst.as_mut())
        {
            burst.live += bytes;
        }
    }

    /// A fragment of the backlog was begun.
    pub(crate) fn began(&mut self, now: Duration, bytes: u64) {
        if let Some(share) = &mut self.share {
            share.began(now, bytes);
        }
    }

    /// A fragment of the backlog is at the server, or is not under way any more.
    pub(crate) fn ended(&mut self, bytes: u64, delivered: bool) {
        if let Some(burst) = self.share.as_mut().and_then(|share| share.burst.as_mut()) {
            burst.under_way = burst.under_way.saturating_sub(bytes);
            burst.delivered += if delivered { bytes } else { 0 };
        }
    }
}

/// Bytes a second, by when the line is free again. Debt is allowed, and is waited for.
#[derive(Debug)]
struct Rate {
    bytes_per_second: u64,
    free_at: Duration,
}

impl Rate {
    fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), free_at: Duration::ZERO }
    }

    fn piece(&self) -> u64 {
        (self.bytes_per_second / limits::PIECES_PER_SECOND).max(limits::PIECE_BYTES_MIN)
    }

    fn take(&mut self, now: Duration, bytes: u64) {
        let begins = self.free_at.max(now.saturating_sub(limits::RATE_SLACK));
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        self.free_at = begins + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    }
}

/// A part of a line whose rate is not known.
#[derive(Debug)]
struct Share {
    part: f64,
    /// What one burst may begin. The first fragment shows how fast the line is.
    burst_bytes: u64,
    burst: Option<Burst>,
    next: Duration,
}

#[derive(Debug, Default)]
struct Burst {
    began: Duration,
    begun: u64,
    under_way: u64,
    delivered: u64,
    /// What live wrote meanwhile.
    live: u64,
}

impl Share {
    fn new(per_cent: u8) -> Self {
        Self { part: f64::from(per_cent.clamp(1, 100)) / 100.0, burst_bytes: 1, burst: None, next: Duration::ZERO }
    }

    fn begins_from(&mut self, now: Duration) -> Option<Duration> {
        if let Some(burst) = self.burst.take_if(|burst| burst.under_way == 0) {
            self.end(now, &burst);
        }
        match &self.burst {
            Some(burst) if burst.begun >= self.burst_bytes => None,
            Some(_) => Some(Duration::ZERO),
            None => Some(self.next),
        }
    }

    fn began(&mut self, now: Duration, bytes: u64) {
        let burst = self.burst.get_or_insert_with(|| Burst { began: now, ..Burst::default() });
        burst.begun += bytes;
        burst.under_way += bytes;
    }

    /// Over the time from one burst to the next the backlog's bytes are its part of what the line carries.
    #[expect(clippy::cast_precision_loss, reason = "a burst is far below 2^52 bytes")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and bounded before")]
    fn end(&mut self, now: Duration, burst: &Burst) {
        let took = now.saturating_sub(burst.began).max(Duration::from_millis(1));
        let carried = burst.delivered + burst.live;
        if burst.delivered == 0 {
            // Refused or taken back: nothing was learned of the line.
            self.next = now;
            return;
        }
        let line = carried as f64 / took.as_secs_f64();
        let cycle = burst.delivered as f64 / (line * self.part);
        self.next = burst.began + Duration::from_secs_f64(cycle.min(limits::SHARE_PAUSE_MAX.as_secs_f64()));
        let fits = line * limits::BURST.as_secs_f64();
        // A short burst says little of a long line, so the next one is not too much larger.
        self.burst_bytes = (fits.min(burst.delivered as f64 * 4.0) as u64).max(1);
    }
}

#[cfg(test)]
mod tests;
