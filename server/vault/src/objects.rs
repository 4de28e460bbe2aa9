//! A bucket of an object store, as the place of segments and wrapped keys: S3, or what speaks its protocol.
//!
//! Calls block, also inside of an async runtime, where they must not enter that runtime: the requests run in a small
//! one of this bucket's own, and the calling thread waits on a channel for the answer. A request that fails is made
//! again for a while by the client library; what it does must therefore be the same when it is done twice.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
    RetryConfig, UpdateVersion,
};

use crate::limits;
use crate::threads::Threads;

/// Where an S3 that belongs to nobody says it is.
const REGION: &str = "us-east-1";

/// Bytes that two who write would not choose alike by chance, as those of a wrapped key.
const UNIQUE_BYTES: usize = 32;

/// A bucket, or what lies under one prefix in it. Clones share it.
#[derive(Clone)]
pub struct Objects {
    threads: Arc<Threads>,
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// What people call it.
    name: String,
    /// Keeps the server of tests alive.
    #[cfg(test)]
    server: Option<Arc<services::S3>>,
}

/// An object as a listing has it.
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// What became of a write on a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Done,
    /// The object is not in the state that was meant.
    Refused,
}

impl Objects {
    /// The bucket at `s3://bucket/prefix`. Where S3 is, unless where AWS has it, says `endpoint` (or
    /// `AWS_ENDPOINT_URL`); region and credentials come from `AWS_REGION`, `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, or the machine's role. Asks it nothing yet.
    pub fn open(url: &str, endpoint: Option<&str>) -> io::Result<Self> {
        let mut builder = AmazonS3Builder::from_env();
        if std::env::var_os("AWS_REGION").is_none() && std::env::var_os("AWS_DEFAULT_REGION").is_none() {
            builder = builder.with_region(REGION);
        }
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        Self::built_by(builder, url)
    }

