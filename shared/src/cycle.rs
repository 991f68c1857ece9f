//! The agent's cycle: lock → cordon → drain → delay → seal → reboot → return, as a pure function.
//!
//! [`step`] takes the state and one input and gives the next state, what to start or say, and at most one request.
//! While a request is open the shell delivers nothing but its answer, so each request is one atomic read or write
//! between two states, and a crash can be put between any two of them.
//! Times reach it as facts already compared: a timer is due, or it is not.
//!
//! Not here: how a request is carried out, how long a timer is, and what a report looks like.

use std::collections::{BTreeMap, BTreeSet};

use crate::carrier::LockView;
use crate::drain::Progress;
use crate::hold::{self, Hold, Signs};
use crate::keys;
use crate::lock::{Entry, EntryId, Share};
use crate::node::NodeView;
use crate::selector::Selector;

pub(crate) mod input;
mod outcome;
mod report;
mod returning;
mod sealing;
mod start;
mod waiting;
mod working;

#[cfg(test)]
mod tests;

pub use input::{Failure, HostState, Input, PoolCount, RebootFailure, Shutdown};
pub use outcome::{Act, Outcome, Request};
pub use report::{Disturbance, Next, Reason, Report};

pub use crate::timers::Timer;

/// How many tries a seal has before the node is drained again.
pub const SEAL_TRIES_MAX: u8 = 30;
/// How many reboots may come to nothing before the agent stays sealed and says so.
pub const VAIN_REBOOTS_MAX: u8 = 2;
/// Where the count of retries stops growing: the shell's pause has reached its bound long before.
const RETRIES_MAX: u8 = 10;

/// What an operator decided. It does not change while the agent runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// The Node's name.
    pub node: String,
    /// Which Nodes are of the pool.
    pub pool: Selector,
    /// How many nodes of the pool may be in a reboot at once; at least 1.
    pub concurrency: Share,
    /// No reboot begins while more Nodes of the pool than this are not Ready; those in a reboot and our own do not count.
    pub max_unavailable: Option<Share>,
    /// `--verify-before-reboot`, `auto` resolved. `false` is kured's behaviour: no taint, no look at cordon and pods.
    pub verify: bool,
    pub on_uncordon: OnUncordon,
    /// How many times the node is drained again before the reboot is called off.
    pub redrains_max: u8,
    /// Whether there is a `--lock-release-delay`.
    pub delays_release: bool,
    pub signs: Signs,
    /// `--force-reboot`: a drain that takes too long does not call the reboot off, and the seal does not look at pods.
    /// Cordon, marks and lock are looked at all the same.
    pub force_reboot: bool,
}

/// What a cleared cordon or a new pod leads to before the reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnUncordon {
    /// Cordon, drain and delay again.
    Redrain,
    /// Undo and back off.
    Abort,
}

/// The whole memory of an agent. What must survive it is on the Node and in the lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each named")]
pub struct Cycle {
    policy: Policy,
    /// The kernel's boot id, known once the host was asked.
    boot_id: String,
    stage: Stage,
    /// Our hold as last read or written.
    hold: Option<Hold>,
    /// The Node as the watch last delivered it, or as the patch that the watch begins at left it.
    seen: Option<NodeView>,
    /// Whether the sentinel asks for a reboot; `None` until it was looked at.
    wanted: Option<bool>,
    backing_off: bool,
    redrains: u8,
    /// How far this drain has come.
    progress: Option<Progress>,
    /// The drain took too long, and the reboot goes on without an empty node.
    is_forced: bool,
    vain_reboots: u8,
    /// How many Nodes the pool had when it was last counted.
    pool_size: Option<usize>,
    /// [`Timer::Stall`] is over: the next look at a full lock says how its holders look.
    stalled: bool,
    /// The host was told to reboot before this process began, and has had the time to show it.
    waited_out: bool,
    retries: u8,
    /// Said once, until it changes.
    said: Option<Report>,
}

/// Where the agent is; each variant that names a request waits for its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Starting,
    /// The host is going down or silent: ask again when [`Timer::Host`] is due.
    HostBusy,
    /// Another process told the host to reboot: ask again when [`Timer::Deadline`] is due.
    HostTold,
    /// The Node's marks decide how to go on.
    Resuming,
    /// No hold: an entry of ours may be left over from marks that were lost.
    Orphaned(Orphaned),
    /// The marks are not ours to touch.
    Foreign,
    Idle,
    Stamping {
        created: String,
        step: Stamping,
    },
    Waiting(Waiting),
    Cordoning(Patching),
    Draining(Working),
    Delaying(Working),
    Sealing {
        step: Sealing,
        tries: u8,
    },
    Rebooting(Rebooting),
    Returning(Returning),
    Undoing {
        reason: Reason,
        step: Patching,
    },
    /// The Node is as it was, and the lock entry is kept for a while.
    DelayingRelease {
        id: EntryId,
        step: ReleaseDelay,
    },
    Releasing(Releasing),
}

