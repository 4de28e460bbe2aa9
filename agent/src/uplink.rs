//! The connection to the server: the only file that names quinn.
//!
//! It reconnects for ever and never touches capture: what it sends it reads from the spool, and what it
//! can't send stays there. Which fragment goes when is decided by [`upload::Sender`]; here its actions are
//! carried out. Each fragment that is under way has a *lane*, a task that owns its QUIC stream and its
//! reader, so that a slow stream or disk holds up one fragment only.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fragment::FragmentNumber;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, VarInt, WriteError};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use upload::wire::{MessageError, SERVER_NAME, chunk_head};
use upload::{Action, CloseCode, ErrorCode, FragmentHeader, FragmentKey, FromAgent, Hello, Priority, Sender, Trailer};

use crate::backoff::{Backoff, Worked};
use crate::calendar::Calendar;
use crate::clock::{self, Clock};
use crate::enrol::{self, EnrolError};
use crate::feed::Feed;
use crate::identity::Identity;
use crate::renewal::{self, ServerTime};
use crate::spool::{self, Reader, Spool};
use crate::{VERSION, config, limits, trust};

/// What an uplink needs.
pub struct Settings {
    /// Where to, and what to join with.
    pub server: config::Server,
    /// The state folder, which the caller has locked.
    pub state: std::path::PathBuf,
    /// What to send.
    pub spool: Spool,
    /// The device's clocks.
    pub clock: Clock,
    /// Is told what happens; must not block.
    pub observer: Arc<dyn Fn(&Notice) + Send + Sync>,
}

/// What happened, for display and for `once`.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The server answered, and knows this device by this name.
    Connected {
        /// The name.
        device: String,
    },
    /// There is no connection; another attempt follows after the pause.
    Disconnected {
        /// Why.
        why: String,
        /// How long until the next attempt.
        pause: Duration,
    },
    /// The first bytes of a fragment are at the server.
    Buffering(FragmentKey),
    /// All of it is at the server.
    Received(FragmentKey),
    /// It is on the server's disk, and leaves the spool.
    Persisted(FragmentKey, Option<FragmentNumber>),
    /// The server can't take it now; it stays in the spool and is sent again after the pause.
    Postponed {
        /// Which.
        key: FragmentKey,
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        message: String,
        /// How long it waits.
        pause: Duration,
    },
    /// Its file in the spool turned out to be damaged from its beginning: nothing is left to send.
    Lost(FragmentKey),
    /// The server will never take it; it leaves the spool.
    Rejected {
        /// Which.
        key: FragmentKey,
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        message: String,
    },
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("{address} can't be resolved: {why}")]
    Unresolved {
        /// What was looked up.
        address: String,
        /// Why.
        why: String,
    },
    /// No socket could be opened, or no packet sent.
    #[error("no connection to {address}: {why}")]
    Failed {
        /// Where to.
        address: String,
        /// Why.
        why: String,
    },
    /// Nothing came back.
    #[error("no answer from {address}: check that the server runs, and that UDP to its port passes")]
    NoAnswer {
        /// Where to.
        address: String,
    },
    /// The other end is not the server that this device joined.
    #[error("the server at {address} can't be trusted: {why}")]
    Untrusted {
        /// Where to.
        address: String,
        /// Why.
        why: String,
    },
    /// The server ended the connection.
    #[error("the server at {address} closed the connection: {code}{}{message}{}", if .message.is_empty() { "" } else { ": " }, advice(*.code))]
    Closed {
        /// Where to.
        address: String,
        /// Why, for programs.
        code: CloseCode,
        /// Why, for people.
        message: String,
    },
    /// The server does not accept the device's certificate.
    #[error("the server at {address} refuses this device's certificate: {}{JOIN_ANEW}", refusal(*.alert))]
    Unwelcome {
        /// Where to.
        address: String,
        /// The TLS alert that it sent.
        alert: u8,
    },
    /// The server does not know the connection any more.
    #[error("the server at {address} was started again")]
    Restarted {
        /// Where to.
        address: String,
    },
    /// What the server says breaks the protocol.
    #[error("the server at {address} does not speak this agent's protocol: {why}")]
    Protocol {
        /// Where to.
        address: String,
        /// What is wrong.
        why: MessageError,
    },
}

/// What lets a device in again that the server does not know or does not want any more.
const JOIN_ANEW: &str = "; to let this device join anew, run `millrace device add NAME` there and set server.token to \
                         what it prints";

