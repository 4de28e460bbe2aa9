//! From the samples of the sinks to events in one order.
//!
//! The sinks run on threads of their own; each sample is taken under one lock, so that units leave in
//! the order in which they came. Until every announced track has shown its codec, units are held back;
//! then the tracks are told, and everything after goes straight on.

mod arrivals;
mod gathering;
mod sample;
mod timeline;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fragment::{AccessUnit, Codec, MediaTime, Track, TrackKind, TrackNumber, Tracks};

use crate::file::Pace;
use crate::queue::{Closed, Sender, Weight};
use crate::state::{Progress, State};
use crate::{ClockReading, Event, Loss, limits};

use arrivals::Arrivals;
use gathering::Gathering;
pub(crate) use sample::Unusable;
use timeline::Timeline;

/// Why a sample was not taken.
pub(crate) enum Refused {
    /// Nobody wants samples any more.
    Closed,
    /// It cannot be understood, and so the source cannot be used.
    Unusable(Unusable),
}

/// Takes samples, gives events.
pub(crate) struct Collector {
    inner: Mutex<Inner>,
    watch: Mutex<Watch>,
    events: Sender<Event>,
}

/// What the watch for silence looks at; apart from [`Inner`], whose lock is held while the reader is slow.
struct Watch {
    /// When a unit last came of the picture, or of the sound where there is no picture; or when the round began.
    last: Instant,
    /// When a unit of any kind last came.
    last_of_any: Option<Instant>,
    /// Whether a thread is waiting for the reader, so that silence is not the source's.
    held_up: bool,
    /// Whether any unit came.
    flowing: bool,
}

struct Inner {
    pace: Pace,
    video: Lane,
    audio: Lane,
    gathering: Option<Gathering>,
    timeline: Timeline,
    /// The tracks that were told last.
    told: Option<Tracks>,
    /// Whether a codec has come since.
    has_news: bool,
    /// When media time zero was given out, for a file in real time.
    began: Option<Instant>,
    clock_told: Option<MediaTime>,
    arrivals: Arrivals,
}

/// What is known of one track.
#[derive(Default)]
struct Lane {
    /// Whether the source announced it.
    announced: bool,
    /// Whether it has come, and has a sink.
    attached: bool,
    caps: Option<gst::Caps>,
    codec: Option<Codec>,
}

impl Collector {
    pub(crate) fn new(events: Sender<Event>, pace: Pace) -> Self {
        let inner = Inner {
            pace,
            video: Lane::default(),
            audio: Lane::default(),
            gathering: Some(Gathering::default()),
            timeline: Timeline::default(),
            told: None,
            has_news: false,
            began: None,
            clock_told: None,
            arrivals: Arrivals::default(),
        };
        let watch = Watch { last: Instant::now(), last_of_any: None, held_up: false, flowing: false };
        Self { inner: Mutex::new(inner), watch: Mutex::new(watch), events }
    }

    /// A track will come. Says no if one of its kind has been announced already.
    pub(crate) fn announce(&self, kind: TrackKind) -> bool {
        let mut inner = self.inner();
        let lane = inner.lane(kind);
        !std::mem::replace(&mut lane.announced, true)
    }

    /// A track has come, announced or not. Says no if one of its kind has come already.
    pub(crate) fn attach(&self, kind: TrackKind) -> bool {
        let mut inner = self.inner();
        let lane = inner.lane(kind);
        lane.announced = true;
        !std::mem::replace(&mut lane.attached, true)
    }

    /// Every track has been announced.
    pub(crate) fn announced_all(&self) -> Result<(), Closed> {
        let mut inner = self.inner();
        if let Some(gathering) = &mut inner.gathering {
            gathering.complete = true;
        }
        inner.start_if_ready(self)
    }

    /// Whether any track was announced.
    pub(crate) fn has_tracks(&self) -> bool {
        let inner = self.inner();
        inner.video.announced || inner.audio.announced
    }

