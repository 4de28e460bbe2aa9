//! The bounds of the agent, each with its reason.

use std::time::Duration;

/// The spool's size where the configuration names none: nine hours of one camera at 2 Mbit/s, and
/// small enough for the SD card of a small computer.
pub const SPOOL_BYTES_DEFAULT: u64 = 8 * 1024 * 1024 * 1024;

/// The smallest spool: room for one fragment of the largest size, and for its successor to be begun.
pub const SPOOL_BYTES_MIN: u64 = 128 * 1024 * 1024;

/// Cameras in one configuration. Each takes a thread and a pipeline; more belong on another device.
pub const CAMERAS_MAX: usize = 256;

/// A configuration is written by hand; anything larger is another file given by mistake.
pub const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// The first pause after a camera or the server failed: a short hiccup costs no more than this.
pub const PAUSE_MIN: Duration = Duration::from_millis(500);

/// The longest pause: after a day offline, live resumes this soon after the line's return; a thousand
/// devices at this pace are a hundred handshakes a second.
pub const PAUSE_MAX: Duration = Duration::from_secs(15);

/// A camera or connection that worked for this long has recovered: its next pause is short again. So is that of a
/// connection over which a fragment was persisted.
pub const STEADY_AFTER: Duration = Duration::from_secs(10);

/// A camera that gives no unit for this long is taken for frozen and started again.
pub const CAMERA_SILENCE_MAX: Duration = Duration::from_secs(15);

/// Audio packets that are held back until the first picture: 10 s of AAC at 48 kHz are 470.
pub const AUDIO_HELD_MAX: usize = 512;

/// Audio that begins this little before the first picture belongs to it: the priming of an AAC
/// encoder is up to 2112 samples, 48 ms.
pub const AUDIO_LEAD_MAX: Duration = Duration::from_millis(200);

/// A dial to the server that takes longer has met a silent firewall, or a server that was not there yet:
/// QUIC repeats its first packet after 1, 3 and 7 s, and a new dial is quicker than the last of these.
pub const DIAL_MAX: Duration = Duration::from_secs(6);

/// QUIC keeps the path through NATs open by a packet this often.
pub const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// A connection without any packet for this long is dead: three keep-alives were lost. A server that was
/// killed and is back says so at the next packet; this is for one that is away, or a line that is cut.
pub const IDLE_MAX: Duration = Duration::from_secs(8);

/// Bytes that QUIC has taken and the server has not confirmed: the memory that a slow line can take. 8 MiB keep
/// 1 Gbit/s busy over 64 ms.
pub const SEND_WINDOW: u64 = 8 * 1024 * 1024;

/// What the server may send ahead of our reading: acks and answers to enrolments, a few kB each second at most.
pub const RECEIVE_WINDOW: u32 = 256 * 1024;

/// Reports of the lanes that wait for the uplink's loop. They slow their lanes when it is full.
pub const LANE_REPORTS_MAX: usize = 1024;

/// How often the log says that the server can't take fragments now, for each reason: a full disk at the server would
/// otherwise be said for each fragment of each attempt.
pub const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

/// Commands to one lane. The sender has one write under way per fragment, so two are ever queued.
pub const LANE_COMMANDS_MAX: usize = 4;

/// How long closing waits for the server to see the end of the connection.
pub const CLOSE_WAIT_MAX: Duration = Duration::from_secs(1);

/// How often it is looked whether the certificate is due, at the least: a device that slept for a week does not count
/// its sleep as waiting.
pub const RENEW_LOOK: Duration = Duration::from_secs(3600);

/// Between two attempts to renew a certificate.
pub const RENEW_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// Mappings of boots that are remembered for backlog that outlived its boot.
pub const BOOTS_REMEMBERED: usize = 64;

/// Sessions whose mapping is kept in memory. More than cameras times restarts in a spool's lifetime.
pub const SESSIONS_MAPPED_MAX: usize = 16_384;

/// `once` reads the file no further ahead of the upload than this, or than its spool has room for.
pub const ONCE_SPOOL_BYTES: u64 = 512 * 1024 * 1024;

/// A new session may be laid this much later, so that it does not overlap the one before it.
pub const OVERLAP_MAX: Duration = Duration::from_secs(5);

/// The least rate that an uplink can be given: a fragment of half a megabyte takes four minutes.
pub const RATE_BITS_MIN: u64 = 16_000;

/// Ranges that wait for their upload: each is a name in a folder that is read every second.
pub const WANTED_RANGES_MAX: usize = 256;

/// How often it is looked what hours it is, what is wanted, and which of the device's addresses faces the server.
pub const LOOK: Duration = Duration::from_secs(1);

/// Spool files of which the beginning is read in one go, to find what is wanted: some milliseconds, in which live waits.
pub const STARTS_READ_MAX: usize = 64;

/// How often it is looked, while there is no connection, whether the device has got another address: then the pause ends.
pub const WAY_LOOK: Duration = Duration::from_millis(500);

/// The pause between two looks at what the spool has gained: the time between two pictures at 25 a second. The units of
/// several tracks and cameras then share a wake-up and a packet; a viewer, who is a fragment behind, does not see it.
pub const FEED_PAUSE: Duration = Duration::from_millis(40);
