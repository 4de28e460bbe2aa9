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
pub const CAMERA_SILENCE_MAX: Duration = Duration::from_secs(25);

/// A fragment that stays open for longer than this does not come to its end, and its camera is started again: the longest is 20 s by
/// the camera's clock, and within it the camera may be silent for a while.
pub const FRAGMENT_OPEN_MAX: Duration = Duration::from_secs(60);

/// Audio packets that are held back until the first picture: 10 s of AAC at 48 kHz are 470.
pub const AUDIO_HELD_MAX: usize = 512;

/// Audio that begins this little before the first picture belongs to it: the priming of an AAC
/// encoder is up to 2112 samples, 48 ms.
pub const AUDIO_LEAD_MAX: Duration = Duration::from_millis(200);

/// Pictures that are left out before a key frame are listed together, but no more than of this time: what a kill of the agent
/// can keep from the list. A camera that never sends a key frame makes a line each minute, and lines that follow each other are joined.
pub const LEFT_OUT_MAX: Duration = Duration::from_secs(60);

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

/// How often it is looked what hours it is, what is wanted, whether a camera's fragment comes to its end, and which of the device's addresses faces the server.
pub const LOOK: Duration = Duration::from_secs(1);

/// Spool files of which the beginning is read in one go, to find what is wanted: some milliseconds, in which live waits.
pub const STARTS_READ_MAX: usize = 64;

/// Fragments of the spool's index that are passed over in one go, in search of those that may be sent: some milliseconds, in which
/// live waits. 1.8 million take ten seconds.
pub const STEPS_MAX: usize = 8192;

/// How often it is looked, while there is no connection, whether the device has got another address: then the pause ends.
pub const WAY_LOOK: Duration = Duration::from_millis(500);

/// The pause between two looks at what the spool has gained: the time between two pictures at 25 a second. The units of
/// several tracks and cameras then share a wake-up and a packet; a viewer, who is a fragment behind, does not see it.
pub const FEED_PAUSE: Duration = Duration::from_millis(40);

/// How finely the least delay of arrivals is kept: at 500 ppm media time moves by 5 ms meanwhile.
pub const ARRIVAL_BUCKET: Duration = Duration::from_secs(10);

/// Buckets whose least delay tells where media time lies: a minute. Longer than a wireless camera's bad moments; and what a
/// camera that is slow by 500 ppm falls behind meanwhile, 30 ms, is the error that it costs.
pub const ARRIVAL_WINDOW: u64 = 6;

/// Buckets that are kept to tell a camera's drift: half an hour, a few kB. A jitter of 5 ms is 3 ppm over that time.
pub const ARRIVAL_BUCKETS_MAX: usize = 180;

/// Buckets before drift is told.
pub const DRIFT_BUCKETS_MIN: usize = 6;

/// From bucket to bucket, no crystal moves media time by more: this is 3 %.
pub const DRIFT_STEP_MAX: Duration = Duration::from_millis(300);

/// An arrival tells where a session begins only if it is this near to it in media time. They are told each second.
pub const ARRIVAL_NEAR: Duration = Duration::from_secs(2);

/// A session follows the clocks by this part of a fragment at most: 1000 ppm, twice the worst crystal, and 2 ms at the seam
/// of a fragment of two seconds, which neither eye nor ear notices.
pub const SLEW: u32 = 1000;

/// Beyond this, something other than a crystal is at work: a start out of a full buffer, a small jump.
pub const SLEW_FAST_FROM: Duration = Duration::from_millis(250);

/// Then it follows by this part, a twentieth: five seconds are made good in 95.
pub const SLEW_FAST: u32 = 20;

/// The most at one seam, whatever the fragment's length: half of what players and the server take for continuous
/// (`hls::limits::SEAM_MAX`).
pub const SLEW_STEP_MAX: Duration = Duration::from_millis(200);

/// A camera's calendar that moves by more from one report to the next was set. Reports and arrivals differ by jitter.
pub const CAMERA_STEP_MIN: Duration = Duration::from_secs(1);

/// A device's clock that moves by more between two fragments was set.
pub const DEVICE_STEP_MIN: Duration = Duration::from_secs(1);

