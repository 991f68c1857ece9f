//! From the wish to the lock, which is acquired by compare-and-swap.
//!
//! An entry of another node is dropped only on a read of that Node that is younger than the read of the lock.

use std::collections::{BTreeMap, BTreeSet};

use super::stage::{Stage, Survey, Waiting};
use super::{
    Act, Answer, Ask, Blocker, CallOff, Cycle, Disturbance, Event, Failure, PoolCount, Report, Step, Timer,
    is_retry,
};
use crate::Reading;
use crate::hold::{self, Phase};
use crate::lock::{self, Entry, EntryId, Record, Share};
use crate::node::NodeView;
use crate::quote::quoted;
use crate::reboot::blocker;
use crate::reboot::lock_object::{Carrier, LockView, LockWrite};

/// If there are more entries than this, one LIST looks them up, and only Nodes that it does not show are read one by one.
const PEERS_MAX: usize = 8;

impl Cycle {
    /// Waits for the window and the lock, and tries at once if the sentinel is known to ask for a reboot.
    pub(super) fn wait(&mut self) -> Step {
        let watch = [Act::WatchLock(self.outside.is_none())];
        if self.wanted == Some(true) {
            self.try_lock().after(watch)
        } else {
            self.rest(Stage::Waiting(Waiting::Resting), watch)
        }
    }

    /// Begins a round, unless no window is open: until one opens, which may be days away, nothing is asked of the API server.
    fn try_lock(&mut self) -> Step {
        let Some(outside) = self.outside.clone() else {
            return self.ask(Stage::Waiting(Waiting::ReadingLock), Ask::ReadLock);
        };
        self.stalled = false;
        self.blockers = vec![outside];
        let said = self.say(Report::Blocked(self.blockers.clone()));
        let acts = [Act::WatchLock(false)].into_iter().chain(no_pauses());
        self.rest(Stage::Waiting(Waiting::Resting), acts).after(said)
    }

    pub(super) fn rest_until(&mut self, timer: Timer) -> Step {
        self.rest(Stage::Waiting(Waiting::Resting), [Act::Arm(timer)])
    }

    pub(super) fn waiting(&mut self, step: Waiting, answer: Answer) -> Step {
        match (step, answer) {
            (Waiting::ReadingLock, Answer::Lock(Ok(lock))) => self.consider(lock),
            (Waiting::ListingPeers { survey, left }, Answer::Held(Ok(nodes))) => {
                self.listed_peers(survey, left, &nodes)
            }
            (Waiting::ReadingPeers { survey, left }, Answer::Peer(peer)) => {
                self.read_peer(survey, left, peer)
            }
            (Waiting::CountingPool(survey), Answer::Pool(Ok(pool))) => self.counted(survey, &pool),
            (Waiting::ListingHeld(survey), Answer::Held(Ok(nodes))) => self.listed(survey, &nodes),
            (Waiting::ListingBlockers { survey, held }, Answer::Blockers(Ok(blockers))) => {
                self.unless_blocked(&survey, &held, blockers)
            }
            (_, Answer::Blockers(Err(failure))) => self.retry(
                Stage::Waiting(Waiting::Resting),
                "ask what postpones the reboot",
                &failure,
            ),
            (Waiting::Writing, Answer::LockWritten(Ok(()))) => {
                self.serve_request();
                self.locked().reporting(Report::Locked)
            }
            // Somebody else was faster. Everything is read again, the Nodes too: what was known of them is now older than the lock.
            (
                Waiting::Writing | Waiting::Noting,
                Answer::LockWritten(Err(Failure::Conflict | Failure::NotFound)),
            )
            | (Waiting::Noting, Answer::LockWritten(Ok(()))) => self.rest_until(Timer::Turn),
            (_, Answer::Lock(Err(failure)) | Answer::LockWritten(Err(failure))) => {
                self.retry(Stage::Waiting(Waiting::Resting), "acquire the lock", &failure)
            }
            (_, Answer::Held(Err(failure)) | Answer::Pool(Err(failure))) => {
                self.retry(Stage::Waiting(Waiting::Resting), "read the other Nodes", &failure)
            }
            (_, answer) => self.unexpected(&answer),
        }
    }

