//! The bounds of ingest and administration, each with its reason. The HTTP side has its own.

use std::time::Duration;

use upload::put_media;

/// Connections at one time, one per device: what one machine of this kind is meant for, times ten.
pub(crate) const CONNECTIONS_MAX: usize = 4096;

/// Fragments under way on one connection: 500 cameras live at once, with room for backlog.
pub(crate) const FRAGMENTS_IN_FLIGHT: u32 = upload::limits::FRAGMENTS_IN_FLIGHT;

/// What the welcome lets a device have unacknowledged before it begins more backlog; and of what was captured to its
/// end, before it begins anything.
pub(crate) const BYTES_IN_FLIGHT: u64 = upload::limits::BYTES_IN_FLIGHT;

/// Bytes of one connection that are read and not yet stored. Live fragments are not held back by the
/// device's window: 500 cameras at 2 Mbit/s have up to 250 MB under way with fragments of 2 s.
pub(crate) const CONNECTION_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes of all connections that are read and not yet stored: the memory that uploads can take.
pub(crate) const INTAKE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// The slowest disk, in bytes a second, on which all of them are stored before a device gives up waiting for its acks.
const SLOWEST_DISK: u64 = 1_000_000;
const _: () = assert!(INTAKE_BYTES_MAX as u64 <= SLOWEST_DISK * upload::limits::ACK_WAIT_MAX.as_secs());

/// The step in which a fragment draws on those two: rare enough to cost nothing, small against a fragment.
pub(crate) const RESERVATION_STEP: usize = 128 * 1024;

/// How long a fragment waits for such room before it is given up with OVERLOADED. Long enough for a
/// slow disk, short enough that fragments that hold room and wait for more let go of it.
pub(crate) const RESERVATION_WAIT: Duration = Duration::from_secs(10);

/// What the kernel keeps of arriving packets until they are read. The system's own 208 KiB overflow within two
/// milliseconds at 1 Gbit/s, and what overflows is sent again at half the speed.
pub(crate) const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// QUIC's window of one fragment stream: 1 MiB keeps a single camera at 80 Mbit/s over 100 ms.
pub(crate) const STREAM_WINDOW: u32 = 1024 * 1024;

/// QUIC's window of one connection: bytes that arrived and are not read. 16 MiB fill 1 Gbit/s over 130 ms.
pub(crate) const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// Pieces that are taken from QUIC at once: each is at most a packet, so this is about 80 KiB.
pub(crate) const PIECES_PER_READ: usize = 64;

/// The time without any sign of life after which a connection is gone. The device pings before that.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// How often the server pings a silent device, so that both ends notice a loss within the idle timeout.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The length of QUIC connection ids: 64 random bits do not repeat in the life of a server.
pub(crate) const CONNECTION_ID_BYTES: usize = 8;

/// The least time between two stateless resets: after a restart all devices have to be told, and 4096 of them are in
/// four seconds. A reset is smaller than the packet that it answers, so it amplifies nothing.
pub(crate) const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// How long a device may take from the handshake to its Hello or its join request.
pub(crate) const GREETING_WAIT: Duration = Duration::from_secs(10);

/// How long a fragment stream may be silent: a live fragment grows many times a second, and a device that
/// waits for room in its window is not waiting on us. An abandoned stream frees its memory after this.
pub(crate) const FRAGMENT_SILENCE_MAX: Duration = Duration::from_secs(60);

/// Acks waiting to be written: three per fragment under way. When it is full, fragments wait.
pub(crate) const ACKS_QUEUED_MAX: usize = 4096;

/// The largest bundle of acks written at once.
pub(crate) const ACK_BUNDLE_BYTES: usize = 64 * 1024;

/// How far in the future a fragment may begin: clocks of devices differ, and a player must not be led
/// into tomorrow by one that is wrong.
pub(crate) const FUTURE_MAX: Duration = Duration::from_secs(10 * 60);

/// How long a join token is good.
pub(crate) const TOKEN_VALIDITY: Duration = Duration::from_secs(24 * 3600);

/// How long a used or expired token is remembered, so that its refusal says which of the two it is.
pub(crate) const TOKEN_MEMORY: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long a device's certificate is good; devices renew at two thirds.
pub(crate) const CERTIFICATE_VALIDITY: Duration = Duration::from_secs(90 * 24 * 3600);

