//! GStreamer's messages as the few that matter here.

use gst::glib;
use gst::prelude::*;

/// The name of the message by which the bus is woken, to look at what changed beside it.
const WAKE: &str = "millrace-wake";

/// What a message of the bus says.
#[derive(Debug)]
pub(crate) enum Message {
    /// Every sink has seen the end.
    EndOfStream,
    /// An element failed.
    Error {
        /// Which one.
        element: String,
        /// Why.
        error: glib::Error,
        /// For the log at debug level: GStreamer's own account, without credentials, as those are properties.
        account: String,
    },
    /// An element goes on, but something is wrong.
    Warning {
        /// Which one.
        element: String,
        /// What.
        text: String,
    },
    /// Something beside the bus wants a look.
    Wake,
    /// The pipeline's latency changed and has to be worked out again.
    Latency,
}

impl Message {
    /// The meaning of `message`, if it has any here.
    pub(crate) fn from_gst(message: &gst::MessageRef) -> Option<Self> {
        use gst::MessageView;
        let element = || message.src().map(|source| source.name().to_string()).unwrap_or_default();
        Some(match message.view() {
            MessageView::Eos(_) => Self::EndOfStream,
            MessageView::Error(error) => Self::Error {
                element: element(),
                error: error.error(),
                account: error.debug().map(String::from).unwrap_or_default(),
            },
            MessageView::Warning(warning) => {
                Self::Warning { element: element(), text: warning.error().message().to_owned() }
            }
            MessageView::Latency(_) => Self::Latency,
            MessageView::Application(application) if application.structure().is_some_and(|s| s.name() == WAKE) => {
                Self::Wake
            }
            _ => return None,
        })
    }
}

/// Makes the reader of `bus` look around.
pub(crate) fn wake(bus: &gst::Bus) {
    // A bus that is flushing has no reader to wake.
    let _ = bus.post(gst::message::Application::new(gst::Structure::new_empty(WAKE)));
}
