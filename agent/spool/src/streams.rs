//! How much of what is in the spool belongs to which stream: pure bookkeeping beside the index.
//!
//! A week of recordings that are not to be sent must not hide the few fragments that are. So each stream has its sums, and a
//! place before which nothing of it lies; that place is moved on when somebody has looked.

use std::collections::HashMap;

use fragment::StreamName;

/// So many fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Amount {
    /// How many.
    pub fragments: u64,
    /// The size of their files.
    pub bytes: u64,
}

/// The streams that have something in the spool.
#[derive(Debug, Default)]
pub(crate) struct Streams(HashMap<StreamName, Share>);

#[derive(Debug)]
struct Share {
    amount: Amount,
    /// No fragment of the stream lies before this place.
    from: u64,
}

impl Streams {
    /// A fragment has come.
    pub(crate) fn add(&mut self, stream: &StreamName, ordinal: u64, file_bytes: u64) {
        let share = self.0.entry(stream.clone()).or_insert(Share { amount: Amount::default(), from: ordinal });
        share.amount.fragments += 1;
        share.amount.bytes += file_bytes;
        share.from = share.from.min(ordinal);
    }

    /// The file of a fragment has another size than before.
    pub(crate) fn resize(&mut self, stream: &StreamName, before: u64, now: u64) {
        if let Some(share) = self.0.get_mut(stream) {
            share.amount.bytes = share.amount.bytes - before + now;
        }
    }

    /// A fragment has left.
    pub(crate) fn take(&mut self, stream: &StreamName, file_bytes: u64) {
        let Some(share) = self.0.get_mut(stream) else { return };
        share.amount.fragments -= 1;
        share.amount.bytes -= file_bytes;
        if share.amount.fragments == 0 {
            self.0.remove(stream);
        }
    }

    /// What these streams have together.
    pub(crate) fn amount(&self, of: &dyn Fn(&StreamName) -> bool) -> Amount {
        let shares = self.0.iter().filter(|(stream, _)| of(stream)).map(|(_, share)| share.amount);
        shares.fold(Amount::default(), |sum, share| Amount {
            fragments: sum.fragments + share.fragments,
            bytes: sum.bytes + share.bytes,
        })
    }

    /// A place before which none of these streams has anything; `None` if they have nothing at all.
    pub(crate) fn from(&self, of: &dyn Fn(&StreamName) -> bool) -> Option<u64> {
        self.0.iter().filter(|(stream, _)| of(stream)).map(|(_, share)| share.from).min()
    }

    /// Somebody has looked: none of these streams has anything before this place.
    pub(crate) fn pass(&mut self, of: &dyn Fn(&StreamName) -> bool, ordinal: u64) {
        let passed = self.0.iter_mut().filter(|(stream, _)| of(stream));
        passed.for_each(|(_, share)| share.from = share.from.max(ordinal));
    }
}
