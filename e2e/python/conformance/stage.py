"""What the tests here stand on: AWS's own client, streams that go away again, and requests that the client would not send.

Nothing in this folder knows whose service it is talking to. Endpoint, region and credentials come from where AWS's clients take them, so that
the same tests can be run against AWS:

    AWS_ENDPOINT_URL=http://127.0.0.1:8080 AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... \\
        python -m unittest discover --start-directory e2e/python/conformance
"""

import http.client
import json
import time
import unittest
import urllib.parse
import uuid

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError


def client(service="kinesisvideo", validates=True, **arguments):
    """AWS's client; one that sends whatever it is given if it does not validate. What is refused is not tried again."""
    config = Config(parameter_validation=validates, retries={"total_max_attempts": 1})
    return boto3.client(service, config=config, **arguments)


def call(path, body, endpoint=None):
    """Sends JSON, or bytes, that no client would let through, signed. Gives status, error name, and the answer."""
    session = boto3.Session()
    endpoint = endpoint or client().meta.endpoint_url
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = AWSRequest("POST", endpoint + path, headers={"Content-Type": "application/json"}, data=data)
    SigV4Auth(session.get_credentials(), "kinesisvideo", session.region_name).add_auth(request)
    url = urllib.parse.urlsplit(endpoint)
    connect = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = connect(url.netloc, timeout=30)
    connection.request("POST", path, data, dict(request.headers))
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, response.headers.get("x-amzn-ErrorType"), json.loads(text) if text else {}


class StreamTest(unittest.TestCase):
    """Makes streams, and deletes them at the end."""

    @classmethod
    def setUpClass(cls):
        cls.kinesis_video = client()
        cls.prefix = f"conformance-{uuid.uuid4().hex[:12]}-"

    @classmethod
    def tearDownClass(cls):
        for stream in cls.listed(cls):
            cls.kinesis_video.delete_stream(StreamARN=stream["StreamARN"])

    def listed(self):
        condition = {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": self.prefix}
        pages = self.kinesis_video.get_paginator("list_streams").paginate(StreamNameCondition=condition)
        return [stream for page in pages for stream in page["StreamInfoList"]]

    def name(self, name):
        return self.prefix + name

    def create(self, name, **arguments):
        """Creates a stream, and gives what is said of it once it can be used."""
        self.kinesis_video.create_stream(StreamName=self.name(name), **arguments)
        for _ in range(60):
            stream = self.describe(name)
            if stream["Status"] == "ACTIVE":
                return stream
            time.sleep(1)
        self.fail(f"{name} is still {stream['Status']}")

    def describe(self, name):
        return self.kinesis_video.describe_stream(StreamName=self.name(name))["StreamInfo"]

    def refused(self, code, operation, **arguments):
        """Calls what must be refused with this error; gives its text."""
        with self.assertRaises(ClientError) as raised:
            operation(**arguments)
        response = raised.exception.response
        self.assertEqual(response["Error"]["Code"], code, response)
        modelled = self.kinesis_video.meta.service_model.shape_for(code).metadata["error"]["httpStatusCode"]
        self.assertEqual(response["ResponseMetadata"]["HTTPStatusCode"], modelled)
        self.assertTrue(response["Error"]["Message"])
        return response["Error"]["Message"]
