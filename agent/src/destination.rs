//! Where the fragments go: to a Millrace server, or to AWS.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use spool::Spool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Camera, Config};
use crate::enrol::EnrolError;
use crate::fleet::Heard;
use crate::service::Pulse;
use crate::uplink::{self, Notice};

/// One of them, with all that it needs.
pub enum Destination {
    /// A server of the user's.
    Millrace(Box<uplink::Settings>),
    /// Amazon Kinesis Video Streams.
    #[cfg(feature = "aws")]
    Aws(crate::aws::Settings, Arc<Pulse>),
}

impl Destination {
    /// The one that the configuration names.
    pub fn new(
        config: &Config,
        state: &Path,
        spool: Spool,
        clock: Clock,
        observer: Arc<dyn Fn(&Notice) + Send + Sync>,
        pulse: Arc<Pulse>,
        fleet: Option<mpsc::Sender<Heard>>,
    ) -> Self {
        let state = state.to_owned();
        #[cfg(feature = "aws")]
        if let Some(aws) = config.aws.clone() {
            return Self::Aws(crate::aws::Settings { aws, state, spool, clock, observer }, pulse);
        }
        Self::Millrace(Box::new(uplink::Settings {
            server: config.server.clone(),
            state,
            spool,
            clock,
            uplink: config.uplink.clone(),
            sub_streams: config.cameras.iter().filter_map(Camera::as_sub_stream).collect(),
            observer,
            pulse,
            fleet,
        }))
    }

    /// Uploads, for ever, until `stop`. What is left then stays in the spool.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), EnrolError> {
        match self {
            Self::Millrace(settings) => uplink::run(settings, stop).await,
            #[cfg(feature = "aws")]
            Self::Aws(settings, pulse) => {
                // Its tasks turn on this one's thread.
                let beats = async {
                    loop {
                        pulse.beat(Instant::now());
                        tokio::time::sleep(crate::limits::TURN_MAX).await;
                    }
                };
                tokio::select! {
                    ended = Box::pin(crate::aws::run(settings, stop)) => {
                        ended.map_err(|error| EnrolError::Crypto(error.to_string()))
                    }
                    () = beats => Ok(()),
                }
            }
        }
    }

    /// Tells what happens to it.
    pub fn tell(&self, notice: &Notice) {
        match self {
            Self::Millrace(settings) => {
                settings.pulse.beat(Instant::now());
                (settings.observer)(notice);
            }
            #[cfg(feature = "aws")]
            Self::Aws(settings, _) => (settings.observer)(notice),
        }
    }
}
