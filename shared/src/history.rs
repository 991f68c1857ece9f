//! What has happened to nodes: their last reboots, and who asked for an uncordon meanwhile, from every source that tells of them.
//!
//! [`History::of`] joins the accounts and marks on the Nodes, Events, and lines of logs into one [`Timeline`] for each reboot. Sources know
//! different things: an account has lasted since the reboot and knows how long each phase took; Events know the moments, and last an
//! hour; logs know each single uncordon. Nothing is decided by a history.
//! Not here: reading the cluster and files (the kubectl plugin), the lines of logs ([`Logs`]), and how it is drawn ([`picture`], [`page`]).

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::fleet::{Told, Unseen};
use crate::hold::{Phase, canonical};
use crate::node::NodeView;
use crate::quote::{one_line, quoted};
use crate::span::span;

mod join;
mod log;
mod markup;
pub mod page;
pub mod picture;
mod reboot;
mod table;

pub use log::Logs;
pub use markup::escaped;
pub use table::{Line, by_user};

/// Most characters of what others wrote that a history keeps of one text.
const TEXT_MAX: usize = 200;
/// Most reboots of one node that are shown: a node that reboots every minute for an hour has as many.
const REBOOTS_MAX: usize = 60;

/// What was seen of some nodes.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The Nodes.
    pub nodes: Vec<NodeView>,
    /// What the agents have said in Events.
    pub told: Vec<Told>,
    /// What the webhook has said in Events about denied and deferred requests.
    pub denials: Vec<Told>,
    /// What logs say.
    pub logs: Logs,
    /// What could not be seen.
    pub unseen: Vec<Unseen>,
}

/// What has happened to some nodes. As JSON it is what `history -o json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// When the cluster was looked at.
    pub time: Timestamp,
    /// The reboots, the newest first.
    pub reboots: Vec<Timeline>,
    /// The uncordons outside of these reboots, the newest first.
    pub others: Vec<Other>,
    /// What could not be seen.
    pub unseen: Vec<Unseen>,
}

/// One reboot of one node, or an attempt at one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timeline {
    /// The Node's name.
    pub node: String,
    /// The `created` of its hold, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// What asked for the reboot.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// When it began, as far as that is known.
    pub from: Timestamp,
    /// When it ended; while it goes on, when it was looked at.
    pub to: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
    /// The phases, one after the other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
    /// The uncordons, by time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uncordons: Vec<Uncordon>,
    /// How many pods that a drain evicts were on the node, by time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<Pods>,
    /// What else happened, by time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moments: Vec<Moment>,
    /// How many pods were evicted, and how many evictions were refused, as the agent has counted them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evicted: Option<u64>,
    /// See [`Timeline::evicted`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
}

/// Makes an enum of words from one row for each: name, word, what it means.
macro_rules! words {
    ($(#[$doc:meta])* $kind:ident { $($name:ident $word:literal $means:literal)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $kind {
            $(#[doc = $means] $name,)+
            /// Nobody said.
            #[default]
            Unknown,
        }

        impl $kind {
            /// Every word and what it means, for the manual.
            pub const MEANINGS: &[(&'static str, &'static str)] = &[$(($word, $means),)+];

            /// The word in tables and in JSON.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($kind::$name => $word,)+
                    $kind::Unknown => "unknown",
                }
            }
        }
    };
}

words! {
    /// What came of a reboot.
    Outcome {
        Rebooted  "rebooted"   "the host has booted, and the cordon was given back"
        CalledOff "called-off" "the reboot was called off"
        GoesOn    "goes-on"    "it is not over"
    }
}

words! {
    /// What became of an uncordon.
    Answer {
        Denied   "denied"   "the webhook or the policy denied it"
        Deferred "deferred" "it was kept until the hold ends (mode `defer`)"
        Allowed  "allowed"  "the webhook allowed it; only an audit log says whether it was written"
        Passed   "passed"   "it was written"
    }
}

impl Answer {
    /// Whether the node may have lost its cordon by it.
    pub fn lets_through(self) -> bool {
        matches!(self, Answer::Allowed | Answer::Passed)
    }
}