/// What to do about a close, where a person has to.
fn advice(code: CloseCode) -> &'static str {
    match code {
        CloseCode::CertificateRequired
        | CloseCode::DeviceRevoked
        | CloseCode::DeviceUnknown
        | CloseCode::CertificateReplaced => JOIN_ANEW,
        _ => "",
    }
}

/// A TLS alert (RFC 8446, section 6.2) about our certificate, in words.
fn refusal(alert: u8) -> String {
    match alert {
        45 => "it has expired".to_owned(),
        48 => "another server's CA signed it".to_owned(),
        _ => format!("TLS alert {alert}"),
    }
}

/// One request and its answer on a connection of its own.
pub async fn exchange(address: &str, tls: rustls::ClientConfig, request: Bytes) -> Result<Bytes, DialError> {
    let (endpoint, connection) = dial(address, tls).await?;
    let lost =
        |error: &dyn std::fmt::Display| DialError::Failed { address: address.to_owned(), why: error.to_string() };
    let (mut send, mut recv) = connection.open_bi().await.map_err(|error| explain(address, &error))?;
    let answer = async {
        send.write_all(&request).await.map_err(|error| explain_write(address, error))?;
        // Finishing can only fail after a reset, which is ours alone to do.
        let _ = send.finish();
        recv.read_to_end(upload::limits::MESSAGE_BYTES_MAX + 8).await.map_err(|error| match error {
            quinn::ReadToEndError::Read(quinn::ReadError::ConnectionLost(error)) => explain(address, &error),
            other => lost(&other),
        })
    };
    let answer = tokio::time::timeout(limits::DIAL_MAX, answer)
        .await
        .map_err(|_| DialError::NoAnswer { address: address.to_owned() })??;
    close(&endpoint, &connection).await;
    Ok(answer.into())
}

/// Connects, to see whether the server is there and is the right one.
pub async fn probe(address: &str, tls: rustls::ClientConfig) -> Result<(), DialError> {
    let (endpoint, connection) = dial(address, tls).await?;
    close(&endpoint, &connection).await;
    Ok(())
}

/// Connects as for an upload, to see whether the server lets this device in. Answers what it calls the device.
pub async fn probe_upload(address: &str, tls: rustls::ClientConfig, now: clock::Instant) -> Result<String, DialError> {
    let (endpoint, connection) = dial(address, tls).await?;
    let welcome = async {
        let (_hello, mut control) = say_hello(address, &connection, now).await?;
        let mut sender = Sender::new(0);
        loop {
            let why = match control.read_chunk(64 * 1024, true).await {
                Ok(Some(chunk)) => {
                    let protocol = |why| DialError::Protocol { address: address.to_owned(), why };
                    sender.handle_control(Duration::ZERO, &chunk.bytes).map_err(protocol)?;
                    match sender.welcome() {
                        Some(welcome) => return Ok(welcome.device.clone()),
                        None => continue,
                    }
                }
                Ok(None) => "it ended the control stream".to_owned(),
                Err(quinn::ReadError::ConnectionLost(error)) => return Err(explain(address, &error)),
                Err(error) => error.to_string(),
            };
            return Err(DialError::Failed { address: address.to_owned(), why });
        }
    };
    let device = tokio::time::timeout(limits::DIAL_MAX, welcome)
        .await
        .unwrap_or_else(|_| Err(DialError::NoAnswer { address: address.to_owned() }));
    close(&endpoint, &connection).await;
    device
}

/// Connects and uploads, for ever, until `stop`. What is left then stays in the spool.
pub async fn run(settings: &Settings, stop: CancellationToken) -> Result<(), EnrolError> {
    let (tell_time, server_time) = watch::channel(None);
    let renewal = renewal::keep(&settings.state, &settings.server.address, settings.clock, server_time);
    tokio::select! {
        ended = keep_connected(settings, &tell_time, &stop) => ended,
        never = renewal => match never {},
    }
}

