//! The thread that feeds one media pipeline from the clip, by the camera's time.
//!
//! It begins at the next key frame and goes round and round, each round where the one before ended, so that
//! timestamps go on without a seam. Another clip takes over at a key frame, likewise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_app::AppSrc;
use gst_rtsp_server::prelude::*;

use super::clip::{Clip, Unit};
use super::clocks::{self, Clocks};
use super::packets;
use super::plant::Plant;

/// How long a nap is while there is nothing to do but watch for the end.
const NAP: Duration = Duration::from_millis(5);

/// The launch line of the media pipeline: a source and a payloader for each track.
pub(super) fn line(clip: &Clip, clocks: Clocks) -> String {
    let arguments = clocks.payloader_arguments();
    let tracks = clip.tracks.iter().enumerate().map(|(i, track)| {
        format!(
            "appsrc name=source{i} is-live=true format=time ! {} name=pay{i} pt={}{arguments}",
            track.payloader,
            96 + i
        )
    });
    format!("( {} )", tracks.collect::<Vec<_>>().join(" "))
}

/// Feeds `media` until it is taken down.
pub(super) fn feed(media: &gst_rtsp_server::RTSPMedia, plant: &Arc<Plant>) {
    let Ok(bin) = media.element().downcast::<gst::Bin>() else { return };
    let mut sources = Vec::new();
    for (i, track) in plant.clip().1.tracks.iter().enumerate() {
        let Some(source) = bin.by_name(&format!("source{i}")).and_then(|s| s.downcast::<AppSrc>().ok()) else { return };
        source.set_caps(Some(&track.caps));
        sources.push(source);
        if let Some(pad) = bin.by_name(&format!("pay{i}")).and_then(|payloader| payloader.static_pad("src")) {
            packets::shift_timestamps(&pad, plant);
            if track.is_picture() {
                packets::lose(&pad, plant);
            }
        }
    }
    clocks::set_calendar(media, plant);
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    media.connect_unprepared(move |_| told.store(true, Ordering::Release));
    let plant = Arc::clone(plant);
    thread::spawn(move || Feeder { plant, sources, over }.run());
}

struct Feeder {
    plant: Arc<Plant>,
    sources: Vec<AppSrc>,
    over: Arc<AtomicBool>,
}

impl Feeder {
    fn run(&self) {
        let Some(running) = self.running_time() else { return };
        // The camera's time at which the pipeline's running time was zero.
        let origin = self.plant.time(Instant::now()).saturating_sub(running);
        let mut from = origin + running;
        while let Some(then) = self.show(origin, from) {
            from = then;
        }
    }

    /// Feeds the clip that is shown now from the camera's time `from` on. Answers when another takes its place;
    /// `None` if the feeding is over.
    fn show(&self, origin: Duration, from: Duration) -> Option<Duration> {
        let (number, clip) = self.plant.clip();
        for (source, track) in self.sources.iter().zip(&clip.tracks) {
            source.set_caps(Some(&track.caps));
        }
        for (sent, unit) in sequence(clip, from) {
            if unit.entry && self.plant.clip().0 != number {
                return Some(sent);
            }
            if !self.wait_until(sent) {
                return None;
            }
            let left_out = self.plant.leaves_out(clip.tracks[unit.track].is_picture());
            if !left_out && self.push(unit, sent.saturating_sub(origin)).is_err() {
                return None;
            }
        }
        None
    }

    /// The pipeline's running time, once it runs.
    fn running_time(&self) -> Option<Duration> {
        let source = self.sources.first()?;
        while !self.is_over() {
            // A source gets its clock before its base time, and would give nonsense between the two.
            if source.current_state() == gst::State::Playing
                && let Some(running) = source.current_running_time()
            {
                return Some(running.into());
            }
            thread::sleep(NAP);
        }
        None
    }

    /// Waits until the camera's time is `time`; says no if the feeding is over.
    fn wait_until(&self, time: Duration) -> bool {
        while !self.is_over() {
            let left = time.saturating_sub(self.plant.time(Instant::now()));
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(NAP * 10));
        }
        false
    }

    fn push(&self, unit: &Unit, sent: Duration) -> Result<(), gst::FlowError> {
        let mut buffer = unit.buffer.copy();
        let times = buffer.make_mut();
        let clock_time = |time: Duration| gst::ClockTime::try_from(time).ok();
        times.set_dts(clock_time(sent));
        times.set_pts(clock_time(sent + unit.delay));
        self.sources[unit.track].push_buffer(buffer)?;
        if let Some(picture) = unit.picture {
            self.plant.note_sent(picture);
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// The units from the first entry at or after `from`, round after round, each with the camera's time at
/// which it is sent.
fn sequence(clip: &Clip, from: Duration) -> impl Iterator<Item = (Duration, &Unit)> {
    let round = u32::try_from(from.as_nanos() / clip.length.as_nanos().max(1)).unwrap_or(0);
    (round..)
        .flat_map(move |round| clip.units.iter().map(move |unit| (clip.length * round + unit.sent, unit)))
        .skip_while(move |(sent, unit)| *sent < from || !unit.entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_follow_each_other_without_a_seam() {
        gst::init().unwrap();
        let clip = Clip::read(&crate::clip("h264-aac.mp4"), &[]).unwrap();
        let pictures: Vec<Duration> = sequence(&clip, Duration::from_millis(9_500))
            .filter(|(_, unit)| unit.track == 0)
            .map(|(sent, _)| sent)
            .take(600)
            .collect();
        assert!(pictures[0] >= clip.length, "it begins at the next key frame, in the second round");
        for pair in pictures.windows(2) {
            let step = pair[1] - pair[0];
            assert!(step > Duration::from_millis(35) && step < Duration::from_millis(80), "{pair:?}");
        }
    }
}