/// Certificates of a device that are accepted: the present one, and the one before, because the
/// answer to a renewal may be lost on its way.
pub(crate) const CERTIFICATES_PER_DEVICE: usize = 2;

/// The longest device name: the most that a certificate's common name holds.
pub(crate) const DEVICE_NAME_BYTES_MAX: usize = 64;

/// Streams that a device can be restricted to by name; more are better served by no restriction.
pub(crate) const STREAMS_PER_DEVICE_MAX: usize = 256;

/// The largest certificate request: RSA-4096 with all its attributes is below this.
pub(crate) const CSR_BYTES_MAX: usize = 8 * 1024;

/// Attempts of a conditional commit: it fails only when an other commit changed the same device just then.
pub(crate) const COMMIT_ATTEMPTS_MAX: usize = 8;

/// Streams of one connection that are shown as connected: as many as it may have fragments under way.
pub(crate) const STREAMS_PRESENT_PER_CONNECTION: usize = FRAGMENTS_IN_FLIGHT as usize;

/// Streams of all connections that are shown as connected: several times what one server stores, and at about
/// 200 bytes each 13 MB.
pub(crate) const STREAMS_PRESENT_MAX: usize = 64 * 1024;

/// How much is given up before it is looked whether that helped: a backup's second names hold deleted files.
pub(crate) const GIVEN_UP_BYTES_MAX: u64 = 1 << 30;

/// How often free space is looked at where some is to be kept free: 125 MB/s are 625 MB by then.
pub(crate) const KEEP_FREE_INTERVAL: Duration = Duration::from_secs(5);

/// How often what has expired is deleted.
pub(crate) const RETENTION_INTERVAL: Duration = Duration::from_secs(60);

/// How often samples of histograms are folded into buckets, which is how long one takes memory: a few thousand
/// of 8 bytes on the busiest server.
pub(crate) const SAMPLES_INTERVAL: Duration = Duration::from_secs(1);

/// How long a shutdown waits for commits under way and their acks before it closes regardless. A commit
/// takes milliseconds, on a bad disk a second.
pub(crate) const SHUTDOWN_WAIT: Duration = Duration::from_secs(10);

/// How long a start or a command waits for another process to be done with the data folder. A command takes
/// a moment; a server that starts after a kill reads the catalog's journal first, which on a slow disk takes
/// some seconds; one that stops waits for its connections.
pub(crate) const FOLDER_WAIT: Duration = Duration::from_secs(30);

/// How often it looks whether that is so: seldom enough to cost nothing, often enough for a person.
pub(crate) const FOLDER_RETRY: Duration = Duration::from_millis(50);

/// How long it may take to read everything: 10 TB at 150 MB/s.
pub(crate) const CHECK_WAIT: Duration = Duration::from_secs(20 * 3600);

/// Findings of a check that are told in words; beyond that their number tells enough.
pub(crate) const FINDINGS_TOLD: usize = 1000;

/// The largest admin request or answer.
pub(crate) const ADMIN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a command waits for the running server: deleting the largest stream takes seconds.
pub(crate) const ADMIN_WAIT: Duration = Duration::from_secs(30);

/// How long the rotation of a master key may take: 10,000 streams with 8 days of keys each are 80,000 calls to a KMS
/// of 10 ms, 8 at a time.
pub(crate) const ROTATION_WAIT: Duration = Duration::from_secs(600);

/// How often a server looks for what others on the same store have changed: one scan of the streams' rows and one of
/// the devices'. So late at most does a viewer see a stream that was created elsewhere, and is a revoked device cut off.
pub(crate) const PEERS_INTERVAL: Duration = Duration::from_secs(1);

/// What is to be said to a device beside acks: commands and configurations, which people give one at a time.
pub(crate) const WORDS_QUEUED_MAX: usize = 16;

/// Commands that one device has not answered: people give them one at a time, and the console a few.
pub(crate) const COMMANDS_PENDING_MAX: usize = 8;

/// Parts of an answer that are not put together yet: those of the largest, in pieces of the usual size.
pub(crate) const RESULT_PARTS_MAX: usize =
    upload::limits::RESULT_BYTES_MAX / upload::limits::RESULT_PIECE_BYTES_MAX + 2;

/// How long a device may take to answer that it is there: a slow line with 64 MiB under way answers in between.
pub(crate) const PING_WAIT: Duration = Duration::from_secs(10);

/// How long a device may take for a command: a camera that hangs is given up after 10 s, and a picture of 2 MiB takes
/// 16 s at 1 Mbit/s.
pub(crate) const COMMAND_WAIT: Duration = Duration::from_secs(40);

