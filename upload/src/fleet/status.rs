//! How a device is: its cameras, its spool, its clock, its machine.
//!
//! ```text
//! Status   1 cameras: repeated Camera   2 cameras_total: uint32   3 cameras_up: uint32
//!          4 spool: Spool   5 clock: Clock   6 machine: Machine
//! Camera   1 stream: string   2 up: bool   3 milli_fps: uint32   4 bits_per_second: uint64   5 failures: uint64
//!          6 last_failure: string   7 pictures: uint64
//! Spool    1 bytes: uint64   2 fragments: uint64   3 oldest_unsent_ns: optional sint64   4 dropped: uint64
//!          5 lost: uint64   6 bytes_max: uint64   7 rejected: uint64   8 held_bytes: uint64
//!          9 held_fragments: uint64   10 kept_bytes: uint64   11 kept_fragments: uint64   12 stopped: bool
//!          13 ranges_wanted: uint32
//! Clock    1 device_time_ns: sint64   2 quality: string
//! Machine  1 uptime_seconds: uint64   2 load_milli: uint32   3 memory_total: uint64   4 memory_available: uint64
//!          5 disk_total: uint64   6 disk_free: uint64   7 milli_celsius: optional sint32   8 throttling: optional uint32
//!          9 agent_memory: uint64
//! ```

use serde::{Deserialize, Serialize};

use super::cut;
use crate::limits;

/// How a device is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its cameras, as many as a message carries.
    pub cameras: Vec<CameraReport>,
    /// How many it has.
    pub cameras_total: u32,
    /// How many of them give video.
    pub cameras_up: u32,
    /// What lies on its disk.
    pub spool: SpoolReport,
    /// Its clock.
    pub clock: ClockReport,
    /// The machine that it runs on.
    pub machine: MachineReport,
}

/// One camera.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraReport {
    /// The stream that it feeds.
    pub stream: String,
    /// Whether it gives video.
    pub up: bool,
    /// Pictures in a thousand seconds.
    pub milli_fps: u32,
    /// What it gives.
    pub bits_per_second: u64,
    /// How often it failed since the agent, a command or a new configuration started it.
    pub failures: u64,
    /// Why it failed last; empty if it did not.
    pub last_failure: String,
    /// Pictures since then.
    pub pictures: u64,
}

/// What lies on the device's disk: what waits for the server, and apart from it what does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpoolReport {
    /// What waits for the server.
    pub bytes: u64,
    /// Likewise. Agents from before it was told apart count what is held among them.
    pub fragments: u64,
    /// When the oldest of them was captured.
    pub oldest_unsent_ns: Option<i64>,
    /// Fragments that were dropped for lack of room.
    pub dropped: u64,
    /// Fragments or rests that could not be written or read.
    pub lost: u64,
    /// How large it may grow.
    pub bytes_max: u64,
    /// Fragments that the server refused for good.
    pub rejected: u64,
    /// Recordings of cameras that only record: they wait for their hours, or until somebody asks for them.
    pub held_bytes: u64,
    /// Likewise.
    pub held_fragments: u64,
    /// What the server has, and stays on the device for a while.
    pub kept_bytes: u64,
    /// Likewise.
    pub kept_fragments: u64,
    /// Whether recording stands still because the spool is full.
    pub stopped: bool,
    /// Ranges of time that somebody asked for and that are not uploaded as a whole yet.
    pub ranges_wanted: u32,
}

/// The device's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockReport {
    /// What it says.
    pub device_time_ns: i64,
    /// How far it is trusted, in a word.
    pub quality: String,
}

/// The machine that the agent runs on. What it does not tell is 0 or `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineReport {
    /// Since its boot.
    pub uptime_seconds: u64,
    /// The mean of processes that want to run, over a minute, times 1000.
    pub load_milli: u32,
    /// Bytes of memory.
    pub memory_total: u64,
    /// Bytes of memory that programs could have.
    pub memory_available: u64,
    /// Bytes of the disk that the spool lies on.
    pub disk_total: u64,
    /// Bytes of it that are free.
    pub disk_free: u64,
    /// The warmest place that it measures.
    pub milli_celsius: Option<i32>,
    /// What holds a Raspberry Pi back.
    pub throttling: Option<Throttling>,
    /// Bytes of memory that the agent takes.
    pub agent_memory: u64,
}

