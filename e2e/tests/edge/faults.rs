//! What happens to the device, its cameras, its line and its server: one fault after another, chosen at random.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::{Line, until};

use crate::stage::Stage;

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// A camera closes all connections.
    CameraDrops,
    /// A camera is switched off for so long, and begins anew.
    CameraRestarts(Duration),
    /// A camera sends nothing for so long, on open connections.
    CameraStalls(Duration),
    /// A camera's timestamps jump by so many seconds.
    CameraJumps(i32),
    /// The line is so for so long, whatever else happens.
    Line(Line, Duration),
    /// kill -9.
    AgentKilled,
    /// kill -9.
    ServerKilled,
    /// Somebody sets the device's clock by so many hours.
    ClockSteps(i32),
}

/// Faults of all kinds, as likely as each other, and one of each before any comes again.
pub(crate) struct Faults {
    chance: fastrand::Rng,
    round: Vec<Fault>,
    /// The longest that a line is cut.
    cut_max: Duration,
}

impl Faults {
    pub(crate) fn new(seed: u64, cut_max: Duration) -> Faults {
        Faults { chance: fastrand::Rng::with_seed(seed), round: Vec::new(), cut_max }
    }

    pub(crate) fn pick(&mut self) -> Fault {
        if self.round.is_empty() {
            self.round = self.round();
        }
        self.round.pop().expect("a round has faults")
    }

    /// Some random moments for the device to work in.
    pub(crate) fn pause(&mut self) {
        thread::sleep(Duration::from_millis(self.chance.u64(200..2500)));
    }

    pub(crate) fn camera(&mut self, of: usize) -> usize {
        self.chance.usize(..of)
    }

    fn round(&mut self) -> Vec<Fault> {
        let chance = &mut self.chance;
        let cut_max = u64::try_from(self.cut_max.as_millis()).expect("minutes");
        let mut millis = |from: u64, to: u64| Duration::from_millis(chance.u64(from..to));
        let mut faults = vec![
            Fault::CameraDrops,
            Fault::CameraRestarts(millis(300, 3000)),
            Fault::CameraStalls(millis(500, 6000)),
            Fault::Line(Line::Unplugged, millis(1000, cut_max)),
            Fault::Line(Line::Silent, millis(1000, cut_max)),
            Fault::Line(Line::Lossy(5), millis(3000, 10_000)),
            Fault::Line(Line::Lossy(20), millis(3000, 10_000)),
            Fault::Line(Line::Slow, millis(3000, 10_000)),
            Fault::AgentKilled,
            Fault::ServerKilled,
        ];
        let sign = |chance: &mut fastrand::Rng| if chance.bool() { 1 } else { -1 };
        faults.push(Fault::CameraJumps(sign(chance) * chance.i32(10..5000)));
        faults.push(Fault::ClockSteps(sign(chance) * chance.i32(1..30)));
        chance.shuffle(&mut faults);
        faults
    }
}

/// Makes `fault` happen to the stage. Faults of the line go on beside those that follow, until their time is over.
pub(crate) fn happen(stage: &mut Stage, fault: Fault, camera: usize) {
    match fault {
        Fault::CameraDrops => stage.disturb(camera, "drop"),
        Fault::CameraRestarts(time) => stage.disturb(camera, &format!("restart {}", time.as_secs_f64())),
        Fault::CameraStalls(time) => {
            stage.tell(camera, &format!("stall {}", time.as_secs_f64()));
            thread::sleep(time);
        }
        Fault::CameraJumps(seconds) => stage.tell(camera, &format!("jump {seconds}")),
        Fault::Line(line, time) => stage.line_is(line, time),
        Fault::AgentKilled => stage.kill_agent(),
        Fault::ServerKilled => {
            stage.server.kill();
            stage.server.restart();
        }
        Fault::ClockSteps(hours) => stage.step_clock(hours),
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_millis() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("before the year 292 million")
}

/// Waits until the camera of `stream` gives pictures again.
pub(crate) fn until_up(stage: &Stage, stream: &str) {
    let pictures = || {
        let status = stage.agent.status();
        let camera = status["cameras"].as_array()?.iter().find(|camera| camera["stream"] == stream)?.clone();
        (camera["up"] == true).then(|| camera["pictures"].as_u64())?
    };
    let before = until(&format!("{stream} is up"), Duration::from_secs(60), pictures);
    // The status of before an end may still lie there.
    until(&format!("{stream} gives pictures"), Duration::from_secs(60), || pictures().filter(|now| *now != before));
}
