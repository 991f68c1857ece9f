//! One node of a fleet: its state, since when, what it waits for, and its place in the lock.
//!
//! Not here: what is wrong with it ([`super::Trouble`]).

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Look, Told};
use crate::Reading;
use crate::admission::SKEW;
use crate::hold::{self, Hold, Phase, RebootRequest};
use crate::keys;
use crate::lock::Entry;
use crate::node::NodeView;
use crate::quote::{always_quoted, one_line, quoted};
use crate::reboot::cycle::{Course, Report};
use crate::release::standing;

/// Most characters of a detail: enough for a drain's progress with what blocks it, and for the sentence of a blocker.
pub(super) const DETAIL_MAX: usize = 400;
/// The reason of the Event of a wish that waits for the lock. Its text names no node, so the lock itself is told instead.
const WAITS_FOR_LOCK: &str = "RebootWaitsForLock";
/// The reason of the Event of a host that does not go down.
pub(super) const STUCK: &str = "RebootStuck";
/// Most holders of the lock that a detail names.
const NAMED_MAX: usize = 3;

/// Makes the enum of the states from one row for each: name, word, place in the order of the table, what it means.
macro_rules! states {
    ($($name:ident $word:literal $rank:literal $meaning:literal)+) => {
        /// How a node stands.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum State {
            $(#[doc = $meaning] $name,)+
        }

        impl State {
            /// Every state.
            pub const ALL: &[State] = &[$(State::$name,)+];

            /// The state in tables and in JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(State::$name => $word,)+ }
            }

            /// What the state means, for the manual.
            pub fn meaning(self) -> &'static str {
                match self { $(State::$name => $meaning,)+ }
            }

            /// Where the state stands in a table: what needs a look comes first.
            fn rank(self) -> u8 {
                match self { $(State::$name => $rank,)+ }
            }
        }
    };
}

states! {
    Unreadable "unreadable" 0 "the node carries marks that cannot be read, or that name another Node: it counts as held"
    Sealed     "sealed"     1 "the reboot is under way"
    Returning  "returning"  2 "the host has booted; the agent waits until the node is Ready"
    Delaying   "delaying"   3 "the drain is over, and `--reboot-delay` runs"
    Draining   "draining"   4 "the node is cordoned, and its pods are evicted"
    Kured      "kured"      5 "stock kured's lock names the node: kured reboots it"
    Wanted     "wanted"     6 "the host or a person asks for a reboot, and the agent waits; the node is not held"
    KuredWants "kured-wants" 7 "stock kured wants to reboot the node, and waits for its lock"
    Cordoned   "cordoned"   8 "somebody else has cordoned the node; no reboot holds it"
    Idle       "idle"       9 "nothing of a reboot is on the node"
}

/// A node's place in the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The object that carries the lock.
    pub object: String,
    /// Whether an agent of Cordonhold wrote the entry; else stock kured did.
    pub ours: bool,
    /// Whether the reboot command may have been run for it.
    pub sealed: bool,
    /// When the entry was written, as the writer said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub since: String,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The Node's name.
    pub node: String,
    /// Its pool, if a Lease says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// How it stands.
    pub state: State,
    /// Since when it stands so, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What it does, waits for, or is blocked by.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The `created` of its wish or hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// Until when the webhook keeps it cordoned, unless its agent renews that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What asked for the reboot.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub asked_by: String,
    /// The request for a reboot that is on it and counts: who asks, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested: Option<String>,
    /// Its place in the lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<Place>,
    /// Its place in the queue for the lock; 1 is next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<usize>,
    /// What a person wrote to pause it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// What a person wrote to keep it cordoned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_cordoned: Option<String>,
    /// Whether it is cordoned.
    pub cordoned: bool,
    /// Whether it is Ready.
    pub ready: bool,
}

impl Row {
    pub(super) fn rank(&self) -> u8 {
        self.state.rank()
    }

    /// Whether a table leaves the node out unless it is asked for.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
            && self.paused.is_none()
            && self.keep_cordoned.is_none()
            && self.requested.is_none()
    }
}

impl From<Phase> for State {
    fn from(phase: Phase) -> State {
        match phase {
            Phase::Wanted => State::Wanted,
            Phase::Draining => State::Draining,
            Phase::Delaying => State::Delaying,
            Phase::Sealed => State::Sealed,
            Phase::Returning => State::Returning,
        }
    }
}