words! {
    /// What happened at a moment.
    Event {
        Locked    "locked"     "the node got its place in the lock"
        Blocked   "blocked"    "something blocked the drain"
        Forced    "forced"     "the drain was given up, by `--force-reboot`"
        Disturbed "disturbed"  "the drain was disturbed: somebody uncordoned the node, or pods came"
        CalledOff "called-off" "the agent called the reboot off"
        Reboot    "reboot"     "the host went down, or was told to"
        Failed    "failed"     "the reboot command failed, or had no effect"
        Ready     "ready"      "the node was Ready again"
        GivenBack "given-back" "the cordon was given back, and the hold ended"
    }
}

/// A phase and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// The phase.
    pub phase: Phase,
    /// When it began.
    pub from: Timestamp,
    /// When it ended, or when it was looked at.
    pub to: Timestamp,
    /// Whether only its length is known, or less: it is drawn where it fits.
    #[serde(default, skip_serializing_if = "is_false")]
    pub about: bool,
}

/// An uncordon that somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Uncordon {
    /// When it was asked for; of several, the first.
    pub at: Timestamp,
    /// When it was asked for last, if the source has counted several as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// How often.
    pub count: u64,
    /// Who asked.
    pub by: String,
    /// What became of it.
    pub answer: Answer,
    /// The code of the webhook's reason; empty if the source has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// An uncordon of a node, in no reboot that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Other {
    /// The Node's name.
    pub node: String,
    /// The uncordon.
    #[serde(flatten)]
    pub uncordon: Uncordon,
}

/// How many pods were on a node from some time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pods {
    /// From when on.
    pub at: Timestamp,
    /// How many.
    pub on: u64,
    /// Whether the time is a guess: only sums are known.
    #[serde(default, skip_serializing_if = "is_false")]
    pub about: bool,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Event,
    /// What was said about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub says: String,
}

impl History {
    /// Joins what was seen at this time. With `node`: of this node alone.
    pub fn of(record: &Record, node: Option<&str>, now: Timestamp) -> History {
        let asked = join::asked(record);
        let is_wanted = |name: &&str| node.is_none_or(|node| node == *name);
        let names: BTreeSet<&str> = record
            .nodes
            .iter()
            .map(NodeView::name)
            .chain(record.told.iter().map(|told| told.node.as_str()))
            .chain(asked.iter().map(|asked| asked.node.as_str()))
            .filter(is_wanted)
            .collect();
        let (mut reboots, mut others, mut cut) = (Vec::new(), Vec::new(), Vec::new());
        for name in names {
            let view = record.nodes.iter().find(|view| view.name() == name);
            let told = record.told.iter().filter(|told| told.node == name);
            let mut of_node = reboot::timelines(name, view, told.collect(), now);
            let of_asked = asked.iter().filter(|asked| asked.node == name);
            others.extend(join::spread(&mut of_node, of_asked, name, now));
            for timeline in &mut of_node {
                join::pods(timeline, &record.logs, view);
            }
            of_node.sort_by_key(|timeline| std::cmp::Reverse(timeline.from));
            cut.extend(
                of_node
                    .len()
                    .checked_sub(REBOOTS_MAX)
                    .filter(|cut| *cut > 0)
                    .map(|older| Unseen {
                        what: format!("older reboots of node {} ({older})", quoted(name)),
                        needs: None,
                        says: format!("a history shows the newest {REBOOTS_MAX} of each node"),
                    }),
            );
            of_node.truncate(REBOOTS_MAX);
            reboots.append(&mut of_node);
        }
        reboots.sort_by(|a, b| (b.from, &a.node).cmp(&(a.from, &b.node)));
        others.sort_by_key(|other| std::cmp::Reverse(other.uncordon.at));
        let unseen = record
            .unseen
            .iter()
            .cloned()
            .chain(record.logs.unseen())
            .chain(cut);
        History {
            time: now,
            reboots,
            others,
            unseen: unseen.collect(),
        }
    }
}

impl Timeline {
    /// When a phase first began.
    pub fn began(&self, phase: Phase) -> Option<Timestamp> {
        self.spans
            .iter()
            .find(|span| span.phase == phase)
            .map(|span| span.from)
    }

    /// When the host went down, as far as that is known: from the seal on it may.
    pub fn reboot(&self) -> Option<Timestamp> {
        // The last: a command may come to nothing, and be run once more.
        let told = self.moments.iter().rfind(|moment| moment.what == Event::Reboot);
        told.map(|moment| moment.at).or_else(|| self.began(Phase::Sealed))
    }

