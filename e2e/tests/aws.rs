//! The agent uploads to Kinesis Video Streams: all of it, in order, through outages, kills, refusals and wrong clocks. The other
//! end is a stand-in that verifies signatures by AWS's own Python code and holds bodies to AWS's rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use e2e::frames::{self, Kind};
use e2e::{AccessKey, Agent, Arrived, Camera, KinesisVideo, Server, Source, Spooled, until};
use serde_json::json;

/// On a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(120);

/// What fragments that follow each other may seem to lie apart: times of a second's tenth, and a picture.
const SEAM: Duration = Duration::from_millis(100);

#[test]
fn a_file_arrives_over_tls_whole_and_in_order_and_leaves_the_spool() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let aws = KinesisVideo::start_with_tls(folder.path());
    let ca = aws.ca();
    let environment = [KinesisVideo::CREDENTIALS, &[("SSL_CERT_FILE", ca.to_str().expect("a path in UTF-8"))]].concat();
    let agent = Agent::to_aws(&folder.path().join("agent"), &aws.endpoint(), &environment, &[]);

    for (stream, clip) in [("sound", "h264-aac.mp4"), ("bframes", "h264-bframes.mp4"), ("hevc", "h265-aac.mp4")] {
        let file = e2e::clip(clip);
        let upload = agent.once(&file, stream);
        assert!(upload.status.success(), "{}", said(&upload));

        let arrived = aws.arrived(&format!("e2e-{stream}"));
        assert!(arrived.is_sorted_by(|a, b| a.timecode < b.timecode), "{arrived:?}");
        let source = file.to_string_lossy();
        for kind in frames::kinds(&source) {
            let stored: Vec<String> =
                arrived.iter().flat_map(|fragment| frames::hashes(&fragment.file.to_string_lossy(), kind)).collect();
            let difference = frames::difference(&frames::hashes(&source, kind), &stored);
            assert_eq!(difference, None, "{clip}, {kind:?}");
        }
    }

    assert_eq!(agent.spooled(), Vec::<std::path::PathBuf>::new());
    let seen = aws.seen();
    let sessions = seen["sessions"].as_array().expect("a list");
    assert_eq!(sessions.len(), 3, "one for each file: {sessions:?}");
    for session in sessions {
        assert_eq!((&session["clean"], &session["error"]), (&json!(true), &json!(null)), "{session}");
    }
    let paths: Vec<_> =
        seen["calls"].as_array().expect("a list").iter().filter_map(|call| call["path"].as_str()).collect();
    assert_eq!(
        paths[..5],
        ["/describeStream", "/createStream", "/describeStream", "/describeStream", "/getDataEndpoint"]
    );
}

#[test]
fn an_outage_a_kill_and_refusals_lose_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let aws = KinesisVideo::start(folder.path());
    let camera = Camera::start("h264-aac.mp4", folder.path());
    let streams = [("yard", Source::Rtsp(camera.url())), ("door", Source::Loop("h264-bframes.mp4"))];
    let mut agent = Agent::to_aws(&folder.path().join("agent"), &aws.endpoint(), KinesisVideo::CREDENTIALS, &streams);
    agent.restart();
    let arrived = |stream: &str| aws.arrived(&format!("e2e-{stream}"));
    until("both streams arrive", PATIENCE, || (arrived("yard").len() >= 2 && arrived("door").len() >= 2).then_some(()));

    // The last word is missing for a while; then AWS is away, and the agent is killed.
    aws.tell(&json!({"hold_acks": true}));
    until("acks are owed", PATIENCE, || {
        let owed = |stream: &str| arrived(stream).iter().filter(|fragment| !fragment.acked).count();
        (owed("yard") >= 2 && owed("door") >= 2).then_some(())
    });
    aws.tell(&json!({"down": true, "hold_acks": false}));
    until("fragments wait", PATIENCE, || (agent.spooled().len() >= 10).then_some(()));
    agent.kill();
    let kept: Vec<Spooled> = agent.spooled().iter().filter_map(|path| Spooled::read(path)).collect();
    assert!(kept.len() >= 8, "{}", kept.len());

    aws.tell(&json!({"down": false, "faults": [
        {"close_after": 50_000},
        {"refuse": "ConnectionLimitExceededException"},
        {"error": 5001, "code": "ARCHIVAL_ERROR"},
        {"error": 4503, "code": "KMS_KEY_UNAVAILABLE"},
    ]}));
    agent.restart();
    until("the spool is empty but for what is being captured", PATIENCE, || (agent.spooled().len() <= 2).then_some(()));
    agent.stop();
    assert_eq!(agent.rejected(), 0);
    let seen = aws.seen();
    assert_eq!(seen["faults"], json!(0), "each fault was met");
    let errors = seen["sessions"].as_array().expect("a list").iter().filter_map(|session| session["error"].as_u64());
    // Two runs of the agent may overlap where they meet, as AWS tells the time in seconds: that costs a session (4004).
    let others: BTreeSet<u64> = errors.filter(|error| *error != 4004).collect();
    assert_eq!(others, BTreeSet::from([4503, 5001]), "AWS had nothing else to complain of");

    for stream in ["yard", "door"] {
        let arrived = arrived(stream);
        let by_time = only_what_was_not_acknowledged_comes_twice(&arrived);
        let stored: Vec<_> = by_time.values().map(|fragment| frames::hashes_of_all(&fragment.file)).collect();
        for spooled in kept.iter().filter(|spooled| spooled.stream == stream) {
            let units = frames::hashes_of_all(&spooled.extract(folder.path()));
            let times = |all: &[Vec<String>]| all.iter().filter(|each| **each == units).count();
            assert!(times(&stored) >= 1, "{stream}: {} did not arrive as it was", spooled.id);
        }
        // The kill is the only gap; the outages made none.
        let fragments: Vec<_> = by_time.values().collect();
        let gaps = fragments.windows(2).filter(|pair| pair[1].first > pair[0].last + 250).count();
        assert!(gaps <= 1, "{stream}: {gaps} gaps");
    }
}

