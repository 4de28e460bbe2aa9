//! Presence: which streams the open connections have sent, so that the list of streams can say "connected".
//!
//! Names come from devices, before anything is stored of them, so both what one connection and what all of
//! them can make this remember has a limit. A stream beyond it is stored like any other, and shown as not
//! connected.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fragment::StreamName;

use crate::limits;

/// Who is present.
#[derive(Clone, Default)]
pub(crate) struct Presences(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// How many of the open connections have sent a stream.
    streams: HashMap<StreamName, usize>,
    /// The sum of these counts.
    total: usize,
}

/// The presence of one connection. It leaves all its streams when dropped.
pub(crate) struct Presence {
    all: Presences,
    mine: Mutex<HashSet<StreamName>>,
}

impl Presences {
    /// A connection that will send streams.
    pub(crate) fn connect(&self) -> Presence {
        Presence { all: self.clone(), mine: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl crate::http::Presence for Presences {
    fn is_connected(&self, stream: &StreamName) -> bool {
        self.lock().streams.contains_key(stream)
    }
}

impl Presence {
    /// The connection sends this stream.
    pub(crate) fn sends(&self, stream: &StreamName) {
        let mut mine = self.mine();
        if mine.contains(stream) || mine.len() >= limits::STREAMS_PRESENT_PER_CONNECTION {
            return;
        }
        let mut all = self.all.lock();
        if all.total >= limits::STREAMS_PRESENT_MAX {
            return;
        }
        all.total += 1;
        *all.streams.entry(stream.clone()).or_default() += 1;
        mine.insert(stream.clone());
    }

    /// Taken before the lock of all, wherever both are.
    fn mine(&self) -> MutexGuard<'_, HashSet<StreamName>> {
        self.mine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mine = std::mem::take(&mut *self.mine());
        let mut all = self.all.lock();
        all.total -= mine.len();
        for stream in mine {
            if let Some(count) = all.streams.get_mut(&stream) {
                *count -= 1;
                if *count == 0 {
                    all.streams.remove(&stream);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Presence as _;

    #[test]
    fn a_stream_is_connected_while_a_connection_that_sends_it_is_open() {
        let all = Presences::default();
        let (one, other) = (all.connect(), all.connect());
        assert!(!all.is_connected(&name(0)));
        one.sends(&name(0));
        one.sends(&name(0));
        other.sends(&name(0));
        drop(one);
        assert!(all.is_connected(&name(0)), "the other one still sends it");
        drop(other);
        assert!(!all.is_connected(&name(0)));
    }

    #[test]
    fn a_connection_is_remembered_with_so_many_streams() {
        let all = Presences::default();
        let one = all.connect();
        (0..limits::STREAMS_PRESENT_PER_CONNECTION + 10).for_each(|i| one.sends(&name(i)));
        assert_eq!(all.lock().streams.len(), limits::STREAMS_PRESENT_PER_CONNECTION);
        assert!(all.is_connected(&name(0)));
    }

    #[test]
    fn all_connections_are_remembered_with_so_many_streams_and_leave_room_when_they_end() {
        let all = Presences::default();
        let connections: Vec<_> =
            (0..=limits::STREAMS_PRESENT_MAX / limits::STREAMS_PRESENT_PER_CONNECTION).map(|_| all.connect()).collect();
        for (c, connection) in connections.iter().enumerate() {
            (0..limits::STREAMS_PRESENT_PER_CONNECTION).for_each(|i| connection.sends(&name(c * 1_000_000 + i)));
        }
        assert_eq!(all.lock().streams.len(), limits::STREAMS_PRESENT_MAX);
        drop(connections);
        assert!(all.lock().streams.is_empty());
        assert_eq!(all.lock().total, 0);
    }

    fn name(i: usize) -> StreamName {
        format!("camera-{i}").parse().unwrap()
    }
}
