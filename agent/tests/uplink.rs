//! The uplink over QUIC, against a server that a test drives.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[expect(dead_code, reason = "other tests use the rest of it")]
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod server;

use std::path::Path;
use std::time::Duration;

use agent::calendar::Start;
use agent::limits;
use agent::spool::{Spool, Writer};
use agent::uplink::Notice;
use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId};
use server::{Server, Uplink};
use tempfile::TempDir;
use upload::{AckKind, CloseCode, ErrorCode, FragmentKey};

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_backlog_arrives_while_nothing_is_captured() {
    let (server, state, spool) = stage();
    let captured: Vec<_> = (0..200).map(|sequence| write_whole(&spool, sequence, b"media")).collect();
    let mut uplink = Uplink::start(&server, state.path(), &spool, None);
    let mut line = server.upload().await;
    let mut arrived = Vec::new();
    for _ in 0..captured.len() {
        arrived.push(line.store().await.0);
    }
    arrived.sort();
    assert_eq!(arrived, captured);
    for _ in 0..captured.len() {
        uplink.until(persisted).await;
    }
    uplink.stop().await;
    assert_eq!(files(state.path()), 0);
}

#[test]
fn a_stop_waits_until_the_files_of_what_is_persisted_are_gone_and_the_server_knows() {
    // The one thread that removes files is busy until the test says otherwise.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(1).build().unwrap();
    let (free, busy) = std::sync::mpsc::channel::<()>();
    runtime.block_on(async {
        let (server, state, spool) = stage();
        let mut uplink = Uplink::start(&server, state.path(), &spool, None);
        let mut line = server.upload().await;
        tokio::task::spawn_blocking(move || busy.recv());
        write_whole(&spool, 0, b"media");
        line.store().await;
        uplink.until(persisted).await;
        uplink.stop.cancel();
        let early = tokio::time::timeout(Duration::from_secs(1), &mut uplink.task).await;
        assert!(early.is_err(), "it did not wait");
        free.send(()).unwrap();
        server::within(uplink.task).await.unwrap().unwrap();
        assert_eq!(files(state.path()), 0);
        assert_eq!(server::closed(line.end().await).0, CloseCode::Done);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn pauses_grow_until_a_connection_has_stored_something() {
    let (server, state, spool) = stage();
    let mut uplink = Uplink::start(&server, state.path(), &spool, None);
    let mut pauses = Vec::new();
    for _ in 0..3 {
        server.upload().await.close(CloseCode::ShuttingDown, "for a test");
        pauses.push(uplink.until(pause).await);
    }
    assert!(pauses[2] > limits::PAUSE_MIN, "{pauses:?}");
    write_whole(&spool, 0, b"media");
    let mut line = server.upload().await;
    line.store().await;
    uplink.until(persisted).await;
    line.close(CloseCode::ShuttingDown, "for a test");
    assert!(uplink.until(pause).await <= limits::PAUSE_MIN);
    uplink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_can_not_take_yet_stays_in_the_spool_and_is_said() {
    let (server, state, spool) = stage();
    write_whole(&spool, 0, b"media");
    let mut uplink = Uplink::start(&server, state.path(), &spool, None);
    let mut line = server.upload().await;
    let incoming = line.fragment().await;
    let (code, message) = (ErrorCode::InvalidTimestamp, "the clock of the test".to_owned());
    line.ack(&incoming.header.key, AckKind::Error { code, message, retryable: true }).await;
    let said = uplink.until(|notice| match notice {
        Notice::Postponed { code, message, .. } => Some((*code, message.clone())),
        _ => None,
    });
    assert_eq!(said.await, (ErrorCode::InvalidTimestamp, "the clock of the test".to_owned()));
    assert!(spool.holds(&key(0)));
    assert_eq!(line.store().await.0, key(0), "it is sent again");
    uplink.until(persisted).await;
    uplink.stop().await;
}

fn stage() -> (Server, TempDir, Spool) {
    let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
    server.enrol_for_long(state.path());
    let spool = Spool::open(state.path(), 1 << 30).unwrap();
    (server, state, spool)
}

fn pause(notice: &Notice) -> Option<Duration> {
    match notice {
        Notice::Disconnected { pause, .. } => Some(*pause),
        _ => None,
    }
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

fn create(spool: &Spool, sequence: u32) -> Writer {
    let start = Start { monotonic: None, wall: server::now(), quality: ClockQuality::Given };
    spool.create(key(sequence), start, Bytes::from_static(b"</fragment>")).unwrap()
}

fn write_whole(spool: &Spool, sequence: u32, media: &'static [u8]) -> FragmentKey {
    let mut writer = create(spool, sequence);
    for piece in media.chunks(10_000) {
        writer.append(Duration::from_millis(40), &[Bytes::from_static(piece)]).unwrap();
    }
    writer.finish(Duration::from_millis(40)).unwrap();
    key(sequence)
}

/// How many files the spool's folder holds.
fn files(state: &Path) -> usize {
    std::fs::read_dir(state.join("spool/front")).unwrap().count()
}
