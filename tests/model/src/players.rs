//! Everybody but the agents: controllers and people, whose updates the webhook's real decision allows or denies, the scheduler, the hosts.

use cordonhold_shared::Reading;
use cordonhold_shared::admission::{
    self, Decision, Exempt, Facts, Known, KuredLock, KuredPolicy, KuredSeen, Mode, OnDelete, OnLookupFailure,
    Policy, Requester, ServiceAccount,
};
use cordonhold_shared::hold::{self, Phase};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use jiff::Timestamp;

use crate::forgeries::Forgery;
use crate::protocol::{Action, Protocol, small};
use crate::rule::Rule;
use crate::violation::Violation;
use crate::world::{Delivery, Power, State};

/// Who makes a request to the API server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Stranger,
    /// A person with the permission to override.
    Override,
    Kured,
}

impl Protocol {
    pub(crate) fn player_actions(&self, state: &State, index: usize, actions: &mut Vec<Action>) {
        let id = small(index);
        let (node, left) = (&state.nodes[index], &state.left);
        let view = self.views.get(node.view);
        let is_marked = hold::read(&view) != Reading::Absent;
        let is_held = hold::is_held(&hold::read(&view));
        let is_cordoned = view.spec.unschedulable;
        let mut may = |is_possible: bool, action: Action| {
            if is_possible {
                actions.push(action);
            }
        };
        may(!node.exists, Action::Recreate(id));
        may(node.bind.is_some() && node.power != Power::Down, Action::Bind(id));
        may(node.admitted.is_some(), Action::AdmittedLands(id));
        if !node.exists {
            return;
        }
        let is_bound = !self.is_off(Rule::VerdictBoundToVersion);
        may(
            left.uncordons > 0 && is_cordoned && is_bound,
            Action::Uncordon(id),
        );
        may(left.uncordons > 0 && is_cordoned && !is_bound, Action::Admit(id));
        may(
            left.recordons > 0 && !is_cordoned && is_held,
            Action::Recordon(id),
        );
        may(left.strips > 0 && is_marked, Action::Strip(id));
        may(
            left.stripped_uncordons > 0 && !state.webhook_up && self.is_uncordon_kept(state, id),
            Action::StripUncordon(id),
        );
        may(left.cancels > 0 && is_marked, Action::Cancel(id));
        may(left.planted_cancels > 0 && is_marked, Action::PlantCancel(id));
        may(
            left.admin_cordons > 0 && !is_cordoned && !is_held,
            Action::AdminCordon(id),
        );
        may(left.deletions > 0, Action::Delete(id));
        let record = self.records.get(state.lock.record);
        let has_entry = record
            .entries
            .iter()
            .any(|entry| entry.node == view.metadata.name);
        may(left.removed_entries > 0 && has_entry, Action::RemoveEntry(id));
        may(
            left.expiries > 0 && is_marked && !node.expired,
            Action::Expire(id),
        );
        let is_kept_away = is_cordoned || (view.is_tainted(keys::REBOOTING) && !self.is_off(Rule::Taint));
        may(
            left.schedulings > 0 && !is_kept_away && node.bind.is_none(),
            Action::Schedule(id),
        );
        may(left.more_wishes > 0 && !node.wants, Action::WantAgain(id));
        may(left.cleanings > 0 && node.record.is_some(), Action::CleanRun(id));
        if left.forgeries > 0 && !state.webhook_up {
            let forgeries = Forgery::on(&view, node.older.is_some());
            actions.extend(forgeries.into_iter().map(|forgery| Action::Forge(id, forgery)));
        }
    }

