//! What postpones a reboot. The same list is asked for before the lock is taken, and again as the first step of the final check.
//!
//! A new kind of blocker needs a variant of [`Blocker`], the facts by which it is found, and its text. One that somebody else has to
//! be asked about is a [`Question`] too.
//!
//! Not here: how those facts are read ([`crate::reboot::driver`]), and what the cycle does while something blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::Reading;
use crate::hold;
use crate::keys;
use crate::lock::{EntryId, Record, Share};
use crate::node::NodeView;
use crate::quote::{QUOTED_MAX, always_quoted, quoted};
use crate::reboot::lock_object::LockView;
use crate::reboot::moment::Moment;
use crate::reboot::prometheus::{AlertFilter, Series};
use crate::selector::Selector;

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
    /// Pods on this node that a `--blocking-pod-selector` selects, as `namespace/name`.
    Pods(BTreeSet<String>),
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

impl Blocker {
    /// Its kind in one word, for a label.
    pub fn kind(&self) -> &'static str {
        match self {
            Blocker::OutsideWindow { .. } => "outside_window",
            Blocker::NodePaused(_) => "node_paused",
            Blocker::PoolPaused(_) => "pool_paused",
            Blocker::Unavailable { .. } => "unavailable",
            Blocker::Alerts(_) => "alerts",
            Blocker::Series { .. } => "promql",
            Blocker::Pods(_) => "pods",
            Blocker::NodeLabels(_) => "node_labels",
            Blocker::NodeAnnotation { .. } => "node_annotation",
            Blocker::Loop { .. } | Blocker::LoopUnreadable(_) => "reboots_max",
            Blocker::MinInterval { .. } | Blocker::LastRebootUnreadable(_) => "min_interval",
            Blocker::Unanswered { .. } => "unanswered",
        }
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Blocker::OutsideWindow {
                windows,
                opens,
                needs,
            } => outside(f, windows, opens.as_deref(), *needs),
            Blocker::NodePaused(word) => write!(
                f,
                "a person paused this node ({}): it goes on when the annotation {} is removed from the Node",
                quoted(word),
                keys::PAUSE
            ),
            Blocker::PoolPaused(word) => write!(
                f,
                "a person paused the pool ({}): it goes on when the annotation {} is removed from the lock's object",
                quoted(word),
                keys::PAUSE
            ),
            Blocker::Unavailable { unready, allowed } => {
                let names: Vec<&str> = unready.iter().map(String::as_str).collect();
                let (count, names) = (unready.len(), names.join(", "));
                write!(
                    f,
                    "Nodes that are not Ready: {count} ({names}), and --max-unavailable allows {allowed}: bring them back, or allow more"
                )
            }
            Blocker::Alerts(names) => write!(
                f,
                "alerts are active in Prometheus: {}: it goes on when they are resolved, or when --alert-filter-regexp ignores them",
                listed(names)
            ),
            Blocker::Series {
                expression,
                count,
                first,
            } => write!(
                f,
                "--blocker-promql={} returns {count} series, such as {first}: it goes on when it returns none",
                always_quoted(expression, QUOTED_MAX)
            ),
            Blocker::Pods(names) => write!(
                f,
                "pods on this node that --blocking-pod-selector selects: {}: it goes on when they have ended or left",
                listed(names)
            ),
            Blocker::NodeLabels(selector) => write!(
                f,
                "--blocking-node-selector={} selects this node: it goes on when the Node's labels no longer match",
                always_quoted(selector, QUOTED_MAX)
            ),
            Blocker::NodeAnnotation { key, value } => write!(
                f,
                "the Node has the annotation {key}={}, which --blocking-node-annotation names: it goes on when that is removed from the Node",
                always_quoted(value, QUOTED_MAX)
            ),
            Blocker::Loop { count, max, last } => write!(
                f,
                "this node has rebooted {count} times in the {:#} before this wish, the last time at {last:.0}, and --reboots-max allows {}: \
                 find out why it still asks for a reboot; it goes on when the annotation {} is removed from the Node",
                max.within,
                max.count,
                keys::REBOOTS
            ),
            Blocker::LoopUnreadable(why) => write!(
                f,
                "the annotation {} of the Node does not say how often it has rebooted, which --reboots-max needs: {why}: \
                 it goes on when the annotation is removed from the Node",
                keys::REBOOTS
            ),
            Blocker::MinInterval {
                ended,
                interval,
                until,
            } => write!(
                f,
                "the last reboot of the pool ended at {ended:.0}, and --min-interval keeps {interval:#} between two: it goes on at {until:.0}"
            ),
            Blocker::LastRebootUnreadable(why) => write!(
                f,
                "the annotation {} of the lock's object does not say when the last reboot of the pool ended, which --min-interval needs: \
                 {why}: it goes on when the annotation is removed there",
                keys::LAST_REBOOT
            ),
            Blocker::Unanswered { question, since, why } => write!(
                f,
                "{question}: no answer since {since:.0}: {why}; --blocker-timeout can limit how long that blocks"
            ),
        }
    }
}

