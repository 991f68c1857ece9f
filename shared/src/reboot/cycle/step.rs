//! What a step of the cycle leads to: at most one request, and what is started, stopped or said.
//!
//! Not here: how the shell does it.

use std::collections::BTreeSet;

use super::report::Report;
use crate::hold::NodePatch;
use crate::host::HostRecord;
use crate::reboot::lock_object::LockWrite;
use crate::reboot::timers::Timer;

/// What a step leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Step {
    /// In this order, before the request.
    pub acts: Vec<Act>,
    /// None: the cycle waits for an event.
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

    /// The same, after these acts.
    pub(super) fn after(mut self, acts: impl IntoIterator<Item = Act>) -> Step {
        self.acts.splice(0..0, acts).for_each(drop);
        self
    }

    pub(super) fn reporting(self, report: Report) -> Step {
        self.after([Act::Report(report)])
    }
}

/// What the cycle asks for next. The next input is its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Ask {
    /// Which boot is it, and does it go down?
    AskHost,
    /// GET of our own Node, not from a cache.
    ReadNode,
    /// GET of the Node of another entry, not from a cache.
    ReadPeer(String),
    /// LIST of the pool's Nodes with a phase label that is not `wanted`, not from a cache.
    ListHeld,
    /// LIST of the pool's Nodes.
    CountPool,
    /// What postpones a reboot now, not from a cache.
    ListBlockers,
    /// GET of the lock object, not from a cache.
    ReadLock,
    /// PATCH of the lock object.
    WriteLock(LockWrite),
    /// What the patch says of the host's record is written down first; where that fails, nothing is sent.
    PatchNode(NodePatch),
    /// LIST of the pods on our Node, not from a cache; those of these controllers that tolerate the drain do not count.
    ListPods(BTreeSet<String>),
    /// Record this on the host, and until when the reboot may come, then run the reboot command, unless
    /// [`Timer::Deadline`] is over: that is checked last.
    Reboot {
        /// What is recorded.
        record: HostRecord,
    },
}

impl Ask {
    /// As a probe names it.
    pub fn name(&self) -> &'static str {
        match self {
            Ask::AskHost => "AskHost",
            Ask::ReadNode => "ReadNode",
            Ask::ReadPeer(_) => "ReadPeer",
            Ask::ListHeld => "ListHeld",
            Ask::CountPool => "CountPool",
            Ask::ListBlockers => "ListBlockers",
            Ask::ReadLock => "ReadLock",
            Ask::WriteLock(_) => "WriteLock",
            Ask::PatchNode(_) => "PatchNode",
            Ask::ListPods(_) => "ListPods",
            Ask::Reboot { .. } => "Reboot",
        }
    }
}

/// What the cycle starts, stops or says. None of it is answered at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Watch our Node from just after this version on; what an older watch still holds is dropped.
    /// Without a version: from now on.
    Watch(Option<String>),
    /// Evict what a drain evicts, late comers too, and say [`DrainNews::Drained`](super::DrainNews::Drained); then watch for [`DrainNews::PodArrived`](super::DrainNews::PodArrived).
    StartDrain,
    /// Evict no more.
    StopDrain,
    /// Tell of changes of the lock object.
    WatchLock(bool),
    /// Start this timer.
    Arm(Timer),
    /// Stop this timer.
    Disarm(Timer),
    /// Remove the host's record: the hold is over. Where that fails, the next one replaces it.
    Forget,
    /// Tell people.
    Report(Report),
}
