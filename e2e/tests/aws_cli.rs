//! AWS's command line, as it is installed, against our server: a stream's whole life, and its media in every form.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use e2e::frames::{self, Kind};
use e2e::{AccessKey, Media, Producer, Server, Timecodes, clip, python_tool};
use serde_json::{Value, json};

const CLIP: &str = "h264-bframes.mp4";
const STREAM: &str = "garden";

#[test]
fn the_command_line_of_aws_makes_a_stream_reads_it_and_takes_it_down() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // By AWS's limits GetMedia waits three seconds for more, and not thirty.
    let server = Server::start_serving(folder.path(), &["--limits", "aws"], &[]);
    let aws = Aws { server: &server, environment: server.access_key(), folder: folder.path() };

    let created = aws.video("create-stream", &["--data-retention-in-hours", "48", "--tags", "place=yard"]);
    let described = &aws.video("describe-stream", &[])["StreamInfo"];
    assert_eq!((&described["StreamARN"], &described["Status"]), (&created["StreamARN"], &json!("ACTIVE")));
    assert_eq!(aws.run("kinesisvideo", &["list-streams"])["StreamInfoList"][0]["StreamName"], STREAM);
    assert_eq!(aws.video("list-tags-for-stream", &[])["Tags"], json!({ "place": "yard" }));
    let version = described["Version"].as_str().expect("a version");
    let less = ["--operation", "DECREASE_DATA_RETENTION", "--data-retention-change-in-hours", "24"];
    aws.video("update-data-retention", &[&less[..], &["--current-version", version]].concat());
    assert_eq!(aws.video("describe-stream", &[])["StreamInfo"]["DataRetentionInHours"], 24);

    let begin = an_hour_ago_ms();
    let media = Media::of(&clip(CLIP), begin);
    let key = AccessKey::parse(&server.admin(&["access-key", "create", "--role", "producer"]));
    Producer::connect(&server.http_address(), &key, STREAM, Timecodes::Absolute).put(&media);

    let endpoint = aws.video("get-data-endpoint", &["--api-name", "LIST_FRAGMENTS"]);
    assert_eq!(endpoint["DataEndpoint"], server.address("").trim_end_matches('/'));
    let range = format!("StartTimestamp={},EndTimestamp={}", seconds(begin - 1), seconds(begin + 60_000));
    let selector = format!("FragmentSelectorType=PRODUCER_TIMESTAMP,TimestampRange={{{range}}}");
    let listed = aws.archived("list-fragments", &["--fragment-selector", &selector]);
    let fragments = listed["Fragments"].as_array().expect("a list");
    assert_eq!(fragments.len(), media.fragments.len());
    let mut numbers: Vec<&str> = fragments.iter().filter_map(|of| of["FragmentNumber"].as_str()).collect();
    numbers.sort_unstable();

    let selected = ["--clip-fragment-selector", &selector];
    aws.is_identical("clip.mp4", |out| aws.archived("get-clip", &[&selected[..], &[out]].concat()));
    let listed = [&["--fragments"][..], &numbers].concat();
    aws.is_identical("list.mkv", |out| aws.archived("get-media-for-fragment-list", &[&[out][..], &listed].concat()));
    let whole = ["--start-selector", "StartSelectorType=EARLIEST"];
    let read = |out: &str| aws.of_stream("kinesis-video-media", "get-media", &[&whole[..], &[out]].concat());
    aws.is_identical("media.mkv", read);

    let session = |operation: &str, of: &str| aws.archived(operation, &["--playback-mode", "ON_DEMAND", of, &selector]);
    let hls = session("get-hls-streaming-session-url", "--hls-fragment-selector");
    let dash = session("get-dash-streaming-session-url", "--dash-fragment-selector");
    for url in [&hls["HLSStreamingSessionURL"], &dash["DASHStreamingSessionURL"]] {
        let url = url.as_str().expect("an address");
        let source = clip(CLIP).to_string_lossy().into_owned();
        let difference = frames::difference(&frames::hashes(&source, Kind::Video), &frames::hashes(url, Kind::Video));
        assert_eq!(difference, None, "{url}");
    }

    aws.run("kinesisvideo", &["delete-stream", "--stream-arn", created["StreamARN"].as_str().expect("an ARN")]);
    let gone = aws.try_run("kinesisvideo", &["describe-stream", "--stream-name", STREAM]);
    let said = String::from_utf8_lossy(&gone.stderr);
    assert!(!gone.status.success(), "{said}");
    assert!(said.contains("(ResourceNotFoundException) when calling the DescribeStream operation"), "{said}");
}

/// The command line, which finds server and key in its environment.
struct Aws<'a> {
    server: &'a Server,
    environment: Vec<(String, String)>,
    folder: &'a Path,
}

impl Aws<'_> {
    fn video(&self, operation: &str, more: &[&str]) -> Value {
        self.of_stream("kinesisvideo", operation, more)
    }

    fn archived(&self, operation: &str, more: &[&str]) -> Value {
        self.of_stream("kinesis-video-archived-media", operation, more)
    }

    fn of_stream(&self, service: &str, operation: &str, more: &[&str]) -> Value {
        self.run(service, &[&[operation, "--stream-name", STREAM][..], more].concat())
    }

    /// What it answers; null if nothing.
    fn run(&self, service: &str, arguments: &[&str]) -> Value {
        let output = self.try_run(service, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "aws {service} {}: {said}", arguments.join(" "));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    fn try_run(&self, service: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(python_tool("aws"));
        command.arg(service).args(arguments).current_dir(self.folder);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("AWS_ENDPOINT_URL", self.server.address("")).env("AWS_DEFAULT_REGION", "us-west-2");
        command.env("AWS_CONFIG_FILE", self.folder.join("none")).env("AWS_EC2_METADATA_DISABLED", "true");
        command.output().expect("AWS's command line can be run")
    }

    /// What it writes to the file of this name has all pictures of the clip.
    fn is_identical(&self, name: &str, write: impl FnOnce(&str) -> Value) {
        write(name);
        let (source, written) = (clip(CLIP), self.folder.join(name));
        let [source, written] = [&source, &written].map(|path| frames::hashes(&path.to_string_lossy(), Kind::Video));
        assert_eq!(frames::difference(&source, &written), None, "{name}");
    }
}

/// Long enough for what is played to have an end.
fn an_hour_ago_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    u64::try_from(since.as_millis()).expect("before the year 584 million") - 3_600_000
}

/// As a timestamp on the command line.
fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}
