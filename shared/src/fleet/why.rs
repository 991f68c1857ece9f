//! Why a node is as it is: who cordoned it, what holds it, what an uncordon would meet, how its cordon ends, and what a person can do.
//!
//! Not here: who may uncordon it ([`crate::admission`]), and what it takes to read all this (the kubectl plugin).

use jiff::Timestamp;
use serde::Serialize;

use super::row::own_hold;
use super::{Fleet, PLUGIN, Row, Seen, State, Told, Trouble, Unseen};
use crate::Reading;
use crate::cordoner::{Author, Claim, claims};
use crate::hold::{self, Account, Hold};
use crate::keys;
use crate::node::NodeView;
use crate::quote::{one_line, quoted};

/// Most Events that are shown: those of one reboot, with some waits.
const EVENTS_MAX: usize = 12;
/// Most characters of an Event's message that are shown.
const NOTE_MAX: usize = 300;

/// What was found out about one node beside what [`Seen`] has.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Who set `spec.unschedulable` as it is.
    pub author: Option<Author>,
    /// What an uncordon would meet.
    pub uncordon: Vec<Outlook>,
    /// The pods of agents on the node, each with whether it is Ready; `None` if they could not be looked for.
    pub agents: Option<Vec<(String, bool)>>,
}

/// What an uncordon would meet now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outlook {
    /// The user whose uncordon it is.
    pub by: String,
    /// What is assumed, because it could not be looked up.
    #[serde(rename = "if", skip_serializing_if = "Vec::is_empty")]
    pub assumptions: Vec<String>,
    /// `passes`, `passes, flagged`, `denied`, or `is kept until the hold ends`.
    pub verdict: String,
    /// The code of the webhook's reason; absent if no webhook is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

/// Something that a person can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Way {
    /// What it is for.
    pub says: String,
    /// The command.
    pub command: String,
}

/// Why a node is as it is. As JSON it is what `why -o json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// When the cluster was looked at.
    pub time: Timestamp,
    /// The node as `status` shows it.
    pub node: Row,
    /// Who set `spec.unschedulable` as it is, as far as the API server has noted that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cordoned_by: Option<Author>,
    /// What other programs have noted about their cordon.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Claim>,
    /// Whether the agent of the node is at work, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub agent: String,
    /// What becomes of the cordon when the hold ends, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub afterwards: String,
    /// What an uncordon would meet now.
    pub uncordon: Vec<Outlook>,
    /// The last Events of the agent about the node, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Said>,
    /// The account of its last reboot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reboot: Option<Account>,
    /// What is wrong with the node.
    pub troubles: Vec<Trouble>,
    /// What a person can do.
    pub ways: Vec<Way>,
    /// What could not be seen.
    pub unseen: Vec<Unseen>,
}

/// An Event, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// When it was last said.
    pub at: Timestamp,
    /// The Event's reason.
    pub reason: String,
    /// The Event's message.
    pub note: String,
}

impl Why {
    /// Judges what was seen of this node; `None` if it was not seen.
    pub fn of(name: &str, seen: &Seen, facts: Facts, now: Timestamp) -> Option<Why> {
        let node = seen.nodes.iter().find(|node| node.name() == name)?;
        let fleet = Fleet::of(seen, now);
        let row = fleet.nodes.into_iter().find(|row| row.node == name)?;
        let hold = own_hold(node).present();
        Some(Why {
            time: now,
            agent: agent(node, hold.as_ref(), facts.agents.as_deref(), now),
            afterwards: hold
                .as_ref()
                .map(|hold| afterwards(node, hold))
                .unwrap_or_default(),
            ways: ways(node, row.state, hold.as_ref(), now),
            node: row,
            cordoned_by: facts.author,
            claims: claims(node),
            uncordon: facts.uncordon,
            events: events(&seen.told, name),
            last_reboot: hold::last_reboot(node).present(),
            troubles: fleet
                .troubles
                .into_iter()
                .filter(|trouble| trouble.node.as_deref().is_none_or(|of| of == name))
                .collect(),
            unseen: fleet.unseen,
        })
    }
}

fn events(told: &[Told], name: &str) -> Vec<Said> {
    let mut of_node: Vec<&Told> = told.iter().filter(|told| told.node == name).collect();
    of_node.sort_by_key(|told| told.at);
    let first = of_node.len().saturating_sub(EVENTS_MAX);
    let last = of_node.split_off(first);
    let said = last.into_iter().map(|told| Said {
        at: told.at,
        reason: one_line(&told.reason, NOTE_MAX),
        note: one_line(&told.note, NOTE_MAX),
    });
    said.collect()
}

