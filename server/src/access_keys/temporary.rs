//! Temporary keys: what an enrolled device gets for its certificate, to send by AWS's own programs.
//!
//! There is no row of them. What a key is, is in the session token that comes with each of its requests:
//!
//! ```text
//! token = base64url([what Vault::seal_secret makes of the grant, JSON])
//! ```
//!
//! What the device may do is looked up at each request: a device that is revoked, or whose certificate was replaced, has its
//! keys refused at once, and the streams are those that it may write to now.

use std::mem;

use aws_lc_rs::constant_time;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fragment::WallTime;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{
    AccessKeyError, AccessKeys, Credentials, Identity, Role, StreamPattern, TEMPORARY, new_id, new_secret, storage,
};
use crate::ca;
use crate::devices::{AdmissionError, Admitted, DeviceName, Devices};
use crate::limits;
use crate::storage::point_read;

/// A temporary key that was just made. Nobody keeps it but its device.
pub(crate) struct Temporary {
    pub(crate) id: String,
    pub(crate) secret: Zeroizing<String>,
    pub(crate) token: String,
    /// On a whole second.
    pub(crate) expires: WallTime,
}

/// What is in a session token.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Grant {
    /// The access key that it belongs to.
    key: String,
    secret: String,
    #[zeroize(skip)]
    device: DeviceName,
    /// SHA-256 of the certificate that it was given for.
    #[zeroize(skip)]
    certificate: [u8; 32],
    /// In seconds since 1970; at that time it is over.
    #[zeroize(skip)]
    expires: i64,
}

/// What [`vault::Vault::seal_secret`] binds tokens to.
const LABEL: &str = "session token";

impl AccessKeys {
    /// Makes a key for the device that TLS says has this certificate.
    pub(crate) fn grant(
        &self,
        device: &Admitted,
        certificate: &[u8],
        now: WallTime,
    ) -> Result<Temporary, AccessKeyError> {
        let ends = ca::subject_and_expiry(certificate).map_or(now, |(_, expires)| expires);
        let expires = (now + limits::TEMPORARY_KEY_VALIDITY).min(ends).as_millis().div_euclid(1000);
        let (id, secret) = (new_id(TEMPORARY)?, new_secret()?);
        let grant = Grant {
            key: id.clone(),
            secret: secret.to_string(),
            device: device.name.clone(),
            certificate: ca::sha256(certificate),
            expires,
        };
        let plain = Zeroizing::new(serde_json::to_vec(&grant).expect("a grant is plain JSON"));
        let sealed = self.vault.seal_secret(LABEL, &plain).map_err(|e| storage(&e))?;
        let expires = WallTime::from_millis(expires.saturating_mul(1000));
        Ok(Temporary { id, secret, token: URL_SAFE_NO_PAD.encode(sealed), expires })
    }

    /// What a signature with this temporary key is verified with.
    pub(super) async fn temporary(&self, id: &str, token: &str, now: WallTime) -> Result<Credentials, AccessKeyError> {
        let mut grant = self.open_token(id, token)?;
        if now >= WallTime::from_millis(grant.expires.saturating_mul(1000)) {
            return Err(AccessKeyError::Expired);
        }
        let catalog = self.vault.catalog();
        let (devices, device, certificate) = (Devices::new(catalog.clone()), grant.device.clone(), grant.certificate);
        let admitted = point_read(&**catalog, move || devices.admit_by_hash(device, &certificate)).await;
        let admitted = admitted.map_err(|error| match error {
            AdmissionError::Storage(why) => AccessKeyError::Storage(why),
            error => AccessKeyError::Withdrawn(error.to_string()),
        })?;
        // None would be any: a name that no stream can have must not go missing.
        let pattern = |name: &String| name.parse().map(|name| StreamPattern::only(&name)).map_err(|e| storage(&e));
        let streams = admitted.streams().iter().map(pattern).collect::<Result<_, _>>()?;
        let identity = Identity { access_key: id.to_owned(), role: Role::Producer, streams };
        Ok(Credentials { identity, secret: Zeroizing::new(mem::take(&mut grant.secret).into_bytes()) })
    }