    /// While the wish waits for the lock.
    pub(super) fn resting(&mut self, event: Event) -> Step {
        match event {
            Event::Sentinel(None) => self.undo(CallOff::NoLongerWanted),
            Event::Sentinel(Some(_)) => self.try_lock(),
            // Begins or ends the watch of the lock too.
            Event::Window(_) => self.wait(),
            // Every waiter that watches hears of it at once. The pause is shorter the older the wish, so that the oldest tries first.
            Event::LockChanged => self.rest_until(Timer::Turn),
            Event::Seen(node) => match self.ends_wish(&node) {
                Some(step) => step,
                None if self.is_let_go(&node) => self.rest_until(Timer::Turn),
                None => Step::rest(),
            },
            // Before the first look at the sentinel, a process that was started anew does not know whether the wish still stands.
            Event::Due(Timer::Turn | Timer::Poll) if self.wanted == Some(true) => self.try_lock(),
            Event::Due(Timer::Stall) if self.wanted == Some(true) => {
                self.stalled = true;
                self.try_lock()
            }
            event if is_retry(&event) && self.wanted == Some(true) => self.try_lock(),
            _ => Step::rest(),
        }
    }

    /// Ends the wish if the Node shows a reason.
    fn ends_wish(&mut self, node: &NodeView) -> Option<Step> {
        if self.ours(node).is_none() {
            return Some(self.undo(CallOff::HoldLost));
        }
        // Somebody has written over the wish, or a cordon of the earlier process has landed late.
        // A phase beyond `wanted` fills a slot without an entry: two such nodes would wait for each other for ever.
        let is_wish = self.hold.as_ref().is_some_and(|hold| hold.phase == Phase::Wanted);
        if !is_wish || !self.is_ours_alone(node) {
            return Some(self.undo(CallOff::Disturbed(Disturbance::Tampered)));
        }
        let why = self.cancel(node)?;
        Some(self.undo(CallOff::Cancelled(why)))
    }

    /// Whether a person has ended the pause that postponed the reboot.
    fn is_let_go(&mut self, node: &NodeView) -> bool {
        let is_pause = |blocker: &Blocker| matches!(blocker, Blocker::NodePaused(_));
        let is_let_go = self.blockers.iter().any(is_pause) && blocker::paused(node).is_none();
        if is_let_go {
            self.blockers.clear();
        }
        is_let_go
    }

    /// Begins a round: decides which entries of this record have to be looked up.
    fn consider(&mut self, lock: LockView) -> Step {
        let record = match &lock.record {
            // What cannot be read counts as full: it may hold any number of entries.
            Reading::Malformed(why) => {
                let said = self.say(Report::LockUnreadable(why.clone()));
                return self.rest_until(Timer::Poll).after(said);
            }
            Reading::Absent => &Record::default(),
            Reading::Present(record) => record,
        };
        // Our acquire has landed although its answer was lost.
        let acquired = record.entry(&self.entry_id());
        if let Some(entry) = acquired.filter(|entry| self.has_acquired(entry, &lock)) {
            self.serve(Some(entry));
            return self.locked();
        }
        if let Some(step) = self.unless_used() {
            return step;
        }
        // Those that a look at their Node can end. None of our own node: an old entry of ours is replaced, and one of kured's is in
        // the way.
        let left: Vec<Entry> = record
            .entries
            .iter()
            .filter(|entry| entry.node != self.settings.node && lock::is_judged(entry, &lock.expired))
            .cloned()
            .collect();
        let survey = Survey {
            lock,
            over: BTreeSet::new(),
            summaries: BTreeMap::new(),
        };
        if left.len() > PEERS_MAX {
            return self.ask(
                Stage::Waiting(Waiting::ListingPeers { survey, left }),
                Ask::ListHeld,
            );
        }
        self.next_peer(survey, left)
    }

    /// Whether our write has put this entry there, and what the entry says of the cordon is still true.
    ///
    /// An entry without the proof of that write is acquired again, which replaces it. Only on a lock that stock kured shares may
    /// the proof be missing: kured drops it whenever it writes the list.
    fn has_acquired(&self, entry: &Entry, lock: &LockView) -> bool {
        let Some((write, was)) = &self.acquired else {
            return false;
        };
        let is_shared = lock.carrier == Carrier::DaemonSet;
        let is_proven = entry.write.as_ref() == Some(write) || (is_shared && entry.write.is_none());
        let cordon = self.seen.as_ref().map(|node| node.spec.unschedulable);
        is_proven && entry.metadata.unschedulable == *was && cordon == Some(*was)
    }

