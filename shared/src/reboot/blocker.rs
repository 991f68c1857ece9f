//! What postpones a reboot. The same list is asked for before the lock is taken, and again as the first step of the final check.
//!
//! A new kind of blocker needs a variant of [`Blocker`], the facts by which it is found, and its text. One that somebody else has to
//! be asked about is a [`Question`] too.
//!
//! Not here: what a blocker says to people (`text`), what the pool's Nodes show (`pool`), how those facts are read ([`crate::reboot::driver`]), and what the cycle does while something blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::Reading;
use crate::hold;
use crate::keys;
use crate::lock::{EntryId, Record, Share};
use crate::node::NodeView;
use crate::quote::{QUOTED_MAX, always_quoted};
use crate::reboot::lock_object::LockView;
use crate::reboot::moment::Moment;
use crate::reboot::object::ObjectRule;
use crate::reboot::prometheus::{AlertFilter, Series};
use crate::selector::Selector;

pub mod budgets;
pub mod pods;

use budgets::{Drainable, Refusal};
use pods::PodRule;

mod foreign;
mod pool;
mod text;

pub use foreign::Foreign;
pub use pool::{Look, PoolCount};
pub(crate) use text::listed;
pub use text::{kinds, sentences};

/// Something that postpones a reboot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Blocker {
    /// No window is open, or none is open for long enough. While this blocks, nothing else is asked, so it stands alone.
    OutsideWindow {
        /// The windows, as people read them.
        windows: String,
        /// When a reboot may begin, in the time zone of the window that opens then. `None`: never.
        opens: Option<String>,
        /// How long the reboot takes that has to end in a window; `None` if it need not.
        needs: Option<SignedDuration>,
    },
    /// A person has paused this node, and written this.
    NodePaused(String),
    /// A person has paused the whole pool, and written this.
    PoolPaused(String),
    /// More Nodes of the pool than allowed are not Ready. Nodes in a reboot and our own do not count.
    Unavailable {
        /// The Nodes that are not Ready, by name.
        unready: BTreeSet<String>,
        /// How many may be.
        allowed: usize,
    },
    /// Alerts of these names are active in Prometheus.
    Alerts(BTreeSet<String>),
    /// The expression of a `--blocker-promql` returns series.
    Series {
        /// The expression.
        expression: String,
        /// How many series there are.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// Pods on this node that a flag selects.
    Pods {
        /// The flag, with `--`.
        flag: &'static str,
        /// The pods, as `namespace/name`.
        names: BTreeSet<String>,
    },
    /// The expression of a `--blocker-object` is true of its object.
    Object {
        /// The object, as the flag names it.
        object: String,
        /// The expression.
        expression: String,
    },
    /// Budgets that would refuse an eviction of the drain.
    Budgets(Vec<Refusal>),
    /// This `--blocking-node-selector` selects our Node.
    NodeLabels(String),
    /// Our Node has an annotation that a `--blocking-node-annotation` names.
    NodeAnnotation {
        /// The annotation's key.
        key: String,
        /// Its value.
        value: String,
    },
    /// Our node has rebooted again and again, and still asks for a reboot.
    Loop {
        /// How many reboots ended within the time before the wish.
        count: usize,
        /// The `--reboots-max`.
        max: RebootsMax,
        /// When the last of them ended.
        last: Timestamp,
    },
    /// How often our node has rebooted cannot be read, for this reason.
    LoopUnreadable(String),
    /// The pool's last reboot ended less than `--min-interval` ago.
    MinInterval {
        /// When it ended, by the clock of the node that noted it.
        ended: Timestamp,
        /// The `--min-interval`.
        interval: SignedDuration,
        /// When the next reboot may begin.
        until: Timestamp,
    },
    /// When the pool's last reboot ended cannot be read, for this reason.
    LastRebootUnreadable(String),
    /// Other nodes in a reboot have another value of a label of `--spread-by` than ours.
    Spread {
        /// The label.
        label: String,
        /// Our Node's value; `None` if it has no such label.
        ours: Option<String>,
        /// The other nodes, by name, with their values.
        others: BTreeMap<String, Option<String>>,
    },
    /// Our node is in somebody else's reboot.
    ForeignReboot(Foreign),
    /// Nodes in somebody else's reboot fill `--concurrency`, together with those in the lock and those that are held.
    ForeignReboots {
        /// The former, by name.
        foreign: BTreeMap<String, Foreign>,
        /// How many the latter are.
        others: usize,
        /// How many nodes may be in a reboot at once.
        allowed: usize,
    },
    /// Programs on the host that block a shutdown, each with the reason it gives.
    Inhibitors(BTreeSet<String>),
    /// A question that nobody has answered.
    Unanswered {
        /// Who was asked for what.
        question: String,
        /// When the first attempt without an answer was made.
        since: Timestamp,
        /// Why there is no answer, and how to fix that.
        why: String,
    },
}

