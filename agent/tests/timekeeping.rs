//! A simulated camera with a crystal, a calendar and a network of its own, held against true time: thousands of runs from
//! seeds.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::time::Duration;

use agent::clock::Instant;
use agent::timekeeper::{Believed, Timekeeper};
use fastrand::Rng;
use fragment::cutter::{Cutter, Event, FinishReason, Settings};
use fragment::{
    AccessUnit, BootId, ClockQuality, Codec, MediaTime, MonotonicTime, Track, TrackKind, TrackNumber, Tracks, WallTime,
};
use spool::Start;

/// True time at the boot, a moment in 2023.
const BOOT: i64 = 1_700_000_000_000_000_000;

const MILLI: i64 = 1_000_000;
const SECOND: i64 = 1_000_000_000;

/// Pictures are this far apart: fewer than real, so that days are quick.
const STEP: i64 = 250 * MILLI;

#[test]
fn stored_time_keeps_its_bound_whatever_the_cameras_crystal_and_the_network_do() {
    for seed in 0..runs(2_000) {
        let mut rng = Rng::with_seed(seed);
        let (drift_ppm, jitter) = (rng.i64(-500..=500), rng.i64(0..=300) * MILLI);
        let world = World { drift_ppm, jitter, delay: rng.i64(0..=100) * MILLI, ..World::new(seed) };
        let fragments = world.record(900);
        assert_in_order(&fragments, seed);
        for fragment in &fragments {
            // Late by the first unit's delay at first, early by what the crystal loses in the window.
            assert!(fragment.error <= world.delay + world.jitter + 10 * MILLI, "{seed}: {fragment:?}");
            assert!(fragment.error >= -32 * MILLI, "{seed}: {fragment:?}");
        }
        for fragment in fragments.iter().filter(|fragment| fragment.at > 700 * SECOND) {
            assert!(fragment.error <= world.delay + world.jitter / 5 + 5 * MILLI, "{seed}: {fragment:?}");
        }
    }
}

#[test]
fn a_crystal_that_is_off_by_500_ppm_stays_within_its_bound_for_days_and_ends_no_session() {
    for drift_ppm in [-500, 500] {
        let world = World { drift_ppm, jitter: 100 * MILLI, ..World::new(7) };
        let fragments = world.record(3 * 86_400);
        assert_in_order(&fragments, 7);
        assert!(fragments.iter().all(|fragment| fragment.session.1 == 0), "one session");
        let worst = fragments.iter().map(|fragment| fragment.error.abs()).max().unwrap();
        assert!(worst <= world.delay + world.jitter + 10 * MILLI, "{} ms", worst / MILLI);
    }
}

#[test]
fn drift_is_told_within_a_few_millionths() {
    for (seed, drift_ppm) in [(1, -500), (2, -50), (3, 0), (4, 50), (5, 500)] {
        let world = World { drift_ppm, jitter: 30 * MILLI, ..World::new(seed) };
        let mut keeper = Timekeeper::new(Believed::Device, None);
        world.record_with(&mut keeper, 1_800);
        let told = keeper.reading().drift_ppm.expect("half an hour is enough");
        assert!((told - drift_ppm).abs() <= 10, "{told} for {drift_ppm}");
    }
}

#[test]
fn a_start_out_of_a_full_buffer_is_made_good_and_nothing_overlaps() {
    let world = World { stale: 2 * SECOND, ..World::new(3) };
    let fragments = world.record(600);
    assert_in_order(&fragments, 3);
    assert!(fragments[0].error >= 2 * SECOND, "the first picture came two seconds late: {:?}", fragments[0]);
    for fragment in fragments.iter().filter(|fragment| fragment.at > 40 * SECOND) {
        assert!(fragment.error <= world.delay + 260 * MILLI, "{fragment:?}");
    }
    let last = fragments.last().unwrap();
    assert!(last.error <= world.delay + 10 * MILLI, "{last:?}");
}

