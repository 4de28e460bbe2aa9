//! The device at work: cameras, uplink and status, and what the server wants of them meanwhile.
//!
//! One task owns all of it. A pushed configuration is on disk as one on trial before anything of it takes effect; then
//! cameras that changed are started again, and the uplink always is, since only a connection that was made under the
//! configuration can confirm it. What else changes, such as the spool's size, has the device stop and start as a whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fragment::WallTime;
use spool::Spool;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, block_in_place};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use upload::FromAgent;
use upload::FromServer;
use upload::fleet::{
    Command, CommandKind, CommandResult, Configuration, ConfigurationReport, ConfigurationState, Confirmation,
};

use crate::cameras::Cameras;
use crate::clock::Clock;
use crate::config::{Config, Local, Problems};
use crate::destination::Destination;
use crate::fetch::Desk;
use crate::fleet::Heard;
use crate::fleet::reporter::Reporter;
use crate::fleet::store::Store;
use crate::run::{self, InForce, RunError, Signals};
use crate::snapshot::Studio;
use crate::sparing::Sparing;
use crate::status::Status;
use crate::uplink::Notice;
use crate::{VERSION, limits, metrics, upkeep, wanted};

/// What comes after the device has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The end.
    End,
    /// It starts again, with the configuration that is then in force.
    Again,
}

/// The device at work.
pub struct Device<'a> {
    local: &'a mut Local,
    store: &'a mut Store,
    config: Config,
    folder: PathBuf,
    clock: Clock,
    spool: Spool,
    status: Status,
    cameras: Cameras,
    reporter: Reporter,
    studio: Studio,
    uplink: Task,
    heard: mpsc::Receiver<Heard>,
    /// While connected.
    say: Option<mpsc::Sender<FromAgent>>,
    trial_ends: Option<Instant>,
    /// Files that could not be read; without them a camera is left out, or what is pushed does not count.
    missing: Problems,
    status_task: Task,
    upkeep: Task,
    metrics: Option<Task>,
}

/// A task that ends when it is told to.
struct Task {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Task {
    async fn end(&mut self) {
        self.stop.cancel();
        let _ = (&mut self.task).await;
    }
}

impl<'a> Device<'a> {
    /// Starts everything that the configuration says. The caller has locked the state folder.
    pub async fn start(
        local: &'a mut Local,
        store: &'a mut Store,
        in_force: InForce,
        folder: &Path,
        clock: Clock,
    ) -> Result<Self, RunError> {
        let spool = Spool::open(folder, in_force.config.spool).map_err(RunError::Spool)?;
        wanted::tidy_sessions(folder, &spool);
        let mut sparing = Sparing::new(folder, spool.clone(), clock);
        // Before a camera may have to make room.
        block_in_place(|| sparing.look());
        let status = Status::new(folder, spool.clone());
        status.leave_out(in_force.left_out());
        let InForce { config, missing } = in_force;
        status.go_by(config.uplink.rules.clone());
        let mut cameras = Cameras::new(spool.clone(), clock, status.clone());
        if config.cameras.is_empty() {
            tracing::warn!("no camera yet; the server may push a configuration that has some");
        }
        cameras.become_like(&config.cameras).await;
        let stop = CancellationToken::new();
        let status_task = Task { task: tokio::spawn(status.clone().run(stop.clone())), stop };
        let stop = CancellationToken::new();
        let upkeep = Task { task: tokio::spawn(upkeep::run(spool.clone(), sparing, clock, stop.clone())), stop };
        let metrics = config.metrics.map(|address| {
            let stop = CancellationToken::new();
            Task { task: tokio::spawn(metrics::serve(address, status.clone(), stop.clone())), stop }
        });
        let reporter = Reporter::new(spool.clone(), config.spool.bytes_max, clock, folder);
        let trial_ends = store.pushed().on_trial().map(|_| Instant::now() + local.fleet().trial);
        let (uplink, heard) = start_uplink(&config, folder, &spool, clock, &status);
        Ok(Self {
            local,
            store,
            config,
            folder: folder.to_owned(),
            clock,
            spool,
            status,
            cameras,
            reporter,
            studio: Studio::default(),
            uplink,
            heard,
            say: None,
            trial_ends,
            missing,
            status_task,
            upkeep,
            metrics,
        })
    }

