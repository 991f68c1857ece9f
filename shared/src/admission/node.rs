//! The rules for writes of a Node under a hold of Cordonhold: who may change what.
//!
//! Not here: stock kured's holds ([`super::kured`]), and how a mode turns a denial into a warning ([`super::Verdict`]).

use super::deferral::{Deferred, uncordon_reason};
use super::{Evaluation, Fact, Known, Mode, OnDelete, Reason, Ruling, SKEW, cancel_name};
use crate::Reading;
use crate::hold;
use crate::keys;
use crate::node::NodeView;

impl Evaluation<'_> {
    /// The rules for the CREATE of a Node: it may not carry marks, because only the agent of an existing Node writes marks, and a request
    /// takes the same permission as on a Node that is there.
    pub(super) fn create(&self, new: &NodeView) -> Ruling {
        let (is_marked, is_requested) = (
            hold::has_marks(new),
            new.annotation(keys::REBOOT_WANTED).is_some(),
        );
        if !is_marked && !is_requested {
            return Reason::NothingOfOurs.into();
        }
        if self.is_exempt() {
            return Reason::Exempt.into();
        }
        // A rule whose mode only warns must not let through what the other denies.
        if is_marked && (!is_requested || self.denies(Reason::SpoofedHold)) {
            return Reason::SpoofedHold.into();
        }
        match self.request_written(new) {
            Ruling::Reason(reason) if is_marked && !self.denies(reason) => Reason::SpoofedHold.into(),
            ruling => ruling,
        }
    }

    /// The rules for an update of a Node, or the fact that is missing.
    pub(super) fn update(&self, old: &NodeView, new: &NodeView) -> Ruling {
        let change = &self.change;
        let is_elsewhere = self.is_agent_elsewhere(old);
        // An agent on another's Node is denied before all else. If that rule only warns, the rules for everybody apply to it below.
        if is_elsewhere && (change.is_nothing() || self.denies(Reason::NotOwnNode)) {
            return Reason::NotOwnNode.into();
        }
        if change.is_nothing() {
            return Reason::NothingOfOurs.into();
        }
        if self.is_exempt() {
            return Reason::Exempt.into();
        }
        if !is_elsewhere && self.is_agent() {
            return Reason::Owner.into();
        }
        if !change.request {
            return self.hold_changed(old, new);
        }
        if change.is_nothing_but_request() {
            return self.request_written(new);
        }
        let beside = match self.hold_changed(old, new) {
            Ruling::Reason(reason) if !self.denies(reason) => reason,
            ruling => return ruling,
        };
        match self.request_written(new) {
            Ruling::Reason(asked) if self.gravity(beside) > self.gravity(asked) => beside.into(),
            ruling => ruling,
        }
    }

    /// The rules for an update that changes cordon, marks, cancel, deferred uncordon or probe, by anybody who is neither the owner nor exempt.
    fn hold_changed(&self, old: &NodeView, new: &NodeView) -> Ruling {
        let change = &self.change;
        if change.cancel && !change.uncordons && !change.touches_marks() && !change.deferred && !change.probes
        {
            return self.cancel_written(old, new);
        }
        if change.is_probe_alone() && self.is_question() {
            return Reason::Probed.into();
        }
        let is_held = hold::is_held(&self.hold);
        let apply = self.applying(old, new);
        // A rule whose mode only warns must not let through what another rule denies, and one that defers not what another denies outright.
        let denying = || apply.iter().copied().filter(|reason| self.denies(*reason));
        let outright = denying().find(|reason| self.mode(*reason) != Mode::Defer);
        if let Some(reason) = outright.or_else(|| denying().next()) {
            return reason.into();
        }
        let passing = if is_held { Reason::Lapsed } else { Reason::NotHeld };
        self.unless_kureds(old, apply.first().copied().unwrap_or(passing))
    }

    /// Whether a probe in this request is the question that it is for.
    fn is_question(&self) -> bool {
        self.request.is_dry_run && !self.request.is_of_status
    }

    /// The reasons that apply to an update by anybody who is neither the owner nor exempt, in order: of several that deny, and else of several
    /// that apply, the first counts.
    pub(super) fn applying(&self, old: &NodeView, new: &NodeView) -> Vec<Reason> {
        let change = &self.change;
        let (is_held, is_marked) = (hold::is_held(&self.hold), hold::has_marks(old));
        let is_ended =
            is_cancelled(old) && !change.cancel && !change.sets_marks && (is_held || change.touches_marks());
        let is_open = is_ended && !hold::is_sealed(old, self.now, SKEW);
        let is_too_late = is_ended && !is_open;
        let deferred = self.deferred_change(old, new);
        // A kept uncordon passes only in the mode that keeps one. In the others it is the uncordon that it would have been.
        let is_kept = deferred == Deferred::Asked && self.mode(uncordon_reason(is_too_late)) == Mode::Defer;
        let asks = change.uncordons || (deferred == Deferred::Asked && !is_kept);
        // After a cancel, what is on the Node may go, but nothing may be written.
        let is_removal = new.annotation(keys::UNCORDON_WANTED).is_none();
        let is_forged = matches!(deferred, Deferred::Forged(_)) && !(is_open && is_removal);
        let rules = [
            (self.is_agent_elsewhere(old), Reason::NotOwnNode),
            (change.cancel, Reason::CancelAlone),
            (!is_marked && change.touches_marks(), Reason::SpoofedHold),
            (is_forged, Reason::ForgedWish),
            (is_too_late && (asks || change.touches_marks()), Reason::TooLate),
            (is_open, Reason::Cancelled),
            (!is_ended && asks && is_held && !self.has_lapsed(), Reason::Held),
            (
                !is_ended && is_marked && change.annotations_or_phase,
                Reason::TamperedHold,
            ),
            (!is_ended && is_marked && change.taint, Reason::TamperedTaint),
            (is_kept || deferred == Deferred::TakenBack, Reason::Deferred),
            (change.probes && !self.is_question(), Reason::StrayProbe),
        ];
        let applying = rules.into_iter().filter(|(applies, _)| *applies);
        applying.map(|(_, reason)| reason).collect()
    }

    /// The rules for the DELETE of a Node. An agent may not delete another node's Node.
    pub(super) fn delete(&self, old: &NodeView) -> Reason {
        let reason = self.delete_of_a_hold(old);
        let is_elsewhere = self.is_agent_elsewhere(old);
        if is_elsewhere && (self.denies(Reason::NotOwnNode) || !self.denies(reason)) {
            return Reason::NotOwnNode;
        }
        reason
    }

    /// The rules for the DELETE of a Node by anybody but an agent elsewhere. Only holds of Cordonhold matter, not kured's.
    fn delete_of_a_hold(&self, old: &NodeView) -> Reason {
        if !hold::is_held(&self.hold) {
            return Reason::NothingOfOurs;
        }
        if self.is_exempt() {
            return Reason::Exempt;
        }
        if is_cancelled(old) && !hold::is_sealed(old, self.now, SKEW) {
            return Reason::Cancelled;
        }
        if self.has_lapsed() {
            return Reason::Lapsed;
        }
        // `HeldDeleted` tells people to cancel first, which is of no use to one who has.
        if is_cancelled(old) && self.policy.on_delete == OnDelete::Deny {
            return Reason::TooLate;
        }
        Reason::HeldDeleted
    }

    pub(super) fn has_lapsed(&self) -> bool {
        matches!(&self.hold, Reading::Present(hold) if hold.has_lapsed(self.now, SKEW))
    }

    /// The rules for a request that changes the cancel and nothing else of ours.
    fn cancel_written(&self, old: &NodeView, new: &NodeView) -> Ruling {
        let permission = match &self.facts.may_override {
            Known::Unasked => return Ruling::Need(Fact::Override),
            Known::Is(true) => Reason::Override,
            Known::Is(false) => Reason::NoOverride,
            Known::Failed(_) => Reason::LookupFailed,
        };
        let text = new.annotation(keys::CANCEL);
        let is_bad = text.is_some_and(|text| hold::cancel_flaw(old, text).is_some());
        self.unless_bad(permission, is_bad.then_some(Reason::BadCancel))
    }

    /// The rules for the request for a reboot that the new Node has, or no longer has.
    fn request_written(&self, new: &NodeView) -> Ruling {
        let permission = match &self.facts.may_reboot {
            Known::Unasked => return Ruling::Need(Fact::Reboot),
            Known::Is(true) => Reason::Requested,
            Known::Is(false) => Reason::NoRequest,
            Known::Failed(_) => Reason::LookupFailed,
        };
        let is_bad = hold::bad_request(new, self.now).is_some();
        self.unless_bad(permission, is_bad.then_some(Reason::BadRequest))
    }

    /// The permission, or what is wrong with the text of somebody who has it: who may not write it at all is told that, rather than how.
    fn unless_bad(&self, permission: Reason, bad: Option<Reason>) -> Ruling {
        bad.filter(|_| !self.denies(permission))
            .unwrap_or(permission)
            .into()
    }

    /// The reason for an update that no rule of ours denies: `reason`, unless it is an uncordon and kured's rules weigh more.
    fn unless_kureds(&self, node: &NodeView, reason: Reason) -> Ruling {
        if !self.change.uncordons {
            return reason.into();
        }
        match self.kured(node) {
            Ruling::Reason(kureds)
                if reason == Reason::NotHeld || self.gravity(kureds) > self.gravity(reason) =>
            {
                kureds.into()
            }
            Ruling::Reason(_) => reason.into(),
            Ruling::Need(fact) => Ruling::Need(fact),
        }
    }
}

/// Whether the Node carries a cancel that names its hold.
fn is_cancelled(node: &NodeView) -> bool {
    hold::has_marks(node) && hold::cancel(node).is_some_and(|cancel| cancel.created == cancel_name(node))
}
