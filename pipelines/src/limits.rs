//! The bounds of this crate, each with its reason.

use std::time::Duration;

/// Events between a pipeline and its reader: ten seconds of video at 25 frames a second. More would
/// only hide a reader that is too slow.
pub(crate) const QUEUE_EVENTS_MAX: usize = 256;

/// Bytes between a pipeline and its reader: several of the largest key frames of a 4K camera.
pub(crate) const QUEUE_BYTES_MAX: usize = 16 << 20;

/// Media that is held back until every announced track has shown its codec. Cameras announce audio
/// that never comes; after this long the pipeline starts without it.
pub(crate) const GATHERING_MAX: Duration = Duration::from_secs(2);

/// Bytes held back meanwhile, for a source of enormous frames.
pub(crate) const GATHERING_BYTES_MAX: usize = 32 << 20;

/// How long a live source may take to its first unit: cameras wake up, negotiate, and wait for a key frame.
pub(crate) const FIRST_UNIT_MAX: Duration = Duration::from_secs(20);

/// How long a live source may send nothing before it counts as gone. Shorter than the 60 s of an RTSP
/// session, longer than the hiccups of a wireless camera.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How often silence is looked for.
pub(crate) const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// How long GStreamer may take to stop a pipeline. A driver that hangs keeps a thread, never its caller.
pub(crate) const TEARDOWN_MAX: Duration = Duration::from_secs(5);

/// How long a stop may take in all: a teardown, and the supervisor's way there.
pub(crate) const STOP_MAX: Duration = Duration::from_secs(6);

/// How often the camera's clock is told: drift of 100 ppm is then 1 ms.
pub(crate) const CLOCK_INTERVAL: Duration = Duration::from_secs(10);

/// How often an arrival is told, at the least: drift of 500 ppm is then half a millisecond.
pub(crate) const ARRIVAL_INTERVAL: Duration = Duration::from_secs(1);

/// How long the second look at a camera that could not be opened waits for an answer: the first one has waited for long.
pub(crate) const LOOK_MAX: Duration = Duration::from_secs(3);

/// How long an encoder that failed is left out: long enough that a broken one costs a camera a second in ten minutes, short
/// enough that one which was busy is used again the same day.
pub(crate) const ENCODER_LEFT_OUT: Duration = Duration::from_secs(600);

/// What a camera that sends JPEG is taken to send a second if it does not say: it only sets the bit rate.
pub(crate) const JPEG_FPS_DEFAULT: u32 = 15;

/// Units that are smaller are copied out of GStreamer's memory: sound, which often is a small part of a packet. The larger ones are handed on as
/// they are.
pub(crate) const COPIED_BYTES_MAX: usize = 4096;
