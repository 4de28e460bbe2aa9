//! The stage: cameras and an agent in a network of their own, a server on this machine.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Agent, Camera, Line, Network, Server, Source, until};
use tempfile::TempDir;

use crate::faults::{now_millis, until_up};

/// The streams and what their cameras show.
pub(crate) const STREAMS: [(&str, &str); 2] = [("yard", "h264-aac.mp4"), ("door", "h264-bframes.mp4")];

/// So long before a camera, its connection or the agent ends, a picture may have been on its way from the camera to the spool, on a
/// busy machine: 200 ms wait in the agent to be put in order, and as long in buffers of the network. From then on the agent sees nothing,
/// until it reports pictures again; all that are sent after that it has, or says that it left out.
const BEFORE: i64 = 1000;

/// A drop may be dated so far from when its pictures were sent, in ms: as long as they may have been on their way.
const DATED: i64 = 1000;

pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) agent: Agent,
    cameras: Vec<Camera>,
    /// What happened, and when, in ms since 1970: to tell what a loss may be of.
    happened: Vec<(i64, String)>,
    /// When a stream could not be seen: from and to, in ms since 1970.
    pub(crate) unseen: Vec<(usize, i64, i64)>,
    /// What the device's calendar was ahead, and from when on: in ms since 1970, and in ms.
    calendars: Vec<(i64, i64)>,
    /// Until when the line is not well.
    line_until: Option<Instant>,
    network: Network,
    // The last to go: the others have their files in it.
    folder: TempDir,
}

impl Stage {
    pub(crate) fn new(network: Network) -> Stage {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start_at(folder.path(), network.server_host());
        let cameras = network.inside(|| {
            let start = |(stream, clip): &(&str, &str)| {
                let log = folder.path().join(format!("{stream}.sent"));
                Camera::start_with(clip, folder.path(), &["--log", &log.to_string_lossy()])
            };
            STREAMS.iter().map(start).collect::<Vec<_>>()
        });
        let sources: Vec<_> =
            STREAMS.iter().zip(&cameras).map(|((stream, _), camera)| (*stream, Source::Rtsp(camera.url()))).collect();
        let mut agent = Agent::configured(&folder.path().join("agent"), &server, &server.upload_address(), &sources);
        agent.with_calendar("+0");
        network.inside(|| agent.restart());
        let began = now_millis();
        let (unseen, calendars) = (Vec::new(), vec![(i64::MIN, 0)]);
        let happened = Vec::new();
        let mut stage =
            Stage { server, agent, cameras, happened, unseen, calendars, line_until: None, network, folder };
        for (i, (stream, _)) in STREAMS.iter().enumerate() {
            until_up(&stage, stream);
            stage.unseen.push((i, began - BEFORE, now_millis()));
        }
        stage
    }

    pub(crate) fn note(&mut self, what: String) {
        eprintln!("{what}");
        self.happened.push((now_millis(), what));
    }

    /// What happened within ten seconds of `at`, one a line.
    pub(crate) fn around(&self, at: i64) -> String {
        let near = |(of, what): &(i64, String)| ((of - at).abs() < 10_000).then(|| format!("{:+} ms: {what}", of - at));
        self.happened.iter().filter_map(near).collect::<Vec<_>>().join("\n")
    }

    /// A camera does something after which it has to be found again, and is.
    pub(crate) fn disturb(&mut self, camera: usize, command: &str) {
        let from = now_millis() - BEFORE;
        self.tell(camera, command);
        // What the status says may still be of before.
        thread::sleep(Duration::from_secs(2));
        until_up(self, STREAMS[camera].0);
        self.unseen.push((camera, from, now_millis()));
    }

    pub(crate) fn tell(&self, camera: usize, command: &str) {
        let camera = &self.cameras[camera];
        self.network.inside(|| camera.tell(command));
    }

    pub(crate) fn kill_agent(&mut self) {
        let from = now_millis() - BEFORE;
        self.agent.kill();
        let Stage { network, agent, .. } = self;
        network.inside(|| agent.restart());
        for (i, (stream, _)) in STREAMS.iter().enumerate() {
            until_up(self, stream);
            self.unseen.push((i, from, now_millis()));
        }
    }

    pub(crate) fn step_clock(&mut self, hours: i32) {
        self.calendars.push((now_millis() - DATED, i64::from(hours) * 3_600_000));
        self.agent.set_clock(&format!("{hours:+}h"));
    }

    /// The line is so for a time; whatever it was before ends.
    pub(crate) fn line_is(&mut self, line: Line, time: Duration) {
        self.network.set(line);
        self.line_until = Some(Instant::now() + time);
    }

    /// Ends what has lasted long enough.
    pub(crate) fn tend(&mut self) {
        if self.line_until.is_some_and(|until| until <= Instant::now()) {
            self.network.set(Line::Well);
            self.line_until = None;
        }
    }

    /// Everything is well again, the agent stops, and all that is in its spool arrives: what it was recording when it stopped waits
    /// there for its next start.
    pub(crate) fn settle(&mut self) {
        self.network.set(Line::Well);
        thread::sleep(Duration::from_secs(3));
        let waiting = self.agent.spooled();
        until("the spool empties", Duration::from_secs(300), || {
            waiting.iter().all(|file| !file.exists()).then_some(())
        });
        let stopped = now_millis();
        self.agent.stop();
        let Stage { network, agent, .. } = self;
        network.inside(|| agent.send_the_rest());
        for i in 0..STREAMS.len() {
            self.unseen.push((i, stopped - BEFORE, i64::MAX));
        }
    }

    /// What the agent dropped of a stream, with whatever reason: from and to, in ms since 1970.
    pub(crate) fn drops(&self, stream: &str) -> Vec<(i64, i64)> {
        let mut drops = Vec::new();
        for name in ["drops.old", "drops"] {
            let bytes = fs::read(self.agent.state().join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            for line in text.lines() {
                // [checksum] [reason] [stream] [session] [first sequence] [last sequence] [start, ns] [duration, ns], and more
                let words: Vec<&str> = line.split_ascii_whitespace().collect();
                let [_, reason, of, _, _, _, start, duration, ..] = words[..] else { continue };
                if of == stream {
                    eprintln!("dropped: {line}");
                    let [start, duration] =
                        [start, duration].map(|nanos| nanos.parse::<i64>().expect("a number") / 1_000_000);
                    assert!(!reason.is_empty());
                    // By the calendar of its session, which may have begun before somebody set the clock.
                    for &(from, ahead) in &self.calendars {
                        if start - ahead >= from {
                            drops.push((start - ahead - DATED, start - ahead + duration + DATED));
                        }
                    }
                }
            }
        }
        drops
    }

    /// The pictures that a camera sent: when, in ms since 1970, and which of the clip.
    pub(crate) fn sent(&self, camera: usize) -> Vec<(i64, usize)> {
        let path = self.folder.path().join(format!("{}.sent", STREAMS[camera].0));
        let text = fs::read_to_string(path).expect("the camera keeps a log");
        let parse = |line: &str| {
            let (millis, picture) = line.split_once(' ')?;
            Some((millis.parse().ok()?, picture.parse().ok()?))
        };
        text.lines().map(|line| parse(line).unwrap_or_else(|| panic!("{line:?} in the log of a camera"))).collect()
    }
}
