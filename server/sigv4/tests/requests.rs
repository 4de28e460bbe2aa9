//! Requests that others have signed: AWS's Python SDK (`botocore/make.py`, its requests lie beside it) and AWS's Rust
//! crate. Each is taken as it is, and refused when anything of it is changed.

#![expect(clippy::unwrap_used, reason = "a failure of a helper is a failure of the test")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use proptest::prelude::*;
use serde::Deserialize;
use sigv4::{Body, Claim, Place, ReadError, Request, VerifyError, limits};

const SERVICE: &str = "kinesisvideo";
const MINUTE: Duration = Duration::from_secs(60);

/// A request with everything of its own.
#[derive(Clone, Debug, Deserialize)]
struct Signed {
    name: String,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
    secret: String,
    session_token: Option<String>,
}

// --- What is right

#[test]
fn what_each_client_signs_is_taken() {
    for signed in by_botocore() {
        let claim = signed.claim().unwrap();
        assert_eq!(claim.session_token(), signed.session_token.as_deref(), "{}", signed.name);
        assert!(["AKIDEXAMPLE", "ASIAEXAMPLE"].contains(&claim.access_key()), "{}", signed.name);
        assert!(["us-west-2", "eu-central-1"].contains(&claim.region()), "{}", signed.name);
        assert_eq!(signed.verify_at(now()), Ok(()), "{}", signed.name);
    }
}

#[test]
fn a_session_token_is_told_whether_it_is_signed_or_not() {
    let tokens: Vec<_> = by_botocore().into_iter().filter(|signed| signed.session_token.is_some()).collect();
    let is_signed = |signed: &Signed| signed.header("authorization").contains("x-amz-security-token");
    assert!(tokens.iter().any(is_signed) && !tokens.iter().all(is_signed));
    let mut changed = tokens.into_iter().find(is_signed).unwrap();
    changed.set_header("x-amz-security-token", "another");
    assert_eq!(changed.verify_at(now()), Err(VerifyError::Mismatch));
}

#[test]
fn an_empty_session_token_is_none() {
    let mut signed = named("boto3");
    signed.headers.push(("x-amz-security-token".to_owned(), String::new()));
    assert_eq!(signed.claim().unwrap().session_token(), None);
}

// --- Time

#[test]
fn a_signature_in_a_header_is_good_for_a_quarter_of_an_hour_on_both_sides() {
    let (signed, skew) = (named("boto3"), limits::SKEW_MAX);
    assert_eq!(signed.claim().unwrap().place(), Place::Header);
    for good in [now() - skew, now() + skew] {
        assert_eq!(signed.verify_at(good), Ok(()));
    }
    let early = signed.verify_at(now() - skew - MINUTE).unwrap_err();
    assert!(early.to_string().starts_with("Signature not yet current: 20260301T120000Z"), "{early}");
    let late = signed.verify_at(now() + skew + MINUTE).unwrap_err();
    let (signed, limit) = ("20260301T120000Z".to_owned(), "20260301T120100Z".to_owned());
    assert_eq!(late, VerifyError::Expired { signed, limit });
}

#[test]
fn an_address_signed_beforehand_is_good_until_it_says() {
    let signed = named("boto3, presigned");
    assert_eq!(signed.claim().unwrap().place(), Place::Query { expires: 5 * MINUTE });
    assert_eq!(signed.verify_at(now() + 5 * MINUTE), Ok(()));
    assert!(matches!(signed.verify_at(now() + 6 * MINUTE), Err(VerifyError::Expired { .. })));
    assert!(matches!(signed.verify_at(now() - 16 * MINUTE), Err(VerifyError::NotYetCurrent { .. })));
    let week = named("boto3, presigned with temporary keys");
    assert_eq!(week.verify_at(now() + 6 * 24 * 60 * MINUTE), Ok(()));
}

