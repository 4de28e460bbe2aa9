//! What stays on the device after it is uploaded, and what is uploaded before it is synced.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[expect(dead_code, reason = "other tests use the rest of it")]
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod server;

use std::time::Duration;

use agent::uplink::Notice;
use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId};
use server::{Server, Uplink};
use spool::{Settings, Spool, Start, SyncTime};
use upload::FragmentKey;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_after_it_was_persisted_is_never_sent_again() {
    let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
    server.enrol_for_long(state.path());
    let settings = Settings { keep: Some(Duration::from_secs(3600)), ..Settings::from(1 << 30) };
    let spool = Spool::open(state.path(), settings).unwrap();
    (0..3).for_each(|sequence| write_whole(&spool, sequence));
    let mut uplink = Uplink::start(&server, state.path(), &spool, None);
    let mut line = server.upload().await;
    for _ in 0..3 {
        line.store().await;
        uplink.until(persisted).await;
    }
    uplink.stop().await;
    assert_eq!((spool.counters().fragments, spool.counters().kept), (0, 3));
    drop(spool);

    let spool = Spool::open(state.path(), settings).unwrap();
    write_whole(&spool, 3);
    let mut uplink = Uplink::start(&server, state.path(), &spool, None);
    let mut line = server.upload().await;
    // The oldest comes first: it would be one that is kept.
    assert_eq!(line.store().await.0, key(3));
    assert_eq!(uplink.until(persisted).await, key(3));
    uplink.stop().await;
    assert_eq!((spool.counters().fragments, spool.counters().kept), (0, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_to_be_synced_is_sent_at_once() {
    let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
    server.enrol_for_long(state.path());
    let settings = Settings { sync: SyncTime::Interval(Duration::from_secs(60)), ..Settings::from(1 << 30) };
    let spool = Spool::open(state.path(), settings).unwrap();
    write_whole(&spool, 0);
    let mut uplink = Uplink::start(&server, state.path(), &spool, None);
    let mut line = server.upload().await;
    line.store().await;
    assert_eq!(uplink.until(persisted).await, key(0));
    uplink.stop().await;
    spool.flush();
    assert_eq!((spool.counters().fragments, spool.counters().unsynced), (0, 0));
}

fn persisted(notice: &Notice) -> Option<FragmentKey> {
    match notice {
        Notice::Persisted(key, _) => Some(key.clone()),
        _ => None,
    }
}

fn key(sequence: u32) -> FragmentKey {
    let id = FragmentId { session: SessionId(7), sequence: Sequence(sequence) };
    FragmentKey { stream: "front".parse().unwrap(), id }
}

fn write_whole(spool: &Spool, sequence: u32) {
    let start = Start { monotonic: None, wall: server::now(), quality: ClockQuality::Given };
    let mut writer = spool.create(key(sequence), start, Bytes::from_static(b"</fragment>")).unwrap();
    writer.append(Duration::from_millis(40), &[Bytes::from_static(b"media")]).unwrap();
    writer.finish(Duration::from_millis(40)).unwrap();
}
