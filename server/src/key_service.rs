//! Who wraps the data keys: resolved from settings, opened.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vault::{Home, KeyError, KeyService, Keyring, KeyringError, Kms, KmsKey, Passphrase};
use zeroize::Zeroizing;

use crate::storage;

/// Why the key service can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyServiceError {
    /// The master keyring can't be used.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// KMS can't be used.
    #[error("KMS can't be used: {0}")]
    Kms(#[source] KeyError),
    /// No passphrase could be asked for.
    #[error("the passphrase can't be asked for: {0}; give it with --passphrase-file")]
    Terminal(io::Error),
}

/// Who wraps the data keys.
#[derive(Clone, Debug, Default)]
pub struct KeySettings {
    /// Where the master keyring lies, unless in the vault's own folder.
    pub keyring: Option<Home>,
    /// What protects it.
    pub passphrase: Option<Passphrase>,
    /// The master key in KMS, in place of a keyring.
    pub kms: Option<KmsKey>,
}

/// The names that systemd's credentials have for us.
const KEYRING_CREDENTIAL: &str = "millrace.keyring";
const PASSPHRASE_CREDENTIAL: &str = "millrace.passphrase";

/// Where a passphrase is looked for that no file holds. A file is better: an environment is handed on to children.
const PASSPHRASE_VARIABLE: &str = "MILLRACE_PASSPHRASE";

impl KeySettings {
    /// The settings that these arguments, the credentials of the service and the environment make, in that
    /// order. Asks at the terminal for a passphrase that is needed and comes from nowhere else.
    pub(crate) fn resolve(
        kms: Option<KmsKey>,
        keyring: Option<PathBuf>,
        passphrase_file: Option<&Path>,
        vault: &Path,
    ) -> Result<Self, KeyServiceError> {
        if kms.is_some() {
            return Ok(Self { kms, ..Self::default() });
        }
        let keyring = keyring.map(Home::File).or_else(|| credential(KEYRING_CREDENTIAL).map(Home::Credential));
        let mut settings = Self { keyring, passphrase: passphrase(passphrase_file)?, kms: None };
        let home = settings.home(vault);
        if settings.passphrase.is_none() && io::stdin().is_terminal() && Keyring::is_protected(&home)? {
            settings.passphrase = ask(&home).map_err(KeyServiceError::Terminal)?;
        }
        Ok(settings)
    }

    /// Opens the key service of the vault in this folder. What is new is created. Blocks.
    pub(crate) fn open(&self, vault: &Path) -> Result<Arc<dyn KeyService>, KeyServiceError> {
        if let Some(key) = &self.kms {
            return Ok(Arc::new(Kms::new(key.clone()).map_err(KeyServiceError::Kms)?));
        }
        let now = u64::try_from(storage::now().as_millis() / 1000).unwrap_or(0);
        let ring = Keyring::open_or_create(self.home(vault), self.passphrase.as_ref(), vault, now)?;
        Ok(Arc::new(ring))
    }

    /// Where the keyring is missing that the vault in this folder needs, if it is.
    pub(crate) fn missing_keyring(&self, vault: &Path) -> Option<PathBuf> {
        let home = self.home(vault);
        (self.kms.is_none() && !home.path().exists()).then(|| home.path().to_owned())
    }

    /// Where the keyring lies, or would.
    pub(crate) fn keyring_path(&self, vault: &Path) -> PathBuf {
        self.home(vault).path().to_owned()
    }

    fn home(&self, vault: &Path) -> Home {
        self.keyring.clone().unwrap_or_else(|| Home::in_vault(vault))
    }
}

fn passphrase(file: Option<&Path>) -> Result<Option<Passphrase>, KeyringError> {
    if let Some(file) = file {
        return Passphrase::read(file).map(Some);
    }
    if let Some(file) = credential(PASSPHRASE_CREDENTIAL) {
        return Passphrase::read_credential(&file).map(Some);
    }
    let text = std::env::var_os(PASSPHRASE_VARIABLE).map(|text| Zeroizing::new(text.into_encoded_bytes()));
    Ok(text.and_then(Passphrase::new))
}

/// A credential that systemd has for this service.
fn credential(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?).join(name);
    path.exists().then_some(path)
}

/// Asks at the terminal, which does not show what is typed.
fn ask(home: &Home) -> io::Result<Option<Passphrase>> {
    let stdin = io::stdin();
    let shown = rustix::termios::tcgetattr(&stdin)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(rustix::termios::LocalModes::ECHO);
    eprint!("Passphrase of {}: ", home.path().display());
    io::stderr().flush()?;
    rustix::termios::tcsetattr(&stdin, rustix::termios::OptionalActions::Flush, &hidden)?;
    let mut line = Zeroizing::new(String::with_capacity(4096));
    let read = stdin.read_line(&mut line);
    rustix::termios::tcsetattr(&stdin, rustix::termios::OptionalActions::Flush, &shown)?;
    eprintln!();
    read?;
    Ok(Passphrase::new(Zeroizing::new(line.as_bytes().to_vec())))
}
