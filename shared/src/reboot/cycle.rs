//! The agent's cycle, without any I/O: lock → cordon → drain → delay → seal → reboot → return.
//!
//! [`Cycle::step`] takes one input, changes the state, and returns what to start, stop or report and at most one request.
//! While a request is open, the driver delivers nothing but its answer. A request may take several calls, but no event changes the state
//! between them. So a test can put a crash before and after each request.
//! The cycle has no clock: the driver tells it which timer is due.
//!
//! Not here: how a request is carried out ([`crate::reboot::driver`]) and how long a timer runs ([`crate::reboot::timers`]).

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::hold::{self, Hold, NodePatch, Proof, RebootRequest, Signs, Tally};
use crate::host::{Boot, HostRecord};
use crate::lock::{EntryId, Share};
use crate::node::NodeView;
use crate::reboot::drain::{Cost, Progress};
use crate::reboot::silence::Held;
use crate::selector::Selector;

mod deferred;
mod edit;
mod input;
mod lock_edit;
mod report;
mod requested;
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

pub use input::{Answer, Event, Failure, HostState, Input, RebootFailure, Shutdown, Wanted};
pub use report::{
    CallOff, Count, Course, Disturbance, DrainResult, EvictionRefused, Fields, Level, Message, Next,
    RebootResult, Report, Row, Told, Unmeasured, Unsealed,
};
pub use step::{Act, Ask, Step};

pub use crate::reboot::blocker::{Blocker, PoolCount};
pub use crate::reboot::drain::DrainNews;
pub use crate::reboot::readiness::Missing;
pub use crate::reboot::timers::Timer;

use deferred::Remembered;
use edit::Edit;
use lock_edit::LockEdit;
use sent::Sent;
use stage::{Rebooting, Stage};

/// How many times in a row a seal may lose its compare-and-swap before the whole final check is made again after a pause.
pub const SEAL_TRIES_MAX: u8 = 30;
/// How many reboot commands one hold may lead to, whatever the host shows. Then the node stays cordoned, and the agent reports it.
pub const ATTEMPTS_MAX: u8 = 2;
/// The count of retries stops here: the pause that follows from it has reached its own limit earlier.
const RETRIES_MAX: u8 = 10;

/// What an operator decided. It does not change while the agent runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "independent settings, each named")]
pub struct Settings {
    /// The Node's name.
    pub node: String,
    /// The label selector of the pool's Nodes.
    pub pool: Selector,
    /// How many nodes of the pool may be in a reboot at once; at least 1.
    pub concurrency: Share,
    /// `--verify-before-reboot`, with `auto` already resolved.
    ///
    /// `false` is kured's behaviour: no taint, and cordon and pods are not checked again before the reboot.
    pub verify: bool,
    /// `--on-uncordon`.
    pub on_uncordon: OnUncordon,
    /// How many times the node is drained again before the reboot is called off.
    pub redrains_max: u8,
    /// Whether there is a `--lock-release-delay`.
    pub delays_release: bool,
    /// Whether a node that is back must show more than Ready before its cordon is given back (`--ready-when`).
    pub gates_return: bool,
    /// How many reboots of the node are kept on its Node, for `--reboots-max`; 0 keeps none.
    pub reboots_kept: usize,
    /// Whether there is a `--min-interval`, so that the end of every reboot is noted before the next one begins.
    pub keeps_interval: bool,
    /// What asks for reboots, in words, for the account of each on the Node ([`hold::Account`]). `None` keeps no account.
    pub asked_by: Option<String>,
    /// What the Node shows beside the marks.
    pub signs: Signs,
    /// `--force-reboot`: a drain that takes too long does not call the reboot off, and the seal does not look at pods.
    /// Cordon, marks and lock are still checked.
    pub force_reboot: bool,
}

/// What a cleared cordon or a new pod leads to before the reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnUncordon {
    /// Cordon, drain and delay again.
    Redrain,
    /// Call the reboot off, and wait for `--backoff`.
    Abort,
}

