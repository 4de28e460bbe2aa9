//! A clip in memory: its access units, ready to be sent again and again.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gst_app::{AppSink, AppSinkCallbacks};

use super::coding::{self, Coding};

/// A clip's tracks and their units in the order in which they are sent.
pub(super) struct Clip {
    pub(super) tracks: Vec<Track>,
    pub(super) units: Vec<Unit>,
    /// From the start of one round to the start of the next, so that no track overlaps itself.
    pub(super) length: Duration,
}

/// How a track is coded, and how it is sent.
#[derive(Clone)]
pub(super) struct Track {
    pub(super) caps: gst::Caps,
    /// The payloader, as a launch line.
    pub(super) payloader: String,
}

impl Track {
    /// Whether it is a picture, and not sound.
    pub(super) fn is_picture(&self) -> bool {
        ["h264", "h265", "jpeg"].iter().any(|coding| self.payloader.contains(coding))
    }
}

/// One access unit.
#[derive(Clone)]
pub(super) struct Unit {
    pub(super) track: usize,
    pub(super) buffer: gst::Buffer,
    /// When it is sent, from the start of the clip.
    pub(super) sent: Duration,
    /// How long after that it is shown.
    pub(super) delay: Duration,
    /// Whether watching can begin here: a key frame, or any sound of a clip without picture.
    pub(super) entry: bool,
    /// Which picture of the clip it is, in the order of sending.
    pub(super) picture: Option<usize>,
}

/// A clip longer than this would not be a sample: it is kept in memory.
const READ_MAX: gst::ClockTime = gst::ClockTime::from_seconds(60);

/// Media types, what makes units of them, and what sends those. Parameter sets go with each key frame,
/// as most cameras send them.
const KINDS: [(&str, &str, &str); 6] = [
    (
        "video/x-h264",
        "h264parse ! video/x-h264,stream-format=avc,alignment=au",
        "h264parse ! rtph264pay config-interval=-1",
    ),
    (
        "video/x-h265",
        "h265parse ! video/x-h265,stream-format=hvc1,alignment=au",
        "h265parse ! rtph265pay config-interval=-1",
    ),
    ("audio/mpeg", "aacparse ! audio/mpeg,mpegversion=4,stream-format=raw", "rtpmp4gpay"),
    ("audio/x-alaw", "identity", "rtppcmapay"),
    ("audio/x-mulaw", "identity", "rtppcmupay"),
    ("audio/x-opus", "opusparse", "rtpopuspay"),
];

/// What is gathered while the clip is read.
#[derive(Default)]
struct Reading {
    tracks: Vec<Option<Track>>,
    units: Vec<(usize, gst::Buffer, i64, i64)>,
}

impl Clip {
    /// Reads the clip at `path`, and codes its tracks anew as `recoded` says.
    pub(super) fn read(path: &Path, recoded: &[Coding]) -> Result<Self, String> {
        if !path.is_file() {
            return Err("there is no such file".to_owned());
        }
        let location = path.to_str().ok_or("its name is not valid UTF-8")?;
        let pipeline = gst::parse::launch("filesrc name=file ! parsebin name=media").map_err(|e| e.to_string())?;
        let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| "no pipeline".to_owned())?;
        let element = |name| pipeline.by_name(name).ok_or("no element".to_owned());
        element("file")?.set_property("location", location);
        let reading = Arc::new(Mutex::new(Reading::default()));
        let (into, parent, recoded) = (Arc::clone(&reading), pipeline.downgrade(), recoded.to_owned());
        element("media")?.connect_pad_added(move |_, pad| {
            if let Some(pipeline) = parent.upgrade()
                && let Err(error) = take_pad(&pipeline, pad, &recoded, &into)
            {
                tracing::warn!(%error, "a track of the clip is left out");
            }
        });
        let result = run(&pipeline);
        // The clip is read, or an error is on its way to the caller already.
        let _ = pipeline.set_state(gst::State::Null);
        result?;
        let reading = std::mem::take(&mut *lock(&reading));
        Self::assemble(reading)
    }

    fn assemble(reading: Reading) -> Result<Self, String> {
        let tracks: Vec<Track> = reading.tracks.into_iter().flatten().collect();
        let start = reading.units.iter().map(|unit| unit.2).min().ok_or("it has no track that can be sent")?;
        let picture = tracks.iter().position(Track::is_picture);
        let mut units: Vec<Unit> = reading
            .units
            .into_iter()
            .map(|(track, buffer, dts, pts)| Unit {
                track,
                sent: nanos(dts - start),
                delay: nanos(pts - dts),
                entry: picture.is_none_or(|picture| track == picture)
                    && !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
                buffer,
                picture: None,
            })
            .collect();
        units.sort_by_key(|unit| unit.sent);
        let pictures = units.iter_mut().filter(|unit| Some(unit.track) == picture);
        pictures.enumerate().for_each(|(i, unit)| unit.picture = Some(i));
        let length = (0..tracks.len()).filter_map(|track| span(&units, track)).max().ok_or("it is empty")?;
        Ok(Self { tracks, units, length })
    }
}

