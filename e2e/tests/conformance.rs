//! Programs that were written for AWS, against our server: AWS's own Python SDK, in tests that could as well run against AWS, and
//! AWS's models, which say what there is to be.

use e2e::{Server, python};

#[test]
fn what_holds_of_kinesis_video_streams_holds_of_our_server() {
    let mut stage = Stage::start(&[]);
    // What there has to be for edge configurations.
    stage.server.add_device("hub");
    let secret = stage.server.admin_with_input(&["secret", "put", "camera"], "rtsp://192.0.2.9/1");
    let hub = "arn:aws:iot:us-west-2:000000000000:thing/hub";
    for (name, value) in [("EDGE_HUB_DEVICE_ARN", hub), ("EDGE_MEDIA_URI_SECRET_ARN", secret.trim())] {
        stage.environment.push((name.to_owned(), value.to_owned()));
    }
    stage.run(&["-m", "unittest", "discover", "--start-directory", "e2e/python/conformance"]);
}

#[test]
fn every_operation_of_the_models_is_there_or_is_said_not_to_be() {
    let stage = Stage::start(&[]);
    stage.run(&["e2e/python/model_walk.py", "docs/aws-clients.md"]);
}

#[test]
fn the_requests_that_signatures_are_tested_with_are_what_botocore_signs() {
    let made = python(&["server/sigv4/tests/botocore/make.py"], &[]);
    let kept = std::fs::read_to_string(e2e::root().join("server/sigv4/tests/botocore/requests.json"));
    assert_eq!(made, kept.expect("the requests are there"), "make them again, as make.py says");
}

#[test]
fn retention_is_a_day_unless_it_is_given_and_no_longer_than_the_ceiling() {
    let stage = Stage::start(&["--max-retention", "48h"]);
    stage.run(&[
        "-c",
        "
import boto3, botocore.exceptions
video = boto3.client('kinesisvideo')
video.create_stream(StreamName='day')
video.create_stream(StreamName='most', DataRetentionInHours=48)
video.create_stream(StreamName='live', DataRetentionInHours=0)
hours = {each['StreamName']: each['DataRetentionInHours'] for each in video.list_streams()['StreamInfoList']}
assert hours == {'day': 24, 'most': 48, 'live': 0}, hours
try:
    video.create_stream(StreamName='more', DataRetentionInHours=49)
except video.exceptions.InvalidArgumentException as refused:
    assert '48 h' in str(refused) and 'dataRetentionInHours' in str(refused), refused
else:
    raise AssertionError('longer than the ceiling')
",
    ]);
    let listed = stage.server.admin(&["stream", "list"]);
    assert!(listed.contains("day") && listed.contains("most"), "{listed}");
}

/// A server, and a key of it.
struct Stage {
    server: Server,
    environment: Vec<(String, String)>,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start_with(folder.path(), arguments, &[]);
        let environment = server.aws_environment();
        Self { server, environment, _folder: folder }
    }

    fn run(&self, arguments: &[&str]) {
        python(arguments, &self.environment);
    }
}
