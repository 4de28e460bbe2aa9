//! The fragments of one stream in the spool, in the order of capture.

use fragment::StreamName;
use spool::{Entry, Spool};

/// A place in the spool. It only goes forwards: what was not persisted is found again by a new one.
#[derive(Debug)]
pub(super) struct Queue {
    spool: Spool,
    stream: StreamName,
    /// Everything up to here is passed.
    after: Option<u64>,
}

impl Queue {
    pub(super) fn new(spool: Spool, stream: StreamName) -> Self {
        Self { spool, stream, after: None }
    }

    /// The next fragment that was captured to its end. It stays the next one until it is passed.
    pub(super) fn next(&mut self) -> Option<(u64, Entry)> {
        while let Some((ordinal, entry)) = self.spool.next(self.after) {
            if entry.key.stream == self.stream {
                return entry.trailer.is_some().then_some((ordinal, entry));
            }
            self.after = Some(ordinal);
        }
        None
    }

    /// Goes on behind it.
    pub(super) fn pass(&mut self, ordinal: u64) {
        self.after = Some(ordinal);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};
    use spool::{Start, Writer};
    use upload::FragmentKey;

    use super::*;

    #[test]
    fn whole_fragments_of_one_stream_come_in_the_order_of_capture() {
        let state = tempfile::tempdir().unwrap();
        let spool = Spool::open(state.path(), 1 << 30).unwrap();
        let mut queue = Queue::new(spool.clone(), "front".parse().unwrap());
        assert!(queue.next().is_none());
        write(&spool, "yard", 0).finish(Duration::from_secs(2)).unwrap();
        write(&spool, "front", 0).finish(Duration::from_secs(2)).unwrap();
        let growing = write(&spool, "front", 1);
        write(&spool, "front", 2).finish(Duration::from_secs(2)).unwrap();

        let (ordinal, first) = queue.next().unwrap();
        assert_eq!(first.key.id.sequence, Sequence(0));
        assert_eq!(queue.next().unwrap().0, ordinal, "until it is passed");
        queue.pass(ordinal);
        assert!(queue.next().is_none(), "one that is being captured is waited for");
        growing.finish(Duration::from_secs(2)).unwrap();
        assert_eq!(queue.next().unwrap().1.key.id.sequence, Sequence(1));
    }

    fn write(spool: &Spool, stream: &str, sequence: u32) -> Writer {
        let id = FragmentId { session: SessionId(1), sequence: Sequence(sequence) };
        let key = FragmentKey { stream: stream.parse().unwrap(), id };
        let start = Start { monotonic: None, wall: WallTime::from_millis(0), quality: ClockQuality::Given };
        let mut writer = spool.create(key, start, Bytes::new()).unwrap();
        writer.append(Duration::ZERO, &[Bytes::from_static(b"x")]).unwrap();
        writer
    }
}
