//! Tells the sender what the spool holds and may be sent now, during one connection.
//!
//! What is being captured is told at once, and followed as it grows. Of the backlog the sender is told
//! a little at a time, oldest first, so that a week offline costs disk and no memory. Pure bookkeeping
//! over the spool's index and the [`Plan`]; when a fragment began, which only its file says, is asked for.
//!
//! The sender is asked for its next action only through [`Feed::poll_action`], which tells it the news
//! first. So whatever makes the sender want more of the backlog, an ack or a fragment that was begun, it
//! has it at once, and the backlog never waits for a camera to give something. It is also where a fragment is held back
//! that has become backlog, however that came, at an hour without backlog.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use fragment::{StreamName, WallTime};
use spool::{Entry, Spool};
use upload::{Action, FragmentKey, Priority, Sender};

use crate::limits;
use crate::plan::Plan;

/// What the sender has been told.
#[derive(Debug)]
pub struct Feed {
    /// By ordinal, so that what has left the spool can still be named.
    told: HashMap<u64, Told>,
    /// The last fragment of the backlog that was looked at.
    backlog: Option<u64>,
    /// The last fragment that was compared with what is wanted.
    wanted: Option<u64>,
    /// Whether all that the spool holds has been.
    compared: bool,
    /// What was told and still captured when it was: whether it is wanted depends on where it ends.
    straddling: HashSet<u64>,
    /// Whether the last look ended before it was through.
    is_halfway: bool,
    /// Fragments from here on begin during this connection: they are live.
    horizon: u64,
}

#[derive(Debug)]
struct Told {
    key: FragmentKey,
    /// It may be sent at any hour.
    wanted: bool,
    /// It was told while it was captured, and goes to its end.
    live: bool,
}

/// When the fragments in the spool began; `None` for one that can't be read.
pub type Starts<'a> = dyn FnMut(&FragmentKey) -> Option<WallTime> + 'a;

impl Feed {
    /// Starts with the spool as it is: what is unfinished is live, the rest is backlog.
    pub fn new(spool: &Spool, sender: &mut Sender, plan: &Plan) -> Self {
        // What follows covers everything up to now.
        spool.take_changes();
        let horizon = spool.next_ordinal();
        let mut feed = Self {
            told: HashMap::new(),
            backlog: None,
            wanted: None,
            compared: false,
            straddling: HashSet::new(),
            is_halfway: false,
            horizon,
        };
        for (ordinal, entry) in spool.growing() {
            if plan.is_live(&entry.key.stream) {
                feed.tell(sender, ordinal, &entry, Priority::Live, false);
            }
        }
        feed
    }

    /// What to do now, by all that the spool holds now. Call until `None` after each change.
    pub fn poll_action(
        &mut self,
        spool: &Spool,
        sender: &mut Sender,
        plan: &mut Plan,
        starts: &mut Starts<'_>,
        now: Duration,
    ) -> Option<Action> {
        self.update(spool, sender, plan, starts);
        loop {
            let action = sender.poll_action(now)?;
            if let Action::Open { key, priority: Priority::Backlog } = &action
                && !plan.may_go(key)
                && let Some((&ordinal, told)) = self.told.iter().find(|(_, told)| told.key == *key)
                && !told.wanted
            {
                self.told.remove(&ordinal);
                sender.removed(key);
                continue;
            }
            return Some(action);
        }
    }

    /// Other fragments may be sent than before: what is under way and may not is taken back, and the spool is looked
    /// through again.
    pub fn turn(&mut self, sender: &mut Sender, plan: &mut Plan) {
        self.told.retain(|_, told| {
            let stays = told.wanted || told.live && plan.is_live(&told.key.stream) || plan.may_go(&told.key);
            stays || !sender.withdraw(&told.key)
        });
        self.backlog = None;
        self.wanted = None;
        self.compared = false;
        self.straddling.clear();
    }

    /// Whether there is more to look through.
    pub fn is_behind(&self, plan: &Plan) -> bool {
        self.is_halfway || plan.wants() && !self.compared
    }

    /// Whether the last look passed over as much as one may, and found no end.
    pub fn is_halfway(&self) -> bool {
        self.is_halfway
    }

    /// Whether all that was wanted of this stream, and is in the spool, has been sent.
    pub fn is_done(&self, stream: &StreamName) -> bool {
        let of_it = |told: &Told| told.key.stream == *stream;
        let straddles = self.straddling.iter().filter_map(|ordinal| self.told.get(ordinal)).any(of_it);
        self.compared && !straddles && !self.told.values().any(|told| told.wanted && of_it(told))
    }