#[test]
fn a_later_date_does_not_renew_a_signature() {
    let mut replayed = named("boto3");
    replayed.set_header("x-amz-date", "20260301T130000Z");
    assert_eq!(replayed.verify_at(now() + 60 * MINUTE), Err(VerifyError::Mismatch));
    replayed.set_header("x-amz-date", "20260302T120000Z");
    assert!(matches!(replayed.claim(), Err(ReadError::Incomplete(_))), "its day is that of the credential");
}

// --- What was changed

#[test]
fn another_secret_method_path_query_or_service_is_refused() {
    for signed in by_botocore() {
        let changes: [fn(&mut Signed); 4] = [
            |signed| signed.secret.push('x'),
            |signed| signed.method = "PUT".to_owned(),
            |signed| signed.path = "/deleteStream".to_owned(),
            |signed| signed.query.push_str("&more=1"),
        ];
        for change in changes {
            let mut changed = signed.clone();
            change(&mut changed);
            assert_eq!(changed.verify_at(now()), Err(VerifyError::Mismatch), "{}", signed.name);
        }
        let request = signed.request();
        let verified = signed.claim().unwrap().verify(&request, signed.body(), signed.secret.as_bytes(), "s3", now());
        assert!(matches!(verified, Err(VerifyError::Scope { .. })), "{}", signed.name);
    }
}

#[test]
fn a_changed_body_is_refused_unless_it_was_left_unsigned() {
    for signed in by_botocore().into_iter().filter(|signed| signed.body.is_some()) {
        let mut changed = signed.clone();
        changed.body = Some("{}".to_owned());
        let verified = changed.verify_at(now());
        match signed.name.as_str() {
            "a body that is not signed" => assert_eq!(verified, Ok(())),
            "the JS SDK" => assert_eq!(verified, Err(VerifyError::Body)),
            name => assert_eq!(verified, Err(VerifyError::Mismatch), "{name}"),
        }
    }
}

#[test]
fn each_signed_header_is_held_to_what_it_was() {
    for signed in by_botocore() {
        let claimed = signed.header("authorization").to_owned();
        let names = claimed.split("SignedHeaders=").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or("host");
        for name in names.split(';') {
            let mut changed = signed.clone();
            let value = format!("{}0", signed.header(name));
            changed.set_header(name, &value);
            assert!(changed.verify_at(now()).is_err(), "{}: {name}", signed.name);
            let mut gone = signed.clone();
            gone.headers.retain(|(header, _)| header != name);
            assert!(gone.verify_at(now()).is_err(), "{}: without {name}", signed.name);
        }
    }
}

#[test]
fn a_proxy_that_removes_a_signed_header_is_told_of() {
    let mut behind_proxy = named("the C producer SDK, PutMedia");
    behind_proxy.headers.retain(|(name, _)| name != "connection");
    assert_eq!(behind_proxy.verify_at(now()), Err(VerifyError::HeaderGone("connection".to_owned())));
}

