//! Looks at what a camera gives, and finds what is wrong with it.
//!
//! What ends a pipeline (silence, a refused password) the pipeline tells itself. Here is what goes on and is
//! wrong all the same: a frozen picture, a clock that jumped or stands, a coding that changed, packets that were lost.

use std::time::{Duration, Instant};

use fragment::cutter::Settings;
use fragment::{AccessUnit, FragmentId, MediaTime, TrackNumber, Tracks};

use crate::frozen::FrozenPicture;
use crate::limits;
use crate::reason::Reason;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The recording goes on by itself.
    Noted(Reason, String),
    /// The camera has to be started again.
    Failed(Reason, String),
}

/// Watches over one run of a camera.
#[derive(Debug)]
pub struct Watchdog {
    tracks: Option<Tracks>,
    video: Option<TrackNumber>,
    /// The last picture, and when it came.
    last: Option<(MediaTime, Instant)>,
    /// When a unit of any kind last came, or the watch began.
    heard: Option<Instant>,
    /// The fragment that is open, and since when.
    open: Option<(FragmentId, Instant)>,
    frozen: Option<FrozenPicture>,
    losses: Losses,
}

/// Losses since the last that were told.
#[derive(Debug, Default)]
struct Losses {
    packets: u64,
    units: u64,
    told: Option<Instant>,
}

impl Watchdog {
    /// A picture that is the same for `frozen_picture` is taken for frozen; none is where that is not given.
    pub fn new(frozen_picture: Option<Duration>) -> Self {
        Self {
            tracks: None,
            video: None,
            last: None,
            heard: None,
            open: None,
            frozen: frozen_picture.map(FrozenPicture::new),
            losses: Losses::default(),
        }
    }

    /// The tracks of what follows. Sound that joins later has changed nothing.
    pub fn tracks(&mut self, tracks: &Tracks) -> Option<Finding> {
        self.video = tracks.video().map(|track| track.number);
        let before = self.tracks.replace(tracks.clone())?;
        let changed =
            before.iter().any(|old| tracks.iter().any(|new| new.number == old.number && new.codec != old.codec));
        changed.then(|| Finding::Noted(Reason::CodingChanged, format!("it changed its coding to {}", describe(tracks))))
    }

    /// Looks what time it is, while `open` is being recorded. To be called each second or so, whether something came or not: so no
    /// fragment stays open for ever, behind which others would wait for their upload.
    pub fn look(&mut self, open: Option<FragmentId>, now: Instant) -> Option<Finding> {
        let heard = *self.heard.get_or_insert(now);
        if now.saturating_duration_since(heard) > limits::CAMERA_SILENCE_MAX {
            let words = format!("it gave nothing for {} seconds", limits::CAMERA_SILENCE_MAX.as_secs());
            return Some(Finding::Failed(Reason::Silent, words));
        }
        let began = |id| self.open.filter(|(before, _)| *before == id).map_or(now, |(_, began)| began);
        self.open = open.map(|id| (id, began(id)));
        let (_, began) = self.open?;
        (now.saturating_duration_since(began) > limits::FRAGMENT_OPEN_MAX).then(|| {
            let words = format!(
                "its clock has moved by less than a fragment in {} seconds, though it gives pictures",
                limits::FRAGMENT_OPEN_MAX.as_secs()
            );
            Finding::Failed(Reason::ClockStands, words)
        })
    }

    /// A unit that came at `now`.
    pub fn unit(&mut self, unit: &AccessUnit, now: Instant) -> Option<Finding> {
        self.heard = Some(now);
        if self.video.is_some_and(|video| video != unit.track) {
            return None;
        }
        let stands = match &mut self.frozen {
            Some(frozen) if unit.key && self.video.is_some() => frozen.key_frame(&unit.data, unit.pts),
            _ => None,
        };
        if let Some(stands) = stands {
            let words = format!("its picture has been the same for {} seconds", stands.as_secs());
            return Some(Finding::Failed(Reason::FrozenPicture, words));
        }
        let (before, came) = self.last.replace((unit.pts, now))?;
        step(before, unit.pts, now.saturating_duration_since(came))
    }

    /// Packets were lost, and so many units are damaged or missing for it.
    pub fn lost(&mut self, packets: u64, units: u64, now: Instant) -> Option<Finding> {
        self.losses.packets += packets;
        self.losses.units += units;
        let recent = |told: Instant| now.saturating_duration_since(told) < limits::LOSSES_PAUSE;
        if self.losses.told.is_some_and(recent) {
            return None;
        }
        let Losses { packets, units, .. } =
            std::mem::replace(&mut self.losses, Losses { told: Some(now), ..Losses::default() });
        let words = format!(
            "{packets} packets were lost on the way, {units} pictures or pieces of sound are damaged or missing"
        );
        Some(Finding::Noted(Reason::PacketsLost, words))
    }
}