    fn built_by(builder: AmazonS3Builder, url: &str) -> io::Result<Self> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, format!("{url}: {why}"));
        let path = url.strip_prefix("s3://").ok_or_else(|| invalid("write it as s3://bucket/prefix".to_owned()))?;
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let prefix = Path::parse(prefix).map_err(|e| invalid(e.to_string()))?;
        // Everything that is sent is sealed; a plain connection is for the operator to choose, by the endpoint.
        let client = ClientOptions::new()
            .with_allow_http(true)
            .with_connect_timeout(limits::OBJECT_CONNECT_WAIT)
            .with_timeout(limits::OBJECT_ATTEMPT_WAIT);
        let backoff = BackoffConfig { max_backoff: limits::OBJECT_RETRY_PAUSE_MAX, ..BackoffConfig::default() };
        // As often as the time allows.
        let retry = RetryConfig { backoff, max_retries: 1000, retry_timeout: limits::OBJECT_PATIENCE };
        let builder = builder.with_bucket_name(bucket).with_client_options(client).with_retry(retry);
        let store = builder.build().map_err(|e| invalid(e.to_string()))?;
        Self::of(Arc::new(store), prefix, url)
    }

    /// A new bucket on the S3 server that tests share.
    #[cfg(test)]
    pub(crate) fn in_s3() -> Self {
        let server = services::S3::shared();
        let builder = AmazonS3Builder::new().with_region(REGION).with_endpoint(server.endpoint());
        let builder = builder.with_access_key_id("test").with_secret_access_key("test");
        let mut objects = Self::built_by(builder, &format!("{}/in/a/folder", server.bucket())).unwrap();
        objects.server = Some(server);
        objects
    }

    /// A bucket in memory, for tests.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        Self::of(Arc::new(object_store::memory::InMemory::new()), Path::default(), "memory").unwrap()
    }

    /// Deletes the bucket, which is empty.
    #[cfg(test)]
    pub(crate) fn delete_bucket(&self) {
        let server = self.server.as_ref().expect("it is in S3");
        server.delete_bucket(&self.name);
    }

    fn of(store: Arc<dyn ObjectStore>, prefix: Path, name: &str) -> io::Result<Self> {
        let threads = Arc::new(Threads::start("vault-objects")?);
        Ok(Self {
            threads,
            store,
            prefix,
            name: name.to_owned(),
            #[cfg(test)]
            server: None,
        })
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Stores an object, in the place of one that has the name.
    pub(crate) fn put(&self, folder: &str, name: &str, bytes: Bytes) -> io::Result<()> {
        self.write(folder, name, bytes, PutMode::Overwrite).map_err(failed)
    }

    /// Stores an object under a name that has none.
    pub(crate) fn create(&self, folder: &str, name: &str, bytes: &Bytes) -> io::Result<Written> {
        match self.write(folder, name, bytes.clone(), PutMode::Create) {
            Ok(()) => Ok(Written::Done),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                // An answer may have been lost, and the repetition found what the first attempt stored.
                let ours = self.get(folder, name)?.is_some_and(|(found, _)| found == *bytes);
                Ok(if ours && bytes.len() >= UNIQUE_BYTES { Written::Done } else { Written::Refused })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Stores an object in the place of a version of it.
    pub(crate) fn update(&self, folder: &str, name: &str, version: UpdateVersion, bytes: Bytes) -> io::Result<Written> {
        match self.write(folder, name, bytes, PutMode::Update(version)) {
            Ok(()) => Ok(Written::Done),
            Err(object_store::Error::Precondition { .. }) => Ok(Written::Refused),
            Err(error @ object_store::Error::NotFound { .. }) if !is_of_bucket(&error) => Ok(Written::Refused),
            Err(error) => Err(failed(error)),
        }
    }

    fn write(&self, folder: &str, name: &str, bytes: Bytes, mode: PutMode) -> Result<(), object_store::Error> {
        let (store, path) = (self.store.clone(), self.path(folder, name));
        let put = async move {
            let options = PutOptions { mode, ..PutOptions::default() };
            store.put_opts(&path, PutPayload::from_bytes(bytes), options).await
        };
        self.threads.run(put).map(drop)
    }

    /// An object and its version, if there is one.
    pub(crate) fn get(&self, folder: &str, name: &str) -> io::Result<Option<(Bytes, UpdateVersion)>> {
        let (store, path) = (self.store.clone(), self.path(folder, name));
        let got = self.threads.run(async move {
            let got = store.get(&path).await?;
            let version = UpdateVersion { e_tag: got.meta.e_tag.clone(), version: got.meta.version.clone() };
            Ok((got.bytes().await?, version))
        });
        match got {
            Ok(found) => Ok(Some(found)),
            Err(error @ object_store::Error::NotFound { .. }) if !is_of_bucket(&error) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// A part of an object: less than was asked for where it ends.
    pub(crate) fn get_range(&self, folder: &str, name: &str, range: Range<u64>) -> io::Result<Bytes> {
        let (store, path) = (self.store.clone(), self.path(folder, name));
        let start = range.start;
        let got = self.threads.run(async move {
            let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
            store.get_opts(&path, options).await?.bytes().await
        });
        match got.map_err(failed) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            // Stores refuse a range that begins behind the end, each in its own way.
            Err(error) => match self.len(folder, name)? {
                end if start >= end => Ok(Bytes::new()),
                _ => Err(error),
            },
        }
    }

    /// The length of an object.
    pub(crate) fn len(&self, folder: &str, name: &str) -> io::Result<u64> {
        let (store, path) = (self.store.clone(), self.path(folder, name));
        self.threads.run(async move { store.head(&path).await }).map(|found| found.size).map_err(failed)
    }

    /// All objects of a folder, in no order.
    pub(crate) fn list(&self, folder: &str) -> io::Result<Vec<Listed>> {
        let (store, path) = (self.store.clone(), self.prefix.clone().join(folder));
        let listed = self.threads.run(async move { store.list(Some(&path)).try_collect::<Vec<_>>().await });
        let listed = listed.map_err(failed)?.into_iter();
        Ok(listed
            .filter_map(|found| {
                let name = found.location.filename()?.to_owned();
                Some(Listed { name, bytes: found.size })
            })
            .collect())
    }

    /// Deletes an object. One that is not there is deleted already.
    pub(crate) fn delete(&self, folder: &str, name: &str) -> io::Result<()> {
        let (store, path) = (self.store.clone(), self.path(folder, name));
        match self.threads.run(async move { store.delete(&path).await }) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    fn path(&self, folder: &str, name: &str) -> Path {
        self.prefix.clone().join(folder).join(name)
    }
}

/// Whether it is not the object that is missing, but the bucket: then nothing is known of the object.
fn is_of_bucket(error: &object_store::Error) -> bool {
    format!("{error:?}").contains("NoSuchBucket")
}

fn failed(error: object_store::Error) -> io::Error {
    let kind = match &error {
        error if is_of_bucket(error) => io::ErrorKind::Other,
        object_store::Error::NotFound { .. } => io::ErrorKind::NotFound,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            io::ErrorKind::PermissionDenied
        }
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
