//! Pushed configurations on disk: `pushed.json` in the state folder, for the owner only.
//!
//! A change is on disk before it takes effect: (1) the new text beside the old, (2) synced, (3) renamed over it, (4) the
//! folder synced. So after a power cut the agent has what was before or what is after, and a trial is known as one.

use std::io;
use std::path::{Path, PathBuf};

use super::trial::Pushed;
use crate::state;

const FILE: &str = "pushed.json";

/// Why what was pushed can't be read.
#[derive(Debug, thiserror::Error)]
#[error("what the server has pushed can't be read from {path}: {why}; push it again")]
pub struct ReadError {
    path: PathBuf,
    why: String,
}

/// Where pushed configurations are kept.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    pushed: Pushed,
}

/// Forgets what was pushed: the device has another server now, whose versions count anew.
pub fn forget(state: &Path) -> io::Result<()> {
    match std::fs::remove_file(state.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

impl Store {
    /// What is kept in this state folder.
    pub fn open(folder: &Path) -> Result<Self, ReadError> {
        let path = folder.join(FILE);
        let error = |why: String| ReadError { path: path.clone(), why };
        let pushed = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|why| error(why.to_string()))?,
            Err(why) if why.kind() == io::ErrorKind::NotFound => Pushed::default(),
            Err(why) => return Err(error(why.to_string())),
        };
        Ok(Self { path, pushed })
    }

    /// Nothing pushed; what the folder has is written over at the next change.
    pub fn empty(folder: &Path) -> Self {
        Self { path: folder.join(FILE), pushed: Pushed::default() }
    }

    /// What is pushed.
    pub fn pushed(&self) -> &Pushed {
        &self.pushed
    }

    /// Makes a change, on disk first. If that fails, nothing has changed.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut Pushed) -> T) -> io::Result<T> {
        let mut changed = self.pushed.clone();
        let answer = change(&mut changed);
        if changed != self.pushed {
            state::replace(&self.path, &serde_json::to_vec_pretty(&changed)?)?;
            self.pushed = changed;
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use upload::fleet::Configuration;

    use super::*;

    #[test]
    fn a_trial_survives_the_end_of_the_agent_and_only_the_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        let given = Configuration { version: 7, toml: "[[camera]]\npassword = \"hush\"\n".to_owned() };
        store.change(|pushed| pushed.begin(given)).unwrap();
        let again = Store::open(folder.path()).unwrap();
        assert_eq!(again.pushed(), store.pushed());
        assert_eq!(again.pushed().on_trial(), Some(7));
        let mode = std::fs::metadata(folder.path().join("pushed.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_change_that_can_not_be_written_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        std::fs::create_dir_all(folder.path().join("pushed.new")).unwrap();
        let given = Configuration { version: 7, toml: String::new() };
        assert!(store.change(|pushed| pushed.begin(given)).is_err());
        assert_eq!(*store.pushed(), Pushed::default());
    }

    #[test]
    fn a_damaged_file_is_told_and_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pushed.json"), b"{").unwrap();
        assert!(Store::open(folder.path()).unwrap_err().to_string().contains("push it again"));
        let mut store = Store::empty(folder.path());
        store.change(|pushed| pushed.refuse(7, &[])).unwrap();
        assert_eq!(Store::open(folder.path()).unwrap().pushed(), store.pushed());
    }
}