#[test]
fn a_wrong_secret_is_said_in_clear_words_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let aws = KinesisVideo::start(folder.path());
    let wrong = [("AWS_ACCESS_KEY_ID", "AKIDSTATIC"), ("AWS_SECRET_ACCESS_KEY", "not-it")];
    let streams = [("yard", Source::Loop("h264-bframes.mp4"))];
    let mut agent = Agent::to_aws(&folder.path().join("agent"), &aws.endpoint(), &wrong, &streams);
    let words = "SignatureDoesNotMatch: The request signature we calculated does not match the signature you provided.; \
                 check the secret access key";

    let check = agent.check();
    assert!(!check.status.success() && said(&check).contains(words), "{}", said(&check));
    agent.restart();
    until("the status says why", PATIENCE, || {
        let status = fs::read_to_string(agent.state().join("status.json")).ok()?;
        status.contains(words).then_some(())
    });
    until("fragments wait", PATIENCE, || (agent.spooled().len() >= 3).then_some(()));
    assert!(!agent.logged().contains("not-it"), "the log holds the secret");
    agent.stop();
    assert!(aws.arrived("e2e-yard").is_empty());
    let kept: Vec<Spooled> = agent.spooled().iter().filter_map(|path| Spooled::read(path)).collect();

    agent.set_environment(KinesisVideo::CREDENTIALS);
    let check = agent.check();
    assert!(
        check.status.success() && said(&check).contains("will be made, keeping its video for 24 hours"),
        "{}",
        said(&check)
    );
    agent.restart();
    until("all of it arrives", PATIENCE, || (aws.arrived("e2e-yard").len() >= kept.len()).then_some(()));
    agent.stop();
    let stored: Vec<_> = aws.arrived("e2e-yard").iter().map(|fragment| frames::hashes_of_all(&fragment.file)).collect();
    for spooled in &kept {
        let units = frames::hashes_of_all(&spooled.extract(folder.path()));
        assert!(stored.contains(&units), "{} did not arrive as it was", spooled.id);
    }
}

#[test]
fn credentials_that_expire_are_fetched_anew() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let aws = KinesisVideo::start(folder.path());
    let address = aws.credentials_address();
    let environment = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", address.as_str())];
    let streams = [("yard", Source::Loop("h264-bframes.mp4"))];
    let mut agent = Agent::to_aws(&folder.path().join("agent"), &aws.endpoint(), &environment, &streams);
    agent.restart();
    until("the stream arrives", PATIENCE, || (aws.arrived("e2e-yard").len() >= 2).then_some(()));

    aws.tell(&json!({"hold_acks": true, "faults": [{"error": 4003, "code": "MAX_CONNECTION_DURATION_REACHED"}]}));
    until("acks are owed", PATIENCE, || aws.arrived("e2e-yard").iter().any(|fragment| !fragment.acked).then_some(()));
    aws.tell(&json!({"down": true, "credentials": 2, "hold_acks": false}));
    aws.tell(&json!({"down": false}));
    let used = |key: &str| {
        let seen = aws.seen();
        let sessions = seen["sessions"].as_array().expect("a list").clone();
        sessions.iter().any(|session| session["key"] == key && session["fragments"].as_u64() > Some(0))
    };
    until("the stream arrives with new credentials", PATIENCE, || used("ASIATEMPORARY2").then_some(()));
    assert!(used("ASIATEMPORARY1"));
    assert!(aws.refusals("/describeStream").contains(&"ExpiredTokenException".to_owned()));
    agent.stop();
    let arrived = aws.arrived("e2e-yard");
    let fragments: Vec<_> = only_what_was_not_acknowledged_comes_twice(&arrived).into_values().collect();
    assert!(fragments.windows(2).all(|pair| pair[1].first <= pair[0].last + 250), "there is a gap: {fragments:?}");
}

