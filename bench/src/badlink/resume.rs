//! How soon uploads go on: after thirty seconds without a line, and after the device got another address. A camera gives
//! fragments of a second, and what is counted is the time until the next one is stored. The device is the real agent, beside the baseline's
//! client, whose only connection has no time limit of its own.

use std::process::Child;
use std::time::{Duration, Instant};

use e2e::{Agent, Process, binary};

use super::Stage;
use super::line::DEVICES;
use crate::figures;

const DEAD: Duration = Duration::from_secs(30);

/// What the server may still store of what was sent before.
const ON_THE_WAY: Duration = Duration::from_millis(500);

/// Nobody waits longer.
const PATIENCE: Duration = Duration::from_secs(90);

pub(super) fn run(stage: &Stage, runs: usize) -> anyhow::Result<()> {
    figures::row(&["the next fragment is stored after", "30 s without a line", "another address"]);
    figures::row(&["---"; 3]);
    let agent = Agent::enrolled_at(&stage.folder.join("live"), &stage.server, &stage.quic);
    let config = stage.folder.join("live").join("agent.toml");
    let camera = format!(
        "\n[[camera]]\nstream = \"live\"\nfile = {:?}\nlooped = true\nfragment_seconds = 1.0\n",
        e2e::clip("h264-aac.mp4")
    );
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&config, text + &camera)?;
    let mut command = stage.line.inside(&binary("millrace-agent"));
    let process = Process::start(
        "millrace-agent",
        command.arg("run").arg("--config").arg(&config),
        &stage.folder.join("live.log"),
    );
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of fragments")]
    let persisted = || stage.server.try_metric("millrace_fragments_persisted_total").unwrap_or(0.0) as u64;
    measure(stage, "millrace-agent, QUIC", runs, &persisted)?;
    drop((process, agent));

    let client = HttpClient::start(stage)?;
    measure(stage, "HTTP over TCP", runs, &|| stage.http.stored())?;
    drop(client);
    Ok(())
}

fn measure(stage: &Stage, name: &str, runs: usize, stored: &dyn Fn() -> u64) -> anyhow::Result<()> {
    let (mut dead, mut moved) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        next(stored);
        stage.line.set_cut(true);
        std::thread::sleep(DEAD);
        stage.line.set_cut(false);
        dead.push(next(stored));
        std::thread::sleep(Duration::from_secs(5));
    }
    let [mut from, mut to] = DEVICES;
    for _ in 0..runs {
        next(stored);
        stage.line.move_device(from, to)?;
        std::mem::swap(&mut from, &mut to);
        // What was on its way is not meant.
        std::thread::sleep(ON_THE_WAY);
        moved.push((ON_THE_WAY + next(stored)).min(PATIENCE));
        if moved.last() == Some(&PATIENCE) {
            break;
        }
        std::thread::sleep(Duration::from_secs(5));
    }
    if from != DEVICES[0] {
        stage.line.move_device(from, DEVICES[0])?;
    }
    let say = |mut times: Vec<Duration>| match figures::percentile(&mut times, 50.0) {
        PATIENCE => format!("not within {} s", PATIENCE.as_secs()),
        time => format!("{:.1} s", time.as_secs_f64()),
    };
    figures::row(&[name, &say(dead), &say(moved)]);
    Ok(())
}

/// Until one more is stored.
fn next(stored: &dyn Fn() -> u64) -> Duration {
    let (start, before) = (Instant::now(), stored());
    while stored() == before && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    start.elapsed().min(PATIENCE)
}

/// The baseline's client, which sends until it is dropped.
struct HttpClient(Child);

impl HttpClient {
    fn start(stage: &Stage) -> anyhow::Result<Self> {
        let mut command = stage.line.inside(&std::env::current_exe()?);
        command.args(["badlink-client", "tcp", "--to", &stage.http.address(), "--identity"]);
        command.arg(&stage.identity).args(["--fragments", "100000", "--real-time"]);
        Ok(Self(command.spawn()?))
    }
}

impl Drop for HttpClient {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