    pub(crate) fn play(&self, state: &mut State, action: Action) -> bool {
        match action {
            Action::ShutdownShows(id) => state.nodes[usize::from(id)].power = Power::GoingDown,
            Action::GoesDown(id) => {
                self.go_down(state, id);
                self.kured_goes_down(state, id);
            }
            Action::Boots(id) => {
                self.boot(state, id);
                self.kured_boots(state, id);
            }
            Action::ForeignReboot(id) => {
                state.left.foreign_reboots -= 1;
                state.nodes[usize::from(id)].power = Power::GoingDown;
            }
            Action::WantAgain(id) => {
                state.left.more_wishes -= 1;
                state.nodes[usize::from(id)].wants = true;
            }
            Action::WebhookFails => {
                state.left.webhook_failures -= 1;
                state.webhook_up = false;
            }
            Action::Expire(id) => {
                state.left.expiries -= 1;
                state.nodes[usize::from(id)].expired = true;
            }
            Action::Schedule(id) => self.schedule(state, id),
            Action::Bind(id) => {
                let node = &mut state.nodes[usize::from(id)];
                node.seen.lured |= node.bind.take() == Some(true);
                node.pods = 1;
            }
            Action::RemoveEntry(id) => {
                state.left.removed_entries -= 1;
                self.drop_entries(state, id);
                state.nodes[usize::from(id)].seen.between = false;
            }
            Action::Delete(id) => self.delete(state, id),
            Action::Recreate(id) => self.recreate(state, id),
            Action::CleanRun(id) => {
                state.left.cleanings -= 1;
                self.clean_run(&mut state.nodes[usize::from(id)]);
            }
            Action::Forge(id, forgery) => return self.forge(state, id, forgery),
            update => return self.update(state, update),
        }
        true
    }

    /// Carries out an update of a Node that has to pass admission.
    fn update(&self, state: &mut State, action: Action) -> bool {
        match action {
            Action::Uncordon(id) => {
                state.left.uncordons -= 1;
                self.uncordon(state, id, Who::Stranger)
            }
            Action::Admit(id) => self.admit(state, id),
            Action::AdmittedLands(id) => {
                state.nodes[usize::from(id)].admitted = None;
                let is_held = self.is_held(state, id) && !state.nodes[usize::from(id)].expired;
                let is_cancelled = state.nodes[usize::from(id)].seen.cancelled;
                if is_held && !is_cancelled {
                    state.violate(Violation::HeldUncordoned);
                }
                let new = self.uncordoned(state, id);
                state.nodes[usize::from(id)].seen.wants_cordon &= self.is_held(state, id);
                self.put_view(state, id, new);
                true
            }
            Action::Recordon(id) => self.recordon(state, id),
            Action::AdminCordon(id) => {
                state.left.admin_cordons -= 1;
                state.nodes[usize::from(id)].seen.wants_cordon = true;
                let new = self.changed(state, id, |view| view.spec.unschedulable = true);
                self.put_view(state, id, new);
                true
            }
            Action::Strip(id) => self.strip(state, id),
            Action::StripUncordon(id) => self.strip_uncordon(state, id),
            Action::Cancel(id) => {
                state.left.cancels -= 1;
                self.cancel(state, id, Who::Override)
            }
            Action::PlantCancel(id) => {
                state.left.planted_cancels -= 1;
                self.cancel(state, id, Who::Stranger)
            }
            _ => false,
        }
    }

    fn changed(&self, state: &State, id: u8, change: impl FnOnce(&mut NodeView)) -> NodeView {
        let mut view = (*self.views.get(state.nodes[usize::from(id)].view)).clone();
        change(&mut view);
        view
    }

    /// The Node without its cordon, and without the taint that the node controller adds for it.
    pub(crate) fn uncordoned(&self, state: &State, id: u8) -> NodeView {
        self.changed(state, id, |view| {
            view.spec.unschedulable = false;
            view.spec
                .taints
                .retain(|taint| taint.key != keys::UNSCHEDULABLE_TAINT);
        })
    }

    fn is_held(&self, state: &State, id: u8) -> bool {
        hold::is_held(&hold::read(&self.views.get(state.nodes[usize::from(id)].view)))
    }

    pub(crate) fn uncordon(&self, state: &mut State, id: u8, who: Who) -> bool {
        let new = self.uncordoned(state, id);
        if let Some(deferral) = self.deferral(state, id, &new, who) {
            return self.defer(state, id, &new, &deferral);
        }
        if !self.passes(state, id, &new, who) {
            return who == Who::Kured;
        }
        let node = &state.nodes[usize::from(id)];
        if self.is_held(state, id) && state.webhook_up && !node.expired && !node.seen.cancelled {
            state.violate(Violation::HeldUncordoned);
        }
        let is_held = self.is_held(state, id);
        let seen = &mut state.nodes[usize::from(id)].seen;
        // Once the marks are gone, the agent may undo what others do to the cordon before it has seen that, or has ended its hold.
        seen.unsure |= seen.taken && seen.wants_cordon;
        seen.wants_cordon &= is_held;
        self.put_view(state, id, new);
        true
    }