/// How often it is written down that a connected device is there: 4096 of them are 68 small commits a second.
pub(crate) const SIGHTING_INTERVAL: Duration = Duration::from_secs(60);

/// How old such a row of another server may be before its device counts as gone: two were missed.
pub(crate) const SIGHTING_FRESH: Duration = Duration::from_secs(150);

/// Configurations of a device that are kept, the newest included: at 48 KiB each a device takes at most a megabyte.
pub(crate) const CONFIGURATIONS_KEPT: u64 = 20;

/// The longest name of an operator that is kept beside a configuration.
pub(crate) const OPERATOR_CHARS_MAX: usize = 64;

/// The longest version of an agent that is kept.
pub(crate) const AGENT_VERSION_CHARS_MAX: usize = 64;

/// Access keys: they are listed at once, and people hand them out.
pub(crate) const ACCESS_KEYS_MAX: usize = 1000;

/// How long a key that a device gets for its certificate is good: as usual at AWS. Clients fetch the next one before.
pub(crate) const TEMPORARY_KEY_VALIDITY: Duration = Duration::from_secs(3600);

/// Connections at one time that fetch such keys, with a buffer of 8 KiB and the state of TLS each. Every device asks once
/// an hour, in a connection of less than a second.
pub(crate) const CREDENTIALS_CONNECTIONS_MAX: usize = 256;

/// How long such a connection may take, the handshake included: the C SDK itself gives up after 5 s.
pub(crate) const CREDENTIALS_CONNECTION_WAIT: Duration = Duration::from_secs(15);

/// The read buffer of such a connection, and so the largest request head.
pub(crate) const CREDENTIALS_BUFFER_BYTES: usize = 8 * 1024;

/// The longest range of GetImages, as at AWS.
pub(crate) const IMAGES_RANGE_MAX: Duration = Duration::from_secs(300);

/// The shortest interval between two images, as at AWS.
pub(crate) const IMAGES_INTERVAL_MIN_MS: u32 = 200;

/// Images in one answer, as at AWS.
pub(crate) const IMAGES_PER_PAGE: u32 = 25;

/// Fragments that are looked at for the images of one call: a range of the longest with ten a second.
pub(crate) const IMAGES_FRAGMENTS_MAX: usize = 4000;

/// A page of images that has so many bytes is full.
pub(crate) const IMAGES_PAGE_BYTES: usize = 8 << 20;

/// What a page can come to: with one more image of the largest, in base64.
pub(crate) const IMAGES_ANSWER_BYTES_MAX: u64 = 18 << 20;
const _: () = assert!((IMAGES_PAGE_BYTES + PICTURE_BYTES_MAX) as u64 / 3 * 4 + 100 * 1024 < IMAGES_ANSWER_BYTES_MAX);

/// Bytes of images on their way to clients, as with segments: ten answers of the largest.
pub(crate) const IMAGES_OUT_BYTES_MAX: u64 = 180 << 20;

/// A page of images that has taken so long ends with the fragment; with [`PICTURES_WAIT`] an answer comes in time.
pub(crate) const IMAGES_TIME: Duration = Duration::from_secs(15);

/// Processes that make pictures at one time: decoding is bound by processors, and each may hold the largest fragment and
/// some decoded pictures of 4K, some 300 MB together.
pub(crate) const PICTURE_WORKERS_MAX: usize = 4;

/// How long a caller waits for a place among them.
pub(crate) const PICTURE_WORKER_WAIT: Duration = Duration::from_secs(5);

/// How long such a process may take for the pictures of one fragment, its start included; what it runs gives up before.
pub(crate) const PICTURES_WAIT: Duration = Duration::from_secs(12);

/// The largest picture: in base64 it is AWS's bound of 6 MiB.
pub(crate) const PICTURE_BYTES_MAX: usize = 6 * 1024 * 1024 / 4 * 3;

/// The largest order of pictures: 100 times of 20 digits, and some words.
pub(crate) const PICTURE_ORDER_BYTES_MAX: usize = 16 * 1024;

/// Memory that such a process may map: what GStreamer and its decoders map is a multiple of what they use.
pub(crate) const PICTURE_PROCESS_BYTES_MAX: u64 = 4 << 30;

/// Buckets of calls that are kept before those are dropped that are full again: the streams that are called about within a
/// second, at about 300 bytes each.
pub(crate) const QUOTA_BUCKETS_MAX: usize = 64 * 1024;

