//! `destination = "aws"` and its `[aws]`.

use std::time::Duration;

use fragment::StreamName;
use serde::Deserialize;

use super::Camera;
use super::Problems;

/// Uploading to Amazon Kinesis Video Streams. Credentials are found where every AWS tool looks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aws {
    /// The region that the streams lie in.
    pub region: String,
    /// Another address than the region's, for a server that speaks the same.
    pub endpoint: Option<String>,
    /// How long a stream that is made here keeps its video, in hours; `None` makes no stream.
    pub retention_hours: Option<u32>,
    /// What stands before the name of each stream.
    pub stream_prefix: String,
}

impl Aws {
    /// What a stream is called at AWS. `None` if the name would be too long.
    pub fn stream_name(&self, stream: &StreamName) -> Option<String> {
        let name = format!("{}{stream}", self.stream_prefix);
        name.parse::<StreamName>().is_ok().then_some(name)
    }
}

/// The longest that Kinesis Video Streams keeps video: ten years.
const RETENTION_HOURS_MAX: u32 = 87_600;
const RETENTION_HOURS_DEFAULT: u32 = 24;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    region: Option<String>,
    endpoint: Option<String>,
    retention: Option<String>,
    create_streams: Option<bool>,
    stream_prefix: Option<String>,
}

/// Where the fragments go, as far as it is known.
pub(super) enum Destination {
    Millrace,
    /// `None`: its settings are wrong, which has been said.
    Aws(Option<Aws>),
}

/// What `destination` and `[aws]` say together.
pub(super) fn resolve(destination: Option<&str>, raw: Option<Raw>, problems: &mut Problems) -> Destination {
    match (destination, raw) {
        (None | Some("millrace"), None) => Destination::Millrace,
        (None | Some("millrace"), Some(_)) => {
            problems.push(
                "[aws] has no effect: write destination = \"aws\" at the top of the file, or remove it".to_owned(),
            );
            Destination::Millrace
        }
        (Some("aws"), raw) => {
            if !cfg!(feature = "aws") {
                problems.push(
                    "destination is \"aws\", but this agent was built without it: build it with the feature `aws`"
                        .to_owned(),
                );
            }
            Destination::Aws(raw.unwrap_or_default().resolve(problems))
        }
        (Some(other), _) => {
            problems.push(format!(
                "destination is {other:?}: write destination = \"millrace\" for a server of yours, or destination = \"aws\""
            ));
            Destination::Aws(None)
        }
    }
}

/// A key that would have no effect is a misunderstanding, and is said.
pub(super) fn refuse_server(given: &[&str], problems: &mut Problems) {
    for key in given {
        problems.push(format!(
            "server.{key} has no effect with destination = \"aws\", which takes AWS credentials and no join token: remove it"
        ));
    }
}

/// AWS takes the fragments of a stream in their order, all of them, as they come.
pub(super) fn refuse_rules(uplink: bool, modes: bool, problems: &mut Problems) {
    for (given, what) in [(uplink, "[uplink]"), (modes, "mode and upload_hours of a camera")] {
        if given {
            problems.push(format!(
                "{what} can't be kept with destination = \"aws\", which takes all as it comes: remove it"
            ));
        }
    }
}

/// Each stream's name at AWS has to be one.
pub(super) fn check_names(aws: &Aws, cameras: &[Camera], problems: &mut Problems) {
    for camera in cameras.iter().filter(|camera| aws.stream_name(&camera.stream).is_none()) {
        problems.push(format!(
            "aws.stream_prefix and the stream {} are together longer than a stream's name may be, 256: shorten one",
            camera.stream
        ));
    }
}

impl Raw {
    fn resolve(self, problems: &mut Problems) -> Option<Aws> {
        let before = problems.len();
        let region = self.region.unwrap_or_default();
        if region.is_empty() || !region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            problems.push(format!(
                "aws.region is {}: write [aws] and below it region = \"eu-central-1\"",
                if region.is_empty() { "missing".to_owned() } else { format!("{region:?}") }
            ));
        }
        let endpoint = self.endpoint.map(|endpoint| endpoint.trim_end_matches('/').to_owned());
        if let Some(endpoint) = endpoint.as_ref().filter(|endpoint| !is_origin(endpoint)) {
            problems.push(format!(
                "aws.endpoint is {endpoint:?}: write scheme and host, as in endpoint = \"https://video.example.org\", or remove it"
            ));
        }
        let stream_prefix = self.stream_prefix.unwrap_or_default();
        if !stream_prefix.is_empty() && stream_prefix.parse::<StreamName>().is_err() {
            problems.push(format!(
                "aws.stream_prefix is {stream_prefix:?}: use letters, digits, '_', '.' or '-', as in stream_prefix = \"berlin-\""
            ));
        }
        let hours = self.retention.as_ref().map(|text| (text, hours(text)));
        let retention_hours = match (self.create_streams, hours) {
            (Some(false), None) => None,
            (Some(false), Some(_)) => {
                problems.push(
                    "aws.retention is that of streams that are made here, and create_streams = false: remove one"
                        .to_owned(),
                );
                None
            }
            (_, Some((text, None))) => {
                problems.push(format!(
                    "aws.retention is {text:?}: write whole hours or days from \"1h\" to \"3650d\", as in retention = \"24h\""
                ));
                None
            }
            (_, Some((_, hours))) => hours,
            (_, None) => Some(RETENTION_HOURS_DEFAULT),
        };
        (problems.len() == before).then_some(Aws { region, endpoint, retention_hours, stream_prefix })
    }
}

