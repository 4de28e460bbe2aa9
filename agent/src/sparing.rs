//! Keeps what somebody has asked for, and what still waits, from making room: it is the last to give way.
//!
//! What is wanted is ranges of time; what the spool can spare is sequences of a session. One is made of the other by reading the
//! beginnings of some files, as soon as something else is wanted, and from time to time as long as anything is: more of a range
//! may be captured meanwhile, and the clock may be set.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fragment::{Sequence, SessionId};
use spool::{Spared, Spool};
use upload::FragmentKey;

use crate::calendar::Calendar;
use crate::clock::Clock;
use crate::wanted::{self, Range};
use crate::{holdings, limits};

/// Looks after what is wanted of a spool.
#[derive(Clone, Debug)]
pub struct Sparing {
    state: PathBuf,
    spool: Spool,
    clock: Clock,
    wanted: (Vec<Range>, Vec<SessionId>),
    /// When it is to be looked again even if the same is wanted.
    due: Option<Instant>,
}

impl Sparing {
    /// Of the spool in this state folder.
    pub fn new(state: &Path, spool: Spool, clock: Clock) -> Self {
        Self { state: state.to_owned(), spool, clock, wanted: Default::default(), due: None }
    }

    /// Tells the spool what is wanted, where that may be something else than before. Reads files.
    pub fn look(&mut self) {
        // Where they can't be read, what was wanted before still is.
        let (Ok(ranges), Ok(sessions)) = (there(wanted::list(&self.state)), there(wanted::sessions(&self.state)))
        else {
            return;
        };
        let wanted = (ranges, sessions);
        let began = Instant::now();
        if wanted == self.wanted && self.due.is_none_or(|due| began < due) {
            return;
        }
        self.wanted = wanted;
        self.spool.spare(&self.spared());
        let pause = limits::SPARING_PAUSE.max(10 * began.elapsed());
        self.due = (!self.wanted.0.is_empty()).then(|| began + pause);
    }

    fn spared(&self) -> Vec<Spared> {
        let calendar = Calendar::open(&self.state, self.clock.boot());
        let mut starts = |key: &FragmentKey| {
            let reader = self.spool.read(key).ok()?;
            let header = reader.header();
            Some(calendar.look(key.id, header.start, self.spool.is_own(header)).0)
        };
        let (ranges, sessions) = &self.wanted;
        let whole = |&session| Spared { session, first: Sequence(0), last: Sequence(u32::MAX) };
        let mut spared: Vec<_> = sessions.iter().map(whole).collect();
        // They are in the order of their streams.
        for ranges in ranges.chunk_by(|one, next| one.stream == next.stream) {
            spared.extend(holdings::spared(&self.spool, &ranges[0].stream, ranges, &mut starts));
        }
        spared
    }
}

/// Nothing is wanted where there is no folder for it yet.
fn there<T>(read: io::Result<Vec<T>>) -> io::Result<Vec<T>> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use fragment::{ClockQuality, FragmentId, WallTime};
    use spool::Start;

    use super::*;

    #[test]
    fn what_is_wanted_stays_in_a_full_spool_until_nobody_wants_it_any_more() {
        let state = tempfile::tempdir().unwrap();
        let spool = Spool::open(state.path(), 4000).unwrap();
        wanted::prepare(state.path()).unwrap();
        (0..10).for_each(|sequence| record(&spool, sequence));
        let range = Range::new(key(0).stream, WallTime::from_millis(2000), WallTime::from_millis(4000));
        wanted::want(state.path(), &range).unwrap();
        let mut sparing = Sparing::new(state.path(), spool.clone(), Clock::open().unwrap());
        sparing.look();
        (10..100).for_each(|sequence| record(&spool, sequence));
        let held = |from: u32, to: u32| (from..to).filter(|&sequence| spool.holds(&key(sequence))).collect::<Vec<_>>();
        assert_eq!(held(0, 50), [2, 3]);
        wanted::done(state.path(), &range);
        sparing.look();
        (100..102).for_each(|sequence| record(&spool, sequence));
        assert!(held(0, 50).is_empty());
    }

    #[test]
    fn a_session_is_spared_as_a_whole_and_the_next_look_says_no_less() {
        let state = tempfile::tempdir().unwrap();
        let spool = Spool::open(state.path(), 4000).unwrap();
        wanted::prepare(state.path()).unwrap();
        wanted::want_session(state.path(), key(0).id.session).unwrap();
        (0..3).for_each(|sequence| record(&spool, sequence));
        let mut sparing = Sparing::new(state.path(), spool.clone(), Clock::open().unwrap());
        (0..3).for_each(|_| sparing.look());
        for sequence in 0..100 {
            let id = FragmentId { session: SessionId(99), sequence: Sequence(sequence) };
            record_as(&spool, FragmentKey { id, ..key(0) });
        }
        assert!((0..3).all(|sequence| spool.holds(&key(sequence))));
    }

    /// A fragment of a second that begins at the second of its number.
    fn record(spool: &Spool, sequence: u32) {
        record_as(spool, key(sequence));
    }

    fn record_as(spool: &Spool, key: FragmentKey) {
        let wall = WallTime::from_millis(i64::from(key.id.sequence.0) * 1000);
        let start = Start { monotonic: None, wall, quality: ClockQuality::Given };
        let mut writer = spool.create(key, start, Bytes::from_static(b"</fragment>")).unwrap();
        writer.append(Duration::ZERO, &[Bytes::from_static(b"media")]).unwrap();
        writer.finish(Duration::from_secs(1)).unwrap();
    }

    fn key(sequence: u32) -> FragmentKey {
        let id = FragmentId { session: SessionId(7), sequence: Sequence(sequence) };
        FragmentKey { stream: "yard".parse().unwrap(), id }
    }
}