    /// Works until a signal, or until it has to start again.
    pub async fn work(&mut self, signals: &mut Signals) -> Next {
        let mut ticks = tokio::time::interval(limits::STATUS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let trial_ends = self.trial_ends;
            let next = tokio::select! {
                signal = signals.recv() => {
                    tracing::info!(signal, "stopping");
                    return Next::End;
                }
                // The uplink ends only when it is told to, and so does its queue.
                Some(heard) = self.heard.recv() => self.hear(heard).await,
                _ = ticks.tick() => {
                    self.tell_status();
                    self.look_for_files().await
                }
                () = sleep_until(trial_ends) => self.roll_back().await,
            };
            if let Some(next) = next {
                return next;
            }
        }
    }

    /// Stops everything, cameras first.
    pub async fn stop(mut self) {
        self.cameras.stop_all().await;
        self.uplink.end().await;
        self.upkeep.end().await;
        if let Some(metrics) = &mut self.metrics {
            metrics.end().await;
        }
        self.status_task.end().await;
        let counters = self.spool.counters();
        tracing::info!(
            captured = counters.spooled,
            persisted = counters.persisted,
            waiting = counters.fragments,
            "stopped"
        );
    }

    async fn hear(&mut self, heard: Heard) -> Option<Next> {
        match heard {
            Heard::Connected(say) => {
                self.say = Some(say);
                self.report();
                self.tell_status();
                None
            }
            Heard::Told(FromServer::Configuration(given)) => self.configure(given).await,
            Heard::Told(FromServer::Confirmation(confirmation)) => self.confirm(confirmation).await,
            Heard::Told(FromServer::Command(command)) => {
                self.carry_out(command).await;
                None
            }
            Heard::Told(_) => None,
        }
    }

    /// Tries a configuration, or says what is wrong with it.
    async fn configure(&mut self, given: Configuration) -> Option<Next> {
        let version = given.version;
        if !self.local.fleet().takes_pushed {
            let why = "the device's own file says fleet.pushed = \"ignore\"".to_owned();
            self.say(FromAgent::Configuration(ConfigurationReport::new(version, ConfigurationState::Refused, &[why])));
            return None;
        }
        if !self.store.pushed().is_news(version) {
            self.report();
            return None;
        }
        let (kept, is_valid) = match self.check(&given) {
            Ok(()) => (self.store.change(|pushed| pushed.begin(given)), true),
            Err(problems) => {
                tracing::warn!(version, ?problems, "the server has pushed a configuration that is not valid");
                (self.store.change(|pushed| pushed.refuse(version, &problems)), false)
            }
        };
        if let Err(error) = kept {
            tracing::error!(version, %error, "a pushed configuration can't be written to the state folder");
            let why = format!("it can't be written to the device's state folder: {error}");
            self.say(FromAgent::Configuration(ConfigurationReport::new(version, ConfigurationState::Refused, &[why])));
            return None;
        }
        if !is_valid {
            self.report();
            return None;
        }
        tracing::info!(version, "a configuration that the server has pushed is on trial");
        self.trial_ends = Some(Instant::now() + self.local.fleet().trial);
        self.adopt_what_is_in_force().await
    }

    fn check(&self, given: &Configuration) -> Result<(), Problems> {
        let config = self.local.with(&given.toml)?;
        if config.cameras.is_empty() && !self.local.fleet().waits {
            return Err("there is no camera in it, and none in the device's own file: add one".to_owned().into());
        }
        Ok(())
    }

