//! The service manager: readiness and the watchdog, by sd_notify(3). Without one nothing of this does anything.
//!
//! The server reports itself alive only after the vault's committer has come round, since without that nothing is
//! stored. A sync that hangs for longer than the unit's `WatchdogSec` thus ends in a new start.

use std::convert::Infallible;

use sd_notify::NotifyState;

use crate::serve::Server;

/// It listens.
pub(crate) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It ends because it was asked to.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Reports the server alive, three times within what the service manager waits for, as long as it commits.
pub(crate) async fn feed_watchdog(server: &Server) -> Infallible {
    if let Some(patience) = sd_notify::watchdog_enabled() {
        while server.commits().await {
            notify(&[NotifyState::Watchdog]);
            tokio::time::sleep(patience / 3).await;
        }
        tracing::error!("the vault's committer has ended; the watchdog will start the server again");
    }
    std::future::pending().await
}

fn notify(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!(%error, "the service manager can't be told");
    }
}
