//! A device without a battery-backed clock, through several boots: a calendar that is wrong by years, synchronised late or
//! never, set by hand, a server that is met late or never. What it sends is held against true time, from seeds.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::time::Duration;

use agent::calendar::Calendar;
use agent::clock::Instant;
use fastrand::Rng;
use fragment::{BootId, ClockQuality, FragmentId, MonotonicTime, Sequence, SessionId, WallTime};
use spool::Start;

const MILLI: i64 = 1_000_000;
const SECOND: i64 = 1_000_000_000;

/// When all begins, in 2023.
const EPOCH: i64 = 1_700_000_000 * SECOND;

/// How long a boot lasts at most.
const BOOT_MAX: i64 = 7_200 * SECOND;

/// What the device's crystal is off, and the way of a welcome, at most.
const DRIFT_PPM: i64 = 50;
const WAY_MAX: i64 = 500 * MILLI;

/// A fragment's length.
const STEP: i64 = 2 * SECOND;

#[test]
fn whatever_the_device_knew_at_capture_its_fragments_are_right_within_their_bound_when_they_are_sent() {
    let (mut servers, mut synchronised, mut unknown) = (0, 0, 0);
    for seed in 0..runs(200) {
        for sent in Device::new(seed).live() {
            let error = (sent.wall.as_nanos() - sent.at).abs();
            let drift = BOOT_MAX / 1_000_000 * DRIFT_PPM;
            match sent.quality {
                ClockQuality::Synchronised => {
                    synchronised += 1;
                    assert!(error <= drift + 100 * MILLI, "{seed}: {sent:?}");
                }
                ClockQuality::Server => {
                    servers += 1;
                    assert!(error <= WAY_MAX + drift, "{seed}: {sent:?}");
                }
                ClockQuality::Unsynchronised => {
                    unknown += 1;
                    assert!(!sent.boot_learned, "{seed}: its boot had learned the time: {sent:?}");
                }
                other => panic!("{seed}: {other}"),
            }
        }
    }
    assert!(servers.min(synchronised).min(unknown) > 0, "{servers}, {synchronised} and {unknown} were seen");
}

#[test]
fn fragments_of_a_session_keep_their_order_and_their_distance_to_a_thousandth() {
    for seed in 0..runs(200) {
        let mut sent = Device::new(seed).live();
        sent.sort_by_key(|sent| (sent.id.session.0, sent.id.sequence.0));
        for pair in sent.windows(2).filter(|pair| pair[1].id.follows(pair[0].id)) {
            // What was sent in different lives of the agent was sent by what was known then.
            if pair[0].sent_in != pair[1].sent_in || pair[0].quality == ClockQuality::Unsynchronised {
                continue;
            }
            let apart = pair[1].wall.as_nanos() - pair[0].wall.as_nanos();
            let captured = since_boot(&pair[1]) - since_boot(&pair[0]);
            assert!((apart - captured).abs() <= captured / 1000 + 1, "{seed}: {pair:?}");
        }
    }
}

/// A fragment as it was sent.
#[derive(Clone, Debug)]
struct Sent {
    id: FragmentId,
    start: Start,
    /// True time of its start.
    at: i64,
    wall: WallTime,
    quality: ClockQuality,
    /// Whether the boot of its capture had learned the time when it was sent, or before its end.
    boot_learned: bool,
    sent_in: u128,
}

struct Waiting {
    id: FragmentId,
    start: Start,
    at: i64,
}

struct Device {
    rng: Rng,
    state: tempfile::TempDir,
    /// True time.
    now: i64,
    waiting: Vec<Waiting>,
    sent: Vec<Sent>,
    /// Boots that learned the time.
    learned: Vec<u128>,
}

/// One boot.
struct Boot {
    number: u128,
    began: i64,
    drift_ppm: i64,
    /// How far the calendar is off until it is synchronised; and when that is.
    wrong: i64,
    synchronised_at: i64,
    /// When someone sets it by hand, and by how much; after that it is not held for synchronised.
    set: (i64, i64),
}