    fn admit(&self, state: &mut State, id: u8) -> bool {
        state.left.uncordons -= 1;
        let new = self.uncordoned(state, id);
        if !self.passes(state, id, &new, Who::Stranger) {
            return false;
        }
        let node = &mut state.nodes[usize::from(id)];
        node.admitted = Some(node.version);
        true
    }

    fn strip(&self, state: &mut State, id: u8) -> bool {
        state.left.strips -= 1;
        let new = self.changed(state, id, |view| {
            view.metadata
                .annotations
                .retain(|key, _| !keys::MARK_ANNOTATIONS.contains(&key.as_str()));
            drop(view.metadata.labels.remove(keys::PHASE));
            view.spec.taints.retain(|taint| taint.key != keys::REBOOTING);
        });
        let is_forgiven = self.is_off(Rule::MarksOutliveUntil) && state.nodes[usize::from(id)].expired;
        if !is_forgiven && !self.passes(state, id, &new, Who::Stranger) {
            return false;
        }
        if state.webhook_up && !state.nodes[usize::from(id)].seen.cancelled {
            state.violate(Violation::MarksChanged);
        }
        // An admin's cordon that an uncordon has cleared which nobody could defer: only the marks say that the agent is to put it back.
        let is_cleared = state.nodes[usize::from(id)].seen.wants_cordon && !new.spec.unschedulable;
        state.nodes[usize::from(id)].seen.unsure |= is_cleared || self.is_cordon_unknown(state, id);
        self.take(state, id);
        self.put_view(state, id, new);
        true
    }

    /// Whether the host's record says that a node which was cordoned before is about to be cordoned, and that has not landed. Without marks
    /// nobody can tell, so a later process puts that cordon back, whatever others have done in between.
    pub(crate) fn is_cordon_unknown(&self, state: &State, id: u8) -> bool {
        let node = &state.nodes[usize::from(id)];
        let record = node.record.map(|record| self.host_records.get(record));
        let cordons = record.is_some_and(|record| {
            record.phase == Some(Phase::Draining) && record.was_unschedulable == Some(true)
        });
        cordons && node.seen.was.is_none()
    }

    /// Notes that somebody took the hold away: what happens to the node from now on is not the agents' fault.
    fn take(&self, state: &mut State, id: u8) {
        let ghost = &mut state.nodes[usize::from(id)].seen;
        ghost.taken = true;
        ghost.between = false;
        ghost.disturbed = true;
        ghost.listed = false;
    }

    fn cancel(&self, state: &mut State, id: u8, who: Who) -> bool {
        let new = self.changed(state, id, |view| {
            let reason = format!("{} a reason", admission::cancel_name(view));
            drop(view.metadata.annotations.insert(keys::CANCEL.to_owned(), reason));
        });
        let is_forgiven = self.is_off(Rule::CancelIsPermitted) && !self.is_held(state, id);
        if !is_forgiven && !self.passes(state, id, &new, who) {
            return false;
        }
        // While the webhook is down nobody checks the permission, so the cancel counts.
        state.nodes[usize::from(id)].seen.cancelled |= who == Who::Override || !state.webhook_up;
        self.put_view(state, id, new);
        true
    }

    fn delete(&self, state: &mut State, id: u8) {
        state.left.deletions -= 1;
        self.take(state, id);
        let node = &mut state.nodes[usize::from(id)];
        node.exists = false;
        node.seen.deleted = true;
        node.version += 1;
        node.expired = false;
        for agent in state.agents.iter_mut().filter(|agent| agent.node == id) {
            if let Some(queue) = &mut agent.queue {
                queue.push(Delivery::Gap);
            }
        }
    }