/// Gives each blocker its kind. One row for each: the word, what to do about it, and the variants.
macro_rules! kinds {
    ($($word:literal $remedy:literal $pattern:pat,)+) => {
        impl Blocker {
            /// All kinds of blockers.
            pub const KINDS: &[&'static str] = &[$($word),+];

            /// Each kind with what to do about it.
            pub const REMEDIES: &[(&'static str, &'static str)] = &[$(($word, $remedy)),+];

            /// Its kind in one word, for a label.
            pub fn kind(&self) -> &'static str {
                match self { $($pattern => $word,)+ }
            }
        }
    };
}

kinds! {
    "outside_window" "Nothing to do: `why` says when a reboot may begin. Until then nothing else is asked"
        Blocker::OutsideWindow { .. },
    "node_paused" "End the pause of the Node when it may reboot: `kubectl cordonhold resume NAME`" Blocker::NodePaused(_),
    "pool_paused" "End the pause of the pool when its nodes may reboot: `kubectl cordonhold resume --pool`" Blocker::PoolPaused(_),
    "unavailable" "Bring back the Nodes that `why` names, or allow more with `--max-unavailable`" Blocker::Unavailable { .. },
    "alerts" "Mend what the alerts in `why` are about, or leave them out with `--alert-filter-regexp`" Blocker::Alerts(_),
    "promql" "Mend what `why` names, or change the expression of `--blocker-promql`" Blocker::Series { .. },
    "pods" "Wait until the pods that `why` names have ended, or move them" Blocker::Pods { .. },
    "object" "Wait until the expression in `why` is false, or change the object" Blocker::Object { .. },
    "budgets" "Let more pods of the budgets that `why` names be Ready, or change these budgets" Blocker::Budgets(_),
    "node_labels" "Remove from the Node the label that `why` names: `kubectl label node NAME KEY-`" Blocker::NodeLabels(_),
    "node_annotation" "Remove from the Node the annotation that `why` names: `kubectl annotate node NAME KEY-`"
        Blocker::NodeAnnotation { .. },
    "reboots_max" "The node reboots again and again: find out why it still asks for a reboot, then run \
        `kubectl annotate node NAME cordonhold.dev/reboots-`" Blocker::Loop { .. } | Blocker::LoopUnreadable(_),
    "min_interval" "Nothing to do: `why` says when it goes on" Blocker::MinInterval { .. } | Blocker::LastRebootUnreadable(_),
    "spread_by" "Wait until the nodes that `why` names are back" Blocker::Spread { .. },
    "foreign_reboot" "Wait until the nodes that `why` names are back" Blocker::ForeignReboot(_) | Blocker::ForeignReboots { .. },
    "inhibitors" "Wait until the programs that `why` names have ended, or end them" Blocker::Inhibitors(_),
    "unanswered" "Nobody answered: `why` says who, since when and what to fix" Blocker::Unanswered { .. },
}

