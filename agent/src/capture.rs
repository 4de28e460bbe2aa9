//! Runs one camera: GStreamer's events into the recorder, again and again, for ever.
//!
//! Each camera has a thread, since spooling waits for the disk. A camera that fails, ends or falls silent
//! is started again after a pause; only a file that is not looped has an end. design/capture.md has the faults in a
//! table. The server plays no part here: nothing in this file knows whether there is one.

use std::pin::pin;
use std::time::{Duration, Instant};

use fragment::cutter::Settings;
use pipelines::file::Pace;
use pipelines::{ClockReading, Event, Handle, Pipeline, Receiver, file, libcamera, rtsp, test_pattern, v4l2};
use spool::Spool;
use tokio::runtime;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::backoff::{Backoff, Worked};
use crate::clock::Clock;
use crate::config::{Camera, Source, TlsTrust, Transport, V4l2Format};
use crate::discover::NoStream;
use crate::limits;
use crate::reason::Reason;
use crate::recorder::{Recorder, TimeSource};
use crate::status::CameraStatus;
use crate::watchdog::{Finding, Watchdog};

/// How one run of a pipeline ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// The source is at its end.
    EndOfStream,
    /// The agent stops.
    Stopped,
    /// It failed, for a reason and in words.
    Failed(Reason, String),
}

/// Captures `camera` until `stop`. Blocks: give it a thread.
pub fn run(camera: &Camera, spool: &Spool, clock: Clock, status: &CameraStatus, stop: &CancellationToken) {
    let mut backoff = Backoff::new(fastrand::u64(..));
    // One recorder for all starts, so that a new session does not overlap the one before.
    let mut recorder = Recorder::new(
        camera.stream.clone(),
        spool.clone(),
        TimeSource::Arrival(clock),
        Settings { target: camera.fragment_target, ..Settings::default() },
    )
    .believing(camera.clock);
    status.written_by(recorder.scribe_pulse());
    while !stop.is_cancelled() {
        tracing::info!(stream = %camera.stream, "starting the camera");
        let mut worked = Worked::default();
        let Some(source) = until_stopped(&camera.source, stop) else { return };
        let ended = match source {
            Ok(source) => {
                let (handle, events) = Pipeline::start(source);
                let watchdog = Watchdog::new(camera.frozen_picture);
                let recording = record(events, &mut recorder, clock, watchdog, &mut worked, status, stop);
                let ended = runtime::Handle::current().block_on(recording);
                recorder.end();
                handle.stop();
                ended
            }
            Err(error) => Ended::Failed(Reason::from(&error), error.to_string()),
        };
        status.down();
        let (reason, why) = match ended {
            Ended::Stopped => return,
            Ended::EndOfStream if matches!(camera.source, Source::File { .. }) => {
                tracing::info!(stream = %camera.stream, "the file is at its end");
                return;
            }
            Ended::EndOfStream => (Reason::StreamEnded, "it ended its stream".to_owned()),
            Ended::Failed(reason, why) => (reason, why),
        };
        backoff.ended(worked);
        let pause = backoff.pause();
        tracing::warn!(stream = %camera.stream, %reason, why, ?pause, "the camera failed; starting it again");
        status.failed(reason, &why);
        wait(pause, stop);
    }
}

/// Records until the pipeline ends. Answers how it ended; the recorder's last fragment is still open.
async fn record(
    mut events: Receiver<Event>,
    recorder: &mut Recorder,
    clock: Clock,
    mut watchdog: Watchdog,
    worked: &mut Worked,
    status: &CameraStatus,
    stop: &CancellationToken,
) -> Ended {
    // Made once, and not for each unit: a timer that is set and taken back costs more than what is done with a piece of sound.
    let mut stopped = pin!(stop.cancelled());
    let mut look = tokio::time::interval(limits::LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = tokio::select! {
            biased;
            () = &mut stopped => return Ended::Stopped,
            event = events.recv() => Some(event),
            _ = look.tick() => None,
        };
        let finding = match next {
            None => None,
            Some(None) => {
                return Ended::Failed(Reason::PipelineFailed, "its pipeline stopped by itself".to_owned());
            }
            Some(Some(Event::Tracks(tracks))) => {
                recorder.tracks(&tracks);
                status.up(&tracks);
                watchdog.tracks(&tracks)
            }
            Some(Some(Event::Unit(unit))) => {
                let now = Instant::now();
                let finding = watchdog.unit(&unit, now);
                status.came(&unit);
                recorder.unit(unit);
                worked.note(now);
                status.recorded(recorder.recorded());
                finding
            }
            Some(Some(Event::Lost(_, loss))) => {
                status.lost(loss.packets, loss.units);
                watchdog.lost(loss.packets, loss.units, Instant::now())
            }
            Some(Some(Event::Clock(ClockReading::Arrival { media, at }))) => {
                recorder.arrived(media, clock.monotonic_at(at));
                status.clock(recorder.clock_reading());
                None
            }
            Some(Some(Event::Clock(ClockReading::Camera { media, wall }))) => {
                recorder.camera_said(media, wall);
                None
            }
            Some(Some(Event::EndOfStream)) => return Ended::EndOfStream,
            Some(Some(Event::Failed(error))) => return Ended::Failed(Reason::from(&error), error.to_string()),
        };
        match finding.or_else(|| watchdog.look(recorder.open(), Instant::now())) {
            Some(Finding::Failed(reason, why)) => return Ended::Failed(reason, why),
            Some(Finding::Noted(reason, what)) => {
                tracing::warn!(stream = %recorder.stream(), %reason, what, "the camera was in trouble and is recorded on");
                status.noted(reason, &what);
            }
            None => {}
        }
    }
}

