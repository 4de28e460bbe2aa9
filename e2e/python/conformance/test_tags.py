"""Tags of streams."""

from stage import StreamTest, call


class Tags(StreamTest):
    def tags(self, name):
        return self.kinesis_video.list_tags_for_stream(StreamName=self.name(name))["Tags"]

    def test_a_stream_is_created_with_its_tags(self):
        self.create("created", Tags={"site": "north", "größe 1:/=+-@_.": ""})
        self.assertEqual(self.tags("created"), {"site": "north", "größe 1:/=+-@_.": ""})
        self.create("none")
        self.assertEqual(self.tags("none"), {})

    def test_tags_are_added_replaced_and_removed(self):
        stream = self.create("tagged", Tags={"a": "1", "b": "2"})
        self.kinesis_video.tag_stream(StreamARN=stream["StreamARN"], Tags={"b": "3", "c": "4"})
        self.assertEqual(self.tags("tagged"), {"a": "1", "b": "3", "c": "4"})
        self.kinesis_video.untag_stream(StreamName=stream["StreamName"], TagKeyList=["a", "unknown"])
        self.assertEqual(self.tags("tagged"), {"b": "3", "c": "4"})
        by_arn = self.kinesis_video.list_tags_for_stream(StreamARN=stream["StreamARN"])
        self.assertEqual(by_arn["Tags"], {"b": "3", "c": "4"})

    def test_a_stream_has_fifty_tags_and_no_more(self):
        fifty = {f"key-{at}": "v" * 256 for at in range(50)}
        self.create("fifty", Tags=fifty)
        self.assertEqual(self.tags("fifty"), fifty)
        self.kinesis_video.tag_stream(StreamName=self.name("fifty"), Tags={"key-0": "another"})
        too_many = "TagsPerResourceExceededLimitException"
        self.refused(too_many, self.kinesis_video.tag_stream, StreamName=self.name("fifty"), Tags={"one": "more"})
        self.assertNotIn("one", self.tags("fifty"))
        self.refused(
            too_many, self.kinesis_video.create_stream, StreamName=self.name("many"), Tags={**fifty, "one": "more"}
        )
        self.refused("ResourceNotFoundException", self.kinesis_video.describe_stream, StreamName=self.name("many"))

    def test_keys_and_values_have_bounds(self):
        self.create("bounds")
        tag = self.kinesis_video.tag_stream
        tag(StreamName=self.name("bounds"), Tags={"k" * 128: "v" * 256})
        for tags in [{"k" * 129: "v"}, {"k": "v" * 257}, {"a,b": "c"}, {"a": "#"}]:
            with self.subTest(tags=tags):
                refused = self.refused("InvalidArgumentException", tag, StreamName=self.name("bounds"), Tags=tags)
                self.assertIn("tags", refused)

    def test_what_is_no_arn_has_an_error_of_its_own(self):
        for operation, arguments in [
            (self.kinesis_video.tag_stream, {"Tags": {"a": "b"}}),
            (self.kinesis_video.untag_stream, {"TagKeyList": ["a"]}),
            (self.kinesis_video.list_tags_for_stream, {}),
        ]:
            self.refused("InvalidResourceFormatException", operation, StreamARN="my-stream", **arguments)

    def test_a_token_that_nobody_gave_out_is_refused(self):
        self.create("token")
        list_tags = self.kinesis_video.list_tags_for_stream
        self.refused("InvalidArgumentException", list_tags, StreamName=self.name("token"), NextToken="YWJj")

    def test_the_largest_request_is_taken(self):
        self.create("largest")
        # Of three bytes each in UTF-8, and six in JSON.
        tags = {f"{at:02}" + "名" * 126: "前" * 256 for at in range(50)}
        status, error, _ = call("/tagStream", {"StreamName": self.name("largest"), "Tags": tags})
        self.assertEqual((status, error), (200, None))
        self.assertEqual(self.tags("largest"), tags)