    /// Takes a sample.
    pub(crate) fn take(&self, kind: TrackKind, sample: &gst::Sample, progress: &Progress) -> Result<(), Refused> {
        // Before the lock, behind which a thread waits while the reader is slow.
        let arrived = Instant::now();
        let mut inner = self.inner();
        self.note_activity(kind, inner.video.attached);
        let Some(unit) = inner.unit(kind, sample, arrived).map_err(Refused::Unusable)? else { return Ok(()) };
        progress.advance(State::Playing);
        let taken = match &mut inner.gathering {
            Some(gathering) => {
                gathering.hold(unit);
                inner.start_if_ready(self)
            }
            None => inner.give(self, unit),
        };
        taken.map_err(|Closed| Refused::Closed)
    }

    /// The camera's clock said that it is `wall` at `running_time` of the pipeline.
    pub(crate) fn clock(&self, running_time: i64, wall: fragment::WallTime) -> Result<(), Closed> {
        let mut inner = self.inner();
        let Some(media) = inner.timeline.media(running_time).filter(|_| inner.told.is_some()) else { return Ok(()) };
        let recent = inner.clock_told.is_some_and(|told| media.since(told) < limits::CLOCK_INTERVAL && media >= told);
        if recent {
            return Ok(());
        }
        inner.clock_told = Some(media);
        self.push(Event::Clock(ClockReading::Camera { media, wall }))
    }

    /// The source is at its end: gives what is held back. Says whether anything came in this round.
    pub(crate) fn end_round(&self) -> Result<bool, Closed> {
        let mut inner = self.inner();
        inner.start(self)?;
        for kind in [TrackKind::Video, TrackKind::Audio] {
            let lane = inner.lane(kind);
            (lane.announced, lane.attached) = (false, false);
        }
        Ok(inner.timeline.next_round())
    }

    /// The round came to nothing, and another begins in its place.
    pub(crate) fn abandon_round(&self) {
        let mut inner = self.inner();
        (inner.video, inner.audio) = (Lane::default(), Lane::default());
        inner.gathering = Some(Gathering::default());
        drop(inner);
        self.begin_round();
    }

    /// A further round of a looped file begins: what is known of its tracks stays.
    pub(crate) fn begin_round(&self) {
        self.watch().last = Instant::now();
    }

    /// How long the source has been silent by its own doing.
    pub(crate) fn silence(&self) -> Duration {
        let watch = self.watch();
        if watch.held_up { Duration::ZERO } else { watch.last.elapsed() }
    }

    /// For how long nothing at all has come; `None` if nothing ever came.
    pub(crate) fn silence_of_all(&self) -> Option<Duration> {
        self.watch().last_of_any.map(|last| last.elapsed())
    }

    /// Packets were lost.
    pub(crate) fn lost(&self, kind: TrackKind, loss: Loss) -> Result<(), Closed> {
        let _in_order = self.inner();
        self.push(Event::Lost(kind, loss))
    }

    /// Whether units have come.
    pub(crate) fn is_flowing(&self) -> bool {
        self.watch().flowing
    }

    fn note_activity(&self, kind: TrackKind, has_video: bool) {
        let (now, mut watch) = (Instant::now(), self.watch());
        watch.last_of_any = Some(now);
        // Sound alone does not keep a camera alive whose picture has stopped.
        if kind == TrackKind::Video || !has_video {
            watch.last = now;
            watch.flowing = true;
        }
    }

    fn push(&self, event: Event) -> Result<(), Closed> {
        self.held_up(|| self.events.push(event))
    }

    fn wait_until(&self, instant: Instant) -> Result<(), Closed> {
        self.held_up(|| self.events.wait_until(instant))
    }