impl Device {
    fn new(seed: u64) -> Self {
        let state = tempfile::tempdir().unwrap();
        Self {
            rng: Rng::with_seed(seed),
            state,
            now: EPOCH,
            waiting: Vec::new(),
            sent: Vec::new(),
            learned: Vec::new(),
        }
    }

    fn live(mut self) -> Vec<Sent> {
        for number in 1..=3 {
            let length = self.rng.i64(60 * SECOND..BOOT_MAX);
            self.boot(number, length);
            self.now += self.rng.i64(SECOND..1_000_000 * SECOND);
        }
        self.sent
    }

    fn boot(&mut self, number: u128, length: i64) {
        let never = i64::MAX;
        let rng = &mut self.rng;
        let boot = Boot {
            number,
            began: self.now,
            drift_ppm: rng.i64(-DRIFT_PPM..=DRIFT_PPM),
            wrong: -rng.i64(0..EPOCH),
            synchronised_at: if rng.bool() { self.now + rng.i64(0..length) } else { never },
            set: (self.now + rng.i64(0..length), if rng.bool() { 86_400 * SECOND } else { -86_400 * SECOND }),
        };
        let mut meets_server = if rng.bool() { self.now + rng.i64(0..length) } else { never };
        let mut calendar = Calendar::open(self.state.path(), BootId(number));
        let (mut session, mut sequence, mut wall_of_boot) = (0, 0, None);
        let mut connected = false;
        while self.now < boot.began + length {
            let now = boot.clocks(self.now);
            // The agent looks each time it tries to connect.
            calendar.handle_clock(now).unwrap();
            if now.quality == ClockQuality::Synchronised {
                self.learned.push(number);
            }
            if sequence == 0 || self.rng.usize(0..200) == 0 {
                (session, sequence, wall_of_boot) = (self.rng.u64(..), 0, Some((now.wall_of_boot(), now.quality)));
            }
            let (wall, quality) =
                wall_of_boot.map(|(boot, quality)| (boot + now.monotonic.since_boot, quality)).unwrap();
            let id = FragmentId { session: SessionId(session), sequence: Sequence(sequence) };
            let start = Start { monotonic: Some(now.monotonic), wall, quality };
            self.waiting.push(Waiting { id, start, at: self.now });
            sequence += 1;
            if self.now >= meets_server {
                if !connected {
                    let said = WallTime::from_nanos(self.now - self.rng.i64(0..WAY_MAX));
                    calendar.handle_server_time(now, said).unwrap();
                    self.learned.push(number);
                }
                self.send(&mut calendar, number);
                connected = true;
                // Connected for a while, and gone again.
                if self.rng.usize(0..100) == 0 {
                    (connected, meets_server) = (false, self.now + self.rng.i64(0..length));
                }
            }
            self.now += STEP;
        }
    }

    fn send(&mut self, calendar: &mut Calendar, boot: u128) {
        for Waiting { id, start, at } in self.waiting.drain(..) {
            let captured_in = start.monotonic.unwrap().boot.0;
            let (wall, quality) = calendar.resolve(id, start, captured_in == boot);
            let boot_learned = self.learned.contains(&captured_in);
            self.sent.push(Sent { id, start, at, wall, quality, boot_learned, sent_in: boot });
        }
    }
}

impl Boot {
    /// What the clocks show at the true time `now`.
    fn clocks(&self, now: i64) -> Instant {
        let elapsed = now - self.began;
        let since_boot = Duration::from_nanos((elapsed + elapsed / 1_000_000 * self.drift_ppm).unsigned_abs());
        let (set_at, by) = self.set;
        let is_right = now >= self.synchronised_at && now < set_at;
        let wrong = if now >= self.synchronised_at { 0 } else { self.wrong };
        let wall = now + if now >= set_at { wrong + by } else { wrong };
        Instant {
            monotonic: MonotonicTime { boot: BootId(self.number), since_boot },
            wall: WallTime::from_nanos(wall),
            quality: if is_right { ClockQuality::Synchronised } else { ClockQuality::Unsynchronised },
        }
    }
}

fn since_boot(sent: &Sent) -> i64 {
    i64::try_from(sent.start.monotonic.unwrap().since_boot.as_nanos()).unwrap()
}

fn runs(of: u64) -> u64 {
    std::env::var("SIM_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(of)
}
