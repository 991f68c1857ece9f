//! The end of a hold by hand: what a person may write on a node whose agent is gone, and why not, if they may not.
//!
//! It gives the cordon back as the agent would have done, in the order of docs/operating.md: the cancel, which lets the webhook pass the rest;
//! then one patch of cordon, taint and marks, which also does a deferred uncordon; then the conditions; then the cancel goes.
//! [`Release::of`] judges one look. The caller makes the first write, looks again, and judges anew, so each write may fail.
//! Not here: the uninstall, which ends every hold of a cluster ([`crate::uninstall`]), and reading and writing (the kubectl plugin).

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::Reading;
use crate::admission::SKEW;
use crate::fleet::PLUGIN;
use crate::hold::{self, Hold, NodePatch, Phase, Signs, Terms};
use crate::keys;
use crate::node::NodeView;
use crate::quote::{QUOTED_MAX, one_line, quoted};
use crate::span::span;

mod cancel;
mod request;

pub use cancel::{After, cancelled_by};
pub use request::{Around, requested, standing};

/// The patch sets none of the times that these are for.
const TERMS: Terms = Terms {
    reboot: SignedDuration::ZERO,
    release: SignedDuration::ZERO,
};

/// What was seen of the agent on the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Agent {
    /// Its pod could not be looked for.
    #[default]
    Unseen,
    /// No pod of an agent is Ready there, and the agents' namespace was seen.
    Gone,
    /// It could not be looked for, and a person says that it is gone.
    SaidGone,
    /// A pod of an agent is Ready there.
    Ready,
}

/// What a change of one Node that a person asks for comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It would come to nothing. The text says why; the command is what to do instead.
    Refused {
        /// Why.
        why: String,
        /// What to do instead.
        instead: String,
    },
    /// Somebody has asked for it already, for this reason, and that counts.
    There {
        /// The reason.
        reason: String,
    },
    /// This patch writes it.
    Write {
        /// The patch.
        body: Value,
        /// What the agent does then, in words.
        then: String,
    },
}

/// What a release does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Release {
    /// Nothing of a hold is on the Node.
    Nothing,
    /// It may not be released. The text says why; the command is what to do instead.
    Refused {
        /// Why.
        why: String,
        /// What to do instead.
        instead: String,
    },
    /// This write is next.
    Write(Step),
}

/// One write of a release.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What it does, for people: `cancel its hold`.
    pub says: String,
    /// What it is part of.
    pub part: Part,
    /// The patch.
    pub body: Body,
}

/// The parts of a release, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The cancel is written, so that the webhook lets the next write pass.
    Cancel,
    /// Cordon, taint and marks.
    GiveBack,
    /// The conditions.
    Conditions,
    /// The cancel is removed.
    Tidy,
}

/// How a write is sent. Each names what it was decided on, so it fails if that has changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A JSON patch of the Node that tests for the holder and the phase.
    Json(Value),
    /// A JSON merge patch of the Node with its `resourceVersion`.
    Merge(Value),
    /// A strategic merge patch of the Node's status with its `resourceVersion`.
    Status(Value),
}

impl Release {
    /// Judges a Node. `reason` is what the person says.
    pub fn of(node: &NodeView, agent: Agent, reason: &str, now: Timestamp) -> Release {
        if !hold::has_marks(node) {
            return rest(node, now).map_or(Release::Nothing, Release::Write);
        }
        let readable = match hold::read(node) {
            Reading::Present(hold) if hold.holder.names(node) => Some(hold),
            Reading::Present(_) | Reading::Malformed(_) | Reading::Absent => None,
        };
        if let Some((why, instead)) = obstacle(node, readable.as_ref(), agent, now) {
            return Release::Refused { why, instead };
        }
        let is_cancelled = node
            .annotation(keys::CANCEL)
            .is_some_and(|text| hold::cancel_flaw(node, text).is_none());
        if !is_cancelled {
            return Release::Write(Step {
                says: "cancel its hold, so that the webhook lets its marks go".to_owned(),
                part: Part::Cancel,
                body: Body::Json(cancel_patch(node, reason)),
            });
        }
        Release::Write(match readable {
            Some(hold) => given_back(node, &hold, now),
            None => Step {
                says: "remove its marks and its taint; the cordon stays as it is, because nobody knows whose it is".to_owned(),
                part: Part::GiveBack,
                body: Body::Merge(NodePatch::without_marks(node).body(now, &TERMS)),
            },
        })
    }
}