/// Everything that an agent remembers. What must survive the process is on the Node, in the lock and in the host's record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each named")]
pub struct Cycle {
    settings: Settings,
    /// The boot that the host is in. Empty until the host has said.
    boot: Boot,
    stage: Stage,
    /// The host's record as an earlier process left it. `None` once this process has been idle.
    left: Option<HostRecord>,
    /// Whether this process has been idle. Marks that it finds after that and did not write itself are somebody else's.
    has_rested: bool,
    /// The marks as this process last wrote them. Before its first write: as it has reason to believe that they are.
    hold: Option<Hold>,
    /// The Node as the watch last showed it or our last write left it. Writes are compare-and-swaps on this version.
    /// `None` after a gap in the watch.
    seen: Option<NodeView>,
    /// Versions that our own writes made and the watch has yet to show. The answers to those writes have already been taken.
    echoes: Vec<String>,
    /// Our writes of the Node that may have landed, or may still land.
    sent: Vec<Sent>,
    /// Whether one of our writes is known to have given the cordon back.
    gave_back: bool,
    /// The first uncordon that is known to be deferred until the end of our hold.
    deferred: Option<Remembered>,
    /// The proof of the write that acquired the lock, and whether it says that the node was cordoned.
    acquired: Option<(Proof, bool)>,
    /// Random bits for the one write that a step may ask for. `None` between steps.
    chance: Option<Proof>,
    /// Whether the sentinel or a request asks for a reboot; `None` until they were looked at.
    wanted: Option<bool>,
    /// Whether the sentinel did so at the last look; `None` before the first.
    by_host: Option<bool>,
    /// The request that did so at the last look.
    request: Option<RebootRequest>,
    /// Up to which time requests were used, as far as this process knows.
    used_up_to: Option<Timestamp>,
    /// The request that our hold has used.
    serves: Option<Timestamp>,
    /// What the sentinel says of the reason, for the account. Empty if it says nothing, or no account is kept.
    wanted_for: String,
    backing_off: bool,
    redrains: u8,
    /// What has happened since the account on the Node was last written. Empty if no account is kept.
    tally: Tally,
    /// How far this drain has come.
    progress: Option<Progress>,
    /// Whether the drain took too long and the reboot goes on although pods are left (`--force-reboot`).
    is_forced: bool,
    /// The controllers whose pods this drain leaves on the node.
    kept: BTreeSet<String>,
    /// How many Nodes the pool had when it was last counted.
    pool_size: Option<usize>,
    /// What postponed the reboot when it was last asked.
    blockers: Vec<Blocker>,
    /// What the node that is back lacked when it was last asked. Empty as well while that was not asked.
    missing: Vec<Missing>,
    /// That no window is open, as the driver has told. Asked again before the lock is taken and before the seal.
    outside: Option<Blocker>,
    /// Whether [`Timer::Stall`] is over: the next look at a full lock reports how the Nodes of its holders look.
    stalled: bool,
    retries: u8,
    /// The last report of those that are not repeated until they change.
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
            deferred: None,
            acquired: None,
            chance: None,
            wanted: None,
            by_host: None,
            request: None,
            used_up_to: None,
            serves: None,
            wanted_for: String::new(),
            backing_off: false,
            redrains: 0,
            tally: Tally::default(),
            progress: None,
            is_forced: false,
            kept: BTreeSet::new(),
            pool_size: None,
            blockers: Vec::new(),
            missing: Vec::new(),
            outside: None,
            stalled: false,
            retries: 0,
            said: None,
        }
    }

    /// Takes one input, and says what to do next. `chance` is 128 random bits that no other step was given.
    pub fn step(&mut self, input: Input, chance: Proof) -> Step {
        // The answer to that write has been taken already. An older version that comes after it would look like somebody's change.
        if self.is_echo(&input) {
            return Step::rest();
        }
        self.chance = Some(chance);
        // Before the stage looks: it judges the Node by what is known of our own writes.
        self.note(&input);
        let step = match input {
            Input::Started => self.start(),
            Input::Answer(answer) => self.answered(answer),
            Input::Event(event) => self.happened(event),
        };
        self.chance = None;
        let told = self.tell_deferred();
        step.after(told)
    }

    /// Whether the agent has no wish and no hold, and nothing to do.
    pub fn is_idle(&self) -> bool {
        self.stage == Stage::Idle
    }

    /// Whether the cycle waits for the lock, and asks nothing just now.
    pub fn is_waiting(&self) -> bool {
        self.stage == Stage::Waiting(stage::Waiting::Resting)
    }

    /// Whether the Node carries marks that the agent must not touch, so that a person has to look.
    pub fn is_foreign(&self) -> bool {
        self.stage == Stage::Foreign
    }

    /// Whether the hold has no reboot attempt left, so that a person has to look.
    pub fn has_given_up(&self) -> bool {
        self.stage == Stage::Rebooting(Rebooting::GivenUp)
    }

    /// Takes what the drain has cost since this was last called, for the account of the reboot if one is kept.
    pub fn drain_cost(&mut self, cost: Cost) {
        if self.settings.asked_by.is_some() {
            self.tally.evicted = self.tally.evicted.saturating_add(cost.evicted);
            self.tally.refused = self.tally.refused.saturating_add(cost.refused);
        }
    }

    /// Takes what the sentinel says of the reason for which it asks, for the account of the reboot if one is kept.
    pub fn wanted_for(&mut self, reason: String) {
        if self.settings.asked_by.is_some() {
            self.wanted_for = reason;
        }
    }

    /// The patch of this version of our Node, with the account of the reboot if one is kept.
    fn accounted(&self, patch: NodePatch, node: &NodeView) -> NodePatch {
        let Some(asked_by) = &self.settings.asked_by else {
            return patch;
        };
        let reason = self.wanted_for.as_str();
        let colon = if reason.is_empty() { "" } else { ": " };
        let why = self.asked_by(&format!("{asked_by}{colon}{reason}"));
        patch.accounted(node, &why, &self.tally)
    }

    /// The hold that this process works for, for the silences that go by it.
    pub fn held(&self) -> Held {
        match &self.stage {
            Stage::Starting | Stage::HostBusy | Stage::Resuming(_) => Held::Unknown,
            // It is about to end, so a process that starts makes no silence for it.
            Stage::Editing(Edit::Undo(_), _) => Held::Unknown,
            Stage::Foreign => Held::Nothing,
            // The Node comes before the lock: nothing of the hold is left on it, or it is another Node by now, so that none was given back.
            Stage::EditingLock {
                edit: LockEdit::Keep(_) | LockEdit::Release { .. },
                ..
            }
            | Stage::DelayingRelease(_)
            | Stage::Editing(Edit::EndReleaseDelay(_), _) => Held::Nothing,
            Stage::Idle
            | Stage::Waiting(_)
            | Stage::Draining
            | Stage::Delaying
            | Stage::Sealing(_)
            | Stage::Rebooting(_)
            | Stage::ComingUp(_)
            | Stage::ListingMissing { .. }
            | Stage::Editing(..)
            | Stage::EditingLock {
                edit: LockEdit::Confirm { .. },
                ..
            } => match &self.hold {
                Some(hold) if !self.gave_back => Held::By(hold.holder.clone(), hold.phase),
                Some(_) | None => Held::Nothing,
            },
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

    /// Goes to a stage that waits for [`Timer::Retry`], and reports what failed.
    fn retry(&mut self, stage: Stage, what: &'static str, failure: &Failure) -> Step {
        self.stage = stage;
        self.retries = self.retries.saturating_add(1).min(RETRIES_MAX);
        let why = failure.to_string();
        // A refusal that lasts does not end by itself: somebody has to change what refuses, so it is an Event as well.
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

    /// Reports this, unless it was the last thing reported by this function.
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

    /// The proof for a new write. A step asks for one write at most.
    fn proof(&mut self) -> Proof {
        self.chance.take().unwrap_or_else(|| Proof::new(0))
    }

    /// Whether the Node shows exactly the marks that this process wrote last.
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
        // A Node that was created anew under this name is another Node, even if somebody copied the marks to it.
        shown.filter(|shown| node.metadata.uid == shown.holder.node_uid)
    }

    /// The reason of a cancel on this Node that names our hold.
    fn cancel(&self, node: &NodeView) -> Option<String> {
        hold::cancelled(node, &self.hold.as_ref()?.holder)
    }
}

/// Whether this event ends the pause after a failure.
fn is_retry(event: &Event) -> bool {
    matches!(event, Event::Due(Timer::Retry(_)))
}
