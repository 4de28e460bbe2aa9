//! Which data key seals next, and how much each has sealed: AES-GCM is safe for so much under one key.
//!
//! A pure table. What this process seals it counts before it is sealed, whether it reaches the disk or not.
//! What an earlier process sealed, or another server does, nobody can say, so a key that was found is given
//! a small part of what one is given that was made here; see design/vault.md.

use std::collections::HashMap;
use std::ops::{Add, AddAssign};

use crate::id::{KeyId, KeyName, KeyScope};
use crate::limits;

/// What AES-GCM's bounds count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Messages.
    pub(crate) frames: u64,
    /// Blocks of 16 bytes.
    pub(crate) blocks: u64,
}

impl Usage {
    /// What sealing one frame of so many bytes uses. Its authenticated header counts as if it were
    /// encrypted, and header and payload each end in a block that may be half empty.
    pub(crate) fn of_frame(frame_bytes: u32) -> Self {
        Self { frames: 1, blocks: u64::from(frame_bytes) / 16 + 2 }
    }

    fn fits(self, budget: Budget) -> bool {
        self.frames <= budget.frames && self.blocks <= budget.blocks
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { frames: self.frames + other.frames, blocks: self.blocks + other.blocks }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// How much may be sealed under a key by this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) frames: u64,
    pub(crate) blocks: u64,
    /// Segments begun while the key is in use.
    pub(crate) segments: u64,
}

/// The budgets of keys that were made here and of keys that were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budgets {
    pub(crate) own: Budget,
    pub(crate) adopted: Budget,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            own: Budget {
                frames: limits::KEY_FRAMES_MAX,
                blocks: limits::KEY_BLOCKS_MAX,
                segments: limits::KEY_SEGMENTS_MAX,
            },
            adopted: Budget {
                frames: limits::ADOPTED_KEY_FRAMES_MAX,
                blocks: limits::ADOPTED_KEY_BLOCKS_MAX,
                segments: limits::ADOPTED_KEY_SEGMENTS_MAX,
            },
        }
    }
}

/// The keys of all owners and days, and which of them seal.
#[derive(Debug)]
pub(crate) struct KeyUse {
    budgets: Budgets,
    /// Chooses among keys that were found, which is no secret.
    dice: fastrand::Rng,
    scopes: HashMap<KeyScope, Scope>,
    segments_begun: u64,
}

#[derive(Debug, Default)]
struct Scope {
    /// Keys that were found and not yet used by this process.
    found: Vec<KeyId>,
    current: Option<Current>,
}

/// The key that seals.
#[derive(Clone, Copy, Debug)]
struct Current {
    id: KeyId,
    spent: Usage,
    budget: Budget,
    /// The count of segments when it came into use.
    since: u64,
}

impl KeyUse {
    /// A table of the keys that are in the store.
    pub(crate) fn new(budgets: Budgets, mut found: Vec<KeyName>, seed: u64) -> Self {
        let mut scopes: HashMap<KeyScope, Scope> = HashMap::new();
        // A store lists in no order, and the same seed shall choose the same.
        found.sort_unstable();
        for name in found {
            scopes.entry(name.scope()).or_default().found.push(name.id);
        }
        Self { budgets, dice: fastrand::Rng::with_seed(seed), scopes, segments_begun: 0 }
    }

    /// The key that seals so much more for `scope`, with the use already counted; `None` if a new one has
    /// to be made.
    pub(crate) fn choose(&mut self, scope: KeyScope, usage: Usage) -> Option<KeyId> {
        let begun = self.segments_begun;
        let keys = self.scopes.get_mut(&scope)?;
        if let Some(current) = &mut keys.current {
            return current.spend(usage, begun).then_some(current.id);
        }
        if !usage.fits(self.budgets.adopted) || keys.found.is_empty() {
            return None;
        }
        // Any of them: servers that start at once, or over and over, spread over what there is.
        let id = keys.found.swap_remove(self.dice.usize(..keys.found.len()));
        keys.current = Some(Current { id, spent: usage, budget: self.budgets.adopted, since: begun });
        Some(id)
    }

    /// A new key seals from now on, and so much already.
    pub(crate) fn made(&mut self, name: KeyName, usage: Usage) {
        let current = Current { id: name.id, spent: usage, budget: self.budgets.own, since: self.segments_begun };
        self.scopes.entry(name.scope()).or_default().current = Some(current);
    }

    /// A key seals nothing more: it was destroyed, or can't be had.
    pub(crate) fn forget(&mut self, name: KeyName) {
        let Some(keys) = self.scopes.get_mut(&name.scope()) else { return };
        keys.found.retain(|id| *id != name.id);
        keys.current = keys.current.filter(|current| current.id != name.id);
        if keys.found.is_empty() && keys.current.is_none() {
            self.scopes.remove(&name.scope());
        }
    }

    /// A segment was begun; every key may seal in it.
    pub(crate) fn segment_begun(&mut self) {
        self.segments_begun += 1;
    }
}

