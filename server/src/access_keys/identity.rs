//! Who a caller is, and what that allows.

use std::fmt;
use std::str::FromStr;

use fragment::StreamName;
use serde::{Deserialize, Serialize};

use crate::limits;

/// A caller whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The id of its access key.
    pub(crate) access_key: String,
    pub(crate) role: Role,
    /// The streams that it may deal with; none: any.
    pub(crate) streams: Vec<StreamPattern>,
}

/// What an access key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Everything.
    Admin,
    /// Sends video: creates streams, tags them, puts media.
    Producer,
    /// Looks: lists streams, gets media.
    Viewer,
}

/// What an operation does, as far as roles go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Tells what a stream is and where its media are. Everybody needs it.
    Describe,
    /// Sends video, and makes the stream for it.
    Produce,
    /// Shows video, and which streams there are.
    Watch,
    /// Changes and deletes.
    Manage,
}

impl Role {
    fn allows(self, access: Access) -> bool {
        match self {
            Self::Admin => true,
            Self::Producer => matches!(access, Access::Describe | Access::Produce),
            Self::Viewer => matches!(access, Access::Describe | Access::Watch),
        }
    }
}

impl Identity {
    /// Whether it may do this with this stream.
    pub(crate) fn may(&self, access: Access, stream: &StreamName) -> bool {
        self.may_somewhere(access) && self.sees(stream)
    }

    /// Whether it may do this with any stream at all.
    pub(crate) fn may_somewhere(&self, access: Access) -> bool {
        self.role.allows(access)
    }

    /// Whether a stream is among those that it may deal with.
    pub(crate) fn sees(&self, stream: &StreamName) -> bool {
        self.streams.is_empty() || self.streams.iter().any(|pattern| pattern.matches(stream))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Admin => "admin",
            Self::Producer => "producer",
            Self::Viewer => "viewer",
        })
    }
}

/// A stream's name in which `*` stands for any characters, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct StreamPattern(String);

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no pattern of stream names: use 1 to {max} letters, digits, '_', '.', '-', and '*' for any of them", max = limits::PATTERN_CHARS_MAX)]
pub(crate) struct InvalidPattern(String);

impl StreamPattern {
    /// The pattern that stands for this name alone.
    pub(crate) fn only(name: &StreamName) -> Self {
        Self(name.to_string())
    }

    /// Whether a name is one of those that it stands for.
    pub(crate) fn matches(&self, name: &StreamName) -> bool {
        let mut rest = name.as_str();
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(after) = rest.strip_prefix(first) else { return false };
        rest = after;
        let mut parts: Vec<&str> = parts.collect();
        // Without an asterisk it is a name.
        let Some(last) = parts.pop() else { return rest.is_empty() };
        for part in parts {
            // The first place that fits leaves the most for those that follow.
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

impl FromStr for StreamPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '*');
        if text.is_empty() || text.len() > limits::PATTERN_CHARS_MAX || !text.chars().all(allowed) {
            return Err(InvalidPattern(text.chars().take(limits::PATTERN_CHARS_MAX).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for StreamPattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<StreamPattern> for String {
    fn from(pattern: StreamPattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for StreamPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_names() {
        for (pattern, yes, no) in [
            ("front", &["front"][..], &["front1", "afront"][..]),
            ("*", &["a", "front"], &[]),
            ("garden-*", &["garden-1", "garden-"], &["garden", "a-garden-1"]),
            ("*-hd", &["front-hd", "-hd"], &["front-hd2", "hd"]),
            ("a*b*c", &["abc", "aXbYc", "abbc", "abcbc"], &["ac", "abcd", "acb"]),
            ("ab*ba", &["abba", "abxba"], &["aba"]),
            ("**", &["x"], &[]),
        ] {
            let pattern: StreamPattern = pattern.parse().unwrap();
            for name in yes {
                assert!(pattern.matches(&name.parse().unwrap()), "{pattern} and {name}");
            }
            for name in no {
                assert!(!pattern.matches(&name.parse().unwrap()), "{pattern} and {name}");
            }
        }
    }

    #[test]
    fn what_can_be_in_no_name_is_no_pattern() {
        for text in ["", "a b", "a/*", "ä", &"a".repeat(257)] {
            assert!(text.parse::<StreamPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn roles_allow_what_they_are_for() {
        let accesses = [Access::Describe, Access::Produce, Access::Watch, Access::Manage];
        let allowed = |role: Role| accesses.map(|access| role.allows(access));
        assert_eq!(allowed(Role::Admin), [true; 4]);
        assert_eq!(allowed(Role::Producer), [true, true, false, false]);
        assert_eq!(allowed(Role::Viewer), [true, false, true, false]);
    }

    #[test]
    fn an_admin_may_be_limited_to_streams_too() {
        let identity =
            Identity { access_key: "MRAK".to_owned(), role: Role::Admin, streams: vec!["a*".parse().unwrap()] };
        assert!(identity.may(Access::Manage, &"a1".parse().unwrap()));
        assert!(!identity.may(Access::Manage, &"b1".parse().unwrap()));
    }
}
