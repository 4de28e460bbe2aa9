//! The credentials that requests are signed with, fetched where every AWS tool looks for them, and renewed.
//!
//! Environment, profile, web identity, container, instance: the order of AWS's own tools. They are kept until shortly
//! before they expire, or until AWS refuses them.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use fragment::WallTime;
use tokio::sync::Mutex;

use super::error::OpenError;
use super::{limits, time};

/// The credentials of this agent.
#[derive(Debug)]
pub(super) struct Keys {
    source: Option<SharedCredentialsProvider>,
    known: Mutex<Option<Credentials>>,
}

impl Keys {
    pub(super) fn new(source: Option<SharedCredentialsProvider>) -> Self {
        Self { source, known: Mutex::default() }
    }

    /// Credentials that are good now.
    pub(super) async fn at(&self, now: WallTime) -> Result<Credentials, OpenError> {
        // Held while they are fetched: sixteen streams are not to ask sixteen times.
        let mut known = self.known.lock().await;
        if let Some(known) =
            known.as_ref().filter(|known| lasts(known, now).is_none_or(|lasts| lasts > limits::CREDENTIALS_MARGIN))
        {
            return Ok(known.clone());
        }
        let Some(source) = &self.source else {
            return Err(OpenError::Credentials("no source of them is configured".to_owned()));
        };
        let fetched = source.provide_credentials().await;
        let fetched = fetched.map_err(|error| OpenError::Credentials(chain(&error)))?;
        Ok(known.insert(fetched).clone())
    }

    /// AWS refused these.
    pub(super) async fn refused(&self, credentials: &Credentials) {
        let mut known = self.known.lock().await;
        if known.as_ref().is_some_and(|known| known.access_key_id() == credentials.access_key_id()) {
            *known = None;
        }
    }
}

/// How long these are good for; `None` is for ever.
pub(super) fn lasts(credentials: &Credentials, now: WallTime) -> Option<Duration> {
    credentials.expiry().map(|expiry| time::from_system(expiry).since(now))
}

/// An error and what is behind it, which says more.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let inner = error.to_string();
        if !text.contains(&inner) {
            text += ": ";
            text += &inner;
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use aws_credential_types::provider::{ProvideCredentials, future};

    use super::*;

    const NOW: WallTime = WallTime::from_millis(1_700_000_000_000);

    #[tokio::test]
    async fn credentials_are_kept_until_shortly_before_they_expire() {
        let (keys, fetched) = keys(Some(Duration::from_secs(3600)));
        for _ in 0..3 {
            assert_eq!(keys.at(NOW).await.unwrap().access_key_id(), "KEY1");
        }
        let nearly = NOW + (Duration::from_secs(3600) - limits::CREDENTIALS_MARGIN);
        assert_eq!(keys.at(nearly).await.unwrap().access_key_id(), "KEY2");
        assert_eq!(fetched.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn credentials_that_aws_refused_are_fetched_anew_once() {
        let (keys, _) = keys(None);
        let first = keys.at(NOW).await.unwrap();
        keys.refused(&first).await;
        assert_eq!(keys.at(NOW).await.unwrap().access_key_id(), "KEY2");
        keys.refused(&first).await;
        assert_eq!(keys.at(NOW).await.unwrap().access_key_id(), "KEY2", "it was the old one that was refused");
    }

    #[tokio::test]
    async fn without_a_source_it_is_said_where_credentials_may_lie() {
        let message = Keys::new(None).at(NOW).await.unwrap_err().to_string();
        assert!(message.contains("AWS_ACCESS_KEY_ID"), "{message}");
    }

    #[derive(Debug)]
    struct Source {
        fetched: Arc<AtomicU64>,
        lasts: Option<Duration>,
    }

    impl ProvideCredentials for Source {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let number = self.fetched.fetch_add(1, Ordering::Relaxed) + 1;
            let expiry = self.lasts.map(|lasts| time::to_system(NOW + lasts));
            future::ProvideCredentials::ready(Ok(Credentials::new(
                format!("KEY{number}"),
                "secret",
                None,
                expiry,
                "test",
            )))
        }
    }

    fn keys(lasts: Option<Duration>) -> (Keys, Arc<AtomicU64>) {
        let fetched = Arc::new(AtomicU64::default());
        (Keys::new(Some(SharedCredentialsProvider::new(Source { fetched: fetched.clone(), lasts }))), fetched)
    }
}
