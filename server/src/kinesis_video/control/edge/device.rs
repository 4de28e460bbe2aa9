//! What an edge configuration means for its device: cameras and spool in the configuration that the server pushes to it.
//!
//! A pushed section replaces the device's own, whole, so the camera of a stream is put in, or taken out, among those that were
//! pushed before. The spool is one for all streams of a device: an edge configuration may say how it is only where it is the
//! only one, or says the same.

use toml::{Table, Value};

use super::config::{DeletionConfig, EdgeConfig, MediaUriType, StrategyOnFullSize};

/// Why a device can't do as it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MappingError {
    #[error("the secret's MediaURI must begin with {0}")]
    Uri(&'static str),
    #[error(
        "the device keeps all its streams in one spool, which another configuration has set otherwise; give the same deletionConfig, or none"
    )]
    Spool,
    #[error(
        "the device has cameras by its own file, for {0}, which one that is pushed takes the place of; push them first, by `millrace device configure`"
    )]
    OwnCameras(String),
    #[error("the configuration that was pushed to the device can't be read: {0}")]
    Pushed(String),
}

/// The pushed configuration with the camera of this stream as it is configured.
pub(super) fn with(
    pushed: &str,
    stream: &str,
    config: &EdgeConfig,
    uri: &str,
    hours: Option<Vec<String>>,
) -> Result<String, MappingError> {
    let mut table = parse(pushed)?;
    let mut cameras = without_camera(&mut table, stream);
    if let Some(deletion) = &config.deletion_config {
        let (spool, before) = (spool(deletion), table.get("spool"));
        if !cameras.is_empty() && before.is_some_and(|before| *before != Value::Table(spool.clone())) {
            return Err(MappingError::Spool);
        }
        table.insert("spool".to_owned(), spool.into());
    }
    cameras.push(camera(stream, config, uri, hours)?.into());
    table.insert(CAMERA.to_owned(), cameras.into());
    Ok(write(&table))
}

/// The pushed configuration without the camera of this stream.
pub(super) fn without(pushed: &str, stream: &str) -> Result<String, MappingError> {
    let mut table = parse(pushed)?;
    let cameras = without_camera(&mut table, stream);
    if !cameras.is_empty() {
        table.insert(CAMERA.to_owned(), cameras.into());
    }
    Ok(write(&table))
}

/// Whether cameras are pushed at all: if not, the device has those of its own file.
pub(super) fn has_cameras(pushed: &str) -> Result<bool, MappingError> {
    Ok(parse(pushed)?.contains_key(CAMERA))
}

const CAMERA: &str = "camera";

fn parse(pushed: &str) -> Result<Table, MappingError> {
    toml::from_str(pushed).map_err(|error| MappingError::Pushed(error.to_string()))
}

fn write(table: &Table) -> String {
    toml::to_string(table).expect("a table that was read can be written")
}

/// Takes the cameras out, and gives those of other streams.
fn without_camera(table: &mut Table, stream: &str) -> Vec<Value> {
    let cameras = match table.remove(CAMERA) {
        Some(Value::Array(cameras)) => cameras,
        _ => Vec::new(),
    };
    let is_other = |camera: &Value| camera.get("stream").and_then(Value::as_str) != Some(stream);
    cameras.into_iter().filter(is_other).collect()
}

fn camera(stream: &str, config: &EdgeConfig, uri: &str, hours: Option<Vec<String>>) -> Result<Table, MappingError> {
    let mut camera = Table::new();
    camera.insert("stream".to_owned(), stream.into());
    match config.recorder_config.media_source_config.media_uri_type {
        MediaUriType::RtspUri if uri.starts_with("rtsp://") || uri.starts_with("rtsps://") => {
            camera.insert("url".to_owned(), uri.into());
        }
        MediaUriType::RtspUri => return Err(MappingError::Uri("rtsp:// or rtsps://")),
        MediaUriType::FileUri => {
            let path = uri.strip_prefix("file://").unwrap_or(uri);
            if !path.starts_with('/') {
                return Err(MappingError::Uri("file:/// or /"));
            }
            camera.insert("file".to_owned(), path.into());
        }
    }
    match hours {
        Some(hours) => {
            camera.insert("mode".to_owned(), "record".into());
            camera.insert("upload_hours".to_owned(), hours.into());
        }
        None => {
            camera.insert("mode".to_owned(), "continuous".into());
        }
    }
    Ok(camera)
}

fn spool(deletion: &DeletionConfig) -> Table {
    let mut spool = Table::new();
    let hours = format!("{}h", deletion.edge_retention_in_hours.unwrap_or(RETENTION_DEFAULT_HOURS));
    spool.insert("age_max".to_owned(), hours.clone().into());
    if deletion.delete_after_upload == Some(false) {
        spool.insert("keep".to_owned(), hours.into());
    }
    if let Some(size) = &deletion.local_size_config {
        if let Some(megabytes) = size.max_local_media_size_in_mb {
            spool.insert("bytes_max".to_owned(), format!("{megabytes} MB").into());
        }
        let when_full = size.strategy_on_full_size.map(|strategy| match strategy {
            StrategyOnFullSize::DeleteOldestMedia => "drop-oldest",
            StrategyOnFullSize::DenyNewMedia => "stop-recording",
        });
        spool.extend(when_full.map(|when_full| ("when_full".to_owned(), when_full.into())));
    }
    spool
}

