//! A device's certificate against temporary keys, as clients of AWS IoT's credential provider trade it: curl, which the C SDK is
//! built on, and Python's TLS, with AWS's own SDK for what the keys are good for.

use std::path::Path;
use std::process::{Command, Output};

use e2e::{Agent, Server, python};
use serde_json::Value;

#[test]
fn a_device_fetches_keys_with_its_certificate_and_calls_with_them_until_it_is_revoked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = e2e::free_port();
    let provider = format!("127.0.0.1:{port}");
    let server = Server::start_serving(folder.path(), &["--credentials", &provider], &[]);
    let device = folder.path().join("device");
    let agent = Agent::enrolled(&device, &server);
    let joined = agent.once(&e2e::clip("h264-aac.mp4"), "yard");
    assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
    // Its certificate stays as it is.
    server.admin(&["device", "add", "e2e-device", "--stream", "front"]);

    let answer = fetch(&provider, &agent.state(), &[]);
    let credentials: Value = serde_json::from_slice(&answer.stdout).expect("the answer is JSON");
    let text = |name: &str| credentials["credentials"][name].as_str().expect("it is a text").to_owned();
    let environment = [
        ("AWS_ENDPOINT_URL", server.address("")),
        ("AWS_DEFAULT_REGION", "us-west-2".to_owned()),
        ("AWS_ACCESS_KEY_ID", text("accessKeyId")),
        ("AWS_SECRET_ACCESS_KEY", text("secretAccessKey")),
        ("AWS_SESSION_TOKEN", text("sessionToken")),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value));
    python(&["-c", PRODUCES], &environment);

    assert!(!fetch(&provider, folder.path(), &[]).status.success(), "without a certificate");
    server.admin(&["device", "revoke", "e2e-device"]);
    let refused = fetch(&provider, &agent.state(), &["--write-out", "%{http_code}"]);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(said.contains("e2e-device was revoked") && said.ends_with("403"), "{said}");
    python(&["-c", IS_REFUSED], &environment);
}

/// What a producer does at its start, and that it may do no more.
const PRODUCES: &str = "
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
video = boto3.client('kinesisvideo', config=Config(retries={'total_max_attempts': 1}))
video.create_stream(StreamName='front', DataRetentionInHours=2)
assert video.describe_stream(StreamName='front')['StreamInfo']['Status'] == 'ACTIVE'
assert video.get_data_endpoint(StreamName='front', APIName='PUT_MEDIA')['DataEndpoint']
for operation, arguments in [
    (video.list_streams, {}),
    (video.create_stream, {'StreamName': 'back'}),
    (video.delete_stream, {'StreamARN': video.describe_stream(StreamName='front')['StreamInfo']['StreamARN']}),
]:
    try:
        operation(**arguments)
    except ClientError as refused:
        assert refused.response['Error']['Code'] == 'AccessDeniedException', refused
    else:
        raise AssertionError(f'a producer of another stream may {operation}')
";

const IS_REFUSED: &str = "
import boto3
from botocore.exceptions import ClientError
try:
    boto3.client('kinesisvideo').describe_stream(StreamName='front')
except ClientError as refused:
    assert refused.response['Error']['Code'] == 'InvalidClientTokenId', refused
    assert 'revoked' in refused.response['Error']['Message'], refused
else:
    raise AssertionError('the key of a revoked device is taken')
";

/// Asks as the C SDK does, with the identity in an agent's state folder, if there is one.
fn fetch(provider: &str, state: &Path, more: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "10", "--header", "x-amzn-iot-thingname: front"]);
    if state.join("cert.pem").exists() {
        let (certificate, key) = (state.join("cert.pem"), state.join("key.pem"));
        command.arg("--cacert").arg(state.join("ca.pem")).arg("--cert").arg(certificate).arg("--key").arg(key);
    } else {
        command.arg("--insecure");
    }
    let url = format!("https://{provider}/role-aliases/camera/credentials");
    command.args(more).arg(url).output().expect("curl can be run")
}
