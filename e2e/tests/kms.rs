//! The master key in a KMS: nothing is stored or played without it, and it can become another one.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::kms::{ENVIRONMENT, Kms};
use e2e::{Agent, Server, Source, keys, stored, until};

const ALIAS: &str = "alias/millrace";

/// For what happens at once, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// Times in a playlist are rounded to the millisecond.
const SLACK: Duration = Duration::from_millis(5);

#[test]
fn the_master_key_lies_in_a_kms_and_can_be_changed_refused_and_missed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let kms = Kms::start(folder.path());
    let first = kms.create_key();
    kms.set_alias(ALIAS, &first);
    let arguments = ["--kms-key", ALIAS, "--kms-endpoint", kms.endpoint()];
    let environment = [ENVIRONMENT, &[("RUST_LOG", "trace")]].concat();
    let mut server = Server::start_with(folder.path(), &arguments, &environment);
    let agent = Agent::enrolled(&folder.path().join("agent"), &server);
    upload(&agent, "yard");
    let played = bytes(&server, "yard");
    assert!(!server.data().join("vault/master.keyring").exists(), "no master key lies on this machine");

    // After a restart everything has to be asked of KMS again, with the stream's ARN as the context.
    server.stop();
    let asked_before = kms.calls().len();
    server.restart();
    assert_eq!(bytes(&server, "yard"), played);
    let contexts: BTreeSet<String> = kms.calls()[asked_before..]
        .iter()
        .filter(|call| call.operation == "Decrypt")
        .map(|call| call.request["EncryptionContext"]["millrace:resource"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert!(contexts.contains("vault") && contexts.iter().any(|name| is_arn_of(name, "yard")), "{contexts:?}");

    // Another key takes the alias, and a rotation moves every data key to it and no segment.
    let second = kms.create_key();
    kms.set_alias(ALIAS, &second);
    let before = segments(&server);
    let said = server.admin(&["key", "rotate"]);
    assert!(said.contains(&second), "{said}");
    let listed = server.admin(&["key", "list"]);
    assert!(listed.contains(&second) && !listed.contains(&first) && listed.contains("enabled"), "{listed}");
    assert!(segments(&server) == before, "no media was touched");
    assert_eq!(bytes(&server, "yard"), played);

    // Disabled: KMS is told, and nothing is stored or played until it is enabled again.
    let segment = server.everything("yard").segments.remove(0).uri;
    server.admin(&["key", "disable", &second]);
    assert!(kms.calls().iter().any(|call| call.operation == "DisableKey"));
    assert!(server.admin(&["key", "list"]).contains("disabled"));
    kms.refuse(Some("DisabledException"));
    let refused = server.get_as_stranger(&segment);
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("DisabledException"), "{}", refused.text());
    let mut camera = Agent::start(&folder.path().join("camera"), &server, &[("gate", Source::Loop("h264-aac.mp4"))]);
    until("the camera is told to try again, and why", SOON, || {
        let logged = camera.logged();
        let told = logged.lines().find(|line| line.contains("KMS_KEY_DISABLED"))?;
        assert!(told.contains("DisabledException"), "{told}");
        Some(())
    });
    until("it keeps what it has", SOON, || (camera.spooled().len() >= 4).then_some(()));
    assert!(camera.persisted().is_empty() && server.try_everything("gate").is_none(), "something was stored");
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("millrace_fragments_refused_total{code=\"KMS_KEY_DISABLED\"}"), "{metrics}");
    kms.refuse(None);
    server.admin(&["key", "enable", &second]);
    stored::settle(&mut camera);
    let gate = stored::once(&server, "gate", &[&camera]);
    assert!(gate.segments.len() >= 4 && gate.gaps(SLACK).is_empty(), "what waited has arrived: {gate:?}");
    upload(&agent, "door");
    assert_eq!(bytes(&server, "yard"), played);

    // What KMS gave was never written down here: not in what the server says at its most talkative, not on disk.
    let metrics = server.get("/metrics").body;
    server.stop();
    let log = fs::read(folder.path().join("server.log")).expect("the server has a log");
    assert!(String::from_utf8_lossy(&log).contains("TRACE"), "the server told everything");
    let given: Vec<_> = kms.plaintexts().iter().map(|key| STANDARD.decode(key).expect("it is base64")).collect();
    assert!(given.len() >= 4, "a root key and the keys of two streams, some of them twice: {}", given.len());
    let said = vec![("the log".to_owned(), log), ("the metrics".to_owned(), metrics)];
    keys::are_nowhere_in(&[said, keys::places(&server.data())].concat(), &given);

    // Without KMS a start says so, and why.
    let gone = ["--kms-key", ALIAS, "--kms-endpoint", "http://127.0.0.1:1"];
    let (success, said) = server.try_start_with(&gone, ENVIRONMENT);
    assert!(!success && said.contains("KMS can't be asked about"), "{said}");
    let (success, said) = server.try_start_with(&[], ENVIRONMENT);
    assert!(!success && said.contains("--kms-key"), "{said}");
}

fn upload(agent: &Agent, stream: &str) {
    let uploaded = agent.once(&e2e::clip("h264-aac.mp4"), stream);
    assert!(uploaded.status.success(), "{}", String::from_utf8_lossy(&uploaded.stderr));
}

fn is_arn_of(name: &str, stream: &str) -> bool {
    name.starts_with("arn:") && name.contains(&format!(":stream/{stream}/"))
}

/// Every segment of a stream, as it is played.
fn bytes(server: &Server, stream: &str) -> Vec<Vec<u8>> {
    server.everything(stream).segments.iter().map(|segment| server.get_as_stranger(&segment.uri).body).collect()
}

/// Name and content of every segment file.
fn segments(server: &Server) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(server.data().join("vault/segments")).expect("the vault has a folder of segments");
    let mut files: Vec<_> = files
        .flatten()
        .map(|file| (file.file_name().to_string_lossy().into_owned(), fs::read(file.path()).unwrap_or_default()))
        .collect();
    files.sort();
    files
}
