//! AWS KMS as the key service, or what speaks its protocol: the master key never leaves it.
//!
//! ```text
//! wrapped key: [version 2: 1][length of the ARN: 2][ARN of the master key][KMS's ciphertext]
//! ```
//!
//! KMS's ciphertext knows its master key, but does not say which in a form that others may read; the ARN in front is
//! for lists and for rotation, and is stated with each decryption. The encryption context names the data key and its
//! owner's resource, for a stream its ARN, so that KMS's own log tells whose video was read, and a policy can say whose may be.
//!
//! Who may use the key, and from where its credentials come (environment, profile, container, instance), is AWS's
//! usual affair.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_kms::Client;
use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, KeyMetadata, KeyState};
use zeroize::Zeroizing;

use crate::error::{KeyError, KeyRefusal};
use crate::keys::{DataKey, KeyContext, KeyService, WrappedKey};
use crate::limits;
use crate::masters::{MasterId, MasterKey, MasterState};
use crate::threads::Threads;

const WRAPPED_VERSION: u8 = 2;

/// The names in the encryption context.
const CONTEXT_RESOURCE: &str = "millrace:resource";
const CONTEXT_KEY: &str = "millrace:key";

/// Where AWS's clients go if nothing says where: KMS at an endpoint of one's own has no regions.
const REGION: &str = "us-east-1";

/// Which master key wraps, and where it is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsKey {
    /// Its id, its ARN, or an alias (`alias/name`) that may come to mean another one.
    pub id: String,
    /// Where KMS is, unless where AWS has it (or `AWS_ENDPOINT_URL_KMS` says).
    pub endpoint: Option<String>,
}

/// KMS as the key service.
pub struct Kms {
    client: Client,
    threads: Threads,
    key: String,
    /// The ARN of the key that wraps, as KMS last said.
    wraps: Mutex<Option<String>>,
}

impl Kms {
    /// A client of KMS for this master key. Asks KMS nothing: a vault whose master key is disabled has to be enabled.
    pub fn new(key: KmsKey) -> Result<Self, KeyError> {
        let failed = |why: std::io::Error| KeyError::refused(KeyRefusal::Internal, why.to_string());
        let threads = Threads::start("vault-kms").map_err(failed)?;
        let KmsKey { id, endpoint } = key;
        let client = threads.run(async move {
            let timeouts = TimeoutConfig::builder()
                .connect_timeout(limits::KMS_CONNECT_WAIT)
                .operation_attempt_timeout(limits::KMS_ATTEMPT_WAIT)
                .operation_timeout(limits::KMS_CALL_WAIT)
                .build();
            let mut shared = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).load().await;
            if shared.region().is_none() {
                shared = shared.into_builder().region(Region::from_static(REGION)).build();
            }
            let mut config = aws_sdk_kms::config::Builder::from(&shared);
            config.set_endpoint_url(endpoint.or_else(|| shared.endpoint_url().map(str::to_owned)));
            Client::from_conf(config.build())
        });
        Ok(Self { client, threads, key: id, wraps: Mutex::default() })
    }

    /// What KMS says of a master key.
    fn describe(&self, id: &str) -> Result<KeyMetadata, KeyError> {
        let call = self.client.describe_key().key_id(id);
        let answer = self.threads.run(async move { call.send().await }).map_err(|e| refused(id, &e))?;
        answer.key_metadata.ok_or_else(|| unusable(id, "it does not describe the key"))
    }

    /// The ARN of the key that wraps, asked of KMS once.
    fn wrapping(&self) -> Result<String, KeyError> {
        if let Some(arn) = self.known().clone() {
            return Ok(arn);
        }
        self.learn_wrapping()
    }

    fn learn_wrapping(&self) -> Result<String, KeyError> {
        let arn = arn_of(&self.describe(&self.key)?);
        *self.known() = Some(arn.clone());
        Ok(arn)
    }

    fn known(&self) -> MutexGuard<'_, Option<String>> {
        self.wraps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyService for Kms {
    fn generate(&self, context: &KeyContext) -> Result<(DataKey, WrappedKey), KeyError> {
        let call = self.client.generate_data_key().key_id(&self.key).key_spec(DataKeySpec::Aes256);
        let call = call.set_encryption_context(Some(encryption_context(context)));
        let answer = self.threads.run(async move { call.send().await }).map_err(|e| refused(&self.key, &e))?;
        let key = data_key(&self.key, answer.plaintext)?;
        Ok((key, wrapped_form(&self.key, answer.key_id, answer.ciphertext_blob)?))
    }

    fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<DataKey, KeyError> {
        let (arn, ciphertext) = parse(wrapped)?;
        let call = self.client.decrypt().key_id(arn).ciphertext_blob(Blob::new(ciphertext));
        let call = call.set_encryption_context(Some(encryption_context(context)));
        let answer = self.threads.run(async move { call.send().await }).map_err(|e| refused(arn, &e))?;
        data_key(arn, answer.plaintext)
    }

    fn calls_at_once(&self) -> usize {
        limits::KMS_CALLS_AT_ONCE
    }

    fn rewrap(&self, old: &WrappedKey, context: &KeyContext) -> Result<Option<WrappedKey>, KeyError> {
        let (from, ciphertext) = parse(old)?;
        let to = self.wrapping()?;
        if from == to {
            return Ok(None);
        }
        let context = Some(encryption_context(context));
        let call = self.client.re_encrypt().source_key_id(from).destination_key_id(&to);
        let call = call.ciphertext_blob(Blob::new(ciphertext)).set_source_encryption_context(context.clone());
        let call = call.set_destination_encryption_context(context);
        let answer = self.threads.run(async move { call.send().await }).map_err(|e| refused(&to, &e))?;
        wrapped_form(&to, answer.key_id, answer.ciphertext_blob).map(Some)
    }

    fn master_of(&self, wrapped: &WrappedKey) -> Result<MasterId, KeyError> {
        parse(wrapped).map(|(arn, _)| MasterId(arn.to_owned()))
    }

    /// The key that wraps, and those `in_use`. Of one that KMS does not show, that it can't be used.
    fn masters(&self, in_use: &BTreeSet<MasterId>) -> Result<Vec<MasterKey>, KeyError> {
        let wraps = self.learn_wrapping()?;
        let others = in_use.iter().map(|id| id.0.clone()).filter(|arn| *arn != wraps);
        let all: Vec<String> = others.chain([wraps.clone()]).collect();
        let master = |arn: &String| match self.describe(arn) {
            Ok(key) => Ok(master_key(&key, *arn == wraps)),
            Err(error) if *arn == wraps || error.refusal() == Some(KeyRefusal::KeyUnavailable) => Err(error),
            Err(error) => {
                tracing::warn!(master = arn, %error, "KMS does not show a master key that guards data keys");
                let id = MasterId(arn.clone());
                Ok(MasterKey { id, state: MasterState::Unavailable, created: None, wraps: false })
            }
        };
        all.iter().map(master).collect()
    }

    fn set_state(&self, id: &MasterId, state: MasterState) -> Result<(), KeyError> {
        let client = self.client.clone();
        let arn = id.0.clone();
        match state {
            MasterState::Enabled => {
                let call = client.enable_key().key_id(arn);
                self.threads.run(async move { call.send().await }).map(drop).map_err(|e| refused(&id.0, &e))
            }
            MasterState::Disabled => {
                let call = client.disable_key().key_id(arn);
                self.threads.run(async move { call.send().await }).map(drop).map_err(|e| refused(&id.0, &e))
            }
            MasterState::Unavailable => {
                Err(KeyError::refused(KeyRefusal::UnsupportedOperation, "a key is enabled or disabled, nothing else"))
            }
        }
    }

    /// Nothing is made: what wraps is the key that was named, which may have become another one, as an alias does. KMS
    /// changes the material of a key by itself, and what it wrapped before stays good.
    fn begin_rotation(&self, _now: u64) -> Result<MasterId, KeyError> {
        self.learn_wrapping().map(MasterId)
    }
}

