//! How a device joins, stays known and is let in again, against a server that a test drives.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[expect(dead_code, reason = "other tests use the rest of it")]
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod server;

use std::path::Path;
use std::time::Duration;

use agent::enrol::EnrolError;
use agent::identity::Identity;
use bytes::Bytes;
use server::{Server, Uplink, within};
use spool::Spool;
use tempfile::TempDir;
use upload::join::{JoinCode, JoinReply, JoinRequest, Proof};
use upload::{JoinToken, wire};

#[tokio::test(flavor = "multi_thread")]
async fn a_device_joins_by_its_token_once_and_keeps_its_certificate() {
    let (server, state) = stage();
    let token = server.token([1; 32]);
    let uplink = start(&server, &state, Some(token.clone()));
    let request = server.join(Server::granted).await;
    assert!(request.proof == Proof::Secret([1; 32]));
    let first = server.upload().await;
    uplink.stop().await;
    let uplink = start(&server, &state, Some(token));
    let second = server.upload().await;
    assert_eq!(first.certificate, second.certificate, "it did not join again");
    uplink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_whose_answer_is_lost_is_asked_again_with_the_same_key() {
    let (server, state) = stage();
    let uplink = start(&server, &state, Some(server.token([1; 32])));
    let lost = server.connection().await.0;
    let first = read_request(&lost).await;
    lost.close(0u32.into(), b"for a test");
    let second = server.join(Server::granted).await;
    // The request is signed with the key and holds it; the signature differs each time.
    assert_eq!(public_key(&first), public_key(&second));
    server.upload().await;
    uplink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_has_joined_joins_anew_by_a_new_token() {
    let (server, state) = stage();
    let before = server.enrol_for_long(state.path());
    let uplink = start(&server, &state, Some(server.token([2; 32])));
    let request = server.join(Server::granted).await;
    assert!(request.proof == Proof::Secret([2; 32]));
    let line = server.upload().await;
    assert_ne!(line.certificate, before.certificate);
    uplink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_moves_to_another_server_by_that_ones_token() {
    let (server, other, state) = (Server::start(), Server::start(), tempfile::tempdir().unwrap());
    server.enrol_for_long(state.path());
    let uplink = start(&other, &state, Some(other.token([3; 32])));
    other.join(Server::granted).await;
    other.upload().await;
    uplink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_that_is_refused_leaves_the_device_as_it_is_and_is_not_tried_again() {
    let (server, state) = stage();
    let before = server.enrol_for_long(state.path());
    let token = Some(server.token([2; 32]));
    let uplink = start(&server, &state, token.clone());
    server.join(|_, _| used()).await;
    assert_eq!(server.upload().await.certificate, before.certificate);
    uplink.stop().await;
    let uplink = start(&server, &state, token);
    assert_eq!(server.upload().await.certificate, before.certificate);
    uplink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_is_said_in_the_servers_words() {
    for (code, why) in [
        (JoinCode::TokenUsed, "this join token was used already"),
        (JoinCode::TokenExpired, "this join token has expired"),
        (JoinCode::TokenUnknown, "this server did not give out this join token"),
        (JoinCode::DeviceRevoked, "the device cam was revoked"),
    ] {
        let (server, state) = stage();
        let uplink = start(&server, &state, Some(server.token([1; 32])));
        server.join(|_, _| JoinReply::Refused { code, message: why.to_owned() }).await;
        let error = within(uplink.task).await.unwrap().unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, EnrolError::Refused { .. }) && text.contains(why), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_when_it_is_due_while_the_upload_goes_on() {
    let (server, state) = stage();
    // Two thirds are over in two seconds.
    let before = server.enrol(state.path(), -58, 32);
    let spool = Spool::open(state.path(), 1 << 30).unwrap();
    let uplink = Uplink::start(&server, state.path(), &spool, None);
    let mut line = server.upload().await;
    let request = server.join(Server::granted).await;
    assert!(request.proof == Proof::Certificate);
    let renewed = within(replaced(state.path(), &before)).await;
    assert_eq!(renewed.key.secret_der(), before.key.secret_der());
    write_fragment(&spool);
    line.store().await;
    uplink.stop().await;
    let uplink = Uplink::start(&server, state.path(), &spool, None);
    assert_eq!(server.upload().await.certificate, renewed.certificate);
    uplink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_due_is_not_renewed() {
    let (server, state) = stage();
    server.enrol_for_long(state.path());
    let uplink = start(&server, &state, None);
    let _line = server.upload().await;
    let second = tokio::time::timeout(Duration::from_secs(1), server.connection()).await;
    assert!(second.is_err(), "a second connection came");
    uplink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_expired_is_said_with_what_to_do() {
    let (server, state) = stage();
    server.enrol(state.path(), -100, -10);
    let mut uplink = start(&server, &state, None);
    let (why, _) = tokio::join!(uplink.complaint(), server.failed_handshake());
    assert!(why.contains("it has expired") && why.contains("millrace device add"), "{why}");
    uplink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_was_revoked_says_so_and_is_back_when_a_new_token_is_set() {
    let (server, state) = stage();
    server.enrol_for_long(state.path());
    let mut uplink = start(&server, &state, None);
    let line = server.upload().await;
    line.close(upload::CloseCode::DeviceRevoked, "the device cam was revoked");
    let why = uplink.complaint().await;
    assert!(why.contains("cam was revoked") && why.contains("millrace device add"), "{why}");
    uplink.stop().await;
    let uplink = start(&server, &state, Some(server.token([2; 32])));
    server.join(Server::granted).await;
    server.upload().await;
    uplink.stop().await;
}

fn stage() -> (Server, TempDir) {
    (Server::start(), tempfile::tempdir().unwrap())
}

fn start(server: &Server, state: &TempDir, token: Option<JoinToken>) -> Uplink {
    let spool = Spool::open(state.path(), 1 << 30).unwrap();
    Uplink::start(server, state.path(), &spool, token)
}

fn used() -> JoinReply {
    JoinReply::Refused { code: JoinCode::TokenUsed, message: "this join token was used already".to_owned() }
}

async fn read_request(connection: &quinn::Connection) -> JoinRequest {
    let (_send, mut recv) = within(connection.accept_bi()).await.unwrap();
    let bytes = within(recv.read_to_end(upload::limits::MESSAGE_BYTES_MAX)).await.unwrap();
    let mut reader = wire::MessageReader::new();
    reader.push(&bytes);
    JoinRequest::decode(reader.pull(upload::limits::MESSAGE_BYTES_MAX).unwrap().unwrap()).unwrap()
}

fn public_key(request: &JoinRequest) -> Vec<u8> {
    use rcgen::PublicKeyData as _;
    let csr = rustls::pki_types::CertificateSigningRequestDer::from(request.csr.as_ref());
    rcgen::CertificateSigningRequestParams::from_der(&csr).unwrap().public_key.der_bytes().to_vec()
}

/// The identity in this state folder, once it has another certificate.
async fn replaced(state: &Path, before: &Identity) -> Identity {
    loop {
        let present = Identity::load(state).unwrap().unwrap();
        if present.certificate != before.certificate {
            return present;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn write_fragment(spool: &Spool) {
    let id = fragment::FragmentId { session: fragment::SessionId(7), sequence: fragment::Sequence(0) };
    let key = upload::FragmentKey { stream: "front".parse().unwrap(), id };
    let start = spool::Start { monotonic: None, wall: server::now(), quality: fragment::ClockQuality::Given };
    let mut writer = spool.create(key, start, Bytes::from_static(b"</fragment>")).unwrap();
    writer.append(Duration::from_millis(40), &[Bytes::from_static(b"a unit")]).unwrap();
    writer.finish(Duration::from_millis(40)).unwrap();
}
