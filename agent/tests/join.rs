//! `millrace-agent join`: what the device keeps of it, and what its configuration needs no more.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[expect(dead_code, reason = "other tests use the rest of it")]
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod server;

use std::fs;
use std::path::PathBuf;

use agent::config::Config;
use agent::identity::Identity;
use agent::join::{self, JoinError, Joined};
use server::Server;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_without_server_and_token_works_after_a_join() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let path = written(&folder, "");
    let error = Config::load(&path).unwrap_err().to_string();
    assert!(error.contains("server.address is missing") && error.contains("millrace-agent join"), "{error}");

    let config = join::configuration(&path, Some(&server.address())).unwrap();
    let token = server.token([1; 32]);
    let (joined, _) = tokio::join!(join::join(&config, &token), server.join(Server::granted));
    assert_eq!(joined.unwrap(), Joined::Now);

    let config = Config::load(&path).unwrap();
    assert_eq!((config.server.address, config.server.token), (server.address(), None));
    assert!(Identity::load(&config.state).unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_typed_twice_is_not_sent_twice() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let config = join::configuration(&written(&folder, ""), Some(&server.address())).unwrap();
    let token = server.token([1; 32]);
    let (joined, _) = tokio::join!(join::join(&config, &token), server.join(Server::granted));
    assert_eq!(joined.unwrap(), Joined::Now);
    // Nobody answers this time.
    assert_eq!(join::join(&config, &token).await.unwrap(), Joined::Before);
}

#[test]
fn a_device_does_not_join_one_server_and_upload_to_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder, "[server]\naddress = \"one.example.org:8443\"\n");
    let error = join::configuration(&path, Some("two.example.org:8443")).unwrap_err();
    assert!(matches!(error, JoinError::OtherServer { .. }), "{error}");
    assert_eq!(join::configuration(&path, None).unwrap().server.address, "one.example.org:8443");
}

#[test]
fn an_address_without_a_port_is_refused_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let error = join::configuration(&written(&folder, ""), Some("video.example.org")).unwrap_err().to_string();
    assert!(error.contains("write host and port"), "{error}");
    assert!(!folder.path().join("state").exists());
}

fn written(folder: &TempDir, more: &str) -> PathBuf {
    let path = folder.path().join("agent.toml");
    fs::write(&path, format!("state = {:?}\n{more}", folder.path().join("state"))).unwrap();
    path
}
