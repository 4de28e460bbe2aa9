//! A running server: starts the parts in order, stops them in the opposite one.
//!
//! Order of a start: data folder (and its lock), vault, CA, ports, tasks. Ports are taken before anything is
//! announced, so that a server that prints its address serves. Order of a stop: no new connections, commits
//! under way and their acks, HTTP, tasks, and last the vault.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::access_keys::AccessKeys;
use crate::admin::{self, AdminSocket, SocketError};
use crate::budget::Budget;
use crate::ca::{self, Ca, CaError};
use crate::config::{Config, StorageSettings};
use crate::credentials::{self, Provider};
use crate::data_folder::{self, DataFolder, FolderError};
use crate::devices::Devices;
use crate::fleet::Fleet;
use crate::http::damage::Damage;
use crate::http::outgoing::Outgoing;
use crate::ingest::{self, Ingest, IngestError};
use crate::kinesis_video::Receiving;
use crate::office::Office;
use crate::presence::Presences;
use crate::shared_store::{self, SharedStoreError};
use crate::storage::{Storage, StorageError};
use crate::{http, kinesis_video, limits, peers, retention, telemetry};

/// Why a server can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its data folder can't be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its data can't be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What it shares with other servers can't be had.
    #[error(transparent)]
    Shared(#[from] SharedStoreError),
    /// Its certificate authority can't be opened.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// Its admin socket can't be opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// It can't listen for devices.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// It can't listen for browsers.
    #[error("can't listen for browsers on tcp {0}: {1}; choose another address with --http")]
    Http(SocketAddr, io::Error),
    /// It can't listen for devices that want keys.
    #[error(transparent)]
    Credentials(#[from] credentials::ListenError),
    /// The key that its own secrets are derived from can't be had.
    #[error("the vault's root key can't be had: {0}")]
    Key(#[from] vault::KeyError),
    /// It can't count.
    #[error("metrics can't be set up: {0}")]
    Metrics(String),
    /// A step did not come back.
    #[error("the start failed: {0}")]
    Internal(String),
}

/// A server that runs until [`Server::stop`].
pub struct Server {
    http: SocketAddr,
    quic: SocketAddr,
    credentials: Option<SocketAddr>,
    console_key: String,
    ingest: Ingest,
    stop: CancellationToken,
    tasks: TaskTracker,
    storage: Storage,
}

/// What a server and an offline command have in common: the data folder, opened and locked.
pub(crate) struct Opened {
    pub(crate) storage: Storage,
    /// The key of playback tokens.
    pub(crate) token_key: Zeroizing<[u8; 32]>,
    /// The key by which devices recognise that this server has forgotten their connection.
    pub(crate) reset_key: Zeroizing<[u8; 32]>,
    pub(crate) ca: Arc<Ca>,
    pub(crate) devices: Devices,
}

impl Opened {
    /// Opens the data folder. Blocks.
    pub(crate) fn new(folder: &DataFolder, settings: &StorageSettings) -> Result<Self, StartError> {
        let storage = Storage::open(folder, settings)?;
        let ca = if storage.is_shared() {
            let pem = shared_store::secret(storage.archive().vault(), "CA", ca::new_ca)?;
            Ca::from_pem(&pem, "the catalog")?
        } else {
            Ca::open(&folder.ca_file())?
        };
        let ca = Arc::new(ca);
        let devices = Devices::new(storage.archive().vault().catalog().clone());
        let token_key = storage.archive().vault().derive_key("playback tokens")?;
        let reset_key = storage.archive().vault().derive_key("stateless resets")?;
        Ok(Self { storage, token_key, reset_key, ca, devices })
    }
}

/// Opens what is in a data folder. While another process has it, waits until that is done with it: a command
/// takes a moment, and so does the end of a server. `None` when it is a server that answers.
pub(crate) async fn when_free<T: Send + 'static>(
    folder: &DataFolder,
    open: impl Fn() -> Result<T, StartError> + Clone + Send + 'static,
) -> Result<Option<T>, StartError> {
    let give_up = Instant::now() + limits::FOLDER_WAIT;
    loop {
        let opened = tokio::task::spawn_blocking(open.clone()).await;
        match opened.map_err(|e| StartError::Internal(e.to_string()))? {
            Err(StartError::Storage(StorageError::InUse(_))) if Instant::now() < give_up => {}
            opened => return opened.map(Some),
        }
        if admin::answers(&folder.admin_socket()).await {
            return Ok(None);
        }
        tokio::time::sleep(limits::FOLDER_RETRY).await;
    }
}

impl Server {
    /// Starts a server.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let folder = DataFolder::open(&config.data)?;
        let metrics = telemetry::start_metrics().map_err(|e| StartError::Metrics(e.to_string()))?;
        let in_use = || StorageError::InUse(folder.path().display().to_string());
        let (opening, settings) = (folder.clone(), config.storage.clone());
        let opened = when_free(&folder, move || Opened::new(&opening, &settings)).await?;
        let Opened { storage, token_key, reset_key, ca, devices } = opened.ok_or_else(in_use)?;
        let console_key = console_key(&folder, &storage).await?;
        let listener = TcpListener::bind(config.http).await.map_err(|e| StartError::Http(config.http, e))?;
        let http = listener.local_addr().map_err(|e| StartError::Http(config.http, e))?;
        let presences = Presences::default();
        let budget = Budget::new(limits::INTAKE_BYTES_MAX);
        let fleet = Fleet::new(&storage, devices.clone());
        let parts = ingest::Parts {
            ca: ca.clone(),
            devices: devices.clone(),
            storage: storage.clone(),
            presences: presences.clone(),
            fleet: fleet.clone(),
            budget: budget.clone(),
            reset_key,
        };
        let ingest = Ingest::start(config.quic, parts)?;
        let quic = ingest.address().map_err(|e| IngestError::Listen(config.quic, e))?;
        let public_url = config.public_url.unwrap_or_else(|| format!("http://{}", reachable(http)));
        let credentials = match config.credentials {
            Some(address) => Some(
                credentials::Listener::bind(address, &ca, credentials::names(&public_url, reachable(address))).await?,
            ),
            None => None,
        };
        let admin = AdminSocket::open(&folder.admin_socket())?;

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let quic_name = reachable(quic).to_string();
        fleet.serves_at(&quic_name);
        let office = Office {
            ca,
            devices: devices.clone(),
            storage: storage.clone(),
            fleet: fleet.clone(),
            quic: Some(quic_name),
        };
        tasks.spawn(admin.serve(office, stop.clone()));
        if storage.is_shared() {
            tasks.spawn(peers::follow(storage.clone(), devices.clone(), stop.clone()));
        }
        tasks.spawn(retention::run(storage.clone(), devices.clone(), stop.clone()));
        if let Some(keep_free) = config.keep_free {
            tasks.spawn(retention::keep_free(storage.clone(), keep_free, stop.clone()));
        }
        tasks.spawn(telemetry::fold_samples(metrics.clone(), stop.clone()));
        let outgoing = Outgoing::new(http::limits::OUTGOING_BYTES_MAX);
        let damage = Arc::new(Damage::default());
        let archive = storage.archive().clone();
        let (scraped, vault) = (archive.clone(), archive.vault().clone());
        let state = http::State::new(http::Parts {
            archive,
            token_key,
            console_key: console_key.clone(),
            metrics: Box::new(move || {
                telemetry::vault(&scraped.vault().health());
                metrics.render()
            }),
            presence: Box::new(presences.clone()),
            fleet: fleet.clone(),
            outgoing: outgoing.clone(),
            damage: damage.clone(),
        });
        let service = kinesis_video::Service::new(kinesis_video::Parts {
            archive: storage.archive().clone(),
            is_shared: storage.is_shared(),
            fleet,
            public_url,
            outgoing,
            damage,
            limits: config.limits,
            images: config.images,
            playback: state.clone(),
            receiving: Receiving::new(config.limits.profile(), budget, presences, stop.clone()),
            stop: stop.clone(),
        });
        let router = http::router(state).merge(kinesis_video::router(service));
        let patience = http::listener::Patience::default();
        tasks.spawn(http::listener::serve(listener, router, patience, stop.clone()));
        let credentials = credentials.map(|listener| {
            let address = listener.address();
            tasks.spawn(listener.serve(Provider { devices, keys: AccessKeys::new(vault) }, stop.clone()));
            address
        });
        let credentials = credentials.transpose().map_err(|e| StartError::Internal(e.to_string()))?;
        Ok(Self { http, quic, credentials, console_key, ingest, stop, tasks, storage })
    }

    /// Where browsers and programs come in.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where devices come in.
    pub fn quic(&self) -> SocketAddr {
        self.quic
    }

    /// Where devices fetch temporary access keys, if they may.
    pub fn credentials(&self) -> Option<SocketAddr> {
        self.credentials
    }

    /// Waits until the vault's committer has come round; `false` if it never will again.
    pub(crate) async fn commits(&self) -> bool {
        self.storage.archive().vault().barrier().await
    }

    /// The address that opens the watch page.
    pub fn watch_url(&self) -> String {
        format!("http://{}/?key={}", reachable(self.http), self.console_key)
    }

    /// Stops in order: what is acknowledged is stored, and what is stored is acknowledged if its device is
    /// still there.
    pub async fn stop(self) {
        self.ingest.stop().await;
        self.stop.cancel();
        self.tasks.close();
        // A browser may hold a response open for as long as it likes.
        if tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await.is_err() {
            tracing::info!("some HTTP connections did not end in time");
        }
        // The last handle closes the vault, which waits for its committer.
        let _ = tokio::task::spawn_blocking(move || drop(self.storage)).await;
    }
}

/// The key that opens the watch page: this server's, or that of all servers which share a store.
async fn console_key(folder: &DataFolder, storage: &Storage) -> Result<String, StartError> {
    let key = if storage.is_shared() {
        let vault = storage.archive().vault().clone();
        let read = tokio::task::spawn_blocking(move || shared_store::secret(&vault, "console key", new_key)).await;
        read.map_err(|e| StartError::Internal(e.to_string()))??
    } else {
        data_folder::read_or_create(&folder.console_key(), new_key)?
    };
    Ok(key.trim().to_owned())
}

fn new_key() -> String {
    let mut key = [0; 24];
    rand::fill(&mut key).expect("the system gives random numbers");
    URL_SAFE_NO_PAD.encode(key) + "\n"
}

/// An address to tell others, for one that may mean "all of this machine's". Connecting a UDP socket sends
/// nothing: it asks which of our addresses faces the network.
fn reachable(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    let facing = || {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
        socket.connect(("192.0.2.1", 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    SocketAddr::new(facing().unwrap_or(IpAddr::from([127, 0, 0, 1])), address.port())
}
