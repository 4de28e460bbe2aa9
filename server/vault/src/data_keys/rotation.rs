//! Master keys from the data keys' side: what each guards, and wrapping all of them anew.
//!
//! The steps of a rotation are numbered as in design/vault.md. It can stop between any two of them: at any
//! moment each data key in the store is wrapped under a master key that the service has.

use std::collections::BTreeMap;

use super::{DataKeys, in_parallel};
use crate::error::{KeyError, KeyRefusal};
use crate::id::KeyName;
use crate::masters::{MasterId, MasterKey, MasterReport, MasterState, Rotated};
use crate::stored_key::StoredKey;

impl DataKeys {
    /// The master keys, and how many data keys each guards. Reads all wrapped keys.
    pub(crate) fn masters(&self) -> Result<Vec<MasterReport>, KeyError> {
        let InUse { masters: in_use, .. } = self.in_use()?;
        let masters = self.service.masters(&in_use.keys().cloned().collect())?;
        let report = |master: MasterKey| {
            let data_keys = in_use.get(&master.id).copied().unwrap_or(0);
            MasterReport { master, data_keys }
        };
        Ok(masters.into_iter().map(report).collect())
    }

    /// Lets a master key be used, or not. What it guards can't be had from when this returns, except by
    /// reads and commits that were under way.
    pub(crate) fn set_master(&self, id: &MasterId, state: MasterState) -> Result<(), KeyError> {
        self.service.set_state(id, state)?;
        self.cache.clear();
        Ok(())
    }

    /// Has a new master key wrap all data keys, and forgets the old ones.
    pub(crate) fn rotate(&self, now: u64) -> Result<Rotated, KeyError> {
        let _alone = self.rotating();
        // Before anything is changed: a rotation that can't be finished is not begun.
        for MasterReport { master, data_keys } in self.masters()? {
            if data_keys > 0 && master.state != MasterState::Enabled {
                let why = format!("master key {} is {} and guards {data_keys} data keys", master.id, master.state);
                let refusal = match master.state {
                    MasterState::Disabled => KeyRefusal::Disabled,
                    _ => KeyRefusal::InvalidState,
                };
                return Err(KeyError::refused(refusal, why));
            }
        }
        // Step 1: a new master key, which wraps from now on.
        let master = self.service.begin_rotation(now)?;
        let (data_keys, retired) = self.finish()?;
        Ok(Rotated { master, data_keys, retired })
    }

    /// Finishes a rotation that was cut short, if one was.
    pub(crate) fn finish_rotation(&self) -> Result<(), KeyError> {
        let _alone = self.rotating();
        if self.service.is_rotating() {
            let (data_keys, retired) = self.finish()?;
            tracing::info!(data_keys, retired = retired.len(), "a rotation of the master key was finished");
        }
        Ok(())
    }

    /// Steps 2 to 5.
    fn finish(&self) -> Result<(u64, Vec<MasterId>), KeyError> {
        // Step 2: whoever chose the old master key for a new data key has stored that.
        drop(self.wrapping.write());
        // Step 3: every data key is wrapped anew.
        let outcomes = in_parallel(&self.store.list()?, self.service.calls_at_once(), |name| self.rewrap(*name));
        let rewrapped = outcomes.into_iter().collect::<Result<Vec<bool>, _>>()?;
        // Step 4: and durably so.
        self.store.sync()?;
        // Step 5: master keys that guard nothing are forgotten. Of a damaged key nobody knows what guards it,
        // and there may be a copy of it that is not damaged.
        let InUse { masters, damaged } = self.in_use()?;
        let retired = match damaged {
            0 => self.service.end_rotation(&masters.into_keys().collect())?,
            _ => Vec::new(),
        };
        Ok((rewrapped.into_iter().filter(|rewrapped| *rewrapped).count() as u64, retired))
    }

    /// Wraps one key anew, unless it is already, or was destroyed, or is damaged: that costs its own frames, and
    /// must not keep the others under an old master key for ever.
    fn rewrap(&self, name: KeyName) -> Result<bool, KeyError> {
        loop {
            let Some(stored) = self.store.read(name)? else { return Ok(false) };
            let rewrapped = match self.wrap_anew(name, &stored) {
                Ok(Some(rewrapped)) => rewrapped,
                Ok(None) => return Ok(false),
                Err(error) if error.refusal() == Some(KeyRefusal::InvalidCiphertext) => {
                    tracing::error!(key = %name, %error, "a data key is damaged and stays as it is");
                    return Ok(false);
                }
                Err(error) => return Err(error),
            };
            if self.store.replace(name, &stored, &rewrapped.encode())? {
                return Ok(true);
            }
        }
    }

    fn wrap_anew(&self, name: KeyName, stored: &[u8]) -> Result<Option<StoredKey>, KeyError> {
        let StoredKey { context, wrapped } = Self::decode(stored, name)?;
        let rewrapped = self.service.rewrap(&wrapped, &context)?;
        Ok(rewrapped.map(|wrapped| StoredKey { context, wrapped }))
    }

    /// How many data keys are wrapped under which master key.
    fn in_use(&self) -> Result<InUse, KeyError> {
        let mut in_use = InUse::default();
        for name in self.store.list()? {
            let Some(stored) = self.store.read(name)? else { continue };
            match Self::decode(&stored, name).and_then(|key| self.service.master_of(&key.wrapped)) {
                Ok(master) => *in_use.masters.entry(master).or_insert(0) += 1,
                Err(_) => in_use.damaged += 1,
            }
        }
        Ok(in_use)
    }
}

#[derive(Default)]
struct InUse {
    masters: BTreeMap<MasterId, u64>,
    damaged: u64,
}

#[cfg(test)]
mod tests;
