//! Decides on the device what to send next.
//!
//! The shell tells it what the spool holds (`opened`, `grew`, `finished`, `removed`) and what the
//! connection does (`handle_*`), and then calls [`Sender::poll_action`] until it answers `None`. The
//! rules: live before backlog; a fragment that was begun is written to its end; backlog is begun only
//! while the window that the server announced has room, and live while the server keeps up; neither takes more of
//! the line than it is allowed; nothing is forgotten before PERSISTED or a final ERROR. A sender lives as long as a connection: the next one has a new
//! sender, which is told what the spool still holds, and so everything unacknowledged is in line again.
//!
//! Fragments carry an internal number in the order of `opened`, so that the queues below are sets of
//! numbers and hold no names.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use fragment::FragmentNumber;

use crate::pace::Pace;
use crate::wire::{MessageError, MessageReader};
use crate::{Ack, AckKind, Allowance, ErrorCode, FragmentKey, FromServer, Trailer, Welcome, limits};

/// Which fragments go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// It is being captured now.
    Live,
    /// It waited in the spool. Oldest first.
    Backlog,
}

impl Priority {
    /// The priority of a QUIC stream: higher goes first.
    pub fn quic(self) -> i32 {
        match self {
            Self::Live => 1,
            Self::Backlog => 0,
        }
    }
}

/// What the shell has to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a unidirectional stream and write the fragment's header to it.
    Open {
        /// Which fragment.
        key: FragmentKey,
        /// With which priority.
        priority: Priority,
    },
    /// Write these payload bytes out of the spool as one chunk (head and bytes), then call
    /// [`Sender::handle_written`].
    Write {
        /// Which fragment.
        key: FragmentKey,
        /// Which of its bytes.
        range: Range<u64>,
    },
    /// Write the trailer and finish the stream.
    Finish {
        /// Which fragment.
        key: FragmentKey,
        /// Its trailer.
        trailer: Trailer,
    },
    /// Abandon the stream: its fragment needs no more bytes.
    Reset {
        /// Which fragment.
        key: FragmentKey,
    },
    /// For display: the server has begun to receive it, or has all of it.
    Progress {
        /// Which fragment.
        key: FragmentKey,
        /// Whether all of it (RECEIVED) or only a beginning (BUFFERING).
        whole: bool,
    },
    /// The server has it on disk: free the spool.
    Persisted {
        /// Which fragment.
        key: FragmentKey,
        /// The number that the server gave it.
        number: Option<FragmentNumber>,
    },
    /// The server will never take it: move it out of the way.
    Rejected {
        /// Which fragment.
        key: FragmentKey,
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        message: String,
    },
    /// For the log: the server could not take it now; it is sent again after the pause.
    Postponed {
        /// Which fragment.
        key: FragmentKey,
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        message: String,
        /// How long it waits.
        pause: Duration,
    },
    /// The server has been silent for too long: close the connection and open a new one.
    Reconnect,
}

/// The device's end of the upload.
#[derive(Debug)]
pub struct Sender {
    control: MessageReader,
    welcome: Option<Welcome>,
    items: BTreeMap<u64, Item>,
    numbers: HashMap<FragmentKey, u64>,
    next_number: u64,
    /// To be begun, in this order, when the window allows.
    waiting: BTreeSet<(Priority, u64)>,
    /// To be begun again, not before this time.
    postponed: BTreeSet<(Duration, u64)>,
    /// Begun, with something to write and no write under way.
    ready: BTreeSet<(Priority, u64)>,
    /// Sent to the end, by when an ack has to be in.
    unacknowledged: BTreeSet<(Duration, u64)>,
    in_flight: Window,
    notices: VecDeque<Action>,
    pace: Pace,
    /// Until when the pace holds something back.
    held_until: Option<Duration>,
    random: fastrand::Rng,
}

/// What is begun and not acknowledged.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    fragments: u32,
    bytes: u64,
    /// Of these, the bytes of fragments that were captured to their end. They are few while the server keeps up.
    whole: u64,
}

#[derive(Debug)]
struct Item {
    key: FragmentKey,
    priority: Priority,
    /// Payload bytes that the spool holds.
    spooled: u64,
    /// Known once it is captured to its end.
    trailer: Option<Trailer>,
    state: State,
    attempts: u32,
    /// Its bytes, while the pace counts it as under way.
    paced: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Postponed {
        until: Duration,
    },
    Open {
        sent: u64,
        writing: bool,
    },
    /// Finished, or stopped by the server: only an ack can change anything.
    Sent {
        deadline: Duration,
    },
}

impl Item {
    /// What it can take of the window: all that it is known to have.
    fn weight(&self) -> u64 {
        self.spooled
    }

