"""Makes requests.json: requests as the clients of Kinesis Video Streams send them, signed by botocore's signer.

    python make.py > requests.json        (botocore comes with e2e/python/requirements.txt)

What boto3 sends is signed as boto3 does it. What other clients sign (design/aws-api.md) is signed by the same signer, told which headers
and which hash of the body to take.
"""

import datetime
import hashlib
import json
import sys

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders, urlsplit
from botocore.credentials import Credentials

NOW = datetime.datetime(2026, 3, 1, 12, 0, 0, tzinfo=datetime.timezone.utc)
STAMP = NOW.strftime("%Y%m%dT%H%M%SZ")
botocore.auth.get_current_datetime = lambda *_: NOW
PLAIN = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
TEMPORARY = Credentials("ASIAEXAMPLE", "temporary/secret", "FwoGZXIvYXdzEBY=/token+with?every&thing=")
EMPTY = hashlib.sha256(b"").hexdigest()
BODY = b'{"StreamName": "front"}'


class Signer(botocore.auth.SigV4Auth):
    """Signs these headers, and takes this for the hash of the body."""

    def __init__(self, credentials, signed, body_hash):
        super().__init__(credentials, "kinesisvideo", "us-west-2")
        self.signed, self.body_hash = signed, body_hash

    def headers_to_sign(self, request):
        headers = HTTPHeaders()
        for name in self.signed:
            headers[name] = request.headers[name]
        return headers

    def payload(self, request):
        return self.body_hash


def boto3(credentials, method="POST", url="http://127.0.0.1:8080/describeStream", body=BODY, headers=()):
    request = AWSRequest(method, url, headers={"Content-Type": "application/json", **dict(headers)}, data=body)
    botocore.auth.SigV4Auth(credentials, "kinesisvideo", "eu-central-1").add_auth(request)
    return request


def presigned(credentials, url, expires=300):
    request = AWSRequest("GET", url)
    botocore.auth.SigV4QueryAuth(credentials, "kinesisvideo", "eu-central-1", expires=expires).add_auth(request)
    return request


def other(path, headers, signed, body_hash, body=BODY, credentials=PLAIN):
    headers = {"X-Amz-Date": STAMP, **headers}
    request = AWSRequest("POST", f"http://{headers['Host']}{path}", headers=headers, data=body)
    request.context["timestamp"] = STAMP
    signer = Signer(credentials, signed, body_hash)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    request.headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders={';'.join(signed)}, "
        f"Signature={signer.signature(text, request)}"
    )
    if credentials.token and "x-amz-security-token" not in signed:
        request.headers["x-amz-security-token"] = credentials.token
    return request


C_AGENT = "AWS-SDK-KVS-CPP-CLIENT/3.6.0/1.6.2 GCC/12.2.0 Linux/6.1.0 x86_64 CPPSDK"
PUT_MEDIA = {
    "connection": "keep-alive",
    "Host": "media.example",
    "transfer-encoding": "chunked",
    "user-agent": C_AGENT,
    "x-amzn-fragment-acknowledgment-required": "1",
    "x-amzn-fragment-timecode-type": "ABSOLUTE",
    "x-amzn-producer-start-timestamp": "1795396142.12",
    "x-amzn-stream-name": "front",
}
JS = {
    "amz-sdk-invocation-id": "9f1c6a8e-54b8-4ad4-a1c0-3d6a8c0b7c11",
    "amz-sdk-request": "attempt=1; max=3",
    "content-length": str(len(BODY)),
    "content-type": "application/json",
    "Host": "127.0.0.1:8080",
    "x-amz-content-sha256": hashlib.sha256(BODY).hexdigest(),
    "x-amz-user-agent": "aws-sdk-js/3.972.0  ua/2.1 os/linux",
}
JS_SIGNED = sorted(name.lower() for name in [*JS, "x-amz-date"])

CASES = {
    "boto3": (boto3(PLAIN), BODY),
    "boto3 with temporary keys": (boto3(TEMPORARY), BODY),
    "boto3 without a body": (boto3(PLAIN, body=b"", url="http://kvs.example/listStreams"), b""),
    "boto3 with a query and an odd path": (
        boto3(PLAIN, "GET", "http://kvs.example/a%20b//c/../d/?b=2&a=%2F&a=1&flag", b"", {"X-Odd": "  two   spaces  "}),
        b"",
    ),
    "boto3, presigned": (presigned(PLAIN, "http://127.0.0.1:8080/?X-Amz-ChannelARN=arn%3Aaws%3Akinesisvideo"), b""),
    "boto3, presigned with temporary keys": (presigned(TEMPORARY, "http://127.0.0.1:8080/", 604800), b""),
    "the C producer SDK, a control call": (
        other(
            "/describeStream",
            {"Host": "127.0.0.1", "content-type": "application/json", "user-agent": C_AGENT},
            ["host", "user-agent", "x-amz-date"],
            hashlib.sha256(BODY).hexdigest(),
        ),
        BODY,
    ),
    "the C producer SDK, a control call with temporary keys": (
        other(
            "/describeStream",
            {"Host": "127.0.0.1", "user-agent": C_AGENT},
            ["host", "user-agent", "x-amz-date"],
            hashlib.sha256(BODY).hexdigest(),
            credentials=TEMPORARY,
        ),
        BODY,
    ),
    "the C producer SDK, PutMedia": (
        other("/putMedia", PUT_MEDIA, sorted(name.lower() for name in [*PUT_MEDIA, "x-amz-date"]), EMPTY),
        None,
    ),
    "the Java producer SDK, PutMedia": (
        other(
            "/putMedia",
            {**PUT_MEDIA, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"},
            ["host", "x-amz-date", "x-amzn-stream-name"],
            "UNSIGNED-PAYLOAD",
        ),
        None,
    ),
    "the JS SDK": (other("/describeStream", JS, JS_SIGNED, JS["x-amz-content-sha256"]), BODY),
    "a body that is not signed": (
        other(
            "/describeStream",
            {**JS, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"},
            JS_SIGNED,
            "UNSIGNED-PAYLOAD",
        ),
        BODY,
    ),
}


def case(name, request, body):
    url = urlsplit(request.url)
    headers = [[key.lower(), value if isinstance(value, str) else value.decode()] for key, value in request.headers.items()]
    if not any(key == "host" for key, _ in headers):
        headers.append(["host", url.netloc])
    temporary = "ASIA" in str(headers) + request.url
    return {
        "name": name,
        "method": request.method,
        "path": url.path,
        "query": url.query,
        "headers": headers,
        # None: it is sent while it is made.
        "body": None if body is None else body.decode(),
        "secret": (TEMPORARY if temporary else PLAIN).secret_key,
        "session_token": TEMPORARY.token if temporary else None,
    }


if __name__ == "__main__":
    json.dump([case(name, request, body) for name, (request, body) in CASES.items()], sys.stdout, indent=1)
    print()
