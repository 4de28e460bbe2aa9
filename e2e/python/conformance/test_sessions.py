"""Sessions of playback: GetHLSStreamingSessionURL and GetDASHStreamingSessionURL, and what is behind their addresses, which needs no signature."""

import subprocess
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree

from media import Frame, Session, clip, put_media, write_track
from stage import StreamTest, client

ARCHIVED = "kinesis-video-archived-media"
MPD = "{urn:mpeg:dash:schema:mpd:2011}"
CLIP, FRAMES = "h264-aac.mp4", 250


def fetch(url):
    with urllib.request.urlopen(url, timeout=30) as response:
        return response.headers, response.read()


def text(url):
    return fetch(url)[1].decode()


def addresses(playlist, url):
    """The files that a playlist names, from its own address on."""
    return [urllib.parse.urljoin(url, line) for line in playlist.splitlines() if line and not line.startswith("#")]


def query(url):
    return {name: values[0] for name, values in urllib.parse.parse_qs(urllib.parse.urlsplit(url).query).items()}


def frames(url):
    """How many pictures ffprobe finds, which is to have nothing to complain of."""
    command = ["ffprobe", "-v", "warning", "-select_streams", "v:0", "-count_packets", "-show_entries", "stream=nb_read_packets"]
    probe = subprocess.run([*command, "-of", "csv=p=0", url], capture_output=True, text=True, timeout=120)
    return int(probe.stdout.split()[0].strip(",")), probe.stderr


