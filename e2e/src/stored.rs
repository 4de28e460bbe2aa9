//! What a server has stored, held against what it has acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{Agent, Playlist, Server, until};

/// Waits until everything that is in the spool now has arrived, stops the agent, and has it send what it captured
/// meanwhile: at the end it has heard of all that is stored.
pub fn settle(agent: &mut Agent) {
    let waiting = agent.spooled();
    until("the spool empties", Duration::from_secs(60), || waiting.iter().all(|file| !file.exists()).then_some(()));
    agent.stop();
    agent.send_the_rest();
    assert_eq!(agent.rejected(), 0, "the server refused fragments for good");
}

/// All of a stream, of which what these agents, which have settled, were acknowledged is stored once, and nothing else is.
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
    let more: Vec<_> = stored.difference(&acknowledged).collect();
    assert!(more.is_empty(), "{stream}: stored and never acknowledged: {more:?}");
    playlist
}

/// Every segment of a stream, as it is played.
pub fn bytes(server: &Server, stream: &str) -> Vec<Vec<u8>> {
    server.everything(stream).segments.iter().map(|segment| server.segment(segment)).collect()
}
