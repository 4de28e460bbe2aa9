"""A stand-in for Kinesis Video Streams, for tests: describeStream, createStream, getDataEndpoint and putMedia.

Signatures are verified by botocore's own signer, which shares no code with the agent's. Bodies are walked element by element and
held to AWS's rules, and each fragment is stored as a file before it is acknowledged:

    FOLDER/<stream>/<fragment number>.mkv

It can be told to misbehave, and what it saw can be asked for:

    POST /_tell     {"faults": [...], "down": false, "hold_acks": false, "credentials": 2, "skew": 0}
    GET  /_seen     {"calls": [...], "sessions": [...], "fragments": [...], "faults": LEFT}
    GET  /_credentials   what a container's credential endpoint gives

Each session takes the first of the faults: {"refuse": "X"}, {"close_after": BYTES}, {"error": 4503, "code": "X"} at the end of its first
fragment, or null for none.
"""

import argparse
import asyncio
import datetime
import email.utils
import hashlib
import json
import pathlib
import re
import secrets
import ssl
import time

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

REGION = "eu-central-1"
STATIC = ("AKIDSTATIC", "static-secret", None)

EBML, SEGMENT, INFO, TRACKS, CLUSTER, TAGS = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675, 0x1254C367
TIMESTAMP, SIMPLE_BLOCK, TRACK_ENTRY, TRACK_NUMBER = 0xE7, 0xA3, 0xAE, 0xD7
TAG, SIMPLE_TAG, TAG_NAME = 0x7373, 0x67C8, 0x45A3
END_OF_FRAGMENT = "AWS_KINESISVIDEO_END_OF_FRAGMENT"


class Refused(Exception):
    def __init__(self, code, message, status=403):
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


class FragmentError(Exception):
    def __init__(self, number, code):
        super().__init__(code)
        self.number, self.code = number, code


class Verifier(SigV4Auth):
    """botocore's signer, made to sign what the caller says that it signed."""

    def __init__(self, credentials, signed, body):
        super().__init__(credentials, "kinesisvideo", REGION)
        self.signed, self.body = signed, body

    def headers_to_sign(self, request):
        headers = HTTPHeaders()
        for name in self.signed:
            headers[name] = request.headers[name]
        return headers

    def payload(self, request):
        return hashlib.sha256(self.body).hexdigest()


