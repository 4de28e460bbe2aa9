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
    let mut effect = Effect::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let shortage = storage.shortage(wanted);
        if shortage == 0 {
            effect = Effect::default();
        }
        if shortage == 0 || effect.is_none() {
            continue;
        }
        match storage.make_room(shortage.min(limits::GIVEN_UP_BYTES_MAX), storage::now()).await {
            Ok(Deleted { fragments, bytes }) => {
                telemetry::given_up(fragments, bytes);
                effect.note(bytes, shortage.saturating_sub(storage.shortage(wanted)));
                if fragments > 0 || bytes > 0 {
                    tracing::warn!(fragments, bytes, "deleted the oldest before its time to keep disk space free");
                }
                if bytes == 0 {
                    tracing::error!(shortage, "disk space runs out, and there is nothing to delete over an hour old");
                } else if effect.is_none() {
                    tracing::error!(
                        shortage,
                        "deleting gives no disk space back, so nothing more is deleted before its time until there is \
                         some: does a backup on the same disk hold it, or a snapshot?"
                    );
                }
            }
            Err(error) => tracing::error!(%error, "no disk space can be made free; trying again"),
        }
    }
}

/// Whether deleting helps.
#[derive(Debug, Default)]
struct Effect {
    /// Bytes deleted since the disk last had more space for it.
    in_vain: u64,
}

impl Effect {
    /// So many bytes were deleted, and the disk has so many more that are free.
    fn note(&mut self, deleted: u64, freed: u64) {
        // Writers take some of it meanwhile.
        self.in_vain = if freed >= deleted / 4 { 0 } else { self.in_vain.saturating_add(deleted) };
    }

    /// Whether enough was deleted to say that it does not.
    fn is_none(&self) -> bool {
        self.in_vain >= limits::GIVEN_UP_BYTES_MAX
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

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn deleting_ends_when_it_gives_no_space_back_and_not_before() {
        let mut effect = Effect::default();
        effect.note(GIB / 2, 0);
        assert!(!effect.is_none(), "others may have written as much");
        effect.note(GIB / 2, GIB / 2);
        effect.note(GIB / 2, 0);
        assert!(!effect.is_none(), "it helped in between");
        effect.note(GIB / 2, 1000);
        assert!(effect.is_none());
    }
}