/// The writes that a release will make, in their order, as far as this look shows them; or why it makes none, and what to do instead.
///
/// They are for the question to the person. Each is judged anew before it is made.
pub fn plan(
    node: &NodeView,
    agent: Agent,
    reason: &str,
    now: Timestamp,
) -> Result<Vec<Step>, (String, String)> {
    let mut node = node.clone();
    let mut steps: Vec<Step> = Vec::new();
    for _ in 0..PARTS_MAX {
        let step = match Release::of(&node, agent, reason, now) {
            Release::Nothing => break,
            Release::Refused { why, instead } => return Err((why, instead)),
            Release::Write(step) => step,
        };
        step.applied(&mut node);
        steps.push(step);
    }
    Ok(steps)
}

/// As many writes as there are parts.
const PARTS_MAX: usize = 4;

impl Step {
    /// Changes what the next judgement depends on, as the write will.
    fn applied(&self, node: &mut NodeView) {
        match self.part {
            Part::Cancel => {
                let text = format!("{} planned", hold::cancel_name(node));
                drop(node.metadata.annotations.insert(keys::CANCEL.to_owned(), text));
            }
            Part::GiveBack => {
                for key in keys::MARK_ANNOTATIONS {
                    drop(node.metadata.annotations.remove(key));
                }
                drop(node.metadata.labels.remove(keys::PHASE));
                node.spec.taints.retain(|taint| taint.key != keys::REBOOTING);
            }
            Part::Conditions => node
                .status
                .conditions
                .retain(|condition| condition.kind != keys::HELD_CONDITION),
            Part::Tidy => drop(node.metadata.annotations.remove(keys::CANCEL)),
        }
    }
}

/// The JSON patch that cancels the hold on this Node. It tests for the holder and the phase, so it never ends another hold nor one that has
/// gone on, and no heartbeat of the kubelet makes it fail.
pub fn cancel_patch(node: &NodeView, reason: &str) -> Value {
    let pointer =
        |kind: &str, key: &str| format!("/metadata/{kind}/{}", key.replace('~', "~0").replace('/', "~1"));
    let cancel = format!(
        "{} {}",
        hold::cancel_name(node),
        one_line(reason.trim(), QUOTED_MAX)
    );
    let mut patch = Vec::new();
    match node.annotation(keys::HOLDER) {
        Some(holder) => {
            patch
                .push(json!({ "op": "test", "path": pointer("annotations", keys::HOLDER), "value": holder }));
            // The host may be going down once the phase has changed.
            if let Some(phase) = node.label(keys::PHASE) {
                patch.push(json!({ "op": "test", "path": pointer("labels", keys::PHASE), "value": phase }));
            }
        }
        // Without a holder the Node itself is what was decided on.
        None => {
            patch.push(json!({ "op": "test", "path": "/metadata/resourceVersion", "value": node.version() }));
        }
    }
    patch.push(if node.metadata.annotations.is_empty() {
        json!({ "op": "add", "path": "/metadata/annotations", "value": { keys::CANCEL: cancel } })
    } else {
        json!({ "op": "add", "path": pointer("annotations", keys::CANCEL), "value": cancel })
    });
    Value::Array(patch)
}

/// Why the hold may not be ended by hand, and what to do instead.
fn obstacle(node: &NodeView, hold: Option<&Hold>, agent: Agent, now: Timestamp) -> Option<(String, String)> {
    let name = quoted(node.name());
    let cancel = format!("{PLUGIN} cancel {name} --reason TEXT");
    let reboot = hold.filter(|hold| hold::may_be_rebooting(node, hold));
    if let Some(why) = under_way(node, reboot, now) {
        return Some((why, format!("{PLUGIN} why {name}")));
    }
    let Some(hold) = hold else {
        // The agent waits for a person, however alive it is. But nobody knows whether a reboot is under way.
        return (!node.is_ready()).then(|| {
            let why = "nobody can read its hold, and the node is not Ready, so its host may be rebooting: look at the machine first".to_owned();
            (why, format!("kubectl describe node {name}"))
        });
    };
    if !hold.is_silent(now, SKEW) {
        let until = hold
            .until
            .map_or_else(String::new, |until| format!(" and holds it until {until:.0}"));
        let why = format!("its agent is alive{until}: let the agent end the hold");
        return Some((why, cancel));
    }
    match agent {
        Agent::Gone | Agent::SaidGone => None,
        Agent::Unseen => {
            let why = "whether its agent is there could not be seen: name the agents' namespace with -n, or have the right to list pods \
                       there; only if you know that the agent is gone, add --agent-is-gone";
            let pods = format!(
                "kubectl get pods -A -l app.kubernetes.io/part-of=cordonhold --field-selector spec.nodeName={name}"
            );
            Some((why.to_owned(), pods))
        }
        Agent::Ready => {
            let over = hold.until.map(|until| span(now.duration_since(until).abs()));
            let over = over.map_or_else(String::new, |over| format!(" ({over} from the time in until)"));
            let why = format!(
                "a pod of an agent is Ready there, although it does not renew the hold{over}: let it end the hold, or look at its log"
            );
            Some((why, cancel))
        }
    }
}