class Service:
    def __init__(self, folder, endpoint):
        self.folder, self.endpoint = folder, endpoint
        self.streams, self.open = {}, {}
        self.calls, self.sessions, self.fragments = [], [], []
        self.faults, self.down, self.hold_acks = [], False, False
        self.credentials, self.skew = 1, 0
        self.number = 2**156
        self.writers = set()

    def now(self):
        return time.time() + self.skew

    def temporary(self, number):
        return (f"ASIATEMPORARY{number}", f"secret-{number}", f"token-{number}")

    def verify(self, method, path, headers, body):
        """Raises unless the request was signed by someone who is known, now, and with this region."""
        match = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]+)",
            headers.get("authorization", ""),
        )
        if not match:
            raise Refused("MissingAuthenticationToken", "Missing Authentication Token")
        key, day, region, service, signed, signature = match.groups()
        known = {each[0]: each for each in [STATIC] + [self.temporary(n) for n in range(1, self.credentials + 1)]}
        if key not in known:
            raise Refused("UnrecognizedClientException", "The security token included in the request is invalid.")
        _, secret, token = known[key]
        stamp = headers.get("x-amz-date", "")
        try:
            at = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc).timestamp()
        except ValueError:
            raise Refused("IncompleteSignature", "x-amz-date is missing") from None
        if abs(at - self.now()) > 15 * 60 or day != stamp[:8]:
            raise Refused("InvalidSignatureException", f"Signature not yet current or expired: {stamp}")
        if (region, service) != (REGION, "kinesisvideo"):
            raise Refused("InvalidSignatureException", f"Credential should be scoped to {REGION} and kinesisvideo")
        if headers.get("x-amz-security-token") != token:
            raise Refused("UnrecognizedClientException", "The security token included in the request is invalid.")
        signed = signed.split(";")
        if "host" not in signed or (path == "/putMedia" and "x-amzn-stream-name" not in signed):
            raise Refused("IncompleteSignature", f"not enough is signed: {signed}")
        request = AWSRequest(method, self.endpoint + path, headers=headers)
        request.context["timestamp"] = stamp
        verifier = Verifier(Credentials(key, secret, token), signed, body)
        text = verifier.string_to_sign(request, verifier.canonical_request(request))
        if not secrets.compare_digest(verifier.signature(text, request), signature):
            raise Refused("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
        declared = headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
        if declared not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
            raise Refused("InvalidSignatureException", "the body is another than was signed")
        if token and key != self.temporary(self.credentials)[0]:
            raise Refused("ExpiredTokenException", "The security token included in the request is expired")
        return key

    def control(self, path, request):
        stream = self.streams.get(request.get("StreamName"))
        if path == "/createStream":
            if stream:
                raise Refused("ResourceInUseException", "The stream exists.", 400)
            arn = f"arn:aws:kinesisvideo:{REGION}:123456789012:stream/{request['StreamName']}/1700000000000"
            # As at AWS, it can't be used at once.
            self.streams[request["StreamName"]] = {
                "StreamName": request["StreamName"],
                "StreamARN": arn,
                "Status": "CREATING",
                "CreationTime": self.now(),
                "DataRetentionInHours": request.get("DataRetentionInHours", 0),
                "Version": "v1",
            }
            return {"StreamARN": arn}
        if not stream:
            raise Refused("ResourceNotFoundException", "The requested stream is not found or not active.", 404)
        if path == "/describeStream":
            answer = dict(stream)
            stream["Status"] = "ACTIVE"
            return {"StreamInfo": answer}
        if stream["Status"] != "ACTIVE" or request.get("APIName") != "PUT_MEDIA":
            raise Refused("ResourceNotFoundException", "The requested stream is not found or not active.", 404)
        return {"DataEndpoint": self.endpoint}

    def next_number(self):
        self.number += 2**92
        return str(self.number)


class Walker:
    """Walks a PutMedia body as it comes. Gives ("begun", timecode) and ("whole", fragment)."""

    def __init__(self):
        self.buffer, self.head, self.declared = bytearray(), bytearray(), None
        self.cluster, self.last, self.latest, self.segments = None, None, None, 0

    def push(self, data):
        self.buffer += data
        while True:
            element = self.peek()
            if element is None:
                return
            ident, size, start = element
            if ident in (SEGMENT, CLUSTER):
                if size is not None:
                    raise FragmentError(4006, "INVALID_MKV_DATA")
                raw = self.take(start)
                if ident == SEGMENT:
                    self.segments += 1
                    if self.segments > 1:
                        raise FragmentError(4006, "INVALID_MKV_DATA")
                    self.head += raw
                else:
                    if self.declared is None or self.cluster:
                        raise FragmentError(4006, "INVALID_MKV_DATA")
                    self.cluster = {"bytes": bytearray(raw), "timecode": None, "times": [], "tracks": set()}
                continue
            if size is None or len(self.buffer) < start + size:
                return
            raw = self.take(start + size)
            yield from self.whole(ident, raw, raw[start:])

    def whole(self, ident, raw, data):
        if ident in (EBML, INFO):
            self.head += raw
        elif ident == TRACKS:
            if self.declared is not None:
                raise FragmentError(4006, "INVALID_MKV_DATA")
            self.head += raw
            entries = [children(entry) for i, entry in children(data) if i == TRACK_ENTRY]
            self.declared = {int.from_bytes(value, "big") for entry in entries for i, value in entry if i == TRACK_NUMBER}
            if len(self.declared) > 3:
                raise FragmentError(4012, "MORE_THAN_ALLOWED_TRACKS_FOUND")
        elif ident == TIMESTAMP and self.cluster:
            timecode = int.from_bytes(data, "big")
            self.cluster["bytes"] += raw
            self.cluster["timecode"] = timecode
            if self.last is not None and timecode <= self.last:
                raise FragmentError(4004, "FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS")
            self.last = timecode
            yield "begun", timecode
        elif ident == SIMPLE_BLOCK and self.cluster:
            self.cluster["bytes"] += raw
            track = data[0] & 0x7F
            if track not in self.declared:
                raise FragmentError(4010, "TRACK_NUMBER_MISMATCH")
            self.cluster["tracks"].add(track)
            self.cluster["times"].append(self.cluster["timecode"] + int.from_bytes(data[1:3], "big", signed=True))
        elif ident == TAGS and self.cluster:
            names = [
                value.decode()
                for i, tag in children(data) if i == TAG
                for j, simple in children(tag) if j == SIMPLE_TAG
                for k, value in children(simple) if k == TAG_NAME
            ]
            if names != [END_OF_FRAGMENT]:
                raise FragmentError(4009, "FRAGMENT_METADATA_LIMIT_REACHED")
            if self.cluster["tracks"] != self.declared:
                raise FragmentError(4011, "FRAMES_MISSING_FOR_TRACK")
            if self.latest is not None and min(self.cluster["times"]) <= self.latest:
                raise FragmentError(4004, "FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS")
            self.latest = max(self.cluster["times"])
            done, self.cluster = self.cluster, None
            yield "whole", done
        else:
            raise FragmentError(4006, "INVALID_MKV_DATA")

    def peek(self):
        ident = number(self.buffer, 0, keep_marker=True)
        size = number(self.buffer, ident[1]) if ident else None
        if not size:
            return None
        unknown = size[0] == 2 ** (7 * (size[1] - ident[1])) - 1
        return ident[0], None if unknown else size[0], size[1]

    def take(self, count):
        raw = bytes(self.buffer[:count])
        del self.buffer[:count]
        return raw


def number(data, at, keep_marker=False):
    """A variable-length number and where it ends, or None if it is not all there."""
    if at >= len(data):
        return None
    if data[at] == 0:
        raise FragmentError(4006, "INVALID_MKV_DATA")
    length = 9 - data[at].bit_length()
    if at + length > len(data):
        return None
    value = int.from_bytes(data[at : at + length], "big")
    return (value if keep_marker else value & (2 ** (7 * length) - 1)), at + length


def children(data):
    found, at = [], 0
    while at < len(data):
        ident, at = number(data, at, keep_marker=True)
        size, at = number(data, at)
        found.append((ident, data[at : at + size]))
        at += size
    return found


async def put_media(service, key, headers, chunks, writer):
    name = headers.get("x-amzn-stream-name")
    if headers.get("x-amzn-fragment-timecode-type") != "ABSOLUTE" or "x-amzn-producer-start-timestamp" not in headers:
        raise Refused("InvalidArgumentException", "a header is missing", 400)
    if name not in service.streams:
        raise Refused("ResourceNotFoundException", "The requested stream is not found or not active.", 404)
    fault = (service.faults.pop(0) if service.faults else None) or {}
    if "refuse" in fault:
        raise Refused(fault["refuse"], "as it was told", 400)
    if service.open.get(name):
        raise Refused("ConnectionLimitExceededException", "there is a connection for this stream", 400)
    session = {"stream": name, "key": key, "fragments": 0, "clean": False, "error": None}
    service.sessions.append(session)
    service.open[name] = True
    writer.write(head(service, 200, {"Transfer-Encoding": "chunked"}))
    await writer.drain()
    try:
        await receive(service, session, fault, chunks, writer)
    finally:
        service.open[name] = False


async def receive(service, session, fault, chunks, writer):
    walker, fragment_number, taken = Walker(), None, 0
    name = session["stream"]
    held = []

    async def ack(kind, timecode, number, **more):
        if kind == "PERSISTED":
            held.append((timecode, number))
            if service.hold_acks:
                return
            for timecode, number in held:
                await write(kind, timecode, number)
                for fragment in service.fragments:
                    if fragment["number"] == number:
                        fragment["acked"] = True
            held.clear()
            return
        await write(kind, timecode, number, **more)

    async def write(kind, timecode, number, **more):
        line = json.dumps({"EventType": kind, "FragmentTimecode": timecode, "FragmentNumber": number, **more}) + "\r\n"
        writer.write(f"{len(line):x}\r\n{line}\r\n".encode())
        await writer.drain()

    timecode = None
    try:
        async for data in chunks:
            taken += len(data)
            if taken > fault.get("close_after", taken):
                # What was acknowledged is to have been heard.
                await asyncio.sleep(2)
                writer.transport.abort()
                return
            for what, value in walker.push(data):
                if what == "begun":
                    timecode, fragment_number = value, service.next_number()
                    if timecode > (service.now() + 2) * 1000:
                        raise FragmentError(4007, "INVALID_PRODUCER_TIMESTAMP")
                    await ack("BUFFERING", timecode, fragment_number)
                    continue
                if fault.get("error"):
                    error, fault["error"] = fault["error"], None
                    raise FragmentError(error, fault["code"])
                await ack("RECEIVED", timecode, fragment_number)
                folder = service.folder / name
                folder.mkdir(exist_ok=True)
                (folder / f"{fragment_number}.mkv").write_bytes(walker.head + value["bytes"])
                session["fragments"] += 1
                service.fragments.append({
                    "stream": name, "number": fragment_number, "timecode": timecode, "acked": False, "at": service.now(),
                    "first": min(value["times"]), "last": max(value["times"]), "bytes": len(value["bytes"]),
                })
                await ack("PERSISTED", timecode, fragment_number)
        session["clean"] = walker.cluster is None and not walker.buffer
    except FragmentError as error:
        session["error"] = error.number
        await ack("ERROR", timecode if walker.cluster or timecode else -1, fragment_number or "", ErrorId=error.number, ErrorCode=error.code)
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def head(service, status, more):
    lines = [f"HTTP/1.1 {status} X", f"Date: {email.utils.formatdate(service.now(), usegmt=True)}", "x-amzn-RequestId: 1"]
    return "\r\n".join(lines + [f"{name}: {value}" for name, value in more.items()] + ["", ""]).encode()


def answer(service, status, body, more=()):
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Content-Length": len(data), **dict(more)}
    return head(service, status, headers) + data


async def read_head(reader):
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = lines[0].split(" ")
    pairs = (line.split(":", 1) for line in lines[1:] if line)
    headers = HTTPHeaders()
    for name, value in pairs:
        headers[name.strip()] = value.strip()
    return method, path, headers


async def dechunk(reader):
    while size := int(await reader.readline(), 16):
        while size:
            data = await reader.read(min(size, 65536))
            if not data:
                raise asyncio.IncompleteReadError(b"", size)
            size -= len(data)
            yield data
        await reader.readexactly(2)
    await reader.readline()


async def serve(service, reader, writer):
    service.writers.add(writer)
    try:
        while True:
            method, path, headers = await read_head(reader)
            if path.startswith("/_"):
                service.writers.discard(writer)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                writer.write(answer(service, 200, backstage(service, path, body)))
                await writer.drain()
                continue
            if service.down:
                return
            try:
                if path == "/putMedia":
                    call = {"path": path, "code": None}
                    service.calls.append(call)
                    key = service.verify(method, path, headers, b"")
                    call["key"] = key
                    return await put_media(service, key, headers, dechunk(reader), writer)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                call = {"path": path, "code": None}
                service.calls.append(call)
                call["key"] = service.verify(method, path, headers, body)
                writer.write(answer(service, 200, service.control(path, json.loads(body))))
            except Refused as refused:
                call["code"] = refused.code
                writer.write(answer(service, refused.status, {"Message": refused.message}, [("x-amzn-ErrorType", refused.code)]))
                if path == "/putMedia":
                    return
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        service.writers.discard(writer)
        try:
            await writer.drain()
            writer.close()
        except ConnectionError:
            pass


def backstage(service, path, body):
    if path == "/_credentials":
        key, secret, token = service.temporary(service.credentials)
        until = datetime.datetime.fromtimestamp(service.now() + 3600, datetime.timezone.utc)
        return {"AccessKeyId": key, "SecretAccessKey": secret, "Token": token, "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ")}
    if path == "/_tell":
        for name, value in json.loads(body).items():
            setattr(service, name, value)
        if service.down:
            for writer in list(service.writers):
                writer.transport.abort()
        return {}
    return {"calls": service.calls, "sessions": service.sessions, "fragments": service.fragments, "faults": len(service.faults)}


def certificates(folder):
    """A CA, and a certificate of it for 127.0.0.1."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.timezone.utc)

    def certificate(subject, key, issuer, issuer_key, extensions):
        name = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
        builder = x509.CertificateBuilder(name(issuer), name(subject), key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    ca, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    (folder / "ca.pem").write_bytes(certificate("ca", ca, "ca", ca, [x509.BasicConstraints(ca=True, path_length=None)]))
    pem = leaf.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "leaf.pem").write_bytes(pem + certificate("leaf", leaf, "ca", ca, [names]))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "leaf.pem")
    return context


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--tls-port", type=int, help="serve AWS's part here too, over TLS; the CA is FOLDER/ca.pem")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    scheme, port = ("https", arguments.tls_port) if arguments.tls_port else ("http", arguments.port)
    service = Service(arguments.folder, f"{scheme}://127.0.0.1:{port}")
    handler = lambda reader, writer: serve(service, reader, writer)
    if arguments.tls_port:
        await asyncio.start_server(handler, "127.0.0.1", arguments.tls_port, ssl=certificates(arguments.folder))
    server = await asyncio.start_server(handler, "127.0.0.1", arguments.port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