/// What an operator decided about what postpones a reboot, beside windows and pauses.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// `--max-unavailable`: no reboot begins while more Nodes of the pool than this are not Ready. Nodes in a reboot and our own do not
    /// count.
    pub max_unavailable: Option<Share>,
    /// `--blocking-node-selector`: our Node blocks while one of these selects it.
    pub node_labels: Vec<Selector>,
    /// `--blocking-node-annotation`: our Node blocks while it has one of these.
    pub node_annotations: Vec<Annotation>,
    /// `--reboots-max`: how often our node may reboot.
    pub reboots_max: Option<RebootsMax>,
    /// `--min-interval`: the least time between the end of a reboot of the pool and the beginning of the next.
    pub min_interval: Option<SignedDuration>,
    /// `--spread-by`: nodes in a reboot at once have the same values of these labels.
    pub spread_by: Vec<String>,
    /// `--foreign-reboot`: whose reboots count against `--concurrency` too.
    pub foreign: Vec<Foreign>,
    /// Which active alerts of Prometheus block; `None`: its alerts are not asked for.
    pub alerts: Option<AlertFilter>,
    /// `--blocker-promql`: each expression blocks while it returns any series.
    pub promql: Vec<String>,
    /// `--blocking-pod-selector` and `--blocking-pods`: a pod on the node that one of these selects blocks.
    pub pods: Vec<PodRule>,
    /// `--blocker-object`: each blocks while its expression is true of its object.
    pub objects: Vec<ObjectRule>,
    /// `--preflight`: a budget that would refuse an eviction of the drain blocks, until the lock is taken.
    pub preflight: Option<Preflight>,
    /// Whether a program on the host blocks that has told logind to block a shutdown: where logind reboots the host.
    pub inhibitors: bool,
    /// `--blocker-timeout`: how long a question without an answer blocks. `None`: for ever.
    pub timeout: Option<Duration>,
}

/// An annotation of a `--blocking-node-annotation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// Its key.
    pub key: String,
    /// The value that it must have; `None` is any.
    pub value: Option<String>,
}

/// A `--reboots-max`: a wish waits for a person if as many reboots as this ended within this time before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RebootsMax {
    /// How many reboots; at least 1, and at most [`hold::REBOOTS_KEPT_MAX`].
    pub count: usize,
    /// The time before the wish.
    pub within: SignedDuration,
}

/// How a drain treats pods that are on their way out, which decides what it would evict.
#[derive(Clone, Copy, Debug)]
pub struct Preflight {
    /// `--skip-wait-for-delete-timeout`.
    pub skip_wait: Option<SignedDuration>,
}