async fn keep_connected(
    settings: &Settings,
    tell_time: &watch::Sender<Option<ServerTime>>,
    stop: &CancellationToken,
) -> Result<(), EnrolError> {
    let mut backoff = Backoff::new(fastrand::u64(..));
    let mut calendar = Calendar::open(&settings.state, settings.clock.boot());
    loop {
        let outcome = attempt(settings, &mut calendar, &mut backoff, tell_time, stop).await;
        // While no one is connected no one needs the changes; they are not to pile up.
        settings.spool.take_changes();
        match outcome {
            _ if stop.is_cancelled() => return Ok(()),
            Ok(()) => {}
            Err(error) if error.is_retryable() => {
                let pause = backoff.pause();
                let why = error.to_string();
                tracing::warn!(why, ?pause, "not connected; what is captured waits in the spool");
                (settings.observer)(&Notice::Disconnected { why, pause });
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return Ok(()),
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// One connection, from its dial to its close. A stop breaks off what only waits for the server. Once there is a
/// connection it is closed in order, so that the server knows at once and no file of a persisted fragment is left.
async fn attempt(
    settings: &Settings,
    calendar: &mut Calendar,
    backoff: &mut Backoff,
    tell_time: &watch::Sender<Option<ServerTime>>,
    stop: &CancellationToken,
) -> Result<(), EnrolError> {
    let server = &settings.server;
    let connecting = async {
        let identity = enrol::identity(&settings.state, &server.address, server.token.as_ref()).await?;
        Line::connect(settings, calendar, tell_time, &identity, stop.clone()).await
    };
    let Some(connected) = stop.run_until_cancelled(connecting).await else {
        return Ok(());
    };
    let mut line = connected?;
    let ended = line.drive().await;
    backoff.ended(line.worked);
    if line.persisted {
        // A server that was only started again is to be found at once.
        backoff.recovered();
    }
    line.close().await;
    Ok(ended?)
}

/// One connection, from welcome to its end.
struct Line<'a> {
    settings: &'a Settings,
    calendar: &'a mut Calendar,
    tell_time: &'a watch::Sender<Option<ServerTime>>,
    endpoint: Endpoint,
    connection: Connection,
    control: RecvStream,
    /// Held open: its end would be the end of the session.
    _hello: SendStream,
    sender: Sender,
    feed: Feed,
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
    worked: Worked,
    /// Whether the server has stored anything.
    persisted: bool,
    /// Of the oldest fragment when the connection began.
    first_ordinal: u64,
    stop: CancellationToken,
}

impl<'a> Line<'a> {
    async fn connect(
        settings: &'a Settings,
        calendar: &'a mut Calendar,
        tell_time: &'a watch::Sender<Option<ServerTime>>,
        identity: &Identity,
        stop: CancellationToken,
    ) -> Result<Self, EnrolError> {
        let tls = trust::upload(identity).map_err(|error| EnrolError::Crypto(error.to_string()))?;
        let address = &settings.server.address;
        let (endpoint, connection) = dial(address, tls).await?;
        let (hello, control) = say_hello(address, &connection, settings.clock.now()).await?;
        let (reporter, reports) = mpsc::channel(limits::LANE_REPORTS_MAX);
        let mut sender = Sender::new(fastrand::u64(..));
        let feed = Feed::new(&settings.spool, &mut sender);
        Ok(Self {
            settings,
            calendar,
            tell_time,
            endpoint,
            connection,
            control,
            _hello: hello,
            sender,
            feed,
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
    async fn drive(&mut self) -> Result<(), DialError> {
        let address = self.settings.server.address.clone();
        loop {
            let now = self.now();
            while let Some(action) = self.feed.poll_action(&self.settings.spool, &mut self.sender, now) {
                if !self.act(action) {
                    return Err(DialError::NoAnswer { address });
                }
            }
            let timeout = self.sender.poll_timeout().map(|at| tokio::time::Instant::from_std(self.began + at));
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
                report = self.reports.recv() => {
                    if let Some(report) = report {
                        self.take_report(report);
                    }
                }
                // What changed is told before the next action.
                () = changed(&self.settings.spool, self.looked + limits::FEED_PAUSE) => {
                    self.looked = tokio::time::Instant::now();
                }
                () = sleep_until(timeout) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn close(&mut self) {
        for (_, lane) in self.lanes.drain() {
            lane.cancel.cancel();
        }
        self.removals.close();
        self.removals.wait().await;
        close(&self.endpoint, &self.connection).await;
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
            self.tell_time.send_replace(Some(ServerTime { at: now.monotonic, wall: welcome.server_time }));
            tracing::info!(device = welcome.device, address = address(), "connected");
            (self.settings.observer)(&Notice::Connected { device: welcome.device });
        }
        Ok(())
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
                    self.removals.spawn_blocking(move || spool::remove(&path));
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

/// The loop's end of a lane.
struct Lane {
    commands: mpsc::Sender<Command>,
    cancel: CancellationToken,
}

enum Command {
    Write(usize),
    Finish(Trailer),
}

enum Report {
    Written(FragmentKey),
    Stopped(FragmentKey),
    Damaged(FragmentKey),
}

/// The task's end of a lane.
struct Work {
    key: FragmentKey,
    connection: Connection,
    header: Bytes,
    rank: Priority,
    /// Of its QUIC stream.
    stream_priority: i32,
    reader: Reader,
    queue: mpsc::Receiver<Command>,
    reports: mpsc::Sender<Report>,
}

/// Why a lane ended before its fragment.
enum LaneError {
    /// The connection is gone, which the loop notices by itself.
    Gone,
    Stopped,
    Damaged,
}

impl Work {
    async fn run(mut self, cancel: CancellationToken) {
        let reports = self.reports.clone();
        let key = self.key.clone();
        let opened = tokio::select! {
            opened = self.connection.open_uni() => opened,
            () = cancel.cancelled() => return,
        };
        let Ok(mut stream) = opened else {
            return;
        };
        let sent = tokio::select! {
            sent = self.send(&mut stream) => sent,
            () = cancel.cancelled() => Err(LaneError::Gone),
        };
        let report = match sent {
            Ok(()) => return,
            Err(LaneError::Gone) => None,
            Err(LaneError::Stopped) => Some(Report::Stopped(key)),
            Err(LaneError::Damaged) => Some(Report::Damaged(key)),
        };
        // Dropping would finish the stream, as if this had been all of it.
        let _ = stream.reset(VarInt::from_u32(0));
        if let Some(report) = report {
            let _ = reports.send(report).await;
        }
    }

    async fn send(&mut self, stream: &mut SendStream) -> Result<(), LaneError> {
        let _ = stream.set_priority(self.stream_priority);
        stream.write_all(&self.header).await?;
        while let Some(command) = self.queue.recv().await {
            match command {
                Command::Write(bytes) => {
                    let mut pieces = self.read(bytes)?;
                    stream.write_all_chunks(&mut pieces).await?;
                    self.reports.send(Report::Written(self.key.clone())).await.map_err(|_| LaneError::Gone)?;
                }
                Command::Finish(trailer) => {
                    stream.write_all(&trailer.encode()).await?;
                    let _ = stream.finish();
                    return Ok(());
                }
            }
        }
        Err(LaneError::Gone)
    }

    /// One chunk: its head and its bytes. What is live was written a moment ago and is in the page cache; only
    /// backlog waits for the disk, and other tasks must not wait with it. Handing them to another thread costs
    /// more than a cached read, so it is done for backlog alone.
    fn read(&mut self, bytes: usize) -> Result<Vec<Bytes>, LaneError> {
        let pieces = match self.rank {
            Priority::Live => self.reader.read(bytes),
            Priority::Backlog => tokio::task::block_in_place(|| self.reader.read(bytes)),
        };
        let pieces = pieces.map_err(|error| {
            tracing::warn!(fragment = %self.key, %error, "a fragment can't be read back");
            LaneError::Damaged
        })?;
        let mut chunk = Vec::with_capacity(pieces.len() + 1);
        chunk.push(Bytes::copy_from_slice(&chunk_head(bytes)));
        chunk.extend(pieces);
        Ok(chunk)
    }
}

impl From<WriteError> for LaneError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(_) => Self::Stopped,
            _ => Self::Gone,
        }
    }
}

/// Live before backlog, and within each the older first: fragments that are sent side by side at one rank
/// would all end late, and out of order.
fn stream_priority(priority: Priority, rank: u64) -> i32 {
    const RANKS: i32 = 1 << 29;
    let rank = i32::try_from(rank).unwrap_or(RANKS).min(RANKS - 1);
    priority.quic() * RANKS - rank
}

/// A connection, by the first of the server's addresses that answers.
async fn dial(address: &str, tls: rustls::ClientConfig) -> Result<(Endpoint, Connection), DialError> {
    let unresolved = |why: String| DialError::Unresolved { address: address.to_owned(), why };
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host(address).await.map_err(|error| unresolved(error.to_string()))?.collect();
    let crypto = QuicClientConfig::try_from(tls)
        .map_err(|error| DialError::Failed { address: address.to_owned(), why: error.to_string() })?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport()));
    let mut last = unresolved("the name has no address".to_owned());
    for to in addresses {
        match dial_one(address, to, config.clone()).await {
            Ok(connected) => return Ok(connected),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn transport() -> quinn::TransportConfig {
    let mut mtu = quinn::MtuDiscoveryConfig::default();
    mtu.upper_bound(upload::limits::UDP_PAYLOAD_BYTES_MAX);
    let mut acks = quinn::AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(upload::limits::PACKETS_PER_ACK));
    let mut transport = quinn::TransportConfig::default();
    transport
        .mtu_discovery_config(Some(mtu))
        .ack_frequency_config(Some(acks))
        .keep_alive_interval(Some(limits::KEEP_ALIVE))
        .max_idle_timeout(Some(limits::IDLE_MAX.try_into().expect("some seconds are a QUIC idle timeout")))
        .send_window(limits::SEND_WINDOW)
        .receive_window(VarInt::from_u32(limits::RECEIVE_WINDOW))
        .stream_receive_window(VarInt::from_u32(limits::RECEIVE_WINDOW))
        // The server answers on streams of ours and opens none.
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0));
    transport
}

async fn dial_one(address: &str, to: SocketAddr, config: ClientConfig) -> Result<(Endpoint, Connection), DialError> {
    let failed = |why: String| DialError::Failed { address: address.to_owned(), why };
    let from: SocketAddr =
        if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let endpoint = Endpoint::client(from).map_err(|error| failed(error.to_string()))?;
    let connecting = endpoint.connect_with(config, to, SERVER_NAME).map_err(|error| failed(error.to_string()))?;
    match tokio::time::timeout(limits::DIAL_MAX, connecting).await {
        Ok(Ok(connection)) => Ok((endpoint, connection)),
        Ok(Err(error)) => Err(explain(address, &error)),
        Err(_) => Err(DialError::NoAnswer { address: address.to_owned() }),
    }
}

/// Opens the control stream and says the device's first words.
async fn say_hello(
    address: &str,
    connection: &Connection,
    now: clock::Instant,
) -> Result<(SendStream, RecvStream), DialError> {
    let (mut hello, control) = connection.open_bi().await.map_err(|error| explain(address, &error))?;
    let message = FromAgent::Hello(Hello {
        agent_version: VERSION.to_owned(),
        device_time: now.wall,
        clock_quality: now.quality,
    });
    hello.write_all(&message.encode()).await.map_err(|error| explain_write(address, error))?;
    Ok((hello, control))
}

async fn close(endpoint: &Endpoint, connection: &Connection) {
    connection.close(VarInt::from_u32(CloseCode::Done.number()), b"");
    let _ = tokio::time::timeout(limits::CLOSE_WAIT_MAX, endpoint.wait_idle()).await;
}

/// TLS alerts arrive as QUIC error 0x100 + alert (RFC 9001, section 4.8).
const CRYPTO_ERRORS: std::ops::Range<u64> = 0x100..0x200;

fn explain(address: &str, error: &ConnectionError) -> DialError {
    let address = address.to_owned();
    match error {
        ConnectionError::ApplicationClosed(close) => DialError::Closed {
            address,
            code: CloseCode::from_number(u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX)),
            message: String::from_utf8_lossy(&close.reason).into_owned(),
        },
        ConnectionError::TimedOut => DialError::NoAnswer { address },
        ConnectionError::Reset => DialError::Restarted { address },
        ConnectionError::ConnectionClosed(close) if CRYPTO_ERRORS.contains(&u64::from(close.error_code)) => {
            let alert = u64::from(close.error_code) - CRYPTO_ERRORS.start;
            DialError::Unwelcome { address, alert: u8::try_from(alert).expect("the range holds 256 alerts") }
        }
        // Raised on this side: the server's certificate was refused.
        ConnectionError::TransportError(error) if CRYPTO_ERRORS.contains(&u64::from(error.code)) => {
            DialError::Untrusted { address, why: error.reason.clone() }
        }
        other => DialError::Failed { address, why: other.to_string() },
    }
}

fn explain_write(address: &str, error: WriteError) -> DialError {
    match error {
        WriteError::ConnectionLost(error) => explain(address, &error),
        other => DialError::Failed { address: address.to_owned(), why: other.to_string() },
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
