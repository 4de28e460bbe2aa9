//! Carries a conversation to a camera and back, over HTTP.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::address::{Host, Place, usual_service};
use crate::answer::Refusal;
use crate::conversation::{Camera, Conversation, Credentials, Message};
use crate::discovery::Found;
use crate::limits;
use crate::network::{self, SearchError};

/// Why a camera's streams are not known.
#[derive(Debug, thiserror::Error)]
pub enum LookUpError {
    /// It can't be talked to.
    #[error("{0} can't be asked: {1}")]
    Unreachable(String, String),
    /// Its machine is there, and no service at the port.
    #[error("{0} refused the connection; is ONVIF switched on in its settings, and is it at this port?")]
    Closed(String),
    /// It answered with something that is no answer.
    #[error("{0}: {1}")]
    Refused(String, Refusal),
    /// It takes too long.
    #[error("{what} took longer than {} seconds to answer", limits::LOOK_UP_MAX.as_secs())]
    Slow {
        /// Which camera.
        what: String,
    },
    /// Nobody answers to its name.
    #[error("no camera answers to {0} in the local networks; is it on, and in the same network?")]
    NotFound(String),
    /// It can't be called for.
    #[error(transparent)]
    Search(#[from] SearchError),
}

/// Asks the camera at `place`; one that is known by its name alone is called for.
pub fn look_up(place: &Place, credentials: Option<Credentials>) -> Result<Camera, LookUpError> {
    let (host, service) = match place {
        Place::Service(host, port) => (host.clone(), usual_service(host, Some(*port))),
        Place::Host(host) => {
            let found = network::call(host)?;
            (host.clone(), found.map_or_else(|| usual_service(host, None), |found| found.service))
        }
        Place::Name(name) => {
            let found = network::search(limits::SEARCH_DEFAULT, |found| found.name == *name)?;
            let found = found.into_iter().find(|found| found.name == *name);
            let Found { host, service, .. } = found.ok_or_else(|| LookUpError::NotFound(name.clone()))?;
            (host, service)
        }
    };
    ask(host, service, credentials)
}

/// Asks the camera whose device service is at `service`, on `host`.
pub fn ask(host: Host, service: String, credentials: Option<Credentials>) -> Result<Camera, LookUpError> {
    let what = format!("the camera at {host}");
    let deadline = Instant::now() + limits::LOOK_UP_MAX;
    let mut conversation = Conversation::new(host, service, credentials);
    while let Some(message) = conversation.next(Timestamp::now(), fastrand::u128(..)) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(LookUpError::Slow { what });
        }
        let answer = post(&message, left.min(limits::REQUEST_MAX))
            .map_err(|error| match error {
                PostError::Closed => LookUpError::Closed(what.clone()),
                PostError::Other(words) => LookUpError::Unreachable(what.clone(), words),
            })?
            .ok_or_else(|| LookUpError::Refused(what.clone(), Refusal::Unauthorised))?;
        conversation.take(&answer, Timestamp::now()).map_err(|refusal| LookUpError::Refused(what.clone(), refusal))?;
    }
    Ok(conversation.camera())
}

/// Why there is no answer.
enum PostError {
    Closed,
    Other(String),
}

impl From<ureq::Error> for PostError {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Self::Closed,
            error => Self::Other(error.to_string()),
        }
    }
}

/// Sends a message and reads what comes back, a fault too. `None` if HTTP itself wants other credentials.
fn post(message: &Message, patience: Duration) -> Result<Option<String>, PostError> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(patience))
        // An answer from elsewhere is none.
        .max_redirects(0)
        .proxy(None)
        .build()
        .new_agent();
    let mut response =
        agent.post(&message.url).header("Content-Type", "application/soap+xml; charset=utf-8").send(&message.text)?;
    let status = response.status();
    let body = response.body_mut().with_config().limit(limits::ANSWER_BYTES_MAX).lossy_utf8(true).read_to_string();
    let body = body?;
    match status.as_u16() {
        401 if !body.contains("Fault") => Ok(None),
        300..=399 | 404 => Err(PostError::Other(format!("it answers {status} at {}", message.url))),
        _ => Ok(Some(body)),
    }
}
