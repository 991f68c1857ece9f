//! What the shell tells the cycle.
//!
//! Not here: what the cycle makes of it.

use std::collections::BTreeSet;

use crate::carrier::LockView;
use crate::drain::progress::Progress;
use crate::host::{Boot, HostRecord, Told};
use crate::node::NodeView;
use crate::timers::Timer;

/// What the shell tells the cycle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The process has started. First, and once.
    Started,

    /// The answer to [`Request::AskHost`](super::Request::AskHost).
    Host(HostState),
    /// The answer to [`Request::ReadNode`](super::Request::ReadNode). A Node that does not exist is [`Failure::NotFound`].
    Node(Result<NodeView, Failure>),
    /// The answer to [`Request::ReadPeer`](super::Request::ReadPeer); `None` is a Node that does not exist.
    Peer(Result<Option<NodeView>, Failure>),
    /// The answer to [`Request::ListHeld`](super::Request::ListHeld): every Node whose phase label says anything but `wanted`.
    Held(Result<Vec<NodeView>, Failure>),
    /// The answer to [`Request::CountPool`](super::Request::CountPool).
    Pool(Result<PoolCount, Failure>),
    /// The answer to [`Request::ReadLock`](super::Request::ReadLock).
    Lock(Result<LockView, Failure>),
    /// The answer to [`Request::WriteLock`](super::Request::WriteLock).
    LockWritten(Result<(), Failure>),
    /// The answer to [`Request::PatchNode`](super::Request::PatchNode): the Node as written.
    Patched(Result<NodeView, Failure>),
    /// The answer to [`Request::ListPods`](super::Request::ListPods): the pods that a drain would evict, as `namespace/name`.
    PodsLeft(Result<Vec<String>, Failure>),
    /// The answer to [`Request::Reboot`](super::Request::Reboot).
    RebootIssued(Result<(), RebootFailure>),

    /// The watch of our Node delivered this version.
    Seen(NodeView),
    /// The watch lost its place, or the Node was deleted: what happened meanwhile is unknown.
    Gap,
    /// The sentinel was looked at. A wish comes with a new, unique `created` (RFC 3339 with nanoseconds).
    Sentinel(Option<String>),
    /// The lock object changed.
    LockChanged,
    /// How far the drain has come, told at a bounded rate.
    Progress(Progress),
    /// The drain has nothing left to evict. These controllers (`kind namespace/name`) put their pods back too often: those stay.
    Drained(BTreeSet<String>),
    /// A pod of this drain can never be evicted, and why.
    Unevictable(String),
    /// A pod to evict appeared after [`Input::Drained`], as `namespace/name`.
    PodArrived(String),
    /// A timer that was armed is over.
    Due(Timer),
}

/// Why a request gave no answer to go on with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The compare-and-swap lost: the object has another version.
    Conflict,
    /// The object does not exist.
    NotFound,
    /// The API server refused: nothing was written.
    Refused(String),
    /// No answer, or one that does not say whether it was written.
    Unknown(String),
}

/// Why the host was not told to reboot, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RebootFailure {
    /// The seal's deadline had passed before the command; it was not run.
    Expired,
    /// The command failed.
    Failed(String),
    /// The command ended without a word on whether it worked, as one that a signal killed.
    Unclear(String),
}

/// What the host says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostState {
    pub boot: Boot,
    pub shutdown: Shutdown,
    /// What the agent before left in the host's `/run`, in whichever boot.
    pub record: Option<HostRecord>,
    /// Whether an agent of this boot told the host to reboot.
    pub told: Option<Told>,
}

/// Whether the host's init has a shutdown under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Shutdown {
    No,
    UnderWay,
    /// The host could not be asked: as good as under way.
    Unknown(String),
}

/// The Nodes of the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PoolCount {
    pub size: usize,
    /// Those that are not Ready, by name.
    pub unready: BTreeSet<String>,
}