/// Something that somebody else has to be asked about.
#[derive(Clone, Copy, Debug)]
pub enum Question<'a> {
    /// Which alerts are active in Prometheus?
    Alerts(&'a AlertFilter),
    /// Does this `PromQL` expression return any series?
    Promql(&'a str),
    /// Which pods on our node does this select?
    Pods(&'a PodRule),
    /// Is this expression true of this object?
    Object(&'a ObjectRule),
    /// Which budgets would refuse an eviction of a drain?
    Budgets(Preflight),
    /// Which programs on the host block its shutdown?
    Inhibitors,
}

/// What the answer to a question shows.
#[derive(Clone, Debug)]
pub enum Found {
    /// The series of a query.
    Series(Vec<Series>),
    /// Pods, as `namespace/name`.
    Pods(BTreeSet<String>),
    /// Whether an expression is true of its object.
    Truth(bool),
    /// The pods that a drain looks at, and the budgets of their namespaces.
    Drainable(Drainable),
    /// Programs on the host that block its shutdown, each with the reason it gives.
    Inhibitors(BTreeSet<String>),
}

impl Rules {
    /// Whether the pool's Nodes have to be listed.
    pub fn needs_pool(&self) -> bool {
        self.max_unavailable.is_some() || self.needs_others()
    }

    /// Whether the other nodes in a reboot have to be known.
    pub fn needs_others(&self) -> bool {
        !self.spread_by.is_empty() || !self.foreign.is_empty()
    }

    /// What to look for on the pool's Nodes, for our Node of this name and this lock.
    pub fn look(&self, node: &str, lock: LockView) -> Look {
        Look {
            node: node.to_owned(),
            lock,
            spread_by: self.spread_by.clone(),
            foreign: self.foreign.clone(),
        }
    }

    /// All questions, in the order in which they are asked.
    pub fn questions(&self) -> impl Iterator<Item = Question<'_>> {
        let alerts = self.alerts.iter().map(Question::Alerts);
        let promql = self.promql.iter().map(|text| Question::Promql(text));
        let pods = self.pods.iter().map(Question::Pods);
        let objects = self.objects.iter().map(Question::Object);
        let budgets = self.preflight.map(Question::Budgets);
        let inhibitors = self.inhibitors.then_some(Question::Inhibitors);
        let asked = alerts.chain(promql).chain(pods).chain(objects);
        asked.chain(budgets).chain(inhibitors)
    }
}

impl Question<'_> {
    /// Whether it is still asked when the node is drained. The budgets of pods that have left say nothing of its reboot.
    pub fn is_asked_at_the_end(self) -> bool {
        !matches!(self, Question::Budgets(_))
    }

    /// What blocks by this answer, if anything does. The driver asks for the answer that fits; any other shows nothing.
    fn blocker(self, found: Found, now: Timestamp) -> Option<Blocker> {
        match self {
            Question::Alerts(filter) => {
                let Found::Series(series) = found else { return None };
                let names = filter.blocking(&series);
                (!names.is_empty()).then_some(Blocker::Alerts(names))
            }
            Question::Promql(expression) => {
                let Found::Series(series) = found else { return None };
                series.first().map(|first| Blocker::Series {
                    expression: expression.to_owned(),
                    count: series.len(),
                    first: first.to_string(),
                })
            }
            Question::Pods(rule) => {
                let Found::Pods(names) = found else { return None };
                let flag = rule.flag;
                (!names.is_empty()).then_some(Blocker::Pods { flag, names })
            }
            Question::Object(rule) => {
                let Found::Truth(is_true) = found else { return None };
                is_true.then(|| Blocker::Object {
                    object: rule.object.to_string(),
                    expression: rule.expression.to_string(),
                })
            }
            Question::Budgets(preflight) => {
                let Found::Drainable(drainable) = found else {
                    return None;
                };
                let refusals = drainable.refusals(preflight.skip_wait, now);
                (!refusals.is_empty()).then_some(Blocker::Budgets(refusals))
            }
            Question::Inhibitors => {
                let Found::Inhibitors(holders) = found else {
                    return None;
                };
                (!holders.is_empty()).then_some(Blocker::Inhibitors(holders))
            }
        }
    }
}

impl fmt::Display for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Question::Alerts(_) => f.write_str("the active alerts of Prometheus"),
            Question::Promql(text) => write!(f, "--blocker-promql={}", always_quoted(text, QUOTED_MAX)),
            Question::Pods(rule) => {
                let text = rule.to_string();
                write!(
                    f,
                    "the pods of {}={}",
                    rule.flag,
                    always_quoted(&text, QUOTED_MAX)
                )
            }
            Question::Object(rule) => write!(f, "{} (--blocker-object)", rule.object),
            Question::Budgets(_) => {
                f.write_str("the PodDisruptionBudgets of the pods on this node (--preflight)")
            }
            Question::Inhibitors => f.write_str("logind's inhibitors on the host"),
        }
    }
}

/// The questions that have no answer, and since when.
#[derive(Clone, Debug, Default)]
pub struct Unanswered {
    /// By the question's place in the order.
    open: BTreeMap<usize, Open>,
    /// Blockers that block no longer, and that nobody was told of yet.
    waived: Vec<Blocker>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    since: Moment,
    /// When it last had no answer.
    last: Moment,
    is_waived: bool,
}

/// Longest time between two attempts without an answer for which the question counts as open. A question is not asked while the lock is full,
/// the window is closed, or nothing wants a reboot, and may have had an answer meanwhile.
const ASKED_WITHIN: Duration = Duration::from_mins(5);

impl Unanswered {
    /// Takes in the answer to the question at this place, or why there is none, and gives what blocks.
    ///
    /// A question without an answer blocks until `timeout` is over.
    pub fn judge(
        &mut self,
        (place, question): (usize, Question<'_>),
        answer: Result<Found, String>,
        timeout: Option<Duration>,
        at: Moment,
    ) -> Option<Blocker> {
        let why = match answer {
            Ok(found) => {
                let _ = self.open.remove(&place);
                return question.blocker(found, at.wall);
            }
            Err(why) => why,
        };
        let anew = Open {
            since: at,
            last: at,
            is_waived: false,
        };
        let open = self.open.entry(place).or_insert(anew);
        if at.now.since(open.last.now) > ASKED_WITHIN {
            *open = anew;
        }
        open.last = at;
        let blocker = Blocker::Unanswered {
            question: question.to_string(),
            since: open.since.wall,
            why,
        };
        if timeout.is_none_or(|timeout| at.now.since(open.since.now) < timeout) {
            return Some(blocker);
        }
        if !std::mem::replace(&mut open.is_waived, true) {
            self.waived.push(blocker);
        }
        None
    }

    /// The blockers that block no longer because their time is over, each once.
    pub fn take_waived(&mut self) -> Vec<Blocker> {
        std::mem::take(&mut self.waived)
    }
}

/// What is remembered between two looks at what postpones a reboot.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The questions without an answer.
    pub unanswered: Unanswered,
    /// The end of the pool's last reboot, as it is noted on the lock's object, and when this process has first seen it there.
    last_reboot: Option<(Timestamp, Moment)>,
}

