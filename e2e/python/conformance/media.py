"""Media as producers send them: PutMedia, which no SDK for Python has, and sessions made of clips, written as AWS's own producer writes them.

    stream = self.create("front", DataRetentionInHours=2)
    session = clip("h264-aac.mp4")                       # fragments, cut at key frames, the first of them now
    acks = put_media(stream["StreamName"], session.bytes())
    numbers = [ack["FragmentNumber"] for ack in acks if ack["EventType"] == "PERSISTED"]
"""

import dataclasses
import http.client
import json
import pathlib
import queue
import subprocess
import threading
import time
import urllib.parse

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders

from stage import client

CLIPS = pathlib.Path(__file__).parents[3] / "samples/clips"
END_OF_FRAGMENT = "AWS_KINESISVIDEO_END_OF_FRAGMENT"
# As much as libcurl sends at once.
CHUNK_BYTES = 64 * 1024

EBML, SEGMENT, INFO, TRACKS, CLUSTER, TAGS = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675, 0x1254C367
DOC_TYPE, DOC_TYPE_VERSION, DOC_TYPE_READ_VERSION, TIMESTAMP_SCALE, TITLE = 0x4282, 0x4287, 0x4285, 0x2AD7B1, 0x7BA9
TRACK_ENTRY, TRACK_NUMBER, TRACK_TYPE, TRACK_UID, CODEC_ID, CODEC_PRIVATE = 0xAE, 0xD7, 0x83, 0x73C5, 0x86, 0x63A2
TIMESTAMP, POSITION, SIMPLE_BLOCK, BLOCK_GROUP, BLOCK, REFERENCE_BLOCK = 0xE7, 0xA7, 0xA3, 0xA0, 0xA1, 0xFB
TAG, SIMPLE_TAG, TAG_NAME, TAG_STRING = 0x7373, 0x67C8, 0x45A3, 0x4487
VIDEO, AUDIO = 1, 2


# --- PutMedia


class Signer(SigV4Auth):
    """Signs all headers, those of the connection too, as AWS's C SDK does; and a body of no bytes, since it has no end yet."""

    def headers_to_sign(self, request):
        headers = HTTPHeaders()
        for name, value in request.headers.items():
            headers[name.lower()] = value
        if "host" not in headers:
            headers["host"] = urllib.parse.urlsplit(request.url).netloc
        return headers


class Producer:
    """A session of PutMedia. Send to it, and read its acks at the same time."""

    def __init__(self, stream, timecodes="ABSOLUTE", start=None, endpoint=None, headers=(), timeout=30):
        """`headers` replace those that are sent otherwise; None leaves one out."""
        endpoint = endpoint or put_media_endpoint(stream)
        url = urllib.parse.urlsplit(endpoint)
        sent = {
            "user-agent": "AWS-SDK-KVS-CPP-CLIENT/3.6.0/1.6.2 GCC/12.2.0 Linux/6.1.0 x86_64 CPPSDK",
            "x-amzn-stream-name": stream,
            "x-amzn-fragment-timecode-type": timecodes,
            "x-amzn-producer-start-timestamp": str(time.time() if start is None else start),
            "x-amzn-fragment-acknowledgment-required": "1",
            "transfer-encoding": "chunked",
            "connection": "keep-alive",
        }
        sent.update(headers)
        sent = {name: value for name, value in sent.items() if value is not None}
        session = boto3.Session()
        request = AWSRequest("POST", endpoint + "/putMedia", headers=sent)
        Signer(session.get_credentials(), "kinesisvideo", session.region_name).add_auth(request)
        connect = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self.connection = connect(url.netloc, timeout=timeout)
        self.connection.putrequest("POST", "/putMedia", skip_accept_encoding=True)
        for name, value in request.headers.items():
            self.connection.putheader(name, value)
        self.connection.endheaders()
        self.response = None
        self._acks = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def status(self):
        """The answer's status, which is there before the body ends."""
        self._answered()
        return self.response.status

    def refused(self):
        """Status, name and text of an answer that is no session."""
        self._reader.join(30)
        self.close()
        body = json.loads(b"".join(self._body) or b"{}")
        return self.response.status, self.response.headers.get("x-amzn-ErrorType"), body.get("Message")

    def send(self, data):
        """Sends a part of the body, in chunks."""
        for at in range(0, len(data), CHUNK_BYTES):
            piece = data[at : at + CHUNK_BYTES]
            self.connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))

    def end(self):
        """Ends the body."""
        self.connection.send(b"0\r\n\r\n")

    def next(self, timeout=30):
        """The next ack; None at the end of the answer."""
        ack = self._acks.get(timeout=timeout)
        if isinstance(ack, Exception):
            raise ack
        return ack

    def until(self, kind, timeout=30):
        """All acks up to and with the next of this kind."""
        acks = []
        while True:
            ack = self.next(timeout)
            if ack is None:
                raise AssertionError(f"the answer ended without {kind}: {acks}")
            acks.append(ack)
            if ack["EventType"] == kind:
                return acks

    def rest(self, timeout=30):
        """All acks up to the end of the answer."""
        return list(iter(lambda: self.next(timeout), None))

    def close(self):
        self.connection.close()

    def _answered(self):
        deadline = time.monotonic() + 30
        while self.response is None and self._reader.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        if self.response is None:
            raise AssertionError("there is no answer")

    def _read(self):
        self._body = []
        try:
            self.response = self.connection.getresponse()
            if self.response.status != 200:
                self._body.append(self.response.read())
                return self._acks.put(None)
            text = ""
            decoder = json.JSONDecoder()
            while data := self.response.read1(65536):
                text = (text + data.decode()).lstrip()
                while text:
                    try:
                        ack, end = decoder.raw_decode(text)
                    except ValueError:
                        break
                    self._acks.put(ack)
                    text = text[end:].lstrip()
            self._acks.put(None)
        except Exception as error:  # Told to whoever waits for acks.
            self._acks.put(error)


