//! Images that boto3 asks for, and those that are made by themselves of what a producer tags: ffmpeg decodes them, and the bar codes tell
//! which frames they are.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::{AccessKey, Agent, Media, Producer, Server, Timecodes, of_kind, python, tags, until};
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

#[test]
fn what_a_producer_of_aws_tags_is_made_into_images_and_told_to_a_webhook() {
    const TAGGED: usize = 3;
    let stage = Stage::start();
    let hook = Webhook::start();
    let (clip, rate) = CLIPS[0];
    let start_ms = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis());
    let media = Media::of(&e2e::clip(clip), start_ms.expect("before the year 584 million") - 60_000);
    let script = format!("hook = '{}'\n{CONFIGURES}", hook.url);
    python(&["-c", &script], &stage.environment);

    let mut producer = Producer::connect(&stage.server.http_address(), &stage.key(), "garden", Timecodes::Absolute);
    producer.send(&media.head()).expect("it is taken");
    for at in 0..media.fragments.len() {
        if at == TAGGED {
            let asks = [
                ("AWS_KINESISVIDEO_NOTIFICATION", ""),
                ("AWS_KINESISVIDEO_IMAGE_GENERATION", ""),
                ("AWS_KINESISVIDEO_IMAGE_PREFIX", "yard"),
                ("gate", "open"),
            ];
            producer.send(&tags(&asks)).expect("it is taken");
        }
        producer.send(&media.fragment(at)).expect("it is taken");
    }
    producer.send(&tags(&[("AWS_KINESISVIDEO_END_OF_FRAGMENT", "")])).expect("it is taken");
    let acks = producer.until("PERSISTED", media.fragments.len());
    producer.end();
    let acks = of_kind(&acks, "PERSISTED");
    let tagged = acks.iter().find(|ack| ack["FragmentTimecode"] == media.timecode(TAGGED)).expect("it is told");

    let notification = hook.posted.recv_timeout(Duration::from_secs(30)).expect("a notification comes");
    let message: Value = serde_json::from_str(notification["Message"].as_str().expect("a text")).expect("it is JSON");
    assert_eq!(message["FragmentNumber"], tagged["FragmentNumber"]);
    assert_eq!(message["FragmentStartProducerTimestamp"], media.timecode(TAGGED));
    assert_eq!(message["NotificationPayload"], serde_json::json!({ "gate": "open" }));

    let folder = stage.images_folder().join("pictures");
    let images = until("the images are there", Duration::from_secs(30), || {
        let files = fs::read_dir(&folder).ok()?.map(|file| file.expect("it is listed").path());
        let mut images: Vec<PathBuf> =
            files.filter(|file| file.extension().is_some_and(|kind| kind == "jpg")).collect();
        images.sort();
        Some(images).filter(|images| images.len() == 2)
    });
    for (at, image) in (0..).zip(&images) {
        let millis = media.timecode(TAGGED) + 500 * at;
        let name = image.file_name().expect("a name").to_string_lossy();
        assert!(name.starts_with(&format!("yard_000000000000_garden_{millis}_")), "{name}");
        let frame = number(&fs::read(image).expect("it can be read"), 320, 180);
        let expected = u32::try_from((millis - media.start_ms) * u64::from(rate) / 1000).expect("a short clip");
        assert!(frame.abs_diff(expected) <= 1, "frame {frame} in {name}, not {expected}");
    }
    assert!(hook.posted.try_recv().is_err(), "nothing is told of the others");

    let more = "Format='PNG', SamplingInterval=440";
    let images = stage.images("garden", "PRODUCER_TIMESTAMP", "first, first + 4.4", more);
    let numbers: Vec<u32> = images.iter().map(|image| image.number(320, 180)).collect();
    let expected = (0..10).map(|at| at * 11);
    assert!(numbers.iter().zip(expected).all(|(number, expected)| number.abs_diff(expected) <= 1), "{numbers:?}");
    assert_eq!(numbers.len(), 10);
}

/// A stream of which images and notifications are made.
const CONFIGURES: &str = "
import boto3
video = boto3.client('kinesisvideo')
video.create_stream(StreamName='garden', DataRetentionInHours=2)
video.update_notification_configuration(
    StreamName='garden', NotificationConfiguration={'Status': 'ENABLED', 'DestinationConfig': {'Uri': hook}})
video.update_image_generation_configuration(StreamName='garden', ImageGenerationConfiguration={
    'Status': 'ENABLED', 'ImageSelectorType': 'PRODUCER_TIMESTAMP', 'SamplingInterval': 500, 'Format': 'JPEG',
    'DestinationConfig': {'Uri': 'folder://pictures', 'DestinationRegion': 'us-west-2'}})
";

/// Somebody who wants to be told.
struct Webhook {
    url: String,
    posted: mpsc::Receiver<Value>,
}

impl Webhook {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("a bound socket has an address"));
        let (told, posted) = mpsc::channel();
        thread::spawn(move || {
            for mut socket in listener.incoming().flatten() {
                let mut reader = BufReader::new(socket.try_clone().expect("a socket can be cloned"));
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).expect("a head comes");
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a number");
                    }
                    if line.trim_end().is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).expect("a body comes");
                socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").expect("it is taken");
                if told.send(serde_json::from_slice(&body).expect("the body is JSON")).is_err() {
                    return;
                }
            }
        });
        Self { url, posted }
    }
}

struct Stage {
    server: Server,
    agent: Agent,
    environment: Vec<(String, String)>,
    folder: tempfile::TempDir,
}

struct Image {
    after_ms: u32,
    error: Option<String>,
    content: Vec<u8>,
}

impl Stage {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let images = folder.path().join("images");
        let server = Server::start_serving(folder.path(), &["--images", &images.to_string_lossy()], &[]);
        let agent = Agent::enrolled(&folder.path().join("agent"), &server);
        let environment = server.aws_environment();
        Self { server, agent, environment, folder }
    }

    fn images_folder(&self) -> PathBuf {
        self.folder.path().join("images")
    }

    fn key(&self) -> AccessKey {
        let value = |name: &str| {
            let found = self.environment.iter().find(|(of, _)| of == name);
            found.expect("it is set").1.clone()
        };
        AccessKey { id: value("AWS_ACCESS_KEY_ID"), secret: value("AWS_SECRET_ACCESS_KEY") }
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
        number(&self.content, width, height)
    }
}

/// The number in a picture.
fn number(content: &[u8], width: usize, height: usize) -> u32 {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-i", "pipe:", "-f", "rawvideo", "-pix_fmt", "gray", "pipe:"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("ffmpeg can be run");
    let mut input = child.stdin.take().expect("it is piped");
    let content = content.to_vec();
    let writing = thread::spawn(move || input.write_all(&content));
    let luma = child.wait_with_output().expect("ffmpeg ends").stdout;
    writing.join().expect("it wrote").expect("ffmpeg takes the image");
    assert_eq!(luma.len(), width * height, "a picture of that size");
    samples::barcode::read(&luma, width, height, width).expect("the picture has its number")
}
