//! How far the agent reads ahead for a server that takes nothing. It is told by what its process has read of all files,
//! so no other test may run beside this one.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[expect(dead_code, reason = "other tests use the rest of it")]
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod server;

use std::time::Duration;

use agent::limits;
use agent::uplink::Notice;
use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId};
use quinn::TransportConfig;
use server::{Server, Uplink};
use spool::{Spool, Start};
use upload::{AckKind, FragmentKey};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_read_holds_the_agent_back_and_gets_all_of_it_later() {
    const MEDIA: usize = 40 << 20;
    let mut windows = TransportConfig::default();
    windows.stream_receive_window(65_536u32.into()).receive_window(262_144u32.into());
    let server = Server::start_with(windows);
    let state = tempfile::tempdir().unwrap();
    server.enrol_for_long(state.path());
    let spool = Spool::open(state.path(), 1 << 30).unwrap();
    let id = FragmentId { session: SessionId(7), sequence: Sequence(0) };
    let key = FragmentKey { stream: "front".parse().unwrap(), id };
    let start = Start { monotonic: None, wall: server::now(), quality: ClockQuality::Given };
    let mut writer = spool.create(key.clone(), start, Bytes::from_static(b"</fragment>")).unwrap();
    for _ in 0..MEDIA >> 20 {
        writer.append(Duration::from_millis(40), &[Bytes::from_static(&[7; 1 << 20])]).unwrap();
    }
    writer.finish(Duration::from_secs(2)).unwrap();
    let before = read_so_far();
    let mut uplink = Uplink::start(&server, state.path(), &spool, None);
    let mut line = server.upload().await;
    let incoming = line.fragment().await;
    let read = server::within(read_no_further()).await - before;
    // QUIC's window, the server's, and what lies between the file and QUIC.
    let bound = limits::SEND_WINDOW + (4 << 20);
    assert!(read > 1 << 16 && read < bound, "the agent has read {read} bytes for a server that takes none");
    let (media, _) = incoming.rest().await;
    assert_eq!(media.len(), MEDIA + "</fragment>".len());
    line.ack(&key, AckKind::Persisted).await;
    uplink.until(|notice| matches!(notice, Notice::Persisted(..)).then_some(())).await;
    uplink.stop().await;
}

/// The bytes that this process has read of files.
fn read_so_far() -> u64 {
    let counts = std::fs::read_to_string("/proc/self/io").unwrap();
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok()).unwrap()
}

/// The same, once it reads no further; looking reads a little, too.
async fn read_no_further() -> u64 {
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = read_so_far();
        if now - last < 10_000 {
            return now;
        }
        last = now;
    }
}