/// Addresses of cameras that are kept: they are listed at once.
pub(crate) const SECRETS_MAX: usize = 4096;

/// The longest name of one: as of a device.
pub(crate) const SECRET_NAME_CHARS_MAX: usize = 64;

/// The longest address: what browsers take.
pub(crate) const SECRET_URI_CHARS_MAX: usize = 2048;

/// Notifications and images that wait or are being delivered.
pub(crate) const DELIVERIES_WAITING_MAX: usize = 1024;

/// Bytes of tags for which a delivery takes one of these places: AWS's ten tags fit. One with more takes several, so that all
/// together keep 4 MiB and not the 290 KiB of each that our own limits allow.
pub(crate) const DELIVERY_TAG_BYTES: usize = 4 * 1024;

/// Deliveries at one time: most of what they do is to wait for others.
pub(crate) const DELIVERIES_RUNNING_MAX: usize = 16;

/// How often one is tried: with the pauses between a receiver may be away for a quarter of a minute.
pub(crate) const DELIVERY_ATTEMPTS: u32 = 5;

/// The pause before the first repetition; each is twice as long as the one before.
pub(crate) const DELIVERY_PAUSE: Duration = Duration::from_secs(1);

/// How long one attempt may take.
pub(crate) const DELIVERY_WAIT: Duration = Duration::from_secs(10);

/// Images of one fragment that are made by themselves: the longest fragment has 100 in AWS's shortest interval.
pub(crate) const IMAGES_PER_FRAGMENT_MAX: usize = 100;

/// Patterns of streams that one access key is limited to: each is tried at each request.
pub(crate) const PATTERNS_PER_KEY_MAX: usize = 64;

/// The longest pattern: as long as the longest name.
pub(crate) const PATTERN_CHARS_MAX: usize = fragment::limits::STREAM_NAME_BYTES_MAX;

/// The largest request of the AWS API whose body is JSON: 50 tags of the longest, in any script and with every character
/// escaped, take some 230 kB.
pub(crate) const AWS_REQUEST_BYTES_MAX: usize = 256 * 1024;

/// Tags of a stream, as at AWS.
pub(crate) const TAGS_MAX: usize = 50;

/// Fragments in one page of a list unless the client says how many, and at most, as at AWS.
pub(crate) const FRAGMENTS_LISTED: u32 = 100;
/// See [`FRAGMENTS_LISTED`].
pub(crate) const FRAGMENTS_LISTED_MAX: u32 = 1000;

/// Fragments that are looked through for the one that contains a moment: those of the longest time that one lasts, at 50 a second.
pub(crate) const CONTAINING_MAX: usize = 1000;

/// Fragments that GetMediaForFragmentList may be asked for, as at AWS.
pub(crate) const FRAGMENT_LIST_MAX: usize = 1000;

/// Connections of GetMedia that read one stream: each has a task and a fragment or two in memory. AWS allows 3.
pub(crate) const GET_MEDIA_PER_STREAM_MAX: usize = 100;

/// The same of GetMediaForFragmentList. AWS allows 5.
pub(crate) const FRAGMENT_LISTS_PER_STREAM_MAX: usize = 100;

/// How long GetMedia waits for the next fragment: the longest takes 20 s, and some to arrive. AWS ends after 3 s, and in between
/// fragments that are longer.
pub(crate) const GET_MEDIA_WAIT: Duration = Duration::from_secs(30);

/// Rows of fragments that GetMedia takes from the index at once: few enough that none of them expires meanwhile.
pub(crate) const GET_MEDIA_PAGE: usize = 16;

/// How often it is looked whether the key of a long response is still good.
pub(crate) const KEY_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The longest range of a clip or of a session of the past, as at AWS.
pub(crate) const PLAYBACK_RANGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Fragments in a clip: a day of fragments of half a second. AWS allows 200.
pub(crate) const CLIP_FRAGMENTS_MAX: usize = 172_800;

/// Clips whose tables are in memory at one time: up to 450 MB each, for a day at 30 pictures a second and twice while they are
/// written; an hour takes 5 MB. Others wait.
pub(crate) const CLIPS_MAX: usize = 4;

/// How long a clip's tables may take before it is answered without them. Until then errors can be told in the answer; clients
/// wait a minute for one, and our own listener 30 s.
pub(crate) const CLIP_ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How often a client that waits for a clip's tables is sent a few bytes, so that it does not give up.
pub(crate) const CLIP_SIGN_INTERVAL: Duration = Duration::from_secs(5);