/// As at AWS.
const RETENTION_DEFAULT_HOURS: u32 = 720;

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    const URI: &str = "rtsp://me:hush@192.0.2.9/1";

    #[test]
    fn a_camera_is_added_and_changed_among_others_and_taken_out_again() {
        let one = with("", "front", &config(&json!({})), URI, None).unwrap();
        let two = with(&one, "back", &config(&json!({})), URI, Some(vec!["19:00-22:00".to_owned()])).unwrap();
        let changed = with(&two, "front", &config(&json!({})), "rtsps://192.0.2.9/2", None).unwrap();
        let cameras = parse(&changed).unwrap()[CAMERA].clone();
        let expected = "camera = [{ stream = 'back', url = 'rtsp://me:hush@192.0.2.9/1', mode = 'record', upload_hours = ['19:00-22:00'] },
                        { stream = 'front', url = 'rtsps://192.0.2.9/2', mode = 'continuous' }]";
        assert_eq!(cameras, parse(&expected.replace('\n', "")).unwrap()[CAMERA]);
        assert_eq!(
            without(&without(&changed, "front").unwrap(), "back").unwrap(),
            "",
            "the device's own file counts again"
        );
    }

    #[test]
    fn what_an_operator_has_pushed_stays() {
        let pushed = "[uplink]\nrate_max = '1 Mbit/s'\n[[camera]]\nstream = 'yard'\ntest_pattern = true\n";
        let after = parse(&with(pushed, "front", &config(&json!({})), URI, None).unwrap()).unwrap();
        assert_eq!(after["uplink"], parse(pushed).unwrap()["uplink"]);
        assert_eq!(after[CAMERA].as_array().unwrap().len(), 2);
        assert!(has_cameras(pushed).unwrap() && !has_cameras("[uplink]\n").unwrap());
    }

    #[test]
    fn deletion_is_the_devices_spool() {
        let spool = |deletion: Json| {
            let config = config(&json!({ "DeletionConfig": deletion }));
            parse(&with("", "front", &config, URI, None).unwrap()).unwrap()["spool"].as_table().unwrap().clone()
        };
        assert_eq!(spool(json!({})), parse("age_max = '720h'").unwrap());
        let kept = spool(json!({ "EdgeRetentionInHours": 24, "DeleteAfterUpload": false }));
        assert_eq!(kept, parse("age_max = '24h'\nkeep = '24h'").unwrap());
        let bounded = json!({ "MaxLocalMediaSizeInMB": 500, "StrategyOnFullSize": "DENY_NEW_MEDIA" });
        let expected = "age_max = '720h'\nbytes_max = '500 MB'\nwhen_full = 'stop-recording'";
        assert_eq!(spool(json!({ "LocalSizeConfig": bounded })), parse(expected).unwrap());
    }

    #[test]
    fn one_stream_does_not_change_the_spool_of_another() {
        let day = config(&json!({ "DeletionConfig": { "EdgeRetentionInHours": 24 } }));
        let week = config(&json!({ "DeletionConfig": { "EdgeRetentionInHours": 168 } }));
        let one = with("", "front", &day, URI, None).unwrap();
        assert!(with(&one, "back", &day, URI, None).is_ok());
        assert_eq!(with(&one, "back", &week, URI, None), Err(MappingError::Spool));
        assert!(with(&one, "front", &week, URI, None).is_ok(), "its own it may");
    }

    #[test]
    fn an_address_has_to_be_of_its_kind() {
        let file = json!({ "MediaUriSecretArn": "a:b", "MediaUriType": "FILE_URI" });
        let file = config(&json!({ "RecorderConfig": { "MediaSourceConfig": file } }));
        let of_file = |uri: &str| {
            with("", "front", &file, uri, None)
                .map(|text| parse(&text).unwrap()[CAMERA][0]["file"].as_str().unwrap().to_owned())
        };
        assert_eq!(of_file("file:///srv/a b.mp4").unwrap(), "/srv/a b.mp4");
        assert_eq!(of_file("/srv/a.mp4").unwrap(), "/srv/a.mp4");
        assert!(of_file("rtsp://a/b").is_err());
        assert!(with("", "front", &config(&json!({})), "http://a/b", None).is_err());
    }

    fn config(more: &Json) -> EdgeConfig {
        let source = json!({ "MediaUriSecretArn": "a:b", "MediaUriType": "RTSP_URI" });
        let mut config = json!({
            "HubDeviceArn": "arn:aws:iot:us-east-1:0:thing/garden",
            "RecorderConfig": { "MediaSourceConfig": source },
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(config).unwrap()
    }
}
