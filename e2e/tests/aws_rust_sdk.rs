//! AWS's SDK for Rust, as it is published, against our server: the same way through a stream as that of the command line.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sdk_kinesisvideo as video;
use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideoarchivedmedia as archived;
use aws_sdk_kinesisvideoarchivedmedia::primitives::DateTime;
use aws_sdk_kinesisvideoarchivedmedia::types::{
    ClipFragmentSelector, ClipFragmentSelectorType, ClipTimestampRange, FragmentSelector, FragmentSelectorType,
    HlsFragmentSelector, HlsFragmentSelectorType, HlsPlaybackMode, HlsTimestampRange, TimestampRange,
};
use aws_sdk_kinesisvideomedia as media;
use aws_sdk_kinesisvideomedia::types::{StartSelector, StartSelectorType};
use e2e::frames::{self, Kind};
use e2e::{AccessKey, Media, Producer, Server, Timecodes, clip};

const CLIP: &str = "h264-aac.mp4";
const STREAM: &str = "garden";

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_for_rust_makes_a_stream_reads_it_and_takes_it_down() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // By AWS's limits GetMedia waits three seconds for more, and not thirty.
    let server = Server::start_serving(folder.path(), &["--limits", "aws"], &[]);
    let key = AccessKey::parse(&server.admin(&["access-key", "create"]));
    let control = video::Client::from_conf(config!(video, &key, server.address("")));

    let made = control.create_stream().stream_name(STREAM).data_retention_in_hours(24).send().await;
    let arn = made.expect("it is made").stream_arn.expect("it has an ARN");
    let streams: Result<Vec<_>, _> = control.list_streams().into_paginator().items().send().collect().await;
    assert_eq!(streams.expect("they are listed")[0].stream_arn(), Some(arn.as_str()));

    let begin = an_hour_ago_ms();
    let sent = Media::of(&clip(CLIP), begin);
    Producer::connect(&server.http_address(), &key, STREAM, Timecodes::Absolute).put(&sent);

    let endpoint = async |api: ApiName| {
        let answer = control.get_data_endpoint().stream_name(STREAM).api_name(api).send().await;
        answer.expect("there is one").data_endpoint.expect("it has an address")
    };
    let kept = archived::Client::from_conf(config!(archived, &key, endpoint(ApiName::ListFragments).await));
    let (from, to) = (DateTime::from_millis(millis(begin) - 1), DateTime::from_millis(millis(begin) + 60_000));
    let range = TimestampRange::builder().start_timestamp(from).end_timestamp(to).build().expect("both are there");
    let selector = FragmentSelector::builder()
        .fragment_selector_type(FragmentSelectorType::ProducerTimestamp)
        .timestamp_range(range)
        .build()
        .expect("both are there");
    let pages = kept.list_fragments().stream_name(STREAM).fragment_selector(selector).max_results(3);
    let fragments = pages.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    assert_eq!(fragments.expect("they are listed").len(), sent.fragments.len());

    let range = ClipTimestampRange::builder().start_timestamp(from).end_timestamp(to).build().expect("both are there");
    let selector = ClipFragmentSelector::builder()
        .fragment_selector_type(ClipFragmentSelectorType::ProducerTimestamp)
        .timestamp_range(range)
        .build()
        .expect("both are there");
    let answer = kept.get_clip().stream_name(STREAM).clip_fragment_selector(selector).send().await.expect("a clip");
    let bytes = answer.payload.collect().await.expect("it comes to its end").into_bytes();
    let written = folder.path().join("clip.mp4");
    std::fs::write(&written, &bytes).expect("the folder can be written");
    is_identical(&written.to_string_lossy());

    let live = media::Client::from_conf(config!(media, &key, endpoint(ApiName::GetMedia).await));
    let selector = StartSelector::builder().start_selector_type(StartSelectorType::Earliest).build();
    let selector = selector.expect("its type is there");
    let answer = live.get_media().stream_name(STREAM).start_selector(selector).send().await.expect("media");
    assert_eq!(answer.content_type(), Some("video/webm"));
    let bytes = answer.payload.collect().await.expect("they come to their end").into_bytes();
    let written = folder.path().join("media.mkv");
    std::fs::write(&written, &bytes).expect("the folder can be written");
    is_identical(&written.to_string_lossy());

    let range = HlsTimestampRange::builder().start_timestamp(from).end_timestamp(to).build();
    let selector = HlsFragmentSelector::builder()
        .fragment_selector_type(HlsFragmentSelectorType::ProducerTimestamp)
        .timestamp_range(range)
        .build();
    let session = kept
        .get_hls_streaming_session_url()
        .stream_name(STREAM)
        .playback_mode(HlsPlaybackMode::OnDemand)
        .hls_fragment_selector(selector)
        .send()
        .await;
    is_identical(&session.expect("a session").hls_streaming_session_url.expect("it has an address"));

    control.delete_stream().stream_arn(arn).send().await.expect("it is deleted");
    let gone = control.describe_stream().stream_name(STREAM).send().await.expect_err("it is gone");
    assert!(gone.into_service_error().is_resource_not_found_exception());
}

/// How a client of one of the SDK's crates is configured.
macro_rules! config {
    ($sdk:ident, $key:expr, $endpoint:expr) => {
        $sdk::Config::builder()
            .behavior_version($sdk::config::BehaviorVersion::v2026_01_12())
            .region($sdk::config::Region::new("eu-central-1"))
            .credentials_provider(Credentials::new(&$key.id, &$key.secret, None, None, "the test"))
            .endpoint_url($endpoint)
            .build()
    };
}
use config;

/// What is read there has all pictures and all sound of the clip.
fn is_identical(input: &str) {
    let source = clip(CLIP).to_string_lossy().into_owned();
    for kind in [Kind::Video, Kind::Audio] {
        let difference = frames::difference(&frames::hashes(&source, kind), &frames::hashes(input, kind));
        assert_eq!(difference, None, "{input}, {kind:?}");
    }
}

/// Long enough for what is played to have an end.
fn an_hour_ago_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    u64::try_from(since.as_millis()).expect("before the year 584 million") - 3_600_000
}

fn millis(of: u64) -> i64 {
    i64::try_from(of).expect("before the year 292 million")
}
