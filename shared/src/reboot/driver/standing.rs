//! What a node stands at, for gauges: what postpones its reboot, since when it waits for the lock and for whom, and how many pods are
//! left to drain.
//!
//! It is learned from what passes through the driver, so the cycle keeps nothing for it, and nothing is decided by it.
//! Not here: how it is shown (the agent).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::Reading;
use crate::reboot::blocker::Blocker;
use crate::reboot::cycle::{Course, Report};
use crate::reboot::lock_object::LockView;

/// What a node stands at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The kinds of what postpones the reboot now, of [`Blocker::KINDS`].
    pub blocked_by: BTreeSet<&'static str>,
    /// The wait for the lock; `None` while the node does not wait for it.
    pub lock_wait: Option<LockWait>,
    /// How many pods must leave and have not left; `None` while no drain runs.
    pub pods_left: Option<usize>,
}

/// A wait for the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockWait {
    /// When this process first found the lock full, or could not read it.
    pub since: Timestamp,
    /// Since when the oldest of the holders has its place. `None` if the lock does not say.
    pub oldest: Option<Timestamp>,
}

/// What is known of a node's waits.
#[derive(Debug, Default)]
pub(super) struct Waits {
    blocked_by: BTreeSet<&'static str>,
    /// Since when the lock is waited for.
    lock: Option<Timestamp>,
    /// Since when each node has its place in the lock, as last read or shown.
    holders: BTreeMap<String, Timestamp>,
}

impl Waits {
    /// Learns from what the cycle reports.
    pub(super) fn note(&mut self, report: &Report, wall: Timestamp) {
        if let Report::Blocked(blockers) = report {
            self.blocked(blockers);
            self.lock = None;
        } else if matches!(report, Report::LockHeld(_) | Report::LockUnreadable(_)) {
            self.wait_for_lock(wall);
        } else if report.course() == Course::Step {
            // Every step ends every wait.
            self.blocked_by.clear();
            self.lock = None;
        }
    }

    /// Learns what postpones the reboot, which is asked far more often than it is reported.
    pub(super) fn blocked(&mut self, blockers: &[Blocker]) {
        self.blocked_by = blockers.iter().map(Blocker::kind).collect();
    }

    /// Learns from the lock since when each node has its place.
    pub(super) fn learn(&mut self, lock: &LockView) {
        let entries = match &lock.record {
            Reading::Present(record) => record.entries.as_slice(),
            Reading::Absent | Reading::Malformed(_) => &[],
        };
        let known = entries
            .iter()
            .filter_map(|entry| Some((entry.node.clone(), entry.began()?)));
        self.holders = known.collect();
    }

    /// The node waits for the lock. While the lock is full, nothing else is asked.
    fn wait_for_lock(&mut self, wall: Timestamp) {
        self.blocked_by.clear();
        let _ = self.lock.get_or_insert(wall);
    }

    pub(super) fn standing(&self, pods_left: Option<usize>) -> Standing {
        let lock_wait = self.lock.map(|since| LockWait {
            since,
            oldest: self.holders.values().min().copied(),
        });
        Standing {
            blocked_by: self.blocked_by.clone(),
            lock_wait,
            pods_left,
        }
    }
}