impl Memory {
    /// What blocks because the pool's last reboot ended too little time ago.
    ///
    /// The time comes from another node's clock, which may run ahead. So the interval also ends when this process has known of that
    /// reboot for as long. A node that has the lock already began before, and is not kept back.
    pub fn min_interval(&mut self, facts: &Facts<'_>, rules: &Rules, at: Moment) -> Option<Blocker> {
        let interval = rules.min_interval.filter(|_| !has_lock(facts))?;
        let ended = match facts.lock.last_reboot.as_ref() {
            Reading::Absent => return None,
            Reading::Malformed(why) => return Some(Blocker::LastRebootUnreadable(why)),
            Reading::Present(ended) => *ended,
        };
        let seen = match self.last_reboot {
            Some((known, seen)) if known == ended => seen,
            Some(_) | None => at,
        };
        self.last_reboot = Some((ended, seen));
        let until = ended
            .min(seen.wall)
            .saturating_add(interval)
            .unwrap_or(Timestamp::MAX);
        let known_for = at.now.since(seen.now);
        let is_over =
            until <= at.wall || SignedDuration::try_from(known_for).is_ok_and(|known| known >= interval);
        (!is_over).then_some(Blocker::MinInterval {
            ended,
            interval,
            until,
        })
    }
}

/// Whether the lock has the entry of our Node's hold.
fn has_lock(facts: &Facts<'_>) -> bool {
    let hold = hold::read(facts.node).present();
    let record = facts.lock.record.as_ref().present();
    hold.zip(record).is_some_and(|(hold, record)| {
        let id = EntryId::new(facts.node.name(), &hold.holder.created);
        record.entry(&id).is_some()
    })
}

/// What is known without asking anybody else: our Node, then the lock, then the pool, each read after the one before.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Our Node.
    pub node: &'a NodeView,
    /// The lock.
    pub lock: &'a LockView,
    /// The pool's Nodes, where the rules need them.
    pub pool: Option<&'a PoolCount>,
    /// `--concurrency`: how many nodes of the pool may be in a reboot at once.
    pub concurrency: Share,
}

/// What blocks a reboot of this node now by these facts.
pub fn blockers(facts: &Facts<'_>, rules: &Rules) -> Vec<Blocker> {
    let &Facts { node, lock, pool, .. } = facts;
    let record = lock.record.as_ref().present();
    let node_paused = paused(node).map(Blocker::NodePaused);
    let pool_paused = lock.paused.clone().map(Blocker::PoolPaused);
    let unavailable = pool
        .zip(rules.max_unavailable)
        .and_then(|(pool, share)| unavailable(node, record, pool, share));
    node_paused
        .into_iter()
        .chain(pool_paused)
        .chain(shown_by_node(node, rules))
        .chain(rules.reboots_max.and_then(|max| looping(node, max)))
        .chain(unavailable)
        .chain(unlike(facts, rules))
        .chain(foreign(facts, rules))
        .collect()
}

/// What an operator wants to block by, and our Node shows.
fn shown_by_node(node: &NodeView, rules: &Rules) -> impl Iterator<Item = Blocker> {
    let selecting = rules
        .node_labels
        .iter()
        .filter(|selector| selector.matches(&node.metadata.labels));
    let labels = selecting.map(|selector| Blocker::NodeLabels(selector.to_string()));
    let annotations = rules.node_annotations.iter().filter_map(|wanted| {
        let value = node.annotation(&wanted.key)?;
        let is_meant = wanted.value.as_deref().is_none_or(|wanted| wanted == value);
        is_meant.then(|| Blocker::NodeAnnotation {
            key: wanted.key.clone(),
            value: value.to_owned(),
        })
    });
    labels.chain(annotations)
}

