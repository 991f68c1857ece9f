//! What the driver tells the cycle: answers to its requests, and events.
//!
//! Not here: what the cycle does then ([`super::Cycle`]).

use crate::hold::RebootRequest;
use crate::host::{Boot, HostRecord, RebootDeadline};
use crate::node::NodeView;
use crate::reboot::blocker::{Blocker, PoolCount};
use crate::reboot::drain::DrainNews;
use crate::reboot::lock_object::LockView;
use crate::reboot::readiness::Missing;
use crate::reboot::timers::Timer;
use crate::watch::Change;

/// What the driver tells the cycle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The process has started. The first input, and given once.
    Started,
    /// The answer to the open request. While one is open, the driver delivers nothing else.
    Answer(Answer),
    /// Something happened while no request was open.
    Event(Event),
}

impl Input {
    /// Our Node, if this input shows it.
    pub fn node(&self) -> Option<&NodeView> {
        match self {
            Input::Answer(Answer::Node(Ok(node)) | Answer::Patched(Ok(node)))
            | Input::Event(Event::Seen(node)) => Some(node),
            Input::Started | Input::Answer(_) | Input::Event(_) => None,
        }
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// To [`Ask::AskHost`](super::Ask::AskHost).
    Host(HostState),
    /// To [`Ask::ReadNode`](super::Ask::ReadNode). A Node that does not exist is [`Failure::NotFound`].
    Node(Result<NodeView, Failure>),
    /// To [`Ask::ReadPeer`](super::Ask::ReadPeer); `None` is a Node that does not exist.
    Peer(Result<Option<NodeView>, Failure>),
    /// To [`Ask::ListHeld`](super::Ask::ListHeld): every Node whose phase label says anything but `wanted`.
    Held(Result<Vec<NodeView>, Failure>),
    /// To [`Ask::CountPool`](super::Ask::CountPool).
    Pool(Result<PoolCount, Failure>),
    /// To [`Ask::ListBlockers`](super::Ask::ListBlockers): what postpones the reboot; empty if it may begin.
    Blockers(Result<Vec<Blocker>, Failure>),
    /// To [`Ask::ListMissing`](super::Ask::ListMissing): what the node still lacks; empty if it may be given back.
    Missing(Result<Vec<Missing>, Failure>),
    /// To [`Ask::ReadLock`](super::Ask::ReadLock).
    Lock(Result<LockView, Failure>),
    /// To [`Ask::WriteLock`](super::Ask::WriteLock).
    LockWritten(Result<(), Failure>),
    /// To [`Ask::PatchNode`](super::Ask::PatchNode): the Node as written.
    Patched(Result<NodeView, Failure>),
    /// To [`Ask::ListPods`](super::Ask::ListPods): the pods that a drain would evict, as `namespace/name`.
    PodsLeft(Result<Vec<String>, Failure>),
    /// To [`Ask::Reboot`](super::Ask::Reboot).
    RebootIssued(Result<(), RebootFailure>),
}

impl Answer {
    /// What the answer is about, for the report of a defect.
    pub fn name(&self) -> &'static str {
        match self {
            Answer::Host(_) => "what the host says",
            Answer::Node(_) => "our Node",
            Answer::Peer(_) => "another Node",
            Answer::Held(_) => "the Nodes that are held",
            Answer::Pool(_) => "the pool",
            Answer::Blockers(_) => "the blockers",
            Answer::Missing(_) => "what the node still lacks",
            Answer::Lock(_) => "the lock",
            Answer::LockWritten(_) => "a write of the lock",
            Answer::Patched(_) => "a write of our Node",
            Answer::PodsLeft(_) => "the pods that are left",
            Answer::RebootIssued(_) => "the reboot command",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The watch of our Node has shown this version.
    Seen(NodeView),
    /// The watch lost its place, or the Node was deleted: what happened meanwhile is unknown.
    Gap,
    /// The sentinel and the request on our Node were looked at: what asks for a reboot, if anything does.
    Sentinel(Option<Wanted>),
    /// The lock object changed.
    LockChanged,
    /// The window has opened (`None`), or has closed or opens at another time than was told before. Until the first, it is open.
    Window(Option<Blocker>),
    /// News of the drain.
    Drain(DrainNews),
    /// A timer that was armed is over.
    Due(Timer),
}

/// What asks for a reboot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// A new, unique `created` for a wish (RFC 3339 with nanoseconds).
    pub created: String,
    /// Whether the host asks, by its sentinel.
    pub by_host: bool,
    /// The request on our Node that counts, if there is one.
    pub request: Option<RebootRequest>,
}

impl Wanted {
    /// The sentinel asks, and nothing else does.
    pub fn by_host(created: String) -> Wanted {
        Wanted {
            created,
            by_host: true,
            request: None,
        }
    }
}

impl Event {
    /// The event that follows from a change in the watch of our own Node.
    pub fn of_node(change: Change<NodeView>) -> Option<Event> {
        match change {
            Change::Listed(mut nodes) => nodes.pop().map(Event::Seen),
            Change::Present(node) => Some(Event::Seen(node)),
            // A Node that was deleted may come back as another one, and nobody has seen what happened in between.
            Change::Gone(_) | Change::Gap => Some(Event::Gap),
        }
    }

