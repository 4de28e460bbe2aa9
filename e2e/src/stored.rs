//! What a server has stored, held against what it has acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{Agent, Playlist, Server, Spooled, until};

/// Waits until everything that is in the spool now has arrived, and stops the agent.
pub fn settle(agent: &mut Agent) {
    let waiting = agent.spooled();
    until("the spool empties", Duration::from_secs(60), || waiting.iter().all(|file| !file.exists()).then_some(()));
    agent.stop();
    assert_eq!(agent.rejected(), 0, "the server refused fragments for good");
}

/// All of a stream, of which everything that these agents, which have stopped, were acknowledged is stored once, and
/// nothing else is: but for what an agent has yet to hear of, and still has.
pub fn once(server: &Server, stream: &str, agents: &[&Agent]) -> Playlist {
    let playlist = server.everything(stream);
    let mut ids: BTreeMap<String, u64> = BTreeMap::new();
    for fragment in agents.iter().flat_map(|agent| agent.persisted()).filter(|fragment| fragment.stream == stream) {
        let number = *ids.entry(fragment.id.clone()).or_insert(fragment.number);
        assert_eq!(number, fragment.number, "{stream}/{} is stored twice", fragment.id);
    }
    let stored: BTreeSet<u64> = playlist.segments.iter().map(|segment| segment.number()).collect();
    assert_eq!(stored.len(), playlist.segments.len(), "{stream}: a fragment is listed twice");
    let acknowledged: BTreeSet<u64> = ids.values().copied().collect();
    assert_eq!(acknowledged.len(), ids.len(), "{stream}: two fragments have one number");
    let gone: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(gone.is_empty(), "{stream}: acknowledged and gone: {gone:?}");
    let held = agents.iter().flat_map(|agent| agent.spooled());
    let unheard = held.filter(|path| Spooled::read(path).is_some_and(|held| held.stream == stream)).count();
    let more: Vec<_> = stored.difference(&acknowledged).collect();
    assert!(more.len() <= unheard, "{stream}: stored and never acknowledged: {more:?}, and {unheard} could be");
    playlist
}

/// Every segment of a stream, as it is played.
pub fn bytes(server: &Server, stream: &str) -> Vec<Vec<u8>> {
    server.everything(stream).segments.iter().map(|segment| server.segment(segment)).collect()
}
