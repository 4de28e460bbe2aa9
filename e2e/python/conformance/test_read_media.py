"""What is read of a stream: GetMedia, ListFragments, GetMediaForFragmentList and GetClip."""

import datetime
import hashlib
import json
import pathlib
import subprocess
import tempfile
import threading
import time
import unittest

import media
from media import clip, put_media
from stage import StreamTest, client

FRAGMENTS = 4
LIBRARY = "AWS_KINESISVIDEO_"


def utc(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)


class ReadTest(StreamTest):
    """Puts a clip into a stream, once for all tests of a class."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.media = client("kinesis-video-media")
        cls.archived = client("kinesis-video-archived-media")
        cls.kinesis_video.create_stream(StreamName=cls.prefix + "read", DataRetentionInHours=2)
        # Whole seconds, which all clients can say.
        start = int(time.time()) - 60
        cls.session = clip("h264-aac.mp4", start, fragments=FRAGMENTS)
        tags = {1: [("place", "yard"), ("place", "gate")]}
        cls.acks = put_media(cls.prefix + "read", cls.session.bytes(tags))
        cls.numbers = [ack["FragmentNumber"] for ack in cls.acks if ack["EventType"] == "PERSISTED"]
        cls.wait_for_index()

    @classmethod
    def wait_for_index(cls):
        """What was persisted can be listed a moment later."""
        for _ in range(50):
            selector = {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": cls.range(-10, 600)}
            listed = cls.archived.list_fragments(StreamName=cls.prefix + "read", FragmentSelector=selector)
            if len(listed["Fragments"]) == FRAGMENTS:
                return
            time.sleep(0.2)
        raise AssertionError(f"{len(listed['Fragments'])} of {FRAGMENTS} fragments are listed")

    @classmethod
    def range(cls, start, end):
        """A range of seconds from the beginning of the first fragment."""
        begin = cls.session.start_millis / 1000
        return {"StartTimestamp": utc(begin + start), "EndTimestamp": utc(begin + end)}

    def begins(self):
        """When fragments begin, in seconds from the first."""
        return [(self.session.timecode(place) - self.session.start_millis) / 1000 for place in range(FRAGMENTS)]

    def put(self, name, session, **arguments):
        """A stream of its own with this session."""
        self.create(name, DataRetentionInHours=2)
        acks = put_media(self.name(name), session, **arguments)
        return [ack["FragmentNumber"] for ack in acks if ack["EventType"] == "PERSISTED"]


class GetMedia(ReadTest):
    def get(self, count, name="read", **selector):
        """The first so many fragments, and no more than have come by then."""
        payload = self.media.get_media(StreamName=self.name(name), StartSelector=selector)["Payload"]
        try:
            return read_fragments(payload, count)
        finally:
            payload.close()

    def numbers_of(self, fragments):
        return [fragment.tags[LIBRARY + "FRAGMENT_NUMBER"] for fragment in fragments]

    def test_it_is_webm_as_far_as_the_answer_says(self):
        answer = self.media.get_media(StreamName=self.name("read"), StartSelector={"StartSelectorType": "EARLIEST"})
        self.assertEqual(answer["ContentType"], "video/webm")
        answer["Payload"].close()

    def test_each_fragment_is_a_document_with_the_tags_of_the_service(self):
        for place, fragment in enumerate(self.get(FRAGMENTS, StartSelectorType="EARLIEST")):
            before = [LIBRARY + name for name in ("FRAGMENT_NUMBER", "SERVER_TIMESTAMP", "PRODUCER_TIMESTAMP")]
            own = ["place", "place"] if place == 1 else []
            self.assertEqual([name for name, _ in fragment.before], own + before)
            self.assertEqual([name for name, _ in fragment.behind], [LIBRARY + "MILLIS_BEHIND_NOW", LIBRARY + "CONTINUATION_TOKEN"])
            self.assertEqual(fragment.tags[LIBRARY + "FRAGMENT_NUMBER"], self.numbers[place])
            self.assertEqual(fragment.tags[LIBRARY + "CONTINUATION_TOKEN"], self.numbers[place])
            self.assertEqual(float(fragment.tags[LIBRARY + "PRODUCER_TIMESTAMP"]), self.session.timecode(place) / 1000)
            self.assertRegex(fragment.tags[LIBRARY + "SERVER_TIMESTAMP"], r"^[0-9]{10}\.[0-9]{3}$")
            self.assertGreaterEqual(int(fragment.tags[LIBRARY + "MILLIS_BEHIND_NOW"]), 0)
            self.assertEqual(fragment.timecode, self.session.timecode(place), "as it was sent")

    def test_every_frame_is_as_it_was_put(self):
        for place, fragment in enumerate(self.get(FRAGMENTS, StartSelectorType="EARLIEST")):
            self.assertEqual(fragment.frames, as_put(self.session, place))

    def test_ffmpeg_reads_it_and_finds_every_frame(self):
        fragments = self.get(FRAGMENTS, StartSelectorType="EARLIEST")
        # A Segment behind a Segment of unknown size is not what it expects, and it says so.
        sent = b"".join(fragment.document for fragment in fragments)
        self.assertEqual(packets(sent, "fatal"), hashes(self.session))

    def test_it_begins_where_the_selector_says(self):
        begin = self.session.start_millis / 1000
        second = self.begins()[1]
        for selector, expected in [
            ({"StartSelectorType": "EARLIEST"}, self.numbers[0]),
            ({"StartSelectorType": "NOW"}, self.numbers[-1]),
            ({"StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": self.numbers[1]}, self.numbers[2]),
            ({"StartSelectorType": "CONTINUATION_TOKEN", "ContinuationToken": self.numbers[0]}, self.numbers[1]),
            ({"StartSelectorType": "PRODUCER_TIMESTAMP", "StartTimestamp": utc(int(begin + second + 0.999))}, self.numbers[1]),
            ({"StartSelectorType": "PRODUCER_TIMESTAMP", "StartTimestamp": utc(begin)}, self.numbers[0]),
            ({"StartSelectorType": "SERVER_TIMESTAMP", "StartTimestamp": utc(begin)}, self.numbers[0]),
        ]:
            with self.subTest(**selector):
                self.assertEqual(self.numbers_of(self.get(1, **selector)), [expected])

    def test_what_comes_meanwhile_is_read_too(self):
        self.create("live", DataRetentionInHours=2)
        session = clip("h264-aac.mp4", fragments=2)
        threading.Timer(0.5, put_media, [self.name("live"), session.bytes()]).start()
        fragments = self.get(2, "live", StartSelectorType="NOW")
        for place, fragment in enumerate(fragments):
            self.assertEqual(fragment.frames, as_put(session, place))

    def test_a_stream_without_retention_can_be_read_for_a_while(self):
        self.create("unkept", DataRetentionInHours=0)
        session = clip("h264-aac.mp4", fragments=1)
        acks = put_media(self.name("unkept"), session.bytes())
        self.assertNotIn("PERSISTED", [ack["EventType"] for ack in acks])
        fragment, = self.get(1, "unkept", StartSelectorType="EARLIEST")
        self.assertEqual(fragment.frames, as_put(session, 0))

    def test_what_can_not_be_read_is_refused(self):
        get = self.media.get_media
        self.refused("ResourceNotFoundException", get, StreamName=self.name("absent"), StartSelector={"StartSelectorType": "NOW"})
        for selector in [
            {"StartSelectorType": "FRAGMENT_NUMBER"},
            {"StartSelectorType": "PRODUCER_TIMESTAMP"},
            {"StartSelectorType": "CONTINUATION_TOKEN", "ContinuationToken": "no-token"},
        ]:
            with self.subTest(**selector):
                self.refused("InvalidArgumentException", get, StreamName=self.name("read"), StartSelector=selector)


class ListFragments(ReadTest):
    def list(self, origin="PRODUCER_TIMESTAMP", start=-1, end=600, **arguments):
        selector = {"FragmentSelectorType": origin, "TimestampRange": self.range(start, end)}
        return self.archived.list_fragments(StreamName=self.name("read"), FragmentSelector=selector, **arguments)

    def numbers_of(self, listed):
        return sorted(fragment["FragmentNumber"] for fragment in listed["Fragments"])

    def test_fragments_are_described(self):
        listed = sorted(self.list()["Fragments"], key=lambda fragment: fragment["FragmentNumber"])
        for place, fragment in enumerate(listed):
            self.assertEqual(fragment["FragmentNumber"], self.numbers[place])
            self.assertEqual(round(fragment["ProducerTimestamp"].timestamp() * 1000), self.session.timecode(place))
            self.assertLess(abs(fragment["ServerTimestamp"].timestamp() - time.time()), 120)
            self.assertGreaterEqual(fragment["FragmentSizeInBytes"], sum(len(frame.data) for frame in self.session.fragments[place]))
        for (place, begin), fragment in zip(enumerate(self.begins()[1:]), listed):
            length = round((begin - self.begins()[place]) * 1000)
            self.assertLessEqual(abs(fragment["FragmentLengthInMilliseconds"] - length), 100)

    def test_both_ends_of_the_range_belong_to_it(self):
        self.assertEqual(self.numbers_of(self.list(start=0, end=0)), self.numbers[:1])
        self.assertEqual(self.numbers_of(self.list(start=1, end=600)), [
            number for number, begin in zip(self.numbers, self.begins()) if begin >= 1
        ])
        self.assertEqual(self.numbers_of(self.list(start=-20, end=-1)), [])

    def test_server_time_is_when_it_arrived(self):
        self.assertEqual(self.numbers_of(self.list("SERVER_TIMESTAMP", 0, 600)), self.numbers)
        self.assertEqual(self.numbers_of(self.list("SERVER_TIMESTAMP", -3600, 0)), [])

    def test_pages_have_all_of_it_once(self):
        for size in (1, 2, 3, FRAGMENTS, 1000):
            with self.subTest(size=size):
                pages = [self.list(MaxResults=size)]
                while token := pages[-1].get("NextToken"):
                    pages.append(self.archived.list_fragments(StreamName=self.name("read"), NextToken=token, MaxResults=size))
                self.assertEqual(sorted(number for page in pages for number in self.numbers_of(page)), self.numbers)
        paginator = self.archived.get_paginator("list_fragments")
        selector = {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": self.range(-1, 600)}
        arguments = {"StreamName": self.name("read"), "FragmentSelector": selector, "PaginationConfig": {"PageSize": 1}}
        pages = list(paginator.paginate(**arguments))
        self.assertEqual(sorted(number for page in pages for number in self.numbers_of(page)), self.numbers)

    def test_what_can_not_be_listed_is_refused(self):
        list_fragments = self.archived.list_fragments
        self.refused("InvalidArgumentException", list_fragments, StreamName=self.name("read"))
        self.refused("InvalidArgumentException", list_fragments, StreamName=self.name("read"), NextToken="bm8gdG9rZW4=")
        selector = {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": self.range(1, 0)}
        self.refused("InvalidArgumentException", list_fragments, StreamName=self.name("read"), FragmentSelector=selector)
        selector["TimestampRange"] = self.range(0, 1)
        self.refused("ResourceNotFoundException", list_fragments, StreamName=self.name("absent"), FragmentSelector=selector)


class GetMediaForFragmentList(ReadTest):
    def test_fragments_come_with_their_frames(self):
        asked = [self.numbers[2], self.numbers[0]]
        answer = self.archived.get_media_for_fragment_list(StreamName=self.name("read"), Fragments=asked)
        self.assertEqual(answer["ContentType"], "video/webm")
        fragments = read_fragments(answer["Payload"])
        found = {fragment.tags[LIBRARY + "FRAGMENT_NUMBER"]: fragment for fragment in fragments}
        self.assertEqual(set(found), set(asked))
        for place in (0, 2):
            fragment = found[self.numbers[place]]
            self.assertEqual(fragment.frames, as_put(self.session, place))
            self.assertEqual(float(fragment.tags[LIBRARY + "PRODUCER_SIDE_TIMESTAMP"]), self.session.timecode(place) / 1000)

    def test_what_is_no_list_is_refused(self):
        get = client("kinesis-video-archived-media", validates=False).get_media_for_fragment_list
        for fragments in ([], ["no number"], [self.numbers[0]] * 1001):
            with self.subTest(count=len(fragments)):
                self.refused("InvalidArgumentException", get, StreamName=self.name("read"), Fragments=fragments)
        self.refused("ResourceNotFoundException", get, StreamName=self.name("absent"), Fragments=self.numbers)


class GetClip(ReadTest):
    def get(self, name="read", origin="PRODUCER_TIMESTAMP", **range_):
        selector = {"FragmentSelectorType": origin, "TimestampRange": range_ or self.range(0, 600)}
        return self.archived.get_clip(StreamName=self.name(name), ClipFragmentSelector=selector)

    def test_it_is_an_mp4_with_every_frame(self):
        answer = self.get()
        self.assertEqual(answer["ContentType"], "video/mp4")
        self.assertEqual(packets(answer["Payload"].read()), hashes(self.session))

    def test_it_has_the_fragments_that_begin_in_the_range(self):
        self.assertEqual(packets(self.get(**self.range(0, 1))["Payload"].read()), hashes(self.session, range(1)))
        within = [place for place, begin in enumerate(self.begins()) if begin >= 1]
        self.assertEqual(packets(self.get(**self.range(1, 600))["Payload"].read()), hashes(self.session, within))

    def test_pictures_are_shown_at_the_pace_at_which_they_were_put(self):
        shown = probe(self.get()["Payload"].read(), "v", "pts_time")
        shown = sorted(float(time_) for time_ in shown)
        put = sorted(frame.millis / 1000 for fragment in self.session.fragments for frame in fragment if frame.track == 1)
        for shown, put in zip([each - shown[0] for each in shown], [each - put[0] for each in put]):
            self.assertAlmostEqual(shown, put, delta=0.0015)

    def test_what_makes_no_clip_is_refused(self):
        get = self.archived.get_clip
        arguments = {"StreamName": self.name("read")}

        def refused(code, range_, origin="PRODUCER_TIMESTAMP", **more):
            selector = {"FragmentSelectorType": origin, "TimestampRange": range_}
            self.refused_by_archived(code, get, **{**arguments, "ClipFragmentSelector": selector, **more})

        refused("ResourceNotFoundException", self.range(-20, -10))
        refused("ResourceNotFoundException", self.range(0, 10), StreamName=self.name("absent"))
        refused("InvalidArgumentException", self.range(10, 0))
        refused("InvalidArgumentException", self.range(0, 86_402))
        refused("InvalidArgumentException", self.range(0, 3600), "SERVER_TIMESTAMP")
        self.create("unkept", DataRetentionInHours=0)
        refused("NoDataRetentionException", self.range(0, 10), StreamName=self.name("unkept"))

    def test_media_that_can_not_be_played_are_refused(self):
        start = int(time.time()) - 30
        for name, codec, private, code in [
            ("missing", "V_MPEG4/ISO/AVC", b"", "MissingCodecPrivateDataException"),
            ("invalid", "V_MPEG4/ISO/AVC", b"\x01no record", "InvalidCodecPrivateDataException"),
            ("unsupported", "V_VP9", b"", "UnsupportedStreamMediaTypeException"),
        ]:
            with self.subTest(code=code):
                frames = [media.Frame(1, 40 * at, at == 0, b"frame") for at in range(25)]
                track = media.write_track(1, media.VIDEO, codec, private)
                self.put(name, media.Session([track], [frames], start * 1000).bytes())
                selector = {
                    "FragmentSelectorType": "PRODUCER_TIMESTAMP",
                    "TimestampRange": {"StartTimestamp": utc(start), "EndTimestamp": utc(start + 10)},
                }
                self.refused_by_archived(code, self.archived.get_clip, StreamName=self.name(name), ClipFragmentSelector=selector)

    def refused_by_archived(self, code, operation, **arguments):
        """Errors that are in the model of archived media alone."""
        with self.assertRaises(self.archived.exceptions.from_code(code)) as raised:
            operation(**arguments)
        self.assertTrue(raised.exception.response["Error"]["Message"])


# --- What was sent, taken apart


class Fragment:
    """A document of the answer."""

    def __init__(self, document):
        self.document = document
        self.before, self.behind, self.frames, self.timecode = [], [], {}, None
        ((_, _), (_, segment)) = media.children(document)
        for ident, content in media.children(segment):
            if ident == media.TAGS:
                (self.before if self.timecode is None else self.behind).extend(read_tags(content))
            elif ident == media.CLUSTER:
                self.timecode = media.unsigned(dict(media.children(content))[media.TIMESTAMP])
                for ident, block in media.children(content):
                    if ident == media.SIMPLE_BLOCK:
                        frame = media.read_block(block, self.timecode, False)
                        self.frames.setdefault(frame.track, []).append((frame.millis, frame.data))
        self.tags = dict(self.before + self.behind)


def read_tags(content):
    pairs = []
    for _, tag in media.children(content):
        for ident, simple in media.children(tag):
            if ident == media.SIMPLE_TAG:
                fields = dict(media.children(simple))
                pairs.append((fields[media.TAG_NAME].decode(), fields.get(media.TAG_STRING, b"").decode()))
    return pairs


def read_fragments(payload, count=None):
    """The fragments of an answer: so many, or all. One is whole with the tag that is its last."""
    data = b""
    header = media.EBML.to_bytes(4, "big")
    last = (LIBRARY + "CONTINUATION_TOKEN").encode()
    while count is None or data.count(last) < count:
        piece = payload.read() if count is None else payload._raw_stream.read1(65536)
        if not piece:
            break
        data += piece
    if count is not None:
        # The text of the last tag is behind its name, and short.
        deadline = time.monotonic() + 5
        while len(data) < data.rindex(last) + len(last) + 50 and time.monotonic() < deadline:
            data += payload._raw_stream.read1(65536)
    return [Fragment(header + document) for document in data.split(header)[1:]][:count]


def as_put(session, place):
    """The frames of a fragment by their track."""
    frames = {}
    for frame in session.fragments[place]:
        frames.setdefault(frame.track, []).append((session.start_millis + frame.millis, frame.data))
    return frames


def hashes(session, places=None):
    """Of each frame of these fragments, by its kind."""
    places = range(len(session.fragments)) if places is None else places
    found = {"v": [], "a": []}
    for place in places:
        for frame in session.fragments[place]:
            found["v" if frame.track == 1 else "a"].append("MD5:" + hashlib.md5(frame.data).hexdigest())
    return found


def packets(data, level="error"):
    """Of each packet that ffprobe finds, by its kind."""
    return {kind: probe(data, kind, "data_hash", level) for kind in ("v", "a")}


def probe(data, kind, field, level="error"):
    """What ffprobe says of each packet of a kind, without a word of this level or worse."""
    with tempfile.NamedTemporaryFile() as file:
        pathlib.Path(file.name).write_bytes(data)
        command = ["ffprobe", "-v", level, "-show_data_hash", "md5", "-select_streams", kind, "-show_entries", f"packet={field}", "-of", "json"]
        output = subprocess.run([*command, file.name], check=True, capture_output=True)
    assert not output.stderr, output.stderr
    return [packet[field] for packet in json.loads(output.stdout)["packets"]]


if __name__ == "__main__":
    unittest.main()
