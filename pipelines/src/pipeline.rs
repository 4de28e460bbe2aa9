//! A running source: the thread that watches over it, and the handle that stops it.
//!
//! One supervisor thread builds the GStreamer pipeline, reads its bus, and takes it down. Whatever
//! happens, it ends with one last event, and [`Handle::stop`] does not wait for it beyond a deadline.

use std::sync::mpsc::{Receiver as Done, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use fragment::TrackKind;
use gst::prelude::*;
use gst_app::{AppSink, AppSinkCallbacks};

use crate::bus::{self, Message};
use crate::collector::{Collector, Refused};
use crate::encoder::Encoders;
use crate::file::Pace;
use crate::launch::MEDIA;
use crate::loss::{Header, LossWatch};
use crate::queue::{self, Sender};
use crate::state::{Progress, State};
use crate::teardown::teardown;
use crate::{Error, Event, Receiver, Source, branch, encoder, g726, limits, rtsp, sender_clock, test_pattern};

/// Starts sources.
pub struct Pipeline;

/// Stops a pipeline; dropping it does too, without waiting.
pub struct Handle {
    shared: Arc<Shared>,
    ended: Done<()>,
}

/// What the supervisor, GStreamer's threads and the handle share.
struct Shared {
    what: String,
    progress: Progress,
    events: Sender<Event>,
    collector: Collector,
    encoders: &'static Encoders,
    /// The bus of the current round, to wake its reader by.
    bus: Mutex<Option<gst::Bus>>,
    /// Why the source cannot be used, found on a thread of GStreamer's.
    failure: Mutex<Option<Error>>,
    /// Why the camera's certificate is not believed.
    verdict: rtsp::Verdict,
    /// What the source has that is not used, for messages.
    offers: Mutex<Vec<String>>,
}

/// How a round ended.
enum Outcome {
    EndOfStream,
    Stopped,
}

impl Pipeline {
    /// Runs `source`. Whatever goes wrong arrives as [`Event::Failed`].
    pub fn start(source: impl Into<Source>) -> (Handle, Receiver<Event>) {
        Self::start_with(source.into(), &encoder::ENCODERS)
    }

    /// The same with other encoders.
    fn start_with(source: Source, encoders: &'static Encoders) -> (Handle, Receiver<Event>) {
        let (events, receiver) = queue::queue();
        let pace = match &source {
            Source::File(file) => file.pace,
            _ => Pace::Fast,
        };
        let shared = Arc::new(Shared {
            what: source.label(),
            progress: Progress::new(),
            collector: Collector::new(events.clone(), pace),
            events,
            encoders,
            bus: Mutex::new(None),
            failure: Mutex::new(None),
            verdict: rtsp::Verdict::default(),
            offers: Mutex::new(Vec::new()),
        });
        let (done, ended) = sync_channel(1);
        let supervised = Arc::clone(&shared);
        let spawned = thread::Builder::new().name("pipeline".to_owned()).spawn(move || {
            supervised.supervise(&source);
            // The handle may be gone.
            let _ = done.send(());
        });
        if let Err(error) = spawned {
            let detail = format!("no thread for it: {error}");
            shared.end(Some(Event::Failed(Error::Other { what: shared.what.clone(), detail })));
        }
        (Handle { shared, ended }, receiver)
    }
}

impl Handle {
    /// How far the pipeline is.
    pub fn state(&self) -> State {
        self.shared.progress.state()
    }

    /// Stops the pipeline, and waits until it holds no resources, though never longer than six seconds.
    /// Events that were queued before can still be read. Blocks: from async code, call it where blocking is fine.
    pub fn stop(self) {
        self.shared.stop();
        if self.ended.recv_timeout(limits::STOP_MAX) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            tracing::error!(source = %self.shared.what, "the source did not stop in time and is left behind");
        }
        self.shared.end(None);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Shared {
    fn stop(&self) {
        self.progress.advance(State::Stopping);
        self.events.close();
        if let Some(bus) = lock(&self.bus).as_ref() {
            bus::wake(bus);
        }
    }

    fn end(&self, last: Option<Event>) {
        self.progress.advance(State::Ended);
        self.events.end(last);
    }

    fn is_stopping(&self) -> bool {
        self.progress.state() >= State::Stopping
    }

    /// The supervisor's life.
    fn supervise(self: &Arc<Self>, source: &Source) {
        let last = match self.rounds(source) {
            Ok(Outcome::EndOfStream) => Some(Event::EndOfStream),
            Ok(Outcome::Stopped) => None,
            Err(error) if self.is_stopping() => Some(Event::Failed(error)),
            Err(error) => Some(Event::Failed(source.explain(error, &self.verdict))),
        };
        self.end(last);
    }

    /// Runs the source, again and again if it is a looped file.
    fn rounds(self: &Arc<Self>, source: &Source) -> Result<Outcome, Error> {
        gst::init().map_err(|error| Error::Other { what: "GStreamer".to_owned(), detail: error.to_string() })?;
        let looped = matches!(source, Source::File(file) if file.looped);
        loop {
            let outcome = match self.round(source) {
                Err(error @ Error::Encoder { .. }) if !self.collector.is_flowing() => {
                    tracing::warn!(%error);
                    self.collector.abandon_round();
                    continue;
                }
                outcome => outcome?,
            };
            if matches!(outcome, Outcome::Stopped) {
                return Ok(outcome);
            }
            let Ok(any) = self.collector.end_round() else { return Ok(Outcome::Stopped) };
            if !any {
                return Err(self.nothing_usable());
            }
            if !looped {
                return Ok(outcome);
            }
            self.collector.begin_round();
        }
    }

    /// Runs the pipeline once, and takes it down however it ended.
    fn round(self: &Arc<Self>, source: &Source) -> Result<Outcome, Error> {
        let launch = source.launch(self.encoders)?;
        let pipeline = launch.pipeline(&self.what)?;
        tracing::debug!(source = %self.what, line = %launch.line, "starting");
        let bus = pipeline.bus().expect("a pipeline has a bus");
        *lock(&self.bus) = Some(bus.clone());
        self.attach(&pipeline, source)?;
        let outcome = match pipeline.set_state(gst::State::Playing) {
            // The reason is on the bus.
            Ok(_) | Err(_) => self.watch(&pipeline, &bus, launch.live),
        };
        *lock(&self.bus) = None;
        let goes_on = match &outcome {
            Ok(Outcome::EndOfStream) => true,
            Err(Error::Encoder { .. }) => !self.collector.is_flowing(),
            _ => false,
        };
        if !goes_on {
            // Threads that wait for the reader would hold up the teardown.
            self.events.close();
        }
        teardown(pipeline);
        outcome
    }

    /// Reads the bus until the round is over.
    fn watch(&self, pipeline: &gst::Pipeline, bus: &gst::Bus, live: bool) -> Result<Outcome, Error> {
        let interval = gst::ClockTime::try_from(limits::WATCH_INTERVAL).expect("half a second is a clock time");
        loop {
            let message = bus.timed_pop(interval);
            if self.is_stopping() {
                return Ok(Outcome::Stopped);
            }
            if let Some(failure) = lock(&self.failure).take() {
                return Err(failure);
            }
            match message.as_deref().and_then(Message::from_gst) {
                Some(Message::EndOfStream) => return Ok(Outcome::EndOfStream),
                Some(Message::Error { element, error, account }) => {
                    tracing::debug!(source = %self.what, %element, %account, "GStreamer reports an error");
                    if !self.collector.has_tracks() && !lock(&self.offers).is_empty() {
                        return Err(self.nothing_usable());
                    }
                    if let Some(encoder) = self.encoders.note_failure(pipeline.upcast_ref(), &element, &account) {
                        let detail = error.message().to_owned();
                        return Err(Error::Encoder { what: self.what.clone(), encoder, detail });
                    }
                    return Err(Error::from_bus(&self.what, self.collector.is_flowing(), &error));
                }
                Some(Message::Warning { element, text }) => {
                    tracing::warn!(source = %self.what, %element, %text, "GStreamer warns");
                }
                Some(Message::Latency) => {
                    // Sinks do not wait for the clock; a latency that cannot be worked out changes nothing.
                    let _ = pipeline.recalculate_latency();
                }
                Some(Message::Wake) | None => {}
            }
            if live {
                self.check_silence()?;
            }
        }
    }

    fn check_silence(&self) -> Result<(), Error> {
        let allowed = if self.collector.is_flowing() { limits::SILENCE_MAX } else { limits::FIRST_UNIT_MAX };
        let silence = self.collector.silence();
        if silence <= allowed {
            return Ok(());
        }
        let what = self.what.clone();
        // Sound comes many times a second.
        let sounds = self.collector.silence_of_all().is_some_and(|silence| silence < limits::SILENCE_MAX / 2);
        Err(if sounds { Error::PictureStands { what, silence } } else { Error::Silent { what, silence } })
    }

    /// Puts the collector behind the sinks that are there and those that will come.
    fn attach(self: &Arc<Self>, pipeline: &gst::Pipeline, source: &Source) -> Result<(), Error> {
        let Some(media) = pipeline.by_name(MEDIA) else {
            encoder::put_in_step(pipeline.upcast_ref());
            for (name, kind) in [("video", TrackKind::Video), ("audio", TrackKind::Audio)] {
                if let Some(sink) = pipeline.by_name(name) {
                    self.collector.announce(kind);
                    self.collect(&sink, kind)?;
                }
            }
            // Nothing has come that could be held up.
            let _ = self.collector.announced_all();
            return Ok(());
        };
        if let Source::Rtsp(camera) = source {
            self.attach_camera(&media);
            camera.trust.apply(&media, &self.verdict)?;
        }
        let bin = pipeline.downgrade();
        let shared = Arc::downgrade(self);
        media.connect_pad_added(move |_, pad| {
            if let (Some(shared), Some(bin)) = (shared.upgrade(), bin.upgrade())
                && let Err(error) = shared.take_pad(&bin, pad)
            {
                shared.fail(error);
            }
        });
        let shared = Arc::downgrade(self);
        media.connect_no_more_pads(move |_| {
            let Some(shared) = shared.upgrade() else { return };
            if !shared.collector.has_tracks() {
                shared.fail(shared.nothing_usable());
            }
            // A closed queue is found by the next sample as well.
            let _ = shared.collector.announced_all();
        });
        Ok(())
    }

    /// Listens to the camera's clock, and tells rtspsrc which streams to set up, so that the camera does not
    /// send what is not used. Those are announced here: rtspsrc may say that no more pads come before the
    /// thread of another stream has added its own.
    fn attach_camera(self: &Arc<Self>, media: &gst::Element) {
        let shared = Arc::downgrade(self);
        sender_clock::listen(media, move |running_time, wall| {
            if let Some(shared) = shared.upgrade() {
                // A closed queue is found by the next sample as well.
                let _ = shared.collector.clock(running_time, wall);
            }
        });
        let shared = Arc::downgrade(self);
        media.connect("select-stream", false, move |values| {
            let caps = values.get(2).and_then(|value| value.get::<gst::Caps>().ok());
            let wanted = shared.upgrade().zip(caps).is_some_and(|(shared, caps)| shared.selects(&caps));
            Some(wanted.to_value())
        });
    }

    /// Whether a camera's stream is to be set up; if so, it is announced.
    fn selects(&self, caps: &gst::CapsRef) -> bool {
        let Ok(Some(branch)) = branch::branch(caps) else {
            self.ignore(caps, "it has no use here");
            return false;
        };
        let first = self.collector.announce(branch.kind);
        if !first {
            self.ignore(caps, "there is one of its kind already");
        }
        first
    }

    /// Puts a branch behind a pad that has appeared.
    fn take_pad(self: &Arc<Self>, pipeline: &gst::Pipeline, pad: &gst::Pad) -> Result<(), Error> {
        if pad.direction() != gst::PadDirection::Src {
            return Ok(());
        }
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let Some(branch) = branch::branch(&caps)? else {
            self.ignore(&caps, "it has no use here");
            return Ok(());
        };
        if !self.collector.attach(branch.kind) {
            self.ignore(&caps, "there is one of its kind already");
            return Ok(());
        }
        if caps.structure(0).is_some_and(|structure| structure.name() == "application/x-rtp") {
            self.watch_for_loss(pad, branch.kind);
        }
        let invalid = |detail: String| Error::Other { what: self.what.clone(), detail };
        let bin = gst::parse::bin_from_description(&branch.line, true)
            .map_err(|error| Error::from_parse(&self.what, &error))?;
        if branch.raw_pictures {
            let output = bin.static_pad("src").ok_or_else(|| invalid("a branch has no output".to_owned()))?;
            self.encode(pipeline, &output);
        } else {
            let sink = bin.by_name("sink").ok_or_else(|| invalid("a branch has no sink".to_owned()))?;
            self.collect(&sink, branch.kind)?;
            encoder::put_in_step(&bin);
            g726::put_in_order(&bin, &caps);
        }
        pipeline.add(&bin).map_err(|error| invalid(error.to_string()))?;
        bin.sync_state_with_parent().map_err(|error| invalid(error.to_string()))?;
        let input = bin.static_pad("sink").ok_or_else(|| invalid("a branch has no input".to_owned()))?;
        pad.link(&input).map_err(|error| invalid(format!("{} does not link: {error}", branch::name_of(&caps))))?;
        Ok(())
    }

    /// Tells of the packets that are missing among those which `pad` gives.
    fn watch_for_loss(self: &Arc<Self>, pad: &gst::Pad, kind: TrackKind) {
        let (shared, watch) = (Arc::downgrade(self), Mutex::new(LossWatch::default()));
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(loss) =
                info.buffer().and_then(|packet| header(packet)).and_then(|header| lock(&watch).push(header))
                && let Some(shared) = shared.upgrade()
            {
                // A closed queue is found by the next sample as well.
                let _ = shared.collector.lost(kind, loss);
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// Puts an encoder behind `pad` as soon as it says what size its raw pictures are. What it says later, the encoder
    /// takes by itself.
    fn encode(self: &Arc<Self>, pipeline: &gst::Pipeline, pad: &gst::Pad) {
        let (pipeline, shared) = (pipeline.downgrade(), Arc::downgrade(self));
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, info| {
            let Some(gst::EventView::Caps(caps)) = info.event().map(|event| event.view()) else {
                return gst::PadProbeReturn::Ok;
            };
            if let (Some(shared), Some(pipeline)) = (shared.upgrade(), pipeline.upgrade())
                && let Err(error) = shared.put_encoder(&pipeline, pad, caps.caps())
            {
                shared.fail(error);
            }
            gst::PadProbeReturn::Remove
        });
    }

    /// Puts the encoder for pictures of these caps behind `pad`.
    fn put_encoder(
        self: &Arc<Self>,
        pipeline: &gst::Pipeline,
        pad: &gst::Pad,
        caps: &gst::CapsRef,
    ) -> Result<(), Error> {
        let invalid = |detail: String| Error::Other { what: self.what.clone(), detail };
        let picture = gst_video::VideoInfo::from_caps(caps).map_err(|error| invalid(error.to_string()))?;
        let rate = picture.fps();
        let fps = u32::try_from(rate.numer() / rate.denom().max(1)).ok().filter(|fps| *fps > 0);
        let fps = fps.unwrap_or(limits::JPEG_FPS_DEFAULT);
        let line = test_pattern::encoded(self.encoders, picture.width(), picture.height(), fps)?;
        let bin =
            gst::parse::bin_from_description(&line, true).map_err(|error| Error::from_parse(&self.what, &error))?;
        let sink = bin.by_name("video").ok_or_else(|| invalid("an encoder has no sink".to_owned()))?;
        self.collect(&sink, TrackKind::Video)?;
        encoder::make_key_frames(&bin);
        pipeline.add(&bin).map_err(|error| invalid(error.to_string()))?;
        bin.sync_state_with_parent().map_err(|error| invalid(error.to_string()))?;
        let input = bin.static_pad("sink").ok_or_else(|| invalid("an encoder has no input".to_owned()))?;
        pad.link(&input).map_err(|error| invalid(format!("the encoder does not link: {error}")))?;
        Ok(())
    }

    /// Hands every sample of `sink` to the collector.
    fn collect(self: &Arc<Self>, sink: &gst::Element, kind: TrackKind) -> Result<(), Error> {
        let sink = sink
            .downcast_ref::<AppSink>()
            .ok_or_else(|| Error::Other { what: self.what.clone(), detail: "the sink is not an appsink".to_owned() })?;
        let shared = Arc::downgrade(self);
        let new_sample = move |sink: &AppSink| {
            let shared = shared.upgrade().ok_or(gst::FlowError::Flushing)?;
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            match shared.collector.take(kind, &sample, &shared.progress) {
                Ok(()) => Ok(gst::FlowSuccess::Ok),
                Err(Refused::Closed) => Err(gst::FlowError::Flushing),
                Err(Refused::Unusable(cause)) => {
                    shared.fail(Error::Damaged { what: shared.what.clone(), detail: cause.to_string() });
                    Err(gst::FlowError::Flushing)
                }
            }
        };
        sink.set_callbacks(AppSinkCallbacks::builder().new_sample(new_sample).build());
        Ok(())
    }

    fn ignore(&self, caps: &gst::CapsRef, why: &str) {
        let track = branch::name_of(caps);
        tracing::warn!(source = %self.what, %track, "a track is ignored: {why}");
        lock(&self.offers).push(track);
    }

    fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
        if let Some(bus) = lock(&self.bus).as_ref() {
            bus::wake(bus);
        }
    }

    fn nothing_usable(&self) -> Error {
        let offers = lock(&self.offers);
        let offers = if offers.is_empty() { "nothing".to_owned() } else { offers.join(", ") };
        Error::NothingUsable { what: self.what.clone(), offers }
    }
}

/// The header of a packet. It lies in the first part of its memory, which is mapped with less work than all of it, for each packet.
fn header(packet: &gst::BufferRef) -> Option<Header> {
    Header::parse(&packet.iter_memories().next()?.map_readable().ok()?)
}

/// What these locks guard is replaced in one step, so a panic of another thread leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// An encoder that breaks after some pictures, and one that does not.
    static BROKEN_FIRST: Encoders = Encoders {
        h264: &[
            ("identity", "identity name=video-encoder error-after=1 ! x264enc tune=zerolatency"),
            ("x264enc", "x264enc name=video-encoder tune=zerolatency"),
        ],
        failed: Mutex::new(Vec::new()),
    };

    #[tokio::test]
    async fn where_an_encoder_fails_the_next_does_its_work() {
        let source = test_pattern::Source { width: 320, height: 180, fps: 10, audio: false };
        let (handle, mut events) = Pipeline::start_with(source.into(), &BROKEN_FIRST);
        let mut pictures = 0;
        while pictures < 20 {
            let event = tokio::time::timeout(Duration::from_secs(40), events.recv()).await.unwrap();
            match event.expect("it goes on") {
                Event::Unit(_) => pictures += 1,
                Event::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
        handle.stop();
        assert_eq!(lock(&BROKEN_FIRST.failed)[0].0, "identity");
    }
}
