//! Devices: who may join, who may upload what, who no longer may.
//!
//! Rows in the vault's catalog, space `Server`, values in JSON:
//!
//! ```text
//! [0x01][name]                         Device
//! [0x02][SHA-256 of the secret: 32]    Token: never the secret itself
//! [0x03]                               what servers share (shared_store.rs); 0x04 to 0x06: fleet.rs; 0x07: access_keys.rs; 0x08: media_secrets.rs
//! ```
//!
//! Every change is one commit that requires the rows it read to be unchanged, so that of two enrolments
//! with one token, or an enrolment and a revocation, at the same instant one wins and the other sees it.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fragment::{StreamName, WallTime};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use vault::{Batch, Catalog, CommitError, Direction, Key, KeyRange, Space};

use crate::ca::sha256;
use crate::limits;
use crate::storage::point_read;

/// The name of a device: 1 to 64 of the characters of stream names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct DeviceName(String);

/// Why a text is not a device name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a device name: use 1 to {max} letters, digits, '_', '.' or '-'", max = limits::DEVICE_NAME_BYTES_MAX)]
pub(crate) struct InvalidDeviceName(String);

/// A device, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Device {
    /// The streams it may write to; none: any.
    pub(crate) streams: Vec<String>,
    /// When it was added.
    pub(crate) added_ns: i64,
    /// When it last got a certificate.
    pub(crate) joined_ns: Option<i64>,
    /// SHA-256 of its valid certificates, the newest last.
    pub(crate) certificates: Vec<String>,
    /// When the newest of them ends.
    pub(crate) expires_ns: Option<i64>,
    /// When it was revoked.
    pub(crate) revoked_ns: Option<i64>,
    /// How often it was added or revoked: a token is good only for the count that it was made at, so that
    /// either of the two voids every token from before.
    #[serde(default)]
    pub(crate) generation: u64,
    /// The newest configuration that was pushed to it; 0: none.
    #[serde(default)]
    pub(crate) configuration: u64,
}

/// A join token, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    device: DeviceName,
    /// The device's generation when the token was made.
    #[serde(default)]
    generation: u64,
    expires_ns: i64,
    /// SHA-256 of the key that it was used for.
    used_by: Option<String>,
}

/// Why a device can't be changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceError {
    #[error("there is no device {0}")]
    Unknown(String),
    #[error("the device {0} was configured by somebody else just then; try again")]
    Reconfigured(DeviceName),
    #[error("a device is restricted to at most {max} streams", max = limits::STREAMS_PER_DEVICE_MAX)]
    TooManyStreams,
    #[error("the device records can't be read or written: {0}")]
    Storage(String),
}

/// Why an enrolment is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrolError {
    #[error("this server did not give out this join token; print a new one with `millrace device add`")]
    TokenUnknown,
    #[error("this join token was used already; print a new one with `millrace device add {0}`")]
    TokenUsed(DeviceName),
    #[error("this join token has expired; print a new one with `millrace device add {0}`")]
    TokenExpired(DeviceName),
    #[error("this join token is void since the device {0} was added again or revoked; use the newest one")]
    TokenVoid(DeviceName),
    #[error("the device {0} was revoked")]
    Revoked(DeviceName),
    #[error("the device records can't be read or written: {0}")]
    Storage(String),
}

/// Why a certificate does not admit its holder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdmissionError {
    #[error("the certificate names the device {0:?}, which this server does not know")]
    Unknown(String),
    #[error("the device {0} was revoked")]
    Revoked(DeviceName),
    #[error("the certificate of the device {0} was replaced by a newer one, or by a new enrolment")]
    Replaced(DeviceName),
    #[error("the device records can't be read: {0}")]
    Storage(String),
}

/// A device that proved who it is.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    pub(crate) name: DeviceName,
    /// The newest configuration that was pushed to it.
    pub(crate) configuration: u64,
    streams: Vec<String>,
}

impl Admitted {
    /// The streams that it may write to; none: any.
    pub(crate) fn streams(&self) -> &[String] {
        &self.streams
    }

