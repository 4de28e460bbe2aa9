//! Which fragments of the spool may be sent now. Pure: what time it is, and what is wanted, are told.
//!
//! | stream | while it is captured | afterwards |
//! | --- | --- | --- |
//! | `mode = "continuous"` | is sent | within `backlog_hours` |
//! | `mode = "record"` | waits | within `upload_hours` and `backlog_hours` |
//! | any, in a range that was asked for | as above | at any hour: someone waits for it |
//! | any, of a session that is wanted as a whole | as above | at any hour |
//!
//! Hours are those of a time that can be trusted: of a synchronised clock, or of the server, which says its time before it is
//! sent anything. So a device in 1970 keeps its hours too. Until a time is known, hours allow nothing.

use std::collections::HashMap;
use std::time::Duration;

use fragment::{SessionId, StreamName, WallTime};
use upload::FragmentKey;

use crate::hours::Hours;
use crate::limits;
use crate::wanted::Range;

/// What the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    backlog: Hours,
    /// Streams that only record, with their hours of upload; `None` for one that is sent by itself.
    streams: HashMap<StreamName, Option<Hours>>,
    /// Streams of which the configuration says nothing, such as those of a camera that was taken out of it.
    others: Option<Hours>,
    /// One that is sent while it is captured, whatever else is said of it: somebody waits for it.
    live: Option<StreamName>,
}

impl Rules {
    /// Rules for streams that have none of their own.
    pub fn new(backlog: Hours, others: Option<Hours>) -> Self {
        Self { backlog, streams: HashMap::new(), others, live: None }
    }

    /// A stream that only records has hours.
    pub fn set(&mut self, stream: StreamName, record: Option<Hours>) {
        self.streams.insert(stream, record);
    }

    /// The same, but for a stream that is sent while it is captured. What earlier runs have left of it goes by the rules.
    #[must_use]
    pub fn live(self, stream: StreamName) -> Self {
        Self { live: Some(stream), ..self }
    }

    /// The streams that nothing uploads by itself, in the order of their names.
    pub fn only_on_request(&self) -> Vec<&StreamName> {
        let never = Some(Hours::never());
        let mut streams: Vec<_> =
            self.streams.iter().filter(|(_, hours)| **hours == never).map(|(name, _)| name).collect();
        streams.sort();
        streams
    }

    /// Whether it is sent while it is captured.
    pub fn is_live(&self, stream: &StreamName) -> bool {
        self.live.as_ref() == Some(stream) || self.record(stream).is_none()
    }

    /// Whether what was captured of it may be sent at this time, as far as hours go.
    pub fn open(&self, stream: &StreamName, at: Option<WallTime>) -> bool {
        self.backlog.allow(at) && self.record(stream).is_none_or(|hours| hours.allow(at))
    }

    fn record(&self, stream: &StreamName) -> Option<&Hours> {
        self.streams.get(stream).unwrap_or(&self.others).as_ref()
    }
}

/// The rules as they are now.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    rules: Rules,
    now: Option<WallTime>,
    wanted: Vec<Range>,
    /// Sessions that are wanted as a whole.
    sessions: Vec<SessionId>,
    /// Whether each stream was open when it was last asked for.
    open: HashMap<StreamName, bool>,
}

impl Plan {
    /// A plan for a time that is not known yet.
    pub fn new(rules: Rules) -> Self {
        Self { rules, now: None, wanted: Vec::new(), sessions: Vec::new(), open: HashMap::new() }
    }

    /// It is `now`, and these ranges and sessions are wanted. Says whether other fragments may be sent than before.
    pub fn turn(&mut self, now: WallTime, wanted: Vec<Range>, sessions: Vec<SessionId>) -> bool {
        self.now = Some(now);
        let rules = &self.rules;
        let mut turned = false;
        for (stream, open) in &mut self.open {
            let opens = rules.open(stream, self.now);
            turned |= std::mem::replace(open, opens) != opens;
        }
        turned |= wanted.iter().any(|range| !self.wanted.contains(range));
        turned |= sessions.iter().any(|session| !self.sessions.contains(session));
        (self.wanted, self.sessions) = (wanted, sessions);
        turned
    }

    /// Whether it is sent while it is captured.
    pub fn is_live(&self, stream: &StreamName) -> bool {
        self.rules.is_live(stream)
    }

    /// Whether a fragment that was captured may be sent now, without its range having been asked for.
    pub fn may_go(&mut self, key: &FragmentKey) -> bool {
        self.sessions.contains(&key.id.session) || self.is_open(&key.stream)
    }

    /// Whether what was captured of this stream may be sent now, without having been asked for.
    fn is_open(&mut self, stream: &StreamName) -> bool {
        if let Some(&open) = self.open.get(stream) {
            return open;
        }
        let open = self.rules.open(stream, self.now);
        self.open.insert(stream.clone(), open);
        open
    }

    /// Whether something of this stream is wanted.
    pub fn wants_of(&self, stream: &StreamName) -> bool {
        self.wanted.iter().any(|range| range.stream == *stream)
    }

    /// Whether anything is wanted.
    pub fn wants(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Whether a fragment that begins then, and plays for so long, is wanted.
    pub fn wants_at(&self, stream: &StreamName, start: WallTime, duration: Duration) -> bool {
        self.wanted.iter().any(|range| range.stream == *stream && start < range.to && start + duration > range.from)
    }

    /// Whether something that ends later than this is wanted.
    pub fn wants_behind(&self, stream: &StreamName, start: WallTime) -> bool {
        self.wanted.iter().any(|range| range.stream == *stream && start < range.to)
    }

    /// The ranges whose end has passed: nothing that is captured or on its way to the spool lies in them.
    pub fn past(&self) -> Vec<Range> {
        self.wanted
            .iter()
            .filter(|range| self.now.is_some_and(|now| range.to + limits::WANTED_SLACK < now))
            .cloned()
            .collect()
    }
}
