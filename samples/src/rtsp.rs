//! An RTSP camera simulator on GStreamer's RTSP server.
//!
//! The camera has a time of its own, which began when it was switched on, and shows its clip in a loop by
//! that time, whether anyone watches or not. Viewers share one media pipeline, as they share a real camera's
//! encoder; who joins sees what is on. [`Command`]s make it misbehave.

mod clip;
mod clocks;
mod coding;
mod command;
mod control;
mod feeder;
mod packets;
mod plant;
mod server;

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

pub use coding::{Coding, NotACoding};
pub use command::{Command, NotACommand};

pub use clocks::Clocks;

use clip::Clip;
use plant::Plant;
use server::Server;

/// What a camera is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The clip that it shows.
    pub clip: PathBuf,
    /// Others that it can be told to show, with the same kinds of tracks.
    pub others: Vec<PathBuf>,
    /// The port that it listens on, at 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The path of its stream, such as `/cam`.
    pub path: String,
    /// The user name and password that it wants.
    pub credentials: Option<(String, String)>,
    /// How it wants them.
    pub scheme: Scheme,
    /// How its clocks go.
    pub clocks: Clocks,
    /// Its certificate and private key as PEM, if it speaks RTSP over TLS.
    pub tls: Option<String>,
    /// After how many seconds it ends the session of a viewer over UDP who does not keep it alive.
    pub session_seconds: Option<u32>,
    /// What it codes in another way than its clip does.
    pub recoded: Vec<Coding>,
    /// A file that gets a line for each picture that is sent: when, in ms since 1970, and which picture of the clip.
    pub log: Option<PathBuf>,
}

/// How a password travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// As a hash with a challenge.
    #[default]
    Digest,
    /// In the clear, as old cameras want it.
    Basic,
}

impl Settings {
    /// A camera that shows `clip` at `/cam` on a free port, to anyone.
    pub fn new(clip: impl Into<PathBuf>) -> Self {
        Self {
            clip: clip.into(),
            others: Vec::new(),
            port: 0,
            path: "/cam".to_owned(),
            credentials: None,
            scheme: Scheme::Digest,
            clocks: Clocks::default(),
            tls: None,
            session_seconds: None,
            recoded: Vec::new(),
            log: None,
        }
    }
}

/// Why a camera could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// GStreamer could not be used.
    #[error("GStreamer failed: {0}")]
    GStreamer(String),
    /// The clip could not be read.
    #[error("cannot show {}: {reason}", path.display())]
    Clip {
        /// The clip.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The log could not be opened.
    #[error("cannot write {}: {reason}", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// What is wrong.
        reason: io::Error,
    },
    /// The port could not be listened on.
    #[error("cannot listen on port {port}: {reason}")]
    Listen {
        /// The port.
        port: u16,
        /// What is wrong.
        reason: String,
    },
}

/// A running camera; dropping it switches it off.
pub struct Camera {
    plant: Arc<Plant>,
    server: Server,
    path: String,
    secure: bool,
}

impl Camera {
    /// Switches a camera on.
    pub fn start(settings: &Settings) -> Result<Self, StartError> {
        gst::init().map_err(|error| StartError::GStreamer(error.to_string()))?;
        let clips = std::iter::once(&settings.clip).chain(&settings.others);
        let clips = clips.map(|path| {
            Clip::read(path, &settings.recoded).map_err(|reason| StartError::Clip { path: path.clone(), reason })
        });
        let unlike = || StartError::Clip {
            path: settings.clip.clone(),
            reason: "the other clips have other kinds of tracks".to_owned(),
        };
        let log = settings.log.as_ref().map(|path| {
            let file = File::options().create(true).append(true).open(path);
            file.map_err(|reason| StartError::Log { path: path.clone(), reason })
        });
        let plant =
            Plant::new(clips.collect::<Result<_, _>>()?, settings.clocks, log.transpose()?).ok_or_else(unlike)?;
        let plant = Arc::new(plant);
        let server =
            Server::start(settings, &plant).map_err(|reason| StartError::Listen { port: settings.port, reason })?;
        Ok(Self { plant, server, path: settings.path.clone(), secure: settings.tls.is_some() })
    }

    /// Where to watch it, without credentials.
    pub fn url(&self) -> String {
        let scheme = if self.secure { "rtsps" } else { "rtsp" };
        format!("{scheme}://127.0.0.1:{}{}", self.server.port(), self.path)
    }

    /// Packets of the picture that it left out.
    pub fn packets_lost(&self) -> u64 {
        self.plant.packets_lost()
    }

    /// Requests of viewers that did nothing but keep their sessions.
    pub fn kept_alive(&self) -> u64 {
        self.plant.kept_alive()
    }

    /// Makes it misbehave.
    pub fn control(&self, command: Command) {
        match command {
            Command::Stall(time) => self.plant.stall(time),
            Command::Blind(time) => self.plant.blind(time),
            Command::Vanish(time) => {
                self.plant.vanish(time);
                self.server.hang(&self.plant);
            }
            Command::Show(number) => self.plant.show(number),
            Command::Lose { every } => self.plant.lose(every),
            Command::Drop => self.server.drop_viewers(),
            Command::Restart(time) => {
                self.plant.begin_again(time);
                self.server.restart(time);
            }
            Command::Jump { nanos } => self.plant.jump(nanos),
            Command::SetClock { nanos } => self.plant.set_clock(nanos),
        }
    }

    /// Takes commands at `port` of 127.0.0.1, one a line, for as long as the process lives.
    pub fn listen_for_commands(self: &Arc<Self>, port: u16) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let address = listener.local_addr()?;
        control::listen(listener, self);
        Ok(address)
    }

    /// Obeys the command in `line` and answers it: `ok`, or `error` and the reason.
    pub fn obey(&self, line: &str) -> String {
        match line.parse::<Command>() {
            Ok(command) => {
                tracing::info!(?command, "obeying");
                self.control(command);
                "ok".to_owned()
            }
            Err(error) => format!("error {error}"),
        }
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        // A camera that has vanished hears nothing, the end neither.
        self.plant.vanish(std::time::Duration::ZERO);
    }
}
