//! What a step of the cycle leads to: at most one request, and what is started, stopped or said.
//!
//! Not here: how the driver carries it out ([`crate::reboot::driver`]).

use std::collections::BTreeSet;

use super::report::{Count, Report};
use crate::hold::NodePatch;
use crate::host::HostRecord;
use crate::reboot::lock_object::LockWrite;
use crate::reboot::timers::Timer;

/// What a step leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Step {
    /// Carried out in this order, before the request.
    pub acts: Vec<Act>,
    /// `None`: the cycle waits for an event.
    pub request: Option<Ask>,
}

impl Step {
    pub(super) fn ask(request: Ask) -> Step {
        Step {
            acts: Vec::new(),
            request: Some(request),
        }
    }

    pub(super) fn rest() -> Step {
        Step::default()
    }

    /// Puts these acts before those of the step.
    pub(super) fn after(mut self, acts: impl IntoIterator<Item = Act>) -> Step {
        self.acts.splice(0..0, acts).for_each(drop);
        self
    }

    pub(super) fn reporting(self, report: Report) -> Step {
        self.after([Act::Report(report)])
    }
}

/// A request of the cycle. The next input is its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Ask {
    /// Ask the host which boot it is in, and whether a shutdown is under way.
    AskHost,
    /// GET of our own Node, not from a cache.
    ReadNode,
    /// GET of the Node that another lock entry names, not from a cache.
    ReadPeer(String),
    /// LIST of the pool's Nodes with a phase label that is not `wanted`, not from a cache.
    ListHeld,
    /// LIST of the pool's Nodes.
    CountPool,
    /// The reads that show what postpones a reboot now, not from a cache.
    ListBlockers,
    /// The reads that show what a node that is back still lacks ([`crate::reboot::readiness`]), not from a cache.
    ListMissing,
    /// GET of the lock object, not from a cache.
    ReadLock,
    /// PATCH of the lock object.
    WriteLock(LockWrite),
    /// PATCH of our Node. The host's record that belongs to it is written first; if that fails, the patch is not sent.
    PatchNode(NodePatch),
    /// LIST of the pods on our Node, not from a cache. Pods of these controllers do not count if they tolerate the drain.
    ListPods(BTreeSet<String>),
    /// Write this record on the host, with the time until which the reboot may come. Then run the reboot command, unless
    /// [`Timer::Deadline`] is over, which is checked last.
    Reboot {
        /// The record to write.
        record: HostRecord,
    },
}

impl Ask {
    /// The request's name, for the agent's health probe.
    pub fn name(&self) -> &'static str {
        match self {
            Ask::AskHost => "AskHost",
            Ask::ReadNode => "ReadNode",
            Ask::ReadPeer(_) => "ReadPeer",
            Ask::ListHeld => "ListHeld",
            Ask::CountPool => "CountPool",
            Ask::ListBlockers => "ListBlockers",
            Ask::ListMissing => "ListMissing",
            Ask::ReadLock => "ReadLock",
            Ask::WriteLock(_) => "WriteLock",
            Ask::PatchNode(_) => "PatchNode",
            Ask::ListPods(_) => "ListPods",
            Ask::Reboot { .. } => "Reboot",
        }
    }
}

/// Something that the cycle starts, stops or reports. It has no answer; what comes of it arrives as an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Watch our Node from just after this version on; without a version, from a list of what is there.
    /// What an older watch has not delivered yet is dropped.
    Watch(Option<String>),
    /// Start a drain. It evicts pods, also those that come late, and ends with [`DrainNews::Drained`](super::DrainNews::Drained).
    /// Every pod that comes after that is a [`DrainNews::PodArrived`](super::DrainNews::PodArrived).
    StartDrain,
    /// Stop the drain: evict no more, and watch no pods.
    StopDrain,
    /// Start (`true`) or stop (`false`) the watch of the lock object.
    WatchLock(bool),
    /// Start this timer.
    Arm(Timer),
    /// Stop this timer.
    Disarm(Timer),
    /// Remove the host's record: the hold is over. If that fails, the next record replaces it.
    Forget,
    /// Tell people.
    Report(Report),
    /// Count this, which no report tells.
    Count(Count),
}
