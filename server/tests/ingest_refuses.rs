//! What ingest refuses, each with its own clear error and with nothing else disturbed; and what it
//! promises of what it takes.

#[expect(clippy::unwrap_used, reason = "a failure of the raw device is a failure of the test")]
mod device;

use device::{Stage, begun, closed, document, foreign, header, key, whole};
use rcgen::KeyPair;
use std::time::Duration;
use upload::join::{JoinCode, JoinReply, Proof};
use upload::{AckKind, CloseCode, ErrorCode, FragmentHeader, Trailer, wire};

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_is_buffering_then_received_then_persisted_and_survives_a_restart() {
    let stage = Stage::start().await;
    let cam = stage.enrolled("cam", &[]).await;
    let mut device = stage.upload(&cam).await;
    let key = key("front", 1, 0);
    device.send(&whole(&key, &document())).await;
    assert_eq!(device.ack(&key).await, AckKind::Buffering);
    assert_eq!(device.ack(&key).await, AckKind::Received);
    assert_eq!(device.ack(&key).await, AckKind::Persisted);
    assert_eq!(device.welcome.device, "cam");
    let stage = stage.restart().await;
    assert_eq!(stage.stored("front").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_that_is_stored_is_answered_at_its_header_and_stored_once() {
    let stage = Stage::start().await;
    let cam = stage.enrolled("cam", &[]).await;
    let mut device = stage.upload(&cam).await;
    let key = key("front", 1, 0);
    device.send(&whole(&key, &document())).await;
    assert_eq!(device.end(&key).await, AckKind::Persisted);
    device.send(&header(&key).encode()).await;
    assert_eq!(device.ack(&key).await, AckKind::Persisted);
    assert_eq!(stage.stored("front").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_without_a_certificate_is_refused() {
    let stage = Stage::start().await;
    let (code, text) = closed(stage.refusal(None).await);
    assert_eq!(code, CloseCode::CertificateRequired);
    assert!(text.contains("certificate"), "{text}");
    undisturbed(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_ca_is_refused() {
    let stage = Stage::start().await;
    stage.enrolled("cam", &[]).await;
    let error = stage.refusal(Some(&foreign("cam"))).await.to_string();
    assert!(error.contains("UnknownIssuer") || error.contains("unknown"), "{error}");
    undisturbed(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_closed_at_once_and_refused_from_then_on() {
    let stage = Stage::start().await;
    let cam = stage.enrolled("cam", &[]).await;
    let device = stage.upload(&cam).await;
    stage.millrace(&["device", "revoke", "cam"]).await;
    let open = tokio::time::timeout(device::PATIENCE, device.connection.closed()).await.unwrap();
    assert_eq!(closed(open).0, CloseCode::DeviceRevoked);
    let (code, text) = closed(stage.refusal(Some(&cam)).await);
    assert_eq!(code, CloseCode::DeviceRevoked);
    assert!(text.contains("revoked"), "{text}");
    undisturbed(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_from_before_a_new_enrolment_is_refused() {
    let stage = Stage::start().await;
    let before = stage.enrolled("cam", &[]).await;
    let after = stage.enrolled("cam", &[]).await;
    assert_eq!(closed(stage.refusal(Some(&before)).await).0, CloseCode::CertificateReplaced);
    stage.upload(&after).await.still_works("front").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_admitted_and_the_present_one_still_is() {
    let stage = Stage::start().await;
    let before = stage.enrolled("cam", &[]).await;
    let reply = stage.join(Proof::Certificate, &before.key, Some(&before)).await;
    let JoinReply::Granted { certificate, .. } = reply else { panic!("{reply:?}") };
    let after = device::Identity { certificate: certificate.to_vec().into(), key: before.key.clone() };
    stage.upload(&after).await.still_works("front").await;
    stage.upload(&before).await.still_works("front").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_token_is_refused_as_used() {
    let stage = Stage::start().await;
    let token = stage.add_device("cam", &[]).await;
    let mine = KeyPair::generate().unwrap();
    let granted = stage.join(Proof::Secret(token.secret), &mine, None).await;
    assert!(matches!(granted, JoinReply::Granted { .. }));
    let theirs = KeyPair::generate().unwrap();
    let (code, text) = refused(stage.join(Proof::Secret(token.secret), &theirs, None).await);
    assert_eq!(code, JoinCode::TokenUsed);
    assert!(text.contains("used already"), "{text}");
    undisturbed(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_devices_that_use_a_token_at_the_same_instant_one_joins() {
    let stage = Stage::start().await;
    let token = stage.add_device("cam", &[]).await;
    let keys = [KeyPair::generate().unwrap(), KeyPair::generate().unwrap()];
    let (a, b) = tokio::join!(
        stage.join(Proof::Secret(token.secret), &keys[0], None),
        stage.join(Proof::Secret(token.secret), &keys[1], None),
    );
    let granted = [a, b].iter().filter(|reply| matches!(reply, JoinReply::Granted { .. })).count();
    assert_eq!(granted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_refused_as_expired() {
    let stage = Stage::start().await;
    let token = stage.add_device("cam", &["--valid-for", "1s"]).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let (code, text) = refused(stage.join(Proof::Secret(token.secret), &KeyPair::generate().unwrap(), None).await);
    assert_eq!(code, JoinCode::TokenExpired);
    assert!(text.contains("expired"), "{text}");
    undisturbed(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_can_not_use_its_token_again_when_its_name_is_added_again() {
    let stage = Stage::start().await;
    let token = stage.add_device("cam", &[]).await;
    let stolen = KeyPair::generate().unwrap();
    let granted = stage.join(Proof::Secret(token.secret), &stolen, None).await;
    assert!(matches!(granted, JoinReply::Granted { .. }));
    stage.millrace(&["device", "revoke", "cam"]).await;
    let rightful = stage.enrolled("cam", &[]).await;
    let (code, text) = refused(stage.join(Proof::Secret(token.secret), &stolen, None).await);
    assert_eq!(code, JoinCode::TokenExpired);
    assert!(text.contains("void"), "{text}");
    stage.upload(&rightful).await.still_works("front").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_server_is_refused_as_unknown() {
    let stage = Stage::start().await;
    let (code, text) = refused(stage.join(Proof::Secret([1; 32]), &KeyPair::generate().unwrap(), None).await);
    assert_eq!(code, JoinCode::TokenUnknown);
    assert!(text.contains("did not give out"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_without_a_certificate_is_refused() {
    let stage = Stage::start().await;
    let (_, text) = refused(stage.join(Proof::Certificate, &KeyPair::generate().unwrap(), None).await);
    assert!(text.contains("present certificate"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_matroska_is_refused_with_its_offset_and_not_to_be_sent_again() {
    let stage = Stage::start().await;
    let mut device = stage.upload(&stage.enrolled("cam", &[]).await).await;
    let key = key("front", 1, 0);
    device.send(&whole(&key, &[0xff; 5000])).await;
    let (code, text, retryable) = device.error(&key).await;
    assert_eq!(code, ErrorCode::InvalidMkv);
    assert!(!retryable);
    assert!(text.contains("byte") || text.contains("offset"), "{text}");
    device.still_works("front").await;
    assert_eq!(stage.stored("front").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_ends_inside_an_element_is_refused() {
    let stage = Stage::start().await;
    let mut device = stage.upload(&stage.enrolled("cam", &[]).await).await;
    let key = key("front", 1, 0);
    let document = document();
    device.send(&whole(&key, &document[..document.len() / 2])).await;
    assert_eq!(device.error(&key).await.0, ErrorCode::InvalidMkv);
    device.still_works("front").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_fragment_is_refused_at_its_announcement() {
    let stage = Stage::start().await;
    let mut device = stage.upload(&stage.enrolled("cam", &[]).await).await;
    let key = key("front", 1, 0);
    let mut bytes = begun(&key, &document());
    bytes.extend_from_slice(&wire::chunk_head(fragment::limits::FRAGMENT_BYTES_MAX));
    device.send(&bytes).await;
    let (code, text, retryable) = device.error(&key).await;
    assert_eq!(code, ErrorCode::FragmentTooLarge);
    assert!(!retryable);
    assert!(text.contains("52428800"), "{text}");
    device.still_works("front").await;
    assert_eq!(stage.stored("front").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_that_lasts_too_long_is_refused() {
    let stage = Stage::start().await;
    let mut device = stage.upload(&stage.enrolled("cam", &[]).await).await;
    let (key, media) = (key("front", 1, 0), document());
    let trailer =
        Trailer { duration: Duration::from_secs(21), bytes: media.len() as u64, crc32c: crc32c::crc32c(&media) };
    device.send(&[begun(&key, &media), trailer.encode().to_vec()].concat()).await;
    assert_eq!(device.error(&key).await.0, ErrorCode::FragmentTooLong);
    device.still_works("front").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_upload_stores_nothing_and_the_same_fragment_can_come_again() {
    let stage = Stage::start().await;
    let mut device = stage.upload(&stage.enrolled("cam", &[]).await).await;
    let (ended, broken) = (key("front", 1, 0), key("front", 1, 1));
    device.send(&begun(&ended, &document())).await;
    let (code, _, retryable) = device.error(&ended).await;
    assert_eq!((code, retryable), (ErrorCode::Truncated, true));
    assert_eq!(device.send_and_break_off(&begun(&broken, &document()), &broken).await, AckKind::Buffering);
    let (code, _, retryable) = device.error(&broken).await;
    assert_eq!((code, retryable), (ErrorCode::Truncated, true));
    assert_eq!(stage.stored("front").await, 0);
    for key in [ended, broken] {
        device.send(&whole(&key, &document())).await;
        assert_eq!(device.end(&key).await, AckKind::Persisted);
    }
    assert_eq!(stage.stored("front").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_changed_on_the_way_is_refused_to_be_sent_again() {
    let stage = Stage::start().await;
    let mut device = stage.upload(&stage.enrolled("cam", &[]).await).await;
    let (key, media) = (key("front", 1, 0), document());
    let trailer = Trailer { duration: Duration::from_secs(1), bytes: media.len() as u64, crc32c: 7 };
    device.send(&[begun(&key, &media), trailer.encode().to_vec()].concat()).await;
    let (code, _, retryable) = device.error(&key).await;
    assert_eq!((code, retryable), (ErrorCode::ChecksumMismatch, true));
    device.still_works("front").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_from_tomorrow_is_refused_until_its_time_has_come() {
    let stage = Stage::start().await;
    let mut device = stage.upload(&stage.enrolled("cam", &[]).await).await;
    let key = key("front", 1, 0);
    let tomorrow = device::now() + Duration::from_secs(24 * 3600);
    device.send(&FragmentHeader { start: tomorrow, ..header(&key) }.encode()).await;
    // Its header names it, so that it can be answered.
    let (code, text, retryable) = device.error(&key).await;
    assert_eq!((code, retryable), (ErrorCode::InvalidTimestamp, true), "the device has to keep it");
    assert!(text.contains("clock"), "{text}");
    device.still_works("front").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_from_before_1970_is_refused_for_good() {
    let stage = Stage::start().await;
    let mut device = stage.upload(&stage.enrolled("cam", &[]).await).await;
    let key = key("front", 1, 0);
    let before = fragment::WallTime::from_millis(-1);
    device.send(&FragmentHeader { start: before, ..header(&key) }.encode()).await;
    let (code, text, retryable) = device.error(&key).await;
    assert_eq!((code, retryable), (ErrorCode::InvalidTimestamp, false));
    assert!(text.contains("1970"), "{text}");
    device.still_works("front").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_device_may_not_write_to_is_refused() {
    let stage = Stage::start().await;
    let mut device = stage.upload(&stage.enrolled("cam", &["--stream", "front"]).await).await;
    let key = key("back", 1, 0);
    device.send(&whole(&key, &document())).await;
    let (code, text, _) = device.error(&key).await;
    assert_eq!(code, ErrorCode::StreamNotPermitted);
    assert!(text.contains("back"), "{text}");
    device.still_works("front").await;
    assert_eq!(stage.stored("back").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_no_fragment_is_stopped_and_no_other() {
    let stage = Stage::start().await;
    let mut device = stage.upload(&stage.enrolled("cam", &[]).await).await;
    let mut stream = device.connection.open_uni().await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let stopped = tokio::time::timeout(device::PATIENCE, stream.stopped()).await.unwrap().unwrap();
    assert_eq!(stopped, Some(ErrorCode::MalformedUpload.number().into()));
    device.still_works("front").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nonsense_is_closed_and_no_other() {
    let stage = Stage::start().await;
    let cam = stage.enrolled("cam", &[]).await;
    let (_endpoint, connection) = stage.connect(wire::UPLOAD_ALPN, Some(&cam)).await.unwrap();
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(&[0xff; 64]).await.unwrap();
    let error = tokio::time::timeout(device::PATIENCE, connection.closed()).await.unwrap();
    let (code, text) = closed(error);
    assert_eq!(code, CloseCode::ProtocolViolation);
    assert!(text.contains("Hello"), "{text}");
    stage.upload(&cam).await.still_works("front").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_says_so_and_stores_what_it_has_acknowledged() {
    let stage = Stage::start().await;
    let cam = stage.enrolled("cam", &[]).await;
    let mut device = stage.upload(&cam).await;
    for sequence in 0..20 {
        device.send(&whole(&key("front", 1, sequence), &document())).await;
    }
    // The last one to be RECEIVED may still wait for its commit.
    while device.ack(&key("front", 1, 19)).await != AckKind::Received {}
    let connection = device.connection.clone();
    let stage = stage.restart().await;
    assert_eq!(closed(connection.closed().await).0, CloseCode::ShuttingDown);
    let device = &mut stage.upload(&cam).await;
    let last = key("front", 1, 19);
    device.send(&header(&last).encode()).await;
    assert_eq!(device.ack(&last).await, AckKind::Persisted, "it was received, so the shutdown waited for it");
}

fn refused(reply: JoinReply) -> (JoinCode, String) {
    match reply {
        JoinReply::Refused { code, message } => (code, message),
        JoinReply::Granted { device, .. } => panic!("{device} was granted a certificate"),
    }
}

/// Another device joins and uploads as if nothing had happened.
async fn undisturbed(stage: &Stage) {
    let other = stage.enrolled("other", &[]).await;
    stage.upload(&other).await.still_works("side").await;
}
