"""The rules of AWS's model, each broken once: every member of every operation is held to its length, its pattern, its range and its words, and
who breaks one is told which member it was.

Which operations there are to be asked is found by asking: one that is not implemented is for others to complain of.
"""

import unittest

from stage import call, client

SERVICES = ["kinesisvideo", "kinesis-video-media", "kinesis-video-archived-media"]

# What fits, where the rules alone don't say.
SAMPLES = {
    "StreamName": "no-such-stream",
    "ResourceARN": "arn:aws:kinesisvideo:us-east-1:000000000000:stream/no-such-stream/1700000000000",
    "Version": "a",
    "MediaType": "video/h264",
    "DeviceName": "device",
    "TagKey": "key",
    "TagValue": "value",
    "KmsKeyId": "alias/aws/kinesisvideo",
    "NextToken": "YQ==",
    "FragmentNumberString": "91343852333181432387730302044767688728495783936",
    "StartSelector": {"StartSelectorType": "NOW"},
    "ClipTimestampRange": {"StartTimestamp": 1, "EndTimestamp": 2},
    "HubDeviceArn": "arn:aws:iot:us-east-1:000000000000:thing/nobody",
    "MediaUriSecretArn": "arn:aws:secretsmanager:us-east-1:000000000000:secret:nothing",
    "ScheduleExpression": "0 0 19,20 ? * * *",
    "DestinationUri": "s3://bucket",
    "DestinationRegion": "us-east-1",
    "SamplingInterval": 1000,
    "FormatConfigValue": "80",
}
REFUSALS = {
    "InvalidArgumentException",
    "SerializationException",
    # For an ARN that is none, and for too many tags.
    "InvalidResourceFormatException",
    "TagsPerResourceExceededLimitException",
}


def sample(shape):
    """A value that breaks no rule."""
    if shape.name in SAMPLES:
        return SAMPLES[shape.name]
    kind = shape.type_name
    if kind == "structure":
        return {name: sample(shape.members[name]) for name in shape.required_members}
    if kind == "map":
        return {sample(shape.key): sample(shape.value)}
    if kind == "list":
        return [sample(shape.member)]
    if kind == "string":
        return shape.enum[0] if shape.enum else "a" * max(1, shape.metadata.get("min", 1))
    return shape.metadata.get("min", 1)


def broken(shape):
    """Values that break a rule, each with its rule."""
    rules, kind = shape.metadata, shape.type_name
    if kind == "string":
        yield "its type", 5
        if shape.enum:
            yield "its words", "NO_SUCH_WORD"
            return
        if rules.get("min", 0) > 0:
            yield "its least length", "a" * (rules["min"] - 1)
        if "max" in rules:
            yield "its greatest length", "a" * (rules["max"] + 1)
        if "pattern" in rules:
            yield "its pattern", "\n" if rules["pattern"] == ".+" else "#"
    elif kind in ("integer", "long"):
        yield "its type", "five"
        if "min" in rules:
            yield "its least", rules["min"] - 1
        if "max" in rules:
            yield "its greatest", rules["max"] + 1
    elif kind == "structure":
        yield "its type", "a"
        for name, member in shape.members.items():
            for rule, value in broken(member):
                yield f"{rule}, {name}", {**sample(shape), name: value}
        for name in shape.required_members:
            yield f"what is required, {name}", {key: value for key, value in sample(shape).items() if key != name}
    elif kind == "map":
        yield "its type", "a"
        if rules.get("min", 0) > 0:
            yield "its least size", {}
        if "max" in rules:
            yield "its greatest size", {f"key{at}": sample(shape.value) for at in range(rules["max"] + 1)}
        for rule, key in broken(shape.key):
            if isinstance(key, str):
                yield f"{rule}, of a key", {key: sample(shape.value)}
        for rule, value in broken(shape.value):
            yield f"{rule}, of a value", {sample(shape.key): value}
    elif kind == "list":
        yield "its type", "a"
        if rules.get("min", 0) > 0:
            yield "its least size", []
        if "max" in rules:
            yield "its greatest size", [f"key{at}" for at in range(rules["max"] + 1)]
        for rule, value in broken(shape.member):
            yield f"{rule}, of an item", [value]


class Rules(unittest.TestCase):
    def setUp(self):
        models = [client(service).meta.service_model for service in SERVICES]
        operations = [model.operation_model(name) for model in models for name in model.operation_names]
        self.operations = [each for each in operations if call(each.http["requestUri"], {})[0] != 501]
        self.assertTrue(self.operations)

    def request(self, operation):
        """A request that breaks no rule, about a stream that is not there."""
        shape = operation.input_shape
        request = sample(shape)
        if "StreamName" in shape.members and operation.name != "ListStreams":
            request["StreamName"] = SAMPLES["StreamName"]
        if "FragmentSelector" in shape.members:
            request["FragmentSelector"] = sample(shape.members["FragmentSelector"])
        return request

    def test_every_rule_is_held_and_the_member_that_breaks_it_is_named(self):
        count = 0
        for operation in self.operations:
            for name, shape in operation.input_shape.members.items():
                for rule, value in broken(shape):
                    count += 1
                    with self.subTest(operation=operation.name, member=name, rule=rule):
                        request = {**self.request(operation), name: value}
                        status, error, answer = call(operation.http["requestUri"], request)
                        self.assertEqual(status, 400, answer)
                        self.assertIn(error, REFUSALS)
                        if error != "TagsPerResourceExceededLimitException":
                            innermost = rule.rsplit(", ", 1)[-1] if shape.type_name == "structure" and ", " in rule else name
                            self.assertIn(innermost.lower(), answer["Message"].lower())
        self.assertGreater(count, 100)

    def test_what_is_required_is_asked_for(self):
        for operation in self.operations:
            for name in operation.input_shape.required_members:
                with self.subTest(operation=operation.name, member=name):
                    request = self.request(operation)
                    for missing in [{key: value for key, value in request.items() if key != name}, {**request, name: None}]:
                        status, error, answer = call(operation.http["requestUri"], missing)
                        self.assertEqual((status, error), (400, "InvalidArgumentException"), answer)
                        self.assertIn(name.lower(), answer["Message"].lower())

    def test_null_and_unknown_members_are_passed_over(self):
        for operation in self.operations:
            if operation.name == "CreateStream":
                continue
            with self.subTest(operation=operation.name):
                request = self.request(operation)
                nulls = {name: None for name in operation.input_shape.members if name not in request}
                plain = call(operation.http["requestUri"], request)
                more = call(operation.http["requestUri"], {**request, **nulls, "OfANewerModel": {"a": [1]}})
                self.assertEqual(more[:2], plain[:2])
                self.assertIn(plain[0], (200, 404))

    def test_what_is_no_json_object_is_refused(self):
        for operation in self.operations:
            for body in [b"[]", b"{", b'"a"', b"\xff\xfe"]:
                with self.subTest(operation=operation.name, body=body):
                    status, error, answer = call(operation.http["requestUri"], body)
                    self.assertEqual((status, error), (400, "SerializationException"))
                    self.assertTrue(answer["Message"])