/// Read the Node, then patch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Patching {
    Reading,
    Writing,
    Retrying,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Orphaned {
    ReadingLock(NodeView),
    GivingBack(EntryId),
    /// There is no entry either, but signs of a hold that was lost.
    Tidying,
    Retrying,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stamping {
    Reading,
    Writing,
    /// The stamp's answer never came.
    ReadingBack,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Waiting {
    /// For the first look at the sentinel, a change of the lock, or a timer.
    Resting,
    ReadingLock,
    /// Where there are many peers, one LIST shows most of them.
    ListingPeers {
        seen: Seen,
        left: Vec<Entry>,
    },
    /// Peers are read one by one.
    ReadingPeers {
        seen: Seen,
        left: Vec<Entry>,
    },
    CountingPool(Seen),
    ListingHeld(Seen),
    Writing,
}

/// What a waiter has seen in one look: the lock first, and everything else after it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Seen {
    lock: LockView,
    /// Entries that ended by evidence.
    over: BTreeSet<EntryId>,
    /// How the Nodes of the others look, where that is to be said.
    looks: BTreeMap<String, String>,
    pool: Option<PoolCount>,
}

/// Work that goes on while `until` is renewed beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Working {
    Going,
    RenewReading,
    RenewWriting,
    /// The drain is over: on to the delay.
    EndReading,
    EndWriting,
    EndRetrying,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sealing {
    ListingPods,
    ReadingLock,
    Confirming,
    /// Without verification there is no watch to patch from.
    ReadingNode,
    Patching,
    /// The patch lost: the watch will deliver what won.
    AwaitingNode,
    /// The patch's answer never came.
    ReadingBack,
    Retrying,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rebooting {
    Issuing,
    /// The command failed: does the host go down all the same?
    AskingHost,
    /// The command was accepted, and [`Timer::Reboot`] is over: will the host still go down?
    AskingOverdue,
    Waiting,
    /// An agent that starts on a seal waits until nobody can issue it any more, then asks the host.
    WaitingOut,
    WaitedOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Returning {
    Reading,
    Marking,
    AwaitingReady,
    Soaking,
    RenewReading(ComingUp),
    RenewWriting(ComingUp),
    /// What the cordon was is not on the Node: the lock entry may know.
    ReadingLock,
    GiveBackReading,
    GivingBack,
    Retrying,
}

/// Where a renewal leads back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ComingUp {
    AwaitingReady,
    Soaking,
}

/// That its time is over is written on the Node before the entry goes: the Node first, then the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ReleaseDelay {
    Waiting,
    Reading,
    Writing,
    Retrying,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Releasing {
    id: EntryId,
    /// After an undo the agent backs off before it wishes again.
    back_off: bool,
    step: Release,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Release {
    Reading,
    Writing,
    Retrying,
}

/// One step of the cycle.
pub fn step(mut cycle: Cycle, input: Input) -> (Cycle, Outcome) {
    cycle.note(&input);
    let outcome = cycle.take(input);
    (cycle, outcome)
}

impl Cycle {
    /// An agent that has just started; its first input is [`Input::Started`].
    pub fn new(policy: Policy) -> Cycle {
        Cycle {
            policy,
            boot_id: String::new(),
            stage: Stage::Starting,
            hold: None,
            seen: None,
            wanted: None,
            backing_off: false,
            redrains: 0,
            progress: None,
            is_forced: false,
            vain_reboots: 0,
            pool_size: None,
            stalled: false,
            waited_out: false,
            retries: 0,
            said: None,
        }
    }

    /// Whether it has nothing to do and holds nothing.
    pub fn is_idle(&self) -> bool {
        self.stage == Stage::Idle
    }

    /// What is remembered whatever the stage.
    fn note(&mut self, input: &Input) {
        match input {
            Input::Sentinel(wish) => self.wanted = Some(wish.is_some()),
            Input::Due(Timer::Backoff) => self.backing_off = false,
            // Without a hold it would say nothing.
            Input::Seen(node) if self.hold.is_some() => self.seen = Some(node.clone()),
            _ => {}
        }
    }

    fn take(&mut self, input: Input) -> Outcome {
        match self.stage.clone() {
            Stage::Starting => self.starting(input),
            Stage::HostBusy => self.host_busy(&input),
            Stage::HostTold => self.host_told(&input),
            Stage::Resuming => self.resuming(input),
            Stage::Orphaned(step) => self.orphaned(step, input),
            Stage::Foreign => self.foreign_changed(&input),
            Stage::Idle => self.idling(input),
            Stage::Stamping { created, step } => self.stamping(&created, step, input),
            Stage::Waiting(step) => self.waiting(step, input),
            Stage::Cordoning(step) => self.cordoning(step, input),
            Stage::Draining(step) => self.draining(step, input),
            Stage::Delaying(step) => self.delaying(step, input),
            Stage::Sealing { step, tries } => self.sealing(step, tries, input),
            Stage::Rebooting(step) => self.rebooting(step, input),
            Stage::Returning(step) => self.returning(step, input),
            Stage::Undoing { reason, step } => self.undoing(reason, step, input),
            Stage::DelayingRelease { id, step } => self.delaying_release(id, step, input),
            Stage::Releasing(releasing) => self.releasing(releasing, input),
        }
    }

    /// Goes to a stage that waits for the answer to this request.
    fn ask(&mut self, stage: Stage, request: Request) -> Outcome {
        self.stage = stage;
        Outcome::ask(request)
    }

    /// Goes to a stage that waits for a timer, an event or a person.
    fn rest(&mut self, stage: Stage, acts: impl IntoIterator<Item = Act>) -> Outcome {
        self.stage = stage;
        Outcome::rest().after(acts)
    }

    /// Goes to a stage that waits for [`Timer::Retry`], and says what failed.
    fn retry(&mut self, stage: Stage, what: &'static str, failure: &Failure) -> Outcome {
        self.stage = stage;
        self.retries = self.retries.saturating_add(1).min(RETRIES_MAX);
        let why = match failure {
            Failure::Conflict => "the object has changed".to_owned(),
            Failure::NotFound => "the object does not exist".to_owned(),
            Failure::Refused(why) | Failure::Unknown(why) => why.clone(),
        };
        let is_lasting = matches!(failure, Failure::Refused(_)) && self.retries == RETRIES_MAX;
        let said = if is_lasting {
            let why = why.clone();
            self.say(Report::Refused { what, why })
        } else {
            Vec::new()
        };
        Outcome::rest()
            .after([Act::Arm(Timer::Retry(self.retries))])
            .after(said)
            .reporting(Report::Retrying { what, why })
    }

    /// Says it, unless it was the last thing said.
    fn say(&mut self, report: Report) -> Vec<Act> {
        if self.said.as_ref() == Some(&report) {
            return Vec::new();
        }
        self.said = Some(report.clone());
        vec![Act::Report(report)]
    }

    /// The entry of our hold.
    fn entry_id(&self) -> EntryId {
        EntryId::new(&self.policy.node, self.created())
    }

    /// The `created` of our hold.
    fn created(&self) -> &str {
        self.hold.as_ref().map_or("", |hold| hold.holder.created.as_str())
    }

    /// Our hold as this Node shows it, or `None` if the Node shows none or another.
    ///
    /// What the cordon was is decided once: memory is not overruled by what somebody wrote there later.
    fn ours(&self, node: &NodeView) -> Option<Hold> {
        let mine = self.hold.as_ref()?;
        let mut shown = hold::read(node)
            .present()
            .filter(|shown| shown.holder == mine.holder)?;
        if node.metadata.uid != shown.holder.node_uid {
            return None;
        }
        shown.was_unschedulable = mine.was_unschedulable.or(shown.was_unschedulable);
        Some(shown)
    }

    /// Whether the host has booted since this hold cordoned the node.
    fn has_rebooted(&self, hold: &Hold) -> bool {
        hold.boot_id
            .as_ref()
            .is_some_and(|boot_id| *boot_id != self.boot_id)
    }

    /// A cancel on this Node that names our hold.
    fn cancel(&self, node: &NodeView) -> Option<String> {
        hold::cancelled(node, &self.hold.as_ref()?.holder)
    }
}

/// A person's pause on this Node.
fn paused(node: &NodeView) -> Option<String> {
    node.annotation(keys::PAUSE).map(str::to_owned)
}

/// Whether the pause after a failure is over.
fn is_retry(input: &Input) -> bool {
    matches!(input, Input::Due(Timer::Retry(_)))
}