    /// The event that follows from a change in the watch of the lock.
    ///
    /// The first list counts too: the lock may have changed between the cycle's read and the start of the watch.
    pub fn of_lock<T>(change: &Change<T>) -> Option<Event> {
        match change {
            Change::Listed(_) | Change::Present(_) | Change::Gone(_) => Some(Event::LockChanged),
            // A list follows, and counts as a change.
            Change::Gap => None,
        }
    }
}

/// Why a request failed. The text says what happened, and what to look at if it goes on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// The compare-and-swap lost: the object has another version.
    #[error(
        "the object has changed: if this goes on, find who writes it with kubectl get -o yaml --show-managed-fields"
    )]
    Conflict,
    /// The object does not exist.
    #[error(
        "the object does not exist: check --node-id against kubectl get nodes, and --lock-on against the line lock_chosen"
    )]
    NotFound,
    /// The API server refused: nothing was written.
    #[error("{0}")]
    Refused(String),
    /// No answer, or one that does not say whether the write landed.
    #[error("{0}")]
    Unknown(String),
}

/// Why a reboot command did not run or did not work, or may not have worked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RebootFailure {
    /// The seal's deadline had passed, or a program had begun to block the shutdown, so the command was not run.
    Expired,
    /// The command failed.
    Failed(String),
    /// The command ended without saying whether it worked, for example because a signal killed it.
    Unclear(String),
}

/// What the host says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostState {
    /// Which boot it is in.
    pub boot: Boot,
    /// Whether a shutdown is under way.
    pub shutdown: Shutdown,
    /// The record that an earlier process left in the host's `/run`, in this boot or an earlier one.
    pub record: Option<HostRecord>,
    /// The deadline of the reboot command that an agent ran in this boot, if one did.
    pub told: Option<RebootDeadline>,
}

/// Whether the host's init has a shutdown under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Shutdown {
    /// No shutdown is under way.
    No,
    /// The host is going down.
    UnderWay,
    /// The host could not be asked, which counts as a shutdown under way.
    Unknown(String),
}

impl Shutdown {
    /// Why the host could not be asked.
    pub(super) fn unknown(&self) -> Option<&String> {
        match self {
            Shutdown::Unknown(why) => Some(why),
            Shutdown::No | Shutdown::UnderWay => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_gone_is_a_gap() {
        assert_eq!(
            Event::of_node(Change::Gone(NodeView::default())),
            Some(Event::Gap)
        );
        assert_eq!(Event::of_node(Change::Gap), Some(Event::Gap));
        assert_eq!(Event::of_node(Change::Listed(Vec::new())), None);
    }
}
