//! The provider as a device sees it, over TLS.

use std::sync::Arc;

use archive::Archive;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use vault::Keyring;

use super::{Listener, Provider, names};
use crate::access_keys::AccessKeys;
use crate::enrolled::Enrolled;
use crate::{limits, storage};

#[tokio::test]
async fn a_device_gets_a_key_for_its_certificate() {
    let stage = Stage::start(&["front"]).await;
    let (status, answer) = stage.ask("/role-aliases/any-alias/credentials", "x-amzn-iot-thingname: cam\r\n").await;
    assert_eq!(status, 200, "{answer}");
    let credentials = &answer["credentials"];
    let text = |name: &str| credentials[name].as_str().unwrap().to_owned();
    let expires: jiff::Timestamp = text("expiration").parse().unwrap();
    let valid_for = expires.as_second() - jiff::Timestamp::now().as_second();
    assert!((3590..=3600).contains(&valid_for), "{valid_for}");
    assert!(text("expiration").ends_with('Z') && text("expiration").len() == "2026-01-01T00:00:00Z".len());
    let opened = stage.keys.credentials(&text("accessKeyId"), Some(&text("sessionToken")), storage::now()).await;
    assert_eq!(&opened.unwrap().secret[..], text("secretAccessKey").as_bytes());
}

#[tokio::test]
async fn the_thing_is_the_device_or_one_of_its_streams() {
    let stage = Stage::start(&["front"]).await;
    for (header, expected) in [
        ("", 200),
        ("x-amzn-iot-thingname: cam\r\n", 200),
        ("x-amzn-iot-thingname: front\r\n", 200),
        ("x-amzn-iot-thingname: back\r\n", 403),
        ("x-amzn-iot-thingname: \r\n", 403),
    ] {
        let (status, answer) = stage.ask("/role-aliases/a/credentials", header).await;
        assert_eq!(status, expected, "{header} {answer}");
    }
}

#[tokio::test]
async fn a_revoked_device_gets_nothing_and_is_told_why() {
    let stage = Stage::start(&[]).await;
    stage.cam.devices.revoke(&stage.cam.name, storage::now()).unwrap();
    let (status, answer) = stage.ask("/role-aliases/a/credentials", "").await;
    assert_eq!((status, &answer["message"]), (403, &Value::from("the device cam was revoked")));
}

#[tokio::test]
async fn other_paths_and_aliases_that_are_none_are_refused() {
    let stage = Stage::start(&[]).await;
    let long = format!("/role-aliases/{}/credentials", "a".repeat(129));
    for (path, expected) in
        [("/", 404), ("/role-aliases/a", 404), ("/role-aliases/a%20b/credentials", 400), (long.as_str(), 400)]
    {
        assert_eq!(stage.ask(path, "").await.0, expected, "{path}");
    }
}

#[tokio::test]
async fn nobody_comes_in_without_a_certificate_of_a_device_that_is_still_good() {
    let mut stage = Stage::start(&[]).await;
    assert!(stage.try_ask(None).await.is_err(), "without one");

    let folder = tempfile::tempdir().unwrap();
    let stranger = Enrolled::new(&archive(&folder), &[], storage::now());
    let own = std::mem::replace(&mut stage.cam, stranger);
    assert!(stage.try_ask(Some(&stage.cam.certificate)).await.is_err(), "of another CA");

    stage.cam = own;
    stage.cam.renew(storage::now() - limits::CERTIFICATE_VALIDITY - std::time::Duration::from_secs(1));
    assert!(stage.try_ask(Some(&stage.cam.certificate)).await.is_err(), "one that has ended");
}

#[test]
fn the_server_is_known_by_the_names_that_it_is_reached_by() {
    let address = "192.0.2.7:8444".parse().unwrap();
    assert_eq!(names("https://video.example", address), ["video.example", "192.0.2.7", "localhost"]);
    assert_eq!(names("http://192.0.2.7:8080", address), ["192.0.2.7", "localhost"]);
    assert_eq!(names("http://[2001:db8::1]:80", address), ["2001:db8::1", "192.0.2.7", "localhost"]);
}

struct Stage {
    cam: Enrolled,
    keys: AccessKeys,
    address: std::net::SocketAddr,
    roots: Arc<RootCertStore>,
    _stop: tokio_util::sync::DropGuard,
    _folder: TempDir,
}

impl Stage {
    async fn start(streams: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let archive = archive(&folder);
        let cam = Enrolled::new(&archive, streams, storage::now());
        let keys = AccessKeys::new(archive.vault().clone());
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(any, &cam.ca, names("http://127.0.0.1:80", any)).await.unwrap();
        let (address, stop) = (listener.address().unwrap(), CancellationToken::new());
        let provider = Provider { devices: cam.devices.clone(), keys: keys.clone() };
        tokio::spawn(listener.serve(provider, stop.clone()));
        let roots = Arc::new(cam.ca.roots());
        Self { cam, keys, address, roots, _stop: stop.drop_guard(), _folder: folder }
    }

    /// Status and body.
    async fn ask(&self, path: &str, headers: &str) -> (u16, Value) {
        self.exchange(Some(&self.cam.certificate), path, headers).await.unwrap()
    }

    async fn try_ask(&self, certificate: Option<&[u8]>) -> std::io::Result<(u16, Value)> {
        self.exchange(certificate, "/role-aliases/a/credentials", "").await
    }

    async fn exchange(&self, certificate: Option<&[u8]>, path: &str, headers: &str) -> std::io::Result<(u16, Value)> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(self.roots.clone());
        let key = PrivatePkcs8KeyDer::from(self.cam.key.serialize_der());
        let config = match certificate {
            Some(der) => config.with_client_auth_cert(vec![CertificateDer::from(der.to_vec())], key.into()).unwrap(),
            None => config.with_no_client_auth(),
        };
        let socket = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a head has a status");
        Ok((status, serde_json::from_str(body).expect("the body is JSON")))
    }
}

fn archive(folder: &TempDir) -> Archive {
    let keyring = Keyring::of_vault(folder.path()).unwrap();
    Archive::open(folder.path(), Arc::new(keyring)).unwrap()
}
