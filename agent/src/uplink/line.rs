//! One connection at work: the sender's actions carried out, and what comes of them reported to it.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use fragment::{ClockQuality, WallTime};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use spool::Spool;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use upload::{Action, ErrorCode, FragmentHeader, FragmentKey, Priority, Sender};

use crate::backoff::Worked;
use crate::calendar::{self, Calendar};
use crate::enrol::EnrolError;
use crate::feed::Feed;
use crate::fleet::Heard;
use crate::identity::Identity;
use crate::plan::Plan;
use crate::renewal::ServerTime;
use crate::uplink::device_messages;
use crate::uplink::dial::{self, DialError, dial, explain, say_hello};
use crate::uplink::lane::{Command, Lane, Report, Work, stream_priority};
use crate::uplink::way::{self, Way};
use crate::uplink::{Notice, Settings, note_clock};
use crate::{limits, trust, wanted};

/// One connection, from welcome to its end.
pub(super) struct Line<'a> {
    settings: &'a Settings,
    calendar: &'a mut Calendar,
    tell_time: &'a watch::Sender<Option<ServerTime>>,
    endpoint: Endpoint,
    connection: Connection,
    control: RecvStream,
    /// Held open: its end would be the end of the session. `None` once the writer has it.
    hello: Option<SendStream>,
    /// Writes what the device says about itself.
    writer: Option<AbortOnDropHandle<()>>,
    sender: Sender,
    feed: Feed,
    plan: Plan,
    /// When hours, wishes and the way to the server were last looked at.
    checked: Option<tokio::time::Instant>,
    way: Way,
    lanes: HashMap<FragmentKey, Lane>,
    /// Spool files on their way out; `once` must not end before they are gone.
    removals: TaskTracker,
    reports: mpsc::Receiver<Report>,
    reporter: mpsc::Sender<Report>,
    /// When the log last said that the server can't take fragments, by the reason.
    complained: HashMap<ErrorCode, Instant>,
    began: Instant,
    /// When the feed last looked at the spool.
    looked: tokio::time::Instant,
    welcomed: bool,
    /// Since when the server has been heard.
    pub(super) worked: Worked,
    /// Whether the server has stored anything.
    pub(super) persisted: bool,
    /// Of the oldest fragment when the connection began.
    first_ordinal: u64,
    stop: CancellationToken,
}

impl<'a> Line<'a> {
    pub(super) async fn connect(
        settings: &'a Settings,
        calendar: &'a mut Calendar,
        tell_time: &'a watch::Sender<Option<ServerTime>>,
        identity: &Identity,
        stop: CancellationToken,
    ) -> Result<Self, EnrolError> {
        let tls = trust::upload(identity).map_err(|error| EnrolError::Crypto(error.to_string()))?;
        let address = &settings.server.address;
        let (endpoint, connection) = dial(address, tls, settings.uplink.congestion).await?;
        let (hello, control) = say_hello(address, &connection, settings.clock.now(), &settings.sub_streams).await?;
        let (reporter, reports) = mpsc::channel(limits::LANE_REPORTS_MAX);
        let mut sender = Sender::with_allowance(fastrand::u64(..), settings.uplink.allowance);
        let plan = Plan::new(settings.uplink.rules.clone());
        let feed = Feed::new(&settings.spool, &mut sender, &plan);
        let way = Way::to(connection.remote_address());
        Ok(Self {
            settings,
            calendar,
            tell_time,
            endpoint,
            connection,
            control,
            hello: Some(hello),
            writer: None,
            sender,
            feed,
            plan,
            checked: None,
            way,
            lanes: HashMap::new(),
            removals: TaskTracker::new(),
            reports,
            reporter,
            complained: HashMap::new(),
            began: Instant::now(),
            looked: tokio::time::Instant::now(),
            welcomed: false,
            worked: Worked::default(),
            persisted: false,
            first_ordinal: settings.spool.next(None).map_or(0, |(ordinal, _)| ordinal),
            stop,
        })
    }