fn encryption_context(context: &KeyContext) -> HashMap<String, String> {
    HashMap::from([
        (CONTEXT_RESOURCE.to_owned(), context.resource.clone()),
        (CONTEXT_KEY.to_owned(), context.name.to_string()),
    ])
}

fn data_key(master: &str, plaintext: Option<Blob>) -> Result<DataKey, KeyError> {
    let plaintext = Zeroizing::new(plaintext.map(Blob::into_inner).unwrap_or_default());
    let mut secret = Zeroizing::new([0; 32]);
    if plaintext.len() != secret.len() {
        return Err(unusable(master, &format!("it gave a data key of {} bytes, not 32", plaintext.len())));
    }
    secret.copy_from_slice(&plaintext);
    Ok(DataKey::new(&secret))
}

fn wrapped_form(master: &str, arn: Option<String>, ciphertext: Option<Blob>) -> Result<WrappedKey, KeyError> {
    let (Some(arn), Some(ciphertext)) = (arn, ciphertext) else {
        return Err(unusable(master, "it gave no ciphertext, or not whose"));
    };
    let length = u16::try_from(arn.len()).map_err(|_| unusable(master, "it gave an ARN that is too long"))?;
    let mut bytes = vec![WRAPPED_VERSION];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(arn.as_bytes());
    bytes.extend_from_slice(ciphertext.as_ref());
    Ok(WrappedKey(bytes))
}

/// The master key's ARN, and KMS's ciphertext.
fn parse(wrapped: &WrappedKey) -> Result<(&str, &[u8]), KeyError> {
    let parts = || {
        let (&[version, a, b], rest) = wrapped.0.split_first_chunk()?;
        let (arn, ciphertext) = rest.split_at_checked(usize::from(u16::from_be_bytes([a, b])))?;
        (version == WRAPPED_VERSION).then_some((std::str::from_utf8(arn).ok()?, ciphertext))
    };
    let foreign = "a data key was not wrapped by a KMS: was this vault made with a local keyring?";
    parts().ok_or_else(|| KeyError::refused(KeyRefusal::InvalidCiphertext, foreign))
}

