//! `destination = "aws"`: out of the same spool into Amazon Kinesis Video Streams, by PutMedia.
//!
//! AWS's SDK finds and makes streams (`control`); it has no PutMedia, which is here (`put_media`). Each stream has a `line`, a
//! task that keeps one session going: AWS allows one connection for each stream, and in it times that ascend. What may be
//! sent when, and what each ack means, is decided by `session`, without I/O; `body` makes the bytes and `acks` reads
//! the answers. A fragment leaves the spool when AWS says PERSISTED.
//!
//! docs/aws.md tells users how to set it up, and what differs from a server of their own.

mod acks;
mod body;
mod borders;
mod control;
mod error;
mod exchange;
mod keys;
mod limits;
mod line;
mod put_media;
mod queue;
mod request;
mod session;
mod time;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use fragment::StreamName;
use rustls::ClientConfig;
use spool::Spool;
use tokio::sync::Notify;
use tokio::task::{JoinSet, block_in_place};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::calendar::Calendar;
use crate::clock::Clock;
use crate::config::Aws;
use crate::uplink::Notice;

use control::Control;
use keys::Keys;
use line::Line;
use time::ServerClock;

/// What an upload to AWS needs.
pub struct Settings {
    /// Where to.
    pub aws: Aws,
    /// The state folder, which the caller has locked.
    pub state: PathBuf,
    /// What to send.
    pub spool: Spool,
    /// The device's clocks.
    pub clock: Clock,
    /// Is told what happens; must not block.
    pub observer: Arc<dyn Fn(&Notice) + Send + Sync>,
}

/// What the lines share.
struct Shared {
    aws: Aws,
    sdk: SdkConfig,
    keys: Keys,
    tls: Arc<ClientConfig>,
    spool: Spool,
    device: Clock,
    clock: ServerClock,
    calendar: Mutex<Calendar>,
    /// Spool files on their way out; `once` must not end before they are gone.
    removals: TaskTracker,
    observer: Arc<dyn Fn(&Notice) + Send + Sync>,
    links: Links,
    began: Instant,
}

/// Which streams have no session though they need one.
struct Links {
    region: String,
    observer: Arc<dyn Fn(&Notice) + Send + Sync>,
    down: Mutex<BTreeMap<StreamName, String>>,
}

/// Uploads for ever, until `stop`. What is left then stays in the spool.
pub async fn run(settings: &Settings, stop: CancellationToken) -> Result<(), rustls::Error> {
    let shared = Arc::new(Shared::open(settings).await?);
    let mut lines = JoinSet::new();
    let mut wakes: HashMap<StreamName, Arc<Notify>> = HashMap::new();
    let mut wake = |stream: &StreamName| {
        if let Some(wake) = wakes.get(stream) {
            return wake.notify_one();
        }
        let Some(name) = shared.aws.stream_name(stream) else {
            return tracing::error!(%stream, "with aws.stream_prefix this name is too long for AWS");
        };
        let wake = Arc::new(Notify::new());
        wakes.insert(stream.clone(), wake.clone());
        let line = Line { shared: shared.clone(), stream: stream.clone(), name, wake };
        lines.spawn(line.run(stop.clone()));
    };
    // What follows covers everything up to now.
    settings.spool.take_changes();
    for stream in settings.spool.streams() {
        wake(&stream);
    }
    loop {
        for ordinal in settings.spool.take_changes() {
            // What grows is not sent before it is whole.
            if let Some(entry) = settings.spool.entry(ordinal).filter(|entry| entry.trailer.is_some()) {
                wake(&entry.key.stream);
            }
        }
        tokio::select! {
            () = settings.spool.changed() => {}
            () = stop.cancelled() => break,
        }
    }
    while lines.join_next().await.is_some() {}
    shared.removals.close();
    shared.removals.wait().await;
    Ok(())
}