impl Current {
    fn spend(&mut self, usage: Usage, segments_begun: u64) -> bool {
        let spent = self.spent + usage;
        let fits = spent.fits(self.budget) && segments_begun - self.since < self.budget.segments;
        if fits {
            self.spent = spent;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::{KeyEpoch, OwnerId};

    const BUDGETS: Budgets = Budgets {
        own: Budget { frames: 100, blocks: 1000, segments: 10 },
        adopted: Budget { frames: 10, blocks: 100, segments: 2 },
    };

    #[test]
    fn a_key_that_was_made_here_seals_its_whole_budget_and_no_more() {
        let mut keys = KeyUse::new(BUDGETS, vec![], 7);
        assert_eq!(keys.choose(scope(), blocks(900)), None);
        keys.made(name(1), blocks(900));
        assert_eq!(keys.choose(scope(), blocks(101)), None);
        assert_eq!(keys.choose(scope(), blocks(100)), Some(KeyId(1)));
        assert_eq!(keys.choose(scope(), blocks(1)), None);
    }

    #[test]
    fn a_key_that_was_found_seals_a_little_and_is_not_taken_up_again() {
        let mut keys = KeyUse::new(BUDGETS, vec![name(1)], 7);
        assert_eq!(keys.choose(scope(), blocks(100)), Some(KeyId(1)));
        assert_eq!(keys.choose(scope(), blocks(1)), None);
        keys.made(name(2), blocks(1));
        assert_eq!(keys.choose(scope(), blocks(900)), Some(KeyId(2)));
    }

    #[test]
    fn what_is_too_much_for_a_found_key_gets_a_new_one_at_once() {
        let mut keys = KeyUse::new(BUDGETS, vec![name(1)], 7);
        assert_eq!(keys.choose(scope(), blocks(101)), None);
    }

    #[test]
    fn small_frames_use_a_key_up_by_their_number() {
        let mut keys = KeyUse::new(BUDGETS, vec![name(1)], 7);
        let sealed = (0..20).filter(|_| keys.choose(scope(), Usage { frames: 1, blocks: 1 }).is_some()).count();
        assert_eq!(sealed, 10);
    }

    #[test]
    fn segments_use_a_key_up_even_if_little_is_sealed() {
        let mut keys = KeyUse::new(BUDGETS, vec![], 7);
        keys.made(name(1), blocks(1));
        for _ in 0..9 {
            keys.segment_begun();
        }
        assert_eq!(keys.choose(scope(), blocks(1)), Some(KeyId(1)));
        keys.segment_begun();
        assert_eq!(keys.choose(scope(), blocks(1)), None);
        keys.made(name(2), blocks(1));
        assert_eq!(keys.choose(scope(), blocks(1)), Some(KeyId(2)));
    }

    #[test]
    fn a_forgotten_key_seals_nothing_more() {
        let mut keys = KeyUse::new(BUDGETS, vec![name(1), name(2)], 7);
        keys.forget(name(1));
        assert_eq!(keys.choose(scope(), blocks(1)), Some(KeyId(2)));
        keys.forget(name(2));
        assert_eq!(keys.choose(scope(), blocks(1)), None);
        assert!(keys.scopes.is_empty(), "what is gone takes no memory");
    }

    #[test]
    fn another_day_and_another_owner_have_other_keys() {
        let mut keys = KeyUse::new(BUDGETS, vec![name(1)], 7);
        let other_day = KeyScope { epoch: KeyEpoch(4), ..scope() };
        let other_owner = KeyScope { owner: OwnerId::from_u64(2), ..scope() };
        assert_eq!(keys.choose(other_day, blocks(1)), None);
        assert_eq!(keys.choose(other_owner, blocks(1)), None);
    }

    #[test]
    fn the_real_budgets_keep_far_from_the_bounds_of_aes_gcm() {
        let Budget { frames, blocks, segments } = Budgets::default().own;
        // (s + q)² / 2^129, the chance to tell sealed bytes from noise.
        let advantage = 2.0 * ((blocks + frames) as f64).log2() - 129.0;
        assert!(advantage < -64.0, "2^{advantage}");
        // n² / 2^65, the chance of two equal segment ids under one key.
        let collision = 2.0 * (segments as f64).log2() - 65.0;
        assert!(collision <= -33.0, "2^{collision}");
        assert!(frames < 1 << 32);
    }

    #[test]
    fn any_batch_fits_into_a_new_key() {
        let largest =
            Usage::of_frame(u32::try_from(limits::PAYLOAD_BYTES_MAX + limits::INDEX_BYTES_MAX + 100).unwrap());
        let full = Usage {
            frames: limits::BATCH_ENTRIES_MAX as u64,
            blocks: (limits::BATCH_BYTES_MAX + limits::BATCH_ENTRIES_MAX * limits::INDEX_BYTES_MAX) as u64,
        };
        assert!((largest + full).fits(Budgets::default().own));
    }

    proptest! {
        /// Whatever happens, no key seals more than its budget.
        #[test]
        fn no_key_seals_more_than_its_budget(uses in prop::collection::vec((1..30_u64, 1..150_u64, 0..3_u64), 1..200)) {
            let mut keys = KeyUse::new(BUDGETS, vec![name(1), name(2)], 7);
            let mut sealed: HashMap<KeyId, Usage> = HashMap::new();
            let mut next = 3;
            for (frames, blocks, segments) in uses {
                let usage = Usage { frames, blocks };
                let id = keys.choose(scope(), usage).unwrap_or_else(|| {
                    keys.made(name(next), usage);
                    next += 1;
                    KeyId(next - 1)
                });
                *sealed.entry(id).or_default() += usage;
                (0..segments).for_each(|_| keys.segment_begun());
            }
            for (id, usage) in sealed {
                let budget = if id.0 < 3 { BUDGETS.adopted } else { BUDGETS.own };
                prop_assert!(usage.fits(budget), "{id}: {usage:?}");
            }
        }
    }

    fn scope() -> KeyScope {
        name(0).scope()
    }

    fn name(id: u64) -> KeyName {
        KeyName { owner: OwnerId::from_u64(1), epoch: KeyEpoch(3), id: KeyId(id) }
    }

    fn blocks(blocks: u64) -> Usage {
        Usage { frames: 1, blocks }
    }
}
