//! Tells the sender what the spool holds, during one connection.
//!
//! What is being captured is told at once, and followed as it grows. Of the backlog the sender is told
//! a little at a time, oldest first, so that a week offline costs disk and no memory. Pure bookkeeping
//! over the spool's index.
//!
//! The sender is asked for its next action only through [`Feed::poll_action`], which tells it the news
//! first. So whatever makes the sender want more of the backlog, an ack or a fragment that was begun, it
//! has it at once, and the backlog never waits for a camera to give something.

use std::collections::HashMap;
use std::time::Duration;

use spool::{Entry, Spool};
use upload::{Action, FragmentKey, Priority, Sender};

/// What the sender has been told.
#[derive(Debug)]
pub struct Feed {
    /// By ordinal, so that what has left the spool can still be named.
    told: HashMap<u64, FragmentKey>,
    /// The last fragment of the backlog that was told.
    backlog: Option<u64>,
    /// Fragments from here on begin during this connection: they are live.
    horizon: u64,
}

impl Feed {
    /// Starts with the spool as it is: what is unfinished is live, the rest is backlog.
    pub fn new(spool: &Spool, sender: &mut Sender) -> Self {
        // What follows covers everything up to now.
        spool.take_changes();
        let mut feed = Self { told: HashMap::new(), backlog: None, horizon: spool.next_ordinal() };
        let mut after = None;
        while let Some((ordinal, entry)) = spool.next(after) {
            if entry.trailer.is_none() {
                feed.tell(sender, ordinal, &entry, Priority::Live);
            }
            after = Some(ordinal);
        }
        feed.top_up(spool, sender);
        feed
    }

    /// What to do now, by all that the spool holds now. Call until `None` after each change.
    pub fn poll_action(&mut self, spool: &Spool, sender: &mut Sender, now: Duration) -> Option<Action> {
        self.update(spool, sender);
        sender.poll_action(now)
    }

    /// Tells what has changed, and more of the backlog if there is room.
    fn update(&mut self, spool: &Spool, sender: &mut Sender) {
        for ordinal in spool.take_changes() {
            match spool.entry(ordinal) {
                Some(entry) if self.told.contains_key(&ordinal) => follow(sender, &entry),
                Some(entry) if ordinal >= self.horizon => self.tell(sender, ordinal, &entry, Priority::Live),
                Some(_) => {}
                None => {
                    if let Some(key) = self.told.remove(&ordinal) {
                        sender.removed(&key);
                    }
                }
            }
        }
        self.top_up(spool, sender);
    }

    /// A fragment was repaired: what the sender knew of it is wrong.
    pub fn again(&mut self, spool: &Spool, sender: &mut Sender, key: &FragmentKey) {
        sender.removed(key);
        let Some(ordinal) = self.told.iter().find(|(_, told)| *told == key).map(|(&ordinal, _)| ordinal) else {
            return;
        };
        self.told.remove(&ordinal);
        if let Some(entry) = spool.entry(ordinal) {
            self.tell(sender, ordinal, &entry, Priority::Backlog);
        }
    }

    fn top_up(&mut self, spool: &Spool, sender: &mut Sender) {
        let mut wanted = sender.backlog_wanted();
        while wanted > 0 {
            let Some((ordinal, entry)) = spool.next(self.backlog).filter(|&(ordinal, _)| ordinal < self.horizon) else {
                return;
            };
            self.backlog = Some(ordinal);
            if entry.trailer.is_some() && !self.told.contains_key(&ordinal) {
                self.tell(sender, ordinal, &entry, Priority::Backlog);
                wanted -= 1;
            }
        }
    }

    fn tell(&mut self, sender: &mut Sender, ordinal: u64, entry: &Entry, priority: Priority) {
        self.told.insert(ordinal, entry.key.clone());
        sender.opened(entry.key.clone(), priority);
        follow(sender, entry);
    }
}

fn follow(sender: &mut Sender, entry: &Entry) {
    match entry.trailer {
        Some(trailer) => sender.finished(&entry.key, trailer),
        None => sender.grew(&entry.key, entry.bytes),
    }
}

#[cfg(test)]
mod tests;