class SessionTest(StreamTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.kinesis_video.create_stream(StreamName=cls.prefix + "front", DataRetentionInHours=24)
        cls.session = clip(CLIP, start=time.time() - 15)
        acks = put_media(cls.prefix + "front", cls.session.bytes())
        cls.numbers = [ack["FragmentNumber"] for ack in acks if ack["EventType"] == "PERSISTED"]
        cls.times = [cls.session.timecode(place) / 1000 for place in range(len(cls.session.fragments))]

    def setUp(self):
        self.assertEqual(len(self.numbers), len(self.session.fragments))

    def archived(self, stream, api):
        endpoint = self.kinesis_video.get_data_endpoint(StreamName=self.name(stream), APIName=api)["DataEndpoint"]
        return client(ARCHIVED, validates=False, endpoint_url=endpoint)

    def hls(self, stream="front", **arguments):
        archived = self.archived(stream, "GET_HLS_STREAMING_SESSION_URL")
        return archived.get_hls_streaming_session_url(StreamName=self.name(stream), **arguments)["HLSStreamingSessionURL"]

    def dash(self, stream="front", **arguments):
        archived = self.archived(stream, "GET_DASH_STREAMING_SESSION_URL")
        return archived.get_dash_streaming_session_url(StreamName=self.name(stream), **arguments)["DASHStreamingSessionURL"]

    def selector(self, clock="PRODUCER_TIMESTAMP", first=0, last=-1):
        times = {"StartTimestamp": self.times[first], "EndTimestamp": self.times[last]}
        return {"FragmentSelectorType": clock, "TimestampRange": times}

    def refused(self, code, operation, **arguments):
        model = client(ARCHIVED).meta.service_model
        with self.assertRaises(client(ARCHIVED).exceptions.ClientError) as raised:
            operation(**arguments)
        response = raised.exception.response
        self.assertEqual(response["Error"]["Code"], code, response)
        self.assertEqual(response["ResponseMetadata"]["HTTPStatusCode"], model.shape_for(code).metadata["error"]["httpStatusCode"])
        return response["Error"]["Message"]


class Hls(SessionTest):
    def test_on_demand_has_a_playlist_for_each_track_with_all_fragments_in_order(self):
        url = self.hls(PlaybackMode="ON_DEMAND", HLSFragmentSelector=self.selector(), DisplayFragmentTimestamp="ALWAYS")
        master = text(url)
        self.assertIn('CODECS="avc1.', master)
        [sound] = [line.split('URI="')[1].split('"')[0] for line in master.splitlines() if line.startswith("#EXT-X-MEDIA:")]
        [pictures] = addresses(master, url)
        for track, playlist_url in ((1, pictures), (2, urllib.parse.urljoin(url, sound))):
            self.assertEqual(query(playlist_url)["TrackNumber"], str(track))
            playlist = text(playlist_url)
            segments = addresses(playlist, playlist_url)
            self.assertEqual([query(segment)["FragmentNumber"] for segment in segments], self.numbers)
            self.assertIn("#EXT-X-PLAYLIST-TYPE:VOD", playlist)
            self.assertTrue(playlist.rstrip().endswith("#EXT-X-ENDLIST"))
            self.assertEqual(playlist.count("#EXT-X-PROGRAM-DATE-TIME:"), len(segments))
            headers, segment = fetch(segments[0])
            self.assertEqual(headers["Access-Control-Allow-Origin"], "*")
            self.assertIn(b"moof", segment[:200])
        self.assertEqual(frames(url), (FRAMES, ""))

    def test_mpeg_ts_has_one_playlist_for_all_tracks(self):
        url = self.hls(PlaybackMode="ON_DEMAND", ContainerFormat="MPEG_TS", HLSFragmentSelector=self.selector())
        [playlist_url] = addresses(text(url), url)
        segments = addresses(text(playlist_url), playlist_url)
        self.assertEqual(len(segments), len(self.numbers))
        _, segment = fetch(segments[0])
        self.assertEqual((segment[0], len(segment) % 188), (0x47, 0))
        self.assertEqual(frames(url), (FRAMES, ""))

    def test_a_range_has_the_fragments_that_begin_in_it_both_ends_included(self):
        url = self.hls(PlaybackMode="ON_DEMAND", HLSFragmentSelector=self.selector(first=1, last=3))
        [playlist_url] = addresses(text(url), url)
        segments = addresses(text(playlist_url), playlist_url)
        self.assertEqual([query(segment)["FragmentNumber"] for segment in segments], self.numbers[1:4])

    def test_no_more_than_is_asked_for_is_listed(self):
        url = self.hls(PlaybackMode="ON_DEMAND", HLSFragmentSelector=self.selector(), MaxMediaPlaylistFragmentResults=2)
        [playlist_url] = addresses(text(url), url)
        self.assertEqual(len(addresses(text(playlist_url), playlist_url)), 2)

    def test_discontinuities_are_where_they_are_asked_for(self):
        count = len(self.numbers)
        for mode, expected in (("ALWAYS", {count, count + 1}), ("NEVER", {0}), ("ON_DISCONTINUITY", {0})):
            with self.subTest(mode):
                url = self.hls(PlaybackMode="ON_DEMAND", HLSFragmentSelector=self.selector(), DiscontinuityMode=mode)
                [playlist_url] = addresses(text(url), url)
                self.assertIn(text(playlist_url).splitlines().count("#EXT-X-DISCONTINUITY"), expected)

    def test_the_servers_time_and_the_producers_are_different_times(self):
        time.sleep(1)
        now = time.time()
        selector = {"TimestampRange": {"StartTimestamp": now - 3600, "EndTimestamp": now - 0.5}}
        dates = {}
        for clock in ("PRODUCER_TIMESTAMP", "SERVER_TIMESTAMP"):
            url = self.hls(
                PlaybackMode="ON_DEMAND",
                HLSFragmentSelector={**selector, "FragmentSelectorType": clock},
                DisplayFragmentTimestamp="ALWAYS",
            )
            [playlist_url] = addresses(text(url), url)
            lines = text(playlist_url).splitlines()
            dates[clock] = [line.split(":", 1)[1] for line in lines if line.startswith("#EXT-X-PROGRAM-DATE-TIME:")]
            self.assertEqual(len(dates[clock]), len(self.numbers))
        self.assertLess(dates["PRODUCER_TIMESTAMP"][0], dates["SERVER_TIMESTAMP"][0])

    def test_live_shows_the_newest_and_goes_on(self):
        self.create("live", DataRetentionInHours=1)
        put_media(self.name("live"), clip(CLIP, start=time.time() - 15).bytes())
        url = self.hls("live", Expires=43200)
        [playlist_url] = addresses(text(url), url)
        before = addresses(text(playlist_url), playlist_url)
        self.assertTrue(0 < len(before) <= 5)
        self.assertNotIn("#EXT-X-ENDLIST", text(playlist_url))
        acks = put_media(self.name("live"), clip(CLIP, start=time.time() - 4, fragments=2).bytes())
        number = [ack["FragmentNumber"] for ack in acks if ack["EventType"] == "PERSISTED"][-1]
        for _ in range(30):
            after = addresses(text(playlist_url), playlist_url)
            if query(after[-1])["FragmentNumber"] == number:
                break
            time.sleep(0.5)
        self.assertEqual(query(after[-1])["FragmentNumber"], number)
        self.assertLessEqual(len(after), 5)

    def test_a_replay_begins_at_the_start_and_goes_on_with_time(self):
        range = {"StartTimestamp": self.times[0]}
        selector = {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": range}
        url = self.hls(PlaybackMode="LIVE_REPLAY", HLSFragmentSelector=selector, MaxMediaPlaylistFragmentResults=100)
        [playlist_url] = addresses(text(url), url)
        segments = addresses(text(playlist_url), playlist_url)
        self.assertEqual(query(segments[0])["FragmentNumber"], self.numbers[0])
        self.assertLess(len(segments), len(self.numbers))
        time.sleep(10)
        self.assertGreater(len(addresses(text(playlist_url), playlist_url)), len(segments))

    def test_a_token_that_was_changed_is_worth_nothing(self):
        url = self.hls(PlaybackMode="ON_DEMAND", HLSFragmentSelector=self.selector())
        for wrong in (url.replace("SessionToken=", "SessionToken=A"), url[:-8] + "AAAAAAAA"):
            with self.assertRaises(urllib.error.HTTPError) as raised:
                fetch(wrong)
            self.assertIn(raised.exception.code, (400, 401, 403))


class Dash(SessionTest):
    def manifest(self, url):
        return xml.etree.ElementTree.fromstring(text(url))

    def test_on_demand_has_all_fragments_with_their_numbers_and_times(self):
        url = self.dash(
            PlaybackMode="ON_DEMAND",
            DASHFragmentSelector=self.selector(),
            DisplayFragmentNumber="ALWAYS",
            DisplayFragmentTimestamp="ALWAYS",
        )
        manifest = self.manifest(url)
        self.assertEqual(manifest.get("type"), "static")
        sets = manifest.findall(f"{MPD}Period/{MPD}AdaptationSet")
        self.assertEqual(len(sets), 2)
        for each in sets:
            template = each.find(f".//{MPD}SegmentTemplate")
            entries = template.findall(f"{MPD}SegmentTimeline/{MPD}S")
            shown = [{name.split("}")[-1]: value for name, value in entry.attrib.items()} for entry in entries]
            self.assertEqual([entry["fn"] for entry in shown], self.numbers)
            self.assertTrue(all("ts" in entry for entry in shown))
            _, init = fetch(urllib.parse.urljoin(url, template.get("initialization")))
            self.assertIn(b"moov", init)
            first = int(template.get("startNumber", "1"))
            _, segment = fetch(urllib.parse.urljoin(url, template.get("media").replace("$Number$", str(first))))
            self.assertIn(b"moof", segment[:200])
        self.assertEqual(frames(url)[0], FRAMES)

    def test_live_is_dynamic(self):
        self.create("live", DataRetentionInHours=1)
        put_media(self.name("live"), clip(CLIP, start=time.time() - 15).bytes())
        manifest = self.manifest(self.dash("live", MaxManifestFragmentResults=3))
        self.assertEqual(manifest.get("type"), "dynamic")
        [template, _] = manifest.findall(f".//{MPD}SegmentTemplate")
        self.assertLessEqual(len(template.findall(f".//{MPD}S")), 3)


class Refusals(SessionTest):
    def both(self):
        yield self.hls, "HLSFragmentSelector", "MaxMediaPlaylistFragmentResults"
        yield self.dash, "DASHFragmentSelector", "MaxManifestFragmentResults"

    def test_a_stream_that_is_not_there_and_a_range_without_fragments_are_not_found(self):
        archived = self.archived("front", "GET_HLS_STREAMING_SESSION_URL")
        for operation in (archived.get_hls_streaming_session_url, archived.get_dash_streaming_session_url):
            self.refused("ResourceNotFoundException", operation, StreamName=self.name("nowhere"))
        self.create("empty", DataRetentionInHours=1)
        past = {"StartTimestamp": self.times[0] - 7200, "EndTimestamp": self.times[0] - 3600}
        for call, selector, _ in self.both():
            self.refused("ResourceNotFoundException", call, stream="empty")
            selectors = {selector: {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": past}}
            self.refused("ResourceNotFoundException", call, PlaybackMode="ON_DEMAND", **selectors)

    def test_a_stream_that_keeps_nothing_has_no_session(self):
        self.create("nothing-kept", DataRetentionInHours=0)
        for call, _, _ in self.both():
            self.refused("NoDataRetentionException", call, stream="nothing-kept")

    def test_arguments_that_do_not_go_together_are_refused(self):
        now = time.time()
        range = lambda start, end: {"TimestampRange": {"StartTimestamp": start, "EndTimestamp": end}}
        producer = {"FragmentSelectorType": "PRODUCER_TIMESTAMP"}
        for call, selector, _ in self.both():
            for mode, asked in (
                ("ON_DEMAND", None),
                ("LIVE_REPLAY", None),
                ("ON_DEMAND", producer),
                ("ON_DEMAND", {**producer, "TimestampRange": {"StartTimestamp": now - 60}}),
                ("ON_DEMAND", {**producer, **range(now - 30, now - 60)}),
                ("ON_DEMAND", {**producer, **range(now - 90000, now - 60)}),
                ("ON_DEMAND", {"FragmentSelectorType": "SERVER_TIMESTAMP", **range(now - 60, now + 600)}),
                ("LIVE", {**producer, **range(now - 60, now - 30)}),
            ):
                with self.subTest(selector=selector, mode=mode, asked=asked):
                    selectors = {selector: asked} if asked else {}
                    self.refused("InvalidArgumentException", call, PlaybackMode=mode, **selectors)

    def test_numbers_out_of_range_are_refused(self):
        for call, _, results in self.both():
            for name, value in (("Expires", 299), ("Expires", 43201), (results, 0), (results, 5001)):
                with self.subTest(name=name, value=value):
                    self.refused("InvalidArgumentException", call, **{name: value})

    def test_what_can_not_be_decoded_has_no_session(self):
        for code, codec, private in (
            ("UnsupportedStreamMediaTypeException", "V_VP8", b""),
            ("MissingCodecPrivateDataException", "V_MPEG4/ISO/AVC", b""),
            ("InvalidCodecPrivateDataException", "V_MPEG4/ISO/AVC", b"\x00\x00\x00\x01\x67\x64\x00\x0a"),
        ):
            name = code[:11].lower()
            self.create(name, DataRetentionInHours=1)
            frames = [[Frame(1, place * 1000 + at * 100, at == 0, b"\x00\x00\x00\x01\x65") for at in range(10)] for place in range(2)]
            odd = Session([write_track(1, 1, codec, private)], frames, round((time.time() - 5) * 1000))
            acks = put_media(self.name(name), odd.bytes())
            if not any(ack["EventType"] == "PERSISTED" for ack in acks):
                # What is refused when it is put can't be played either.
                self.assertIn("ERROR", [ack["EventType"] for ack in acks])
                continue
            for call, _, _ in self.both():
                with self.subTest(code=code):
                    self.refused(code, call, stream=name)


if __name__ == "__main__":
    unittest.main()
