//! Why a camera was in trouble, as one word for logs, metrics and status.

use std::fmt;

use onvif::answer::Refusal;
use onvif::client::LookUpError;
use serde::{Deserialize, Serialize};

use crate::discover::NoStream;

/// Why a camera was in trouble. The names are kept: people have alarms on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Nothing answers at its address.
    NoAnswer,
    /// Its machine is there and refuses the connection.
    Refused,
    /// It does not take the user name or the password.
    Unauthorized,
    /// Its certificate is not trusted.
    Untrusted,
    /// It has no such path, or the device has no such camera.
    NotFound,
    /// Another program has it.
    Busy,
    /// The session lives, and nothing comes.
    Silent,
    /// Its sound goes on, and no picture comes.
    PictureStands,
    /// Pictures come, and are one and the same.
    FrozenPicture,
    /// It ended its stream, or closed the connection.
    StreamEnded,
    /// Its coding changed: the recording goes on in a new session.
    CodingChanged,
    /// Its clock jumped: the recording goes on in a new session.
    ClockJumped,
    /// Its clock stands, or nearly does: the fragment never comes to its end.
    ClockStands,
    /// It paused and went on by itself: the recording goes on in a new session.
    Paused,
    /// Packets were lost on the way: what came is recorded, and shows it.
    PacketsLost,
    /// It sends nothing that can be recorded.
    Unusable,
    /// A file that its configuration names can't be read.
    FileMissing,
    /// The pipeline failed for another reason.
    PipelineFailed,
}

impl Reason {
    /// Every reason there is.
    pub const ALL: [Self; 18] = [
        Self::NoAnswer,
        Self::Refused,
        Self::Unauthorized,
        Self::Untrusted,
        Self::NotFound,
        Self::Busy,
        Self::Silent,
        Self::PictureStands,
        Self::FrozenPicture,
        Self::StreamEnded,
        Self::CodingChanged,
        Self::ClockJumped,
        Self::ClockStands,
        Self::Paused,
        Self::PacketsLost,
        Self::Unusable,
        Self::FileMissing,
        Self::PipelineFailed,
    ];

    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "no-answer",
            Self::Refused => "refused",
            Self::Unauthorized => "unauthorized",
            Self::Untrusted => "untrusted",
            Self::NotFound => "not-found",
            Self::Busy => "busy",
            Self::Silent => "silent",
            Self::PictureStands => "picture-stands",
            Self::FrozenPicture => "frozen-picture",
            Self::StreamEnded => "stream-ended",
            Self::CodingChanged => "coding-changed",
            Self::ClockJumped => "clock-jumped",
            Self::ClockStands => "clock-stands",
            Self::Paused => "paused",
            Self::PacketsLost => "packets-lost",
            Self::Unusable => "unusable",
            Self::FileMissing => "file-missing",
            Self::PipelineFailed => "pipeline-failed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(feature = "capture")]
impl From<&pipelines::Error> for Reason {
    fn from(error: &pipelines::Error) -> Self {
        use pipelines::Error;
        match error {
            Error::Unreachable { .. } => Self::NoAnswer,
            Error::Refused { .. } => Self::Refused,
            Error::Unauthorised { .. } => Self::Unauthorized,
            Error::Untrusted { .. } => Self::Untrusted,
            Error::NotFound { .. } => Self::NotFound,
            Error::Busy { .. } => Self::Busy,
            Error::Silent { .. } => Self::Silent,
            Error::PictureStands { .. } => Self::PictureStands,
            Error::Lost { .. } => Self::StreamEnded,
            Error::NothingUsable { .. } | Error::Damaged { .. } => Self::Unusable,
            Error::Invalid { .. } | Error::MissingElement { .. } | Error::Encoder { .. } | Error::Other { .. } => {
                Self::PipelineFailed
            }
        }
    }
}

impl From<&NoStream> for Reason {
    fn from(error: &NoStream) -> Self {
        match error {
            NoStream::LookUp(LookUpError::Refused(_, Refusal::Unauthorised)) => Self::Unauthorized,
            NoStream::LookUp(LookUpError::Refused(..)) => Self::Unusable,
            NoStream::LookUp(LookUpError::Closed(_)) => Self::Refused,
            NoStream::LookUp(LookUpError::Unreachable(..) | LookUpError::Slow { .. } | LookUpError::NotFound(_)) => {
                Self::NoAnswer
            }
            // It is this device that can't call.
            NoStream::LookUp(LookUpError::Search(_)) => Self::PipelineFailed,
            NoStream::NoProfile { .. } | NoStream::NoAddress(_) => Self::NotFound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_the_same_name_in_status_and_metrics_and_its_own_place() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
            assert_eq!(reason as usize, place);
        }
    }
}
