//! A vault that works when it is told to.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use vault::{OwnerId, SegmentName, Stepper, Swept, Vault};

/// An open vault and its committer.
pub(super) struct Bench {
    pub(super) vault: Vault,
    pub(super) stepper: Stepper,
    /// It has refused something because of a sync that failed: it must refuse everything from then on.
    pub(super) is_poisoned: bool,
}

impl Bench {
    /// Lets the committer work until all of these have an answer.
    pub(super) fn finish<T>(&mut self, mut waiting: Vec<Pin<Box<dyn Future<Output = T> + '_>>>) -> Vec<T> {
        let mut context = Context::from_waker(Waker::noop());
        let mut answers: Vec<Option<T>> = waiting.iter().map(|_| None).collect();
        // Each waits at most for the queue and then for its answer.
        for _ in 0..8 {
            for (future, answer) in waiting.iter_mut().zip(&mut answers) {
                if answer.is_none()
                    && let Poll::Ready(ready) = future.as_mut().poll(&mut context)
                {
                    *answer = Some(ready);
                }
            }
            if answers.iter().all(Option::is_some) {
                break;
            }
            while self.stepper.step() {}
        }
        answers.into_iter().map(|answer| answer.expect("the committer answers whatever happens")).collect()
    }

    pub(super) fn sweep(&mut self, unix_secs: u64) -> Result<Swept, String> {
        let vault = self.vault.clone();
        self.finish(vec![Box::pin(async move { vault.close_before(unix_secs).await })]);
        self.vault.sweep_closed(unix_secs).map_err(|error| error.to_string())
    }

    pub(super) fn destroy_keys(&mut self, owner: OwnerId) -> Result<(), String> {
        let vault = self.vault.clone();
        let mut answers = self.finish(vec![Box::pin(async move { vault.destroy_keys(owner).await })]);
        answers.remove(0).map_err(|error| error.to_string())
    }

    pub(super) fn close(&mut self, segments: BTreeSet<SegmentName>) {
        let vault = self.vault.clone();
        self.finish(vec![Box::pin(async move { vault.close_segments(segments).await })]);
    }

    pub(super) fn reclaim(&mut self) -> Result<(), String> {
        let segments = self.vault.segments().map_err(|error| error.to_string())?;
        let names: BTreeSet<_> = segments.into_iter().map(|segment| segment.name).collect();
        self.close(names.clone());
        self.vault.reclaim_closed(names).map(drop).map_err(|error| error.to_string())
    }
}
