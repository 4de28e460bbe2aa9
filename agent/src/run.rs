//! `millrace-agent run`: all cameras and the uplink, until a signal.
//!
//! Order of stopping: cameras first, so that their last fragments are ended and synced; then the uplink.
//! What is not persisted by then stays in the spool for the next start. [`crate::device`] is what runs meanwhile.

use fragment::StreamName;
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::Clock;
use crate::config::{Config, LeftOut, Local, Problems};
use crate::device::{Device, Next};
use crate::enrol::{self, EnrolError};
use crate::fleet::store::Store;
use crate::service;
use crate::state::{self, StateFolder};

/// Why the agent can't run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The state folder can't be used.
    #[error(transparent)]
    State(#[from] state::OpenError),
    /// What was pushed can't be kept.
    #[error("what the server has pushed can't be written to the state folder: {0}")]
    Pushed(std::io::Error),
    /// The spool can't be opened.
    #[error("the spool can't be opened: {0}")]
    Spool(std::io::Error),
    /// The device's clocks can't be read.
    #[error("the device's clocks can't be read: {0}")]
    Clock(std::io::Error),
    /// Signals can't be awaited.
    #[error("signals can't be awaited: {0}")]
    Signal(std::io::Error),
    /// The device can't become or stay known to its server.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// There is nothing to do.
    #[error(
        "the configuration has no camera: add one, as in\n\n  [[camera]]\n  stream = \"front\"\n  url = \"rtsp://192.168.1.20/stream1\"\n\nor wait for one that the server pushes, with\n\n  [fleet]\n  pushed = \"accept\"\n"
    )]
    NoCamera,
}

impl RunError {
    /// Whether it is of no use to start again before a person has done something.
    pub fn needs_a_person(&self) -> bool {
        matches!(self, Self::NoCamera | Self::Enrol(EnrolError::NoToken))
    }
}

/// Captures and uploads until SIGTERM or SIGINT.
pub async fn run(mut local: Local) -> Result<(), RunError> {
    let folder = StateFolder::open(&local.config().state)?;
    let mut store = Store::open(folder.path()).unwrap_or_else(|error| {
        tracing::error!(%error, "the configuration of this device alone counts");
        Store::empty(folder.path())
    });
    store.change(|pushed| pushed.start()).map_err(RunError::Pushed)?;
    let mut in_force = in_force(&local, &mut store)?;
    if in_force.config.cameras.is_empty() && !in_force.waits_for_files() && !local.fleet().waits {
        return Err(RunError::NoCamera);
    }
    // Anything else that is wrong here may be mended while the cameras are recorded.
    let config = &in_force.config;
    if config.aws.is_none()
        && let Err(error @ EnrolError::NoToken) = enrol::standing(folder.path(), config.server.token.as_ref())
    {
        return Err(error.into());
    }
    let clock = Clock::open().map_err(RunError::Clock)?;
    let mut signals = Signals::new().map_err(RunError::Signal)?;
    loop {
        let feeding = service::starting_again();
        let mut device = Device::start(&mut local, &mut store, in_force, folder.path(), clock).await?;
        drop(feeding);
        service::ready();
        let next = device.work(&mut signals).await;
        if next == Next::End {
            service::stopping();
        }
        device.stop().await;
        match next {
            Next::End => return Ok(()),
            Next::Again => {
                local.look_again();
                in_force = self::in_force(&local, &mut store)?;
            }
        }
    }
}

/// What the device works by.
#[derive(Debug)]
pub struct InForce {
    /// The configuration.
    pub config: Config,
    /// Files that can't be read now, and what they are needed for is not in it: it is to be looked again.
    pub missing: Problems,
}

impl InForce {
    fn whole(config: Config) -> Self {
        Self { config, missing: Problems::default() }
    }

    /// Whether it is to be looked again.
    pub fn waits_for_files(&self) -> bool {
        !self.missing.is_empty()
    }

    /// The cameras that are not recorded for it.
    pub fn left_out(&self) -> impl Iterator<Item = &LeftOut> {
        let is_there = |stream: &StreamName| self.config.cameras.iter().any(|camera| camera.stream == *stream);
        self.missing.left_out().iter().filter(move |left_out| !is_there(&left_out.stream))
    }
}

