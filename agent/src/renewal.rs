//! Keeps the device's certificate good: it is renewed at two thirds of its validity.
//!
//! That is looked at all the time and not only when a connection begins, since one may live for months. It goes by the
//! server's time, which comes with each welcome: the device's own clock may stand in 1970. The connection for
//! uploads is not touched. It stays open under the present certificate, and the next one uses the new.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use fragment::{MonotonicTime, WallTime};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::identity::Identity;
use crate::{enrol, limits};

/// What the server's clock said, and when that was.
#[derive(Clone, Copy, Debug)]
pub struct ServerTime {
    /// By the device's monotonic clock.
    pub at: MonotonicTime,
    /// By the server's calendar.
    pub wall: WallTime,
}

impl ServerTime {
    /// What it says now.
    fn now(&self, clock: Clock) -> WallTime {
        self.wall + clock.monotonic().since(self.at).unwrap_or_default()
    }
}

/// Renews the certificate in this state folder whenever it is due. Waits until the server's time is known.
pub async fn keep(
    state: &Path,
    address: &str,
    clock: Clock,
    mut server_time: watch::Receiver<Option<ServerTime>>,
) -> Infallible {
    loop {
        let Some(time) = *server_time.borrow_and_update() else {
            if server_time.changed().await.is_err() {
                // Whoever told the time is gone, and takes this along.
                std::future::pending::<()>().await;
            }
            continue;
        };
        let pause = match look(state, time.now(clock)) {
            Some((identity, left)) if left.is_zero() => renew(state, address, &identity).await,
            Some((_, left)) => left.min(limits::RENEW_LOOK),
            None => limits::RENEW_LOOK,
        };
        tokio::time::sleep(pause).await;
    }
}

/// The identity, and how long until its certificate is due.
fn look(state: &Path, now: WallTime) -> Option<(Identity, Duration)> {
    let identity = Identity::load(state).ok().flatten()?;
    let due = due(&identity.certificate)?;
    Some((identity, due.since(now)))
}

/// Tries it, and answers how long to wait before the next look.
async fn renew(state: &Path, address: &str, identity: &Identity) -> Duration {
    match enrol::renew(state, address, identity).await {
        Ok(()) => {
            tracing::info!("renewed the device's certificate");
            Duration::ZERO
        }
        Err(error) => {
            tracing::warn!(%error, pause = ?limits::RENEW_PAUSE, "the device's certificate could not be renewed yet");
            limits::RENEW_PAUSE
        }
    }
}

/// When two thirds of a certificate's validity are over; `None` if it can't be read.
fn due(certificate: &[u8]) -> Option<WallTime> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = certificate.validity();
    let millis = |seconds: i64| seconds.saturating_mul(1000);
    let begins = WallTime::from_millis(millis(validity.not_before.timestamp()));
    let ends = WallTime::from_millis(millis(validity.not_after.timestamp()));
    Some(begins + ends.since(begins) / 3 * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_due_at_two_thirds_of_its_validity() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let certificate = params.self_signed(&key).unwrap();
        let due_at = WallTime::from_millis(1_772_409_600_000); // 2026-03-02
        assert_eq!(due(certificate.der()), Some(due_at));
        assert_eq!(due(b"no certificate"), None);
    }
}