/// What blocks because other nodes in a reboot have other values of a label. A Node without the label is like no other.
///
/// Before the lock this is exact: the lock is acquired by a compare-and-swap on a version that is no newer than the one that was read
/// here, so whoever acquires it in between makes that write fail.
fn unlike(facts: &Facts<'_>, rules: &Rules) -> Vec<Blocker> {
    let others = facts.pool.map(|pool| &pool.in_reboot);
    let by_label = |(place, label): (usize, &String)| {
        let ours = facts.node.label(label);
        let unlike: BTreeMap<String, Option<String>> = others?
            .iter()
            .map(|(name, other)| (name, other.values.get(place).cloned().flatten()))
            .filter(|(_, value)| ours.is_none() || value.as_deref() != ours)
            .map(|(name, value)| (name.clone(), value))
            .collect();
        (!unlike.is_empty()).then(|| Blocker::Spread {
            label: label.clone(),
            ours: ours.map(str::to_owned),
            others: unlike,
        })
    };
    rules.spread_by.iter().enumerate().filter_map(by_label).collect()
}

/// What blocks because of somebody else's reboots: of our node, or of so many others that there is no room for ours.
fn foreign(facts: &Facts<'_>, rules: &Rules) -> Option<Blocker> {
    let mut signs = rules.foreign.iter();
    if let Some(foreign) = signs.find(|foreign| foreign.is_not_ours_on(facts.node)) {
        return Some(Blocker::ForeignReboot(*foreign));
    }
    let pool = facts.pool?;
    let foreign: BTreeMap<String, Foreign> = pool
        .in_reboot
        .iter()
        .filter_map(|(name, other)| Some((name.clone(), other.foreign?)))
        .collect();
    let others = pool.in_reboot.len().saturating_sub(foreign.len());
    let allowed = facts.concurrency.at_least_one_of(pool.size);
    let is_full = !foreign.is_empty() && pool.in_reboot.len() >= allowed;
    is_full.then_some(Blocker::ForeignReboots {
        foreign,
        others,
        allowed,
    })
}

/// Whether our node reboots again and again without effect.
///
/// Only the time of the wish counts, which stays while the wish stands. So the wish waits until a person has looked, however long that
/// takes, and a wish that is made much later is free again. A reboot that seems to have ended after the wish counts too: a clock was
/// set back.
fn looping(node: &NodeView, max: RebootsMax) -> Option<Blocker> {
    let reboots = match hold::reboots(node) {
        Reading::Absent => return None,
        Reading::Malformed(why) => return Some(Blocker::LoopUnreadable(why)),
        Reading::Present(reboots) => reboots,
    };
    let wished: Timestamp = hold::read(node).present()?.holder.created.parse().ok()?;
    let since = wished.checked_sub(max.within).unwrap_or(Timestamp::MIN);
    let recent = reboots.into_iter().filter(|ended| *ended > since);
    let last = recent.clone().max()?;
    let count = recent.count();
    (count >= max.count).then_some(Blocker::Loop { count, max, last })
}

/// What a person wrote on this Node to pause it, if one has.
pub fn paused(node: &NodeView) -> Option<String> {
    node.annotation(keys::PAUSE).map(str::to_owned)
}

/// The blocker that too many Nodes are not Ready, if they are. Nodes in a reboot do not count here: the lock counts them.
fn unavailable(node: &NodeView, record: Option<&Record>, pool: &PoolCount, share: Share) -> Option<Blocker> {
    let is_locked =
        |name: &str| record.is_some_and(|record| record.entries.iter().any(|entry| entry.node == name));
    let counts = |name: &&String| name.as_str() != node.name() && !is_locked(name);
    let unready: BTreeSet<String> = pool.unready.iter().filter(counts).cloned().collect();
    let allowed = share.of(pool.size);
    (unready.len() > allowed).then_some(Blocker::Unavailable { unready, allowed })
}

#[cfg(test)]
mod tests;