    /// Whether it may write to this stream.
    pub(crate) fn may_write(&self, stream: &StreamName) -> bool {
        self.streams.is_empty() || self.streams.iter().any(|name| name == stream.as_str())
    }
}

/// All devices. Its calls block for the time of a catalog commit.
#[derive(Clone)]
pub(crate) struct Devices {
    catalog: Arc<dyn Catalog>,
    changes: broadcast::Sender<()>,
    /// What [`Devices::refresh`] saw last, as a hash.
    seen: Arc<Mutex<Option<[u8; 32]>>>,
}

impl Devices {
    /// The devices of this catalog.
    pub(crate) fn new(catalog: Arc<dyn Catalog>) -> Self {
        // Only "something changed" is told, so a receiver that is late misses nothing.
        Self { catalog, changes: broadcast::channel(1).0, seen: Arc::default() }
    }

    /// Tells when a device was changed, so that its connections can be looked at again.
    pub(crate) fn changes(&self) -> broadcast::Receiver<()> {
        self.changes.subscribe()
    }

    /// Takes up what other servers on the same catalog have changed: connections are looked at again.
    pub(crate) fn refresh(&self) -> Result<(), DeviceError> {
        let mut text = Vec::new();
        for row in scan(&*self.catalog, DEVICE).map_err(DeviceError::Storage)? {
            text.extend_from_slice(row.key.as_bytes());
            text.extend_from_slice(&row.value);
        }
        let now = sha256(&text);
        let before = self.seen.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        if before.is_some_and(|before| before != now) {
            let _ = self.changes.send(());
        }
        Ok(())
    }

    /// Adds a device, or lets a known one enrol anew, with a one-time secret. Every token from before is
    /// void from now on. A certificate that it has stays valid until it joins; a revoked device has none.
    pub(crate) fn add(
        &self,
        name: &DeviceName,
        streams: &[String],
        secret: &[u8; 32],
        now: WallTime,
        validity: Duration,
    ) -> Result<(), DeviceError> {
        if streams.len() > limits::STREAMS_PER_DEVICE_MAX {
            return Err(DeviceError::TooManyStreams);
        }
        let expires = now + validity.min(limits::TOKEN_VALIDITY);
        self.change(|batch| {
            let stored = self.require(batch, device_key(name))?;
            let mut device: Device = stored.as_ref().map(decode).transpose()?.unwrap_or_default();
            device.added_ns = now.as_nanos();
            device.streams = streams.to_vec();
            device.revoked_ns = None;
            device.generation += 1;
            let (generation, expires_ns) = (device.generation, expires.as_nanos());
            let token = Token { device: name.clone(), generation, expires_ns, used_by: None };
            batch.insert(device_key(name), encode(&device));
            batch.insert(token_key(secret), encode(&token));
            Ok(())
        })
    }

    /// One device.
    pub(crate) fn get(&self, name: &DeviceName) -> Result<Option<Device>, DeviceError> {
        let stored = self.catalog.get(&device_key(name)).map_err(|e| DeviceError::Storage(e.to_string()))?;
        stored.as_ref().map(decode).transpose()
    }

    /// Gives a device's configuration its next version, in one commit with the rows that `fill` adds. `newest`, if it is told, has
    /// to be the version before.
    pub(crate) fn configure(
        &self,
        name: &DeviceName,
        newest: Option<u64>,
        fill: impl Fn(&mut Batch, u64),
    ) -> Result<u64, DeviceError> {
        self.change(|batch| {
            let stored = self.require(batch, device_key(name))?;
            let stored = stored.ok_or_else(|| DeviceError::Unknown(name.to_string()))?;
            let mut device: Device = decode(&stored)?;
            if newest.is_some_and(|newest| newest != device.configuration) {
                return Err(DeviceError::Reconfigured(name.clone()));
            }
            device.configuration += 1;
            batch.insert(device_key(name), encode(&device));
            fill(batch, device.configuration);
            Ok(device.configuration)
        })
    }