    /// Creates the Node again, schedulable, as a kubelet registers it.
    fn recreate(&self, state: &mut State, id: u8) {
        let node = &mut state.nodes[usize::from(id)];
        let old = self.views.get(node.view);
        let uids = old
            .metadata
            .uid
            .rsplit('-')
            .next()
            .and_then(|uid| uid.parse::<u8>().ok());
        let uid = uids.unwrap_or_default() + 1;
        let boot = node.boot;
        node.exists = true;
        // The new Node has no hold, so its cordon is as people want it.
        node.seen.taken = false;
        node.seen.was = None;
        node.seen.wants_cordon = false;
        node.older = None;
        let view = self.first_view(id, uid, boot, false);
        self.put_view(state, id, view);
    }

    fn schedule(&self, state: &mut State, id: u8) {
        state.left.schedulings -= 1;
        let view = self.views.get(state.nodes[usize::from(id)].view);
        let is_sealed = view.label(keys::PHASE) == Some(Phase::Sealed.as_str());
        state.nodes[usize::from(id)].bind = Some(is_sealed);
    }

    /// Whether an update passes: by the webhook's real decision; always while the webhook is down.
    pub(crate) fn passes(&self, state: &State, id: u8, new: &NodeView, who: Who) -> bool {
        if !state.webhook_up {
            return true;
        }
        let record = self.records.get(state.lock.record);
        let lock = record.render();
        let facts = Facts {
            may_override: Known::Is(who == Who::Override),
            // Nobody asks for a reboot there.
            may_reboot: Known::Is(false),
            // No watch: a watch could only deny more.
            watched_kured_lock: Known::Failed("no watch".to_owned()),
            kured_lock: Known::Is(KuredSeen {
                found: None,
                locks: lock
                    .map(|text| (keys::KURED_LOCK.to_owned(), text))
                    .into_iter()
                    .collect(),
            }),
        };
        let (request, now) = self.request(state, id, new, who);
        match admission::decide(&request, &facts, &self.webhook_policy(), now) {
            Decision::Verdict(verdict) => verdict.outcome != admission::Outcome::Deny,
            Decision::Need(_) => false,
        }
    }

    /// An update of a Node as the webhook is asked about it, and the webhook's time.
    pub(crate) fn request(
        &self,
        state: &State,
        id: u8,
        new: &NodeView,
        who: Who,
    ) -> (admission::Request, Timestamp) {
        let node = &state.nodes[usize::from(id)];
        let old = self.views.get(node.view);
        let requester = Requester {
            user: match who {
                Who::Stranger => "controller".to_owned(),
                Who::Override => "admin".to_owned(),
                Who::Kured => account("kured").user(),
            },
            ..Requester::default()
        };
        let request = admission::Request::update(requester, (*old).clone(), new.clone());
        (request, now(node.expired))
    }

    pub(crate) fn webhook_policy(&self) -> Policy {
        let kured = KuredPolicy {
            service_account: Some(account("kured")),
            is_believed_without_node: false,
            marks: Vec::new(),
            lock: Some(KuredLock {
                ds_namespace: "kube-system".to_owned(),
                ds_name: "kured".to_owned(),
                annotations: vec![keys::KURED_LOCK.to_owned()],
                on_lookup_failure: OnLookupFailure::Deny,
            }),
        };
        let is_protected = self.scenario.protects_kured && !self.is_off(Rule::KuredsNodeIsHeld);
        let mode = if self.scenario.defers {
            Mode::Defer
        } else {
            Mode::Enforce
        };
        Policy {
            modes: mode.into(),
            agent: account("cordonhold-agent"),
            exempt: Exempt::default(),
            on_delete: OnDelete::Flag,
            kured: is_protected.then_some(kured),
            replica: "webhook".to_owned(),
        }
    }
}

fn account(name: &str) -> ServiceAccount {
    ServiceAccount {
        namespace: "kube-system".to_owned(),
        name: name.to_owned(),
    }
}

/// The webhook's time: before `until`, or long after it. All holds have the same `until`.
fn now(expired: bool) -> Timestamp {
    let text = if expired {
        "2026-11-23T21:00:00Z"
    } else {
        "2026-11-23T19:00:00Z"
    };
    text.parse().unwrap_or(Timestamp::MAX)
}