    fn open_token(&self, id: &str, token: &str) -> Result<Grant, AccessKeyError> {
        let stray = || AccessKeyError::Token(id.to_owned());
        let sealed = URL_SAFE_NO_PAD.decode(token).map_err(|_| stray())?;
        let plain = self.vault.open_secret(LABEL, &sealed);
        let plain = Zeroizing::new(plain.map_err(|error| match error {
            vault::SecretError::Key(error) => storage(&error),
            _ => stray(),
        })?);
        let grant: Grant = serde_json::from_slice(&plain).map_err(|e| storage(&e))?;
        let is_its = constant_time::verify_slices_are_equal(grant.key.as_bytes(), id.as_bytes()).is_ok();
        if is_its { Ok(grant) } else { Err(stray()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use archive::Archive;
    use vault::Keyring;

    use super::*;
    use crate::access_keys::Access;
    use crate::enrolled::Enrolled;

    const NOW: WallTime = WallTime::from_millis(1_790_000_000_400);

    #[tokio::test]
    async fn a_temporary_key_sends_to_the_streams_of_its_device_until_the_second_that_it_was_told() {
        let stage = Stage::new(&["front"]);
        let temporary = stage.grant(NOW);
        assert_eq!(temporary.expires, WallTime::from_millis(1_790_003_600_000));
        let Credentials { identity, secret } = stage.credentials(&temporary, NOW).await.unwrap();
        assert_eq!(&secret[..], temporary.secret.as_bytes());
        let may = |access, stream: &str| identity.may(access, &stream.parse().unwrap());
        assert!(may(Access::Produce, "front") && may(Access::Describe, "front"));
        assert!(!may(Access::Produce, "back") && !may(Access::Watch, "front") && !may(Access::Manage, "front"));

        let last = temporary.expires - Duration::from_nanos(1);
        assert!(stage.credentials(&temporary, last).await.is_ok());
        assert!(matches!(stage.credentials(&temporary, temporary.expires).await, Err(AccessKeyError::Expired)));
    }

    #[tokio::test]
    async fn a_key_ends_with_the_certificate_that_it_was_given_for() {
        let stage = Stage::new(&[]);
        let end = NOW + limits::CERTIFICATE_VALIDITY;
        let temporary = stage.grant(end - Duration::from_secs(60));
        assert!(temporary.expires <= end, "{:?}", temporary.expires);
    }

    #[tokio::test]
    async fn the_keys_of_a_device_that_is_revoked_or_joins_anew_end_at_once() {
        let stage = Stage::new(&[]);
        let temporary = stage.grant(NOW);
        stage.cam.devices.revoke(&stage.cam.name, NOW).unwrap();
        assert!(matches!(stage.credentials(&temporary, NOW).await, Err(AccessKeyError::Withdrawn(_))));
        stage.cam.devices.add(&stage.cam.name, &[], &[8; 32], NOW, limits::TOKEN_VALIDITY).unwrap();
        assert!(matches!(stage.credentials(&temporary, NOW).await, Err(AccessKeyError::Withdrawn(_))));
    }

    #[tokio::test]
    async fn a_key_outlives_one_renewal_of_the_certificate() {
        let mut stage = Stage::new(&[]);
        let temporary = stage.grant(NOW);
        stage.cam.renew(NOW);
        assert!(stage.credentials(&temporary, NOW).await.is_ok());
        stage.cam.renew(NOW + Duration::from_secs(1));
        assert!(matches!(stage.credentials(&temporary, NOW).await, Err(AccessKeyError::Withdrawn(_))));
    }

    #[tokio::test]
    async fn streams_are_those_that_the_device_may_write_to_now_and_no_pattern_sneaks_in() {
        let stage = Stage::new(&[]);
        let temporary = stage.grant(NOW);
        let add = |streams: &[String]| {
            let mut batch = vault::Batch::new();
            let mut device = stage.cam.devices.get(&stage.cam.name).unwrap().unwrap();
            device.streams = streams.to_vec();
            let key = vault::Key::new(vault::Space::Server, b"\x01cam");
            batch.insert(key, serde_json::to_vec(&device).unwrap());
            stage.keys.vault.catalog().commit(batch).unwrap();
        };
        add(&["back".to_owned()]);
        let identity = stage.credentials(&temporary, NOW).await.unwrap().identity;
        assert!(identity.sees(&"back".parse().unwrap()) && !identity.sees(&"front".parse().unwrap()));
        add(&["*".to_owned()]);
        assert!(stage.credentials(&temporary, NOW).await.is_err());
    }

    #[tokio::test]
    async fn a_token_is_good_for_its_own_key_and_as_it_was_made() {
        let stage = Stage::new(&[]);
        let (one, two) = (stage.grant(NOW), stage.grant(NOW));
        let swapped = Temporary { token: two.token, ..one };
        assert!(matches!(stage.credentials(&swapped, NOW).await, Err(AccessKeyError::Token(_))));
        let lasting = stage.keys.create(Role::Viewer, Vec::new(), NOW).unwrap();
        let of_lasting = stage.keys.credentials(&lasting.id, Some(&swapped.token), NOW).await;
        assert!(matches!(of_lasting, Err(AccessKeyError::Token(_))));
        let bare = stage.keys.credentials(&swapped.id, None, NOW).await;
        assert!(matches!(bare, Err(AccessKeyError::TokenMissing(_))));

        let whole = stage.grant(NOW);
        let sealed = URL_SAFE_NO_PAD.decode(&whole.token).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            let changed = stage.keys.credentials(&whole.id, Some(&URL_SAFE_NO_PAD.encode(changed)), NOW).await;
            assert!(matches!(changed, Err(AccessKeyError::Token(_))), "byte {at}");
        }
        for nonsense in ["", "x", "not base64!", &"A".repeat(10_000)] {
            let refused = stage.keys.credentials(&whole.id, Some(nonsense), NOW).await;
            assert!(matches!(refused, Err(AccessKeyError::Token(_))), "{nonsense}");
        }
    }

    struct Stage {
        keys: AccessKeys,
        cam: Enrolled,
        _folder: tempfile::TempDir,
    }

    impl Stage {
        fn new(streams: &[&str]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let keyring = Keyring::of_vault(folder.path()).unwrap();
            let archive = Archive::open(folder.path(), Arc::new(keyring)).unwrap();
            let cam = Enrolled::new(&archive, streams, NOW);
            Self { keys: AccessKeys::new(archive.vault().clone()), cam, _folder: folder }
        }

        fn grant(&self, now: WallTime) -> Temporary {
            let device = self.cam.devices.admit(&self.cam.certificate).unwrap();
            self.keys.grant(&device, &self.cam.certificate, now).unwrap()
        }

        async fn credentials(&self, key: &Temporary, now: WallTime) -> Result<Credentials, AccessKeyError> {
            self.keys.credentials(&key.id, Some(&key.token), now).await
        }
    }
}