/// Says that no window is open, or none for long enough, and when one opens.
fn outside(
    f: &mut fmt::Formatter<'_>,
    windows: &str,
    opens: Option<&str>,
    needs: Option<SignedDuration>,
) -> fmt::Result {
    match (opens, needs) {
        (Some(opens), None) => write!(
            f,
            "outside of the window: a reboot may begin again at {opens}; the window is {windows}"
        ),
        (Some(opens), Some(needs)) => write!(
            f,
            "a reboot, which takes {needs:#}, would not end in the window: one may begin at {opens}; the window is {windows}"
        ),
        (None, None) => write!(f, "outside of the window, which never opens: it is {windows}"),
        (None, Some(needs)) => write!(
            f,
            "a reboot takes {needs:#}, and the window is never open for that long: make it longer, or say how long a reboot takes with --expected-duration; it is {windows}"
        ),
    }
}

/// The kinds of these blockers, each once, separated by commas.
pub fn kinds(blockers: &[Blocker]) -> String {
    let kinds: BTreeSet<&str> = blockers.iter().map(Blocker::kind).collect();
    kinds.into_iter().collect::<Vec<_>>().join(",")
}

/// These blockers, each as a sentence, separated by semicolons.
pub fn sentences(blockers: &[Blocker]) -> String {
    let sentences: Vec<String> = blockers.iter().map(Blocker::to_string).collect();
    sentences.join("; ")
}

/// Most names in a sentence about a blocker, as in kured.
const NAMED_MAX: usize = 10;

/// The first of these names, each quoted, and how many more there are.
pub(crate) fn listed(names: &BTreeSet<String>) -> String {
    let mut shown: Vec<String> = names.iter().take(NAMED_MAX).map(|name| quoted(name)).collect();
    let more = names.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
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
    /// Which active alerts of Prometheus block; `None`: its alerts are not asked for.
    pub alerts: Option<AlertFilter>,
    /// `--blocker-promql`: each expression blocks while it returns any series.
    pub promql: Vec<String>,
    /// `--blocking-pod-selector`: a pod on the node that one of these selects blocks.
    pub pods: Vec<Selector>,
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

/// Something that somebody else has to be asked about.
#[derive(Clone, Copy, Debug)]
pub enum Question<'a> {
    /// Which alerts are active in Prometheus?
    Alerts(&'a AlertFilter),
    /// Does this `PromQL` expression return any series?
    Promql(&'a str),
    /// Which pods on our node does this select?
    Pods(&'a Selector),
}

/// What the answer to a question shows.
#[derive(Clone, Debug)]
pub enum Found {
    /// The series of a query.
    Series(Vec<Series>),
    /// Pods, as `namespace/name`.
    Pods(BTreeSet<String>),
}

impl Rules {
    /// Whether the pool's Nodes have to be listed.
    pub fn needs_pool(&self) -> bool {
        self.max_unavailable.is_some()
    }

    /// All questions, in the order in which they are asked.
    pub fn questions(&self) -> impl Iterator<Item = Question<'_>> {
        let alerts = self.alerts.iter().map(Question::Alerts);
        let promql = self.promql.iter().map(|text| Question::Promql(text));
        let pods = self.pods.iter().map(Question::Pods);
        alerts.chain(promql).chain(pods)
    }
}

impl Question<'_> {
    /// What blocks by this answer, if anything does.
    fn blocker(self, found: Found) -> Option<Blocker> {
        match (self, found) {
            (Question::Alerts(filter), Found::Series(series)) => {
                let names = filter.blocking(&series);
                (!names.is_empty()).then_some(Blocker::Alerts(names))
            }
            (Question::Promql(expression), Found::Series(series)) => {
                series.first().map(|first| Blocker::Series {
                    expression: expression.to_owned(),
                    count: series.len(),
                    first: first.to_string(),
                })
            }
            (Question::Pods(_), Found::Pods(names)) => (!names.is_empty()).then_some(Blocker::Pods(names)),
            // The driver asks for the one that fits.
            (Question::Alerts(_) | Question::Promql(_), Found::Pods(_))
            | (Question::Pods(_), Found::Series(_)) => None,
        }
    }
}

impl fmt::Display for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Question::Alerts(_) => f.write_str("the active alerts of Prometheus"),
            Question::Promql(text) => write!(f, "--blocker-promql={}", always_quoted(text, QUOTED_MAX)),
            Question::Pods(selector) => {
                let text = selector.to_string();
                write!(
                    f,
                    "the pods of --blocking-pod-selector={}",
                    always_quoted(&text, QUOTED_MAX)
                )
            }
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
    is_waived: bool,
}

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
                return question.blocker(found);
            }
            Err(why) => why,
        };
        let open = self.open.entry(place).or_insert(Open {
            since: at,
            is_waived: false,
        });
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

/// A count of the pool's Nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PoolCount {
    /// How many Nodes the pool has.
    pub size: usize,
    /// The Nodes that are not Ready and carry no hold, by name.
    pub unready: BTreeSet<String>,
}

impl PoolCount {
    /// Adds this Node to the count.
    pub fn add(&mut self, node: &NodeView) {
        self.size = self.size.saturating_add(1);
        if !node.is_ready() && !hold::is_held(&hold::read(node)) {
            let _ = self.unready.insert(node.name().to_owned());
        }
    }
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
}

/// What blocks a reboot of this node now by these facts.
pub fn blockers(facts: &Facts<'_>, rules: &Rules) -> Vec<Blocker> {
    let &Facts { node, lock, pool } = facts;
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
