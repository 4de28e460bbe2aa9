//! What is said of a fragment: the notification, and the name of an image.

use fragment::WallTime;
use fragment::mkv::Tag;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Persisted;
use crate::kinesis_video::fragment_number;

/// Tags with which a producer asks for something.
pub(super) const NOTIFY: &str = "AWS_KINESISVIDEO_NOTIFICATION";
pub(super) const MAKE_IMAGES: &str = "AWS_KINESISVIDEO_IMAGE_GENERATION";
const IMAGE_PREFIX: &str = "AWS_KINESISVIDEO_IMAGE_PREFIX";

/// How tags begin that are not the producer's own.
const RESERVED: &str = "AWS_KINESISVIDEO_";

/// The account of every ARN here.
const ACCOUNT: &str = "000000000000";

/// Whether a producer asks for it.
pub(super) fn asks(tags: &[Tag], name: &str) -> bool {
    tags.iter().any(|tag| tag.name == name)
}

/// The producer's own tags.
pub(super) fn own_tags(tags: &[Tag]) -> impl Iterator<Item = &Tag> {
    tags.iter().filter(|tag| !tag.name.starts_with(RESERVED))
}

/// The notification, in the envelope in which SNS gives messages to a web address; nobody signs it.
pub(super) fn notification(persisted: &Persisted, id: &str, now: WallTime) -> Vec<u8> {
    let payload: Map<String, Value> =
        own_tags(&persisted.tags).map(|tag| (tag.name.clone(), tag.value.clone().into())).collect();
    let message = json!({
        "StreamArn": persisted.stream.arn(),
        "FragmentNumber": fragment_number::format(persisted.number),
        "FragmentStartServerTimestamp": persisted.arrived.as_millis(),
        "FragmentStartProducerTimestamp": persisted.start.as_millis(),
        "NotificationType": "PERSISTED",
        "NotificationPayload": payload,
    });
    let envelope = json!({
        "Type": "Notification",
        "MessageId": id,
        "TopicArn": persisted.stream.arn(),
        "Subject": "Kinesis Video Streams Notification",
        "Message": message.to_string(),
        "Timestamp": Timestamp::from_millisecond(now.as_millis()).unwrap_or_default().to_string(),
    });
    serde_json::to_vec(&envelope).expect("it is plain JSON")
}

/// The name of an image, as AWS makes them.
pub(super) fn image_name(persisted: &Persisted, at: WallTime, id: &str, suffix: &str) -> String {
    let prefix = persisted.tags.iter().find(|tag| tag.name == IMAGE_PREFIX).map_or("", |tag| tag.value.as_str());
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-.!*'()/".contains(c);
    // It becomes a path: whatever is not plain is left out of it.
    let prefix: String = prefix.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    let prefix = prefix.split('/').filter(|part| !part.trim_matches('.').is_empty()).collect::<Vec<_>>().join("/");
    let between = if prefix.is_empty() { "" } else { "_" };
    format!("{prefix}{between}{ACCOUNT}_{}_{}_{id}.{suffix}", persisted.stream.name, at.as_millis())
}

/// What is written beside an image.
pub(super) fn image_metadata(persisted: &Persisted, producer: WallTime, server: WallTime) -> Vec<(String, String)> {
    let mut metadata = vec![
        ("aws_kinesisvideo_producer_timestamp".to_owned(), producer.as_millis().to_string()),
        ("aws_kinesisvideo_server_timestamp".to_owned(), server.as_millis().to_string()),
        ("aws_kinesisvideo_fragment_number".to_owned(), fragment_number::format(persisted.number)),
    ];
    metadata.extend(own_tags(&persisted.tags).map(|tag| (tag.name.clone(), tag.value.clone())));
    metadata
}
