//! `millrace-agent check`: what it says of a server, of cameras and of the state folder.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[expect(dead_code, reason = "other tests use the rest of it")]
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod server;

use std::path::Path;

use agent::check::check;
use agent::config::{self, Camera, Config, Source};
use samples::rtsp;
use server::Server;
use upload::{CloseCode, JoinToken};

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_let_in_is_told_by_which_name() {
    let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
    server.enrol_for_long(state.path());
    let (found, _line) = tokio::join!(run(config(&server, state.path(), None)), server.upload());
    let (well, lines) = found;
    assert!(well, "{lines:#?}");
    assert!(lines[2].starts_with("ok    server: ") && lines[2].ends_with("lets this device in as cam"), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_refused_is_told_why_and_what_to_do() {
    for (code, why) in [
        (CloseCode::DeviceRevoked, "the device cam was revoked"),
        (CloseCode::CertificateReplaced, "the certificate was replaced"),
        (CloseCode::DeviceUnknown, "which this server does not know"),
    ] {
        let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
        server.enrol_for_long(state.path());
        let refuse = async { server.connection().await.0.close(code.number().into(), why.as_bytes()) };
        let ((well, lines), ()) = tokio::join!(run(config(&server, state.path(), None)), refuse);
        assert!(!well, "{lines:#?}");
        assert!(lines[2].starts_with("WRONG server: ") && lines[2].contains(why), "{lines:#?}");
        assert!(lines[2].contains("millrace device add"), "{lines:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_expired_is_said() {
    let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
    server.enrol(state.path(), -100, -10);
    let ((well, lines), _) = tokio::join!(run(config(&server, state.path(), None)), server.failed_handshake());
    assert!(!well, "{lines:#?}");
    assert!(lines[2].contains("it has expired") && lines[2].contains("millrace device add"), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_looked_at_and_not_used_up() {
    let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
    let token = server.token([1; 32]);
    let ((well, lines), (connection, _)) =
        tokio::join!(run(config(&server, state.path(), Some(token))), server.connection());
    assert!(well, "{lines:#?}");
    assert!(lines[2].contains("the token is used at the next start"), "{lines:#?}");
    assert!(connection.accept_bi().await.is_err(), "nothing was said to the server");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_server_is_wrong() {
    let (server, other, state) = (Server::start(), Server::start(), tempfile::tempdir().unwrap());
    let config = config(&server, state.path(), Some(other.token([1; 32])));
    let ((well, lines), _) = tokio::join!(run(config), server.failed_handshake());
    assert!(!well && lines[2].starts_with("WRONG server: "), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_a_token_is_told_how_to_get_one() {
    let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
    let (well, lines) = run(config(&server, state.path(), None)).await;
    assert!(!well && lines[2].contains("run `millrace device add NAME` there"), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_said() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start();
    server.enrol_for_long(state.path());
    let config = config(&server, state.path(), None);
    drop(server);
    let (well, lines) = run(config).await;
    assert!(!well && lines[2].contains("no answer from 127.0.0.1:"), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_told_with_its_tracks_and_one_that_is_not_there_with_the_reason() {
    let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
    let camera = rtsp::Camera::start(&rtsp::Settings::new(samples::clip("h264-aac.mp4"))).unwrap();
    let gone = camera.url().replace("/cam", "/attic");
    let cameras = vec![watched("yard", camera.url()), watched("attic", gone)];
    let config = Config { cameras, ..config(&server, state.path(), None) };
    let (well, lines) = run(config).await;
    assert!(!well);
    assert_eq!(lines[3], "ok    camera yard: H.264 320×180, AAC 44100 Hz, 1 channel(s)");
    assert!(lines[4].starts_with("WRONG camera attic: the camera at rtsp://127.0.0.1:"), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_that_can_not_be_written_is_said() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let state = folder.path().join("a file");
    std::fs::write(&state, b"").unwrap();
    let (well, lines) = run(config(&server, &state, None)).await;
    assert!(!well && lines[1].starts_with("WRONG state folder: ") && lines[1].contains("a file"), "{lines:#?}");
}

async fn run(config: Config) -> (bool, Vec<String>) {
    let mut lines = Vec::new();
    let well = check(&config, |line| lines.push(line.to_owned())).await;
    (well, lines)
}

fn config(server: &Server, state: &Path, token: Option<JoinToken>) -> Config {
    let server = config::Server { address: server.address(), token };
    let spool = (1 << 30).into();
    let uplink = config::Uplink::default();
    Config { state: state.to_owned(), server, aws: None, spool, metrics: None, uplink, cameras: Vec::new() }
}

fn watched(stream: &str, url: String) -> Camera {
    let trust = config::TlsTrust::System;
    let source = Source::Rtsp { url, transport: config::Transport::Tcp, credentials: None, latency: None, trust };
    Camera::new(stream.parse().unwrap(), source)
}