/// How long a track is, from its first unit's beginning to its last unit's end. Files may give the last unit
/// no duration, or a token one; it gets at least the mean of the others.
fn span(units: &[Unit], track: usize) -> Option<Duration> {
    let shown = || units.iter().filter(|unit| unit.track == track).map(|unit| unit.sent + unit.delay);
    let last = units.iter().rfind(|unit| unit.track == track)?;
    let (first_shown, last_shown) = (shown().min()?, shown().max()?);
    let steps = u32::try_from(shown().count().saturating_sub(1)).ok()?.max(1);
    let mean = (last_shown - first_shown) / steps;
    let duration = last.buffer.duration().map(Duration::from).unwrap_or_default();
    Some(last_shown - first_shown + duration.max(mean))
}

fn run(pipeline: &gst::Pipeline) -> Result<(), String> {
    let bus = pipeline.bus().ok_or("no bus")?;
    pipeline.set_state(gst::State::Playing).map_err(|error| error.to_string())?;
    let last = bus.timed_pop_filtered(READ_MAX, &[gst::MessageType::Eos, gst::MessageType::Error]);
    match last.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Eos(_)) => Ok(()),
        Some(gst::MessageView::Error(error)) => Err(error.error().message().to_owned()),
        _ => Err("it takes too long to read".to_owned()),
    }
}

/// Puts a sink behind a pad of the parser.
fn take_pad(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    recoded: &[Coding],
    reading: &Arc<Mutex<Reading>>,
) -> Result<(), String> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let name = caps.structure(0).map(|structure| structure.name().to_string()).unwrap_or_default();
    let as_it_is = || {
        let (_, parser, payloader) = KINDS.into_iter().find(|(kind, ..)| *kind == name)?;
        Some((parser.to_owned(), payloader.to_owned()))
    };
    let lines = recoded.iter().find_map(|coding| coding.lines(&name)).or_else(as_it_is);
    let (parser, payloader) = lines.ok_or(format!("{name} cannot be sent"))?;
    let line = format!("{parser} ! appsink name=sink sync=false async=false");
    let bin = gst::parse::bin_from_description(&line, true).map_err(|error| error.to_string())?;
    let sink = bin.by_name("sink").and_then(|sink| sink.downcast::<AppSink>().ok()).ok_or("no sink")?;
    let track = {
        let mut reading = lock(reading);
        reading.tracks.push(None);
        reading.tracks.len() - 1
    };
    let reading = Arc::clone(reading);
    let new_sample = move |sink: &AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        take_sample(&sample, track, &payloader, &mut lock(&reading));
        Ok(gst::FlowSuccess::Ok)
    };
    sink.set_callbacks(AppSinkCallbacks::builder().new_sample(new_sample).build());
    pipeline.add(&bin).map_err(|error| error.to_string())?;
    bin.sync_state_with_parent().map_err(|error| error.to_string())?;
    pad.link(&bin.static_pad("sink").ok_or("no pad")?).map_err(|error| error.to_string())?;
    Ok(())
}

fn take_sample(sample: &gst::Sample, track: usize, payloader: &str, reading: &mut Reading) {
    let (Some(buffer), Some(caps)) = (sample.buffer_owned(), sample.caps_owned()) else { return };
    let running = |time: Option<gst::ClockTime>| {
        let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
        match segment.to_running_time_full(time?)? {
            gst::Signed::Positive(time) => i64::try_from(time.nseconds()).ok(),
            gst::Signed::Negative(time) => i64::try_from(time.nseconds()).ok().map(|nanos| -nanos),
        }
    };
    let Some(pts) = running(buffer.pts()).or_else(|| running(buffer.dts())) else { return };
    let dts = running(buffer.dts()).map_or(pts, |dts| dts.min(pts));
    reading.tracks[track].get_or_insert_with(|| Track { caps: caps.clone(), payloader: payloader.to_owned() });
    reading.units.push((track, coding::packed(buffer, &caps), dts, pts));
}

fn nanos(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clip_can_be_shown_in_a_loop_of_about_ten_seconds() {
        gst::init().unwrap();
        for name in crate::CLIPS.into_iter().chain(crate::CLIPS_OF_FAULTS) {
            let clip = Clip::read(&crate::clip(name), &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
            let length = clip.length.as_millis();
            assert!((9_900..10_200).contains(&length), "{name}: {length} ms");
            assert_eq!(clip.units.iter().filter(|unit| unit.entry).count(), 10, "{name}");
            assert!(clip.units[0].entry || clip.tracks.len() == 2, "{name}");
        }
    }
}
