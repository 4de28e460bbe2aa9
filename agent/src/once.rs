//! `millrace-agent once FILE --stream NAME`: one file to the server, and done when all of it is on disk there.
//!
//! The file is read as fast as the upload takes it, through the same spool, and no faster: a file can wait, so
//! nothing is dropped for it. Its session is wanted as a whole from its first fragment on: so it is sent whatever mode and
//! hours say of the stream, and stopped half-way, what was spooled is sent at the next start. Each ack is a line on standard
//! output; a progress bar goes to the terminal. Unless a start time is given, the file is taken to end now, which needs its
//! duration: it is read through once before.

use std::collections::HashSet;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fragment::cutter::Settings as Cut;
use fragment::{MediaTime, SessionId, StreamName, WallTime};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pipelines::Event;
use spool::{Amount, Settings, Spool, SyncTime};
use tokio::sync::Notify;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;
use upload::FragmentKey;

use crate::clock::Clock;
use crate::config::{Config, Uplink};
use crate::destination::Destination;
use crate::enrol::EnrolError;
use crate::recorder::{Recorder, TimeSource};
use crate::run::{RunError, Signals};
use crate::state::StateFolder;
use crate::uplink::Notice;
use crate::{capture, limits, wanted};

/// What to upload.
#[derive(Debug)]
pub struct Upload {
    /// The file.
    pub file: PathBuf,
    /// Into which stream.
    pub stream: StreamName,
    /// When its first picture was taken.
    pub start: Option<WallTime>,
}

/// Why not all of it was persisted.
#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    /// The agent can't run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The device can't become known to the server.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The file can't be read.
    #[error("{0}")]
    Source(String),
    /// Nothing in it can be uploaded.
    #[error("{0} has no video or audio that can be uploaded")]
    Empty(PathBuf),
    /// The server refused some of it.
    #[error("the server refused {refused} of {fragments} fragments; the lines above say why")]
    Refused {
        /// How many.
        refused: usize,
        /// Of how many.
        fragments: usize,
    },
    /// Some of it could not be kept in the spool.
    #[error("{0} fragments could not be written to the spool or read back, whole or in part; the log says why")]
    Lost(u64),
    /// It would wait for room that never comes.
    #[error(
        "no room in the spool: {fragments} fragments of {bytes} bytes are recordings that are sent only in their hours or \
         when they are asked for; have them uploaded by `millrace-agent recordings upload`, or raise spool.bytes_max if it \
         is that which they fill: more than about 1.8 million fragments it takes in no case"
    )]
    NoRoom {
        /// How many.
        fragments: u64,
        /// What they take.
        bytes: u64,
    },
    /// A signal came first.
    #[error(
        "interrupted; {0} fragments wait in the spool and are sent by the next `once` or `run` with this state folder"
    )]
    Interrupted(usize),
}

/// What has become of the file's fragments.
#[derive(Debug, Default)]
struct Ledger {
    own: HashSet<FragmentKey>,
    sessions: HashSet<SessionId>,
    outstanding: HashSet<FragmentKey>,
    refused: usize,
    lost: u64,
}

#[derive(Clone)]
struct Report {
    state: PathBuf,
    ledger: Arc<Mutex<Ledger>>,
    settled: Arc<Notify>,
    bar: ProgressBar,
}

/// Uploads a file. `Ok` only when all of it is PERSISTED.
pub async fn once(config: Config, upload: Upload) -> Result<(), OnceError> {
    let folder = StateFolder::open(&config.state).map_err(RunError::State)?;
    let clock = Clock::open().map_err(RunError::Clock)?;
    let spool =
        Spool::open(folder.path(), Settings { sync: SyncTime::Fragment, ..config.spool }).map_err(RunError::Spool)?;
    wanted::tidy_sessions(folder.path(), &spool);
    let mut signals = Signals::new().map_err(RunError::Signal)?;
    let start = match upload.start {
        Some(start) => start,
        None => clock.now().wall - duration(&upload.file).await?,
    };

    let report = Report::new(folder.path());
    let stop = CancellationToken::new();
    let observer = {
        let report = report.clone();
        Arc::new(move |notice: &Notice| report.note(notice))
    };
    let (rules, now) = (&config.uplink.rules, Some(clock.now().wall));
    let is_held = |stream: &StreamName| !rules.is_live(stream) || !rules.open(stream, now);
    let Amount { fragments, bytes: held } = spool.amount_of(is_held);
    if !spool.can_have_room_beside(is_held) {
        return Err(OnceError::NoRoom { fragments, bytes: held });
    }
    let rules = config.uplink.rules.live(upload.stream.clone());
    let config = Config { uplink: Uplink { rules, ..config.uplink }, ..config };
    let destination = Destination::new(&config, folder.path(), spool.clone(), clock, observer, Arc::default(), None);
    let outcome = {
        let uplink = destination.run(stop.clone());
        let work = async {
            read(&upload, start, held, &spool, &report).await?;
            report.settle_what_is_gone(&spool);
            report.all_settled().await;
            Ok(())
        };
        tokio::pin!(uplink);
        let (outcome, connected) = tokio::select! {
            outcome = work => (outcome, true),
            ended = &mut uplink => (Err(ended.map_or_else(OnceError::Enrol, |()| OnceError::Interrupted(0))), false),
            _ = signals.recv() => (Err(OnceError::Interrupted(report.outstanding())), true),
        };
        stop.cancel();
        if connected {
            // It closes in order, and the spool files of what is persisted are gone when it has.
            let _ = uplink.await;
        }
        outcome
    };
    report.bar.finish_and_clear();
    outcome?;
    report.let_go_of_sessions();
    report.conclude(&upload, &spool)
}

