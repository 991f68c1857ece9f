//! From the wish to the lock: one entry per Node, by compare-and-swap, against evidence that is younger than the record.

use std::collections::BTreeSet;

use super::{
    Act, Cycle, Disturbance, Failure, Input, LockView, LockWrite, Outcome, Reason, Report, Request, Stage,
    Timer, Waiting, is_retry, paused,
};
use crate::Reading;
use crate::hold::{self, Phase};
use crate::lock::{self, Entry, EntryId, Record};
use crate::node::NodeView;

impl Cycle {
    /// Waits for the lock, and tries at once if the sentinel has been seen.
    pub(super) fn wait(&mut self) -> Outcome {
        let acts = [Act::WatchLock(true)];
        if self.wanted == Some(true) {
            self.read_lock().after(acts)
        } else {
            self.rest(Stage::Waiting(Waiting::Resting), acts)
        }
    }

    fn read_lock(&mut self) -> Outcome {
        self.ask(Stage::Waiting(Waiting::ReadingLock), Request::ReadLock)
    }

    fn rest_until(&mut self, timer: Timer) -> Outcome {
        self.rest(Stage::Waiting(Waiting::Resting), [Act::Arm(timer)])
    }

    pub(super) fn waiting(&mut self, step: Waiting, input: Input) -> Outcome {
        match (step, input) {
            (Waiting::Resting, input) => self.resting(input),
            (Waiting::ReadingLock, Input::Lock(Ok(lock))) => self.consider(lock),
            (Waiting::ReadingPeers { lock, left, over }, Input::Peer(peer)) => {
                self.read_peer(lock, left, over, peer)
            }
            (Waiting::ListingHeld { lock, over }, Input::Held(Ok(nodes))) => self.listed(lock, &over, &nodes),
            (Waiting::Writing, Input::LockWritten(Ok(()))) => self.locked().reporting(Report::Locked),
            (Waiting::Writing, Input::LockWritten(Err(Failure::Conflict | Failure::NotFound))) => {
                self.rest_until(Timer::Turn)
            }
            (_, Input::Lock(Err(failure)) | Input::LockWritten(Err(failure))) => {
                self.retry(Stage::Waiting(Waiting::Resting), "acquire the lock", &failure)
            }
            (_, Input::Held(Err(failure))) => {
                self.retry(Stage::Waiting(Waiting::Resting), "read the other Nodes", &failure)
            }
            _ => Outcome::rest(),
        }
    }

    fn resting(&mut self, input: Input) -> Outcome {
        match input {
            Input::Sentinel(None) => self.undo(Reason::NoLongerWanted),
            Input::Sentinel(Some(_)) => self.read_lock(),
            Input::LockChanged => self.rest_until(Timer::Turn),
            Input::Seen(node) => self.look(&node).unwrap_or_else(Outcome::rest),
            Input::Due(Timer::Turn | Timer::Poll) if self.wanted == Some(true) => self.read_lock(),
            input if is_retry(&input) && self.wanted == Some(true) => self.read_lock(),
            _ => Outcome::rest(),
        }
    }

    /// Whether what the Node shows ends the wish.
    fn look(&mut self, node: &NodeView) -> Option<Outcome> {
        let Some(hold) = self.ours(node) else {
            return Some(self.undo(Reason::HoldLost));
        };
        // Somebody wrote another phase: it would keep a slot of the budget for ever, perhaps from ourselves.
        if hold.phase != Phase::Wanted {
            return Some(self.undo(Reason::Disturbed(Disturbance::Tampered)));
        }
        let reason = self
            .cancel(node)
            .map(Reason::Cancelled)
            .or_else(|| paused(node).map(Reason::Paused))?;
        Some(self.undo(reason))
    }

    fn consider(&mut self, lock: LockView) -> Outcome {
        let record = match &lock.record {
            Reading::Malformed(why) => {
                let said = self.say(Report::LockUnreadable(why.clone()));
                return self.rest_until(Timer::Poll).after(said);
            }
            Reading::Absent => &Record::default(),
            Reading::Present(record) => record,
        };
        // An acquire whose answer never came.
        if record.entry(&self.entry_id()).is_some() {
            return self.locked();
        }
        if let Some(word) = &lock.paused {
            let said = self.say(Report::Paused(word.clone()));
            return self.rest_until(Timer::Poll).after(said);
        }
        let left = record
            .entries
            .iter()
            .filter(|entry| entry.node != self.policy.node && lock::is_judged(entry, &lock.expired))
            .cloned()
            .collect();
        self.next_peer(lock, left, BTreeSet::new())
    }

    fn next_peer(&mut self, lock: LockView, left: Vec<Entry>, over: BTreeSet<EntryId>) -> Outcome {
        if let Some(entry) = left.last() {
            let peer = Request::ReadPeer(entry.node.clone());
            return self.ask(Stage::Waiting(Waiting::ReadingPeers { lock, left, over }), peer);
        }
        // Full by its entries alone: no need to list the Nodes.
        match self.acquired(&lock, &over, &BTreeSet::new()) {
            Ok(_) => self.ask(
                Stage::Waiting(Waiting::ListingHeld { lock, over }),
                Request::ListHeld,
            ),
            Err(holders) => self.lock_held(holders),
        }
    }

    fn read_peer(
        &mut self,
        lock: LockView,
        mut left: Vec<Entry>,
        mut over: BTreeSet<EntryId>,
        peer: Result<Option<NodeView>, Failure>,
    ) -> Outcome {
        let entry = left.pop();
        match peer {
            Ok(node) => {
                if let Some(entry) = entry.filter(|entry| lock::is_over(entry, &lock.expired, node.as_ref()))
                {
                    let _ = over.insert(entry.id());
                }
                self.next_peer(lock, left, over)
            }
            // An entry that names no Node there can be is no evidence; it fills its slot, and others may be free.
            Err(Failure::Refused(_)) => self.next_peer(lock, left, over),
            Err(failure) => self.retry(Stage::Waiting(Waiting::Resting), "read the other Nodes", &failure),
        }
    }

    fn listed(&mut self, lock: LockView, over: &BTreeSet<EntryId>, nodes: &[NodeView]) -> Outcome {
        let held = nodes
            .iter()
            .filter(|node| hold::is_held(&hold::read(node)))
            .map(|node| node.name().to_owned())
            .collect();
        match self.acquired(&lock, over, &held) {
            Ok(record) => {
                let write = LockWrite {
                    version: lock.version,
                    record,
                };
                self.ask(Stage::Waiting(Waiting::Writing), Request::WriteLock(write))
            }
            Err(holders) => self.lock_held(holders),
        }
    }

    fn acquired(
        &self,
        lock: &LockView,
        over: &BTreeSet<EntryId>,
        held: &BTreeSet<String>,
    ) -> Result<Record, BTreeSet<String>> {
        let unschedulable = self.seen.as_ref().is_some_and(|node| node.spec.unschedulable);
        let mine = Entry::new(&self.policy.node, self.created(), unschedulable);
        let record = lock.record.as_ref().present().cloned().unwrap_or_default();
        record.acquired(mine, self.policy.concurrency, over, held)
    }

    fn lock_held(&mut self, holders: BTreeSet<String>) -> Outcome {
        let said = self.say(Report::LockHeld(holders));
        self.rest_until(Timer::Poll).after(said)
    }

    fn locked(&mut self) -> Outcome {
        self.retries = 0;
        self.cordon().after([
            Act::WatchLock(false),
            Act::Disarm(Timer::Poll),
            Act::Disarm(Timer::Turn),
        ])
    }
}
