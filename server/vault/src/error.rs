//! What can go wrong: one enum per operation, so that a caller sees only what can happen to it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::id::{KeyName, Location};
pub use crate::key_store::KeyStoreError;

/// Why a vault can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the vault {0} is open in another process")]
    Locked(PathBuf),
    /// A file or folder of it can't be used.
    #[error("can't {action} {path}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The catalog can't be opened.
    #[error("the vault's catalog can't be opened: {0}")]
    Catalog(#[from] CatalogError),
    /// The vault's root key can't be unwrapped.
    #[error("the vault's root key can't be had: {0}")]
    Key(#[from] KeyError),
    /// The master keyring can't be used.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The committer's thread can't be started.
    #[error("the vault's committer can't be started: {0}")]
    Thread(io::Error),
    /// Written by a version that this one does not understand.
    #[error("the vault {path} has format {found}; this version understands format {known}")]
    Format {
        /// The vault's folder.
        path: PathBuf,
        /// The format that its marker states.
        found: String,
        /// The format that this version writes.
        known: &'static str,
    },
}

/// Why an entry was not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// No space; nothing was written. Trying again later helps.
    #[error("the disk is full; nothing was stored, try again when there is space")]
    DiskFull,
    /// A write failed in a way that leaves what is stored intact. Trying again may help.
    #[error("writing failed, nothing was stored: {0}")]
    Write(String),
    /// A sync failed: the vault takes no writes until it is opened again.
    #[error("the vault refuses writes until restarted, because {0}")]
    Poisoned(String),
    /// Larger than a frame can be.
    #[error("{bytes} bytes of {what}, but a frame holds at most {max}")]
    TooLarge {
        /// Payload or index entry.
        what: &'static str,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        max: usize,
    },
    /// A frame that was to be moved is not wanted any more, or has expired.
    #[error("the frame has expired")]
    Expired,
    /// Its owner does not want it.
    #[error("refused: {0}")]
    Refused(String),
    /// Its data key can't be had.
    #[error("no data key: {0}")]
    Key(KeyError),
    /// The catalog could not be read or did not take the rows. Nothing was stored; trying again later helps.
    #[error("the catalog failed, nothing was stored: {0}")]
    Catalog(String),
    /// The catalog did not answer in time. Trying again tells: an entry with `unless_exists` is stored once.
    #[error("whether the entry was stored is unknown, send it again: {0}")]
    Unknown(String),
    /// The vault is shutting down.
    #[error("the vault is closed")]
    Closed,
}

impl PutError {
    /// Whether the same entry may be stored if it is tried again later, unchanged.
    pub fn retryable(&self) -> bool {
        match self {
            Self::DiskFull
            | Self::Write(_)
            | Self::Poisoned(_)
            | Self::Key(_)
            | Self::Catalog(_)
            | Self::Unknown(_)
            | Self::Closed => true,
            Self::TooLarge { .. } | Self::Expired | Self::Refused(_) => false,
        }
    }
}

/// What is wrong with a segment's own header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The segment ends within it.
    #[error("its header is cut short")]
    Short,
    /// It begins with something else.
    #[error("its header does not begin as a segment's does")]
    Magic,
    /// It is not the header that was written.
    #[error("its header's checksum is wrong")]
    Checksum,
    /// Another version of this program has written it.
    #[error("its header has the format version {:?}, which this program does not know", char::from(*.0))]
    Version(u8),
    /// It is the header of another segment.
    #[error("its header is that of another segment")]
    Name,
}

/// Why a frame can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its segment file is gone: expired, or lost.
    #[error("{0}: the segment file does not exist")]
    Missing(Location),
    /// The bytes are not the frame that was written.
    #[error("{location}: the frame is damaged: {what}")]
    Damaged {
        /// Where it lies.
        location: Location,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Its data key can't be had.
    #[error("{location}: {source}")]
    Key {
        /// Where it lies.
        location: Location,
        /// Why not.
        source: KeyError,
    },
    /// The file can't be read.
    #[error("{location}: can't read: {source}")]
    Io {
        /// Where it lies.
        location: Location,
        /// What the system said.
        source: io::Error,
    },
}

impl ReadError {
    /// Whether the bytes are lost or others than were written, so that trying again gives the same.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Missing(_) | Self::Damaged { .. } => true,
            Self::Key { .. } => false,
            // A place of the disk that can't be read any more.
            Self::Io { source, .. } => source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()),
        }
    }
}

