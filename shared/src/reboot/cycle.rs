//! The agent's cycle: lock → cordon → drain → delay → seal → reboot → return, without any I/O.
//!
//! [`Cycle::step`] takes one input into the state, and gives what to start or say and at most one request.
//! While a request is open the shell delivers nothing but its answer, so each request is one atomic read or write
//! between two states, and a crash can be put between any two of them.
//! Times reach it as facts already compared: a timer is due, or it is not.
//!
//! Not here: how a request is carried out, how long a timer is, and what a report looks like.

use std::collections::BTreeSet;

use crate::hold::{self, Hold, Proof, Signs};
use crate::host::{Boot, HostRecord};
use crate::lock::{EntryId, Share};
use crate::node::NodeView;
use crate::reboot::drain::Progress;
use crate::selector::Selector;

mod edit;
mod input;
mod lock_edit;
mod report;
mod sent;
mod stage;
mod step;

// The phases, in the order in which a reboot goes through them.
mod draining;
mod rebooting;
mod releasing;
mod returning;
mod sealing;
mod start;
mod waiting;

#[cfg(test)]
mod tests;

pub use input::{Answer, Event, Failure, HostState, Input, RebootFailure, Shutdown};
pub use report::{CallOff, Count, Disturbance, Fields, Level, Next, Report};
pub use step::{Act, Ask, Step};

pub use crate::reboot::blocker::{Blocker, PoolCount};
pub use crate::reboot::drain::DrainNews;
pub use crate::reboot::timers::Timer;

use sent::Sent;
use stage::{Rebooting, Stage};

/// How often a seal may be outrun before the next try waits a while.
pub const SEAL_TRIES_MAX: u8 = 30;
/// How many reboot commands one hold may lead to, whatever the host shows of them; then the agent stays sealed and says so.
pub const ATTEMPTS_MAX: u8 = 2;
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
    /// `--on-uncordon`.
    pub on_uncordon: OnUncordon,
    /// How many times the node is drained again before the reboot is called off.
    pub redrains_max: u8,
    /// Whether there is a `--lock-release-delay`.
    pub delays_release: bool,
    /// What is shown on the Node beside the marks.
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
    settings: Settings,
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
    /// What postponed the reboot when it was last asked.
    blockers: Vec<Blocker>,
    /// [`Timer::Stall`] is over: the next look at a full lock says how its holders look.
    stalled: bool,
    retries: u8,
    /// Said once, until it changes.
    said: Option<Report>,
}

impl Cycle {
    /// An agent that has just started; its first input is [`Input::Started`].
    pub fn new(settings: Settings) -> Cycle {
        Cycle {
            settings,
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
            blockers: Vec::new(),
            stalled: false,
            retries: 0,
            said: None,
        }
    }

    /// One step. `chance` are 128 random bits that no other step was given.
    pub fn step(&mut self, input: Input, chance: Proof) -> Step {
        if self.is_echo(&input) {
            return Step::rest();
        }
        self.chance = Some(chance);
        self.note(&input);
        let step = match input {
            Input::Started => self.start(),
            Input::Answer(answer) => self.answered(answer),
            Input::Event(event) => self.happened(event),
        };
        self.chance = None;
        step
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
        let why = failure.to_string();
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
        EntryId::new(&self.settings.node, self.created())
    }

    /// The `created` of our hold.
    fn created(&self) -> &str {
        self.hold.as_ref().map_or("", |hold| hold.holder.created.as_str())
    }

    /// Random bits for a write; a step asks for one write at most.
    fn proof(&mut self) -> Proof {
        self.chance.take().unwrap_or_else(|| Proof::new(0))
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

/// Whether the pause after a failure is over.
fn is_retry(event: &Event) -> bool {
    matches!(event, Event::Due(Timer::Retry(_)))
}
