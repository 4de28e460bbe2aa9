//! The connection to the server: its folder alone names quinn.
//!
//! It reconnects for ever and never touches capture: what it sends it reads from the spool, and what it
//! can't send stays there. `dial` makes a connection and says why there is none; `line` is one connection at work:
//! which fragment goes when is decided by [`upload::Sender`], and there its actions are carried out. Each fragment
//! that is under way has a `lane`, a task that owns its QUIC stream and its reader, so that a slow stream or disk
//! holds up one fragment only.

mod dial;
mod lane;
mod line;
mod way;

use std::sync::Arc;
use std::time::Duration;

use fragment::FragmentNumber;
use spool::Spool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use upload::{ErrorCode, FragmentKey};

use crate::backoff::Backoff;
use crate::calendar::Calendar;
use crate::clock::Clock;
use crate::config;
use crate::enrol::{self, EnrolError};
use crate::renewal::{self, ServerTime};
use crate::{limits, wanted};

pub use dial::{DialError, exchange, probe, probe_upload};
use line::Line;
use way::Way;

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
    /// What of the line it may take, and when.
    pub uplink: config::Uplink,
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

/// Connects and uploads, for ever, until `stop`. What is left then stays in the spool.
pub async fn run(settings: &Settings, stop: CancellationToken) -> Result<(), EnrolError> {
    if let Err(error) = wanted::prepare(&settings.state) {
        tracing::warn!(%error, "recordings can't be asked for");
    }
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
    let mut way = Way::default();
    loop {
        let outcome = attempt(settings, &mut calendar, &mut backoff, &mut way, tell_time, stop).await;
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
                    () = comes_back(&mut way) => tracing::info!("the device has another address"),
                    () = stop.cancelled() => return Ok(()),
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Waits until the device has an address to reach the server from that it had not before.
async fn comes_back(way: &mut Way) {
    loop {
        tokio::time::sleep(limits::WAY_LOOK).await;
        if way.has_come_back() {
            return;
        }
    }
}

/// One connection, from its dial to its close. A stop breaks off what only waits for the server. Once there is a
/// connection it is closed in order, so that the server knows at once and no file of a persisted fragment is left.
async fn attempt(
    settings: &Settings,
    calendar: &mut Calendar,
    backoff: &mut Backoff,
    way: &mut Way,
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
    *way = Way::to(line.server());
    let ended = line.drive().await;
    backoff.ended(line.worked);
    if line.persisted {
        // A server that was only started again is to be found at once.
        backoff.recovered();
    }
    line.close().await;
    Ok(ended?)
}