    /// All devices in the order of their names.
    pub(crate) fn list(&self) -> Result<Vec<(DeviceName, Device)>, DeviceError> {
        let rows = scan(&*self.catalog, DEVICE).map_err(DeviceError::Storage)?;
        let device = |row: vault::Row| {
            let name = String::from_utf8_lossy(&row.key.rest()[1..]).into_owned();
            let name = name.parse().map_err(|e: InvalidDeviceName| DeviceError::Storage(e.to_string()))?;
            Ok((name, decode(&row.value)?))
        };
        rows.into_iter().map(device).collect()
    }

    /// Withdraws a device's certificates and tokens. Its connections are closed.
    pub(crate) fn revoke(&self, name: &DeviceName, now: WallTime) -> Result<(), DeviceError> {
        self.change(|batch| {
            let stored = self.require(batch, device_key(name))?;
            let stored = stored.ok_or_else(|| DeviceError::Unknown(name.to_string()))?;
            let mut device: Device = decode(&stored)?;
            device.revoked_ns = Some(now.as_nanos());
            device.generation += 1;
            device.certificates.clear();
            batch.insert(device_key(name), encode(&device));
            Ok(())
        })
    }

    /// Uses a token for the key with this hash; `issue` makes the certificate for the device that the
    /// token is for. A token admits one key: the same key may ask again, in case our answer was lost.
    pub(crate) fn enrol<C: AsRef<[u8]>, E: From<EnrolError>>(
        &self,
        secret: &[u8; 32],
        key_sha256: [u8; 32],
        now: WallTime,
        issue: impl Fn(&DeviceName) -> Result<(C, WallTime), E>,
    ) -> Result<(DeviceName, C), E> {
        let key_hex = hex(&key_sha256);
        self.change_or(EnrolError::Storage, |batch| {
            let stored = self.require(batch, token_key(secret)).map_err(EnrolError::from)?;
            let mut token: Token = decode(&stored.ok_or(EnrolError::TokenUnknown)?).map_err(EnrolError::from)?;
            if token.used_by.as_ref().is_some_and(|used_by| *used_by != key_hex) {
                return Err(EnrolError::TokenUsed(token.device).into());
            }
            if token.expires_ns <= now.as_nanos() {
                return Err(EnrolError::TokenExpired(token.device).into());
            }
            let name = token.device.clone();
            let stored = self.require(batch, device_key(&name)).map_err(EnrolError::from)?;
            let mut device: Device = decode(&stored.ok_or(EnrolError::TokenUnknown)?).map_err(EnrolError::from)?;
            if device.revoked_ns.is_some() {
                return Err(EnrolError::Revoked(name).into());
            }
            if token.generation != device.generation {
                return Err(EnrolError::TokenVoid(name).into());
            }
            let (certificate, expires) = issue(&name)?;
            device.certificates = vec![hex(&sha256(certificate.as_ref()))];
            device.joined_ns = Some(now.as_nanos());
            device.expires_ns = Some(expires.as_nanos());
            token.used_by = Some(key_hex.clone());
            batch.insert(device_key(&name), encode(&device));
            batch.insert(token_key(secret), encode(&token));
            Ok((name, certificate))
        })
    }

    /// Adds a new certificate to a device that proved itself with `present`.
    pub(crate) fn renew<C: AsRef<[u8]>, E: From<AdmissionError>>(
        &self,
        present: &[u8],
        now: WallTime,
        issue: impl Fn(&DeviceName) -> Result<(C, WallTime), E>,
    ) -> Result<(DeviceName, C), E> {
        self.change_or(AdmissionError::Storage, |batch| {
            let admitted = self.admit(present)?;
            let stored = self.require(batch, device_key(&admitted.name));
            let stored = stored.map_err(|e| AdmissionError::Storage(e.to_string()))?;
            let unknown = || AdmissionError::Unknown(admitted.name.to_string());
            let mut device: Device =
                decode(&stored.ok_or_else(unknown)?).map_err(|e| AdmissionError::Storage(e.to_string()))?;
            if device.revoked_ns.is_some() {
                return Err(AdmissionError::Revoked(admitted.name).into());
            }
            let (certificate, expires) = issue(&admitted.name)?;
            // The one that proved it stays, the answer may be lost; anything between goes.
            device.certificates = vec![hex(&sha256(present)), hex(&sha256(certificate.as_ref()))];
            debug_assert!(device.certificates.len() <= limits::CERTIFICATES_PER_DEVICE);
            device.joined_ns = Some(now.as_nanos());
            device.expires_ns = Some(expires.as_nanos());
            batch.insert(device_key(&admitted.name), encode(&device));
            Ok((admitted.name, certificate))
        })
    }