def put_media_endpoint(stream):
    return client().get_data_endpoint(StreamName=stream, APIName="PUT_MEDIA")["DataEndpoint"]


def put_media(stream, body, **arguments):
    """Sends a whole session and gives all its acks. Like kvssink it ends the body when it has heard all of it."""
    producer = Producer(stream, **arguments)
    try:
        producer.send(body)
        producer.end()
        return producer.rest()
    finally:
        producer.close()


# --- Sessions


@dataclasses.dataclass
class Frame:
    track: int
    # From the beginning of the session.
    millis: int
    key: bool
    data: bytes


@dataclasses.dataclass
class Session:
    """A session that is to be put."""

    # Elements, and which of them are video.
    tracks: list
    fragments: list
    start_millis: int

    def bytes(self, tags=None):
        """All of it, as kvssink writes it. `tags` are those of fragments, by their place."""
        tags = tags or {}
        parts = [self.head()]
        for place in range(len(self.fragments)):
            if place in tags:
                parts.append(write_tags(tags[place]))
            parts.append(self.fragment(place))
        return b"".join(parts + [write_tags([(END_OF_FRAGMENT, "")])])

    def head(self):
        """What stands before the first fragment."""
        return write_head(self.tracks)

    def timecode(self, place):
        """When a fragment begins, in ms since 1970."""
        return self.start_millis + min(frame.millis for frame in self.fragments[place])

    def fragment(self, place):
        """A fragment, as a Cluster without an end."""
        timecode = self.timecode(place)
        blocks = [
            write_block(frame.track, self.start_millis + frame.millis - timecode, frame.key, frame.data)
            for frame in self.fragments[place]
        ]
        return write_cluster(timecode) + b"".join(blocks)


def clip(name, start=None, fragments=None):
    """A clip of samples/clips as a session whose first fragment begins at `start`, in seconds, or now less its length: fragments are
    cut at key frames, and sound goes with the pictures of its time."""
    command = ["ffmpeg", "-v", "error", "-i", str(CLIPS / name), "-map", "0:v?", "-map", "0:a?", "-c", "copy", "-f", "matroska", "-"]
    tracks, frames = read_matroska(subprocess.run(command, check=True, capture_output=True).stdout)
    leading = next((number for number, kind, _ in tracks if kind == VIDEO), tracks[0][0])
    borders = [frame.millis for frame in frames if frame.track == leading and frame.key][: (fragments or len(frames)) + 1]
    found = []
    for begin, end in zip(borders, borders[1:] + [None]):
        within = [f for f in frames if (begin <= f.millis or begin == borders[0]) and (end is None or f.millis < end)]
        found.append(within)
    found = found[:fragments]
    first = min(frame.millis for frame in found[0])
    length = max(frame.millis for frame in found[-1]) - first + 1000
    start_millis = round((time.time() - length / 1000 if start is None else start) * 1000)
    for frame in {id(frame): frame for fragment in found for frame in fragment}.values():
        frame.millis -= first
    return Session([entry for _, _, entry in tracks], found, start_millis)


