//! Mode `defer`: an uncordon of a held Node is kept for the end of the hold. The write passes with all else that is in it, but cordon and
//! taint stay, and the annotation [`keys::UNCORDON_WANTED`] says who asked.
//!
//! Two answers belong to one uncordon: [`defer`] says how to change the write, and [`super::decide`], which sees the changed write, lets it
//! pass. Both go by the same rules, so what was not changed is denied as ever.
//! Not here: the rules themselves (`node.rs`), how the annotation is read ([`crate::hold::deferred_uncordon`]), and when the agent does the
//! uncordon ([`crate::reboot::cycle`]).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Evaluation, Facts, Mode, Operation, Policy, Reason, Request, Verdict};
use crate::hold::{self, DeferredUncordon};
use crate::keys;
use crate::node::{NodeView, Taint};

/// How the write of an uncordon is changed so that the uncordon is kept, or noted as done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferral {
    /// Whether the cordon is put back. `false`: the uncordon passes, and is noted as done.
    pub cordons: bool,
    /// The taint of the hold, if it is put back.
    pub taint: Option<Taint>,
    /// The value of [`keys::UNCORDON_WANTED`] to write. `None`: it is there already.
    pub writes: Option<String>,
    /// The verdict to log, count and answer with, if the validation will see nothing of the changed write: somebody else's uncordon is kept
    /// already, and stays as it is. Otherwise the validation's verdict is the record.
    pub record: Option<Verdict>,
}

impl Deferral {
    /// The Node that is written instead of `new`.
    #[must_use]
    pub fn applied(&self, new: &NodeView) -> NodeView {
        let mut node = new.clone();
        node.spec.unschedulable |= self.cordons;
        node.spec.taints.extend(self.taint.clone());
        if let Some(text) = &self.writes {
            let key = keys::UNCORDON_WANTED.to_owned();
            drop(node.metadata.annotations.insert(key, text.clone()));
        }
        node
    }

    /// The request as the validation sees it after the change.
    #[must_use]
    pub fn changed(&self, request: &Request) -> Request {
        let operation = match &request.operation {
            Operation::UpdateNode { old, new } => Operation::UpdateNode {
                old: old.clone(),
                new: self.applied(new),
            },
            // Only an update is deferred.
            Operation::CreateNode { .. } | Operation::DeleteNode { .. } | Operation::UpdateDaemonSet(_) => {
                request.operation.clone()
            }
        };
        Request {
            operation,
            ..request.clone()
        }
    }

    /// The change as a JSON patch (RFC 6902). `has_taints` says whether the Node that is written has a list of taints: a patch can add to a
    /// list only if it is there.
    pub fn json_patch(&self, has_taints: bool) -> Value {
        let add = |path: &str, value: Value| json!({"op": "add", "path": path, "value": value});
        let cordon = self.cordons.then(|| add("/spec/unschedulable", true.into()));
        let taint = self.taint.as_ref().map(|taint| {
            if has_taints {
                add("/spec/taints/-", json!(taint))
            } else {
                add("/spec/taints", json!([taint]))
            }
        });
        // A held Node has annotations: its holder is one of them. A slash in a key is `~1` in a path (RFC 6901).
        let path = format!(
            "/metadata/annotations/{}",
            keys::UNCORDON_WANTED.replace('/', "~1")
        );
        let wanted = self.writes.as_ref().map(|text| add(&path, json!(text)));
        cordon.into_iter().chain(taint).chain(wanted).collect()
    }
}

/// Says how the write of an uncordon is changed in mode `defer`. `None`: the write stays as it is, and [`super::decide`] has the word.
pub fn defer(request: &Request, policy: &Policy, now: Timestamp) -> Option<Deferral> {
    let Operation::UpdateNode { old, new } = &request.operation else {
        return None;
    };
    // No rule about a hold of ours asks for a fact.
    let facts = Facts::default();
    Evaluation::of(request, &facts, policy, now).deferral(old, new)
}

/// What an update does to the deferred uncordon of the hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deferred {
    /// Nothing that counts.
    Untouched,
    /// The requester's own uncordon is kept for the end of the hold.
    Asked,
    /// The requester's own uncordon, which is in the same write, is noted as done.
    Done,
    /// Whoever asked takes it back.
    TakenBack,
    /// It is written or removed by someone who may not do so, or in a way that counts for nothing.
    Forged(&'static str),
}

/// The reason for which an uncordon is denied if there is no other: its mode says whether it is kept for later.
pub(super) fn uncordon_reason(is_too_late: bool) -> Reason {
    if is_too_late {
        Reason::TooLate
    } else {
        Reason::Held
    }
}