#[test]
fn a_device_whose_clock_is_wrong_learns_the_time_from_aws() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let aws = KinesisVideo::start(folder.path());
    aws.tell(&json!({"skew": 3 * 86_400}));
    let agent = Agent::to_aws(&folder.path().join("agent"), &aws.endpoint(), KinesisVideo::CREDENTIALS, &[]);

    let upload = agent.once(&e2e::clip("h264-bframes.mp4"), "yard");

    assert!(upload.status.success() && said(&upload).contains("clock is wrong"), "{}", said(&upload));
    assert_eq!(aws.refusals("/describeStream")[0], "InvalidSignatureException");
    assert!(agent.spooled().is_empty());
}

#[test]
fn a_fragment_that_aws_refuses_is_put_aside_and_the_others_arrive() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let aws = KinesisVideo::start(folder.path());
    aws.tell(&json!({"faults": [{"error": 4006, "code": "INVALID_MKV_DATA"}]}));
    let agent = Agent::to_aws(&folder.path().join("agent"), &aws.endpoint(), KinesisVideo::CREDENTIALS, &[]);

    let file = e2e::clip("h264-bframes.mp4");
    let upload = agent.once(&file, "yard");

    assert!(!upload.status.success() && said(&upload).contains("INVALID_MKV_DATA"), "{}", said(&upload));
    assert_eq!((agent.rejected(), agent.spooled().len()), (1, 0));
    let arrived: usize = units(aws.arrived("e2e-yard").iter().map(|fragment| fragment.file.as_path()));
    let aside = fs::read_dir(agent.state().join("rejected")).expect("it is there").flatten().next().expect("one");
    let aside = Spooled::read(&aside.path()).expect("it is whole").extract(folder.path());
    assert_eq!(arrived + units([aside.as_path()].into_iter()), units([file.as_path()].into_iter()));
}

#[test]
fn our_own_server_takes_what_the_agent_sends_to_aws_through_a_kill() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Server::start(folder.path());
    let key = AccessKey::parse(&server.admin(&["access-key", "create", "--role", "producer", "--stream", "e2e-*"]));
    let environment = [("AWS_ACCESS_KEY_ID", key.id.as_str()), ("AWS_SECRET_ACCESS_KEY", key.secret.as_str())];
    let to_server =
        |folder: &Path, streams: &[(&str, Source)]| Agent::to_aws(folder, &server.address(""), &environment, streams);
    let agent = to_server(&folder.path().join("once"), &[]);
    let mut camera = to_server(&folder.path().join("camera"), &[("yard", Source::Loop("h264-bframes.mp4"))]);
    assert!(agent.check().status.success());

    for (stream, clip) in [("sound", "h264-aac.mp4"), ("bframes", "h264-bframes.mp4"), ("hevc", "h265-aac.mp4")] {
        let file = e2e::clip(clip);
        let upload = agent.once(&file, stream);
        assert!(upload.status.success(), "{}", said(&upload));
        let (source, url) = (file.to_string_lossy(), server.whole(&format!("e2e-{stream}")));
        for kind in frames::kinds(&source) {
            let difference = frames::difference(&frames::hashes(&source, kind), &frames::hashes(&url, kind));
            assert_eq!(difference, None, "{clip}, {kind:?}");
        }
    }
    assert_eq!(agent.spooled(), Vec::<std::path::PathBuf>::new());

    camera.restart();
    let stored = |server: &Server| server.try_everything("e2e-yard").map_or(0, |playlist| playlist.segments.len());
    until("the camera's fragments arrive", PATIENCE, || (stored(&server) >= 2).then_some(()));
    server.kill();
    until("fragments wait", PATIENCE, || (camera.spooled().len() >= 4).then_some(()));
    server.restart();
    // Those of before, and four at least that waited.
    until("what waited arrives", PATIENCE, || (stored(&server) >= 6).then_some(()));
    camera.stop();
    assert_eq!(camera.rejected(), 0);
    let segments = server.everything("e2e-yard").segments;
    let gaps: Vec<_> = segments.windows(2).filter(|pair| pair[1].start > pair[0].end() + SEAM).collect();
    assert!(gaps.is_empty(), "of {} fragments: {gaps:?}", segments.len());
}

/// The last copy of each fragment, by time. What AWS has acknowledged is not sent again.
fn only_what_was_not_acknowledged_comes_twice(arrived: &[Arrived]) -> BTreeMap<u64, &Arrived> {
    let mut by_time: BTreeMap<u64, &Arrived> = BTreeMap::new();
    for fragment in arrived {
        if let Some(before) = by_time.insert(fragment.timecode, fragment) {
            assert!(!before.acked, "{before:?} was acknowledged and came again");
        }
    }
    by_time
}

fn units<'a>(files: impl Iterator<Item = &'a Path>) -> usize {
    files.map(|file| frames::hashes(&file.to_string_lossy(), Kind::Video).len()).sum()
}

fn said(output: &std::process::Output) -> String {
    [output.stdout.as_slice(), &output.stderr].concat().iter().map(|&byte| char::from(byte)).collect()
}