/// Why a key can't be made, wrapped or unwrapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key service says no.
    #[error("{refusal}: {why}")]
    Refused {
        /// Under which of its documented names.
        refusal: KeyRefusal,
        /// In words.
        why: String,
    },
    /// The data key was destroyed, with its owner or at its expiry.
    #[error("the data key {0} does not exist (destroyed, or lost)")]
    Destroyed(KeyName),
    /// The store of wrapped keys failed.
    #[error(transparent)]
    Store(#[from] KeyStoreError),
    /// The master keys can't be changed.
    #[error("the master keys are as they were: {0}")]
    Masters(String),
    /// The system gives no random numbers.
    #[error("the system's random source failed")]
    Random,
    /// What a sync that failed has left is known only after a restart.
    #[error("no key is destroyed until the vault is restarted, because a sync or commit failed")]
    Poisoned,
    /// The vault is shutting down.
    #[error("the vault is closed")]
    Closed,
}

impl KeyError {
    /// Whether it was a sync that failed.
    pub(crate) fn is_of_sync(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_of_sync())
    }

    /// A refusal in these words.
    pub fn refused(refusal: KeyRefusal, why: impl Into<String>) -> Self {
        Self::Refused { refusal, why: why.into() }
    }

    /// The key service's reason, if it was the service that said no.
    pub fn refusal(&self) -> Option<KeyRefusal> {
        match self {
            Self::Refused { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }

    /// Whether it is only this data key that can't be had, so that another one may do instead.
    pub(crate) fn is_of_one_key(&self) -> bool {
        use KeyRefusal::{Disabled, IncorrectKey, InvalidCiphertext, InvalidState, NotFound};
        match self {
            Self::Destroyed(_) => true,
            Self::Refused { refusal, .. } => {
                matches!(refusal, Disabled | IncorrectKey | InvalidCiphertext | InvalidState | NotFound)
            }
            Self::Store(_) | Self::Masters(_) | Self::Random | Self::Poisoned | Self::Closed => false,
        }
    }
}

/// Why a key service says no: the errors that AWS KMS documents. The local keyring speaks of the same
/// things by the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyRefusal {
    /// The caller may not use the master key.
    AccessDenied,
    /// The service waited for something else too long.
    DependencyTimeout,
    /// The master key is disabled.
    Disabled,
    /// The wrapped key was wrapped under another master key than the one that is stated.
    IncorrectKey,
    /// The wrapped key is damaged, or belongs to another context.
    InvalidCiphertext,
    /// The master key is not for this kind of use.
    InvalidKeyUsage,
    /// The master key is in a state that does not allow this, such as waiting for its deletion.
    InvalidState,
    /// The service failed.
    Internal,
    /// The master key can't be had just now.
    KeyUnavailable,
    /// More was asked of the service than it allows.
    LimitExceeded,
    /// There is no such master key.
    NotFound,
    /// The service is asked too often.
    Throttling,
    /// The service does not offer what was asked.
    UnsupportedOperation,
}

impl KeyRefusal {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::AccessDenied,
        Self::DependencyTimeout,
        Self::Disabled,
        Self::IncorrectKey,
        Self::InvalidCiphertext,
        Self::InvalidKeyUsage,
        Self::InvalidState,
        Self::Internal,
        Self::KeyUnavailable,
        Self::LimitExceeded,
        Self::NotFound,
        Self::Throttling,
        Self::UnsupportedOperation,
    ];

    /// The name that AWS KMS documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessDenied => "AccessDeniedException",
            Self::DependencyTimeout => "DependencyTimeoutException",
            Self::Disabled => "DisabledException",
            Self::IncorrectKey => "IncorrectKeyException",
            Self::InvalidCiphertext => "InvalidCiphertextException",
            Self::InvalidKeyUsage => "InvalidKeyUsageException",
            Self::InvalidState => "KMSInvalidStateException",
            Self::Internal => "KMSInternalException",
            Self::KeyUnavailable => "KeyUnavailableException",
            Self::LimitExceeded => "LimitExceededException",
            Self::NotFound => "NotFoundException",
            Self::Throttling => "ThrottlingException",
            Self::UnsupportedOperation => "UnsupportedOperationException",
        }
    }
}

