"""Walks AWS's models of the five services of Kinesis Video Streams and holds docs/aws-clients.md and a server to them: each operation has a line in
the table; one that works is there, and one that is said not to be there says so itself.

    AWS_ENDPOINT_URL=... AWS_REGION=... AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... python model_walk.py docs/aws-clients.md
"""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "conformance"))

from stage import call, client  # noqa: E402

SERVICES = [
    "kinesisvideo",
    "kinesis-video-media",
    "kinesis-video-archived-media",
    "kinesis-video-signaling",
    "kinesis-video-webrtc-storage",
]
# In the producer SDKs, and in no model.
UNMODELLED = {"PutMedia": "/putMedia"}


def modelled():
    """Each operation's name and path."""
    found = dict(UNMODELLED)
    for service in SERVICES:
        model = client(service).meta.service_model
        for name in model.operation_names:
            found[name] = model.operation_model(name).http["requestUri"]
    return found


def documented(path):
    """Each operation's name and what is said of it."""
    rows = re.findall(r"^\| ([A-Z]\w+) \| (works|differs|not there)\b([^|]*)\|", path.read_text(), re.MULTILINE)
    return {name: (state, more.strip()) for name, state, more in rows}


def complaints(table):
    operations = modelled()
    for name in sorted(table.keys() - operations.keys()):
        yield f"{name} is in the table and in no model"
    for name, path in sorted(operations.items()):
        if name not in table:
            yield f"{name} has no line in the table"
            continue
        state, more = table[name]
        if state != "works" and not more:
            yield f"{name} {state}: the table does not say how, or why"
        # The body of PutMedia has no end when it is signed, so it is signed as none.
        status, error, answer = call(path, b"" if name in UNMODELLED else {})
        if state == "not there":
            if (status, error) != (501, "NotImplementedException") or name not in answer["Message"]:
                yield f"{name} is said not to be there, and answers {status} {error}"
        elif status not in (200, 400) or error not in (None, "InvalidArgumentException"):
            yield f"{name} is said to be there, and answers {status} {error}"


if __name__ == "__main__":
    found = list(complaints(documented(pathlib.Path(sys.argv[1]))))
    print(*found, sep="\n")
    sys.exit(1 if found else 0)