    /// Whose certificate this is, if it is one of those that the device may use. The signature has been
    /// checked by TLS.
    pub(crate) fn admit(&self, certificate: &[u8]) -> Result<Admitted, AdmissionError> {
        let Some((subject, _)) = crate::ca::subject_and_expiry(certificate) else {
            return Err(AdmissionError::Unknown(String::new()));
        };
        let name: DeviceName = subject.parse().map_err(|_| AdmissionError::Unknown(subject))?;
        self.admit_by_hash(name, &sha256(certificate))
    }

    /// The same by the name in a certificate that was verified before, and its SHA-256.
    pub(crate) fn admit_by_hash(&self, name: DeviceName, certificate: &[u8; 32]) -> Result<Admitted, AdmissionError> {
        let device = self.get(&name).map_err(|e| AdmissionError::Storage(e.to_string()))?;
        let Some(device) = device else { return Err(AdmissionError::Unknown(name.to_string())) };
        if device.revoked_ns.is_some() {
            return Err(AdmissionError::Revoked(name));
        }
        if !device.certificates.contains(&hex(certificate)) {
            return Err(AdmissionError::Replaced(name));
        }
        Ok(Admitted { name, configuration: device.configuration, streams: device.streams })
    }

    /// [`Devices::admit`] from async code.
    pub(crate) async fn admit_now(&self, certificate: &[u8]) -> Result<Admitted, AdmissionError> {
        let (devices, certificate) = (self.clone(), certificate.to_vec());
        point_read(&*self.catalog, move || devices.admit(&certificate)).await
    }