/// How long the file plays.
async fn duration(file: &Path) -> Result<Duration, OnceError> {
    let (handle, mut events) = capture::fast(file);
    let mut ends: Option<(MediaTime, MediaTime)> = None;
    loop {
        match events.recv().await {
            Some(Event::Unit(unit)) => {
                let (first, last) = ends.unwrap_or((unit.pts, unit.pts));
                ends = Some((first.min(unit.pts), last.max(unit.pts + unit.duration.unwrap_or_default())));
            }
            Some(Event::Failed(error)) => return Err(OnceError::Source(error.to_string())),
            Some(Event::Tracks(_) | Event::Clock(_) | Event::Lost(..)) => {}
            Some(Event::EndOfStream) | None => break,
        }
    }
    block_in_place(|| handle.stop());
    let (first, last) = ends.ok_or_else(|| OnceError::Empty(file.to_owned()))?;
    Ok(last.since(first))
}

/// Spools the file, no further ahead of the upload than the limit, and never so far that the spool would have to
/// drop something. What is held leaves by itself at no time that could be waited for.
async fn read(upload: &Upload, start: WallTime, held: u64, spool: &Spool, report: &Report) -> Result<(), OnceError> {
    let noted = report.clone();
    let mut recorder = Recorder::new(upload.stream.clone(), spool.clone(), TimeSource::Given(start), Cut::default())
        .on_begun(move |key| noted.begun(key));
    let (handle, mut events) = capture::fast(&upload.file);
    loop {
        while !spool.has_room() || spool.counters().bytes > held + limits::ONCE_SPOOL_BYTES {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        match events.recv().await {
            Some(Event::Tracks(tracks)) => block_in_place(|| recorder.tracks(&tracks)),
            Some(Event::Unit(unit)) => block_in_place(|| recorder.unit(unit)),
            Some(Event::Clock(_) | Event::Lost(..)) => {}
            Some(Event::Failed(error)) => return Err(OnceError::Source(error.to_string())),
            Some(Event::EndOfStream) | None => break,
        }
    }
    block_in_place(|| {
        recorder.end();
        handle.stop();
    });
    Ok(())
}

impl Report {
    fn new(state: &Path) -> Self {
        let bar = ProgressBar::new(0);
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} fragments persisted, {elapsed}");
        bar.set_style(style.expect("the template is constant"));
        Self { state: state.to_owned(), ledger: Arc::default(), settled: Arc::default(), bar }
    }

    fn begun(&self, key: &FragmentKey) {
        let mut ledger = self.ledger();
        let session = key.id.session;
        if ledger.sessions.insert(session)
            && let Err(error) = wanted::want_session(&self.state, session)
        {
            tracing::warn!(%error, "it can't be noted that this is wanted: what is not sent at once goes by mode and hours");
        }
        ledger.own.insert(key.clone());
        ledger.outstanding.insert(key.clone());
        self.bar.inc_length(1);
    }

    fn note(&self, notice: &Notice) {
        match notice {
            Notice::Connected { device } => self.say(&format!("CONNECTED as {device}")),
            Notice::Disconnected { why, pause } => {
                self.say(&format!("DISCONNECTED {why}; trying again in {:.1} s", pause.as_secs_f64()));
            }
            Notice::Clock { .. } => {}
            Notice::Buffering(key) => self.say(&format!("BUFFERING {key}")),
            Notice::Received(key) => self.say(&format!("RECEIVED {key}")),
            Notice::Persisted(key, number) => {
                // AWS's numbers are others, and stand in the log.
                let number = number.map(|number| format!(" number {number}")).unwrap_or_default();
                self.say(&format!("PERSISTED {key}{number}"));
                self.settle(key, |_| {});
            }
            Notice::Postponed { key, code, message, pause } => {
                self.say(&format!("POSTPONED {key} {code} {message}; trying again in {:.1} s", pause.as_secs_f64()));
            }
            Notice::Lost(key) => {
                self.say(&format!("LOST {key}"));
                self.settle(key, |ledger| ledger.lost += 1);
            }
            Notice::Rejected { key, code, message } => {
                self.say(&format!("ERROR {key} {code} {message}"));
                self.settle(key, |ledger| ledger.refused += 1);
            }
        }
    }

    fn settle(&self, key: &FragmentKey, count: impl FnOnce(&mut Ledger)) {
        let mut ledger = self.ledger();
        if ledger.outstanding.remove(key) {
            count(&mut ledger);
            self.bar.inc(1);
            self.settled.notify_one();
        }
    }

    /// Of a fragment that left the spool without a notice no ack will ever come. The lock is held over the look at
    /// the spool, and notices come before the leaving, so none that was told is counted here.
    fn settle_what_is_gone(&self, spool: &Spool) {
        let mut ledger = self.ledger();
        let gone: Vec<_> = ledger.outstanding.iter().filter(|key| !spool.holds(key)).cloned().collect();
        for key in gone {
            ledger.outstanding.remove(&key);
            ledger.lost += 1;
            self.bar.inc(1);
            self.say(&format!("LOST {key}"));
        }
    }

    async fn all_settled(&self) {
        while self.outstanding() > 0 {
            self.settled.notified().await;
        }
    }

    fn outstanding(&self) -> usize {
        self.ledger().outstanding.len()
    }

    /// Nothing of them is left to send.
    fn let_go_of_sessions(&self) {
        let sessions = std::mem::take(&mut self.ledger().sessions);
        sessions.into_iter().for_each(|session| wanted::session_done(&self.state, session));
    }

    fn conclude(&self, upload: &Upload, spool: &Spool) -> Result<(), OnceError> {
        let (fragments, refused, lost) = {
            let ledger = self.ledger();
            (ledger.own.len(), ledger.refused, ledger.lost)
        };
        let counters = spool.counters();
        // The spool counts parts that were lost too, and what could not be begun.
        match (fragments, refused, lost.max(counters.lost + counters.dropped)) {
            (0, _, 0) => Err(OnceError::Empty(upload.file.clone())),
            (_, 0, 0) => {
                self.say(&format!("all {fragments} fragments of {} are persisted", upload.file.display()));
                Ok(())
            }
            (_, 0, lost) => Err(OnceError::Lost(lost)),
            (_, refused, _) => Err(OnceError::Refused { refused, fragments }),
        }
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| {
            use std::io::Write as _;
            // A reader that went away is no reason to stop uploading.
            let _ = writeln!(std::io::stdout(), "{line}");
        });
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use fragment::{FragmentId, Sequence, SessionId};

    use super::*;

    #[tokio::test]
    async fn what_left_the_spool_without_a_word_is_lost_and_not_waited_for() {
        let state = tempfile::tempdir().unwrap();
        let spool = Spool::open(state.path(), 1 << 30).unwrap();
        let (report, key) = (Report::new(state.path()), key());
        report.begun(&key);
        report.settle_what_is_gone(&spool);
        report.all_settled().await;
        let upload = Upload { file: "film.mp4".into(), stream: key.stream, start: None };
        assert!(matches!(report.conclude(&upload, &spool), Err(OnceError::Lost(1))));
    }

    #[test]
    fn what_was_told_before_it_left_the_spool_is_not_lost() {
        let state = tempfile::tempdir().unwrap();
        let spool = Spool::open(state.path(), 1 << 30).unwrap();
        let (report, key) = (Report::new(state.path()), key());
        report.begun(&key);
        report.note(&Notice::Persisted(key.clone(), None));
        report.settle_what_is_gone(&spool);
        let upload = Upload { file: "film.mp4".into(), stream: key.stream, start: None };
        report.conclude(&upload, &spool).unwrap();
    }

    fn key() -> FragmentKey {
        let id = FragmentId { session: SessionId(7), sequence: Sequence(0) };
        FragmentKey { stream: "film".parse().unwrap(), id }
    }
}
