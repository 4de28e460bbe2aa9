"""Who has not signed, or not rightly, is refused."""

import datetime
import http.client
import json
import unittest
import unittest.mock
import urllib.parse

import boto3
import botocore.auth
from botocore.exceptions import ClientError

from stage import client


class Signatures(unittest.TestCase):
    def refused(self, kinesis_video):
        with self.assertRaises(ClientError) as raised:
            kinesis_video.list_streams()
        response = raised.exception.response
        self.assertEqual(response["ResponseMetadata"]["HTTPStatusCode"], 403, response)
        self.assertTrue(response["ResponseMetadata"]["RequestId"])
        return response["Error"]["Code"], response["Error"]["Message"]

    def test_what_is_signed_is_taken(self):
        self.assertIn("StreamInfoList", client().list_streams(MaxResults=1))

    def test_any_region_may_be_signed_for(self):
        endpoint = client().meta.endpoint_url
        if "amazonaws.com" in endpoint:
            self.skipTest("at AWS an endpoint is one region's")
        for region in ["us-west-2", "eu-central-1", "ap-southeast-2"]:
            self.assertIn("StreamInfoList", client(region_name=region, endpoint_url=endpoint).list_streams(MaxResults=1))

    def test_a_wrong_secret_is_refused(self):
        code, _ = self.refused(client(aws_secret_access_key="wrong", aws_access_key_id=boto3.Session().get_credentials().access_key))
        self.assertIn(code, ["SignatureDoesNotMatch", "InvalidSignatureException"])

    def test_an_unknown_key_is_refused(self):
        code, _ = self.refused(client(aws_secret_access_key="wrong", aws_access_key_id="AKIAUNKNOWNUNKNOWN00"))
        self.assertIn(code, ["InvalidClientTokenId", "UnrecognizedClientException"])

    def test_a_session_token_of_another_key_is_refused(self):
        own = boto3.Session().get_credentials()
        stray = {"aws_access_key_id": own.access_key, "aws_secret_access_key": own.secret_key}
        code, _ = self.refused(client(aws_session_token="no token of this key", **stray))
        self.assertIn(code, ["InvalidClientTokenId", "UnrecognizedClientException"])

    def test_a_clock_that_is_off_by_more_than_a_quarter_of_an_hour_is_refused(self):
        for minutes, begins in [(-20, "Signature expired"), (20, "Signature not yet current")]:
            time = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
            with unittest.mock.patch.object(botocore.auth, "get_current_datetime", lambda *_, time=time: time):
                _, message = self.refused(client())
            self.assertTrue(message.startswith(begins), message)
        for minutes in [-10, 10]:
            time = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
            with unittest.mock.patch.object(botocore.auth, "get_current_datetime", lambda *_, time=time: time):
                client().list_streams(MaxResults=1)

    def test_a_request_that_is_changed_on_its_way_is_refused(self):
        def other_body(request, **_):
            request.body = b'{"MaxResults": 2}'
            request.headers["Content-Length"] = str(len(request.body))

        def other_path(request, **_):
            request.url = request.url.replace("/listStreams", "/describeStream")

        def other_type(request, **_):
            request.headers["Content-Type"] = "text/plain"

        def other_signature(request, **_):
            signed = request.headers["Authorization"]
            signed = signed.decode() if isinstance(signed, bytes) else signed
            request.headers["Authorization"] = signed[:-1] + ("0" if signed[-1] != "0" else "1")

        for change in [other_body, other_path, other_type, other_signature]:
            with self.subTest(change=change.__name__):
                kinesis_video = client()
                kinesis_video.meta.events.register("before-send.kinesis-video.ListStreams", change)
                code, _ = self.refused(kinesis_video)
                self.assertIn(code, ["SignatureDoesNotMatch", "InvalidSignatureException"])

    def test_a_request_without_a_signature_is_refused(self):
        url = urllib.parse.urlsplit(client().meta.endpoint_url)
        connect = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = connect(url.netloc, timeout=30)
        connection.request("POST", "/listStreams", b"{}", {"Content-Type": "application/json"})
        response = connection.getresponse()
        self.assertEqual(response.status, 403)
        if "amazonaws.com" not in url.netloc:
            self.assertEqual(response.headers["x-amzn-ErrorType"], "MissingAuthenticationToken")
            self.assertIn("Message", json.loads(response.read()))
        connection.close()

