//! Any head of a request, as anybody may send it: reading and verifying a signature never panic, a canonical request has
//! its six parts, and what was not signed with the secret is not taken.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use sigv4::{Body, Claim, Request, canonical_request};

fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|byte| *byte == b'\n');
    let Some(Ok(target)) = lines.next().map(std::str::from_utf8) else { return };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = Vec::new();
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { return };
        let Ok(name) = std::str::from_utf8(&line[..at]) else { return };
        headers.push((name, &line[at + 1..]));
    }
    let body: Vec<u8> = lines.flatten().copied().collect();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let request = Request { method: "POST", path, query, headers };

    let canonical = canonical_request(&request, &names, "hash").expect("all of its headers are there");
    let mut parts = canonical.split(|byte| *byte == b'\n');
    assert_eq!(parts.next(), Some(&b"POST"[..]));
    assert!(parts.next().is_some_and(|path| path.starts_with(b"/") && path.is_ascii()));
    assert!(parts.next().is_some_and(<[u8]>::is_ascii));
    assert!(canonical.ends_with(b"\nhash"));

    let Ok(claim) = Claim::read(&request) else { return };
    let signed = UNIX_EPOCH + Duration::from_secs(1_772_366_400);
    for body in [Body::Whole(&body), Body::Streamed] {
        assert!(claim.verify(&request, body, b"a secret that no seed was signed with", "kinesisvideo", signed).is_err());
    }
});
