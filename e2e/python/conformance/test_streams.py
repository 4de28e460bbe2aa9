"""Streams: created, described, listed, updated, deleted."""

import datetime
import re

from stage import StreamTest, client

ARN = re.compile(r"arn:aws:kinesisvideo:[a-z0-9-]+:[0-9]{12}:stream/([a-zA-Z0-9_.-]+)/[0-9]+")


class Streams(StreamTest):
    def test_a_stream_is_described_as_it_was_created(self):
        before = datetime.datetime.now(datetime.timezone.utc)
        stream = self.create(
            "whole", DeviceName="Kinesis_Video_Device", MediaType="video/h264,audio/aac", DataRetentionInHours=2
        )
        self.assertEqual(stream["StreamName"], self.name("whole"))
        self.assertEqual(ARN.fullmatch(stream["StreamARN"])[1], self.name("whole"))
        self.assertEqual(stream["DeviceName"], "Kinesis_Video_Device")
        self.assertEqual(stream["MediaType"], "video/h264,audio/aac")
        self.assertEqual(stream["DataRetentionInHours"], 2)
        self.assertRegex(stream["KmsKeyId"], "alias/aws/kinesisvideo$")
        self.assertRegex(stream["Version"], "^[a-zA-Z0-9]{1,64}$")
        self.assertLess(abs(stream["CreationTime"] - before), datetime.timedelta(minutes=1))
        by_arn = self.kinesis_video.describe_stream(StreamARN=stream["StreamARN"])["StreamInfo"]
        self.assertEqual(by_arn, stream)

    def test_nothing_but_a_name_is_needed(self):
        stream = self.create("bare")
        self.assertNotIn("DeviceName", stream)
        self.assertNotIn("MediaType", stream)

    def test_a_name_is_taken_once(self):
        self.create("twice")
        self.refused("ResourceInUseException", self.kinesis_video.create_stream, StreamName=self.name("twice"))

    def test_boundaries_of_what_a_stream_is_created_with(self):
        longest = self.name("n" * (256 - len(self.prefix)))
        create = self.kinesis_video.create_stream
        create(StreamName=longest, DeviceName="d" * 128, MediaType="v/" + "m" * 126, DataRetentionInHours=0)
        stream = self.kinesis_video.describe_stream(StreamName=longest)["StreamInfo"]
        self.assertEqual(stream["DataRetentionInHours"], 0)
        name = self.name("bounds")
        for arguments, member in [
            ({"StreamName": longest + "n"}, "streamName"),
            ({"StreamName": name + " "}, "streamName"),
            ({"StreamName": name, "DeviceName": "d" * 129}, "deviceName"),
            ({"StreamName": name, "MediaType": "video"}, "mediaType"),
            ({"StreamName": name, "MediaType": "v/" + "m" * 127}, "mediaType"),
            ({"StreamName": name, "DataRetentionInHours": 87601}, "dataRetentionInHours"),
            ({"StreamName": name, "StreamStorageConfiguration": {"DefaultStorageTier": "COLD"}}, "defaultStorageTier"),
        ]:
            with self.subTest(arguments=arguments):
                self.assertIn(member, self.refused("InvalidArgumentException", create, **arguments))
        self.refused("ResourceNotFoundException", self.kinesis_video.describe_stream, StreamName=name)

    def test_a_stream_that_is_not_there_is_not_found_by_any_operation(self):
        name, version = self.name("nowhere"), "a" * 20
        arn = f"arn:aws:kinesisvideo:us-east-1:000000000000:stream/{name}/1700000000000"
        for reference in [{"StreamName": name}, {"StreamARN": arn}]:
            for operation, arguments in [
                ("describe_stream", {}),
                ("get_data_endpoint", {"APIName": "PUT_MEDIA"}),
                ("update_stream", {"CurrentVersion": version, "DeviceName": "a"}),
                (
                    "update_data_retention",
                    {"CurrentVersion": version, "Operation": "INCREASE_DATA_RETENTION", "DataRetentionChangeInHours": 1},
                ),
                ("tag_stream", {"Tags": {"a": "b"}}),
                ("untag_stream", {"TagKeyList": ["a"]}),
                ("list_tags_for_stream", {}),
                ("describe_stream_storage_configuration", {}),
                (
                    "update_stream_storage_configuration",
                    {"CurrentVersion": version, "StreamStorageConfiguration": {"DefaultStorageTier": "HOT"}},
                ),
            ]:
                with self.subTest(operation=operation, reference=reference):
                    operation = getattr(self.kinesis_video, operation)
                    self.refused("ResourceNotFoundException", operation, **reference, **arguments)
        self.refused("ResourceNotFoundException", self.kinesis_video.delete_stream, StreamARN=arn)

    def test_a_stream_is_named_by_name_or_arn(self):
        describe = self.kinesis_video.describe_stream
        self.refused("InvalidArgumentException", describe)
        one, other = self.create("one"), self.create("other")
        self.refused("InvalidArgumentException", describe, StreamName=one["StreamName"], StreamARN=other["StreamARN"])
        self.refused("InvalidArgumentException", describe, StreamARN="one")
        self.assertEqual(describe(StreamName=one["StreamName"], StreamARN=one["StreamARN"])["StreamInfo"], one)

    def test_an_update_needs_the_newest_version(self):
        first = self.create("updated", DeviceName="a", MediaType="video/h264")
        update = self.kinesis_video.update_stream
        update(StreamName=first["StreamName"], CurrentVersion=first["Version"], DeviceName="b")
        second = self.describe("updated")
        self.assertEqual((second["DeviceName"], second["MediaType"]), ("b", "video/h264"))
        self.assertNotEqual(second["Version"], first["Version"])
        stale = {"StreamARN": first["StreamARN"], "CurrentVersion": first["Version"], "MediaType": "video/h265"}
        self.refused("VersionMismatchException", update, **stale)
        self.assertEqual(self.describe("updated"), second)
        update(**{**stale, "CurrentVersion": second["Version"]})
        self.assertEqual(self.describe("updated")["MediaType"], "video/h265")

    def test_retention_is_changed_by_a_difference(self):
        stream = self.create("kept", DataRetentionInHours=2)

        def change(operation, hours):
            self.kinesis_video.update_data_retention(
                StreamName=stream["StreamName"],
                CurrentVersion=self.describe("kept")["Version"],
                Operation=operation,
                DataRetentionChangeInHours=hours,
            )
            return self.describe("kept")["DataRetentionInHours"]

        self.assertEqual(change("INCREASE_DATA_RETENTION", 22), 24)
        self.assertEqual(change("DECREASE_DATA_RETENTION", 23), 1)
        self.assertEqual(change("DECREASE_DATA_RETENTION", 1), 0)
        self.assertEqual(change("INCREASE_DATA_RETENTION", 3), 3)
        for operation, hours in [("DECREASE_DATA_RETENTION", 4), ("INCREASE_DATA_RETENTION", 87600)]:
            refused = self.refused("InvalidArgumentException", lambda: change(operation, hours))
            self.assertIn("dataRetention", refused)
        self.refused(
            "VersionMismatchException",
            self.kinesis_video.update_data_retention,
            StreamName=stream["StreamName"],
            CurrentVersion=stream["Version"],
            Operation="INCREASE_DATA_RETENTION",
            DataRetentionChangeInHours=1,
        )

    def test_a_deleted_stream_is_gone_and_its_name_is_free(self):
        first = self.create("deleted")
        delete = self.kinesis_video.delete_stream
        self.refused(
            "VersionMismatchException", delete, StreamARN=first["StreamARN"], CurrentVersion="a" + first["Version"][1:][::-1]
        )
        delete(StreamARN=first["StreamARN"], CurrentVersion=first["Version"])
        self.refused("ResourceNotFoundException", self.kinesis_video.describe_stream, StreamName=first["StreamName"])
        self.refused("ResourceNotFoundException", delete, StreamARN=first["StreamARN"])
        second = self.create("deleted")
        self.assertNotEqual(second["StreamARN"], first["StreamARN"])
        self.refused("ResourceNotFoundException", delete, StreamARN=first["StreamARN"])
        delete(StreamARN=second["StreamARN"])

    def test_storage_tiers_are_kept(self):
        stream = self.create("tier", StreamStorageConfiguration={"DefaultStorageTier": "WARM"})
        describe = self.kinesis_video.describe_stream_storage_configuration
        self.assertEqual(describe(StreamName=stream["StreamName"])["StreamStorageConfiguration"], {"DefaultStorageTier": "WARM"})
        update = {
            "StreamARN": stream["StreamARN"],
            "CurrentVersion": stream["Version"],
            "StreamStorageConfiguration": {"DefaultStorageTier": "HOT"},
        }
        self.kinesis_video.update_stream_storage_configuration(**update)
        described = describe(StreamARN=stream["StreamARN"])
        self.assertEqual(described["StreamStorageConfiguration"], {"DefaultStorageTier": "HOT"})
        self.assertEqual((described["StreamName"], described["StreamARN"]), (stream["StreamName"], stream["StreamARN"]))
        self.refused("VersionMismatchException", self.kinesis_video.update_stream_storage_configuration, **update)
        self.create("hot")
        self.assertEqual(
            describe(StreamName=self.name("hot"))["StreamStorageConfiguration"], {"DefaultStorageTier": "HOT"}
        )

    def test_endpoints_take_a_path_behind_them(self):
        stream = self.create("endpoint")
        shape = self.kinesis_video.meta.service_model.operation_model("GetDataEndpoint").input_shape
        for name in shape.members["APIName"].enum:
            endpoint = self.kinesis_video.get_data_endpoint(StreamName=stream["StreamName"], APIName=name)["DataEndpoint"]
            self.assertRegex(endpoint, r"^https?://[^/]+$", name)
        refused = self.refused(
            "InvalidArgumentException", self.kinesis_video.get_data_endpoint, StreamName=stream["StreamName"], APIName="PUT"
        )
        self.assertIn("PUT_MEDIA", refused)
        # Whatever is asked for next, at that address.
        self.assertTrue(client("kinesis-video-media", endpoint_url=endpoint).meta.endpoint_url)