/// The device's own file with what is pushed on top. What is pushed and does not go with the file any more is given up; but not for
/// files that can't be read now. While it is on trial it drops nothing that would be there without it.
pub(crate) fn in_force(local: &Local, store: &mut Store) -> Result<InForce, RunError> {
    while let Some((version, config)) = on_top(local, store) {
        match config {
            Ok(config) => {
                tracing::info!(version, "a configuration that the server has pushed is in force");
                return Ok(InForce::whole(config));
            }
            Err(problems) if problems.may_pass() => {
                tracing::error!(version, ?problems, "the pushed configuration can't be used yet; it is tried again");
                return Ok(InForce { config: without_trial(local, store), missing: problems });
            }
            Err(problems) => {
                tracing::error!(version, ?problems, "the pushed configuration does not go with this device's own");
                store.change(|pushed| pushed.give_up(&problems)).map_err(RunError::Pushed)?;
            }
        }
    }
    let missing = local.missing().clone();
    if !missing.is_empty() {
        tracing::error!(why = missing.join("; "), "a camera is left out; its file is looked for again");
    }
    Ok(InForce { config: local.config().clone(), missing })
}

/// The version that is pushed, and the device's own file with it on top, if anything is pushed that counts.
pub(crate) fn on_top(local: &Local, store: &Store) -> Option<(u64, Result<Config, Problems>)> {
    // AWS pushes nothing, and nobody could take back what a server of before has pushed.
    if !local.fleet().takes_pushed || local.config().aws.is_some() {
        return None;
    }
    let pushed = store.pushed().in_force()?;
    let config = local.with(&pushed.toml).map(|config| match store.pushed().on_trial() {
        Some(_) => Config { spool: config.spool.and_no_less_than(without_trial(local, store).spool), ..config },
        None => config,
    });
    Some((pushed.version, config))
}

/// What a roll-back would bring back, as far as its files can be read. How much may be recorded and what is sent is as it says
/// also where a file of a camera is missing: that must drop nothing, and send nothing.
fn without_trial(local: &Local, store: &Store) -> Config {
    let kept = store.pushed().kept().and_then(|kept| local.with_what_can_be_read(&kept.toml));
    kept.unwrap_or_else(|| local.config().clone())
}