    /// Takes the list of held Nodes. Entries that it shows to be live need no further look.
    fn listed_peers(&mut self, mut survey: Survey, mut left: Vec<Entry>, nodes: &[NodeView]) -> Step {
        // What the list does not show may be over, and only a read of that very Node is evidence.
        left.retain(|entry| {
            let node = nodes.iter().find(|node| node.name() == entry.node);
            let shown = node.filter(|node| !lock::is_over(entry, &survey.lock.expired, Some(node)));
            if let Some(node) = shown.filter(|_| self.stalled) {
                drop(survey.summaries.insert(entry.node.clone(), node.summary()));
            }
            shown.is_none()
        });
        self.next_peer(survey, left)
    }

    /// Reads the next Node whose entry may be over; after the last, counts whether there is a slot for us.
    fn next_peer(&mut self, survey: Survey, left: Vec<Entry>) -> Step {
        if let Some(entry) = left.last() {
            let peer = Ask::ReadPeer(entry.node.clone());
            return self.ask(Stage::Waiting(Waiting::ReadingPeers { survey, left }), peer);
        }
        // If the entries alone fill the lock, the Nodes need not be listed.
        match self.acquire(&survey.lock, &survey.over, &BTreeSet::new()) {
            Ok(_) if self.counts_pool() => {
                self.ask(Stage::Waiting(Waiting::CountingPool(survey)), Ask::CountPool)
            }
            // A held Node fills a slot even if somebody has removed its entry.
            Ok(_) => self.ask(Stage::Waiting(Waiting::ListingHeld(survey)), Ask::ListHeld),
            Err(holders) => self.lock_held(&survey, &holders),
        }
    }

    fn read_peer(
        &mut self,
        mut survey: Survey,
        mut left: Vec<Entry>,
        peer: Result<Option<NodeView>, Failure>,
    ) -> Step {
        let entry = left.pop();
        match peer {
            Ok(node) => {
                if let Some(entry) = entry {
                    if lock::is_over(&entry, &survey.lock.expired, node.as_ref()) {
                        let _ = survey.over.insert(entry.id());
                    } else if let Some(node) = node.filter(|_| self.stalled) {
                        drop(survey.summaries.insert(entry.node, node.summary()));
                    }
                }
                self.next_peer(survey, left)
            }
            // The API server refuses the name: no Node can be called that. This is no evidence that the entry is over, so it keeps
            // its slot, and there may be others.
            Err(Failure::Refused(_)) => self.next_peer(survey, left),
            Err(failure) => self.retry(Stage::Waiting(Waiting::Resting), "read the other Nodes", &failure),
        }
    }

    /// Whether the pool must be counted to know how many may reboot at once.
    fn counts_pool(&self) -> bool {
        matches!(self.settings.concurrency, Share::Percent(_))
    }

    fn counted(&mut self, survey: Survey, pool: &PoolCount) -> Step {
        self.pool_size = Some(pool.size);
        match self.acquire(&survey.lock, &survey.over, &BTreeSet::new()) {
            Ok(_) => self.ask(Stage::Waiting(Waiting::ListingHeld(survey)), Ask::ListHeld),
            Err(holders) => self.lock_held(&survey, &holders),
        }
    }

    fn listed(&mut self, survey: Survey, nodes: &[NodeView]) -> Step {
        let held = nodes
            .iter()
            .filter(|node| hold::is_held(&hold::read(node)))
            .map(|node| node.name().to_owned())
            .collect();
        match self.acquire(&survey.lock, &survey.over, &held) {
            Ok(_) => {
                let listing = Stage::Waiting(Waiting::ListingBlockers { survey, held });
                self.ask(listing, Ask::ListBlockers)
            }
            Err(holders) => self.lock_held(&survey, &holders),
        }
    }

    /// Takes the lock, unless something postpones the reboot.
    fn unless_blocked(&mut self, survey: &Survey, held: &BTreeSet<String>, blockers: Vec<Blocker>) -> Step {
        self.blockers.clone_from(&blockers);
        if !blockers.is_empty() {
            let said = self.say(Report::Blocked(blockers));
            return self.rest_until(Timer::Poll).after(said);
        }
        if let Some(record) = self.without_ended(survey) {
            let write = survey.write(record, true);
            return self.ask(Stage::Waiting(Waiting::Noting), Ask::WriteLock(write));
        }
        let mut said = Vec::new();
        if let Some(step) = self.unless_unusable(&survey.lock, &mut said) {
            return step;
        }
        let record = match self.acquire(&survey.lock, &survey.over, held) {
            Ok(record) => record,
            Err(holders) => return self.lock_held(survey, &holders),
        };
        // The entry is to say what the cordon was. After a gap the watch has yet to show it.
        let Some(was) = self.seen.as_ref().map(|node| node.spec.unschedulable) else {
            return self.rest_until(Timer::Poll);
        };
        self.acquired = self.chance.clone().map(|write| (write, was));
        let write = LockWrite {
            uses: self.uses(&survey.lock, true),
            ..survey.write(record, false)
        };
        self.ask(Stage::Waiting(Waiting::Writing), Ask::WriteLock(write))
            .after(said)
    }