/// Asks AWS for a stream, as `check` does: whether it exists, or would be made.
pub async fn probe(aws: &Aws, clock: Clock, stream: Option<&StreamName>) -> Result<String, String> {
    let clock = ServerClock::new(clock);
    let sdk = sdk(aws, &clock).await;
    let keys = Keys::new(sdk.credentials_provider());
    let credentials = keys.at(clock.wall()).await.map_err(|error| error.to_string())?;
    let Some(name) = stream.and_then(|stream| aws.stream_name(stream)) else {
        return Ok(format!("there are credentials for {}", aws.region));
    };
    let control = Control::new(&sdk, aws, &clock, credentials);
    let region = &aws.region;
    match control.describe(&name).await.map_err(|error| error.to_string())? {
        Some(info) if info.data_retention_in_hours.unwrap_or(0) == 0 => {
            Err(format!("the stream {name} in {region} has a retention of 0 hours: AWS would keep nothing; raise it"))
        }
        Some(_) => Ok(format!("AWS takes these credentials, and the stream {name} exists in {region}")),
        None => match aws.retention_hours {
            Some(hours) => Ok(format!(
                "AWS takes these credentials; the stream {name} in {region} will be made, keeping its video for {hours} hours"
            )),
            None => Err(error::OpenError::NoStream { stream: name, region: region.clone() }.to_string()),
        },
    }
}

async fn sdk(aws: &Aws, clock: &ServerClock) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(limits::CONNECT_MAX)
        .operation_attempt_timeout(2 * limits::CONNECT_MAX)
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(aws.region.clone()))
        .time_source(clock.clone())
        .timeout_config(timeouts)
        // `Keys` is one, for all requests.
        .identity_cache(aws_sdk_kinesisvideo::config::IdentityCache::no_cache())
        .load()
        .await
}

impl Shared {
    async fn open(settings: &Settings) -> Result<Self, rustls::Error> {
        let Settings { aws, state, spool, clock: device, observer } = settings;
        let clock = ServerClock::new(*device);
        let sdk = sdk(aws, &clock).await;
        Ok(Self {
            aws: aws.clone(),
            keys: Keys::new(sdk.credentials_provider()),
            sdk,
            tls: put_media::tls()?,
            spool: spool.clone(),
            device: *device,
            clock,
            calendar: Mutex::new(Calendar::open(state, device.boot())),
            removals: TaskTracker::new(),
            observer: observer.clone(),
            links: Links { region: aws.region.clone(), observer: observer.clone(), down: Mutex::default() },
            began: Instant::now(),
        })
    }

    /// Time as sessions count it.
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// AWS said what time it is.
    fn note_date(&self, date: &str) {
        let Some(wall) = self.clock.handle_date(date) else { return };
        let noted = block_in_place(|| self.calendar().handle_server_time(self.device.now(), wall));
        if let Err(error) = noted {
            tracing::warn!(%error, "what is known of the clock can't be written down");
        }
    }

    fn calendar(&self) -> MutexGuard<'_, Calendar> {
        self.calendar.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Links {
    fn up(&self, stream: &StreamName) {
        let mut down = self.lock();
        down.remove(stream);
        let notice = match down.first_key_value() {
            None => Notice::Connected { device: format!("Kinesis Video Streams in {}", self.region) },
            Some((stream, why)) => Notice::Disconnected { why: format!("{stream}: {why}"), pause: Duration::ZERO },
        };
        drop(down);
        (self.observer)(&notice);
    }

    /// It has nothing to send, and so needs no session: what kept it from one is over.
    fn rest(&self, stream: &StreamName) {
        if self.lock().contains_key(stream) {
            self.up(stream);
        }
    }

    fn down(&self, stream: &StreamName, why: String, pause: Duration) {
        tracing::warn!(%stream, why, ?pause, "no session with AWS; what is captured waits in the spool");
        let told = Notice::Disconnected { why: format!("{stream}: {why}"), pause };
        self.lock().insert(stream.clone(), why);
        (self.observer)(&told);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<StreamName, String>> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_without_anything_left_is_not_why_there_is_no_connection() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let hearing = told.clone();
        let observer: Arc<dyn Fn(&Notice) + Send + Sync> =
            Arc::new(move |notice| hearing.lock().unwrap().push(matches!(notice, Notice::Connected { .. })));
        let links = Links { region: "eu-central-1".to_owned(), observer, down: Mutex::default() };
        let (front, yard) = ("front".parse().unwrap(), "yard".parse().unwrap());
        links.rest(&front);
        assert!(told.lock().unwrap().is_empty(), "nothing was wrong with it");
        links.down(&front, "no".to_owned(), Duration::ZERO);
        links.down(&yard, "no".to_owned(), Duration::ZERO);
        links.rest(&front);
        links.rest(&yard);
        assert_eq!(*told.lock().unwrap(), [false, false, false, true]);
    }
}