    /// Forgets tokens that ended long ago.
    pub(crate) fn forget_old_tokens(&self, now: WallTime) -> Result<(), DeviceError> {
        let mut batch = Batch::new();
        for row in scan(&*self.catalog, TOKEN).map_err(DeviceError::Storage)? {
            let token: Token = decode(&row.value)?;
            if WallTime::from_nanos(token.expires_ns) + limits::TOKEN_MEMORY < now {
                batch.remove(row.key);
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.catalog.commit(batch).map_err(|e| DeviceError::Storage(e.to_string()))
    }

    fn change<T>(&self, change: impl Fn(&mut Batch) -> Result<T, DeviceError>) -> Result<T, DeviceError> {
        self.change_or(DeviceError::Storage, change)
    }

    /// Builds a batch and commits it; builds it again when another commit was quicker.
    fn change_or<T, E: From<S>, S>(
        &self,
        storage: impl Fn(String) -> S,
        change: impl Fn(&mut Batch) -> Result<T, E>,
    ) -> Result<T, E> {
        for _ in 0..limits::COMMIT_ATTEMPTS_MAX {
            let mut batch = Batch::new();
            let result = change(&mut batch)?;
            match self.catalog.commit(batch) {
                Ok(()) => {
                    // Nobody listening is fine: there may be no connection.
                    let _ = self.changes.send(());
                    return Ok(result);
                }
                Err(CommitError::Precondition) => {}
                Err(error) => return Err(storage(error.to_string()).into()),
            }
        }
        Err(storage("the records change too often".to_owned()).into())
    }

    /// The value of a row, which the batch then requires to be unchanged.
    fn require(&self, batch: &mut Batch, key: Key) -> Result<Option<Bytes>, DeviceError> {
        let value = self.catalog.get(&key).map_err(|e| DeviceError::Storage(e.to_string()))?;
        match &value {
            Some(value) => batch.require_value(key, value.clone()),
            None => batch.require_absent(key),
        };
        Ok(value)
    }
}

impl DeviceName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeviceName {
    type Err = InvalidDeviceName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let fits = name.len() <= limits::DEVICE_NAME_BYTES_MAX && name.parse::<StreamName>().is_ok();
        if fits { Ok(Self(name.to_owned())) } else { Err(InvalidDeviceName(name.chars().take(100).collect())) }
    }
}

impl TryFrom<String> for DeviceName {
    type Error = InvalidDeviceName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.0
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const DEVICE: u8 = 1;
const TOKEN: u8 = 2;

fn device_key(name: &DeviceName) -> Key {
    Key::new(Space::Server, &[&[DEVICE], name.0.as_bytes()].concat())
}

fn token_key(secret: &[u8; 32]) -> Key {
    Key::new(Space::Server, &[&[TOKEN], &sha256(secret)[..]].concat())
}

/// All rows of a kind.
fn scan(catalog: &dyn Catalog, kind: u8) -> Result<Vec<vault::Row>, String> {
    let snapshot = catalog.snapshot();
    let mut range = KeyRange::prefix(Key::new(Space::Server, &[kind]));
    let mut rows = Vec::new();
    loop {
        let found = snapshot.scan(&range, Direction::Ascending, 1000).map_err(|e| e.to_string())?;
        let Some(last) = found.last() else { return Ok(rows) };
        range = range.beyond(&last.key, Direction::Ascending);
        rows.extend(found);
    }
}

fn encode(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("records are plain JSON").into()
}

fn decode<T: for<'a> Deserialize<'a>>(bytes: &Bytes) -> Result<T, DeviceError> {
    serde_json::from_slice(bytes).map_err(|e| DeviceError::Storage(format!("a record is damaged: {e}")))
}

impl From<DeviceError> for EnrolError {
    fn from(error: DeviceError) -> Self {
        Self::Storage(error.to_string())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

#[cfg(test)]
mod tests {
    use vault::catalog::MemoryCatalog;

    use super::*;

    const SECRET: [u8; 32] = [9; 32];
    const NEWER: [u8; 32] = [8; 32];
    const NOW: WallTime = WallTime::from_millis(1_800_000_000_000);

    #[test]
    fn a_token_is_good_once_for_one_key() {
        let devices = devices_with_cam();
        enrol(&devices, [1; 32], NOW).unwrap();
        assert!(matches!(enrol(&devices, [2; 32], NOW), Err(EnrolError::TokenUsed(_))));
        enrol(&devices, [1; 32], NOW).expect("the answer may have been lost: the same key may ask again");
    }

    #[test]
    fn a_token_ends_after_its_validity() {
        let devices = devices_with_cam();
        let late = NOW + limits::TOKEN_VALIDITY;
        assert!(matches!(enrol(&devices, [1; 32], late), Err(EnrolError::TokenExpired(_))));
        enrol(&devices, [1; 32], late - Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn an_unknown_token_is_unknown() {
        let devices = Devices::new(Arc::new(MemoryCatalog::default()));
        assert!(matches!(enrol(&devices, [1; 32], NOW), Err(EnrolError::TokenUnknown)));
    }

    #[test]
    fn a_revoked_device_can_join_only_when_it_is_added_again() {
        let devices = devices_with_cam();
        devices.revoke(&cam(), NOW).unwrap();
        assert!(matches!(enrol(&devices, [1; 32], NOW), Err(EnrolError::Revoked(_))));
        devices.add(&cam(), &[], &NEWER, NOW, limits::TOKEN_VALIDITY).unwrap();
        enrol_with(&devices, &NEWER, [1; 32], NOW).unwrap();
    }

    #[test]
    fn adding_a_device_again_voids_its_earlier_tokens_used_or_not() {
        for used in [true, false] {
            let devices = devices_with_cam();
            if used {
                enrol(&devices, [1; 32], NOW).unwrap();
            }
            devices.add(&cam(), &[], &NEWER, NOW, limits::TOKEN_VALIDITY).unwrap();
            assert!(matches!(enrol(&devices, [1; 32], NOW), Err(EnrolError::TokenVoid(_))), "used: {used}");
            enrol_with(&devices, &NEWER, [2; 32], NOW).unwrap();
            assert!(matches!(enrol(&devices, [1; 32], NOW), Err(EnrolError::TokenVoid(_))), "used: {used}");
        }
    }

    #[test]
    fn a_token_from_before_a_revocation_stays_void_when_the_device_is_added_again() {
        for used in [true, false] {
            let devices = devices_with_cam();
            if used {
                enrol(&devices, [1; 32], NOW).unwrap();
            }
            devices.revoke(&cam(), NOW).unwrap();
            devices.add(&cam(), &[], &NEWER, NOW, limits::TOKEN_VALIDITY).unwrap();
            assert!(matches!(enrol(&devices, [1; 32], NOW), Err(EnrolError::TokenVoid(_))), "used: {used}");
        }
    }

    #[test]
    fn a_record_from_before_generations_still_enrols() {
        let catalog = Arc::new(MemoryCatalog::default());
        let mut batch = Batch::new();
        let device =
            r#"{"streams":[],"added_ns":0,"joined_ns":null,"certificates":[],"expires_ns":null,"revoked_ns":null}"#;
        let token = format!(r#"{{"device":"cam-7","expires_ns":{},"used_by":null}}"#, i64::MAX);
        batch.insert(device_key(&cam()), device);
        batch.insert(token_key(&SECRET), token);
        catalog.commit(batch).unwrap();
        enrol(&Devices::new(catalog), [1; 32], NOW).unwrap();
    }

    #[test]
    fn the_secret_itself_is_stored_nowhere() {
        let catalog = Arc::new(MemoryCatalog::default());
        let devices = Devices::new(catalog.clone());
        devices.add(&cam(), &[], &SECRET, NOW, limits::TOKEN_VALIDITY).unwrap();
        for kind in [DEVICE, TOKEN] {
            for row in scan(&*catalog, kind).unwrap() {
                assert!(!row.key.as_bytes().windows(32).any(|window| window == SECRET));
                assert!(!row.value.windows(32).any(|window| window == SECRET));
            }
        }
    }

    #[test]
    fn a_device_may_be_restricted_to_streams() {
        let admitted = Admitted { name: cam(), configuration: 0, streams: vec!["front".to_owned()] };
        assert!(admitted.may_write(&"front".parse().unwrap()));
        assert!(!admitted.may_write(&"back".parse().unwrap()));
        assert!(Admitted { name: cam(), configuration: 0, streams: Vec::new() }.may_write(&"back".parse().unwrap()));
    }

    #[test]
    fn old_tokens_are_forgotten() {
        let devices = devices_with_cam();
        devices.forget_old_tokens(NOW + limits::TOKEN_VALIDITY).unwrap();
        let late = NOW + limits::TOKEN_VALIDITY + limits::TOKEN_MEMORY + Duration::from_secs(1);
        assert!(matches!(enrol(&devices, [1; 32], late), Err(EnrolError::TokenExpired(_))));
        devices.forget_old_tokens(late).unwrap();
        assert!(matches!(enrol(&devices, [1; 32], late), Err(EnrolError::TokenUnknown)));
    }

    fn devices_with_cam() -> Devices {
        let devices = Devices::new(Arc::new(MemoryCatalog::default()));
        devices.add(&cam(), &[], &SECRET, NOW, limits::TOKEN_VALIDITY).unwrap();
        devices
    }

    fn cam() -> DeviceName {
        "cam-7".parse().unwrap()
    }

    fn enrol(devices: &Devices, key: [u8; 32], now: WallTime) -> Result<(DeviceName, Vec<u8>), EnrolError> {
        enrol_with(devices, &SECRET, key, now)
    }

    fn enrol_with(
        devices: &Devices,
        secret: &[u8; 32],
        key: [u8; 32],
        now: WallTime,
    ) -> Result<(DeviceName, Vec<u8>), EnrolError> {
        let issue = |_: &DeviceName| Ok::<_, EnrolError>((b"certificate".to_vec(), now));
        devices.enrol(secret, key, now, issue)
    }
}
