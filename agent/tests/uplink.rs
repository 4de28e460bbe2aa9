//! The uplink over QUIC, against a server that a test drives.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[expect(dead_code, reason = "other tests use the rest of it")]
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod server;

use std::path::Path;
use std::time::Duration;

use agent::limits;
use agent::uplink::Notice;
use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId};
use server::{Server, Uplink};
use spool::{Spool, Start, Writer};
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

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_is_sent_unit_by_unit_while_it_is_captured() {
    let (server, state, spool) = stage();
    let uplink = Uplink::start(&server, state.path(), &spool, None);
    let mut line = server.upload().await;
    let mut writer = create(&spool, 0);
    append(&mut writer, b"the first unit");
    let mut incoming = line.fragment().await;
    assert!(incoming.header.live);
    assert_eq!(incoming.media(14).await, b"the first unit");
    append(&mut writer, b", the second");
    assert_eq!(incoming.media(26).await, b"the first unit, the second");
    writer.finish(Duration::from_millis(80)).unwrap();
    let (media, trailer) = incoming.rest().await;
    assert_eq!(media, b"the first unit, the second</fragment>");
    assert_eq!((trailer.bytes, trailer.duration), (37, Duration::from_millis(80)));
    uplink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_captured_goes_before_the_backlog() {
    let (server, state, spool) = stage();
    (0..20).for_each(|sequence| assert_eq!(write_whole(&spool, sequence, b"media"), key(sequence)));
    let uplink = Uplink::start(&server, state.path(), &spool, None);
    // Room for three of the backlog and one that is live.
    let mut line = server.upload_with(|welcome| welcome.fragments_in_flight = 4).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(line.fragment().await);
    }
    let mut writer = create(&spool, 20);
    append(&mut writer, b"a unit");
    assert_eq!(line.fragment().await.header.key, key(20));
    for incoming in waiting {
        let key = incoming.header.key.clone();
        incoming.rest().await;
        line.ack(&key, AckKind::Persisted).await;
    }
    let mut next = [line.fragment().await.header.key, line.fragment().await.header.key];
    next.sort();
    assert_eq!(next, [key(3), key(4)], "the oldest are next");
    uplink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_at_once_goes_in_large_packets_and_each_once() {
    let (server, state, spool) = stage();
    let mut uplink = Uplink::start(&server, state.path(), &spool, None);
    let mut line = server.upload().await;
    // A large key frame each: more than the system takes at a time.
    let media: &[u8] = vec![7; 100_000].leak();
    let bursts = 20;
    for sequence in 0..bursts {
        write_whole(&spool, sequence, media);
        line.store().await;
        uplink.until(persisted).await;
    }
    let received = line.connection.stats().udp_rx;
    let bytes = u64::from(bursts) * media.len() as u64;
    assert!(received.bytes < bytes + bytes / 5, "much was sent again: {received:?}");
    assert!(received.datagrams < bytes / 4_000, "its packets are small: {received:?}");
    uplink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_window_holds_back_what_is_begun() {
    let (server, state, spool) = stage();
    (0..20).for_each(|sequence| assert_eq!(write_whole(&spool, sequence, b"media"), key(sequence)));
    let uplink = Uplink::start(&server, state.path(), &spool, None);
    let mut line = server.upload_with(|welcome| welcome.fragments_in_flight = 8).await;
    let mut first = Vec::new();
    for _ in 0..6 {
        first.push(line.fragment().await.header.key);
    }
    let more = tokio::time::timeout(Duration::from_secs(1), line.connection.accept_uni()).await;
    assert!(more.is_err(), "a seventh was begun, where a quarter of eight is for what is live");
    line.ack(&first[0], AckKind::Persisted).await;
    line.fragment().await;
    uplink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_connection_what_is_not_persisted_is_sent_again_and_nothing_else() {
    let (server, state, spool) = stage();
    (0..3).for_each(|sequence| assert_eq!(write_whole(&spool, sequence, b"media"), key(sequence)));
    let mut writer = create(&spool, 3);
    append(&mut writer, b"a unit");
    let mut uplink = Uplink::start(&server, state.path(), &spool, None);
    let mut line = server.upload().await;
    let (mut stored, mut live) = (Vec::new(), false);
    for _ in 0..4 {
        let incoming = line.fragment().await;
        let key = incoming.header.key.clone();
        // What is captured now comes first; of the backlog one is persisted, one received and one cut off.
        match key.id.sequence.0 {
            3 => live = incoming.header.live,
            0 => {
                incoming.rest().await;
                line.ack(&key, AckKind::Persisted).await;
                stored.push(key);
            }
            1 => {
                incoming.rest().await;
                line.ack(&key, AckKind::Received).await;
            }
            _ => {}
        }
    }
    assert!(live);
    uplink.until(persisted).await;
    line.close(CloseCode::ShuttingDown, "for a test");
    append(&mut writer, b" and another");
    let mut line = server.upload().await;
    let mut again = Vec::new();
    for _ in 0..3 {
        let mut incoming = line.fragment().await;
        if incoming.header.live {
            assert_eq!(incoming.media(18).await, b"a unit and another");
        }
        again.push(incoming.header.key);
    }
    again.sort();
    assert_eq!(again, [key(1), key(2), key(3)]);
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

fn append(writer: &mut Writer, unit: &'static [u8]) {
    writer.append(Duration::from_millis(40), &[Bytes::from_static(unit)]).unwrap();
}

fn write_whole(spool: &Spool, sequence: u32, media: &'static [u8]) -> FragmentKey {
    let mut writer = create(spool, sequence);
    for piece in media.chunks(10_000) {
        append(&mut writer, piece);
    }
    writer.finish(Duration::from_millis(40)).unwrap();
    key(sequence)
}

/// How many files the spool's folder holds.
fn files(state: &Path) -> usize {
    std::fs::read_dir(state.join("spool/front")).unwrap().count()
}