/// The pipeline of a source, unless `stop` comes first: then a camera that is being asked where it streams is left, and the thread
/// that asks it ends when it has its answer.
fn until_stopped(source: &Source, stop: &CancellationToken) -> Option<Result<pipelines::Source, NoStream>> {
    if !matches!(source, Source::Onvif { .. }) {
        return Some(pipeline(source));
    }
    let (answer, answered) = tokio::sync::oneshot::channel();
    let source = source.clone();
    let asking = std::thread::Builder::new().name("onvif".to_owned()).spawn({
        let source = source.clone();
        // Nobody waits for it after a stop.
        move || drop(answer.send(pipeline(&source)))
    });
    if let Err(error) = asking {
        tracing::error!(%error, "no thread for asking a camera; it is asked without one");
        return Some(pipeline(&source));
    }
    let answered = runtime::Handle::current().block_on(stop.run_until_cancelled(answered))?;
    Some(answered.unwrap_or_else(|_| pipeline(&source)))
}

/// The pipeline of a source. Asks an ONVIF camera where it streams, which takes seconds: blocks.
pub fn pipeline(source: &Source) -> Result<pipelines::Source, NoStream> {
    Ok(match source.clone() {
        Source::Onvif { place, profile, transport, credentials, latency, trust } => {
            let user = credentials.clone().map(|(user, password)| onvif::Credentials { user, password: password.0 });
            let url = crate::discover::stream_of(&place, &profile, user)?;
            if trust.is_in_vain(&url) {
                tracing::warn!(
                    place = ?place,
                    "tls_ca, tls_fingerprint or tls_insecure has no effect: the camera streams in the clear; switch RTSP over \
                     TLS on in its settings, or remove the key"
                );
            }
            // Datagrams would go in the clear.
            let transport = if url.starts_with("rtsps://") { Transport::Tcp } else { transport };
            return pipeline(&Source::Rtsp { url, transport, credentials, latency, trust });
        }
        Source::Rtsp { url, transport, credentials, latency, trust } => {
            let mut source = rtsp::Source::new(url).transport(match transport {
                Transport::Tcp => rtsp::Transport::Tcp,
                Transport::Udp => rtsp::Transport::Udp,
            });
            if let Some((user, password)) = credentials {
                source = source.credentials(user, password.0);
            }
            if let Some(latency) = latency {
                source = source.latency(latency);
            }
            pipelines::Source::Rtsp(source.trust(match trust {
                TlsTrust::System => rtsp::Trust::System,
                TlsTrust::Ca(path) => rtsp::Trust::Ca(path),
                TlsTrust::Fingerprint(sum) => rtsp::Trust::Fingerprint(sum),
                TlsTrust::Anyone => rtsp::Trust::Anyone,
            }))
        }
        Source::File { path, looped } => file::Source::new(path).looped(looped).pace(Pace::RealTime).into(),
        Source::TestPattern { picture, audio } => {
            let own = test_pattern::Source::default();
            let (width, height, fps) = (
                picture.width.unwrap_or(own.width),
                picture.height.unwrap_or(own.height),
                picture.fps.unwrap_or(own.fps),
            );
            test_pattern::Source { width, height, fps, audio }.into()
        }
        Source::V4l2 { device, format, picture } => {
            let own = v4l2::Source::new(device);
            let format = match format {
                V4l2Format::Raw => v4l2::Format::Raw,
                V4l2Format::Jpeg => v4l2::Format::Jpeg,
                V4l2Format::H264 => v4l2::Format::H264,
            };
            v4l2::Source {
                format,
                width: picture.width.unwrap_or(own.width),
                height: picture.height.unwrap_or(own.height),
                fps: picture.fps.unwrap_or(own.fps),
                ..own
            }
            .into()
        }
        Source::Libcamera { camera, picture } => {
            let own = libcamera::Source::default();
            pipelines::Source::Libcamera(libcamera::Source {
                camera,
                width: picture.width.unwrap_or(own.width),
                height: picture.height.unwrap_or(own.height),
                fps: picture.fps.unwrap_or(own.fps),
            })
        }
    })
}

/// Reads a file as fast as it is taken.
pub fn fast(path: &std::path::Path) -> (Handle, Receiver<Event>) {
    Pipeline::start(file::Source::new(path).pace(Pace::Fast))
}

fn wait(pause: Duration, stop: &CancellationToken) {
    runtime::Handle::current().block_on(async {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    });
}
