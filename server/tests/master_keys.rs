//! The operator's power over master keys, as devices and viewers notice it.

#![expect(clippy::unwrap_used, reason = "a failure of the helpers below is a failure of the test")]

#[expect(dead_code, reason = "these tests need only a part of what the raw device can do")]
mod device;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use device::{Device, Stage, key, millrace, start, whole};
use millrace::config::KeySettings;
use upload::{AckKind, ErrorCode};

/// A second of H.264.
const FRAGMENT: &[u8] = include_bytes!("../src/http/tests/fragment.mkv");

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_master_key_stops_ingest_and_playback_at_once_and_an_enabled_one_resumes_both() {
    let stage = Stage::start().await;
    let mut device = connected(&stage).await;
    store(&mut device, 0).await;
    let viewer = Viewer::of(&stage, "front").await;
    let segment = viewer.first_segment().await;
    assert_eq!(viewer.status(&segment).await, (200, String::new()), "it is in the cache now");
    let id = list(stage.folder.path()).await.remove(0).id;

    succeeds(&stage.millrace(&["key", "disable", &id]).await);

    let key = key("front", 1, 1);
    device.send(&whole(&key, FRAGMENT)).await;
    let (code, text, retryable) = device.error(&key).await;
    assert_eq!((code, retryable), (ErrorCode::KmsDisabled, true), "{text}");
    assert!(text.contains("DisabledException"), "{text}");
    let (status, message) = viewer.status(&segment).await;
    assert_eq!(status, 503);
    assert!(message.contains("DisabledException") && message.contains("disabled"), "{message}");
    assert!(!message.contains(&id), "viewers need not know the key's name: {message}");
    assert_eq!(list(stage.folder.path()).await[0].state, "disabled");

    succeeds(&stage.millrace(&["key", "enable", &id]).await);

    store(&mut device, 1).await;
    assert_eq!(viewer.status(&segment).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_makes_another_master_key_while_the_server_runs_and_everything_still_plays() {
    let stage = Stage::start().await;
    let mut device = connected(&stage).await;
    store(&mut device, 0).await;
    let viewer = Viewer::of(&stage, "front").await;
    let segment = viewer.first_segment().await;
    let before = list(stage.folder.path()).await;

    let printed = succeeds(&stage.millrace(&["key", "rotate"]).await);

    let after = list(stage.folder.path()).await;
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_ne!(before[0].id, after[0].id);
    assert_eq!(before[0].data_keys, after[0].data_keys);
    assert!(printed.contains(&before[0].id) && printed.contains(&after[0].id), "{printed}");
    store(&mut device, 1).await;
    assert_eq!(viewer.status(&segment).await.0, 200);
    drop(device);
    let stage = stage.restart().await;
    let viewer = Viewer::of(&stage, "front").await;
    assert_eq!(viewer.status(&viewer.first_segment().await).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn master_keys_are_listed_disabled_and_enabled_without_a_server_too() {
    let stage = Stage::start().await;
    let mut device = connected(&stage).await;
    store(&mut device, 0).await;
    drop(device);
    let Stage { server, folder } = stage;
    server.stop().await;
    let id = list(folder.path()).await.remove(0).id;

    succeeds(&millrace(folder.path(), &["key", "disable", &id]).await);

    let refused = start(folder.path(), KeySettings::default()).await.err().expect("nothing can be opened");
    assert!(refused.to_string().contains("DisabledException"), "{refused}");
    succeeds(&millrace(folder.path(), &["key", "enable", &id]).await);
    succeeds(&millrace(folder.path(), &["key", "rotate"]).await);
    assert_ne!(list(folder.path()).await[0].id, id);
    let stage = Stage::start_in(folder, KeySettings::default()).await;
    assert_eq!(stage.stored("front").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_key_that_does_not_exist_is_said_to_be_unknown() {
    let stage = Stage::start().await;
    let output = stage.millrace(&["key", "disable", "0123456789abcdef"]).await;
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("NotFoundException") && text.contains("0123456789abcdef"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyring_elsewhere_with_a_passphrase_is_made_by_the_server_and_needed_by_everyone_who_opens_its_data() {
    let elsewhere = tempfile::tempdir().unwrap();
    let (keyring, passphrase) = (elsewhere.path().join("ring"), elsewhere.path().join("passphrase"));
    std::fs::write(&passphrase, "correct horse\n").unwrap();
    std::fs::set_permissions(&passphrase, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (keyring, passphrase) = (keyring.to_str().unwrap(), passphrase.to_str().unwrap());
    let data = tempfile::tempdir().unwrap();
    let both = ["--keyring", keyring, "--passphrase-file", passphrase];

    succeeds(&millrace(data.path(), &[&both[..], &["stream", "create", "front"]].concat()).await);

    assert!(!data.path().join("vault/master.keyring").exists());
    succeeds(&millrace(data.path(), &[&both[..], &["stream", "describe", "front"]].concat()).await);
    for (arguments, expected) in [
        (&["stream", "list"][..], "is missing"),
        (&["--keyring", keyring, "stream", "list"], "passphrase"),
        (&["--keyring", keyring, "key", "list"], "passphrase"),
    ] {
        let output = millrace(data.path(), arguments).await;
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(expected), "{arguments:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_is_asked_without_the_passphrase() {
    let elsewhere = tempfile::tempdir().unwrap();
    let keys = KeySettings {
        keyring: Some(vault::Home::File(elsewhere.path().join("ring"))),
        passphrase: vault::Passphrase::new(b"correct horse".to_vec().into()),
        kms: None,
    };
    let stage = Stage::start_in(tempfile::tempdir().unwrap(), keys).await;
    assert_eq!(list(stage.folder.path()).await.len(), 1);
}

/// A device that is ready to send.
async fn connected(stage: &Stage) -> Device {
    let camera = stage.enrolled("cam", &[]).await;
    stage.upload(&camera).await
}

async fn store(device: &mut Device, sequence: u32) {
    let key = key("front", 1, sequence);
    device.send(&whole(&key, FRAGMENT)).await;
    assert_eq!(device.end(&key).await, AckKind::Persisted);
}

/// A line of `millrace key list`.
struct Listed {
    id: String,
    state: String,
    data_keys: u64,
}

async fn list(folder: &Path) -> Vec<Listed> {
    let text = succeeds(&millrace(folder, &["key", "list"]).await);
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Listed { id: words[0].to_owned(), state: words[1].to_owned(), data_keys: words[3].parse().unwrap() }
    };
    text.lines().skip(1).map(line).collect()
}

fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Someone who plays a stream.
struct Viewer {
    origin: String,
    playlist: String,
}

impl Viewer {
    async fn of(stage: &Stage, stream: &str) -> Self {
        let origin = format!("http://{}", stage.server.http());
        let key = stage.server.watch_url().split_once("key=").unwrap().1.to_owned();
        let url = format!("{origin}/api/streams/{stream}/playback");
        let answer = blocking(move || {
            let mut answer = ureq::post(&url)
                .header("authorization", format!("Bearer {key}"))
                .header("content-type", "application/json")
                .send(r#"{"mode":"live"}"#)
                .unwrap();
            answer.body_mut().read_to_string().unwrap()
        });
        let answer: serde_json::Value = serde_json::from_str(&answer.await).unwrap();
        Self { origin, playlist: answer["url"].as_str().unwrap().to_owned() }
    }

    /// The address of the first segment.
    async fn first_segment(&self) -> String {
        let folder = self.playlist.rsplit_once('/').unwrap().0;
        let media = format!("{}{folder}/media.m3u8", self.origin);
        let text = blocking(move || ureq::get(&media).call().unwrap().body_mut().read_to_string().unwrap()).await;
        let segment = text.lines().find(|line| !line.starts_with('#') && !line.is_empty()).unwrap();
        format!("{}{folder}/{segment}", self.origin)
    }

    /// The status of an address, and what the server says if it is an error.
    async fn status(&self, address: &str) -> (u16, String) {
        let address = address.to_owned();
        blocking(move || {
            let request = ureq::get(&address).config().http_status_as_error(false).build();
            let mut answer = request.call().unwrap();
            let status = answer.status().as_u16();
            let message = if status == 200 { String::new() } else { answer.body_mut().read_to_string().unwrap() };
            (status, message)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(task: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(task).await.unwrap()
}