/// Whole hours. None at all would keep nothing, and no fragment would ever be persisted.
fn hours(text: &str) -> Option<u32> {
    let duration = humantime::parse_duration(text.trim()).ok()?;
    let whole = duration.as_secs().is_multiple_of(3600) && duration.subsec_nanos() == 0;
    let hours = u32::try_from(duration.as_secs() / 3600).ok().filter(|_| whole && duration > Duration::ZERO)?;
    (hours <= RETENTION_HOURS_MAX).then_some(hours)
}

fn is_origin(endpoint: &str) -> bool {
    let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    const CAMERA: &str = "[[camera]]\nstream = \"front\"\nurl = \"rtsp://cam/1\"\n";

    #[test]
    #[cfg(feature = "aws")]
    fn aws_needs_its_region_and_nothing_else() {
        let aws = parse("destination = \"aws\"\n[aws]\nregion = \"eu-central-1\"\n").unwrap().aws.unwrap();
        assert_eq!(aws.region, "eu-central-1");
        assert_eq!((aws.endpoint.as_deref(), aws.retention_hours), (None, Some(24)));
        assert_eq!(aws.stream_name(&"front".parse().unwrap()).unwrap(), "front");
    }

    #[test]
    fn without_a_destination_nothing_changes() {
        let text = "destination = \"millrace\"\n[server]\naddress = \"localhost:8443\"\n";
        assert_eq!(parse(text).unwrap().aws, None);
    }

    #[test]
    fn every_problem_of_aws_names_its_key_and_what_to_write() {
        let region = "[aws]\nregion = \"eu-central-1\"\n";
        for (text, key, advice) in [
            ("destination = \"s3\"".to_owned(), "destination is \"s3\"", "destination = \"aws\""),
            ("destination = \"aws\"".to_owned(), "aws.region is missing", "region = \"eu-central-1\""),
            (format!("{region}[server]\naddress = \"a:1\""), "[aws] has no effect", "destination = \"aws\""),
            (format!("destination = \"aws\"\n{region}[server]\ntoken = \"x\""), "server.token", "remove it"),
            (format!("destination = \"aws\"\n{region}endpoint = \"here\""), "aws.endpoint", "https://"),
            (format!("destination = \"aws\"\n{region}[uplink]\nmode = \"record\""), "[uplink] can't", "remove it"),
            (format!("destination = \"aws\"\n{region}retention = \"90m\""), "aws.retention", "\"24h\""),
            (format!("destination = \"aws\"\n{region}retention = \"0h\""), "aws.retention", "\"1h\""),
            (
                format!("destination = \"aws\"\n{region}create_streams = false\nretention = \"1h\""),
                "create_streams",
                "remove",
            ),
            (format!("destination = \"aws\"\n{region}stream_prefix = \"a b\""), "aws.stream_prefix", "berlin-"),
            (format!("destination = \"aws\"\n{region}stream_prefix = \"{}\"", "x".repeat(255)), "256", "shorten"),
        ] {
            let message = parse(&format!("{text}\n")).unwrap_err().to_string();
            assert!(message.contains(key) && message.contains(advice), "{text}\n{message}");
        }
    }

    #[test]
    fn retention_is_read_as_people_write_it() {
        for (written, expected) in
            [("1h", Some(1)), ("7days", Some(168)), ("10d", Some(240)), ("3651d", None), ("", None)]
        {
            assert_eq!(hours(written), expected, "{written}");
        }
    }

    fn parse(text: &str) -> Result<Config, super::super::ConfigError> {
        Config::parse(&format!("{text}{CAMERA}"), Path::new("/etc/millrace"))
    }
}
