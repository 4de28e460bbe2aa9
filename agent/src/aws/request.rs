//! The head of a PutMedia request, signed, and what AWS says when it does not take it.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use fragment::WallTime;
use http::{HeaderMap, Request, Uri, header};

use super::error::OpenError;
use super::keys::chain;
use super::time;
use crate::VERSION;

const OPERATION: &str = "PutMedia";
const SERVICE: &str = "kinesisvideo";

/// Where to, and as whom.
pub(super) struct Target<'a> {
    pub(super) endpoint: &'a str,
    pub(super) region: &'a str,
    /// By its name at AWS.
    pub(super) stream: &'a str,
    pub(super) credentials: &'a Credentials,
    pub(super) now: WallTime,
}

/// The signed head. The signature does not cover the body, which has no end yet; TLS does.
pub(super) fn signed<B>(target: &Target<'_>, body: B) -> Result<Request<B>, OpenError> {
    let unsigned = |why: String| OpenError::Answer { operation: OPERATION, why };
    let millis = target.now.as_millis().max(0);
    let start = format!("{}.{:03}", millis / 1000, millis % 1000);
    let headers = [
        ("x-amzn-stream-name", target.stream),
        ("x-amzn-fragment-timecode-type", "ABSOLUTE"),
        ("x-amzn-producer-start-timestamp", start.as_str()),
        ("x-amzn-fragment-acknowledgment-required", "1"),
    ];
    let url = format!("{}/putMedia", target.endpoint);
    let authority = url.parse::<Uri>().ok().and_then(|uri| uri.authority().map(ToString::to_string));
    let authority = authority.ok_or_else(|| unsigned(format!("{url:?} is no address")))?;

    let mut request = Request::post("/putMedia")
        .header(header::HOST, authority)
        .header(header::USER_AGENT, format!("millrace-agent/{VERSION}"));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let mut request = request.body(body).map_err(|error| unsigned(error.to_string()))?;

    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity = target.credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(target.region)
        .name(SERVICE)
        .time(time::to_system(target.now))
        .settings(settings)
        .build()
        .map_err(|error| unsigned(chain(&error)))?
        .into();
    let signable = SignableRequest::new("POST", &url, headers.into_iter(), SignableBody::UnsignedPayload);
    let signed = signable.and_then(|signable| sign(signable, &params)).map_err(|error| unsigned(chain(&error)))?;
    signed.into_parts().0.apply_to_request_http1x(&mut request);
    Ok(request)
}

/// What AWS says instead of beginning a session.
pub(super) fn refusal(stream: &str, status: u16, headers: &HeaderMap, body: &[u8]) -> OpenError {
    let named = headers.get("x-amzn-errortype").and_then(|name| name.to_str().ok());
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |keys: &[&str]| keys.iter().find_map(|key| json.get(*key)?.as_str()).map(str::to_owned);
    let code = named.map(str::to_owned).or_else(|| text(&["__type", "code", "Code"]));
    // It may come with a name space in front and an address behind.
    let code =
        code.map(|code| code.split(':').next().unwrap_or_default().rsplit('#').next().unwrap_or_default().to_owned());
    OpenError::Refused {
        operation: OPERATION,
        stream: stream.to_owned(),
        code: code.filter(|code| !code.is_empty()).unwrap_or_else(|| format!("status {status}")),
        message: text(&["Message", "message"]).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_in_all_the_forms_that_aws_has_for_it() {
        for (name, body, code, message) in [
            (Some("ResourceNotFoundException"), r#"{"Message":"gone"}"#, "ResourceNotFoundException", "gone"),
            (Some("InvalidEndpointException:http://x"), "", "InvalidEndpointException", ""),
            (
                None,
                r##"{"__type":"com.amazonaws#ExpiredTokenException","message":"old"}"##,
                "ExpiredTokenException",
                "old",
            ),
            (None, "<html>", "status 403", ""),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(name) = name {
                headers.insert("x-amzn-errortype", name.parse().unwrap());
            }
            let OpenError::Refused { code: c, message: m, .. } = refusal("front", 403, &headers, body.as_bytes())
            else {
                panic!("refused");
            };
            assert_eq!((c.as_str(), m.as_str()), (code, message));
        }
    }

    #[test]
    fn a_request_is_signed_with_its_session_token_and_shows_no_secret() {
        let credentials = Credentials::new("AKID", "hush", Some("token".to_owned()), None, "test");
        let target = Target {
            endpoint: "https://s-1.kinesisvideo.eu-central-1.amazonaws.com",
            region: "eu-central-1",
            stream: "front",
            credentials: &credentials,
            now: WallTime::from_millis(1_700_000_000_012),
        };
        let request = signed(&target, ()).unwrap();
        let header = |name: &str| request.headers()[name].to_str().unwrap();
        assert_eq!(header("host"), "s-1.kinesisvideo.eu-central-1.amazonaws.com");
        assert_eq!(header("x-amzn-producer-start-timestamp"), "1700000000.012");
        assert_eq!(header("x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
        assert_eq!(header("x-amz-security-token"), "token");
        let signature = header("authorization");
        assert!(signature.contains("Credential=AKID/20231114/eu-central-1/kinesisvideo/aws4_request"), "{signature}");
        assert!(signature.contains("host;") && signature.contains("x-amz-security-token"), "{signature}");
        assert!(!format!("{:?}", request.headers()).contains("hush"));
    }
}
