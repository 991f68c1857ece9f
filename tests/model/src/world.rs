//! What there is: nodes and their hosts, agents, kured, the lock, and what a checker remembers beside them.
//!
//! Not here: what happens to it.

use cordonhold_shared::host::HostRecord;
use cordonhold_shared::lock::Record;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::cycle::{Ask, Cycle, Timer};

use crate::intern::Id;

/// A state of the whole system.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) nodes: Vec<Node>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) kureds: Vec<Kured>,
    pub(crate) lock: Lock,
    /// A write that was sent and has not arrived.
    pub(crate) late: Option<Late>,
    pub(crate) left: Faults,
    pub(crate) webhook_up: bool,
    /// What was violated, as a set of [`crate::violation::Violation`].
    pub(crate) violations: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each named")]
pub(crate) struct Node {
    /// Without its version; of a deleted Node, the last.
    pub(crate) view: Id<NodeView>,
    pub(crate) version: u8,
    pub(crate) exists: bool,
    /// Pods that a drain would evict.
    pub(crate) pods: u8,
    /// How often its owner has put the pod back within this drain.
    pub(crate) put_back: u8,
    /// A scheduler has decided for this node, and its bind has not arrived. `true`: it decided after the seal.
    pub(crate) bind: Option<bool>,
    pub(crate) boot: u8,
    pub(crate) power: Power,
    /// The record in the host's `/run`.
    pub(crate) record: Option<Id<HostRecord>>,
    /// It says that the host was told to reboot in this boot.
    pub(crate) is_told: bool,
    /// Marks as an agent wrote them earlier, which somebody kept.
    pub(crate) older: Option<Id<NodeView>>,
    /// The sentinel asks for a reboot.
    pub(crate) wants: bool,
    /// How many holds were stamped or tried here: the next one's `created`.
    pub(crate) stamps: u8,
    /// `until` and its grace have passed.
    pub(crate) expired: bool,
    /// An uncordon that was admitted on this version and has not arrived.
    pub(crate) admitted: Option<u8>,
    pub(crate) seen: Ghost,
}

/// Whether the host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Power {
    Up,
    /// It was told to reboot and does not show it yet.
    Issued,
    /// It shows its shutdown.
    GoingDown,
    Down,
}

/// What the checker remembers of a node, and nobody in the system knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent observations, each named"
)]
pub(crate) struct Ghost {
    /// Between acquire and release.
    pub(crate) between: bool,
    /// The cordon was cleared, or the marks or the Node were lost, since the last cordon patch.
    pub(crate) disturbed: bool,
    /// The pods were listed, and there were none, since the last cordon patch.
    pub(crate) listed: bool,
    /// The drain took too long, and the reboot may go on without an empty node.
    pub(crate) forced: bool,
    pub(crate) confirmed: bool,
    /// The agent whose seal is on the Node, if it still lives.
    pub(crate) sealed_by: Option<u8>,
    /// The hold on whose seal the host was told to reboot.
    pub(crate) issued: Option<u8>,
    /// Somebody else has written marks since the last cordon patch: what they say is no longer the agent's word.
    pub(crate) forged: bool,
    /// Another webhook has taken the cordon out of the seal.
    pub(crate) is_altered: bool,
    /// What the cordon was when this hold took it.
    pub(crate) was: Option<bool>,
    /// How many reboot commands were run for this hold.
    pub(crate) commands: u8,
    /// What people want of the cordon, whoever has changed it while the node was held.
    pub(crate) wants_cordon: bool,
    /// Nobody can say any more what people want.
    pub(crate) unsure: bool,
    /// A person with the permission has cancelled this hold.
    pub(crate) cancelled: bool,
    /// Somebody took the marks away or deleted the Node: what follows is theirs.
    pub(crate) taken: bool,
    /// The Node was deleted: it no longer counts, though its host may still go down.
    pub(crate) deleted: bool,
    /// A pod on the node was bound by a decision after the seal.
    pub(crate) lured: bool,
    /// The boot in which the hold was stamped.
    pub(crate) stamp_boot: u8,
}

/// An agent's process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Agent {
    pub(crate) node: u8,
    /// `None`: it does not run.
    pub(crate) cycle: Option<Id<Cycle>>,
    pub(crate) request: Option<Id<Ask>>,
    /// What its watch of the Node has not delivered; `None`: no watch.
    pub(crate) queue: Option<Vec<Delivery>>,
    pub(crate) watches_lock: bool,
    pub(crate) lock_changed: bool,
    pub(crate) timers: Timers,
    pub(crate) drain: Drain,
    /// What it last knew of the other Nodes, where a rule that is off makes it believe a cache.
    pub(crate) cache: Option<Vec<Option<Id<NodeView>>>>,
    /// A rule that is off makes the host answer that no shutdown is under way.
    pub(crate) is_lied_to: bool,
    /// The last write of its Node, where a rule that is off makes it believe whatever looks like it.
    pub(crate) last_write: Option<Id<Ask>>,
    /// A rule that is off holds the stamp back.
    pub(crate) held_back: Option<Id<Ask>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Delivery {
    Seen(Id<NodeView>, u8),
    Gap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Drain {
    Off,
    Running,
    Over,
}

/// The timers that run: a set, and which retry it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Timers {
    set: u16,
    retry: u8,
}

