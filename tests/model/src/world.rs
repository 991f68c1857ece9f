//! The state of the model: nodes and their hosts, agents, kured, the lock, and what the checker remembers.
//!
//! Not here: the actions that change it, see `protocol`.

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
    /// A write whose sender gave up waiting, and that has not arrived yet.
    pub(crate) late: Option<Late>,
    pub(crate) left: Faults,
    pub(crate) webhook_up: bool,
    /// The violations so far: a bit for each [`crate::violation::Violation`].
    pub(crate) violations: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each named")]
pub(crate) struct Node {
    /// The Node without its version. For a deleted Node, the last one.
    pub(crate) view: Id<NodeView>,
    pub(crate) version: u8,
    pub(crate) exists: bool,
    /// The number of pods that a drain would evict.
    pub(crate) pods: u8,
    /// How many times its owner has put the pod back within this drain.
    pub(crate) put_back: u8,
    /// A bind to this node that has not arrived yet; `true` if the scheduler decided after the seal.
    pub(crate) bind: Option<bool>,
    pub(crate) boot: u8,
    pub(crate) power: Power,
    /// The record in the host's `/run`.
    pub(crate) record: Option<Id<HostRecord>>,
    /// Whether the record says that a reboot was commanded in this boot.
    pub(crate) is_told: bool,
    /// Marks that the agent wrote earlier and that somebody may put back.
    pub(crate) older: Option<Id<NodeView>>,
    /// Whether the sentinel exists.
    pub(crate) wants: bool,
    /// How many holds were stamped here, or tried. The next one's `created` follows from it.
    pub(crate) stamps: u8,
    /// Whether `until` and its grace period are over.
    pub(crate) expired: bool,
    /// The version on which an uncordon was admitted that is not written yet.
    pub(crate) admitted: Option<u8>,
    pub(crate) seen: Ghost,
}

/// Whether the host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Power {
    Up,
    /// It was told to reboot and does not show its shutdown yet.
    Issued,
    /// It shows its shutdown.
    GoingDown,
    Down,
}

/// What only the checker remembers of a node; nobody in the system sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent observations, each named"
)]
pub(crate) struct Ghost {
    /// Whether the node is between acquire and release.
    pub(crate) between: bool,
    /// Whether the cordon was cleared, or the marks or the Node were lost, since the last cordon patch.
    pub(crate) disturbed: bool,
    /// Whether a list of the pods since the last cordon patch was empty.
    pub(crate) listed: bool,
    /// Whether the drain took too long, so that the reboot may be forced with pods left.
    pub(crate) forced: bool,
    pub(crate) confirmed: bool,
    /// The agent whose seal is on the Node, if its process still runs.
    pub(crate) sealed_by: Option<u8>,
    /// The stamp of the hold on whose seal the host was told to reboot.
    pub(crate) issued: Option<u8>,
    /// Whether somebody else has written marks since the last cordon patch, so that they no longer show what the agent wrote.
    pub(crate) forged: bool,
    /// Whether another webhook has removed the cordon from the agent's last write.
    pub(crate) is_altered: bool,
    /// Whether the node was cordoned before this hold cordoned it; `None` before that.
    pub(crate) was: Option<bool>,
    /// The number of reboot commands for this hold.
    pub(crate) commands: u8,
    /// Whether people want the node cordoned. Changes during a hold do not count.
    pub(crate) wants_cordon: bool,
    /// Whether an uncordon was asked for during this hold, and counts as a wish.
    pub(crate) uncordon: bool,
    /// Whether it is unknown what people want.
    pub(crate) unsure: bool,
    /// Whether somebody with the permission has cancelled this hold.
    pub(crate) cancelled: bool,
    /// Whether somebody removed the marks or deleted the Node, so that what follows is not the agent's fault.
    pub(crate) taken: bool,
    /// Whether the Node was deleted. It no longer counts for AT-MOST-N, although its host may still go down.
    pub(crate) deleted: bool,
    /// Whether a pod on the node was scheduled after the seal.
    pub(crate) lured: bool,
    /// The boot in which the hold was stamped.
    pub(crate) stamp_boot: u8,
}