class Lists(StreamTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.names = {cls.prefix + name for name in ["a1", "a2", "a3", "b1", "b2"]}
        for name in cls.names:
            cls.kinesis_video.create_stream(StreamName=name)

    def page(self, **arguments):
        condition = {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": self.prefix}
        return self.kinesis_video.list_streams(**{"StreamNameCondition": condition, **arguments})

    def test_pages_hold_every_stream_once(self):
        for size in [1, 2, 3, 5, 6, 10_000]:
            names, token = [], {}
            while True:
                page = self.page(MaxResults=size, **token)
                self.assertLessEqual(len(page["StreamInfoList"]), size)
                names += [stream["StreamName"] for stream in page["StreamInfoList"]]
                if "NextToken" not in page:
                    break
                self.assertRegex(page["NextToken"], "^[a-zA-Z0-9+/=]{1,1024}$")
                token = {"NextToken": page["NextToken"]}
            self.assertEqual(sorted(names), sorted(self.names), size)

    def test_a_condition_is_what_names_begin_with(self):
        condition = {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": self.name("b")}
        found = self.page(StreamNameCondition=condition)["StreamInfoList"]
        self.assertEqual({stream["StreamName"] for stream in found}, {self.name("b1"), self.name("b2")})
        condition["ComparisonValue"] = self.name("c")
        self.assertEqual(self.page(StreamNameCondition=condition)["StreamInfoList"], [])

    def test_streams_are_listed_as_they_are_described(self):
        for stream in self.listed():
            self.assertEqual(stream, self.kinesis_video.describe_stream(StreamName=stream["StreamName"])["StreamInfo"])

    def test_what_is_asked_for_has_bounds(self):
        for arguments, member in [
            ({"MaxResults": 0}, "maxResults"),
            ({"MaxResults": 10_001}, "maxResults"),
            ({"NextToken": "no token"}, "nextToken"),
            ({"NextToken": "a" * 1025}, "nextToken"),
            ({"NextToken": "bm8gdG9rZW4="[:-2]}, "nextToken"),
            ({"StreamNameCondition": {"ComparisonOperator": "ENDS_WITH", "ComparisonValue": "a"}}, "comparisonOperator"),
            ({"StreamNameCondition": {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "a b"}}, "comparisonValue"),
        ]:
            with self.subTest(arguments=arguments):
                refused = self.refused("InvalidArgumentException", client(validates=False).list_streams, **arguments)
                self.assertIn(member, refused)