    /// Until the connection ends or the agent stops.
    pub(super) async fn drive(&mut self) -> Result<(), DialError> {
        let address = self.settings.server.address.clone();
        loop {
            self.settings.pulse.beat(Instant::now());
            let looks_again = self.look();
            while let Some(action) = self.next_action() {
                if !self.act(action) {
                    return Err(DialError::NoAnswer { address });
                }
            }
            let timeout = self.sender.poll_timeout().map(|at| tokio::time::Instant::from_std(self.began + at));
            let timeout = timeout.map_or(looks_again, |at| at.min(looks_again));
            tokio::select! {
                read = self.control.read_chunk(64 * 1024, true) => match read {
                    Ok(Some(chunk)) => self.hear(&chunk.bytes)?,
                    Ok(None) => {
                        let why = "it ended the control stream".to_owned();
                        return Err(DialError::Failed { address, why });
                    }
                    Err(quinn::ReadError::ConnectionLost(error)) => return Err(explain(&address, &error)),
                    Err(error) => return Err(DialError::Failed { address, why: error.to_string() }),
                },
                mut report = self.reports.recv() => {
                    // Those of other cameras come at the same time.
                    while let Some(next) = report {
                        self.take_report(next);
                        report = self.reports.try_recv().ok();
                    }
                }
                // What changed is told before the next action.
                () = changed(&self.settings.spool, self.looked + limits::FEED_PAUSE) => {
                    self.looked = tokio::time::Instant::now();
                }
                // A second at most, so that the loop shows that it can turn.
                () = tokio::time::sleep_until(timeout) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Where the server is.
    pub(super) fn server(&self) -> SocketAddr {
        self.way.server()
    }

    /// What to do now.
    fn next_action(&mut self) -> Option<Action> {
        let now = self.now();
        let (spool, calendar) = (&self.settings.spool, &*self.calendar);
        let mut starts = |key: &FragmentKey| {
            let reader = spool.read(key).ok()?;
            let header = reader.header();
            Some(calendar.look(key.id, header.start, spool.is_own(header)).0)
        };
        self.feed.poll_action(spool, &mut self.sender, &mut self.plan, &mut starts, now)
    }

    /// Looks from time to time what has changed around the connection; says when it will look again.
    fn look(&mut self) -> tokio::time::Instant {
        let now = tokio::time::Instant::now();
        if let Some(checked) = self.checked
            && now < checked + limits::LOOK
        {
            // In between there may be much to look through.
            return if self.feed.is_behind(&self.plan) { now + limits::FEED_PAUSE } else { checked + limits::LOOK };
        }
        self.checked = Some(now);
        if let Some(wall) = self.wall() {
            let state = &self.settings.state;
            let wanted = wanted::list(state).unwrap_or_default();
            if self.plan.turn(wall, wanted, wanted::sessions(state).unwrap_or_default()) {
                self.feed.turn(&mut self.sender, &mut self.plan);
            }
            for range in self.plan.past() {
                if self.feed.is_done(&range.stream) {
                    tracing::info!(stream = %range.stream, "all of a range that was asked for is uploaded");
                    wanted::done(state, &range);
                }
            }
        }
        if self.way.has_changed() {
            self.move_over();
        }
        now + if self.feed.is_halfway() { limits::FEED_PAUSE } else { limits::LOOK }
    }

    /// The time that hours go by: that of a synchronised clock, or the server's.
    fn wall(&self) -> Option<WallTime> {
        let now = self.settings.clock.now();
        if now.quality >= ClockQuality::Synchronised {
            return Some(now.wall);
        }
        let told = *self.tell_time.borrow();
        let told = told.filter(|_| self.welcomed)?;
        Some(told.wall + now.monotonic.since(told.at)?)
    }

    /// The device has another address than when it connected. A new socket lets QUIC tell the server at once, which
    /// would otherwise learn it from the next packet.
    fn move_over(&self) {
        let moved = UdpSocket::bind(way::any(self.way.server())).and_then(|socket| self.endpoint.rebind(socket));
        match moved {
            Ok(()) => tracing::info!("the device has another address; the connection moves over"),
            Err(error) => tracing::warn!(%error, "the connection can't move over to the device's new address"),
        }
    }

    pub(super) async fn close(&mut self) {
        for (_, lane) in self.lanes.drain() {
            lane.cancel.cancel();
        }
        self.removals.close();
        self.removals.wait().await;
        dial::close(&self.endpoint, &self.connection).await;
    }

    /// Time as the sender counts it.
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), DialError> {
        let address = || self.settings.server.address.clone();
        let now = self.now();
        self.worked.note(Instant::now());
        self.sender.handle_control(now, bytes).map_err(|why| DialError::Protocol { address: address(), why })?;
        if let Some(welcome) = self.sender.welcome().filter(|_| !self.welcomed).cloned() {
            self.welcomed = true;
            let now = self.settings.clock.now();
            if let Err(error) = self.calendar.handle_server_time(now, welcome.server_time) {
                tracing::warn!(%error, "what is known of the clock can't be written down");
            }
            let problem = calendar::disagreement(now, welcome.server_time);
            if let Some(problem) = &problem {
                tracing::warn!(problem, "the clocks disagree");
            }
            (self.settings.observer)(&Notice::Clock { problem });
            self.tell_time.send_replace(Some(ServerTime { at: now.monotonic, wall: welcome.server_time }));
            tracing::info!(device = welcome.device, address = address(), "connected");
            (self.settings.observer)(&Notice::Connected { device: welcome.device });
            self.introduce();
        }
        Ok(())
    }

    /// From here on the device can speak of itself.
    fn introduce(&mut self) {
        // Without a fleet the stream stays where it is: its end would be that of the session.
        if self.settings.fleet.is_some()
            && let Some(hello) = self.hello.take()
        {
            let (say, writer) = device_messages::start(hello);
            self.writer = Some(writer);
            self.tell_fleet(Heard::Connected(say));
        }
    }

    fn tell_fleet(&self, heard: Heard) {
        if let Some(fleet) = &self.settings.fleet
            && fleet.try_send(heard).is_err()
        {
            tracing::warn!("the server says more than the agent can do; what came last is passed over");
        }
    }

    /// Carries out one action. `false`: the connection is of no use any more. A fragment leaves the spool after it was
    /// told why, so that whoever finds it gone without a word knows that it is lost.
    fn act(&mut self, action: Action) -> bool {
        let spool = &self.settings.spool;
        let notice = match action {
            Action::Open { key, priority } => {
                self.open(&key, priority);
                return true;
            }
            Action::Write { key, range } => {
                let bytes = usize::try_from(range.end - range.start).expect("a chunk fits memory");
                self.command(&key, Command::Write(bytes));
                return true;
            }
            Action::Finish { key, trailer } => {
                self.command(&key, Command::Finish(trailer));
                return true;
            }
            Action::Reset { key } => {
                if let Some(lane) = self.lanes.remove(&key) {
                    lane.cancel.cancel();
                }
                return true;
            }
            Action::Reconnect => return false,
            Action::Told(said) => {
                self.tell_fleet(Heard::Told(said));
                return true;
            }
            Action::Postponed { key, code, message, pause } => {
                self.complain(&key, code, &message);
                Notice::Postponed { key, code, message, pause }
            }
            Action::Progress { key, whole: false } => Notice::Buffering(key),
            Action::Progress { key, whole: true } => Notice::Received(key),
            Action::Persisted { key, number } => {
                self.lanes.remove(&key);
                self.persisted = true;
                tracing::debug!(
                    target: "millrace_agent", stream = %key.stream, fragment = %key.id,
                    number = number.map_or(0, |number| number.0), "persisted"
                );
                (self.settings.observer)(&Notice::Persisted(key.clone(), number));
                if let Some(path) = spool.release(&key) {
                    let spool = spool.clone();
                    self.removals.spawn_blocking(move || spool.remove(&path));
                }
                return true;
            }
            Action::Rejected { key, code, message } => {
                self.lanes.remove(&key);
                tracing::error!(fragment = %key, %code, message, "the server refused a fragment for good");
                (self.settings.observer)(&Notice::Rejected { key: key.clone(), code, message });
                if let Err(error) = spool.reject(&key) {
                    tracing::warn!(fragment = %key, %error, "a refused fragment can't be moved aside");
                }
                return true;
            }
        };
        (self.settings.observer)(&notice);
        true
    }

    /// Says in the log, for each reason once a while, that fragments have to wait.
    fn complain(&mut self, key: &FragmentKey, code: ErrorCode, message: &str) {
        let now = Instant::now();
        let said = self.complained.get(&code).is_some_and(|&last| now - last < limits::COMPLAINT_PAUSE);
        if said {
            tracing::debug!(fragment = %key, %code, message, "the server can't take a fragment now");
        } else {
            self.complained.insert(code, now);
            tracing::warn!(
                fragment = %key, %code, message,
                "the server can't take a fragment now; it waits in the spool and is sent again"
            );
        }
    }

    fn open(&mut self, key: &FragmentKey, priority: Priority) {
        let (commands, queue) = mpsc::channel(limits::LANE_COMMANDS_MAX);
        let cancel = self.stop.child_token();
        let reader = match self.settings.spool.read(key) {
            Ok(reader) => reader,
            Err(error) => {
                tracing::warn!(fragment = %key, %error, "a fragment can't be read back");
                self.repair(key);
                return;
            }
        };
        let header = reader.header();
        let header_ordinal = header.ordinal;
        note_clock(self.calendar, self.settings.clock);
        let (start, quality) = self.calendar.resolve(key.id, header.start, self.settings.spool.is_own(header));
        let header = FragmentHeader {
            key: key.clone(),
            start,
            quality,
            monotonic: header.start.monotonic,
            live: priority == Priority::Live,
        };
        let rank = header_ordinal.saturating_sub(self.first_ordinal);
        let work = Work {
            key: key.clone(),
            connection: self.connection.clone(),
            header: header.encode(),
            rank: priority,
            stream_priority: stream_priority(priority, rank),
            reader,
            queue,
            reports: self.reporter.clone(),
        };
        tokio::spawn(work.run(cancel.clone()));
        self.lanes.insert(key.clone(), Lane { commands, cancel });
    }

    fn command(&mut self, key: &FragmentKey, command: Command) {
        if let Some(lane) = self.lanes.get(key)
            && lane.commands.try_send(command).is_err()
        {
            // The lane has ended, and its report is on the way.
            tracing::debug!(fragment = %key, "a command for a lane that has ended");
        }
    }

    fn take_report(&mut self, report: Report) {
        let now = self.now();
        match report {
            Report::Written(key) => self.sender.handle_written(&key),
            Report::Stopped(key) => {
                self.lanes.remove(&key);
                self.sender.handle_stopped(now, &key);
            }
            Report::Damaged(key) => self.repair(&key),
        }
    }

    fn repair(&mut self, key: &FragmentKey) {
        if let Some(lane) = self.lanes.remove(key) {
            lane.cancel.cancel();
        }
        self.settings.spool.repair(key);
        self.feed.again(&self.settings.spool, &mut self.sender, key);
        if !self.settings.spool.holds(key) {
            (self.settings.observer)(&Notice::Lost(key.clone()));
        }
    }
}

/// Waits until `from`, then for a change of the spool. In this order a change is not forgotten if the wait is
/// given up half way.
async fn changed(spool: &Spool, from: tokio::time::Instant) {
    tokio::time::sleep_until(from).await;
    spool.changed().await;
}