/// An agent, and its process if it runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Agent {
    pub(crate) node: u8,
    /// The state of its process; `None` if it does not run.
    pub(crate) cycle: Option<Id<Cycle>>,
    pub(crate) request: Option<Id<Ask>>,
    /// The events that its watch of the Node has not delivered; `None` without a watch.
    pub(crate) queue: Option<Vec<Delivery>>,
    pub(crate) watches_lock: bool,
    pub(crate) lock_changed: bool,
    pub(crate) timers: Timers,
    pub(crate) drain: Drain,
    /// The other Nodes as it last knew them. Used only if `DropReadsNodeAfterLock` is off, when it believes a cache.
    pub(crate) cache: Option<Vec<Option<Id<NodeView>>>>,
    /// Whether the host always answers that no shutdown is under way, because a rule is off.
    pub(crate) is_lied_to: bool,
    /// Its last write of its Node. Used only if `WritesAreProven` is off, when it believes whatever looks like that write.
    pub(crate) last_write: Option<Id<Ask>>,
    /// A stamp that is held back, because `StampBeforeAcquire` is off.
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

/// The set of running timers, and the number of the retry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Timers {
    set: u32,
    retry: u8,
}

impl Timers {
    pub(crate) const ALL: [Timer; 16] = [
        Timer::Turn,
        Timer::Poll,
        Timer::Stall,
        Timer::Renew,
        Timer::Drain,
        Timer::Delay,
        Timer::Blocked,
        Timer::Deadline,
        Timer::Reboot,
        Timer::Ready,
        Timer::LookAgain,
        Timer::Soak,
        Timer::Release,
        Timer::Backoff,
        Timer::Host,
        Timer::CheckSentinel,
    ];
    const RETRY: u32 = 1 << 31;

    fn bit(timer: Timer) -> u32 {
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

/// Stock kured on a node: its next step, and what it remembers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kured {
    pub(crate) node: u8,
    pub(crate) at: KuredAt,
    /// Whether the Node was cordoned when kured read it, before the lock. kured does not read it again.
    pub(crate) was_unschedulable: bool,
    /// Whether the TTL of its entry is over.
    pub(crate) expired: bool,
    /// How many times it has acquired the lock.
    pub(crate) acquired: u8,
    /// For the checker only: whether the host has rebooted since kured acquired the lock.
    pub(crate) rebooted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KuredAt {
    /// The process has started, and next looks whether it holds the lock.
    Starting,
    Uncordoning,
    Releasing,
    Idle,
    /// It has read the Node, and the lock in this version, and next tries to acquire it.
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

/// How many faults of each kind may still happen, in the whole system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// An agent's process crashes.
    pub crashes: u8,
    /// A write is carried out and its answer is lost.
    pub lost_answers: u8,
    /// A request never arrives.
    pub lost_requests: u8,
    /// A write arrives at any time after its sender gave up waiting.
    pub late_writes: u8,
    pub uncordons: u8,
    /// Somebody removes a deferred uncordon from the Node.
    pub stripped_uncordons: u8,
    /// Somebody cordons a held node again after others have uncordoned it.
    pub recordons: u8,
    /// `until` and its grace period end.
    pub expiries: u8,
    pub webhook_failures: u8,
    /// Somebody removes the marks.
    pub strips: u8,
    /// A person with the permission cancels.
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
    /// The host reboots although no agent asked for it.
    pub foreign_reboots: u8,
    /// An admin cordons a node.
    pub admin_cordons: u8,
    /// A host wants another reboot.
    pub more_wishes: u8,
    /// Somebody writes a value on a mark, or puts older marks back.
    pub forgeries: u8,
    /// Another webhook removes the cordon from a write of an agent.
    pub altered_writes: u8,
    /// A write arrives twice, and the answer to the second copy comes back.
    pub copied_writes: u8,
    /// A blocker postpones the reboot.
    pub blocks: u8,
    /// Somebody cleans the host's `/run`.
    pub cleanings: u8,
    pub kured_restarts: u8,
    /// The TTL of one of kured's entries ends.
    pub kured_expiries: u8,
}
