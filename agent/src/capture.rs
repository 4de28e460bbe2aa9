//! Runs one camera: GStreamer's events into the recorder, again and again, for ever.
//!
//! Each camera has a thread, since spooling waits for the disk. A camera that fails, ends or falls silent
//! is started again after a pause; only a file that is not looped has an end. The server plays no part
//! here: nothing in this file knows whether there is one.

use std::time::{Duration, Instant};

use fragment::cutter::Settings;
use pipelines::file::Pace;
use pipelines::{Event, Handle, Pipeline, Receiver, file, libcamera, rtsp, test_pattern, v4l2};
use spool::Spool;
use tokio::runtime;
use tokio_util::sync::CancellationToken;

use crate::backoff::{Backoff, Worked};
use crate::clock::Clock;
use crate::config::{Camera, Source, Transport, V4l2Format};
use crate::limits;
use crate::recorder::{Recorder, TimeSource};
use crate::status::CameraStatus;

/// How one run of a pipeline ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// The source is at its end.
    EndOfStream,
    /// The agent stops.
    Stopped,
    /// It failed, in words.
    Failed(String),
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
    );
    while !stop.is_cancelled() {
        tracing::info!(stream = %camera.stream, "starting the camera");
        let (handle, events) = Pipeline::start(pipeline(&camera.source));
        let mut worked = Worked::default();
        let ended = record(events, &mut recorder, &mut worked, status, stop);
        recorder.end();
        handle.stop();
        status.down();
        let why = match ended {
            Ended::Stopped => return,
            Ended::EndOfStream if matches!(camera.source, Source::File { .. }) => {
                tracing::info!(stream = %camera.stream, "the file is at its end");
                return;
            }
            Ended::EndOfStream => "it ended its stream".to_owned(),
            Ended::Failed(why) => why,
        };
        backoff.ended(worked);
        let pause = backoff.pause();
        tracing::warn!(stream = %camera.stream, why, ?pause, "the camera failed; starting it again");
        status.failed(&why);
        wait(pause, stop);
    }
}

/// Records until the pipeline ends. Answers how it ended; the recorder's last fragment is still open.
fn record(
    mut events: Receiver<Event>,
    recorder: &mut Recorder,
    worked: &mut Worked,
    status: &CameraStatus,
    stop: &CancellationToken,
) -> Ended {
    let runtime = runtime::Handle::current();
    let mut last_clock_note = None;
    loop {
        let next = runtime.block_on(async {
            tokio::select! {
                event = tokio::time::timeout(limits::CAMERA_SILENCE_MAX, events.recv()) => Some(event),
                () = stop.cancelled() => None,
            }
        });
        match next {
            None => return Ended::Stopped,
            Some(Err(_)) => {
                let secs = limits::CAMERA_SILENCE_MAX.as_secs();
                return Ended::Failed(format!("it gave nothing for {secs} seconds"));
            }
            Some(Ok(None)) => return Ended::Failed("its pipeline stopped by itself".to_owned()),
            Some(Ok(Some(Event::Tracks(tracks)))) => {
                recorder.tracks(&tracks);
                status.tracks(&tracks);
            }
            Some(Ok(Some(Event::Unit(unit)))) => {
                status.unit(&unit);
                recorder.unit(unit);
                worked.note(Instant::now());
                status.recorded(recorder.recorded());
            }
            Some(Ok(Some(Event::Clock(reading)))) => {
                // The camera's own clock is noted and not believed: design/time.md says why.
                if last_clock_note.is_none() {
                    tracing::debug!(wall_ns = reading.wall.as_nanos(), "the camera's own clock");
                }
                last_clock_note = Some(reading);
            }
            Some(Ok(Some(Event::EndOfStream))) => return Ended::EndOfStream,
            Some(Ok(Some(Event::Failed(error)))) => return Ended::Failed(error.to_string()),
        }
    }
}

/// The pipeline of a source.
pub fn pipeline(source: &Source) -> pipelines::Source {
    match source.clone() {
        Source::Rtsp { url, transport, credentials, latency } => {
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
            pipelines::Source::Rtsp(source)
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
    }
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
