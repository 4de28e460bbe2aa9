//! Deletes what has expired: rows of the index, then whole segment files, then keys.
//!
//! Both steps are plans that can stop anywhere: whatever a run leaves, the next one finds.

use tokio_util::sync::CancellationToken;

use crate::devices::Devices;
use crate::storage::{self, Storage};
use crate::{limits, telemetry};

/// Runs until it is told to stop.
pub(crate) async fn run(storage: Storage, devices: Devices, stop: CancellationToken) {
    let mut interval = tokio::time::interval(limits::RETENTION_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let now = storage::now();
        match storage.delete_expired(now).await {
            Ok(deleted) => {
                telemetry::expired(deleted.fragments, deleted.bytes);
                if deleted.fragments > 0 || deleted.bytes > 0 {
                    tracing::info!(fragments = deleted.fragments, bytes = deleted.bytes, "deleted what has expired");
                }
            }
            Err(error) => tracing::error!(%error, "what has expired can't be deleted; trying again in a minute"),
        }
        let devices = devices.clone();
        let forgotten = tokio::task::spawn_blocking(move || devices.forget_old_tokens(now)).await;
        if let Ok(Err(error)) = forgotten {
            tracing::error!(%error, "old join tokens can't be deleted");
        }
    }
}