/// The bits of a Raspberry Pi's `get_throttled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttling(pub u32);

impl Throttling {
    /// What the bits mean, those of now first. Nothing: all is well.
    pub fn words(self) -> Vec<&'static str> {
        const MEANINGS: [(u32, &str); 8] = [
            (0, "under-voltage now"),
            (1, "frequency capped now"),
            (2, "throttled now"),
            (3, "at the soft temperature limit now"),
            (16, "under-voltage since boot"),
            (17, "frequency capped since boot"),
            (18, "throttled since boot"),
            (19, "at the soft temperature limit since boot"),
        ];
        MEANINGS.into_iter().filter(|(bit, _)| self.0 >> bit & 1 == 1).map(|(_, words)| words).collect()
    }
}

impl Status {
    /// The same with as many cameras as a message carries; those that are down go first.
    #[must_use]
    pub fn fitted(mut self) -> Self {
        // Stable: otherwise they stay in the order of the configuration.
        self.cameras.sort_by_key(|camera| camera.up);
        let mut room = limits::STATUS_CAMERAS_BYTES_MAX;
        let fits = self.cameras.iter().take_while(|camera| {
            // The numbers and lengths take less than 64 bytes.
            let bytes = camera.stream.len() + camera.last_failure.len().min(limits::FAILURE_TEXT_BYTES_MAX) + 64;
            let left = room.checked_sub(bytes);
            room = left.unwrap_or(0);
            left.is_some()
        });
        let kept = fits.count();
        self.cameras.truncate(kept);
        self
    }

    pub(crate) fn to_proto(&self) -> proto::Status {
        let Self { cameras, cameras_total, cameras_up, spool, clock, machine } = self;
        proto::Status {
            cameras: cameras.iter().map(CameraReport::to_proto).collect(),
            cameras_total: *cameras_total,
            cameras_up: *cameras_up,
            spool: Some(proto::Spool {
                bytes: spool.bytes,
                fragments: spool.fragments,
                oldest_unsent_ns: spool.oldest_unsent_ns,
                dropped: spool.dropped,
                lost: spool.lost,
                bytes_max: spool.bytes_max,
                rejected: spool.rejected,
                held_bytes: spool.held_bytes,
                held_fragments: spool.held_fragments,
                kept_bytes: spool.kept_bytes,
                kept_fragments: spool.kept_fragments,
                stopped: spool.stopped,
                ranges_wanted: spool.ranges_wanted,
            }),
            clock: Some(proto::Clock {
                device_time_ns: clock.device_time_ns,
                quality: cut(&clock.quality, limits::WORD_BYTES_MAX),
            }),
            machine: Some(proto::Machine {
                uptime_seconds: machine.uptime_seconds,
                load_milli: machine.load_milli,
                memory_total: machine.memory_total,
                memory_available: machine.memory_available,
                disk_total: machine.disk_total,
                disk_free: machine.disk_free,
                milli_celsius: machine.milli_celsius,
                throttling: machine.throttling.map(|throttling| throttling.0),
                agent_memory: machine.agent_memory,
            }),
        }
    }

    pub(crate) fn from_proto(status: proto::Status) -> Self {
        let (spool, clock) = (status.spool.unwrap_or_default(), status.clock.unwrap_or_default());
        let machine = status.machine.unwrap_or_default();
        Self {
            cameras: status.cameras.into_iter().map(CameraReport::from_proto).collect(),
            cameras_total: status.cameras_total,
            cameras_up: status.cameras_up,
            spool: SpoolReport {
                bytes: spool.bytes,
                fragments: spool.fragments,
                oldest_unsent_ns: spool.oldest_unsent_ns,
                dropped: spool.dropped,
                lost: spool.lost,
                bytes_max: spool.bytes_max,
                rejected: spool.rejected,
                held_bytes: spool.held_bytes,
                held_fragments: spool.held_fragments,
                kept_bytes: spool.kept_bytes,
                kept_fragments: spool.kept_fragments,
                stopped: spool.stopped,
                ranges_wanted: spool.ranges_wanted,
            },
            clock: ClockReport {
                device_time_ns: clock.device_time_ns,
                quality: cut(&clock.quality, limits::WORD_BYTES_MAX),
            },
            machine: MachineReport {
                uptime_seconds: machine.uptime_seconds,
                load_milli: machine.load_milli,
                memory_total: machine.memory_total,
                memory_available: machine.memory_available,
                disk_total: machine.disk_total,
                disk_free: machine.disk_free,
                milli_celsius: machine.milli_celsius,
                throttling: machine.throttling.map(Throttling),
                agent_memory: machine.agent_memory,
            },
        }
    }
}

