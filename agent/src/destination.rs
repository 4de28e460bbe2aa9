//! Where the fragments go: to a Millrace server, or to AWS.

use std::path::Path;
use std::sync::Arc;

use spool::Spool;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::enrol::EnrolError;
use crate::uplink::{self, Notice};

/// One of them, with all that it needs.
pub enum Destination {
    /// A server of the user's.
    Millrace(uplink::Settings),
    /// Amazon Kinesis Video Streams.
    #[cfg(feature = "aws")]
    Aws(crate::aws::Settings),
}

impl Destination {
    /// The one that the configuration names.
    pub fn new(
        config: &Config,
        state: &Path,
        spool: Spool,
        clock: Clock,
        observer: Arc<dyn Fn(&Notice) + Send + Sync>,
    ) -> Self {
        let state = state.to_owned();
        #[cfg(feature = "aws")]
        if let Some(aws) = config.aws.clone() {
            return Self::Aws(crate::aws::Settings { aws, state, spool, clock, observer });
        }
        Self::Millrace(uplink::Settings { server: config.server.clone(), state, spool, clock, observer })
    }

    /// Uploads, for ever, until `stop`. What is left then stays in the spool.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), EnrolError> {
        match self {
            Self::Millrace(settings) => uplink::run(settings, stop).await,
            #[cfg(feature = "aws")]
            Self::Aws(settings) => {
                let ended = Box::pin(crate::aws::run(settings, stop)).await;
                ended.map_err(|error| EnrolError::Crypto(error.to_string()))
            }
        }
    }

    /// Tells what happens to it.
    pub fn tell(&self, notice: &Notice) {
        match self {
            Self::Millrace(settings) => (settings.observer)(notice),
            #[cfg(feature = "aws")]
            Self::Aws(settings) => (settings.observer)(notice),
        }
    }
}