#[test]
fn jumps_of_media_time_begin_a_session_that_lies_where_it_should() {
    for seed in 0..runs(1_000) {
        let mut rng = Rng::with_seed(seed);
        let by = SECOND * [rng.i64(6..100_000), -rng.i64(6..100_000)][rng.usize(0..2)];
        let jump = Some((rng.i64(60..240) * SECOND, by));
        let world = World { jump, jitter: rng.i64(0..=100) * MILLI, ..World::new(seed) };
        let fragments = world.record(600);
        assert_in_order(&fragments, seed);
        assert_eq!(fragments.last().unwrap().session.1, 1, "{seed}: one jump, one new session");
        for fragment in &fragments {
            assert!(fragment.error.abs() <= world.delay + world.jitter + 50 * MILLI, "{seed}: {fragment:?}");
        }
    }
}

#[test]
fn a_step_of_the_devices_clock_by_a_day_moves_nothing_that_is_being_recorded() {
    for (seed, by) in [(1, 86_400 * SECOND), (2, -86_400 * SECOND)] {
        let world = World { device_step: Some((300 * SECOND, by)), ..World::new(seed) };
        let fragments = world.record(900);
        assert_in_order(&fragments, seed);
        assert!(fragments.iter().all(|fragment| fragment.session.1 == 0 && fragment.error.abs() < 100 * MILLI));
    }
}

#[test]
fn a_camera_that_is_not_believed_moves_nothing_however_wrong_its_calendar() {
    let plain = World::new(5).record(600);
    let wrong = World { calendar: Some(-6 * 3_600 * SECOND), ..World::new(5) }.record(600);
    assert_eq!(plain, wrong);
}

#[test]
fn how_far_the_cameras_calendar_is_off_is_told() {
    let mut keeper = Timekeeper::new(Believed::Device, None);
    World { calendar: Some(-6 * 3_600 * SECOND), ..World::new(5) }.record_with(&mut keeper, 60);
    let ahead = keeper.reading().camera_ahead_ms.expect("both have a calendar");
    assert!((ahead + 6 * 3_600_000).abs() < 100, "{ahead}");
}

#[test]
fn a_camera_that_is_believed_gives_its_own_time_without_network_and_jitter() {
    for seed in 0..runs(500) {
        let mut rng = Rng::with_seed(seed);
        let calendar = rng.i64(-86_400..=86_400) * SECOND;
        let world = World {
            believed: Believed::Camera,
            calendar: Some(calendar),
            jitter: rng.i64(0..=300) * MILLI,
            drift_ppm: rng.i64(-500..=500),
            ..World::new(seed)
        };
        let fragments = world.record(900);
        let believed = fragments.iter().filter(|fragment| fragment.start.quality == ClockQuality::SenderReport);
        let mut count = 0;
        for fragment in believed {
            count += 1;
            // By its crystal it is off by as much as it drifted between two reports.
            assert!((fragment.error - calendar).abs() <= 15 * MILLI, "{seed}: {fragment:?}");
        }
        assert!(count + 10 >= fragments.len(), "{seed}: all but what came before the first report");
    }
}

#[test]
fn a_believed_camera_whose_clock_is_set_begins_a_session_with_the_new_time_and_one_bad_report_does_not() {
    let set = World {
        believed: Believed::Camera,
        calendar: Some(0),
        calendar_step: Some((300 * SECOND, 3_600 * SECOND)),
        ..World::new(9)
    };
    let fragments = set.record(600);
    let late = fragments.iter().filter(|fragment| fragment.at > 340 * SECOND);
    assert!(late.clone().count() > 100);
    for fragment in late {
        assert_eq!(fragment.session.1, 2);
        assert!((fragment.error - 3_600 * SECOND).abs() < 20 * MILLI, "{fragment:?}");
    }

    let once = World { calendar_step: None, bad_report: Some(300 * SECOND), ..set };
    let fragments = once.record(600);
    assert!(fragments.iter().all(|fragment| fragment.error.abs() < 100 * MILLI && fragment.session.1 <= 1));
}

