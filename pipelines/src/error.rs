//! Why a source failed, in words for the person who set it up. No credentials appear in them.

use std::time::Duration;

use gst::glib;

/// Why a pipeline failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The camera wants other credentials.
    #[error("{what} refused the user name or the password")]
    Unauthorised {
        /// What was opened.
        what: String,
    },
    /// There is no such thing.
    #[error("{what} was not found: {detail}")]
    NotFound {
        /// What was opened.
        what: String,
        /// What GStreamer said.
        detail: String,
    },
    /// It could not be opened.
    #[error("cannot open {what}: {detail}")]
    Unreachable {
        /// What was opened.
        what: String,
        /// What GStreamer said.
        detail: String,
    },
    /// There is a machine, and it does not want to talk.
    #[error("cannot open {what}: it refused the connection; is its RTSP service on, and is {port} its port?")]
    Refused {
        /// What was opened.
        what: String,
        /// The port that was tried.
        port: u16,
    },
    /// Its certificate is not believed.
    #[error("the certificate of {what} is not trusted: {detail}")]
    Untrusted {
        /// What was opened.
        what: String,
        /// Why not.
        detail: String,
    },
    /// Another program has it.
    #[error("{what} is in use by another program")]
    Busy {
        /// What was opened.
        what: String,
    },
    /// Its bytes stopped coming while the connection stayed.
    #[error("{what} sent nothing for {} seconds", silence.as_secs())]
    Silent {
        /// What was opened.
        what: String,
        /// For how long.
        silence: Duration,
    },
    /// Its sound goes on, and its picture does not.
    #[error("{what} sent sound and no picture for {} seconds", silence.as_secs())]
    PictureStands {
        /// What was opened.
        what: String,
        /// For how long.
        silence: Duration,
    },
    /// It went away while it was read.
    #[error("{what} went away: {detail}")]
    Lost {
        /// What was opened.
        what: String,
        /// What GStreamer said.
        detail: String,
    },
    /// It has nothing that can be taken.
    #[error("{what} has neither H.264, H.265 or JPEG video nor usable audio; it offers {offers}")]
    NothingUsable {
        /// What was opened.
        what: String,
        /// What it has.
        offers: String,
    },
    /// Its bytes are not what they should be.
    #[error("{what} is damaged or not what it seems: {detail}")]
    Damaged {
        /// What was opened.
        what: String,
        /// What is wrong.
        detail: String,
    },
    /// The source is described in a way that cannot be run.
    #[error("{what} cannot be used: {detail}")]
    Invalid {
        /// What was described.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// GStreamer lacks a part.
    #[error("GStreamer has no element {element}; install the plugin package that holds it")]
    MissingElement {
        /// The missing element, or several that would do.
        element: String,
    },
    /// An encoder of this machine failed on its pictures.
    #[error("the encoder {encoder} failed on {what}: {detail}; the next best is used for now")]
    Encoder {
        /// What was opened.
        what: String,
        /// Which encoder.
        encoder: &'static str,
        /// What GStreamer said.
        detail: String,
    },
    /// Anything else.
    #[error("GStreamer failed on {what}: {detail}")]
    Other {
        /// What was opened.
        what: String,
        /// What GStreamer said.
        detail: String,
    },
}

impl Error {
    /// Whether to try again without a change: a camera may come back, a missing plugin will not.
    /// Refused credentials are tried again too, since cameras refuse while they boot.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unauthorised { .. }
            | Self::NotFound { .. }
            | Self::Unreachable { .. }
            | Self::Busy { .. }
            | Self::Refused { .. }
            | Self::Untrusted { .. }
            | Self::PictureStands { .. }
            | Self::Silent { .. }
            | Self::Lost { .. }
            | Self::Encoder { .. }
            | Self::Other { .. } => true,
            Self::NothingUsable { .. } | Self::Damaged { .. } | Self::Invalid { .. } | Self::MissingElement { .. } => {
                false
            }
        }
    }

    /// What an error message of the bus means. `flowing` says whether units have come before.
    pub(crate) fn from_bus(what: &str, flowing: bool, error: &glib::Error) -> Self {
        let what = what.to_owned();
        let detail = error.message().to_owned();
        if let Some(kind) = error.kind::<gst::ResourceError>() {
            return Self::from_resource(kind, what, flowing, detail);
        }
        match error.kind::<gst::StreamError>() {
            // Demuxers post Failed when the flow below them broke; the first cause has come before.
            Some(gst::StreamError::Failed) if flowing => Self::Lost { what, detail },
            Some(
                gst::StreamError::Demux
                | gst::StreamError::Decode
                | gst::StreamError::Format
                | gst::StreamError::WrongType
                | gst::StreamError::TypeNotFound
                | gst::StreamError::Failed,
            ) => Self::Damaged { what, detail },
            Some(gst::StreamError::CodecNotFound) => Self::MissingElement { element: detail },
            _ if error.matches(gst::CoreError::MissingPlugin) => Self::MissingElement { element: detail },
            _ => Self::Other { what, detail },
        }
    }

    fn from_resource(kind: gst::ResourceError, what: String, flowing: bool, detail: String) -> Self {
        match kind {
            gst::ResourceError::NotAuthorized => Self::Unauthorised { what },
            gst::ResourceError::NotFound => Self::NotFound { what, detail },
            gst::ResourceError::Busy => Self::Busy { what },
            _ if flowing => Self::Lost { what, detail },
            _ => Self::Unreachable { what, detail },
        }
    }

    /// What a launch line that does not parse means.
    pub(crate) fn from_parse(what: &str, error: &glib::Error) -> Self {
        let detail = error.message().to_owned();
        if error.matches(gst::ParseError::NoSuchElement) {
            // The message is: no element "x264enc".
            let element = detail.split('"').nth(1).unwrap_or(&detail).to_owned();
            return Self::MissingElement { element };
        }
        Self::Invalid { what: what.to_owned(), detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_password_is_said_in_words() {
        let cause = glib::Error::new(gst::ResourceError::NotAuthorized, "Unauthorized");
        let error = Error::from_bus("the camera at rtsp://cam/1", false, &cause);
        assert_eq!(error.to_string(), "the camera at rtsp://cam/1 refused the user name or the password");
        assert!(error.is_retryable());
    }

    #[test]
    fn a_read_error_after_units_means_that_the_source_went_away() {
        let cause = glib::Error::new(gst::ResourceError::Read, "Could not read");
        assert!(matches!(Error::from_bus("it", true, &cause), Error::Lost { .. }));
        assert!(matches!(Error::from_bus("it", false, &cause), Error::Unreachable { .. }));
    }
}