/// The marks of a Node, as far as they can be a hold of it; the text says why they cannot.
pub(super) fn own_hold(node: &NodeView) -> Reading<Hold> {
    match hold::read(node) {
        Reading::Present(hold) if !hold.holder.names(node) => {
            Reading::Malformed("they name another Node object".to_owned())
        }
        Reading::Absent if hold::has_marks(node) => {
            Reading::Malformed("there is neither a holder nor a phase".to_owned())
        }
        reading => reading,
    }
}

impl Look<'_> {
    pub(super) fn row(&self, node: &NodeView) -> Row {
        let entry = self.entry_of(node.name());
        let reading = own_hold(node);
        let (state, since, detail) = match &reading {
            Reading::Present(hold) => self.held(node, hold),
            Reading::Malformed(why) => (
                State::Unreadable,
                None,
                format!("its marks are no hold of this Node: {why}"),
            ),
            Reading::Absent => free(node, entry.map(|(_, entry)| entry)),
        };
        let hold = reading.present();
        let account = hold::account(node).present();
        let queue = self.waiting.values().find_map(|nodes| {
            let place = nodes.iter().position(|name| name == node.name())?;
            Some(place + 1)
        });
        Row {
            node: node.name().to_owned(),
            pool: self.pool_of(node).map(str::to_owned),
            state,
            since,
            detail: one_line(&detail, DETAIL_MAX),
            until: hold.as_ref().and_then(|hold| hold.until),
            asked_by: account.map(|account| account.why).unwrap_or_default(),
            requested: self.request(node).map(|reason| one_line(&reason, DETAIL_MAX)),
            hold: hold.map(|hold| hold.holder.created),
            lock: entry.map(|(lock, entry)| Place {
                object: lock.object.clone(),
                ours: entry.is_ours(),
                sealed: entry.sealed,
                since: if entry.acquired.is_empty() {
                    entry.created.clone()
                } else {
                    entry.acquired.clone()
                },
            }),
            queue,
            paused: node
                .annotation(keys::PAUSE)
                .map(|text| one_line(text, DETAIL_MAX)),
            keep_cordoned: node
                .annotation(keys::KEEP_CORDONED)
                .map(|text| one_line(text, DETAIL_MAX)),
            cordoned: node.spec.unschedulable,
            ready: node.is_ready(),
        }
    }

    /// The request on this Node that counts: one that its hold has used, or one that nobody has used.
    fn request(&self, node: &NodeView) -> Option<String> {
        let used_up_to = self.seen.used_up_to(node.name());
        let served = self.served(node).map(|request| request.reason);
        served.or_else(|| standing(node, used_up_to, self.now).map(|request| request.reason))
    }

    /// The request on this Node that its place in the lock has used.
    pub(super) fn served(&self, node: &NodeView) -> Option<RebootRequest> {
        let request = hold::reboot_request(node)?.ok()?;
        let (_, entry) = self.entry_of(node.name())?;
        (entry.requested_at() == Some(request.at)).then_some(request)
    }

    fn held(&self, node: &NodeView, hold: &Hold) -> (State, Option<Timestamp>, String) {
        let created: Option<Timestamp> = hold.holder.created.parse().ok();
        let account = hold::account(node).present();
        let of_phase = account.filter(|account| account.phase == Some(hold.phase));
        let since = of_phase.and_then(|account| account.since).or(created);
        let told = self.wait_of(node, created);
        let detail = match hold.phase {
            Phase::Wanted => self.waits_for(node, told),
            Phase::Draining => node
                .annotation(keys::DRAIN_PROGRESS)
                .map_or_else(|| "evicting pods".to_owned(), str::to_owned),
            Phase::Delaying => told.map_or_else(
                || "drained; --reboot-delay runs".to_owned(),
                |told| reason_of(&told.note),
            ),
            Phase::Sealed => self.sealed(node, hold, told),
            Phase::Returning if !node.is_ready() => "has booted; waits until the node is Ready".to_owned(),
            Phase::Returning => told.map_or_else(
                || "is back and Ready; its cordon is given back after --soak".to_owned(),
                |told| reason_of(&told.note),
            ),
        };
        (hold.phase.into(), since, detail)
    }

    fn sealed(&self, node: &NodeView, hold: &Hold, told: Option<&Told>) -> String {
        let is_over = hold.is_silent(self.now, SKEW);
        match told {
            Some(told) if told.reason == STUCK => reason_of(&told.note),
            _ if is_over => "the time for its reboot is over, and it is not back".to_owned(),
            _ if node.is_ready() => "the reboot command runs".to_owned(),
            _ => "the host is down".to_owned(),
        }
    }

    /// What a wish waits for.
    fn waits_for(&self, node: &NodeView, told: Option<&Told>) -> String {
        let pool = self.pool_of(node).unwrap_or_default();
        let of_pool = |lock: &super::Lock| match &lock.pool {
            Some((name, _)) => name == pool,
            None => true,
        };
        let paused = self
            .locks
            .iter()
            .filter(|lock| of_pool(lock))
            .find_map(|lock| lock.paused.as_deref());
        if let Some(word) = node.annotation(keys::PAUSE) {
            return format!("this node is paused: {}", always_quoted(word, DETAIL_MAX));
        }
        if let Some(word) = paused {
            return format!("the pool is paused: {}", always_quoted(word, DETAIL_MAX));
        }
        if let Some(told) = told.filter(|told| told.reason != WAITS_FOR_LOCK) {
            return reason_of(&told.note);
        }
        let holders = self.holders(pool);
        let named: Vec<String> = holders.iter().take(NAMED_MAX).map(|name| quoted(name)).collect();
        match (holders.len(), holders.len().saturating_sub(NAMED_MAX)) {
            (0, _) => "waits for its turn".to_owned(),
            (1, _) => format!("waits for the lock: {} has it", named.join("")),
            (_, 0) => format!("waits for the lock: {} have it", named.join(", ")),
            (_, more) => format!("waits for the lock: {} and {more} more have it", named.join(", ")),
        }
    }

    /// The last Event of the agent that says what this node waits for, since its wish.
    pub(super) fn wait_of(&self, node: &NodeView, since: Option<Timestamp>) -> Option<&Told> {
        let begun = since.map(|since| {
            since
                .saturating_sub(SignedDuration::from_secs(1))
                .unwrap_or(since)
        });
        let told = self.seen.told.iter().filter(|told| told.node == node.name());
        let told = told.filter(|told| begun.is_none_or(|begun| told.at >= begun));
        let last = told.max_by_key(|told| told.at)?;
        is_wait(&last.reason).then_some(last)
    }
}