/// The signals that ask for an end.
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one, and names it.
    pub async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use upload::fleet::Configuration;

    use super::*;

    const OWN: &str = "server.address = \"s:1\"\n[spool]\nbytes_max = \"2 GiB\"\nage_max = \"2 days\"\n";

    #[test]
    fn a_smaller_spool_drops_nothing_before_its_configuration_is_kept() {
        let (folder, local, mut store) = device();
        let smaller = "[spool]\nbytes_max = \"1 GiB\"\nage_max = \"1 day\"\n";
        store.change(|pushed| pushed.begin(given(1, smaller))).unwrap();
        assert_eq!(in_force(&local, &mut store).unwrap().config.spool, local.config().spool);
        // Also after a power cut.
        let mut store = Store::open(folder.path()).unwrap();
        assert_eq!(in_force(&local, &mut store).unwrap().config.spool, local.config().spool);
        store.change(|pushed| pushed.confirm(1)).unwrap();
        assert_eq!(in_force(&local, &mut store).unwrap().config.spool, local.with(smaller).unwrap().spool);
        // What was kept by then is what a next one is held against.
        store.change(|pushed| pushed.begin(given(2, "[spool]\nbytes_max = \"512 MiB\"\n"))).unwrap();
        let spool = in_force(&local, &mut store).unwrap().config.spool;
        assert_eq!((spool.bytes_max, spool.age_max), (1 << 30, None));
    }

    #[test]
    fn a_file_that_can_not_be_read_gives_no_pushed_configuration_up() {
        let (folder, local, mut store) = device();
        let camera = "[[camera]]\nstream = \"front\"\nurl = \"rtsp://camera/1\"\nuser = \"me\"\npassword_file = \"front.pass\"\n";
        let password = folder.path().join("front.pass");
        std::fs::write(&password, "hush").unwrap();
        store.change(|pushed| pushed.begin(given(1, camera))).unwrap();
        store.change(|pushed| pushed.confirm(1)).unwrap();
        std::fs::remove_file(&password).unwrap();

        let waiting = in_force(&local, &mut store).unwrap();
        assert!(waiting.waits_for_files() && waiting.config.cameras.is_empty(), "{waiting:?}");
        let left_out: Vec<_> = waiting.left_out().map(|left_out| left_out.stream.as_str()).collect();
        assert_eq!(left_out, ["front"]);
        // What else it says counts, and so do its other cameras.
        let more = "[spool]\nbytes_max = \"64 GiB\"\n[uplink]\nmode = \"record\"\n[[camera]]\nstream = \"back\"\nurl = \"rtsp://camera/2\"\n";
        std::fs::write(&password, "hush").unwrap();
        store.change(|pushed| pushed.begin(given(2, &format!("{more}{camera}")))).unwrap();
        store.change(|pushed| pushed.confirm(2)).unwrap();
        std::fs::remove_file(&password).unwrap();
        let (waiting, readable) = (in_force(&local, &mut store).unwrap(), local.with(more).unwrap());
        assert!(waiting.waits_for_files());
        assert_eq!((waiting.config.spool, &waiting.config.cameras), (readable.spool, &readable.cameras));
        assert!(!waiting.config.uplink.rules.is_live(&"front".parse().unwrap()), "what it has recorded stays");
        store.change(|pushed| pushed.begin(given(3, camera))).unwrap();
        assert_eq!(in_force(&local, &mut store).unwrap().config, waiting.config, "on trial, too");
        store.change(|pushed| pushed.roll_back("")).unwrap();
        store.change(|pushed| pushed.begin(given(4, camera))).unwrap();
        store.change(|pushed| pushed.confirm(4)).unwrap();
        let kept = store.pushed().clone();
        assert_eq!(*Store::open(folder.path()).unwrap().pushed(), kept);
        std::fs::write(&password, "hush").unwrap();
        let found = in_force(&local, &mut store).unwrap();
        assert_eq!((found.waits_for_files(), found.config.cameras.len()), (false, 1));
        // What else is wrong does not pass.
        std::fs::remove_file(&password).unwrap();
        let wrong = format!("{camera}fragment_seconds = 99\n");
        store.change(|pushed| pushed.begin(given(5, &wrong))).unwrap();
        in_force(&local, &mut store).unwrap();
        assert_eq!(store.pushed().on_trial(), None);
    }

    #[test]
    fn a_camera_of_the_devices_own_that_names_a_missing_file_is_left_out_until_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let front = "[[camera]]\nstream = \"front\"\nurl = \"rtsp://camera/1\"\nuser = \"me\"\npassword_file = \"front.pass\"\n";
        let text = format!("{OWN}{front}[[camera]]\nstream = \"back\"\nurl = \"rtsp://camera/2\"\n");
        assert!(Local::parse(&text, folder.path()).is_err(), "a check says so");
        let mut local = Local::parse_what_can_be_read(&text, folder.path()).unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        let streams = |config: &Config| -> Vec<String> {
            config.cameras.iter().map(|camera| camera.stream.as_str().to_owned()).collect()
        };
        let waiting = in_force(&local, &mut store).unwrap();
        assert_eq!(streams(&waiting.config), ["back"]);
        let left_out: Vec<_> = waiting.left_out().cloned().collect();
        assert!(left_out.len() == 1 && left_out[0].stream.as_str() == "front", "{left_out:?}");
        assert!(left_out[0].why.contains("front.pass can't be read"), "{left_out:?}");

        local.look_again();
        assert_eq!(streams(local.config()), ["back"]);
        std::fs::write(folder.path().join("front.pass"), "hush").unwrap();
        local.look_again();
        let found = in_force(&local, &mut store).unwrap();
        assert_eq!((streams(&found.config).len(), found.waits_for_files()), (2, false));
        // What else is wrong is no missing file.
        std::fs::remove_file(folder.path().join("front.pass")).unwrap();
        assert!(Local::parse_what_can_be_read(&format!("{text}fps = 7\n"), folder.path()).is_err());
        let token = text.replacen("address", "token_file = \".\"\nserver.address", 1);
        assert!(
            Local::parse_what_can_be_read(&token.replacen("token_file", "server.token_file", 1), folder.path())
                .is_err()
        );
    }

    /// A state folder, what the device's own file there says, and nothing pushed.
    fn device() -> (tempfile::TempDir, Local, Store) {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::parse(OWN, folder.path()).unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, local, store)
    }

    fn given(version: u64, toml: &str) -> Configuration {
        Configuration { version, toml: toml.to_owned() }
    }
}