#[test]
fn a_hash_that_nobody_can_check_is_refused() {
    let mut put_media = named("the Java producer SDK, PutMedia");
    put_media.set_header("x-amz-content-sha256", &"0".repeat(64));
    assert_eq!(put_media.verify_at(now()), Err(VerifyError::StreamedHash));
    put_media.set_header("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    assert!(matches!(put_media.verify_at(now()), Err(VerifyError::Payload(_))));
    let mut twice = named("the JS SDK");
    twice.headers.push(("x-amz-content-sha256".to_owned(), "UNSIGNED-PAYLOAD".to_owned()));
    assert!(matches!(twice.verify_at(now()), Err(VerifyError::Payload(_))));
}

// --- What is no signature

#[test]
fn what_is_missing_or_malformed_is_said() {
    let key = "AKIDEXAMPLE/20260301/eu-central-1/kinesisvideo/aws4_request";
    let hex = "0".repeat(64);
    let full = format!("AWS4-HMAC-SHA256 Credential={key}, SignedHeaders=host;x-amz-date, Signature={hex}");
    let read = |authorization: &str| {
        let mut signed = named("boto3");
        signed.set_header("authorization", authorization);
        signed.claim().map(drop)
    };
    assert_eq!(read(&full), Ok(()));
    assert_eq!(read(&full.replace(", ", ",")), Ok(()), "spaces are free");
    assert!(matches!(read("Bearer abc"), Err(ReadError::Algorithm(_))));
    assert!(matches!(read(&full.replace("HMAC", "ECDSA")), Err(ReadError::Algorithm(_))));
    for (from, to, word) in [
        ("Credential", "Credentials", "Credential is missing"),
        ("Signature", "Sig", "Signature is missing"),
        ("SignedHeaders=", "SignedHeaders:", "Name=value"),
        ("host;x-amz-date", "x-amz-date", "Host must be signed"),
        ("host;x-amz-date", "x-amz-date;host", "in order"),
        ("host;x-amz-date", "host;host", "each once"),
        ("host;x-amz-date", "Host", "lower case"),
        ("/aws4_request", "/aws4", "key/day/region"),
        ("/aws4_request", "", "key/day/region"),
        ("/20260301/", "/20260302/", "day in the credential"),
        ("AKIDEXAMPLE", "../../key", "key/day/region"),
        (&hex[..2], "0", "64 hexadecimal"),
        (&hex[..2], "G0", "64 hexadecimal"),
    ] {
        let error = read(&full.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(word), "{from} as {to}: {error}");
    }
}

#[test]
fn an_unsigned_request_is_said_to_be_so() {
    let mut signed = named("boto3");
    signed.headers.retain(|(name, _)| name != "authorization");
    assert_eq!(signed.claim(), Err(ReadError::Missing));
}

#[test]
fn a_request_is_signed_in_one_place_only() {
    let mut signed = named("boto3");
    signed.query = named("boto3, presigned").query;
    assert!(matches!(signed.claim(), Err(ReadError::Incomplete(_))));
    let mut twice = named("boto3");
    twice.headers.push(("authorization".to_owned(), twice.header("authorization").to_owned()));
    assert!(matches!(twice.claim(), Err(ReadError::Incomplete(_))));
    let mut twice = named("boto3, presigned");
    twice.query.push_str("&X-Amz-Expires=604800");
    assert!(matches!(twice.claim(), Err(ReadError::Incomplete(_))));
}

#[test]
fn an_address_signed_beforehand_is_not_good_for_more_than_a_week() {
    for expires in ["0", "604801", "-1", "abc", ""] {
        let mut signed = named("boto3, presigned");
        signed.query = signed.query.replace("X-Amz-Expires=300", &format!("X-Amz-Expires={expires}"));
        let error = signed.claim().unwrap_err().to_string();
        assert!(error.contains("from 1 to 604800"), "{expires}: {error}");
    }
}

// --- AWS's Rust crate

#[test]
fn what_the_crate_of_aws_signs_is_taken() {
    for checksum in [PayloadChecksumKind::NoHeader, PayloadChecksumKind::XAmzSha256] {
        for token in [None, Some("token".to_owned())] {
            let mut settings = SigningSettings::default();
            settings.payload_checksum_kind = checksum;
            let signed = by_crate("/describeStream", "", b"{}", token, settings);
            assert_eq!(signed.verify_at(now()), Ok(()), "{checksum:?}");
        }
    }
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(5 * MINUTE);
    let signed = by_crate("/", "X-Amz-ChannelARN=arn%3Aaws", b"", Some("a+b/c=".to_owned()), settings);
    assert!(signed.query.contains("X-Amz-Security-Token"), "{}", signed.query);
    assert_eq!(signed.verify_at(now()), Ok(()));
}

proptest! {
    #[test]
    fn any_path_query_and_body_that_the_crate_of_aws_signs_is_taken(
        path in "(/[a-zA-Z0-9._~-]{1,8}|/%[2-7][0-9A-F]){1,4}",
        query in "([a-z]{1,4}=[a-zA-Z0-9._~%20-]{0,1}&){0,4}",
        body in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let path = path.replace("/..", "/x").replace("/.", "/x");
        let query = query.replace('%', "%25");
        let signed = by_crate(&path, query.trim_end_matches('&'), &body, None, SigningSettings::default());
        // The body of a fixture is text; this one need not be.
        let request = signed.request();
        let claim = Claim::read(&request).unwrap();
        let secret = signed.secret.as_bytes();
        prop_assert_eq!(claim.verify(&request, Body::Whole(&body), secret, SERVICE, now()), Ok(()));
        let other = [&body[..], b"x"].concat();
        let verified = claim.verify(&request, Body::Whole(&other), secret, SERVICE, now());
        prop_assert_eq!(verified, Err(VerifyError::Mismatch));
    }

    #[test]
    fn nonsense_is_refused_and_never_panics(
        authorization in "(AWS4-HMAC-SHA256 )?(Credential=[a-z/0-9]{0,20}|SignedHeaders=[a-z;]{0,9}|Signature=[0-9a-f]{0,64}|[ -~]{0,30}|, ?){0,6}",
        date in "[0-9TZ]{0,17}",
        query in "(X-Amz-[A-Z][a-z]{3,12}=[ -~]{0,20}&?){0,5}",
    ) {
        let mut signed = named("boto3");
        signed.set_header("authorization", &authorization);
        signed.set_header("x-amz-date", &date);
        signed.query = query;
        if let Ok(claim) = signed.claim() {
            prop_assert!(claim.verify(&signed.request(), signed.body(), b"secret", SERVICE, now()).is_err());
        }
    }
}

/// When everything here was signed.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_772_366_400)
}

