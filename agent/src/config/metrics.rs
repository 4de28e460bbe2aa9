//! `[metrics]` of the configuration.

use std::net::SocketAddr;

use serde::Deserialize;

use super::Problems;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    listen: Option<String>,
}

impl Raw {
    pub(super) fn resolve(self, problems: &mut Problems) -> Option<SocketAddr> {
        let text = self.listen?;
        match text.trim().parse() {
            Ok(address) => Some(address),
            Err(_) => {
                problems.push(format!(
                    "metrics.listen is {text:?}: write an address of this machine and a port, as in \
                     listen = \"127.0.0.1:9273\""
                ));
                None
            }
        }
    }
}