/// Why a reboot of the host may be under way. `reboot` is the hold whose reboot command may have been run, if the Node does not show the
/// boot after it: no time and no Ready condition is evidence against that.
fn under_way(node: &NodeView, reboot: Option<&Hold>, now: Timestamp) -> Option<String> {
    if let Some(hold) = reboot {
        return Some(if !hold.is_silent(now, SKEW) {
            "its reboot is under way: wait until it is back, and its agent ends the hold".to_owned()
        } else if node.is_ready() {
            "it is sealed, and the Node shows the boot before the reboot: it stays Ready for most of a minute after its host has gone down, so \
             that is no proof that the host is up; bring its agent back, or reboot the host, and release the node once it shows another boot"
                .to_owned()
        } else {
            "it is sealed and not Ready, so its host may be rebooting: bring the machine back; if it is gone for good, docs/operating.md has the \
             way, in A holder that is dead"
                .to_owned()
        });
    }
    if !hold::is_sealed(node, now, SKEW) {
        return None;
    }
    let until = node
        .annotation(keys::UNTIL)
        .and_then(|until| until.parse::<Timestamp>().ok());
    let until = until.and_then(|until| until.checked_add(SKEW).ok());
    Some(until.map_or_else(
        || "it is sealed, and its marks do not say until when, so a reboot may be under way at any time: bring its agent back".to_owned(),
        |until| format!("its reboot is under way: wait until its agent ends the hold, or until {until:.0}"),
    ))
}

/// The write that gives the cordon back.
fn given_back(node: &NodeView, hold: &Hold, now: Timestamp) -> Step {
    let patch = NodePatch::give_back_for_agent(node, hold, hold::has_rebooted(node, hold));
    let asked = hold::deferred_until_end(node, hold);
    let cordon = match (node.spec.unschedulable, patch.unschedulable) {
        (true, Some(false)) => match asked {
            Some(asked) => format!(
                "uncordon it, because {} asked for that under this hold",
                quoted(&asked.user)
            ),
            None => "uncordon it, because it was schedulable before".to_owned(),
        },
        (false, Some(true)) => "cordon it, because it was cordoned before".to_owned(),
        (true, _) if node.annotation(keys::KEEP_CORDONED).is_some() => {
            "leave it cordoned, because somebody wants it kept so".to_owned()
        }
        (true, _) if hold.phase == Phase::Wanted => "leave its cordon, which was there before".to_owned(),
        (true, _) if hold.was_unschedulable == Some(true) => {
            "leave it cordoned, because somebody had cordoned it before".to_owned()
        }
        (true, _) => "leave it cordoned, because its marks do not say whether it was so before".to_owned(),
        (false, _) => "leave it schedulable".to_owned(),
    };
    Step {
        says: format!(
            "remove the marks and the taint of its {} hold, and {cordon}",
            hold.phase
        ),
        part: Part::GiveBack,
        body: Body::Merge(patch.body(now, &TERMS)),
    }
}

/// What is left to write once the marks are gone: conditions that still show the hold, and its cancel.
fn rest(node: &NodeView, now: Timestamp) -> Option<Step> {
    let shows = node.condition(keys::HELD_CONDITION).is_some();
    let conditions = shows
        .then(|| hold::conditions_patch(node, &Signs::default(), now))
        .flatten();
    if let Some(body) = conditions {
        return Some(Step {
            says: format!(
                "set {} and the lifecycle conditions to False",
                keys::HELD_CONDITION
            ),
            part: Part::Conditions,
            body: Body::Status(body),
        });
    }
    node.annotation(keys::CANCEL).map(|_| Step {
        says: "remove the cancel, which has done its work".to_owned(),
        part: Part::Tidy,
        body: Body::Merge(json!({ "metadata": {
            "resourceVersion": node.version(),
            "annotations": { keys::CANCEL: null },
        } })),
    })
}

#[cfg(test)]
mod tests;