impl Evaluation<'_> {
    /// What the update does to the deferred uncordon.
    pub(super) fn deferred_change(&self, old: &NodeView, new: &NodeView) -> Deferred {
        if !self.change.deferred {
            return Deferred::Untouched;
        }
        let user = &self.request.requester.user;
        let kept = hold::deferred_of_hold(old);
        if self.request.is_of_status {
            return Deferred::Forged("an uncordon is no write of nodes/status");
        }
        if new.annotation(keys::UNCORDON_WANTED).is_none() {
            let author = kept.or_else(|| hold::done_under_hold(old));
            return match author {
                Some(author) if author.user == *user => Deferred::TakenBack,
                Some(_) | None => {
                    Deferred::Forged("only the node's agent and the user whom it names may remove it")
                }
            };
        }
        let Some(hold) = hold::deferring_hold(old) else {
            return Deferred::Forged("nothing holds the node until whose end an uncordon could be kept");
        };
        let is_own = |written: &DeferredUncordon| written.is_of(&hold.holder) && written.user == *user;
        let asked = hold::deferred_uncordon(new).present();
        let done = hold::done_uncordon(new);
        match (
            asked.as_ref().is_some_and(is_own),
            done.as_ref().is_some_and(is_own),
        ) {
            (true, _) if kept.is_some() => {
                Deferred::Forged("an earlier uncordon is kept already, and stays as it is")
            }
            (true, _) => Deferred::Asked,
            (_, true) if self.change.uncordons => Deferred::Done,
            (_, true) => Deferred::Forged("it notes an uncordon as done that is not in the request"),
            (false, false) => {
                Deferred::Forged("it does not name the present hold and the user who writes it")
            }
        }
    }

    /// Whether the uncordon in this update can be kept for later, whatever its mode: the hold can be read, and nothing else of ours changes
    /// than the taint, which comes off with a cordon.
    pub(super) fn is_deferrable(&self, old: &NodeView) -> bool {
        let change = &self.change;
        change.uncordons
            && !change.annotations_or_phase
            && !change.sets_marks
            && !change.cancel
            && !change.request
            && hold::deferring_hold(old).is_some()
    }

    fn deferral(&self, old: &NodeView, new: &NodeView) -> Option<Deferral> {
        let is_owner = self.is_agent() && !self.is_agent_elsewhere(old);
        if !self.is_deferrable(old) || self.is_exempt() || is_owner {
            return None;
        }
        let hold = hold::deferring_hold(old)?;
        let denying: Vec<Reason> = self
            .applying(old, new)
            .into_iter()
            .filter(|reason| self.denies(*reason))
            .collect();
        let asked = DeferredUncordon {
            created: hold.holder.created.clone(),
            at: Some(self.now),
            user: self.request.requester.user.clone(),
        };
        if self.has_lapsed() {
            // Whoever is denied here asks for more than an uncordon; and the agent is not there to see one that passes.
            let is_noted = denying.is_empty() && self.policy.modes.may_defer();
            let done = Deferral {
                cordons: false,
                taint: None,
                writes: Some(asked.done()),
                record: None,
            };
            return Some(done).filter(|done| is_noted && hold::done_under_hold(&done.applied(new)).is_some());
        }
        let is_denied = denying.contains(&Reason::Held) || denying.contains(&Reason::TooLate);
        let is_kept = is_denied && denying.iter().all(|reason| self.mode(*reason) == Mode::Defer);
        is_kept.then(|| self.kept(old, new, &asked.to_string())).flatten()
    }

    /// The deferral that keeps an uncordon. The first one stays to the byte, whoever asks again: otherwise each retry would make a new
    /// version of the Node, and reconcilers would keep the agent's seal from landing.
    fn kept(&self, old: &NodeView, new: &NodeView, asked: &str) -> Option<Deferral> {
        let is_kept = hold::deferred_of_hold(old).is_some();
        let before = old.annotation(keys::UNCORDON_WANTED).filter(|_| is_kept);
        // Another webhook may have undone the cordon again after this one: what was written then stays too.
        let written = new
            .annotation(keys::UNCORDON_WANTED)
            .filter(|_| self.deferred_change(old, new) == Deferred::Asked);
        let text = before.or(written).unwrap_or(asked);
        let deferral = Deferral {
            cordons: true,
            taint: self.change.taint.then(|| Taint::no_schedule(keys::REBOOTING)),
            writes: (new.annotation(keys::UNCORDON_WANTED) != Some(text)).then(|| text.to_owned()),
            record: is_kept.then(|| self.verdict(Reason::Deferred)),
        };
        // A name that no annotation can carry cannot be kept; the uncordon is denied then.
        hold::deferred_of_hold(&deferral.applied(new)).map(|_| deferral)
    }
}
