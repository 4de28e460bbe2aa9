//! The sessions under way. There is room for so many, and of each stream the newest count.
//!
//! A producer that has lost its connection does not know whether we know, and AWS's C SDK opens its next session while the one
//! before still waits for its last ack. So a new session is never refused for one of the same stream: the older one is
//! given some time to end by itself, and is ended then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fragment::StreamName;
use tokio_util::sync::CancellationToken;

use crate::kinesis_video::refusal::Refusal;
use crate::limits;

/// All of them.
pub(super) struct Sessions {
    /// How long a session goes on beside the newer ones of its stream.
    overlap_max: Duration,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// Of each stream, oldest first.
    streams: HashMap<StreamName, Vec<Notices>>,
    /// The sum of these.
    count: usize,
    next: u64,
}

/// A session's place among them. It is free again when this is dropped.
pub(super) struct Place {
    sessions: Arc<Sessions>,
    stream: StreamName,
    notices: Notices,
}

/// What a session is told by others.
#[derive(Clone)]
struct Notices {
    id: u64,
    superseded: CancellationToken,
    ended: CancellationToken,
}

impl Default for Sessions {
    fn default() -> Self {
        Self::with_overlap(limits::PRODUCERS_OVERLAP_MAX)
    }
}

impl Sessions {
    fn with_overlap(overlap_max: Duration) -> Self {
        Self { overlap_max, open: Mutex::default() }
    }

    /// A place for a new session of a stream which may have so many.
    pub(super) fn open(self: &Arc<Self>, stream: &StreamName, at_once: usize) -> Result<Place, Refusal> {
        let mut open = self.lock();
        if open.count >= limits::PRODUCERS_MAX {
            return Err(Refusal::TooManyProducers);
        }
        (open.count, open.next) = (open.count + 1, open.next + 1);
        let notices = Notices { id: open.next, superseded: CancellationToken::new(), ended: CancellationToken::new() };
        let of_stream = open.streams.entry(stream.clone()).or_default();
        of_stream.push(notices.clone());
        let older = of_stream.len().saturating_sub(at_once.max(1));
        of_stream[..older].iter().for_each(|notices| notices.superseded.cancel());
        let too_many = older.saturating_sub(limits::PRODUCERS_SUPERSEDED_MAX);
        of_stream[..too_many].iter().for_each(|notices| notices.ended.cancel());
        Ok(Place { sessions: self.clone(), stream: stream.clone(), notices })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until newer sessions of the stream have taken its place, and its time to end by itself is over.
    pub(super) async fn lost(&self) {
        let overlap = async {
            self.notices.superseded.cancelled().await;
            tokio::time::sleep(self.sessions.overlap_max).await;
        };
        tokio::select! {
            () = self.notices.ended.cancelled() => {}
            () = overlap => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.sessions.lock();
        open.count -= 1;
        if let Some(of_stream) = open.streams.get_mut(&self.stream) {
            of_stream.retain(|notices| notices.id != self.notices.id);
            if of_stream.is_empty() {
                open.streams.remove(&self.stream);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    const OVERLAP: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn the_newest_session_of_a_stream_takes_the_place_of_the_oldest_after_a_while() {
        let sessions = Arc::new(Sessions::with_overlap(OVERLAP));
        let [first, second] = [(); 2].map(|()| sessions.open(&name("front"), 2).unwrap());
        let other = sessions.open(&name("yard"), 2).unwrap();
        let began = Instant::now();
        let _third = sessions.open(&name("front"), 2).unwrap();
        first.lost().await;
        assert!(began.elapsed() >= OVERLAP);
        for stays in [second, other] {
            assert!(timeout(4 * OVERLAP, stays.lost()).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_producer_that_comes_again_and_again_is_not_given_that_while_each_time() {
        let sessions = Arc::new(Sessions::with_overlap(Duration::from_secs(3600)));
        let places: Vec<_> =
            (0..limits::PRODUCERS_SUPERSEDED_MAX + 2).map(|_| sessions.open(&name("front"), 1).unwrap()).collect();
        places[0].lost().await;
        assert!(timeout(OVERLAP, places[1].lost()).await.is_err());
    }

    #[test]
    fn there_is_room_for_so_many_and_again_when_one_has_ended() {
        let sessions = Arc::new(Sessions::default());
        let mut places: Vec<_> =
            (0..limits::PRODUCERS_MAX).map(|i| sessions.open(&name(&format!("camera-{i}")), 1).unwrap()).collect();
        assert!(matches!(sessions.open(&name("one-more"), 1), Err(Refusal::TooManyProducers)));
        places.pop();
        assert!(sessions.open(&name("one-more"), 1).is_ok());
        places.clear();
        assert!(sessions.lock().streams.is_empty());
        assert_eq!(sessions.lock().count, 0);
    }

    fn name(name: &str) -> StreamName {
        name.parse().unwrap()
    }
}
