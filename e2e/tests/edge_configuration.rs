//! Edge configurations of the AWS API reach a device: boto3 gives them, a real agent records by them.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use e2e::{Agent, Camera, Server, python, until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_device_records_what_its_edge_configuration_says_until_that_is_deleted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let camera = Camera::start("h264-aac.mp4", folder.path());
    let device = folder.path().join("garden");
    let mut agent = Agent::enrolled(&device, &server);
    let mut file = fs::OpenOptions::new().append(true).open(device.join("agent.toml")).expect("it has a configuration");
    file.write_all(b"\n[fleet]\npushed = \"accept\"\ntrial = \"30s\"\n").expect("it can be written");
    agent.restart();
    let secret = format!("{{\"MediaURI\": {:?}}}", camera.url());
    let secret = server.admin_with_input(&["secret", "put", "front-camera"], &secret);
    let environment = server.aws_environment();
    let call = |script: &str| python(&["-c", &format!("{BEGIN}{script}")], &environment);

    // Without a schedule everything is uploaded at once; with deletion, by the device's spool.
    call(&format!(
        "
video.create_stream(StreamName='front', DataRetentionInHours=2)
started = video.start_edge_configuration_update(StreamName='front', EdgeConfig={{
    'HubDeviceArn': HUB,
    'RecorderConfig': {{'MediaSourceConfig': {{'MediaUriSecretArn': '{}', 'MediaUriType': 'RTSP_URI'}}}},
    'DeletionConfig': {{'EdgeRetentionInHours': 24, 'DeleteAfterUpload': False}},
}})
assert started['SyncStatus'] in ['SYNCING', 'ACKNOWLEDGED', 'IN_SYNC'], started
",
        secret.trim()
    ));
    let described = || -> Value {
        let printed = call("print(json.dumps(video.describe_edge_configuration(StreamName='front'), default=str))");
        serde_json::from_str(&printed).expect("it is JSON")
    };
    let told =
        until("the device works by it", PATIENCE, || Some(described()).filter(|told| told["SyncStatus"] == "IN_SYNC"));
    assert_eq!(told["EdgeConfig"]["DeletionConfig"]["EdgeRetentionInHours"], 24);
    until("video arrives", PATIENCE, || server.try_everything("front").filter(|all| all.segments.len() >= 2));
    let told = until("the device says how it does", PATIENCE, || {
        Some(described()).filter(|told| told["EdgeAgentStatus"]["LastRecorderStatus"]["RecorderStatus"] == "SUCCESS")
    });
    assert_eq!(told["EdgeAgentStatus"]["LastUploaderStatus"]["UploaderStatus"], "SUCCESS", "{told}");
    let shown = server.admin(&["device", "configure", "e2e-garden", "--show"]);
    for line in ["age_max = \"24h\"", "keep = \"24h\"", "mode = \"continuous\"", "stream = \"front\""] {
        assert!(shown.contains(line), "{shown}");
    }

    // What only records waits for its hours.
    call(&format!(
        "
video.start_edge_configuration_update(StreamName='front', EdgeConfig={{
    'HubDeviceArn': HUB,
    'RecorderConfig': {{'MediaSourceConfig': {{'MediaUriSecretArn': '{}', 'MediaUriType': 'RTSP_URI'}}}},
    'UploaderConfig': {{'ScheduleConfig': {{'ScheduleExpression': '0 0 19,20,21 ? * * *', 'DurationInSeconds': 3600}}}},
}})
assert [each['StreamName'] for each in video.list_edge_agent_configurations(HubDeviceArn=HUB)['EdgeConfigs']] == ['front']
",
        secret.trim()
    ));
    until("the device works by that", PATIENCE, || Some(described()).filter(|told| told["SyncStatus"] == "IN_SYNC"));
    let shown = server.admin(&["device", "configure", "e2e-garden", "--show"]);
    assert!(shown.contains("upload_hours = [\"19:00-22:00\"]") && shown.contains("mode = \"record\""), "{shown}");

    call("video.delete_edge_configuration(StreamName='front')");
    let cameras = || -> Value {
        let shown = server.admin(&["device", "show", "e2e-garden", "--json"]);
        serde_json::from_str(&shown).expect("it is JSON")
    };
    until("the device has no camera", PATIENCE, || {
        Some(cameras()).filter(|device| device["status"]["cameras_total"] == 0 && device["configuration"]["kept"] == 3)
    });
    call(
        "
try:
    video.describe_edge_configuration(StreamName='front')
except video.exceptions.StreamEdgeConfigurationNotFoundException:
    pass
else:
    raise AssertionError('it is still there')
",
    );
}

const BEGIN: &str = "
import boto3, json
video = boto3.client('kinesisvideo')
HUB = 'arn:aws:iot:us-west-2:000000000000:thing/e2e-garden'
";
