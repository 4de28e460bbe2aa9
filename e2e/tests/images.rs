//! GetImages: boto3 asks, ffmpeg decodes what comes, and the bar codes tell which frames they are.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::{Agent, Server, python};
use serde_json::Value;

const CLIPS: [(&str, u32); 3] = [("h264-aac.mp4", 25), ("h264-bframes.mp4", 25), ("h265-aac.mp4", 20)];

#[test]
fn images_show_the_frames_of_their_times_by_either_clock_and_in_either_format() {
    let stage = Stage::start();
    for (clip, rate) in CLIPS {
        stage.upload(clip);
        for format in ["JPEG", "PNG"] {
            // From the second second on, each 440 ms: between key frames and at odd places of their fragments.
            let more = format!("Format='{format}', SamplingInterval=440, WidthPixels=640, HeightPixels=360");
            let images = stage.images(clip, "PRODUCER_TIMESTAMP", "first + 1.0, first + 9.0", &more);
            assert_eq!(images.len(), 19, "{clip}");
            for (at, image) in images.iter().enumerate() {
                let millis = 1000 + 440 * u32::try_from(at).expect("a few");
                assert_eq!(image.after_ms, millis, "{clip}");
                let frame = image.number(640, 360);
                assert!(frame.abs_diff(millis * rate / 1000) <= 1, "{clip} {format}: frame {frame} at {millis} ms");
            }
        }
    }
    // By the server's clock the whole clip arrived within a moment: what is seen first is the beginning of some fragment.
    let (clip, _) = CLIPS[0];
    let more = "Format='JPEG', SamplingInterval=300000";
    let images = stage.images(clip, "SERVER_TIMESTAMP", "now - 300, now", more);
    let first = images[0].number(320, 180);
    assert!(first.is_multiple_of(25), "frame {first} is the first of no fragment");
}

#[test]
fn times_without_media_say_so_and_pages_follow_each_other() {
    let stage = Stage::start();
    let (clip, _) = CLIPS[0];
    stage.upload(clip);
    let images = stage.images(
        clip,
        "PRODUCER_TIMESTAMP",
        "first - 2.0, first + 4.0",
        "Format='JPEG', SamplingInterval=500, MaxResults=5",
    );
    assert_eq!(images.len(), 12, "all pages together");
    let errors: Vec<&str> = images.iter().filter_map(|image| image.error.as_deref()).collect();
    assert_eq!(errors, ["NO_MEDIA"; 4]);
    let numbers: Vec<u32> = images[4..].iter().map(|image| image.number(320, 180)).collect();
    assert!(numbers.is_sorted() && numbers[0] == 0, "{numbers:?}");
}

struct Stage {
    server: Server,
    agent: Agent,
    environment: Vec<(String, String)>,
    _folder: tempfile::TempDir,
}

struct Image {
    after_ms: u32,
    error: Option<String>,
    content: Vec<u8>,
}

impl Stage {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start(folder.path());
        let agent = Agent::enrolled(&folder.path().join("agent"), &server);
        let environment = server.aws_environment();
        Self { server, agent, environment, _folder: folder }
    }

    fn upload(&self, clip: &str) {
        let uploaded = self.agent.once(&e2e::clip(clip), clip);
        assert!(uploaded.status.success(), "{}", String::from_utf8_lossy(&uploaded.stderr));
    }

    /// What GetImages answers, all pages; `range` may name the time of the stream's first picture and that of now.
    fn images(&self, stream: &str, clock: &str, range: &str, more: &str) -> Vec<Image> {
        let streams: Value = serde_json::from_slice(&self.server.get("/api/streams").body).expect("it is JSON");
        let listed = streams["streams"].as_array().expect("a list").iter().find(|listed| listed["name"] == stream);
        let (first, now) = (&listed.expect("the stream is there")["first"], &streams["now"]);
        let script = format!(
            "
import base64, boto3, datetime, json
first, now = (datetime.datetime.fromisoformat(text.replace('Z', '+00:00')).timestamp() for text in ({first}, {now}))
start, end = {range}
images = boto3.client('kinesis-video-archived-media').get_paginator('get_images').paginate(
    StreamName='{stream}', ImageSelectorType='{clock}', StartTimestamp=start, EndTimestamp=end, {more})
for image in (image for page in images for image in page['Images']):
    after = round((image['TimeStamp'].timestamp() - first) * 1000)
    print(json.dumps([max(after, 0), image.get('Error'), image.get('ImageContent', '')]))
"
        );
        let printed = python(&["-c", &script], &self.environment);
        let read = |line: &str| {
            let (after_ms, error, content): (u32, Option<String>, String) =
                serde_json::from_str(line).expect("a line is JSON");
            Image { after_ms, error, content: STANDARD.decode(content).expect("it is base64") }
        };
        printed.lines().map(read).collect()
    }
}

impl Image {
    /// The number in it.
    fn number(&self, width: usize, height: usize) -> u32 {
        assert_eq!(self.error, None);
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-i", "pipe:", "-f", "rawvideo", "-pix_fmt", "gray", "pipe:"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("ffmpeg can be run");
        let mut input = child.stdin.take().expect("it is piped");
        let content = self.content.clone();
        let writing = std::thread::spawn(move || input.write_all(&content));
        let luma = child.wait_with_output().expect("ffmpeg ends").stdout;
        writing.join().expect("it wrote").expect("ffmpeg takes the image");
        assert_eq!(luma.len(), width * height, "a picture of that size");
        samples::barcode::read(&luma, width, height, width).expect("the picture has its number")
    }
}