fn by_botocore() -> Vec<Signed> {
    serde_json::from_str(include_str!("botocore/requests.json")).unwrap()
}

fn named(name: &str) -> Signed {
    by_botocore()
        .into_iter()
        .find(|signed| signed.name == name)
        .unwrap_or_else(|| panic!("no request is called {name}"))
}

fn by_crate(path: &str, query: &str, body: &[u8], token: Option<String>, settings: SigningSettings) -> Signed {
    let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    let identity = Credentials::new("AKIDEXAMPLE", secret, token.clone(), None, "a test").into();
    let parameters = v4::SigningParams::builder().identity(&identity).region("eu-central-1").name(SERVICE).time(now());
    let parameters = parameters.settings(settings).build().unwrap().into();
    let question = if query.is_empty() { "" } else { "?" };
    let url = format!("http://kvs.example{path}{question}{query}");
    let plain = [("content-type", "application/json")];
    let signable = SignableRequest::new("POST", &url, plain.into_iter(), SignableBody::Bytes(body)).unwrap();
    let (instructions, _) = sign(signable, &parameters).unwrap().into_parts();
    let mut request = aws_request(&url);
    instructions.apply_to_request_http1x(&mut request);
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    Signed {
        name: "AWS's crate".to_owned(),
        method: "POST".to_owned(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        body: Some(String::from_utf8_lossy(body).into_owned()),
        secret: secret.to_owned(),
        session_token: token,
    }
}

fn aws_request(url: &str) -> http::Request<()> {
    let request = http::Request::post(url).header("host", "kvs.example").header("content-type", "application/json");
    request.body(()).unwrap()
}

impl Signed {
    fn request(&self) -> Request<'_> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        Request { method: &self.method, path: &self.path, query: &self.query, headers: headers.collect() }
    }

    fn claim(&self) -> Result<Claim, ReadError> {
        Claim::read(&self.request())
    }

    fn body(&self) -> Body<'_> {
        self.body.as_ref().map_or(Body::Streamed, |body| Body::Whole(body.as_bytes()))
    }

    /// What is wrong, be it that it can't be read.
    fn verify_at(&self, now: SystemTime) -> Result<(), VerifyError> {
        let unread = |error: ReadError| VerifyError::Payload(error.to_string());
        self.claim().map_err(unread)?.verify(&self.request(), self.body(), self.secret.as_bytes(), SERVICE, now)
    }

    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(header, _)| header == name).map_or("", |(_, value)| value)
    }

    fn set_header(&mut self, name: &str, value: &str) {
        self.headers.retain(|(header, _)| header != name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }
}