/// Whether an Event with this reason says what its node waits for, by the table of the reports.
fn is_wait(reason: &str) -> bool {
    let mut rows = Report::ROWS.iter();
    rows.any(|row| row.reason == Some(reason) && matches!(row.course, Course::Wait | Course::Repeated))
}

/// The part of an Event's message that says why: what follows the text of its report.
fn reason_of(note: &str) -> String {
    let texts = Report::ROWS.iter().flat_map(|row| row.texts);
    let mut rests = texts.filter_map(|text| note.strip_prefix(text)?.strip_prefix(": "));
    rests.next().unwrap_or(note).to_owned()
}

/// The state of a node without marks.
fn free(node: &NodeView, entry: Option<&Entry>) -> (State, Option<Timestamp>, String) {
    if let Some(entry) = entry.filter(|entry| !entry.is_ours()) {
        let what = "kured has the lock for it".to_owned();
        return (State::Kured, entry.created.parse().ok(), what);
    }
    let mark = [keys::KURED_REBOOT_IN_PROGRESS, keys::KURED_V2_REBOOT_IN_PROGRESS]
        .into_iter()
        .find_map(|key| node.annotation(key));
    if let Some(mark) = mark {
        return (
            State::KuredWants,
            mark.parse().ok(),
            "kured wants to reboot it".to_owned(),
        );
    }
    if hold::release_at(node).is_some() || entry.is_some() {
        return (
            State::Idle,
            None,
            "its place in the lock is kept for a while".to_owned(),
        );
    }
    if node.spec.unschedulable {
        let says = "cordoned by somebody else, for no reboot of ours".to_owned();
        return (State::Cordoned, None, says);
    }
    (State::Idle, None, String::new())
}