fn master_key(key: &KeyMetadata, wraps: bool) -> MasterKey {
    let state = match key.key_state() {
        Some(KeyState::Enabled) => MasterState::Enabled,
        Some(KeyState::Disabled) => MasterState::Disabled,
        _ => MasterState::Unavailable,
    };
    let created = key.creation_date().and_then(|date| u64::try_from(date.secs()).ok());
    MasterKey { id: MasterId(arn_of(key)), state, created, wraps }
}

/// KMS's like at an endpoint of one's own may have ids only.
fn arn_of(key: &KeyMetadata) -> String {
    key.arn().unwrap_or(key.key_id()).to_owned()
}

/// KMS's refusal by its documented name, or that it could not be asked.
fn refused<E, R>(master: &str, error: &SdkError<E, R>) -> KeyError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let Some(service) = error.as_service_error() else {
        let why = format!("KMS can't be asked about {master}: {}", DisplayErrorContext(error));
        return KeyError::refused(KeyRefusal::KeyUnavailable, why);
    };
    let code = service.code().unwrap_or("an error without a code");
    let says = service.message().unwrap_or("no words");
    let refusal = KeyRefusal::ALL.into_iter().find(|refusal| refusal.name() == code);
    let refusal = refusal.unwrap_or(match code {
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "MissingAuthenticationTokenException" => KeyRefusal::AccessDenied,
        "InvalidArnException" => KeyRefusal::NotFound,
        _ => KeyRefusal::Internal,
    });
    KeyError::refused(refusal, format!("KMS answers {code} for {master}: {says}"))
}

fn unusable(master: &str, why: &str) -> KeyError {
    KeyError::refused(KeyRefusal::Internal, format!("KMS's answer about {master} is of no use: {why}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use aws_sdk_kms::error::ErrorMetadata;
    use aws_sdk_kms::operation::decrypt::DecryptError;

    use super::*;
    use crate::id::{KeyEpoch, KeyId, KeyName, OwnerId};
    use crate::stored_key::StoredKey;

    #[test]
    fn each_of_kms_documented_refusals_keeps_its_name() {
        for refusal in KeyRefusal::ALL {
            let error = refused("alias/m", &service_error(refusal.name()));
            assert_eq!(error.refusal(), Some(refusal));
            assert!(error.to_string().contains("alias/m") && error.to_string().contains("in words"), "{error}");
        }
    }

    #[test]
    fn wrong_credentials_and_unknown_errors_are_told_apart() {
        let of = |code| refused("alias/m", &service_error(code)).refusal();
        assert_eq!(of("UnrecognizedClientException"), Some(KeyRefusal::AccessDenied));
        assert_eq!(of("SomethingNewException"), Some(KeyRefusal::Internal));
    }

    #[test]
    fn a_wrapped_key_says_its_master_and_one_of_a_keyring_is_told_apart() {
        let wrapped = wrapped_form("m", Some("arn:aws:kms:x:1:key/2".to_owned()), Some(Blob::new([7, 8]))).unwrap();
        assert_eq!(parse(&wrapped).unwrap(), ("arn:aws:kms:x:1:key/2", &[7, 8][..]));
        for cut in 0..WRAPPED_HEAD_BYTES + "arn:aws:kms:x:1:key/2".len() {
            assert!(parse(&WrappedKey(wrapped.0[..cut].to_vec())).is_err(), "{cut}");
        }
        let of_keyring = parse(&WrappedKey(vec![1; 69])).unwrap_err();
        assert!(of_keyring.to_string().contains("local keyring"), "{of_keyring}");
    }

    /// A key file as version 1 made it for a key of KMS's, beside the other files of that version.
    #[test]
    fn a_key_of_kms_that_version_1_stored_is_read() {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../archive/tests/formats/1/kms.key");
        let kept = std::fs::read(kept).unwrap();
        let owner = OwnerId::from_u64(0x0100_0000_0000_0001);
        let name = KeyName { owner, epoch: KeyEpoch(0x4fe7), id: KeyId(0x1122_3344_5566_7788) };
        let StoredKey { context, wrapped } = StoredKey::decode(&kept, name).unwrap();
        let resource = "arn:aws:kinesisvideo:us-east-1:000000000000:stream/front/1767225600000";
        assert_eq!(context, KeyContext { name, resource: resource.to_owned() });
        let ciphertext: Vec<u8> = (0..120u8).map(|nth| nth.wrapping_mul(7).wrapping_add(3)).collect();
        let arn = "arn:aws:kms:eu-central-1:123456789012:key/0d990263-018e-4e65-a703-eff731de951e";
        assert_eq!(parse(&wrapped).unwrap(), (arn, &ciphertext[..]));
        // What is written today is read by those of before.
        let today = wrapped_form("m", Some(arn.to_owned()), Some(Blob::new(ciphertext))).unwrap();
        assert_eq!(StoredKey { context, wrapped: today }.encode(), kept);
    }

    /// Version and length.
    const WRAPPED_HEAD_BYTES: usize = 3;

    fn service_error(code: &str) -> SdkError<DecryptError, ()> {
        let meta = ErrorMetadata::builder().code(code).message("in words").build();
        SdkError::service_error(DecryptError::generic(meta), ())
    }
}
