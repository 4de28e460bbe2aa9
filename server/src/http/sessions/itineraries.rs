//! The itineraries of sessions that are being played, kept so that the next request does not count from the beginning again.
//!
//! Bounded by fragments; the session that was asked for longest ago goes first, and is counted anew if it is asked for again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use archive::{Archive, QueryError, Stored};
use fragment::{FragmentNumber, WallTime};
use hls::session::Itinerary;
use hls::timeline::Entry;

use super::token::{Clock, Mode, Session};
use crate::http::library::Fragment;
use crate::http::limits;

/// A session's itinerary, and where in the archive it goes on.
pub(crate) struct Progress {
    pub(crate) itinerary: Itinerary,
    next: Place,
    /// A fragment that others may still take the place of: of those that begin at the same time the newest is shown.
    pending: Option<Stored>,
}

/// Where a walk through the archive goes on: in the order of starts and numbers, or of numbers alone.
#[derive(Clone, Copy)]
struct Place {
    start: WallTime,
    number: FragmentNumber,
}

impl Progress {
    fn new(session: &Session) -> Self {
        let start = session.range().start;
        let number = match (session.mode, session.clock) {
            (Mode::Live { first }, _) => first,
            (_, Clock::Server) => FragmentNumber::at(start),
            (_, Clock::Producer) => FragmentNumber(0),
        };
        Self { itinerary: Itinerary::new(session.plan()), next: Place { start, number }, pending: None }
    }

    /// Takes up what there is by now. Blocks.
    pub(super) fn advance(&mut self, archive: &Archive, session: &Session, now: WallTime) -> Result<(), QueryError> {
        while self.itinerary.wants_more(now) {
            let page = self.page(archive, session, now)?;
            let is_last = page.len() < limits::ITINERARY_PAGE;
            for stored in page {
                self.next = Place { start: stored.start, number: FragmentNumber(stored.number.0.saturating_add(1)) };
                if session.has(&stored) {
                    self.take(session, stored);
                }
            }
            if is_last {
                self.settle(session);
                if now.since(session.range().end) > limits::SESSION_GRACE {
                    self.itinerary.complete();
                }
                break;
            }
        }
        self.itinerary.forget(now);
        Ok(())
    }

    fn page(&self, archive: &Archive, session: &Session, now: WallTime) -> Result<Vec<Stored>, QueryError> {
        let (Place { start, number }, end) = (self.next, session.range().end);
        match (session.mode, session.clock) {
            (Mode::Live { .. }, _) | (_, Clock::Server) => {
                archive.numbered(session.stream, number..FragmentNumber::at(end), limits::ITINERARY_PAGE, now)
            }
            (_, Clock::Producer) => {
                // One with a wrong clock would lead a replay into the future, past all that is still to come.
                let end = end.min(now + limits::SESSION_GRACE);
                let range = (start, number)..(end, FragmentNumber(0));
                archive.starting(session.stream, range, limits::ITINERARY_PAGE, now)
            }
        }
    }

    fn take(&mut self, session: &Session, stored: Stored) {
        if session.clock == Clock::Producer
            && self.pending.as_ref().is_some_and(|pending| pending.start != stored.start)
        {
            self.settle(session);
        }
        if session.clock == Clock::Producer {
            self.pending = Some(stored);
        } else {
            self.push(session, stored);
        }
    }

    fn settle(&mut self, session: &Session) {
        if let Some(stored) = self.pending.take() {
            self.push(session, stored);
        }
    }

    fn push(&mut self, session: &Session, stored: Stored) {
        let start = session.clock.of(&stored);
        let fragment = Fragment::from(stored);
        let bits_per_second = fragment.bits_per_second();
        self.itinerary.push(Entry { start, ..fragment.entry }, bits_per_second);
    }
}

/// The itineraries in use.
#[derive(Default)]
pub(crate) struct Itineraries(Mutex<Contents>);

#[derive(Default)]
struct Contents {
    sessions: HashMap<Session, Slot>,
    tick: u64,
    held: usize,
}

struct Slot {
    progress: Arc<Mutex<Progress>>,
    used: u64,
    held: usize,
}

impl Itineraries {
    /// That of a session, at its beginning if it is not known.
    pub(super) fn find(&self, session: &Session) -> Arc<Mutex<Progress>> {
        let contents = &mut *self.lock();
        contents.tick += 1;
        let (used, held) = (contents.tick, &mut contents.held);
        let slot = contents.sessions.entry(*session).or_insert_with(|| {
            *held += 1;
            Slot { progress: Arc::new(Mutex::new(Progress::new(session))), used, held: 1 }
        });
        slot.used = used;
        slot.progress.clone()
    }

    /// Notes how much a session holds by now, at the cost of those that were not asked for longest.
    pub(super) fn note(&self, session: &Session, fragments: usize) {
        // A session costs something itself.
        let held = fragments + 1;
        let mut contents = self.lock();
        let Some(slot) = contents.sessions.get_mut(session) else { return };
        let before = std::mem::replace(&mut slot.held, held);
        contents.held = contents.held - before + held;
        while contents.held > limits::ITINERARY_FRAGMENTS_MAX {
            let oldest = contents.sessions.iter().min_by_key(|(_, slot)| slot.used).map(|(session, _)| *session);
            let Some(slot) = oldest.and_then(|oldest| contents.sessions.remove(&oldest)) else { break };
            contents.held -= slot.held;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        // What is not here is counted anew.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use hls::session::Discontinuities;

    use super::super::token::Protocol;
    use super::*;

    #[test]
    fn the_sessions_that_were_not_asked_for_longest_are_forgotten() {
        let itineraries = Itineraries::default();
        let each = limits::ITINERARY_FRAGMENTS_MAX / 4;
        for stream in 0..4 {
            itineraries.find(&session(stream));
            itineraries.note(&session(stream), each - 1);
        }
        let kept = itineraries.find(&session(0));
        itineraries.find(&session(4));
        itineraries.note(&session(4), 9);
        assert!(Arc::ptr_eq(&kept, &itineraries.find(&session(0))));
        let contents = itineraries.lock();
        assert!(!contents.sessions.contains_key(&session(1)));
        assert_eq!(contents.held, 3 * each + 10);
    }

    fn session(stream: u64) -> Session {
        Session {
            stream,
            opened: WallTime::from_nanos(0),
            expiry_seconds: 1000,
            protocol: Protocol::HlsMp4,
            mode: Mode::Live { first: FragmentNumber(1) },
            clock: Clock::Server,
            discontinuities: Discontinuities::Always,
            is_dated: false,
            is_numbered: false,
            results_max: 5,
            target_duration_seconds: 4,
        }
    }
}