/// A synchronised clock and the server that differ by more disagree; less may be the way of the welcome over a bad line.
pub const CLOCKS_APART_MAX: Duration = Duration::from_secs(5);

/// A mapping of the boot that differs by less is the same: two readings of clocks are apart by less than this.
pub const MAPPING_APART_MIN: Duration = Duration::from_millis(50);

/// Packets that a camera lost are told together, no more often than this: a bad line loses some in each second.
pub const LOSSES_PAUSE: Duration = Duration::from_secs(10);

/// The shortest time after which a picture may be called frozen: cameras send a key frame each 1 to 10 s, and four are compared.
pub const FROZEN_PICTURE_MIN: Duration = Duration::from_secs(5);

/// The longest: who wants to know it later than in a day does not want to know it.
pub const FROZEN_PICTURE_MAX: Duration = Duration::from_secs(86_400);

/// Connections that read metrics at the same time. One scraper opens one; more than a few are a mistake.
pub const METRICS_CONNECTIONS_MAX: usize = 8;

/// How long a reader of metrics may take to say what it wants, and to take it.
pub const METRICS_CONNECTION_MAX: Duration = Duration::from_secs(10);

/// What one camera gives ahead of the disk: 16 s at 4 Mbit/s, longer than a card's pauses. 16 cameras on a disk that
/// stands still take 128 MiB, and no more.
pub const SCRIBE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How often the spool is tended: what is too old is dropped, what is due is synced.
pub const TEND_PAUSE: Duration = Duration::from_secs(1);

/// How often what is wanted is told to the spool again although it is the same: a range that lies in the present gains fragments, and
/// those of the last seconds are the last to make room anyway.
pub const SPARING_PAUSE: Duration = Duration::from_secs(10);

/// The longest interval between syncs. The system writes by itself after 30 s, so more would save nothing.
pub const SYNC_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// The shortest: below it, a sync for each fragment costs no more.
pub const SYNC_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The shortest `age_max` and `keep`: shorter than this is a slip of the pen.
pub const SPOOL_AGE_MIN: Duration = Duration::from_secs(60);

/// What the device has to say of itself and is not written yet: the pieces of two pictures.
pub const DEVICE_MESSAGES_MAX: usize =
    2 * (upload::limits::RESULT_BYTES_MAX / upload::limits::RESULT_PIECE_BYTES_MAX + 1);

/// What the server has said about the device and is not done yet. Beyond that its commands are passed over, and time
/// out there.
pub const HEARD_MAX: usize = 64;

/// How often the server is told how the device is: a few hundred bytes each time.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Starts of the agent with one configuration on trial: two power cuts may happen in two minutes, and a configuration
/// that ends the agent is not started for ever.
pub const TRIAL_STARTS_MAX: u32 = 3;

/// How long a camera may take to end. One that hangs is left to itself, and its successor started.
pub const CAMERA_STOP_MAX: Duration = Duration::from_secs(10);

/// Snapshots that are decoded at one time: each takes a decoder and some frames of memory.
pub const SNAPSHOTS_MAX: usize = 2;

/// The width of a snapshot where none is asked for: enough to see what a camera looks at.
pub const SNAPSHOT_WIDTH_DEFAULT: u32 = 1280;

/// The widest snapshot: no camera that is recorded today has more.
pub const SNAPSHOT_WIDTH_MAX: u32 = 8192;

/// A camera's thread or the uplink that has not come round for this long hangs: the longest rounds are a silent camera
/// or a dial, with the pause behind it, and a write to a card that stalls, each well below a minute.
pub const PULSE_MAX: Duration = Duration::from_secs(180);

/// How often a part that only waits turns, to show that it can.
pub const TURN_MAX: Duration = Duration::from_secs(10);

/// How long the agent may take to start again by itself: as long as the unit allows for its first start.
pub const START_MAX: Duration = Duration::from_secs(600);

/// So long after its end a range that was asked for may still gain fragments: what waits for a slow disk is 16 s of
/// video, and a fragment is 10 s at most.
pub const WANTED_SLACK: Duration = Duration::from_secs(30);

/// How often the service manager is told the line of status; it passes each on to whoever watches it.
pub const STATUS_PAUSE: Duration = Duration::from_secs(10);