/// What a step of media time means that took `waited` to come.
fn step(before: MediaTime, pts: MediaTime, waited: Duration) -> Option<Finding> {
    // As the cutter has it: a larger step ends the session.
    let gap_max = Settings::default().gap_max;
    let (ahead, back) = (pts.since(before), before.since(pts));
    if ahead.max(back) <= gap_max {
        return None;
    }
    if back.is_zero() && waited >= ahead / 2 {
        return Some(Finding::Noted(Reason::Paused, format!("it gave no picture for {} seconds", waited.as_secs())));
    }
    let (by, way) = if back.is_zero() { (ahead, "ahead") } else { (back, "back") };
    Some(Finding::Noted(Reason::ClockJumped, format!("its clock jumped {} seconds {way}", by.as_secs())))
}

/// What `tracks` are, in words.
pub fn describe(tracks: &Tracks) -> String {
    tracks.iter().map(describe_track).collect::<Vec<_>>().join(", ")
}

fn describe_track(track: &fragment::Track) -> String {
    use fragment::Codec;
    match &track.codec {
        Codec::H264(config) => format!("H.264 {}×{}", config.width(), config.height()),
        Codec::H265(config) => format!("H.265 {}×{}", config.width(), config.height()),
        Codec::Aac(config) => format!("AAC {} Hz, {} channel(s)", config.sampling_frequency(), config.channels()),
        Codec::Other { id, .. } => id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fragment::{Sequence, SessionId};

    use super::*;

    #[test]
    fn a_clock_that_jumps_is_told_from_a_camera_that_paused() {
        for (step, waited, reason) in [
            (3_600_000, 40, Some(Reason::ClockJumped)),
            (-3_600_000, 40, Some(Reason::ClockJumped)),
            (7_000, 7_000, Some(Reason::Paused)),
            (3_000, 3_000, None),
            (40, 40, None),
            (-80, 40, None),
        ] {
            let (mut watchdog, now) = (Watchdog::new(None), Instant::now());
            assert_eq!(watchdog.unit(&picture(0, 1), now), None);
            let found = watchdog.unit(&picture(step, 2), now + Duration::from_millis(waited));
            let found = found.map(|finding| match finding {
                Finding::Noted(reason, _) | Finding::Failed(reason, _) => reason,
            });
            assert_eq!(found, reason, "{step} ms after {waited} ms");
        }
    }

    #[test]
    fn silence_is_found_and_a_report_of_the_clock_or_of_a_loss_is_no_sound() {
        let (mut watchdog, now) = (Watchdog::new(None), Instant::now());
        assert_eq!(watchdog.look(None, now), None);
        watchdog.unit(&picture(0, 1), now + Duration::from_secs(10));
        let silent = now + Duration::from_secs(10) + limits::CAMERA_SILENCE_MAX;
        assert_eq!(watchdog.look(None, silent), None);
        watchdog.lost(1, 1, silent);
        let found = watchdog.look(None, silent + Duration::from_secs(1));
        assert!(matches!(found, Some(Finding::Failed(Reason::Silent, _))), "{found:?}");
    }

    #[test]
    fn a_fragment_that_does_not_end_is_found_and_one_after_the_other_is_none() {
        let id = |sequence| Some(FragmentId { session: SessionId(7), sequence: Sequence(sequence) });
        let begun = Instant::now();
        let second = |second| begun + Duration::from_secs(second);
        for stuck in [false, true] {
            let mut watchdog = Watchdog::new(None);
            let last = limits::FRAGMENT_OPEN_MAX.as_secs() + 1;
            let mut findings = (0..=last).filter_map(|now| {
                watchdog.unit(&picture(0, 1), second(now));
                let sequence = if stuck { 0 } else { u32::try_from(now / 20).unwrap() };
                watchdog.look(id(sequence), second(now)).map(|finding| (now, finding))
            });
            let found = findings.next();
            assert_eq!(found.is_some(), stuck, "{found:?}");
            let is_right = |found| matches!(found, (at, Finding::Failed(Reason::ClockStands, _)) if at == last);
            assert!(found.is_none_or(is_right));
        }
    }

    #[test]
    fn losses_are_told_at_once_and_then_together() {
        let (mut watchdog, now) = (Watchdog::new(None), Instant::now());
        assert!(watchdog.lost(1, 1, now).is_some());
        assert_eq!(watchdog.lost(2, 1, now + Duration::from_secs(1)), None);
        let Some(Finding::Noted(Reason::PacketsLost, words)) = watchdog.lost(3, 1, now + limits::LOSSES_PAUSE) else {
            panic!("they are told")
        };
        assert!(words.starts_with("5 packets"), "{words}");
    }

    #[test]
    fn a_frozen_picture_has_to_be_started_again_only_where_it_is_watched() {
        for (watched, found) in [(None, false), (Some(Duration::from_secs(5)), true)] {
            let (mut watchdog, now) = (Watchdog::new(watched), Instant::now());
            watchdog.video = Some(TrackNumber::VIDEO);
            let mut findings = (0..10).filter_map(|second| watchdog.unit(&picture(second * 1_000, 7), now));
            let frozen = |finding| matches!(finding, Finding::Failed(Reason::FrozenPicture, _));
            assert_eq!(findings.any(frozen), found);
        }
    }

    fn picture(millis: i64, content: u8) -> AccessUnit {
        let data = Bytes::from(vec![content; 100]);
        AccessUnit { track: TrackNumber::VIDEO, pts: MediaTime::from_millis(millis), duration: None, key: true, data }
    }
}