/// Streams in one answer, as at AWS: all that there can be.
pub(crate) const STREAMS_LISTED_MAX: u32 = 10_000;

/// Sessions of PutMedia at one time: three quarters of the HTTP connections, so that viewers and calls always have the rest.
pub(crate) const PRODUCERS_MAX: usize = 768;

/// How long a session goes on beside the newer ones of its stream: its last acks come within a moment, and AWS's C SDK waits for
/// them when it renews its connection.
pub(crate) const PRODUCERS_OVERLAP_MAX: Duration = Duration::from_secs(10);

/// Sessions of a stream that go on so at one time. A producer that comes again each second would have ten.
pub(crate) const PRODUCERS_SUPERSEDED_MAX: usize = 3;

/// Bytes of one session that are read and not yet stored: two of the largest fragments, one of them under way.
pub(crate) const PRODUCER_BYTES_MAX: usize = 2 * fragment::limits::FRAGMENT_BYTES_MAX + 4 * RESERVATION_STEP;

/// Fragments of one session that are being stored: one group commit takes many, and small ones must not wait for each other.
pub(crate) const PRODUCER_FRAGMENTS_STORING_MAX: usize = 16;

/// Fragments of one session that wait for that.
pub(crate) const PRODUCER_FRAGMENTS_QUEUED_MAX: usize = 4;

/// Acks of one session that wait to be written. When it is full, nothing more is read.
pub(crate) const PRODUCER_ACKS_QUEUED_MAX: usize = 64;

/// How often a producer that sends nothing hears that it is waited for: AWS does not say how often it does.
pub(crate) const IDLE_ACK_INTERVAL: Duration = Duration::from_secs(5);

/// How long a session reads on for nothing after its last ack, so that this arrives: a round trip, and for the producer to close.
pub(crate) const PRODUCER_LINGER: Duration = Duration::from_secs(2);

/// How much of a second's worth may come at once where there is a limit of speed: producers send a fragment in one go.
pub(crate) const PACE_SLACK: Duration = Duration::from_secs(1);

/// What programs written for AWS may do: whose numbers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    /// Of fragments that are put.
    pub(crate) media: put_media::Limits,
    /// Sessions of PutMedia of one stream at one time, before the newest takes the place of the oldest.
    pub(crate) connections: usize,
    /// Bytes and fragments of one session. Faster ones wait.
    pub(crate) bytes_per_second: Option<u64>,
    pub(crate) fragments_per_second: Option<u64>,
    /// How long a session goes on.
    pub(crate) session_max: Duration,
    /// How long a session goes on without a byte.
    pub(crate) idle_max: Duration,
}

impl Profile {
    /// AWS's quotas.
    pub(crate) const AWS: Self = Self {
        media: put_media::Limits::AWS,
        connections: 1,
        bytes_per_second: Some(12_500_000),
        fragments_per_second: Some(5),
        session_max: Duration::from_secs(45 * 60),
        idle_max: Duration::from_secs(30),
    };

    /// Our own: as much as there is room for. A producer may have a session for each of its cameras' tracks, or renew one
    /// early; a day is for those that never look at what they hear. Silence is the same as at AWS: a connection that is dead
    /// is not known otherwise.
    pub(crate) const OWN: Self = Self {
        media: put_media::Limits::WIDE,
        connections: 4,
        bytes_per_second: None,
        fragments_per_second: None,
        session_max: Duration::from_secs(24 * 3600),
        idle_max: Duration::from_secs(30),
    };
}
/// How long a session of playback lasts, in seconds, as at AWS: 5 minutes unless it is told, 12 hours at most.
pub(crate) const SESSION_EXPIRY_MIN: u32 = 300;
/// Likewise.
pub(crate) const SESSION_EXPIRY_MAX: u32 = 43_200;

/// The longest range of a session, as at AWS.
pub(crate) const SESSION_RANGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Fragments in a playlist or manifest, as at AWS: what is live has few, what is not has more, and none has more than the last.
pub(crate) const SESSION_LIVE_RESULTS: u32 = 5;
/// Likewise.
pub(crate) const SESSION_ON_DEMAND_RESULTS: u32 = 1000;
/// Likewise.
pub(crate) const SESSION_RESULTS_MAX: u32 = 5000;