impl fmt::Display for KeyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a master keyring can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// Others than its owner may read it.
    #[error("the keyring {path} is open to others (mode {mode:04o}): chmod 600 it")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is protected by a passphrase, and none was given.
    #[error(
        "the keyring {0} is protected by a passphrase: give it with --passphrase-file, or as the credential \
             millrace.passphrase"
    )]
    Protected(PathBuf),
    /// It is protected by another passphrase than the one that was given.
    #[error("the keyring {0} does not open with this passphrase, or is damaged")]
    WrongPassphrase(PathBuf),
    /// The passphrase can't be used.
    #[error("the passphrase {path} can't be used: {why}")]
    Passphrase {
        /// Where it comes from.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// It lies where it can't be changed.
    #[error("the keyring {0} can't be changed where it lies: change a copy of it, and put that in its place")]
    ReadOnly(PathBuf),
    /// It is not a keyring, or damaged.
    #[error("{0} is not a keyring, or damaged")]
    Damaged(PathBuf),
    /// The vault has data, but its keyring is missing. Creating a new one would not open that data.
    #[error(
        "the vault has data, but its keyring {0} is missing: restore it from a backup, or name what wraps its keys (--keyring, --kms-key)"
    )]
    Missing(PathBuf),
    /// The system gives no random numbers.
    #[error("no master key can be made: the system's random source failed")]
    Random,
    /// The file can't be used.
    #[error("can't {action} keyring {path}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a sealed secret does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It was sealed elsewhere or under another label, or was changed.
    #[error("the sealed text is not one of this vault's, or was changed")]
    Foreign,
    /// The vault's root key can't be had.
    #[error("the vault's root key can't be had: {0}")]
    Key(#[from] KeyError),
}

/// Why the catalog can't answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// It can't be reached, or is busy. Trying again later helps; a snapshot has to be taken anew.
    #[error("the catalog is unavailable, try again: {0}")]
    Unavailable(String),
    /// Its disk has no space left for a commit. Trying again when there is space helps.
    #[error("the disk is full; the catalog takes nothing until there is space")]
    Full,
    /// It failed, and trying again without a change of something else fails again.
    #[error("the catalog failed: {0}")]
    Failed(String),
    /// What lies on disk is not what was written, or not all of it. No media is lost by that.
    #[error(
        "the catalog is damaged: {0}; stop the server and run `millrace rebuild-index`, which makes it again out of \
             segments and keys"
    )]
    Damaged(String),
}

impl CatalogError {
    pub(crate) fn damaged(path: &Path, what: impl fmt::Display) -> Self {
        Self::Damaged(format!("{}: {what}", path.display()))
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: &io::Error) -> Self {
        Self::Failed(format!("can't {action} {}: {source}", path.display()))
    }

    /// [`CatalogError::io`] of a file that has to exist.
    pub(crate) fn missing_or_io(action: &'static str, path: &Path, source: &io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::damaged(path, "it is missing"),
            _ => Self::io(action, path, source),
        }
    }

    /// Whether the same call may succeed if it is tried again later.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Full)
    }
}

/// Why a batch of rows was not committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A row was not as the batch required; nothing was changed.
    #[error("a row is not as it was required to be; nothing was changed")]
    Precondition,
    /// Nothing was changed, and nothing of this batch will be: the same batch may be tried again.
    #[error("nothing was changed: {0}")]
    NotCommitted(CatalogError),
    /// The catalog did not answer. The batch may be in it, may yet come, or may never; what holds is
    /// decided by [`crate::Catalog::settle`], and then a read tells.
    #[error("whether the change was made is unknown: {0}")]
    Unknown(CatalogError),
    /// The store behind the catalog failed under the commit. Whether the batch is in it shows only when it
    /// is opened again; until then nothing more may be written.
    #[error(transparent)]
    Broken(CatalogError),
}

/// Why a backup was not made, or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file can't be read or written.
    #[error("can't {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A part of the backup is not as it was written.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// Which part.
        path: PathBuf,
        /// By what it shows.
        what: &'static str,
    },
    /// The catalog can't be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A catalog can't be made of the backup's rows.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Another copy is being made.
    #[error("a backup is being made already; wait until it is done")]
    UnderWay,
    /// Its keys can't be listed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The vault is in no state to be copied.
    #[error("the vault can't be copied: {0}")]
    Vault(#[from] SweepError),
}

/// Why a sweep stopped. What it had deleted is deleted; the next one continues.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The catalog can't answer, so nothing can be said about what is live.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The vault refuses writes, and what its last commit left is known only after a restart.
    #[error("nothing is deleted until the vault is restarted, because a sync or commit failed")]
    Poisoned,
    /// A key can't be destroyed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Something can't be examined or deleted.
    #[error("can't {action} {what}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The vault is shutting down.
    #[error("the vault is closed")]
    Closed,
}
