//! The rules of texts in requests, as AWS's models have them: how long, and of which characters.

use std::ops::RangeInclusive;

/// What a text has to be.
pub(super) struct Text {
    /// How many characters.
    pub(super) length: RangeInclusive<usize>,
    /// The model's pattern, for those who break it.
    pub(super) pattern: &'static str,
    /// Whether a text is as the pattern says, whatever its length.
    pub(super) fits: fn(&str) -> bool,
}

pub(super) const STREAM_NAME: Text = Text { length: 1..=256, pattern: "[a-zA-Z0-9_.-]+", fits: is_name };

pub(super) const DEVICE_NAME: Text = Text { length: 1..=128, pattern: "[a-zA-Z0-9_.-]+", fits: is_name };

pub(super) const STREAM_ARN: Text = Text {
    length: 1..=1024,
    pattern: r"arn:[a-z\d-]+:kinesisvideo:[a-z0-9-]+:[0-9]+:[a-z]+/[a-zA-Z0-9_.-]+/[0-9]+",
    fits: is_arn,
};

pub(super) const VERSION: Text =
    Text { length: 1..=64, pattern: "[a-zA-Z0-9]+", fits: |text| all(text, |c| c.is_ascii_alphanumeric()) };

pub(super) const MEDIA_TYPE: Text = Text {
    length: 1..=128,
    pattern: r"[\w\-\.\+]+/[\w\-\.\+]+(,[\w\-\.\+]+/[\w\-\.\+]+)*",
    fits: |text| text.split(',').all(is_media_type),
};

pub(super) const KMS_KEY_ID: Text = Text { length: 1..=2048, pattern: ".+", fits: |text| !text.contains(['\n', '\r']) };

pub(super) const TAG_KEY: Text = Text { length: 1..=128, pattern: TAG_PATTERN, fits: is_of_tag };

pub(super) const TAG_VALUE: Text = Text { length: 0..=256, pattern: TAG_PATTERN, fits: is_of_tag };

pub(super) const NEXT_TOKEN: Text = Text {
    length: 0..=1024,
    pattern: "[a-zA-Z0-9+/=]*",
    fits: |text| all(text, |c| c.is_ascii_alphanumeric() || "+/=".contains(c)),
};

pub(super) const IMAGES_NEXT_TOKEN: Text = Text {
    length: 1..=4096,
    pattern: "[a-zA-Z0-9+/]+={0,2}",
    fits: |text| {
        let body = text.trim_end_matches('=');
        !body.is_empty() && text.len() - body.len() <= 2 && all(body, |c| c.is_ascii_alphanumeric() || "+/".contains(c))
    },
};

pub(super) const FORMAT_CONFIG_KEY: Text =
    Text { length: 11..=11, pattern: "[JPEGQuality]", fits: |text| text == "JPEGQuality" };

pub(super) const FORMAT_CONFIG_VALUE: Text = Text {
    length: 0..=256,
    pattern: "^[a-zA-Z_0-9]+",
    fits: |text| text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'),
};

const TAG_PATTERN: &str = r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*";

fn all(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    text.chars().all(allowed)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && all(text, |c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn is_media_type(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && all(part, |c| c.is_ascii_alphanumeric() || "_-.+".contains(c));
    text.split_once('/').is_some_and(|(kind, format)| is_part(kind) && is_part(format))
}

fn is_arn(text: &str) -> bool {
    let mut parts = text.splitn(6, ':');
    let mut part = |fits: fn(char) -> bool| parts.next().is_some_and(|part| !part.is_empty() && all(part, fits));
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    part(|c| c.is_ascii_lowercase())
        && text.starts_with("arn:")
        && part(lower)
        && part(|c| c.is_ascii_lowercase())
        && text.split(':').nth(2) == Some("kinesisvideo")
        && part(lower)
        && part(|c| c.is_ascii_digit())
        && parts.next().is_some_and(is_resource)
}

/// What stands behind the account: a kind, a name and a time.
fn is_resource(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let [kind, name, created] = parts[..] else { return false };
    let all_of = |text: &str, fits: fn(char) -> bool| !text.is_empty() && all(text, fits);
    all_of(kind, |c| c.is_ascii_lowercase()) && is_name(name) && all_of(created, |c| c.is_ascii_digit())
}

/// Letters, separators and numbers of any script, by what the standard library knows of them: a few marks count as letters
/// here that do not at AWS.
fn is_of_tag(text: &str) -> bool {
    all(text, |c| c.is_alphanumeric() || (c.is_whitespace() && !c.is_control()) || "_.:/=+-@".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_their_patterns_or_do_not() {
        let arn = "arn:aws:kinesisvideo:us-east-1:000000000000:stream/front/1551924009774";
        let cases: [(&Text, &[&str], &[&str]); 9] = [
            (&STREAM_NAME, &["a", "A_1.b-c", ".."], &["", "a b", "a/b", "ä"]),
            (
                &STREAM_ARN,
                &[arn, "arn:aws-cn:kinesisvideo:x:1:channel/a.b/0"],
                &[
                    "",
                    "front",
                    "arn:aws:kinesis:us-east-1:0:stream/a/1",
                    "arn:aws:kinesisvideo:us-east-1::stream/a/1",
                    "arn:aws:kinesisvideo:us-east-1:0:stream/a/b",
                    "arn:aws:kinesisvideo:us-east-1:0:stream/a/1/2",
                    "arn:aws:kinesisvideo:us-east-1:0:Stream/a/1",
                    "urn:aws:kinesisvideo:us-east-1:0:stream/a/1",
                ],
            ),
            (&VERSION, &["cWNvNr5iIQ1AA8LBuDFE"], &["a-b", "ä"]),
            (&MEDIA_TYPE, &["video/h264", "video/h264,audio/aac", "a/b+c"], &["", "video", "video/", "a/b,", "a/b/c"]),
            (&KMS_KEY_ID, &["alias/aws/kinesisvideo"], &["a\nb"]),
            (&TAG_KEY, &["Standort", "größe 1:/=+-@_.", "名前"], &["a,b", "a\tb", "a#"]),
            (&NEXT_TOKEN, &["", "YQ=="], &["a b", "a-b"]),
            (&IMAGES_NEXT_TOKEN, &["YQ==", "YWI=", "YWJj"], &["", "=", "YQ===", "Y=Q", "a-b"]),
            (&FORMAT_CONFIG_VALUE, &["80", "_"], &["", "-1"]),
        ];
        for (rule, good, bad) in cases {
            for text in good {
                assert!((rule.fits)(text), "{text:?} is {}", rule.pattern);
            }
            for text in bad {
                assert!(!(rule.fits)(text), "{text:?} is not {}", rule.pattern);
            }
        }
    }
}
