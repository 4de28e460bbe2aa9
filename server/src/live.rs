//! The live window: what each stream's fragment under way holds, block by block, before it is complete.
//!
//! It keeps the pieces that intake keeps anyway, by reference, so that it costs no memory of its own. At
//! most a few fragments per stream are shown; backlog is not live and never shown. It also knows who is
//! connected.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fragment::{FragmentId, StreamName};
use upload::FragmentHeader;

use crate::limits;

/// All streams' live windows.
#[derive(Clone, Default)]
pub(crate) struct Live(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    streams: BTreeMap<StreamName, Window>,
}

#[derive(Default)]
struct Window {
    /// Connections that have sent this stream, and are open.
    connections: HashMap<u64, ()>,
    fragments: Vec<Fragment>,
}

struct Fragment {
    connection: u64,
    id: FragmentId,
    pieces: Vec<Bytes>,
    bytes: u64,
}

/// The place of one fragment in the live window. It leaves when dropped.
pub(crate) struct Shown {
    live: Live,
    stream: StreamName,
    connection: u64,
    id: FragmentId,
}

/// The presence of one connection. It leaves all streams when dropped.
pub(crate) struct Presence {
    live: Live,
    connection: u64,
}

/// What a stream has under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// Whether a device that sends it is connected.
    pub(crate) connected: bool,
    /// Bytes of its newest fragment under way.
    pub(crate) bytes_under_way: u64,
}

impl Live {
    /// A connection that will send streams.
    pub(crate) fn connect(&self, connection: u64) -> Presence {
        Presence { live: self.clone(), connection }
    }

    /// What a stream has under way.
    pub(crate) fn status(&self, stream: &StreamName) -> Status {
        let inner = self.lock();
        let Some(window) = inner.streams.get(stream) else { return Status::default() };
        Status {
            connected: !window.connections.is_empty(),
            bytes_under_way: window.fragments.last().map_or(0, |fragment| fragment.bytes),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Presence {
    /// Shows a fragment that is captured as it is sent; `None` for one of the backlog.
    pub(crate) fn show(&self, header: &FragmentHeader) -> Option<Shown> {
        let mut inner = self.live.lock();
        let window = inner.streams.entry(header.key.stream.clone()).or_default();
        window.connections.insert(self.connection, ());
        if !header.live {
            return None;
        }
        if window.fragments.len() >= limits::LIVE_FRAGMENTS_PER_STREAM {
            window.fragments.remove(0);
        }
        let (id, connection) = (header.key.id, self.connection);
        window.fragments.push(Fragment { connection, id, pieces: Vec::new(), bytes: 0 });
        drop(inner);
        Some(Shown { live: self.live.clone(), stream: header.key.stream.clone(), connection, id })
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut inner = self.live.lock();
        inner.streams.retain(|_, window| {
            window.connections.remove(&self.connection);
            !window.connections.is_empty()
        });
    }
}

impl Shown {
    /// Adds what has arrived.
    pub(crate) fn push(&self, piece: &Bytes) {
        let mut inner = self.live.lock();
        let Some(window) = inner.streams.get_mut(&self.stream) else { return };
        let mine = |f: &&mut Fragment| f.id == self.id && f.connection == self.connection;
        let Some(fragment) = window.fragments.iter_mut().find(mine) else { return };
        fragment.bytes += piece.len() as u64;
        fragment.pieces.push(piece.clone());
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let mut inner = self.live.lock();
        if let Some(window) = inner.streams.get_mut(&self.stream) {
            window.fragments.retain(|f| f.id != self.id || f.connection != self.connection);
        }
    }
}

impl crate::http::Presence for Live {
    fn is_connected(&self, stream: &StreamName) -> bool {
        self.status(stream).connected
    }
}

#[cfg(test)]
mod tests {
    use fragment::{ClockQuality, Sequence, SessionId, WallTime};
    use upload::FragmentKey;

    use super::*;

    #[test]
    fn a_stream_is_connected_while_a_connection_that_sends_it_is_open() {
        let live = Live::default();
        let presence = live.connect(1);
        assert!(!live.status(&front()).connected);
        assert!(presence.show(&header(0, false)).is_none(), "backlog is not live");
        assert!(live.status(&front()).connected);
        drop(presence);
        assert!(!live.status(&front()).connected);
    }

    #[test]
    fn the_fragment_under_way_grows_and_leaves() {
        let live = Live::default();
        let presence = live.connect(1);
        let shown = presence.show(&header(0, true)).unwrap();
        shown.push(&Bytes::from_static(b"12345"));
        assert_eq!(live.status(&front()).bytes_under_way, 5);
        drop(shown);
        assert_eq!(live.status(&front()).bytes_under_way, 0);
    }

    #[test]
    fn only_the_newest_fragments_are_shown() {
        let live = Live::default();
        let presence = live.connect(1);
        let shown: Vec<_> = (0..5).map(|sequence| presence.show(&header(sequence, true)).unwrap()).collect();
        shown[0].push(&Bytes::from_static(b"too late"));
        assert_eq!(live.lock().streams[&front()].fragments.len(), limits::LIVE_FRAGMENTS_PER_STREAM);
    }

    fn front() -> StreamName {
        "front".parse().unwrap()
    }

    fn header(sequence: u32, live: bool) -> FragmentHeader {
        let id = FragmentId { session: SessionId(1), sequence: Sequence(sequence) };
        FragmentHeader {
            key: FragmentKey { stream: front(), id },
            start: WallTime::from_millis(0),
            quality: ClockQuality::Given,
            monotonic: None,
            live,
        }
    }
}
