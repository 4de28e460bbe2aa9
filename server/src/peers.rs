//! Other servers on the same store: what they change, this one takes up.

use tokio_util::sync::CancellationToken;

use crate::devices::Devices;
use crate::limits;
use crate::storage::Storage;

/// Looks for changes of streams and devices until it is told to stop.
pub(crate) async fn follow(storage: Storage, devices: Devices, stop: CancellationToken) {
    let mut interval = tokio::time::interval(limits::PEERS_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failed = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let (archive, devices) = (storage.archive().clone(), devices.clone());
        let looked = tokio::task::spawn_blocking(move || {
            archive.refresh().map_err(|error| error.to_string())?;
            devices.refresh().map_err(|error| error.to_string())
        });
        match looked.await {
            Ok(Ok(())) => failed = false,
            // Once, and not every second of an outage.
            Ok(Err(error)) if !failed => {
                failed = true;
                tracing::warn!(%error, "what other servers change can't be seen; trying again");
            }
            _ => {}
        }
    }
}