    /// With `--min-interval`: the record without the entries of reboots that are over, if there are any whose end nobody has noted. Their
    /// own agent has yet to release them, or is gone. The interval is then counted from now, which is later than they ended.
    fn without_ended(&self, survey: &Survey) -> Option<Record> {
        let record = survey.lock.record.as_ref().present()?;
        let is_ended = |entry: &Entry| survey.over.contains(&entry.id()) && entry.is_unnoted();
        let has_ended = self.settings.keeps_interval && record.entries.iter().any(is_ended);
        has_ended.then(|| record.without(&survey.over))
    }

    /// The record with our entry, or the nodes that are in the way.
    fn acquire(
        &self,
        lock: &LockView,
        over: &BTreeSet<EntryId>,
        held: &BTreeSet<String>,
    ) -> Result<Record, BTreeSet<String>> {
        let node = self.seen.as_ref();
        let unschedulable = node.is_some_and(|node| node.spec.unschedulable);
        let mine = self.hold.as_ref();
        let uid = mine.map_or("", |hold| &hold.holder.node_uid);
        let attempts = mine.map_or(0, |hold| hold.attempts);
        let mine = Entry::new(&self.settings.node, uid, self.created(), unschedulable);
        let mine = self.naming_request(mine);
        let mine = match self.chance.clone() {
            Some(write) => mine.acquired_in(&self.boot, attempts, write),
            None => mine,
        };
        let record = lock.record.as_ref().present().cloned().unwrap_or_default();
        record.acquired(mine, self.concurrency(), over, held)
    }

    /// Whether the entries of this lock alone leave no slot for us, so that a round would be in vain unless one of them is over.
    pub fn is_full(&self, lock: &LockView) -> bool {
        self.acquire(lock, &BTreeSet::new(), &BTreeSet::new()).is_err()
    }

    /// How many nodes may be in a reboot at once, as far as the pool has been counted.
    fn concurrency(&self) -> usize {
        match (self.settings.concurrency, self.pool_size) {
            // There is room until the pool is counted, so that a lock that is full anyway costs no count.
            (Share::Percent(_), None) => usize::MAX,
            (share, size) => share.at_least_one_of(size.unwrap_or_default()),
        }
    }

    /// Waits for a lock that these nodes fill.
    fn lock_held(&mut self, survey: &Survey, holders: &BTreeSet<String>) -> Step {
        let is_stalled = std::mem::take(&mut self.stalled);
        let mut said = self.say(Report::LockHeld(holders.clone()));
        // Other holders begin the wait for a stall anew.
        if !said.is_empty() {
            said.insert(0, Act::Arm(Timer::Stall));
        } else if is_stalled {
            let holders = holders.iter().map(|node| described(node, survey)).collect();
            said.extend([Act::Report(Report::LockStalled(holders)), Act::Arm(Timer::Stall)]);
        }
        self.rest_until(Timer::Poll).after(said)
    }

    /// The lock is ours: cordons the node.
    fn locked(&mut self) -> Step {
        self.retries = 0;
        self.stalled = false;
        self.cordon()
            .after([Act::WatchLock(false)].into_iter().chain(no_pauses()))
    }
}

/// The end of the pauses of a waiter.
fn no_pauses() -> [Act; 3] {
    [Timer::Poll, Timer::Turn, Timer::Stall].map(Act::Disarm)
}

/// A holder in words: since when it holds the lock, and how its Node looks.
fn described(node: &str, survey: &Survey) -> String {
    let record = survey.lock.record.as_ref().present();
    let entry = record.and_then(|record| record.entries.iter().find(|entry| entry.node == *node));
    let summary = survey.summaries.get(node).map(String::as_str);
    let (node, created) = (quoted(node), entry.map(|entry| quoted(&entry.created)));
    match (entry, created, summary) {
        (Some(entry), ..) if entry.is_by_hand() => format!("{node}: the lock was taken by hand"),
        (_, Some(created), Some(summary)) => format!("{node} since {created}: its Node is {summary}"),
        (_, Some(created), None) => format!("{node} since {created}: its entry is kured's, or names no Node"),
        (_, None, _) => format!("{node}: its Node is held, and the lock has no entry for it"),
    }
}
