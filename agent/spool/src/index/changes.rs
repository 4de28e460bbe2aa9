//! Places at which something has changed, as ranges: those of a week off-line are one.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Ordinals of fragments, each once and in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The first of a range, and the last. Between two ranges is a gap.
    ranges: BTreeMap<u64, u64>,
}

impl Changes {
    pub(super) fn insert(&mut self, ordinal: u64) {
        let before = self.ranges.range(..=ordinal).next_back().map(|(&first, &last)| (first, last));
        let first = match before {
            Some((_, last)) if ordinal <= last => return,
            Some((first, last)) if ordinal == last + 1 => first,
            _ => ordinal,
        };
        let last = ordinal.checked_add(1).and_then(|next| self.ranges.remove(&next)).unwrap_or(ordinal);
        self.ranges.insert(first, last);
    }

    /// How many ranges it takes.
    #[cfg(test)]
    pub(super) fn ranges(&self) -> usize {
        self.ranges.len()
    }
}

impl IntoIterator for Changes {
    type Item = u64;
    type IntoIter = std::iter::FlatMap<
        std::collections::btree_map::IntoIter<u64, u64>,
        RangeInclusive<u64>,
        fn((u64, u64)) -> RangeInclusive<u64>,
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.ranges.into_iter().flat_map(|(first, last)| first..=last)
    }
}
