//! A source as a line for `gst-launch-1.0`, and that line as a pipeline.

use gst::prelude::*;

use crate::Error;

/// What a source wants to have run.
pub(crate) struct Launch {
    /// The line. Its sinks are called `video` and `audio`, or it has an element called [`MEDIA`] on whose
    /// pads the branches are put when they appear.
    pub(crate) line: String,
    /// Properties of elements that are not put into the line: text from outside, which could hold quotes or secrets.
    pub(crate) properties: Vec<(&'static str, &'static str, String)>,
    /// Whether time passes by itself, so that silence means trouble.
    pub(crate) live: bool,
}

/// The element whose pads appear while it runs.
pub(crate) const MEDIA: &str = "media";

impl Launch {
    /// The pipeline, not started.
    pub(crate) fn pipeline(&self, what: &str) -> Result<gst::Pipeline, Error> {
        let element = gst::parse::launch(&self.line).map_err(|error| Error::from_parse(what, &error))?;
        // A line of one element is that element, not a pipeline.
        let pipeline = element.downcast::<gst::Pipeline>().or_else(|element| {
            let pipeline = gst::Pipeline::new();
            pipeline.add(&element).map(|()| pipeline)
        });
        let invalid = |detail: String| Error::Invalid { what: what.to_owned(), detail };
        let pipeline = pipeline.map_err(|error| invalid(error.to_string()))?;
        for (element, property, value) in &self.properties {
            let element =
                pipeline.by_name(element).ok_or_else(|| invalid(format!("the line has no element {element}")))?;
            element.set_property_from_str(property, value);
        }
        Ok(pipeline)
    }
}