    /// The time in which a thread waits for the reader is no silence of the source.
    fn held_up<T>(&self, wait: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        self.watch().held_up = true;
        let result = wait();
        let mut watch = self.watch();
        watch.held_up = false;
        // Not to now: sound that is pushed would keep a camera alive whose picture has stopped.
        let waited = began.elapsed();
        watch.last += waited;
        watch.last_of_any = watch.last_of_any.map(|last| last + waited);
        result
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A unit with the times that order it, before media time is known.
pub(crate) struct Timed {
    kind: TrackKind,
    /// Running time of the pipeline when it is shown, in nanoseconds.
    pts: i64,
    /// Running time when it is decoded, if the source says.
    dts: Option<i64>,
    duration: Option<Duration>,
    key: bool,
    data: bytes::Bytes,
    /// When it came.
    arrived: Instant,
}

impl Inner {
    fn lane(&mut self, kind: TrackKind) -> &mut Lane {
        match kind {
            TrackKind::Video => &mut self.video,
            TrackKind::Audio => &mut self.audio,
        }
    }

    /// The sample's unit, and its lane's codec brought up to date.
    fn unit(&mut self, kind: TrackKind, sample: &gst::Sample, arrived: Instant) -> Result<Option<Timed>, Unusable> {
        let lane = self.lane(kind);
        // The same ones, and not a copy: then they are the same as the next sample's without a look inside.
        let caps = sample.caps_owned().ok_or(Unusable::NoCaps)?;
        if lane.caps.as_ref() != Some(&caps) {
            lane.codec = Some(sample::codec(&caps)?);
            lane.caps = Some(caps);
            self.has_news = true;
        }
        let last = self.timeline.last(kind);
        sample::unit(kind, sample, last, arrived)
    }

    /// Ends the gathering once there is nothing more to wait for.
    fn start_if_ready(&mut self, collector: &Collector) -> Result<(), Closed> {
        let Some(gathering) = &self.gathering else { return Ok(()) };
        let known = |lane: &Lane| !lane.announced || lane.codec.is_some();
        let all_known = gathering.complete && known(&self.video) && known(&self.audio);
        if !gathering.is_empty() && (all_known || gathering.is_long_enough()) {
            return self.start(collector);
        }
        Ok(())
    }

    /// Gives what was held back; from now on units go straight on.
    fn start(&mut self, collector: &Collector) -> Result<(), Closed> {
        let Some(gathering) = self.gathering.take() else { return Ok(()) };
        self.timeline.begin(gathering.origin());
        for unit in gathering.into_units() {
            self.give(collector, unit)?;
        }
        Ok(())
    }

    fn give(&mut self, collector: &Collector, unit: Timed) -> Result<(), Closed> {
        if std::mem::take(&mut self.has_news) {
            self.tell_tracks(collector)?;
        }
        let pts = self.timeline.place(unit.kind, unit.pts, unit.duration);
        if self.pace == Pace::RealTime {
            let due = unit.dts.map_or(pts, |dts| pts - nanos(unit.pts.saturating_sub(dts)));
            let began = *self.began.get_or_insert_with(Instant::now);
            collector.wait_until(began + due.since(MediaTime::ZERO))?;
        }
        let arrived = if self.pace == Pace::RealTime { Instant::now() } else { unit.arrived };
        let leads = unit.kind == TrackKind::Video || !self.video.announced;
        if leads && self.arrivals.is_news(pts, arrived) {
            collector.push(Event::Clock(ClockReading::Arrival { media: pts, at: arrived }))?;
        }
        let track = number_of(unit.kind);
        let unit = AccessUnit { track, pts, duration: unit.duration, key: unit.key, data: unit.data };
        collector.push(Event::Unit(unit))
    }

    fn tell_tracks(&mut self, collector: &Collector) -> Result<(), Closed> {
        let tracks = self.tracks();
        if self.told == tracks {
            return Ok(());
        }
        self.told.clone_from(&tracks);
        tracks.map_or(Ok(()), |tracks| collector.push(Event::Tracks(tracks)))
    }

    fn tracks(&self) -> Option<Tracks> {
        let lanes = [(TrackNumber::VIDEO, &self.video), (TrackNumber::AUDIO, &self.audio)];
        let tracks =
            lanes.into_iter().filter_map(|(number, lane)| Some(Track { number, codec: lane.codec.clone()? })).collect();
        Tracks::new(tracks).ok()
    }
}

impl Weight for Event {
    fn weight(&self) -> usize {
        match self {
            Self::Unit(unit) => unit.data.len(),
            Self::Tracks(_) | Self::Clock(_) | Self::Lost(..) | Self::EndOfStream | Self::Failed(_) => 0,
        }
    }
}

fn number_of(kind: TrackKind) -> TrackNumber {
    match kind {
        TrackKind::Video => TrackNumber::VIDEO,
        TrackKind::Audio => TrackNumber::AUDIO,
    }
}

/// A distance in nanoseconds as a duration; decoding never comes after showing.
fn nanos(distance: i64) -> Duration {
    Duration::from_nanos(u64::try_from(distance).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue;

    /// As x264 and faac write them: 1920×1080, and AAC-LC at 44.1 kHz.
    const AVC: &[u8] = &[
        0x01, 0x64, 0x00, 0x28, 0xff, 0xe1, 0x00, 0x1b, 0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27,
        0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58, 0x01,
        0x00, 0x06, 0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0,
    ];
    const AAC: &[u8] = &[0x12, 0x08];

    #[test]
    fn an_announced_track_is_waited_for_when_the_pad_of_another_is_said_to_be_the_last() {
        gst::init().unwrap();
        let (collector, mut events) = camera();
        assert!(collector.attach(TrackKind::Audio));
        collector.announced_all().unwrap();
        take(&collector, TrackKind::Audio, 0);
        assert!(events.try_recv().is_none(), "the picture was announced");
        assert!(collector.attach(TrackKind::Video));
        take(&collector, TrackKind::Video, 0);
        assert_eq!(told(events.try_recv()), [TrackKind::Video, TrackKind::Audio]);
    }

    #[test]
    fn an_announced_track_that_never_comes_is_waited_for_in_vain() {
        gst::init().unwrap();
        let (collector, mut events) = camera();
        assert!(collector.attach(TrackKind::Video));
        collector.announced_all().unwrap();
        take(&collector, TrackKind::Video, 0);
        take(&collector, TrackKind::Video, 1_900);
        assert!(events.try_recv().is_none());
        take(&collector, TrackKind::Video, 2_100);
        assert_eq!(told(events.try_recv()), [TrackKind::Video]);
    }

    #[test]
    fn a_second_track_of_a_kind_is_neither_announced_nor_attached() {
        let (collector, _events) = camera();
        assert!(!collector.announce(TrackKind::Video));
        assert!(collector.attach(TrackKind::Video));
        assert!(!collector.attach(TrackKind::Video));
    }

    /// The collector of a camera that has announced a picture and sound.
    fn camera() -> (Collector, queue::Receiver<Event>) {
        let (sender, receiver) = queue::queue();
        let collector = Collector::new(sender, Pace::Fast);
        assert!(collector.announce(TrackKind::Video));
        assert!(collector.announce(TrackKind::Audio));
        (collector, receiver)
    }

    /// A unit shown at `millis` comes.
    fn take(collector: &Collector, kind: TrackKind, millis: u64) {
        let (name, config) = match kind {
            TrackKind::Video => ("video/x-h264", AVC),
            TrackKind::Audio => ("audio/mpeg", AAC),
        };
        let caps = gst::Caps::builder(name).field("codec_data", gst::Buffer::from_slice(config)).build();
        let mut buffer = gst::Buffer::from_slice([0; 8]);
        buffer.make_mut().set_pts(gst::ClockTime::from_mseconds(millis));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        let sample = gst::Sample::builder().buffer(&buffer).caps(&caps).segment(&segment).build();
        assert!(collector.take(kind, &sample, &Progress::new()).is_ok());
    }

    fn told(event: Option<Event>) -> Vec<TrackKind> {
        match event {
            Some(Event::Tracks(tracks)) => tracks.iter().map(|track| track.codec.kind()).collect(),
            other => panic!("no tracks: {other:?}"),
        }
    }
}
