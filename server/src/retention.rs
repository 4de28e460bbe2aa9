//! Deletes what has expired, and what is oldest when disk space runs out: rows of the index, then whole segment
//! files, then keys.
//!
//! The steps are plans that can stop anywhere: whatever a run leaves, the next one finds.

use tokio_util::sync::CancellationToken;

use crate::devices::Devices;
use crate::storage::{self, Deleted, Storage};
use crate::{limits, telemetry};

/// Keeps `wanted` bytes of the disk free until it is told to stop.
pub(crate) async fn keep_free(storage: Storage, wanted: u64, stop: CancellationToken) {
    let mut interval = tokio::time::interval(limits::KEEP_FREE_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut in_vain = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let shortage = storage.shortage(wanted);
        if shortage == 0 {
            in_vain = false;
            continue;
        }
        match storage.make_room(shortage, storage::now()).await {
            Ok(Deleted { fragments, bytes }) => {
                telemetry::given_up(fragments, bytes);
                if fragments > 0 || bytes > 0 {
                    tracing::warn!(fragments, bytes, "deleted the oldest before its time to keep disk space free");
                }
                if bytes < shortage && !std::mem::replace(&mut in_vain, true) {
                    tracing::error!(shortage, "disk space runs out, and what is stored is younger than an hour");
                }
            }
            Err(error) => tracing::error!(%error, "no disk space can be made free; trying again"),
        }
    }
}

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