def read_matroska(data):
    """Tracks (number, kind, element) and frames of a whole document, whose scale is a millisecond."""
    tracks, frames, default = [], [], {}
    segment = next(content for ident, content in children(data) if ident == SEGMENT)
    for ident, content in children(segment):
        if ident == TRACKS:
            for _, entry in filter(lambda child: child[0] == TRACK_ENTRY, children(content)):
                fields = dict(children(entry))
                number, kind = unsigned(fields[TRACK_NUMBER]), unsigned(fields[TRACK_TYPE])
                tracks.append((number, kind, write(TRACK_ENTRY, entry)))
                default[number] = kind == AUDIO
        elif ident == CLUSTER:
            timecode = 0
            for ident, content in children(content):
                if ident == TIMESTAMP:
                    timecode = unsigned(content)
                elif ident == SIMPLE_BLOCK:
                    frames.append(read_block(content, timecode, bool(content[3] & 0x80)))
                elif ident == BLOCK_GROUP:
                    fields = list(children(content))
                    key = all(ident != REFERENCE_BLOCK for ident, _ in fields)
                    frames.append(read_block(dict(fields)[BLOCK], timecode, key))
    for frame in frames:
        frame.key = frame.key or default[frame.track]
    return tracks, frames


def read_block(content, timecode, key):
    assert content[0] & 0x80 and not content[3] & 0x06, "small track numbers, and no lacing"
    relative = int.from_bytes(content[1:3], "big", signed=True)
    return Frame(content[0] & 0x7F, timecode + relative, key, content[4:])


def children(data):
    at = 0
    while at < len(data):
        ident, at = number(data, at, keep_marker=True)
        size, at = number(data, at)
        yield ident, data[at : at + size]
        at += size


def number(data, at, keep_marker=False):
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big")
    if not keep_marker:
        value &= 2 ** (7 * length) - 1
        # Unknown: to the end of what there is.
        value = len(data) if value == 2 ** (7 * length) - 1 else value
    return value, at + length


def unsigned(data):
    return int.from_bytes(data, "big")


# --- How kvssink writes: all sizes in eight bytes, but for those that are not known.


def write(ident, content):
    return ident.to_bytes((ident.bit_length() + 7) // 8, "big") + (1 << 56 | len(content)).to_bytes(8, "big") + content


def write_head(tracks):
    ebml = write(DOC_TYPE, b"matroska") + write(DOC_TYPE_VERSION, b"\x02") + write(DOC_TYPE_READ_VERSION, b"\x02")
    info = write(TIMESTAMP_SCALE, (1_000_000).to_bytes(8, "big")) + write(TITLE, b"Kinesis Video SDK")
    segment = SEGMENT.to_bytes(4, "big") + b"\xff"
    return write(EBML, ebml) + segment + write(INFO, info) + write(TRACKS, b"".join(tracks))


def write_track(number, kind, codec, private=b"", settings=b""):
    fields = [(TRACK_NUMBER, bytes([number])), (TRACK_UID, number.to_bytes(8, "big")), (TRACK_TYPE, bytes([kind])), (CODEC_ID, codec.encode())]
    if private:
        fields.append((CODEC_PRIVATE, private))
    return write(TRACK_ENTRY, b"".join(write(ident, content) for ident, content in fields) + settings)


def write_cluster(timecode):
    return CLUSTER.to_bytes(4, "big") + b"\xff" + write(TIMESTAMP, timecode.to_bytes(8, "big")) + write(POSITION, b"\x00")


def write_block(track, relative, key, data):
    return write(SIMPLE_BLOCK, bytes([0x80 | track]) + relative.to_bytes(2, "big", signed=True) + (b"\x80" if key else b"\x00") + data)


def write_tags(pairs):
    simple = (write(TAG_NAME, name.encode()) + write(TAG_STRING, value.encode()) for name, value in pairs)
    return write(TAGS, write(TAG, b"".join(write(SIMPLE_TAG, content) for content in simple)))
