//! The agent's cycle: lock → cordon → drain → delay → seal → reboot → return, as a pure function.
//!
//! [`step`] takes the state and one input and gives the next state, what to start or say, and at most one request.
//! While a request is open the shell delivers nothing but its answer, so each request is one atomic read or write
//! between two states, and a crash can be put between any two of them.
//! Times reach it as facts already compared: a timer is due, or it is not.
//!
//! Not here: how a request is carried out, how long a timer is, and what a report looks like.

use std::collections::{BTreeMap, BTreeSet};

use crate::hold::{self, Hold, NodePatch, Phase, Proof, Signs};
use crate::host::{Boot, HostRecord};
use crate::keys;
use crate::lock::{Entry, EntryId, Share};
use crate::node::NodeView;
use crate::reboot::drain::Progress;
use crate::reboot::lock_object::LockView;
use crate::selector::Selector;

use crate::hold::PatchKind;

mod input;
mod outcome;
mod report;
mod returning;
mod sealing;
mod start;
mod waiting;
mod working;

#[cfg(test)]
mod tests;

pub use input::{Answer, Event, Failure, HostState, Input, PoolCount, RebootFailure, Shutdown};
pub use outcome::{Act, Ask, Step};
pub use report::{CallOff, Disturbance, Next, Report};

pub use crate::reboot::drain::DrainNews;
pub use crate::reboot::timers::Timer;

/// How often a seal may be outrun before the next try waits a while.
pub const SEAL_TRIES_MAX: u8 = 30;
/// How many reboot commands one hold may lead to, whatever the host shows of them; then the agent stays sealed and says so.
pub const ATTEMPTS_MAX: u8 = 2;
/// Writes of our Node whose outcome is not known and that are remembered. Of older ones none would be taken for ours.
const SENT_MAX: usize = 8;
/// Versions of our own that the watch has yet to deliver. A watch that is silent for long has a gap, which clears them.
const ECHOES_MAX: usize = 64;
/// Where the count of retries stops growing: the shell's pause has reached its bound long before.
const RETRIES_MAX: u8 = 10;

/// What an operator decided. It does not change while the agent runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
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
    policy: Settings,
    /// The boot that the host is in, known once it was asked.
    boot: Boot,
    stage: Stage,
    /// What an agent before this process left in the host's `/run`; none from the first rest on.
    left: Option<HostRecord>,
    /// Whether this process has been at rest. Marks that it then finds and has not written are somebody else's.
    has_rested: bool,
    /// The marks as this process last wrote them or, before that, as it has reason to believe that they are.
    hold: Option<Hold>,
    /// The Node as the watch last delivered it, or as our last write left it: every write is a compare-and-swap on it.
    seen: Option<NodeView>,
    /// Versions that our own writes made and that the watch has yet to deliver: their answers have said it all.
    echoes: Vec<String>,
    /// Writes of our Node that may have landed or may land yet.
    sent: Vec<Sent>,
    /// One of them is known to have given the cordon back.
    gave_back: bool,
    /// The write that acquired the lock, and what it says that the cordon was.
    acquired: Option<(Proof, bool)>,
    /// Random bits for the one write that a step may ask for.
    chance: Option<Proof>,
    /// Whether the sentinel asks for a reboot; `None` until it was looked at.
    wanted: Option<bool>,
    backing_off: bool,
    redrains: u8,
    /// How far this drain has come.
    progress: Option<Progress>,
    /// The drain took too long, and the reboot goes on without an empty node.
    is_forced: bool,
    /// The controllers whose pods this drain leaves on the node.
    kept: BTreeSet<String>,
    /// How many Nodes the pool had when it was last counted.
    pool_size: Option<usize>,
    /// [`Timer::Stall`] is over: the next look at a full lock says how its holders look.
    stalled: bool,
    retries: u8,
    /// Said once, until it changes.
    said: Option<Report>,
}

/// A write of our Node that is open, or whose answer never came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sent {
    patch: NodePatch,
    /// Nobody knows that it was refused: a copy of it was not answered, or it was outrun, which a copy may have done.
    is_unknown: bool,
}

