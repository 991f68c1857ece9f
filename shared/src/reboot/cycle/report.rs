//! What an operator is told of the cycle.
//!
//! Not here: how a log line or an Event words it.

use std::collections::BTreeSet;

use super::input::Shutdown;
use crate::hold::Hold;
use crate::host::BootEvidence;
use crate::reboot::drain::Progress;

/// What an operator is told: a log line and, where it matters, an Event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Report {
    /// The host is going down, or cannot be asked: the agent only waits.
    HostBusy(Shutdown),
    /// An agent of this boot told the host to reboot for this hold, and its shutdown may not show yet.
    HostTold(String),
    /// The marks on the Node are not ours, or cannot be read: the agent leaves them alone.
    Foreign(String),
    /// The agent found its own hold in this phase and goes on.
    Resumed(Hold),
    /// Neither the host's record nor the lock knows the hold that the agent found: what it says is believed only where it must be.
    Unproven,
    /// The host has booted since the node was cordoned, and this shows it.
    Booted(BootEvidence),
    /// No new reboot: paused by a person, with this word.
    Paused(String),
    /// A person has written something on the Node that ends or keeps nothing: what, and what to write instead.
    Ignored(String),
    /// The wish is on the Node.
    Wished(String),
    /// The Node is not of the pool that this agent is for.
    NotInPool,
    /// The lock is full: these nodes fill it.
    LockHeld(BTreeSet<String>),
    /// The same nodes have filled the lock for as long as a reboot may take: each, since when, and how its Node looks.
    LockStalled(Vec<String>),
    /// More Nodes of the pool than this are not Ready.
    PoolUnavailable {
        unready: BTreeSet<String>,
        allowed: usize,
    },
    /// The lock's record cannot be read.
    LockUnreadable(String),
    /// The lock is ours.
    Locked,
    /// The node is cordoned and the drain begins. `was` is what the cordon was; `round` counts from 1.
    Draining { was_unschedulable: bool, round: u8 },
    /// How far the drain has come.
    Progress(Progress),
    /// The same, where somebody keeps pods or volumes there: not before, others than before, or still.
    DrainBlocked(Progress),
    /// The drain took too long, and this is what it leaves behind, as last told:
    /// the reboot goes on over it, by `--force-reboot`.
    Forced(Option<Progress>),
    /// These pods go down with the node: each time one was evicted, its owner put it back.
    PodsKept(BTreeSet<String>),
    /// Nothing is left to evict, or the reboot is forced; the delay begins.
    Delaying { is_forced: bool },
    /// What the drain had achieved no longer holds; this is what happens now.
    Disturbed { by: Disturbance, next: Next },
    /// The seal is on the Node; the reboot is issued now.
    Sealed,
    /// The reboot command was accepted.
    Rebooting,
    /// The reboot command failed.
    RebootFailed(String),
    /// The reboot was issued and the host does not go down: the node stays sealed.
    StillSealed(String),
    /// A cancel came after the seal.
    TooLateToCancel(String),
    /// The host has booted; the agent waits for the node to be Ready.
    Returned,
    /// The node's cordon is as it was before: `unschedulable` says which.
    GivenBack { unschedulable: bool },
    /// The lock entry is kept until `--lock-release-delay` is over.
    ReleaseDelayed,
    /// The lock entry is gone; the cycle is over.
    Released,
    /// The reboot is called off; the cordon is given back.
    CalledOff(CallOff),
    /// The API server has refused this again and again; it is tried on.
    Refused { what: &'static str, why: String },
    /// A stage was given an answer that none of its requests can have: a defect of the agent.
    Unexpected {
        stage: &'static str,
        answer: &'static str,
    },
    /// A request failed and is tried again.
    Retrying { what: &'static str, why: String },
}

/// What undid a drain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Disturbance {
    /// Somebody cleared the cordon.
    Uncordoned,
    /// Somebody took the taint off.
    Untainted,
    /// Somebody else wrote a mark.
    Tampered,
    /// A pod landed on the node.
    Pods(Vec<String>),
    /// The watch has a gap, so nobody knows.
    Gap,
    /// The seal's deadline passed before the reboot was issued, or the reboot came to nothing.
    SealOver,
}

/// What a disturbance leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    DrainAgain,
    CallOff,
}

/// Why a reboot was called off.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CallOff {
    /// The sentinel is gone.
    NoLongerWanted,
    /// A person cancelled it, with this reason.
    Cancelled(String),
    Paused(String),
    /// The drain took too long, having come this far.
    DrainTimeout(Option<Progress>),
    /// A pod can never be evicted, and why.
    Unevictable(String),
    /// By `--on-uncordon=abort`.
    Disturbed(Disturbance),
    /// The drain was disturbed too often.
    TooManyRedrains(Disturbance),
    /// The marks are no longer on the Node, or are another hold's.
    HoldLost,
    /// The lock entry is gone.
    EntryLost,
    /// Nothing but the Node itself says that there is a hold.
    Unproven,
}
