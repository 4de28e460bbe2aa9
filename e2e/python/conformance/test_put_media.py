"""PutMedia: what a producer sends, and what it hears of it."""

import re
import time
import unittest

import media
from media import END_OF_FRAGMENT, Producer, clip, put_media
from stage import StreamTest

VIDEO_ONLY = [media.write_track(1, media.VIDEO, "V_MPEG4/ISO/AVC")]
BOTH = VIDEO_ONLY + [media.write_track(2, media.AUDIO, "A_AAC")]
NUMBER = re.compile(r"[0-9]{47}")


def now():
    return round(time.time() * 1000)


def cluster(timecode, *tracks):
    """A fragment with a frame for each of these tracks."""
    blocks = [media.write_block(track, at, True, b"frame") for at, track in enumerate(tracks)]
    return media.write_cluster(timecode) + b"".join(blocks)


def kinds(acks):
    return [ack["EventType"] for ack in acks]


class PutMedia(StreamTest):
    def test_each_fragment_is_buffered_received_and_persisted(self):
        self.create("put", DataRetentionInHours=1)
        session = clip("h264-aac.mp4", fragments=8)
        acks = put_media(self.name("put"), session.bytes())
        self.assertEqual(len(acks), 24, acks)
        by_timecode = {}
        for ack in acks:
            self.assertEqual(set(ack), {"EventType", "FragmentTimecode", "FragmentNumber"})
            by_timecode.setdefault(ack["FragmentTimecode"], []).append(ack)
        self.assertEqual(list(by_timecode), [session.timecode(place) for place in range(8)])
        numbers = []
        for of_fragment in by_timecode.values():
            self.assertEqual(kinds(of_fragment), ["BUFFERING", "RECEIVED", "PERSISTED"])
            number, = {ack["FragmentNumber"] for ack in of_fragment}
            self.assertRegex(number, NUMBER)
            numbers.append(number)
        self.assertEqual(sorted(set(numbers)), numbers, "numbers ascend, as texts too")

    def test_what_is_stored_stays_in_order_over_sessions(self):
        self.create("twice", DataRetentionInHours=1)
        numbers = []
        for start in (time.time() - 100, time.time() - 1000):
            acks = put_media(self.name("twice"), clip("h264-bframes.mp4", start, fragments=2).bytes())
            numbers += [ack["FragmentNumber"] for ack in acks if ack["EventType"] == "PERSISTED"]
        self.assertEqual((len(numbers), sorted(numbers)), (4, numbers))

    def test_acks_come_while_the_body_goes_on(self):
        self.create("live", DataRetentionInHours=1)
        session = clip("h264-aac.mp4", fragments=2)
        producer = Producer(self.name("live"))
        self.assertEqual(producer.status(), 200, "before a byte of the body")
        producer.send(session.head() + session.fragment(0))
        self.assertEqual(producer.next()["EventType"], "BUFFERING")
        producer.send(session.fragment(1))
        acks = producer.until("PERSISTED")
        self.assertEqual({ack["FragmentTimecode"] for ack in acks if ack["EventType"] != "BUFFERING"}, {session.timecode(0)})
        # The last one, by the tag that ends it, while the body is still open: kvssink waits for it.
        producer.send(media.write_tags([(END_OF_FRAGMENT, "")]))
        acks = producer.until("PERSISTED")
        self.assertEqual(acks[-1]["FragmentTimecode"], session.timecode(1))
        producer.end()
        self.assertEqual(producer.rest(), [])
        producer.close()

    def test_a_stream_that_is_live_only_hears_nothing_of_the_disk(self):
        self.create("live-only", DataRetentionInHours=0)
        acks = put_media(self.name("live-only"), clip("h264-bframes.mp4", fragments=2).bytes())
        self.assertEqual(sorted(kinds(acks)), ["BUFFERING"] * 2 + ["RECEIVED"] * 2)

    def test_times_may_count_from_the_start_of_the_session(self):
        self.create("relative", DataRetentionInHours=1)
        body = media.write_head(VIDEO_ONLY) + cluster(500, 1) + cluster(2500, 1)
        acks = put_media(self.name("relative"), body, timecodes="RELATIVE", start=f"{time.time() - 60:.3f}")
        self.assertEqual({ack["FragmentTimecode"] for ack in acks}, {500, 2500}, "as the producer counts")
        self.assertEqual(kinds(acks).count("PERSISTED"), 2)

    def test_a_producer_that_wants_no_acks_gets_none(self):
        self.create("mute", DataRetentionInHours=1)
        headers = {"x-amzn-fragment-acknowledgment-required": "0"}
        self.assertEqual(put_media(self.name("mute"), clip("h264-bframes.mp4", fragments=1).bytes(), headers=headers), [])

    def test_streams_are_found_by_their_arn_too(self):
        arn = self.create("by-arn", DataRetentionInHours=1)["StreamARN"]
        producer = Producer(self.name("by-arn"), headers={"x-amzn-stream-name": None, "x-amzn-stream-arn": arn})
        producer.send(clip("h264-bframes.mp4", fragments=1).bytes())
        producer.end()
        self.assertEqual(kinds(producer.rest())[-1], "PERSISTED")
        producer.close()

    def test_what_breaks_the_rules_ends_the_session_with_an_error(self):
        self.create("errors", DataRetentionInHours=1)
        head, start = media.write_head(VIDEO_ONLY), now() - 60_000
        good = head + cluster(start, 1)
        many = [(f"name-{i}", "") for i in range(200)]
        cases = [
            ("TRACK_NUMBER_MISMATCH", 4010, good + cluster(start + 1000, 1, 2), start + 1000),
            ("FRAMES_MISSING_FOR_TRACK", 4011, media.write_head(BOTH) + cluster(start, 1, 2) + cluster(start + 1000, 1), start + 1000),
            ("MORE_THAN_ALLOWED_TRACKS_FOUND", 4012, media.write_head([media.write_track(n, 1, "V_VP9") for n in range(1, 5)]), None),
            ("INVALID_MKV_DATA", 4006, good + cluster(start + 1000, 1) + b"\x00" * 100, start + 1000),
            ("INVALID_MKV_DATA", 4006, good + head, None),
            ("FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS", 4004, good + cluster(start - 1000, 1), start - 1000),
            ("MAX_FRAGMENT_DURATION_REACHED", 4002, good + media.write_block(1, 20_500, False, b"frame"), start),
            ("INVALID_PRODUCER_TIMESTAMP", 4007, head + cluster(now() + 40 * 365 * 86_400_000, 1), None),
            ("FRAGMENT_METADATA_LIMIT_REACHED", 4009, good + media.write_tags(many) + cluster(start + 1000, 1), None),
        ]
        for code, number, body, timecode in cases:
            with self.subTest(code):
                acks = put_media(self.name("errors"), body)
                error = acks[-1]
                self.assertEqual((error["EventType"], error["ErrorId"], error["ErrorCode"]), ("ERROR", number, code), acks)
                self.assertEqual(kinds(acks).count("ERROR"), 1)
                if timecode is not None:
                    self.assertEqual(error["FragmentTimecode"], timecode)
                self.assertGreaterEqual(error.get("FragmentTimecode", 0), 0, "the C SDK can't read a negative one")

    def test_a_relative_session_of_absolute_times_lies_in_the_future(self):
        self.create("future", DataRetentionInHours=1)
        body = media.write_head(VIDEO_ONLY) + cluster(now(), 1)
        acks = put_media(self.name("future"), body, timecodes="RELATIVE")
        self.assertEqual(acks[-1]["ErrorCode"], "INVALID_PRODUCER_TIMESTAMP")

    def test_what_was_whole_before_an_error_is_persisted(self):
        self.create("partly", DataRetentionInHours=1)
        start = now() - 60_000
        body = media.write_head(VIDEO_ONLY) + cluster(start, 1) + cluster(start + 1000, 1) + cluster(start + 2000, 2)
        acks = put_media(self.name("partly"), body)
        self.assertEqual([ack["FragmentTimecode"] for ack in acks if ack["EventType"] == "PERSISTED"], [start, start + 1000])
        self.assertEqual(kinds(acks)[-1], "ERROR")

    def test_a_connection_that_breaks_leaves_no_half_fragment(self):
        self.create("broken", DataRetentionInHours=1)
        session = clip("h264-bframes.mp4", fragments=2)
        producer = Producer(self.name("broken"))
        producer.send(session.head() + session.fragment(0) + session.fragment(1)[:-100])
        producer.until("PERSISTED")
        producer.close()
        acks = put_media(self.name("broken"), clip("h264-bframes.mp4", fragments=1).bytes())
        self.assertEqual(kinds(acks)[-1], "PERSISTED", "and the stream can be sent to again at once")

    def test_a_newer_session_is_taken_beside_an_older_one(self):
        self.create("renewed", DataRetentionInHours=1)
        old = clip("h264-bframes.mp4", time.time() - 100, fragments=1)
        producer = Producer(self.name("renewed"))
        producer.send(old.head() + old.fragment(0))
        producer.until("BUFFERING")
        acks = put_media(self.name("renewed"), clip("h264-bframes.mp4", fragments=1).bytes())
        self.assertEqual(kinds(acks)[-1], "PERSISTED")
        producer.end()
        self.assertEqual(kinds(producer.rest())[-1], "PERSISTED", "the older one gets its last ack")
        producer.close()

    def test_what_is_asked_wrongly_is_refused_by_name(self):
        self.create("asked", DataRetentionInHours=1)
        cases = [
            ({"x-amzn-fragment-timecode-type": None}, "fragmentTimecodeType"),
            ({"x-amzn-fragment-timecode-type": "SOMETIMES"}, "fragmentTimecodeType"),
            ({"x-amzn-producer-start-timestamp": "soon"}, "producerStartTimestamp"),
            ({"x-amzn-stream-name": "not a name"}, "streamName"),
            ({"x-amzn-stream-arn": "arn:aws:s3:::bucket"}, "streamARN"),
            ({"x-amzn-stream-name": None}, "streamName"),
        ]
        for headers, member in cases:
            with self.subTest(headers):
                status, error, message = Producer(self.name("asked"), headers=headers).refused()
                self.assertEqual((status, error), (400, "InvalidArgumentException"), message)
                self.assertIn(member.lower(), message.lower())

    def test_a_stream_that_is_not_there_is_not_found(self):
        self.create("there", DataRetentionInHours=1)
        endpoint = media.put_media_endpoint(self.name("there"))
        status, error, _ = Producer(self.name("nowhere"), endpoint=endpoint).refused()
        self.assertEqual((status, error), (404, "ResourceNotFoundException"))

    def test_silence_is_told_and_ends_the_session(self):
        self.create("silent", DataRetentionInHours=1)
        producer = Producer(self.name("silent"), timeout=60)
        producer.send(media.write_head(VIDEO_ONLY))
        began = time.monotonic()
        acks = producer.rest(timeout=60)
        self.assertEqual(set(kinds(acks)), {"IDLE"})
        self.assertTrue(25 < time.monotonic() - began < 45, "thirty seconds")
        producer.close()


if __name__ == "__main__":
    unittest.main()