    fn in_flight(&self) -> bool {
        matches!(self.state, State::Open { .. } | State::Sent { .. })
    }
}

impl Sender {
    /// A sender that knows no fragment and may take all of the line. The seed is that of the jitter in its pauses.
    pub fn new(seed: u64) -> Self {
        Self::with_allowance(seed, Allowance::default())
    }

    /// A sender that takes no more of the line than this.
    pub fn with_allowance(seed: u64, allowance: Allowance) -> Self {
        Self {
            control: MessageReader::new(),
            welcome: None,
            items: BTreeMap::new(),
            numbers: HashMap::new(),
            next_number: 0,
            waiting: BTreeSet::new(),
            postponed: BTreeSet::new(),
            ready: BTreeSet::new(),
            unacknowledged: BTreeSet::new(),
            in_flight: Window::default(),
            notices: VecDeque::new(),
            pace: Pace::new(allowance),
            held_until: None,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The server's welcome, while connected.
    pub fn welcome(&self) -> Option<&Welcome> {
        self.welcome.as_ref()
    }

    /// How many more fragments of the backlog it wants to know of.
    pub fn backlog_wanted(&self) -> usize {
        if self.postponed.len() >= limits::POSTPONED_MAX {
            return 0;
        }
        let waiting = self.waiting.range((Priority::Backlog, 0)..).count();
        limits::BACKLOG_LOOKAHEAD.saturating_sub(waiting)
    }

    /// Whether this fragment is known and not persisted.
    pub fn knows(&self, key: &FragmentKey) -> bool {
        self.numbers.contains_key(key)
    }

    /// Takes bytes of the control stream: the welcome and acks.
    pub fn handle_control(&mut self, now: Duration, bytes: &[u8]) -> Result<(), MessageError> {
        self.control.push(bytes);
        while let Some(message) = self.control.pull(limits::MESSAGE_BYTES_MAX)? {
            match FromServer::decode(message)? {
                FromServer::Welcome(welcome) => self.welcome = Some(welcome),
                FromServer::Ack(ack) => self.handle_ack(now, ack),
                FromServer::Unknown => {}
            }
        }
        Ok(())
    }

    /// The chunk of the last [`Action::Write`] of this fragment has been handed to QUIC.
    pub fn handle_written(&mut self, key: &FragmentKey) {
        self.change(key, |item| {
            if let State::Open { sent, .. } = item.state {
                item.state = State::Open { sent, writing: false };
            }
        });
    }

    /// The server wants no more bytes of this fragment: its ack is on the way.
    pub fn handle_stopped(&mut self, now: Duration, key: &FragmentKey) {
        self.settle(key, false);
        self.change(key, |item| {
            if matches!(item.state, State::Open { .. }) {
                item.state = State::Sent { deadline: now + limits::ACK_WAIT_MAX };
            }
        });
    }

    /// A fragment exists in the spool. One of the backlog is sent once it is `finished` too.
    pub fn opened(&mut self, key: FragmentKey, priority: Priority) {
        if self.numbers.contains_key(&key) {
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.numbers.insert(key.clone(), number);
        let item = Item { key, priority, spooled: 0, trailer: None, state: State::Waiting, attempts: 0, paced: None };
        self.waiting.insert((priority, number));
        self.items.insert(number, item);
    }

    /// The spool holds `bytes` payload bytes of the fragment, in all.
    pub fn grew(&mut self, key: &FragmentKey, bytes: u64) {
        self.change(key, |item| {
            debug_assert!(item.trailer.is_none(), "a finished fragment does not grow");
            item.spooled = item.spooled.max(bytes);
        });
    }

    /// The fragment is whole in the spool.
    pub fn finished(&mut self, key: &FragmentKey, trailer: Trailer) {
        self.change(key, |item| {
            item.spooled = trailer.bytes;
            item.trailer = Some(trailer);
            // Captured before it could be begun: newer fragments are live now.
            if !item.in_flight() {
                item.priority = Priority::Backlog;
            }
        });
    }

    /// The spool no longer has the fragment.
    pub fn removed(&mut self, key: &FragmentKey) {
        if let Some(item) = self.forget(key)
            && matches!(item.state, State::Open { .. })
        {
            self.notices.push_back(Action::Reset { key: item.key });
        }
    }

    /// The fragment is not to be sent now. One that was sent to its end is kept until its ack, which says `false`.
    pub fn withdraw(&mut self, key: &FragmentKey) -> bool {
        let state = self.numbers.get(key).map(|number| self.items[number].state);
        if matches!(state, Some(State::Sent { .. })) {
            return false;
        }
        self.removed(key);
        true
    }

    /// What to do now. Call until `None` after each change.
    pub fn poll_action(&mut self, now: Duration) -> Option<Action> {
        self.wake(now);
        if let Some(notice) = self.notices.pop_front() {
            return Some(notice);
        }
        self.welcome.as_ref()?;
        self.held_until = None;
        for first in [Priority::Live, Priority::Backlog] {
            let Some(&(priority, number)) = self.ready.range((first, 0)..).next() else {
                continue;
            };
            if !self.is_held(now, Some(self.pace.writes_from(priority))) {
                return Some(self.continue_writing(now, number));
            }
        }
        self.begin_next(now)
    }

    /// When to call [`Self::poll_action`] even though nothing happened.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let retry = self.postponed.first().map(|&(until, _)| until);
        let overdue = self.unacknowledged.first().map(|&(deadline, _)| deadline);
        [retry, overdue, self.held_until].into_iter().flatten().min()
    }

    /// Whether what may go from then on has to wait. Without a time it waits for an ack.
    fn is_held(&mut self, now: Duration, from: Option<Duration>) -> bool {
        if let Some(from) = from.filter(|&from| from > now) {
            self.held_until = Some(self.held_until.map_or(from, |held| held.min(from)));
        }
        from.is_none_or(|from| from > now)
    }

    /// The pace counts a fragment as under way no longer.
    fn settle(&mut self, key: &FragmentKey, delivered: bool) {
        if let Some(item) = self.numbers.get(key).and_then(|number| self.items.get_mut(number))
            && let Some(bytes) = item.paced.take()
        {
            self.pace.ended(bytes, delivered);
        }
    }

    fn handle_ack(&mut self, now: Duration, ack: Ack) {
        let Some(&number) = self.numbers.get(&ack.key) else {
            return;
        };
        let key = ack.key;
        match ack.kind {
            AckKind::Buffering => self.notices.push_back(Action::Progress { key, whole: false }),
            AckKind::Received => {
                self.settle(&key, true);
                self.notices.push_back(Action::Progress { key, whole: true });
            }
            AckKind::Persisted => {
                // One that was stored before was not carried by the line.
                let whole = matches!(self.items[&number].state, State::Sent { .. });
                self.settle(&key, whole);
                self.removed(&key);
                self.notices.push_back(Action::Persisted { key, number: ack.number });
            }
            AckKind::Error { code, message, retryable: false } => {
                self.removed(&key);
                self.notices.push_back(Action::Rejected { key, code, message });
            }
            AckKind::Error { code, message, retryable: true } => {
                // An answer to an attempt that is over says nothing about the next one.
                if self.items[&number].in_flight() {
                    self.postpone(now, key, code, message);
                }
            }
        }
    }

    fn postpone(&mut self, now: Duration, key: FragmentKey, code: ErrorCode, message: String) {
        self.settle(&key, false);
        let attempts = self.numbers.get(&key).map_or(0, |number| self.items[number].attempts);
        let pause = self.pause(attempts);
        let mut was_open = false;
        self.change(&key, |item| {
            was_open = matches!(item.state, State::Open { .. });
            item.attempts += 1;
            // Captured to its end: it waits for room in the window from now on, as a server without room needs it.
            if item.trailer.is_some() {
                item.priority = Priority::Backlog;
            }
            item.state = State::Postponed { until: now + pause };
        });
        if was_open {
            self.notices.push_back(Action::Reset { key: key.clone() });
        }
        self.notices.push_back(Action::Postponed { key, code, message, pause });
    }

    /// Doubles with each attempt up to the limit; a random half of it keeps many devices apart.
    fn pause(&mut self, attempts: u32) -> Duration {
        let whole = limits::RETRY_PAUSE_MIN.saturating_mul(1 << attempts.min(16)).min(limits::RETRY_PAUSE_MAX);
        whole.mul_f64(0.5 + self.random.f64() / 2.0)
    }

    /// Lets pauses end, and notices a silent server.
    fn wake(&mut self, now: Duration) {
        while let Some(&(until, number)) = self.postponed.first() {
            if until > now {
                break;
            }
            let key = self.items[&number].key.clone();
            self.change(&key, |item| item.state = State::Waiting);
        }
        if self.unacknowledged.first().is_some_and(|&(deadline, _)| deadline <= now) {
            // Once only: the shell gives up the connection, and this sender with it.
            self.unacknowledged.clear();
            self.notices.push_back(Action::Reconnect);
        }
    }

    fn continue_writing(&mut self, now: Duration, number: u64) -> Action {
        let item = &self.items[&number];
        let key = item.key.clone();
        let State::Open { sent, .. } = item.state else { unreachable!("only open fragments are ready") };
        if sent < item.spooled {
            let priority = item.priority;
            let end = item.spooled.min(sent + self.pace.piece(priority));
            self.pace.wrote(now, priority, end - sent);
            self.change(&key, |item| item.state = State::Open { sent: end, writing: true });
            return Action::Write { key, range: sent..end };
        }
        let trailer = item.trailer.expect("a fragment with nothing to write is ready only to be finished");
        self.change(&key, |item| item.state = State::Sent { deadline: now + limits::ACK_WAIT_MAX });
        Action::Finish { key, trailer }
    }

    fn begin_next(&mut self, now: Duration) -> Option<Action> {
        if self.has_room(Priority::Live, 0)
            && let Some(&(_, number)) = self.waiting.range(..(Priority::Backlog, 0)).next()
        {
            return Some(self.begin(Priority::Live, number));
        }
        let whole = |&&(_, number): &&(Priority, u64)| self.items[&number].trailer.is_some();
        let &(_, number) = self.waiting.range((Priority::Backlog, 0)..).find(whole)?;
        let bytes = self.items[&number].weight();
        let from = self.pace.begins_from(now);
        if !self.has_room(Priority::Backlog, bytes) || self.is_held(now, from) {
            return None;
        }
        self.pace.began(now, bytes);
        self.items.get_mut(&number).expect("what waits is known").paced = Some(bytes);
        Some(self.begin(Priority::Backlog, number))
    }

    fn begin(&mut self, priority: Priority, number: u64) -> Action {
        let key = self.items[&number].key.clone();
        self.change(&key, |item| item.state = State::Open { sent: 0, writing: false });
        Action::Open { key, priority }
    }

    /// Live needs a place, and a server that keeps up: what it owes acks for is less than the window. Otherwise more
    /// fragments would be begun than the server can ever hold whole. Backlog needs a place and bytes, and leaves a quarter
    /// of both to live. A fragment larger than the window goes alone.
    fn has_room(&self, priority: Priority, bytes: u64) -> bool {
        let Some(welcome) = &self.welcome else {
            return false;
        };
        if self.in_flight.fragments == 0 {
            return true;
        }
        match priority {
            Priority::Live => {
                self.in_flight.fragments < welcome.fragments_in_flight && self.in_flight.whole < welcome.bytes_in_flight
            }
            Priority::Backlog => {
                self.in_flight.fragments < welcome.fragments_in_flight - welcome.fragments_in_flight / 4
                    && self.in_flight.bytes + bytes <= welcome.bytes_in_flight - welcome.bytes_in_flight / 4
            }
        }
    }

    /// Changes a fragment and keeps queues and window true to it: the only way to change one.
    fn change(&mut self, key: &FragmentKey, change: impl FnOnce(&mut Item)) {
        let Some(&number) = self.numbers.get(key) else {
            return;
        };
        let mut item = self.items.remove(&number).expect("every number has its fragment");
        self.leave_queues(number, &item);
        change(&mut item);
        self.enter_queues(number, &item);
        self.items.insert(number, item);
    }

    fn forget(&mut self, key: &FragmentKey) -> Option<Item> {
        self.settle(key, false);
        let number = self.numbers.remove(key)?;
        let item = self.items.remove(&number).expect("every number has its fragment");
        self.leave_queues(number, &item);
        Some(item)
    }

    fn leave_queues(&mut self, number: u64, item: &Item) {
        match item.state {
            State::Waiting => drop(self.waiting.remove(&(item.priority, number))),
            State::Postponed { until } => drop(self.postponed.remove(&(until, number))),
            State::Open { .. } => drop(self.ready.remove(&(item.priority, number))),
            State::Sent { deadline } => drop(self.unacknowledged.remove(&(deadline, number))),
        }
        if item.in_flight() {
            self.in_flight.fragments -= 1;
            self.in_flight.bytes -= item.weight();
            self.in_flight.whole -= item.trailer.map_or(0, |_| item.weight());
        }
    }

    fn enter_queues(&mut self, number: u64, item: &Item) {
        match item.state {
            State::Waiting => drop(self.waiting.insert((item.priority, number))),
            State::Postponed { until } => drop(self.postponed.insert((until, number))),
            State::Open { writing: true, .. } => {}
            State::Open { sent, writing: false } => {
                if sent < item.spooled || item.trailer.is_some() {
                    self.ready.insert((item.priority, number));
                }
            }
            State::Sent { deadline } => drop(self.unacknowledged.insert((deadline, number))),
        }
        if item.in_flight() {
            self.in_flight.fragments += 1;
            self.in_flight.bytes += item.weight();
            self.in_flight.whole += item.trailer.map_or(0, |_| item.weight());
        }
    }
}