impl Timers {
    pub(crate) const ALL: [Timer; 14] = [
        Timer::Turn,
        Timer::Poll,
        Timer::Stall,
        Timer::Renew,
        Timer::Drain,
        Timer::Delay,
        Timer::Blocked,
        Timer::Deadline,
        Timer::Reboot,
        Timer::Soak,
        Timer::Release,
        Timer::Backoff,
        Timer::Host,
        Timer::CheckSentinel,
    ];
    const RETRY: u16 = 1 << 15;

    fn bit(timer: Timer) -> u16 {
        Timers::ALL
            .iter()
            .position(|known| *known == timer)
            .map_or(Timers::RETRY, |index| 1 << index)
    }

    pub(crate) fn arm(&mut self, timer: Timer) {
        self.set |= Timers::bit(timer);
        if let Timer::Retry(count) = timer {
            self.retry = count;
        }
    }

    pub(crate) fn disarm(&mut self, timer: Timer) {
        self.set &= !Timers::bit(timer);
        if matches!(timer, Timer::Retry(_)) {
            self.retry = 0;
        }
    }

    pub(crate) fn has(self, timer: Timer) -> bool {
        self.set & Timers::bit(timer) != 0
    }

    pub(crate) fn running(self) -> impl Iterator<Item = Timer> {
        let retry = (self.set & Timers::RETRY != 0).then_some(Timer::Retry(self.retry));
        retry
            .into_iter()
            .chain(Timers::ALL.into_iter().filter(move |timer| self.has(*timer)))
    }
}

/// Stock kured on a node: where it is, and what it remembers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kured {
    pub(crate) node: u8,
    pub(crate) at: KuredAt,
    /// The Node as read once, before the lock, and used until the reboot.
    pub(crate) was_unschedulable: bool,
    /// Its entry's TTL is over.
    pub(crate) expired: bool,
    /// How often it has acquired the lock.
    pub(crate) acquired: u8,
    /// Ghost: it has rebooted since it acquired.
    pub(crate) rebooted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KuredAt {
    /// The process has started: does it hold the lock?
    Starting,
    Uncordoning,
    Releasing,
    Idle,
    /// It has read the Node and the lock of this version.
    Acquiring(u8),
    Cordoning,
    Draining,
    Delaying,
    Rebooting,
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lock {
    pub(crate) record: Id<Record>,
    pub(crate) version: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Late {
    pub(crate) agent: u8,
    pub(crate) request: Id<Ask>,
}

/// How many of each fault may still happen, in the whole system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// An agent's process ends.
    pub crashes: u8,
    /// A write is carried out and its answer is lost.
    pub lost_answers: u8,
    /// A request never arrives.
    pub lost_requests: u8,
    /// A write arrives any time after its sender gave it up.
    pub late_writes: u8,
    pub uncordons: u8,
    /// Somebody cordons a node that we have cordoned and others have uncordoned.
    pub recordons: u8,
    /// `until` and its grace pass.
    pub expiries: u8,
    pub webhook_failures: u8,
    /// Somebody takes the marks off.
    pub strips: u8,
    /// A person cancels.
    pub cancels: u8,
    /// Somebody without the permission writes a cancel.
    pub planted_cancels: u8,
    /// The Node object is deleted, and perhaps created again.
    pub deletions: u8,
    /// A person removes an entry from the lock.
    pub removed_entries: u8,
    pub watch_gaps: u8,
    /// A scheduler decides for a node.
    pub schedulings: u8,
    pub renewals: u8,
    pub drain_timeouts: u8,
    pub failed_reboots: u8,
    /// A process stands still for longer than a deadline.
    pub pauses: u8,
    /// The machine reboots of itself.
    pub foreign_reboots: u8,
    /// An admin cordons a node.
    pub admin_cordons: u8,
    /// A node wants another reboot.
    pub more_wishes: u8,
    /// Somebody writes a value on a mark, or puts older marks back.
    pub forgeries: u8,
    /// Another webhook takes the cordon off a write of an agent.
    pub altered_writes: u8,
    /// A write arrives twice, and what comes back is the answer to its copy.
    pub copied_writes: u8,
    /// Something postpones the reboot.
    pub blocks: u8,
    /// Somebody cleans the host's `/run`.
    pub cleanings: u8,
    pub kured_restarts: u8,
    /// The TTL of an entry of kured's passes.
    pub kured_expiries: u8,
}