    /// Tells what has changed, and more of the backlog if there is room.
    fn update(&mut self, spool: &Spool, sender: &mut Sender, plan: &mut Plan, starts: &mut Starts<'_>) {
        for ordinal in spool.take_changes() {
            match spool.entry(ordinal) {
                Some(entry) if self.told.contains_key(&ordinal) => {
                    follow(sender, &entry);
                    if entry.trailer.is_some() && self.straddling.remove(&ordinal) {
                        self.compare(ordinal, &entry, plan, starts);
                    }
                }
                Some(entry) if ordinal >= self.horizon && plan.is_live(&entry.key.stream) => {
                    self.tell(sender, ordinal, &entry, Priority::Live, false);
                }
                // What only is recorded is found behind the last one that was looked at, once it is whole.
                Some(entry) => self.compared &= entry.trailer.is_none(),
                None => {
                    self.straddling.remove(&ordinal);
                    if let Some(told) = self.told.remove(&ordinal) {
                        sender.removed(&told.key);
                    }
                }
            }
        }
        self.is_halfway = false;
        if plan.wants() {
            self.look_for_wanted(spool, sender, plan, starts);
        }
        self.top_up(spool, sender, plan);
    }

    /// A fragment was repaired: what the sender knew of it is wrong.
    pub fn again(&mut self, spool: &Spool, sender: &mut Sender, key: &FragmentKey) {
        sender.removed(key);
        let Some((&ordinal, told)) = self.told.iter().find(|(_, told)| told.key == *key) else {
            return;
        };
        let wanted = told.wanted;
        self.told.remove(&ordinal);
        if let Some(entry) = spool.entry(ordinal) {
            self.tell(sender, ordinal, &entry, Priority::Backlog, wanted);
        }
    }

    /// Tells what is wanted first. Ends at the first fragment that is still captured and may be wanted.
    fn look_for_wanted(&mut self, spool: &Spool, sender: &mut Sender, plan: &Plan, starts: &mut Starts<'_>) {
        let mut room = sender.backlog_wanted();
        let (mut looks, mut steps) = (limits::STARTS_READ_MAX, limits::STEPS_MAX);
        while room > 0 {
            if looks == 0 || steps == 0 {
                self.is_halfway = true;
                return;
            }
            steps -= 1;
            let Some((ordinal, entry)) = spool.next(self.wanted) else {
                self.compared = true;
                return;
            };
            let stream = &entry.key.stream;
            if plan.wants_of(stream) {
                looks -= 1;
                let start = starts(&entry.key);
                let duration = entry.trailer.map_or(Duration::ZERO, |trailer| trailer.duration);
                let wanted = start.is_some_and(|start| plan.wants_at(stream, start, duration));
                match self.told.get_mut(&ordinal) {
                    Some(told) => {
                        told.wanted |= wanted;
                        let may_be = start.is_some_and(|start| plan.wants_behind(stream, start));
                        if entry.trailer.is_none() && !wanted && may_be {
                            self.straddling.insert(ordinal);
                        }
                    }
                    None if entry.trailer.is_none() && start.is_some_and(|start| plan.wants_behind(stream, start)) => {
                        return;
                    }
                    None if wanted && entry.trailer.is_some() => {
                        self.tell(sender, ordinal, &entry, Priority::Backlog, true);
                        room -= 1;
                    }
                    None => {}
                }
            }
            self.wanted = Some(ordinal);
        }
    }

    /// What was told while it was captured is whole now.
    fn compare(&mut self, ordinal: u64, entry: &Entry, plan: &Plan, starts: &mut Starts<'_>) {
        let (start, duration) = (starts(&entry.key), entry.trailer.map_or(Duration::ZERO, |trailer| trailer.duration));
        if let Some(told) = self.told.get_mut(&ordinal) {
            told.wanted |= start.is_some_and(|start| plan.wants_at(&entry.key.stream, start, duration));
        }
    }

    /// Ends at the first fragment that is still captured and not sent meanwhile, so that it is found when it is whole.
    fn top_up(&mut self, spool: &Spool, sender: &mut Sender, plan: &mut Plan) {
        let (mut room, mut steps) = (sender.backlog_wanted(), limits::STEPS_MAX);
        while room > 0 {
            if steps == 0 {
                self.is_halfway = true;
                return;
            }
            steps -= 1;
            let Some((ordinal, entry)) = spool.next(self.backlog) else {
                return;
            };
            let told = self.told.contains_key(&ordinal);
            if entry.trailer.is_none() && !told {
                return;
            }
            self.backlog = Some(ordinal);
            if !told && plan.may_go(&entry.key) {
                self.tell(sender, ordinal, &entry, Priority::Backlog, false);
                room -= 1;
            }
        }
    }

    fn tell(&mut self, sender: &mut Sender, ordinal: u64, entry: &Entry, priority: Priority, wanted: bool) {
        self.told.insert(ordinal, Told { key: entry.key.clone(), wanted, live: priority == Priority::Live });
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