/// Where the agent is; each variant that names a request waits for its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Starting,
    /// The host is going down or silent, or may yet do what another process told it: ask again when [`Timer::Host`] is due.
    HostBusy,
    /// The host's record, the lock and the Node decide how to go on.
    Resuming(Resuming),
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
        reason: CallOff,
        step: Patching,
    },
    /// The Node is as it was, and the lock entry is kept for a while.
    DelayingRelease {
        id: EntryId,
        step: ReleaseDelay,
    },
    Releasing(Releasing),
}

/// Patch the Node as the watch has shown it; after a gap it is read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Patching {
    Reading,
    Writing,
    /// The patch lost its compare-and-swap: the watch has yet to show to what.
    Outrun,
    Retrying,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Resuming {
    ReadingNode,
    ReadingLock(NodeView),
    /// There is no hold and no entry, but signs of a hold that was lost.
    Tidying,
    Retrying,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stamping {
    Reading,
    Writing,
    /// The stamp's answer never came, or says something else.
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
    Renewing,
    /// The drain is over: on to the delay.
    Ending,
    EndRetrying,
}

/// What a look at our Node may end.
enum Trouble {
    Over(CallOff),
    Disturbed(Disturbance),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sealing {
    ListingPods,
    ReadingLock,
    Confirming,
    Patching,
    /// The patch lost: the watch will deliver what is there.
    AwaitingNode,
    /// Something failed: the check is made again after a pause, and `until` is renewed meanwhile.
    Retrying,
    Renewing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rebooting {
    Issuing,
    /// The command failed: does the host go down all the same?
    AskingHost,
    /// The command was accepted, and [`Timer::Reboot`] is over: will the host still go down?
    AskingOverdue,
    Waiting,
    /// An agent that starts on a seal without a record waits for as long as a reboot may take, then asks the host.
    WaitingOut,
    WaitedOut,
    /// No attempt is left: a person has to look.
    GivenUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Returning {
    Reading,
    Marking,
    Up(ComingUp),
    RenewReading(ComingUp),
    RenewWriting(ComingUp),
    GiveBackReading,
    GivingBack,
    /// As [`Patching::Outrun`].
    GiveBackOutrun,
    Retrying,
}

/// What a node that is back waits for; a renewal leads back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ComingUp {
    AwaitingReady,
    Soaking,
    /// The give-back failed and is tried again.
    GiveBackRetrying,
}

/// The entry says that the Node was given back, and is kept. That its time is over is written on the Node before the entry
/// goes: the Node first, then the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ReleaseDelay {
    ReadingLock,
    WritingLock,
    LockRetrying,
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

/// One step of the cycle. `chance` are 128 random bits that no other step was given.
pub fn step(mut cycle: Cycle, input: Input, chance: Proof) -> (Cycle, Step) {
    if cycle.is_echo(&input) {
        return (cycle, Step::rest());
    }
    cycle.chance = Some(chance);
    cycle.note(&input);
    let outcome = cycle.take(input);
    cycle.chance = None;
    (cycle, outcome)
}

impl Cycle {
    /// An agent that has just started; its first input is [`Input::Started`].
    pub fn new(policy: Settings) -> Cycle {
        Cycle {
            policy,
            boot: Boot::default(),
            stage: Stage::Starting,
            left: None,
            has_rested: false,
            hold: None,
            seen: None,
            echoes: Vec::new(),
            sent: Vec::new(),
            gave_back: false,
            acquired: None,
            chance: None,
            wanted: None,
            backing_off: false,
            redrains: 0,
            progress: None,
            is_forced: false,
            kept: BTreeSet::new(),
            pool_size: None,
            stalled: false,
            retries: 0,
            said: None,
        }
    }

    /// Whether it has nothing to do and holds nothing.
    pub fn is_idle(&self) -> bool {
        self.stage == Stage::Idle
    }

    /// Whether the marks on its Node are not its to touch, and a person has to look.
    pub fn is_foreign(&self) -> bool {
        self.stage == Stage::Foreign
    }

    /// Whether no attempt is left, and a person has to look.
    pub fn has_given_up(&self) -> bool {
        self.stage == Stage::Rebooting(Rebooting::GivenUp)
    }

    /// Every proof that it knows: a write needs another one.
    pub fn proofs(&self) -> impl Iterator<Item = &Proof> {
        let sent = self.sent.iter().filter_map(|sent| sent.patch.proof());
        let hold = self.hold.as_ref().and_then(|hold| hold.write.as_ref());
        let left = self.left.iter().map(|left| &left.write);
        let before = self.left.iter().filter_map(|left| left.before.as_ref());
        let acquired = self.acquired.as_ref().map(|(write, _)| write);
        sent.chain(hold).chain(left).chain(before).chain(acquired)
    }

    /// Whether the watch delivers a write of ours that was answered, perhaps after a later one was answered too.
    fn is_echo(&mut self, input: &Input) -> bool {
        let Input::Event(Event::Seen(node)) = input else {
            return false;
        };
        let position = self.echoes.iter().position(|version| version == node.version());
        position.is_some_and(|position| {
            drop(self.echoes.drain(..=position));
            true
        })
    }

    /// What is remembered whatever the stage.
    fn note(&mut self, input: &Input) {
        match input {
            Input::Event(Event::Sentinel(wish)) => self.wanted = Some(wish.is_some()),
            Input::Event(Event::Due(Timer::Backoff)) => self.backing_off = false,
            Input::Event(Event::Seen(node)) => {
                self.settle(node);
                if self.seen.is_some() {
                    self.lost(node);
                } else {
                    self.may_have_cordoned(node);
                }
                // Without a hold it would say nothing.
                if self.hold.is_some() {
                    self.seen = Some(node.clone());
                }
            }
            Input::Event(Event::Gap) => {
                self.seen = None;
                self.echoes.clear();
            }
            // That copy has not landed, and one that was sent before it may have.
            Input::Answer(Answer::Patched(Err(Failure::Refused(_)))) => {}
            // Nor that it lost: what it conflicts with may be a copy of itself that something on the way has sent too.
            Input::Answer(Answer::Patched(Err(_))) => {
                if let Some(sent) = self.sent.last_mut() {
                    sent.is_unknown = true;
                }
            }
            _ => {}
        }
    }

    fn take(&mut self, input: Input) -> Step {
        match self.stage.clone() {
            Stage::Starting => self.starting(input),
            Stage::HostBusy => self.host_busy(&input),
            Stage::Resuming(step) => self.resuming(step, input),
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
    fn ask(&mut self, stage: Stage, request: Ask) -> Step {
        self.stage = stage;
        Step::ask(request)
    }

    /// Goes to a stage that waits for a timer, an event or a person.
    fn rest(&mut self, stage: Stage, acts: impl IntoIterator<Item = Act>) -> Step {
        self.stage = stage;
        Step::rest().after(acts)
    }

    /// Goes to a stage that waits for [`Timer::Retry`], and says what failed.
    fn retry(&mut self, stage: Stage, what: &'static str, failure: &Failure) -> Step {
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
        Step::rest()
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

    /// Random bits for a write; a step asks for one write at most.
    fn proof(&mut self) -> Proof {
        self.chance.take().unwrap_or_else(|| Proof::new(0))
    }

    /// Asks for a write of our Node. What it leaves is written down on the host first, but for a renewal.
    fn write(&mut self, stage: Stage, mut patch: NodePatch) -> Step {
        if patch.kind != PatchKind::Renew {
            patch.record = self.record_of(&patch);
        }
        // What is tried again is the same write with the same proof: of all its copies one lands at most.
        let again = self.sent.iter().position(|sent| sent.patch.is_copy(&patch));
        let sent = match again {
            Some(again) => self.sent.remove(again),
            None => Sent {
                patch,
                is_unknown: false,
            },
        };
        if self.sent.len() >= SENT_MAX {
            let refused = self.sent.iter().position(|sent| !sent.is_unknown);
            drop(self.sent.remove(refused.unwrap_or(0)));
        }
        let request = Ask::PatchNode(sent.patch.clone());
        self.sent.push(sent);
        self.ask(stage, request)
    }

    /// What the host is to remember of a write, and of an attempt that follows it.
    fn record_of(&self, patch: &NodePatch) -> Option<HostRecord> {
        let before = self.hold.as_ref();
        let write = patch.proof()?.clone();
        let hold = patch.leaves.as_ref().or(before)?;
        let phase = patch.leaves.as_ref().map(|leaves| leaves.phase);
        let wish = before.filter(|before| before.phase == Phase::Wanted);
        Some(HostRecord {
            before: wish.and_then(|wish| wish.write.clone()),
            // Counted as the seal will leave it only once the command is to be run.
            attempts: before.map_or(0, |before| before.attempts),
            ..HostRecord::of(hold, write, phase)
        })
    }

    /// The watch goes on from the Node as it was just read, so that it tells for certain what becomes of a write on it.
    fn watch_from(&mut self, node: &NodeView) -> Act {
        self.seen = Some(node.clone());
        self.echoes.clear();
        Act::Watch(Some(node.version().to_owned()))
    }

    /// The Node as it was read after a gap: what it shows of our writes is all that can be known, and the watch goes on from it.
    fn read_anew(&mut self, node: &NodeView) -> Act {
        self.settle(node);
        self.may_have_cordoned(node);
        self.watch_from(node)
    }

    /// What this Node shows of the writes whose outcome was not known.
    ///
    /// A proof is public once it has landed: it shows that this write landed, and nothing about the other marks.
    fn settle(&mut self, node: &NodeView) {
        // Whatever somebody has put back: the newest that is shown has landed last.
        let Some(landed) = self.sent.iter().rposition(|sent| sent.patch.is_shown_on(node)) else {
            return;
        };
        let patch = self.sent.swap_remove(landed).patch;
        let is_next = self
            .seen
            .as_ref()
            .is_some_and(|seen| seen.version() == patch.version);
        // Each was a compare-and-swap on a version that is gone.
        self.sent.clear();
        let is_sealing = matches!(self.stage, Stage::Sealing { .. });
        match patch.leaves {
            // A seal that is seen too late: its command was not run, and never is.
            Some(leaves) if patch.kind == PatchKind::Seal && !is_sealing => {
                self.hold = Some(leaves);
                self.not_attempted();
            }
            Some(leaves) => self.hold = Some(leaves),
            // Another webhook has made something else of it.
            None if is_next && !patch.has_ended(node) => {}
            None => self.gave_back = true,
        }
    }

    /// The watch delivers every version in order: what was a compare-and-swap on the one before this has lost it.
    fn lost(&mut self, node: &NodeView) {
        let before = self.seen.as_ref().map(NodeView::version);
        if let Some(before) = before.filter(|before| *before != node.version()) {
            let before = before.to_owned();
            self.sent.retain(|sent| sent.patch.version != before);
        }
    }

    /// What was answered has not landed, and never will. What was not may.
    fn unsent(&mut self) {
        self.sent.retain(|sent| sent.is_unknown);
    }

    /// The answer to a write that leaves marks: whether the Node is as it was written, and nothing else.
    ///
    /// Other webhooks see our writes too, and may change or drop what they like.
    fn is_as_written(&mut self, node: &NodeView) -> bool {
        self.settle(node);
        self.seen = Some(node.clone());
        if self.echoes.len() >= ECHOES_MAX {
            drop(self.echoes.remove(0));
        }
        self.echoes.push(node.version().to_owned());
        let is_cordoned = self.hold.as_ref().is_some_and(|hold| hold.phase == Phase::Wanted)
            || !self.policy.verify
            || (node.spec.unschedulable && node.is_tainted(keys::REBOOTING));
        self.is_ours_alone(node) && is_cordoned
    }

    /// Whether the Node shows our marks, the very set that this process wrote last.
    fn is_ours_alone(&self, node: &NodeView) -> bool {
        let mine = self.hold.as_ref();
        let shown = self.ours(node);
        mine.zip(shown).is_some_and(|(mine, shown)| shown.is_same(mine))
    }

    /// Our hold as this Node shows it, or `None` if the Node shows none or another.
    fn ours(&self, node: &NodeView) -> Option<Hold> {
        let mine = self.hold.as_ref()?;
        let shown = hold::read(node)
            .present()
            .filter(|shown| shown.holder == mine.holder);
        shown.filter(|shown| node.metadata.uid == shown.holder.node_uid)
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
    matches!(input, Input::Event(Event::Due(Timer::Retry(_))))
}
