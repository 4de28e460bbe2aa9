"""GetImages: what may be asked, and what is answered where there is no media."""

import datetime
import time

from botocore.exceptions import ClientError

from stage import StreamTest, client


class Images(StreamTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.create(cls(), "kept", DataRetentionInHours=2)
        cls.create(cls(), "live", DataRetentionInHours=0)
        endpoint = cls.kinesis_video.get_data_endpoint(StreamName=cls.name(cls(), "kept"), APIName="GET_IMAGES")
        cls.media = client("kinesis-video-archived-media", endpoint_url=endpoint["DataEndpoint"])
        cls.unchecked = client("kinesis-video-archived-media", validates=False, endpoint_url=endpoint["DataEndpoint"])
        cls.start = datetime.datetime.fromtimestamp(int(time.time()) - 60, datetime.timezone.utc)

    def asked(self, **changes):
        asked = {
            "StreamName": self.name("kept"),
            "ImageSelectorType": "SERVER_TIMESTAMP",
            "StartTimestamp": self.start,
            "EndTimestamp": self.start + datetime.timedelta(seconds=10),
            "SamplingInterval": 1000,
            "Format": "JPEG",
        }
        asked.update(changes)
        return {name: value for name, value in asked.items() if value is not None}

    def invalid(self, **changes):
        with self.assertRaises(ClientError) as raised:
            self.unchecked.get_images(**self.asked(**changes))
        self.assertIn(raised.exception.response["Error"]["Code"], ["InvalidArgumentException", "ValidationException"])
        return raised.exception.response["Error"]["Message"]

    def test_each_time_without_media_has_an_entry_that_says_so(self):
        for clock in ["SERVER_TIMESTAMP", "PRODUCER_TIMESTAMP"]:
            images = self.media.get_images(**self.asked(ImageSelectorType=clock))["Images"]
            times = [self.start + datetime.timedelta(seconds=second) for second in range(10)]
            self.assertEqual([image["TimeStamp"] for image in images], times)
            self.assertEqual({image["Error"] for image in images}, {"NO_MEDIA"})
            self.assertFalse([image for image in images if image.get("ImageContent")])

    def test_a_range_that_is_shorter_than_the_interval_has_one_entry(self):
        images = self.media.get_images(**self.asked(SamplingInterval=60000))["Images"]
        self.assertEqual([image["TimeStamp"] for image in images], [self.start])

    def test_pages_follow_each_other(self):
        pages = list(self.media.get_paginator("get_images").paginate(**self.asked(MaxResults=4)))
        self.assertEqual([len(page["Images"]) for page in pages], [4, 4, 2])
        self.assertEqual(len({image["TimeStamp"] for page in pages for image in page["Images"]}), 10)
        # More than 25 a page are not given.
        asked = self.asked(SamplingInterval=200, MaxResults=100)
        pages = list(self.media.get_paginator("get_images").paginate(**asked))
        self.assertEqual([len(page["Images"]) for page in pages], [25, 25])

    def test_a_token_of_something_else_is_refused(self):
        self.invalid(NextToken="bm90IG9uZQ==")

    def test_the_range_has_its_bounds(self):
        later = lambda seconds: self.start + datetime.timedelta(seconds=seconds)
        self.media.get_images(**self.asked(EndTimestamp=later(300), SamplingInterval=300000))
        self.invalid(EndTimestamp=later(301))
        self.invalid(EndTimestamp=later(-1))
        self.media.get_images(**self.asked(SamplingInterval=200, MaxResults=1))
        self.invalid(SamplingInterval=199)

    def test_sizes_and_formats_have_their_rules(self):
        for good in [
            {"WidthPixels": 3840, "HeightPixels": 2160},
            {"HeightPixels": 1},
            {"Format": "PNG"},
            {"FormatConfig": {"JPEGQuality": "1"}},
            {"FormatConfig": {"JPEGQuality": "100"}},
        ]:
            self.media.get_images(**self.asked(MaxResults=1, **good))
        for bad in [
            {"WidthPixels": 320},
            {"WidthPixels": 3841, "HeightPixels": 100},
            {"WidthPixels": 0, "HeightPixels": 100},
            {"HeightPixels": 2161},
            {"Format": "GIF"},
            {"Format": None},
            {"FormatConfig": {"JPEGQuality": "0"}},
            {"FormatConfig": {"JPEGQuality": "101"}},
            {"FormatConfig": {"JPEGQuality": "good"}},
            {"FormatConfig": {"Quality": "80"}},
            {"MaxResults": 0},
            {"MaxResults": 101},
            {"ImageSelectorType": "ANY_TIMESTAMP"},
            {"StartTimestamp": None},
            {"StreamName": None},
        ]:
            with self.subTest(**bad):
                self.invalid(**bad)

    def test_a_stream_that_is_not_there_or_keeps_nothing_is_told(self):
        for code, stream in [("ResourceNotFoundException", "other"), ("NoDataRetentionException", "live")]:
            with self.assertRaises(ClientError) as raised:
                self.media.get_images(**self.asked(StreamName=self.name(stream)))
            self.assertEqual(raised.exception.response["Error"]["Code"], code)