#[test]
fn a_camera_that_starts_again_at_once_does_not_overlap_what_came_before() {
    for seed in 0..runs(500) {
        let mut keeper = Timekeeper::new(Believed::Device, None);
        let mut fragments = Vec::new();
        let mut rng = Rng::with_seed(seed);
        let mut from = 0;
        for session in 0..5 {
            let seconds = rng.i64(3..60);
            let world = World {
                began: from,
                jitter: rng.i64(0..=300) * MILLI,
                drift_ppm: 500,
                ..World::new(seed * 8 + session)
            };
            fragments.extend(world.record_with(&mut keeper, seconds));
            keeper.source_ended();
            from += seconds * SECOND;
        }
        assert_in_order(&fragments, seed);
    }
}

#[test]
fn no_seam_within_a_session_is_one_that_a_viewer_could_notice() {
    let world = World { drift_ppm: 500, jitter: 200 * MILLI, ..World::new(11) };
    for fragment in world.record(3_600) {
        let stretch = fragment.lasts - fragment.media_lasts;
        assert!(stretch.abs() <= fragment.media_lasts / 1000 + 1, "{fragment:?}");
    }
}

/// A camera, its network and the device.
#[derive(Clone, Copy, Debug)]
struct World {
    seed: u64,
    believed: Believed,
    /// When the camera begins, after the boot.
    began: i64,
    /// How fast its crystal is.
    drift_ppm: i64,
    /// What every unit takes, and what it takes beyond that at most.
    delay: i64,
    jitter: i64,
    /// How old the first units are that it sends.
    stale: i64,
    /// When media time jumps, and by how much.
    jump: Option<(i64, i64)>,
    /// How far its calendar is off, if it has one; when it is set, and by how much; when one report is nonsense.
    calendar: Option<i64>,
    calendar_step: Option<(i64, i64)>,
    bad_report: Option<i64>,
    /// When the device's clock is set, and by how much.
    device_step: Option<(i64, i64)>,
}

/// A recorded fragment held against the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Recorded {
    session: (u64, u32),
    /// When it began, in truth, after the boot.
    at: i64,
    /// Stored minus true time.
    error: i64,
    start: Start,
    lasts: i64,
    media_lasts: i64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            believed: Believed::Device,
            began: 0,
            drift_ppm: 0,
            delay: 40 * MILLI,
            jitter: 0,
            stale: 0,
            jump: None,
            calendar: None,
            calendar_step: None,
            bad_report: None,
            device_step: None,
        }
    }

    fn record(&self, seconds: i64) -> Vec<Recorded> {
        self.record_with(&mut Timekeeper::new(self.believed, None), seconds)
    }

    /// What the recorder does, with simulated clocks.
    fn record_with(&self, keeper: &mut Timekeeper, seconds: i64) -> Vec<Recorded> {
        let mut rng = Rng::with_seed(self.seed);
        let mut recording = Recording {
            keeper,
            cutter: Cutter::new(Settings::default(), tracks()),
            session: (self.seed, 0),
            open: None,
            recorded: Vec::new(),
        };
        let (mut arrived, mut report_due) = (0, self.began + 5 * SECOND);
        for i in 0..seconds * SECOND / STEP {
            let at = self.began + i * STEP;
            let media = MediaTime::from_nanos(self.media(at));
            let jitter = if self.jitter > 0 { rng.i64(0..self.jitter) } else { 0 };
            // Units stay in order, and what waited in a buffer is sent at once.
            arrived = (at + self.delay + jitter).max(arrived).max(self.began + self.stale);
            let now = self.device(arrived);
            if let Some(wall) = self.report(at).filter(|_| at >= report_due) {
                report_due = at + 10 * SECOND;
                recording.keeper.camera_said(media, wall);
            }
            recording.keeper.arrived(media, now.monotonic);
            recording.take(unit(media, i % 8 == 0), at, now);
        }
        recording.cutter.finish();
        recording.drain(0, self.device(arrived));
        recording.recorded
    }

    /// What the camera's crystal has counted.
    fn media(&self, at: i64) -> i64 {
        let elapsed = at - self.began;
        let jump = self.jump.filter(|(when, _)| at >= *when).map_or(0, |(_, by)| by);
        elapsed + elapsed / 1_000_000 * self.drift_ppm + jump
    }

    fn report(&self, at: i64) -> Option<WallTime> {
        let calendar = self.calendar?;
        let step = self.calendar_step.filter(|(when, _)| at >= *when).map_or(0, |(_, by)| by);
        let is_bad = self.bad_report.is_some_and(|when| (when..when + 10 * SECOND).contains(&at));
        let bad = if is_bad { 40 * SECOND } else { 0 };
        Some(WallTime::from_nanos(BOOT + at + calendar + step + bad))
    }

    fn device(&self, at: i64) -> Instant {
        let step = self.device_step.filter(|(when, _)| at >= *when).map_or(0, |(_, by)| by);
        Instant {
            monotonic: MonotonicTime { boot: BootId(1), since_boot: Duration::from_nanos(at.unsigned_abs()) },
            wall: WallTime::from_nanos(BOOT + at + step),
            quality: ClockQuality::Synchronised,
        }
    }
}