    async fn confirm(&mut self, Confirmation { version }: Confirmation) -> Option<Next> {
        if !self.missing.is_empty() {
            // The server was heard under another one.
            return None;
        }
        match self.store.change(|pushed| pushed.confirm(version)) {
            Ok(true) => {
                tracing::info!(version, "the server confirmed the configuration; it is kept");
                self.trial_ends = None;
                self.report();
            }
            Ok(false) => return None,
            Err(error) => {
                // Its time runs on: it is rolled back, unless it is confirmed again.
                tracing::error!(version, %error, "a confirmed configuration can't be written down");
                return None;
            }
        }
        // A smaller spool counts from now on. Everything else does already, and goes on.
        match run::in_force(self.local, self.store) {
            Ok(InForce { config, missing }) if missing.is_empty() && config != self.config => self.adopt(config).await,
            Ok(_) | Err(_) => None,
        }
    }

    /// Looks again for files that could not be read.
    async fn look_for_files(&mut self) -> Option<Next> {
        if self.missing.is_empty() {
            return None;
        }
        self.local.look_again();
        let on_top = run::on_top(self.local, self.store);
        let can_be_tried = matches!(on_top, Some((_, Ok(_)))) && self.store.pushed().on_trial().is_some();
        let missing = match on_top {
            Some((_, Err(problems))) if problems.may_pass() => problems,
            Some(_) => Problems::default(),
            None => self.local.missing().clone(),
        };
        if missing == self.missing {
            return None;
        }
        if can_be_tried {
            self.trial_ends = Some(Instant::now() + self.local.fleet().trial);
        }
        self.adopt_what_is_in_force().await
    }

    /// The trial's time is over.
    async fn roll_back(&mut self) -> Option<Next> {
        let trial = humantime::format_duration(self.local.fleet().trial);
        let why = if self.missing.is_empty() {
            format!("the server did not confirm it over a connection made with it within {trial}")
        } else {
            let missing = self.missing.join("; ");
            format!("it could not be tried within {trial}, for a file that it names: {missing}; then push it again")
        };
        if let Err(error) = self.store.change(|pushed| pushed.roll_back(&why)) {
            tracing::error!(%error, "a configuration can't be rolled back; trying again");
            self.trial_ends = Some(Instant::now() + limits::PAUSE_MAX);
            return None;
        }
        tracing::warn!(why, "the configuration is rolled back");
        self.trial_ends = None;
        self.adopt_what_is_in_force().await
    }

    async fn adopt_what_is_in_force(&mut self) -> Option<Next> {
        match run::in_force(self.local, self.store) {
            Ok(in_force) => {
                self.status.leave_out(in_force.left_out());
                self.missing = in_force.missing;
                self.adopt(in_force.config).await
            }
            Err(error) => {
                tracing::error!(%error, "the device starts again");
                Some(Next::Again)
            }
        }
    }

    /// Works by another configuration from now on.
    async fn adopt(&mut self, config: Config) -> Option<Next> {
        let rest = |config: &Config, like: &Config| Config {
            cameras: Vec::new(),
            server: like.server.clone(),
            uplink: like.uplink.clone(),
            ..config.clone()
        };
        if rest(&config, &config) != rest(&self.config, &config) {
            return Some(Next::Again);
        }
        self.config = config;
        self.status.go_by(self.config.uplink.rules.clone());
        self.cameras.become_like(&self.config.cameras).await;
        self.say = None;
        self.uplink.end().await;
        // With a queue of its own: what was heard before belongs to the configuration before.
        (self.uplink, self.heard) = start_uplink(&self.config, &self.folder, &self.spool, self.clock, &self.status);
        None
    }

    async fn carry_out(&mut self, Command { id, kind }: Command) {
        let answer = match kind {
            CommandKind::Ping => Ok(Bytes::from_static(VERSION.as_bytes())),
            CommandKind::RestartCamera { stream } => {
                tracing::info!(stream, "the server asks for a restart of the camera");
                if self.cameras.restart(&stream).await { Ok(Bytes::new()) } else { Err(self.no_camera(&stream)) }
            }
            CommandKind::Snapshot { stream, width_max } => return self.snapshot(id, &stream, width_max),
            CommandKind::Fetch { stream, from, to } => return self.fetch(id, stream, from, to),
            CommandKind::Unknown => Err(format!("the agent {VERSION} does not know this command; update it")),
        };
        for part in CommandResult::parts(id, answer) {
            self.say(FromAgent::Result(part));
        }
    }

