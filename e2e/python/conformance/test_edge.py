"""Edge configurations: what is refused, and, with a device and a secret, what is told of one.

What needs a device runs where these say which: EDGE_HUB_DEVICE_ARN, a thing that is an edge agent, and EDGE_MEDIA_URI_SECRET_ARN, a secret
with the address of a camera.
"""

import os
import time
import unittest

from botocore.exceptions import ClientError

from stage import StreamTest, client

HUB = os.environ.get("EDGE_HUB_DEVICE_ARN")
SECRET = os.environ.get("EDGE_MEDIA_URI_SECRET_ARN")
OTHER_HUB = "arn:aws:iot:us-west-2:000000000000:thing/nobody"
OTHER_SECRET = "arn:aws:secretsmanager:us-west-2:000000000000:secret:nothing"


def config(hub=HUB or OTHER_HUB, secret=SECRET or OTHER_SECRET, kind="RTSP_URI", **more):
    source = {"MediaUriSecretArn": secret, "MediaUriType": kind}
    return {"HubDeviceArn": hub, "RecorderConfig": {"MediaSourceConfig": source}, **more}


def schedule(expression="0 0 19,20 ? * * *", seconds=3600):
    return {"ScheduleConfig": {"ScheduleExpression": expression, "DurationInSeconds": seconds}}


class Edge(StreamTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.unchecked = client(validates=False)
        cls.create(cls(), "kept", DataRetentionInHours=2)
        cls.create(cls(), "live", DataRetentionInHours=0)

    def test_a_stream_without_one_is_told(self):
        for operation in [self.kinesis_video.describe_edge_configuration, self.kinesis_video.delete_edge_configuration]:
            self.refused("StreamEdgeConfigurationNotFoundException", operation, StreamName=self.name("kept"))
            self.refused("ResourceNotFoundException", operation, StreamName=self.name("other"))

    def test_a_stream_that_keeps_nothing_can_have_none(self):
        start = self.kinesis_video.start_edge_configuration_update
        self.refused("NoDataRetentionException", start, StreamName=self.name("live"), EdgeConfig=config())
        self.refused("ResourceNotFoundException", start, StreamName=self.name("other"), EdgeConfig=config())

    def test_rules_are_held(self):
        for bad in [
            None,
            {},
            config(hub="arn:aws:iot:us-west-2:000000000000:cert/a"),
            config(secret="arn:aws:iot:us-west-2:000000000000:secret:a"),
            config(kind="HTTP_URI"),
            config(UploaderConfig={}),
            config(UploaderConfig=schedule(seconds=59)),
            config(UploaderConfig=schedule(seconds=3601)),
            config(UploaderConfig=schedule(expression="0 0 9 ?")),
            config(UploaderConfig=schedule(expression="not a schedule at all")),
            config(DeletionConfig={"EdgeRetentionInHours": 0}),
            config(DeletionConfig={"EdgeRetentionInHours": 721}),
            config(DeletionConfig={"LocalSizeConfig": {"MaxLocalMediaSizeInMB": 63}}),
            config(DeletionConfig={"LocalSizeConfig": {"MaxLocalMediaSizeInMB": 2000001}}),
            config(DeletionConfig={"LocalSizeConfig": {"StrategyOnFullSize": "SHRUG"}}),
            config(DeletionConfig={"DeleteAfterUpload": "maybe"}),
        ]:
            with self.subTest(bad=bad), self.assertRaises(ClientError) as raised:
                self.unchecked.start_edge_configuration_update(StreamName=self.name("kept"), EdgeConfig=bad)
            self.assertIn(raised.exception.response["Error"]["Code"], ["InvalidArgumentException", "SerializationException"])

    def test_a_hub_without_configurations_has_an_empty_list(self):
        listed = self.kinesis_video.list_edge_agent_configurations(HubDeviceArn=OTHER_HUB)
        self.assertEqual((listed["EdgeConfigs"], listed.get("NextToken")), ([], None))
        for bad in [{"MaxResults": 0}, {"MaxResults": 11}, {"HubDeviceArn": "nobody"}, {"HubDeviceArn": None}]:
            with self.subTest(**bad), self.assertRaises(ClientError) as raised:
                self.unchecked.list_edge_agent_configurations(**{"HubDeviceArn": OTHER_HUB, **bad})
            self.assertEqual(raised.exception.response["Error"]["Code"], "InvalidArgumentException")

    @unittest.skipUnless(HUB and SECRET, "needs a device")
    def test_what_is_not_known_is_refused(self):
        start = self.kinesis_video.start_edge_configuration_update
        for unknown in [config(hub=OTHER_HUB), config(secret=OTHER_SECRET)]:
            self.refused("InvalidArgumentException", start, StreamName=self.name("kept"), EdgeConfig=unknown)

    @unittest.skipUnless(HUB and SECRET, "needs a device")
    def test_configurations_are_told_as_they_were_given_and_listed_in_pages(self):
        full = config(
            UploaderConfig=schedule(),
            DeletionConfig={
                "EdgeRetentionInHours": 48,
                "LocalSizeConfig": {"MaxLocalMediaSizeInMB": 2000, "StrategyOnFullSize": "DELETE_OLDEST_MEDIA"},
                "DeleteAfterUpload": True,
            },
        )
        names = [f"edge-{at}" for at in range(3)]
        for name in names:
            self.create(name, DataRetentionInHours=2)
            started = self.kinesis_video.start_edge_configuration_update(StreamName=self.name(name), EdgeConfig=full)
            self.assertEqual((started["StreamName"], started["EdgeConfig"]), (self.name(name), full))
            self.assertIn(started["SyncStatus"], ["SYNCING", "ACKNOWLEDGED", "IN_SYNC"])
            self.assertLess(abs(started["CreationTime"].timestamp() - time.time()), 60)
        described = self.kinesis_video.describe_edge_configuration(StreamName=self.name(names[0]))
        self.assertEqual(described["EdgeConfig"], full)
        # It is on its way to the device, which may not be there.
        if described["SyncStatus"] in ["SYNCING", "ACKNOWLEDGED"]:
            start = self.kinesis_video.start_edge_configuration_update
            self.refused("ResourceInUseException", start, StreamName=self.name(names[0]), EdgeConfig=full)
        pages = self.kinesis_video.get_paginator("list_edge_agent_configurations")
        pages = list(pages.paginate(HubDeviceArn=HUB, PaginationConfig={"PageSize": 2}))
        listed = [each["StreamName"] for page in pages for each in page["EdgeConfigs"]]
        self.assertLessEqual({self.name(name) for name in names}, set(listed))
        self.assertTrue(all(len(page["EdgeConfigs"]) <= 2 for page in pages))
        for name in names:
            self.kinesis_video.delete_edge_configuration(StreamName=self.name(name))
            describe = self.kinesis_video.describe_edge_configuration
            self.refused("StreamEdgeConfigurationNotFoundException", describe, StreamName=self.name(name))


if __name__ == "__main__":
    unittest.main()
