//! The master key in a KMS: nothing is stored or played without it, and it can become another one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::kms::{ENVIRONMENT, Kms};
use e2e::{Agent, Server};

const ALIAS: &str = "alias/millrace";

/// The ways in which a key could be written down: as it is, in base64, in hexadecimal, and as Rust shows bytes.
fn forms(base64: &str) -> [Vec<u8>; 4] {
    let key = STANDARD.decode(base64).expect("KMS answers in base64");
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{key:?}");
    // The beginning shows as much as the whole, and a line may be cut.
    [
        key[..16].to_vec(),
        base64.as_bytes()[..20].to_vec(),
        hex.into_bytes()[..32].to_vec(),
        list.into_bytes()[..40].to_vec(),
    ]
}

fn find(bytes: &[u8], form: &[u8]) -> Option<usize> {
    bytes.windows(form.len()).position(|window| window == form)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("it is a folder").map(|entry| entry.expect("it is listed").path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.is_file())
        .collect()
}

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
    kms.refuse(None);
    server.admin(&["key", "enable", &second]);
    upload(&agent, "door");
    assert_eq!(bytes(&server, "yard"), played);

    // What KMS gave was never written down here: not in what the server says at its most talkative, not on disk.
    let metrics = server.get("/metrics").body;
    server.stop();
    let log = fs::read(folder.path().join("server.log")).expect("the server has a log");
    assert!(find(&log, b"TRACE").is_some(), "the server told everything");
    let given = kms.plaintexts();
    assert!(given.len() >= 4, "a root key and the keys of two streams, some of them twice: {}", given.len());
    let files = files(&server.data()).into_iter().map(|path| (path.display().to_string(), fs::read(path)));
    let mut searched = vec![("the log".to_owned(), log), ("the metrics".to_owned(), metrics)];
    searched.extend(files.map(|(path, bytes)| (path, bytes.expect("it can be read"))));
    for key in &given {
        for form in forms(key) {
            for (place, bytes) in &searched {
                assert_eq!(find(bytes, &form), None, "a data key is in {place}");
            }
        }
    }

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