/// Whether the node's agent is at work, by its pods and by what it renews.
fn agent(node: &NodeView, hold: Option<&Hold>, pods: Option<&[(String, bool)]>, now: Timestamp) -> String {
    let mut parts = Vec::new();
    if node.label(keys::AGENT) == Some(keys::DISABLED) {
        parts.push(format!(
            "kept away by the label {}={}",
            keys::AGENT,
            keys::DISABLED
        ));
    }
    match pods {
        None => {}
        Some([]) => parts.push("no pod of it is on the node".to_owned()),
        Some(pods) => parts.extend(pods.iter().map(|(pod, is_ready)| {
            let ready = if *is_ready { "Ready" } else { "not Ready" };
            format!("pod {} is {ready}", quoted(pod))
        })),
    }
    if let Some(hold) = hold {
        parts.push(if hold.is_silent(now, crate::admission::SKEW) {
            "it does not renew its hold".to_owned()
        } else {
            hold.until.map_or_else(
                || "it holds the node without an end".to_owned(),
                |until| format!("it has announced its hold until {until:.0}"),
            )
        });
    }
    parts.join("; ")
}

/// What becomes of the cordon when the hold ends, by the precedence of the give-back.
fn afterwards(node: &NodeView, hold: &Hold) -> String {
    let is_kept = node.annotation(keys::KEEP_CORDONED);
    let asked = hold::deferred_until_end(node, hold);
    match (is_kept, asked, hold.was_unschedulable) {
        (Some(word), _, _) => format!(
            "stays cordoned: somebody asked for that: {}",
            crate::quote::always_quoted(word, NOTE_MAX)
        ),
        (None, Some(asked), _) => format!(
            "is uncordoned: {} asked for that under this hold",
            quoted(&asked.user)
        ),
        (None, None, Some(false)) => "is uncordoned: it was schedulable before".to_owned(),
        (None, None, Some(true)) => "stays cordoned: somebody had cordoned it before".to_owned(),
        (None, None, None) if !hold::is_held(&Reading::Present(hold.clone())) => {
            "stays as it is: a wish does not touch the cordon".to_owned()
        }
        (None, None, None) => "stays cordoned: its marks do not say whether it was so before".to_owned(),
    }
}

/// What a person can do about a node in this state, the mildest first.
fn ways(node: &NodeView, state: State, hold: Option<&Hold>, now: Timestamp) -> Vec<Way> {
    let name = quoted(node.name());
    let way = |says: &str, command: String| Way {
        says: says.to_owned(),
        command,
    };
    let plugin = |verb: &str, more: &str| format!("{PLUGIN} {verb} {name}{more}");
    let cancel = |says: &str| way(says, plugin("cancel", " --reason TEXT"));
    let pause = || match node.annotation(keys::PAUSE) {
        Some(_) => way("let it reboot again", plugin("resume", "")),
        None => way("keep it from its next reboot", plugin("pause", " --reason TEXT")),
    };
    let keep = || match node.annotation(keys::KEEP_CORDONED) {
        Some(_) => way("no longer keep it cordoned", plugin("unkeep", "")),
        None => way("keep it cordoned afterwards", plugin("keep", " --reason TEXT")),
    };
    let is_silent = hold.is_some_and(|hold| hold.is_silent(now, crate::admission::SKEW));
    let release = || {
        way(
            "end its hold by hand, if its agent does not come back",
            plugin("release", ""),
        )
    };
    match state {
        State::Wanted | State::Draining | State::Delaying | State::Returning | State::Sealed if is_silent => {
            vec![release()]
        }
        State::Wanted => vec![pause(), cancel("take the wish back until the agent asks again")],
        State::Draining | State::Delaying => vec![
            keep(),
            cancel("call this reboot off; the agent gives the cordon back"),
        ],
        State::Sealed => vec![
            keep(),
            way("watch it come back", format!("{PLUGIN} status {name} --watch")),
        ],
        State::Returning => vec![keep(), cancel("end the wait; the agent gives the cordon back")],
        State::Unreadable => vec![way(
            "remove the marks, if no reboot is under way",
            plugin("release", ""),
        )],
        State::Kured => vec![way(
            "see what kured does",
            format!("kubectl describe node {name}"),
        )],
        State::KuredWants => vec![way("cordon it yourself", format!("kubectl cordon {name}"))],
        State::Cordoned => vec![way(
            "uncordon it, if nobody needs the cordon",
            format!("kubectl uncordon {name}"),
        )],
        State::Idle if node.annotation(keys::REBOOT_WANTED).is_some() => vec![pause()],
        State::Idle => vec![
            pause(),
            way("ask for a reboot", plugin("reboot", " --reason TEXT")),
        ],
    }
}

#[cfg(test)]
mod tests;
