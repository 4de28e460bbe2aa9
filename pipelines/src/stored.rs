//! Video that was recorded: Matroska in, a file of MP4 or a screen out.
//!
//! ```text
//! gst-launch-1.0 fdsrc ! queue ! matroskademux name=media \
//!     media.video_0 ! queue ! h264parse ! h264timestamper ! mp4mux name=mux faststart=true ! filesink location=clip.mp4 \
//!     media.audio_0 ! queue ! aacparse ! mux.
//! ```
//!
//! Nothing is coded anew. The document comes through a pipe, so that it needs no room on the disk, and is as long as it likes.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use fragment::{Codec, Track, TrackKind, Tracks};
use gst::prelude::*;

use crate::Error;
use crate::bus::Message;
use crate::launch::Launch;
use crate::teardown::teardown;

/// Between the demuxer and what joins its tracks. In a fragment one track may be a fragment ahead of the other; none of these
/// is larger.
const QUEUE: &str = "queue max-size-buffers=0 max-size-time=0 max-size-bytes=67108864";

/// Reads a Matroska document of these tracks to its end and writes it as MP4. Blocks.
pub fn to_mp4(document: &OwnedFd, tracks: &Tracks, out: &Path) -> Result<(), Error> {
    let what = out.display().to_string();
    gst::init().map_err(|error| Error::Other { what: what.clone(), detail: error.to_string() })?;
    let location = out
        .to_str()
        .ok_or_else(|| Error::Invalid { what: what.clone(), detail: "its name is not valid UTF-8".to_owned() })?;
    let mut line = source(document);
    for track in tracks.iter() {
        line += &format!(" {} ! {} ! mux.", branch(track), parser(&what, track)?);
    }
    line += " mp4mux name=mux faststart=true ! filesink name=out";
    run(&what, &Launch { line, properties: vec![("out", "location", location.to_owned())], live: false })
}

/// Shows a Matroska document of these tracks until its end, or until its window is closed. Blocks.
pub fn play(document: &OwnedFd, tracks: &Tracks) -> Result<(), Error> {
    let what = "the player".to_owned();
    gst::init().map_err(|error| Error::Other { what: what.clone(), detail: error.to_string() })?;
    let mut line = source(document);
    for track in tracks.iter() {
        let sink = match track.codec.kind() {
            TrackKind::Video => "decodebin ! videoconvert ! autovideosink",
            TrackKind::Audio => "decodebin ! audioconvert ! audioresample ! autoaudiosink",
        };
        line += &format!(" {} ! {sink}", branch(track));
    }
    run(&what, &Launch { line, properties: Vec::new(), live: false })
}

fn source(document: &OwnedFd) -> String {
    // The queue has the demuxer take what comes, and not ask for the file's end first.
    format!("fdsrc fd={} ! queue ! matroskademux name=media", document.as_raw_fd())
}

fn branch(track: &Track) -> String {
    let kind = match track.codec.kind() {
        TrackKind::Video => "video",
        TrackKind::Audio => "audio",
    };
    format!("media.{kind}_0 ! {QUEUE}")
}

/// What prepares a track for MP4.
fn parser(what: &str, track: &Track) -> Result<String, Error> {
    // Matroska says when a picture is shown, and MP4 when it is decoded, too.
    let timed = |parser: &str, timestamper: &str| match gst::ElementFactory::find(timestamper) {
        Some(_) => format!("{parser} ! {timestamper}"),
        None => parser.to_owned(),
    };
    match &track.codec {
        Codec::H264(_) => Ok(timed("h264parse", "h264timestamper")),
        Codec::H265(_) => Ok(timed("h265parse", "h265timestamper")),
        Codec::Aac(_) => Ok("aacparse".to_owned()),
        Codec::Other { id, .. } => Err(Error::Invalid {
            what: what.to_owned(),
            detail: format!("MP4 does not hold {id}; write a Matroska file, clip.mkv"),
        }),
    }
}

fn run(what: &str, launch: &Launch) -> Result<(), Error> {
    let pipeline = launch.pipeline(what)?;
    let bus = pipeline.bus().expect("a pipeline has a bus");
    // Why it does not start is on the bus.
    let _ = pipeline.set_state(gst::State::Playing);
    let outcome = loop {
        match bus.timed_pop(gst::ClockTime::NONE).as_deref().and_then(Message::from_gst) {
            Some(Message::EndOfStream) => break Ok(()),
            Some(Message::Error { element, error, account }) => {
                tracing::debug!(what, %element, %account, "GStreamer reports an error");
                break Err(Error::from_bus(what, true, &error));
            }
            _ => {}
        }
    };
    teardown(pipeline);
    outcome
}