impl CameraReport {
    fn to_proto(&self) -> proto::Camera {
        proto::Camera {
            stream: self.stream.clone(),
            up: self.up,
            milli_fps: self.milli_fps,
            bits_per_second: self.bits_per_second,
            failures: self.failures,
            last_failure: cut(&self.last_failure, limits::FAILURE_TEXT_BYTES_MAX),
            pictures: self.pictures,
        }
    }

    fn from_proto(camera: proto::Camera) -> Self {
        Self {
            stream: camera.stream,
            up: camera.up,
            milli_fps: camera.milli_fps,
            bits_per_second: camera.bits_per_second,
            failures: camera.failures,
            last_failure: cut(&camera.last_failure, limits::FAILURE_TEXT_BYTES_MAX),
            pictures: camera.pictures,
        }
    }
}

/// The fields on the wire.
pub(crate) mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Status {
        #[prost(message, repeated, tag = "1")]
        pub(crate) cameras: Vec<Camera>,
        #[prost(uint32, tag = "2")]
        pub(crate) cameras_total: u32,
        #[prost(uint32, tag = "3")]
        pub(crate) cameras_up: u32,
        #[prost(message, optional, tag = "4")]
        pub(crate) spool: Option<Spool>,
        #[prost(message, optional, tag = "5")]
        pub(crate) clock: Option<Clock>,
        #[prost(message, optional, tag = "6")]
        pub(crate) machine: Option<Machine>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Camera {
        #[prost(string, tag = "1")]
        pub(crate) stream: String,
        #[prost(bool, tag = "2")]
        pub(crate) up: bool,
        #[prost(uint32, tag = "3")]
        pub(crate) milli_fps: u32,
        #[prost(uint64, tag = "4")]
        pub(crate) bits_per_second: u64,
        #[prost(uint64, tag = "5")]
        pub(crate) failures: u64,
        #[prost(string, tag = "6")]
        pub(crate) last_failure: String,
        #[prost(uint64, tag = "7")]
        pub(crate) pictures: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Spool {
        #[prost(uint64, tag = "1")]
        pub(crate) bytes: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) fragments: u64,
        #[prost(sint64, optional, tag = "3")]
        pub(crate) oldest_unsent_ns: Option<i64>,
        #[prost(uint64, tag = "4")]
        pub(crate) dropped: u64,
        #[prost(uint64, tag = "5")]
        pub(crate) lost: u64,
        #[prost(uint64, tag = "6")]
        pub(crate) bytes_max: u64,
        #[prost(uint64, tag = "7")]
        pub(crate) rejected: u64,
        #[prost(uint64, tag = "8")]
        pub(crate) held_bytes: u64,
        #[prost(uint64, tag = "9")]
        pub(crate) held_fragments: u64,
        #[prost(uint64, tag = "10")]
        pub(crate) kept_bytes: u64,
        #[prost(uint64, tag = "11")]
        pub(crate) kept_fragments: u64,
        #[prost(bool, tag = "12")]
        pub(crate) stopped: bool,
        #[prost(uint32, tag = "13")]
        pub(crate) ranges_wanted: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Clock {
        #[prost(sint64, tag = "1")]
        pub(crate) device_time_ns: i64,
        #[prost(string, tag = "2")]
        pub(crate) quality: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Machine {
        #[prost(uint64, tag = "1")]
        pub(crate) uptime_seconds: u64,
        #[prost(uint32, tag = "2")]
        pub(crate) load_milli: u32,
        #[prost(uint64, tag = "3")]
        pub(crate) memory_total: u64,
        #[prost(uint64, tag = "4")]
        pub(crate) memory_available: u64,
        #[prost(uint64, tag = "5")]
        pub(crate) disk_total: u64,
        #[prost(uint64, tag = "6")]
        pub(crate) disk_free: u64,
        #[prost(sint32, optional, tag = "7")]
        pub(crate) milli_celsius: Option<i32>,
        #[prost(uint32, optional, tag = "8")]
        pub(crate) throttling: Option<u32>,
        #[prost(uint64, tag = "9")]
        pub(crate) agent_memory: u64,
    }
}