    /// A task of its own: the cameras and the status do not wait for a decoder, nor for a slow line.
    fn snapshot(&self, id: u64, stream: &str, width_max: u32) {
        let Some(say) = self.say.clone() else { return };
        let (studio, status) = (self.studio.clone(), self.cameras.status(stream));
        let missing = self.no_camera(stream);
        tokio::spawn(async move {
            let answer = match status {
                Some(status) => studio.take(status.key_frame(), width_max).await,
                None => Err(missing),
            };
            for part in CommandResult::parts(id, answer) {
                // Whoever asked is gone with the connection.
                let _ = say.send(FromAgent::Result(part)).await;
            }
        });
    }

    /// On a thread of its own: the cameras and the status do not wait for the disk.
    fn fetch(&self, id: u64, stream: String, from: WallTime, to: WallTime) {
        let Some(say) = self.say.clone() else { return };
        tracing::info!(
            stream,
            from_ms = from.as_millis(),
            to_ms = to.as_millis(),
            "the server asks for a range of what is recorded"
        );
        let desk = Desk {
            state: self.folder.clone(),
            spool: self.spool.clone(),
            clock: self.clock,
            streams: self.cameras.streams().into_iter().map(str::to_owned).collect(),
        };
        tokio::task::spawn_blocking(move || {
            let answer = desk.fetch(&stream, from, to).map(|fetched| fetched.encode()).map_err(|why| why.to_string());
            for part in CommandResult::parts(id, answer) {
                // Whoever asked is gone with the connection; what was asked for is on disk.
                let _ = say.blocking_send(FromAgent::Result(part));
            }
        });
    }

    fn no_camera(&self, stream: &str) -> String {
        format!("the device has no camera for {stream:?}; it has {}", self.cameras.streams().join(", "))
    }

    fn report(&self) {
        let reports = if self.local.fleet().takes_pushed {
            self.store.pushed().reports()
        } else {
            vec![ConfigurationReport::new(0, ConfigurationState::Kept, &[])]
        };
        reports.into_iter().for_each(|report| self.say(FromAgent::Configuration(report)));
    }

    fn tell_status(&mut self) {
        if self.say.as_ref().is_some_and(|say| !say.is_closed()) {
            let status = self.reporter.status(&self.status.latest(), self.status.oldest_waiting());
            self.say(FromAgent::Status(Box::new(status)));
        }
    }

    /// Says it if there is a connection. Where the line is so slow that nothing fits any more, the next status tells.
    fn say(&self, message: FromAgent) {
        if let Some(say) = &self.say
            && say.try_send(message).is_err()
        {
            tracing::debug!("the server could not be told something about the device");
        }
    }
}

fn start_uplink(
    config: &Config,
    folder: &Path,
    spool: &Spool,
    clock: Clock,
    status: &Status,
) -> (Task, mpsc::Receiver<Heard>) {
    let (tell, heard) = mpsc::channel(limits::HEARD_MAX);
    let status = status.clone();
    let pulse = status.uplink_pulse();
    let observer = Arc::new(move |notice: &Notice| status.note(notice));
    let destination = Destination::new(config, folder, spool.clone(), clock, observer, pulse, Some(tell));
    let stop = CancellationToken::new();
    (Task { task: tokio::spawn(keep_uploading(destination, stop.clone())), stop }, heard)
}

/// A refused token or a damaged certificate needs a person; until then, capture is what matters.
async fn keep_uploading(destination: Destination, stop: CancellationToken) {
    while let Err(error) = destination.run(stop.clone()).await {
        tracing::error!(%error, "uploads are not possible; what is captured waits in the spool");
        destination.tell(&Notice::Disconnected { why: error.to_string(), pause: limits::PAUSE_MAX });
        tokio::select! {
            () = tokio::time::sleep(limits::PAUSE_MAX) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
