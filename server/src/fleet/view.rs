//! What an operator sees of a device: on the command line, as JSON, and in the console.

use fragment::WallTime;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use upload::fleet::{ConfigurationReport, Fetched, Status};

use super::configurations::Standing;
use super::sightings::Sighting;
use crate::devices::{Device, DeviceName};
use crate::storage::now;

/// Where a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Whereabouts {
    /// Connected to this server.
    Here,
    /// Connected to another server on the same store.
    Elsewhere,
    /// Connected to none.
    Offline,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceView {
    pub(crate) name: String,
    /// waiting, enrolled, expired or revoked.
    pub(crate) state: String,
    /// The streams that it may write to; none: any.
    pub(crate) streams: Vec<String>,
    pub(crate) certificate_since: Option<Timestamp>,
    pub(crate) certificate_until: Option<Timestamp>,
    pub(crate) connection: Whereabouts,
    /// The server that it is or was connected to.
    pub(crate) server: Option<String>,
    pub(crate) connected_since: Option<Timestamp>,
    pub(crate) last_seen: Option<Timestamp>,
    pub(crate) remote: Option<String>,
    pub(crate) agent_version: Option<String>,
    /// What the device said last of itself.
    pub(crate) status: Option<Status>,
    pub(crate) status_at: Option<Timestamp>,
    /// How far its clock was ahead of the server's, its way here included.
    pub(crate) clock_offset_ms: Option<i64>,
    /// How old the oldest fragment is that waits on the device.
    pub(crate) oldest_unsent_seconds: Option<u64>,
    /// What holds the board back, in words.
    pub(crate) throttling: Vec<String>,
    pub(crate) configuration: ConfigurationView,
}

/// What of a range of time a device has that the server does not, and that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FetchView {
    pub(crate) fragments: u64,
    pub(crate) bytes: u64,
    /// How long they play.
    pub(crate) milliseconds: u64,
    /// Whether more may follow: what is being captured, or will be, before the range ends.
    pub(crate) more: bool,
}

impl From<Fetched> for FetchView {
    fn from(Fetched { fragments, bytes, duration, more }: Fetched) -> Self {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self { fragments, bytes, milliseconds, more }
    }
}

/// How a device is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigurationView {
    /// The newest that was pushed; 0: none.
    pub(crate) newest: u64,
    /// What the device works by; 0: its own file.
    pub(crate) kept: u64,
    pub(crate) on_trial: Option<u64>,
    /// The last one that it refused or rolled back, and why.
    pub(crate) failed: Option<ConfigurationReport>,
}

impl DeviceView {
    pub(super) fn new(
        name: &DeviceName,
        device: &Device,
        standing: Standing,
        seen: Option<(Sighting, Whereabouts)>,
    ) -> Self {
        let (seen, connection) = seen.unzip();
        let connection = connection.unwrap_or(Whereabouts::Offline);
        let is_connected = connection != Whereabouts::Offline;
        let status = seen.as_ref().and_then(|seen| seen.status.clone());
        let at = seen.as_ref().and_then(|seen| seen.status_at_ns);
        let device_time = status.as_ref().map(|status| status.clock.device_time_ns);
        let oldest = status.as_ref().and_then(|status| status.spool.oldest_unsent_ns);
        let throttling = status.as_ref().and_then(|status| status.machine.throttling);
        let Standing { kept, on_trial, failed, at_ns: _ } = standing;
        Self {
            name: name.to_string(),
            state: state(device).to_owned(),
            streams: device.streams.clone(),
            certificate_since: device.joined_ns.map(of_nanos),
            certificate_until: device.expires_ns.map(of_nanos),
            connection,
            server: seen.as_ref().map(|seen| seen.server.clone()).filter(|server| !server.is_empty()),
            connected_since: seen.as_ref().filter(|_| is_connected).map(|seen| of_nanos(seen.since_ns)),
            last_seen: seen.as_ref().map(|seen| of_nanos(seen.at_ns)),
            remote: seen.as_ref().map(|seen| seen.remote.clone()),
            agent_version: seen.as_ref().map(|seen| seen.agent_version.clone()),
            status_at: at.map(of_nanos),
            clock_offset_ms: device_time.zip(at).map(|(device, at)| device.saturating_sub(at) / 1_000_000),
            oldest_unsent_seconds: oldest
                .zip(device_time)
                .map(|(oldest, device)| u64::try_from(device.saturating_sub(oldest) / 1_000_000_000).unwrap_or(0)),
            throttling: throttling.map_or(Vec::new(), |bits| bits.words().into_iter().map(str::to_owned).collect()),
            status,
            configuration: ConfigurationView { newest: device.configuration, kept, on_trial, failed },
        }
    }
}

/// Where its enrolment stands, in a word.
fn state(device: &Device) -> &'static str {
    let now = now().as_nanos();
    match device {
        Device { revoked_ns: Some(_), .. } => "revoked",
        Device { expires_ns: Some(expires), .. } if *expires <= now => "expired",
        Device { joined_ns: Some(_), .. } => "enrolled",
        _ => "waiting",
    }
}

/// To the second, as operators read it.
pub(super) fn timestamp(time: WallTime) -> Timestamp {
    of_nanos(time.as_nanos())
}

fn of_nanos(nanos: i64) -> Timestamp {
    Timestamp::from_second(nanos.div_euclid(1_000_000_000)).unwrap_or_default()
}
