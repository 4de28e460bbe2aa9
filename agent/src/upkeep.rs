//! Tends the spool: what is wanted and is to be spared, what is too old, and what is due to be synced.

use std::time::Duration;

use fragment::ClockQuality;
use spool::{Now, Spool, Tended};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::limits;
use crate::sparing::Sparing;

/// Tends it until `stop`, and syncs what is left then. The disk may take its time: each look has a thread to wait on. Much that is
/// too old or too much is dropped in several looks, one behind the other.
pub async fn run(spool: Spool, mut sparing: Sparing, clock: Clock, stop: CancellationToken) {
    let mut is_behind = false;
    loop {
        if !is_behind {
            pause(limits::TEND_PAUSE, &stop).await;
        }
        if stop.is_cancelled() {
            break;
        }
        let (spool, mut looking, now) = (spool.clone(), sparing.clone(), now(clock));
        let look = tokio::task::spawn_blocking(move || {
            looking.look();
            let is_behind = spool.tend(now) == Tended::InPart;
            (looking, is_behind)
        });
        match look.await {
            Ok(looked) => (sparing, is_behind) = looked,
            Err(error) => {
                is_behind = false;
                tracing::error!(%error, "the spool could not be tended");
            }
        }
    }
    if let Err(error) = tokio::task::spawn_blocking(move || spool.flush()).await {
        tracing::error!(%error, "the spool could not be synced");
    }
}

/// The present by the monotonic clock, and by the calendar only if that can be trusted.
fn now(clock: Clock) -> Now {
    let now = clock.now();
    Now { monotonic: now.monotonic, wall: (now.quality >= ClockQuality::Synchronised).then_some(now.wall) }
}

async fn pause(pause: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = stop.cancelled() => {}
    }
}
