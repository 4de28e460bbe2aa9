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

pub(super) const FRAGMENT_NUMBER: Text =
    Text { length: 1..=128, pattern: "^[0-9]+$", fits: |text| all(text, |c| c.is_ascii_digit()) };

pub(super) const CONTINUATION_TOKEN: Text = Text { length: 1..=128, pattern: r"^[a-zA-Z0-9_\.\-]+$", fits: is_name };

/// A NextToken of archived media.
pub(super) const ARCHIVED_MEDIA_TOKEN: Text = Text {
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

pub(super) const HUB_DEVICE_ARN: Text = Text {
    length: 1..=1024,
    pattern: r"arn:[a-z\d-]+:iot:[a-z0-9-]+:[0-9]+:thing/[a-zA-Z0-9_.-]+",
    fits: |text| is_arn_of(text, "iot", |rest| rest.strip_prefix("thing/").is_some_and(is_name)),
};

pub(super) const SECRET_ARN: Text = Text {
    length: 20..=2048,
    pattern: r"arn:[a-z\d-]+:secretsmanager:[a-z0-9-]+:[0-9]+:secret:[a-zA-Z0-9_.-]+",
    fits: |text| is_arn_of(text, "secretsmanager", |rest| rest.strip_prefix("secret:").is_some_and(is_name)),
};

pub(super) const SCHEDULE_EXPRESSION: Text =
    Text { length: 11..=100, pattern: r"[^\n]{11,100}", fits: |text| !text.contains('\n') };

pub(super) const DESTINATION_URI: Text = Text {
    length: 1..=255,
    pattern: "^[a-zA-Z_0-9]+:(//)?([^/]+)/?([^*]*)$",
    fits: |text| {
        let Some((scheme, rest)) = text.split_once(':') else { return false };
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let is_scheme = !scheme.is_empty() && all(scheme, |c| c.is_ascii_alphanumeric() || c == '_');
        is_scheme && !authority.is_empty() && !path.contains('*')
    },
};

pub(super) const DESTINATION_REGION: Text = Text {
    length: 9..=14,
    pattern: "^[a-z]+(-[a-z]+)?-[a-z]+-[0-9]$",
    fits: |text| {
        let parts: Vec<&str> = text.split('-').collect();
        let Some((number, words)) = parts.split_last() else { return false };
        let is_word = |word: &&str| !word.is_empty() && all(word, |c| c.is_ascii_lowercase());
        (2..=3).contains(&words.len())
            && words.iter().all(is_word)
            && number.len() == 1
            && all(number, |c| c.is_ascii_digit())
    },
};

const TAG_PATTERN: &str = r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*";

fn all(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    text.chars().all(allowed)
}

/// Digits, and more of them behind a dot: seconds in a header.
pub(super) fn is_decimal(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && all(text, |c| c.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    digits(whole) && whole.len() <= 10 && digits(fraction)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && all(text, |c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn is_media_type(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && all(part, |c| c.is_ascii_alphanumeric() || "_-.+".contains(c));
    text.split_once('/').is_some_and(|(kind, format)| is_part(kind) && is_part(format))
}

fn is_arn(text: &str) -> bool {
    is_arn_of(text, "kinesisvideo", is_resource)
}

/// Whether it is an ARN of a service, and what stands behind the account is as it has to be.
fn is_arn_of(text: &str, service: &str, is_resource: impl Fn(&str) -> bool) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, found, region, account, resource] = parts[..] else { return false };
    let lower =
        |text: &str| !text.is_empty() && all(text, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let is_account = !account.is_empty() && all(account, |c| c.is_ascii_digit());
    lower(partition) && found == service && lower(region) && is_account && is_resource(resource)
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
        let cases: [(&Text, &[&str], &[&str]); 16] = [
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
            (&FRAGMENT_NUMBER, &["0", "91343852333181432387730302044767688728495783936"], &["-1", "1a", "1 "]),
            (&CONTINUATION_TOKEN, &["a_.-1"], &["a b", "a+b"]),
            (&ARCHIVED_MEDIA_TOKEN, &["YQ==", "YWI=", "YWJj"], &["", "=", "===", "YQ===", "Y=Q", "a-b"]),
            (
                &HUB_DEVICE_ARN,
                &["arn:aws:iot:us-west-2:123456789012:thing/a.b-c"],
                &["arn:aws:iot:us-west-2:123456789012:cert/a", "arn:aws:iot:us-west-2::thing/a", "thing/a"],
            ),
            (
                &SECRET_ARN,
                &["arn:aws:secretsmanager:us-east-1:000000000000:secret:front"],
                &["arn:aws:secretsmanager:us-east-1:000000000000:secret:", "arn:aws:iot:us-east-1:0:secret:front"],
            ),
            (
                &DESTINATION_URI,
                &["s3://bucket", "s3://bucket/a/b", "arn:aws:sns:us-east-1:0:topic", "https://a:80/b?c"],
                &["", "s3", "s3://", "s3://bucket/*", "-://a"],
            ),
            (&DESTINATION_REGION, &["us-west-2", "us-gov-west-1"], &["us-west-22", "west-2", "us-west", "US-west-2"]),
            (&SCHEDULE_EXPRESSION, &["0 0 9 ? * * *"], &["0 0 9\n* * * *"]),
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