/// A recorder without bytes.
struct Recording<'a> {
    keeper: &'a mut Timekeeper,
    cutter: Cutter,
    session: (u64, u32),
    /// The fragment being recorded: when it began in truth, in media time, and as stored.
    open: Option<(i64, MediaTime, Start)>,
    recorded: Vec<Recorded>,
}

impl Recording<'_> {
    /// A unit that was captured `at`.
    fn take(&mut self, unit: AccessUnit, at: i64, now: Instant) {
        if unit.key && self.keeper.session_due() {
            self.cutter.finish();
            self.drain(at, now);
            self.keeper.session_ended();
            self.session.1 += 1;
        }
        self.cutter.push(unit).expect("it is well formed");
        self.drain(at, now);
    }

    fn drain(&mut self, at: i64, now: Instant) {
        while let Some(event) = self.cutter.poll() {
            match event {
                Event::Started { start: media, .. } => self.open = Some((at, media, self.keeper.start(media, now))),
                Event::Unit(_) | Event::LeftOut(_) => {}
                Event::Finished { duration, reason } => {
                    let (at, media, start) = self.open.take().expect("it began");
                    let continues = !matches!(reason, FinishReason::Jump | FinishReason::EndOfStream);
                    let lasts = signed(self.keeper.end(start, media + duration, duration, continues));
                    let (session, media_lasts) = (self.session, signed(duration));
                    let error = start.wall.as_nanos() - BOOT - at;
                    self.recorded.push(Recorded { session, at, error, start, lasts, media_lasts });
                }
                Event::SessionEnded(_) => {
                    self.keeper.jumped();
                    self.session.1 += 1;
                }
            }
        }
    }
}

/// No fragment reaches into the next; within a session each begins where the one before ends.
fn assert_in_order(fragments: &[Recorded], seed: u64) {
    assert!(fragments.len() > 1);
    for pair in fragments.windows(2) {
        let end = pair[0].start.wall.as_nanos() + pair[0].lasts;
        let next = pair[1].start.wall.as_nanos();
        let holds = if pair[0].session == pair[1].session { next == end } else { next >= end };
        assert!(holds, "{seed}: {pair:?}");
    }
}

fn signed(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap()
}

fn runs(of: u64) -> u64 {
    std::env::var("SIM_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(of)
}

fn unit(pts: MediaTime, key: bool) -> AccessUnit {
    AccessUnit { track: TrackNumber::VIDEO, pts, duration: None, key, data: bytes::Bytes::new() }
}

fn tracks() -> Tracks {
    let codec = Codec::Other { id: "V_TEST".to_owned(), private: bytes::Bytes::new(), kind: TrackKind::Video };
    Tracks::new(vec![Track { number: TrackNumber::VIDEO, codec }]).expect("one track")
}