    /// How many pods were on the node when it went down, if that is known: the sums of a drain do not say whether others came.
    pub fn pods_at_reboot(&self) -> Option<u64> {
        let down = self.reboot()?;
        let known = self.pods.iter().rfind(|pods| pods.at <= down);
        known.filter(|pods| !pods.about).map(|pods| pods.on)
    }

    /// When the node was cordoned by the hold: from each drain on, until somebody's uncordon passed or the hold ended.
    pub fn cordoned(&self) -> Vec<(Timestamp, Timestamp)> {
        let let_through = self.uncordons.iter().filter(|one| one.answer.lets_through());
        let mut changes: Vec<(Timestamp, bool)> = let_through.map(|one| (one.at, false)).collect();
        let drains = self.spans.iter().filter(|span| span.phase == Phase::Draining);
        changes.extend(drains.map(|span| (span.from, true)));
        if let (true, Some(first)) = (
            changes.iter().all(|(_, cordons)| !cordons),
            self.spans.iter().find(|span| span.phase != Phase::Wanted),
        ) {
            changes.push((first.from, true));
        }
        changes.push((self.to, false));
        changes.sort_unstable();
        let (mut ranges, mut since) = (Vec::new(), None);
        for (at, cordons) in changes {
            match (since, cordons) {
                (None, true) => since = Some(at),
                (Some(from), false) => {
                    ranges.push((from, at));
                    since = None;
                }
                (None, false) | (Some(_), true) => {}
            }
        }
        ranges
    }

    /// How many uncordons got this answer.
    pub fn count(&self, answer: Answer) -> u64 {
        let of_answer = self.uncordons.iter().filter(|one| one.answer == answer);
        of_answer.map(|one| one.count).sum()
    }

    /// Its uncordons in a few words: `12 denied, 1 passed`; empty without any.
    pub fn uncordons_in_words(&self) -> String {
        let counted = [
            Answer::Denied,
            Answer::Deferred,
            Answer::Allowed,
            Answer::Passed,
            Answer::Unknown,
        ]
        .map(|answer| (self.count(answer), answer.as_str()));
        let words: Vec<String> = counted
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        words.join(", ")
    }

    /// The state or the outcome in a word.
    pub fn stands(&self) -> &'static str {
        match self.outcome {
            Outcome::GoesOn => self.spans.last().map_or("goes on", |span| span.phase.as_str()),
            Outcome::CalledOff => "called off",
            Outcome::Rebooted | Outcome::Unknown => self.outcome.as_str(),
        }
    }

    /// The whole reboot in a sentence.
    pub fn summary(&self) -> String {
        let mut parts = vec![format!(
            "{}, {}",
            self.stands(),
            match self.outcome {
                Outcome::GoesOn => format!("for {}", span(self.to.duration_since(self.from))),
                _ => format!("took {}", span(self.to.duration_since(self.from))),
            }
        )];
        if !self.why.is_empty() {
            parts.push(format!("asked by {}", one_line(&self.why, TEXT_MAX)));
        }
        let words = self.uncordons_in_words();
        parts.push(match words.as_str() {
            "" => "no uncordon is known".to_owned(),
            words => format!("uncordons: {words}"),
        });
        if let Some(pods) = self
            .pods_at_reboot()
            .filter(|_| self.outcome == Outcome::Rebooted)
        {
            parts.push(match pods {
                0 => "no pod was on it when it went down".to_owned(),
                1 => "1 pod went down with it".to_owned(),
                _ => format!("{pods} pods went down with it"),
            });
        }
        parts.join("; ")
    }

    /// Whether an uncordon under this hold, or if that is not known at this time, is one of this reboot's.
    fn has(&self, hold: Option<&str>, at: Timestamp) -> bool {
        match (hold, &self.hold) {
            (Some(asked), Some(own)) => canonical(asked) == canonical(own),
            _ => self.from <= later(at, 1) && at <= later(self.to, 2),
        }
    }
}

/// The time some seconds later.
fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds))
        .unwrap_or(at)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(is: &bool) -> bool {
    !is
}

#[cfg(test)]
mod tests;
