//! The hosts: told to reboot, going down, booting.

use cordonhold_shared::hold::{self, Hold, Phase};
use cordonhold_shared::keys;
use cordonhold_shared::reboot::cycle::{Answer, Ask, Input, RebootFailure, Timer};

use crate::protocol::{Action, Protocol, created, small};
use crate::rule::Rule;
use crate::scenarios::Hosts;
use crate::violation::Violation;
use crate::world::{Node, Power, State};

impl Protocol {
    pub(crate) fn host_actions(&self, state: &State, index: usize, actions: &mut Vec<Action>) {
        let id = small(index);
        match state.nodes[index].power {
            Power::Up => {
                if state.left.foreign_reboots > 0 {
                    actions.push(Action::ForeignReboot(id));
                }
            }
            Power::Issued => actions.push(Action::ShutdownShows(id)),
            Power::GoingDown => actions.push(Action::GoesDown(id)),
            Power::Down => actions.push(Action::Boots(id)),
        }
    }

    pub(crate) fn reboot(&self, state: &mut State, index: usize) -> Result<(), RebootFailure> {
        let own = state.agents[index].node;
        let is_late = !state.agents[index].timers.has(Timer::Deadline);
        if is_late && !self.is_off(Rule::Deadline) {
            return Err(RebootFailure::Expired);
        }
        if is_late {
            state.violate(Violation::RebootAfterDeadline);
        }
        self.issue(state, index, own);
        Ok(())
    }

    pub(crate) fn issue(&self, state: &mut State, index: usize, own: u8) {
        let shown = self.read(state, own).and_then(|view| hold::read(&view).present());
        let node = &mut state.nodes[usize::from(own)];
        if node.seen.sealed_by != Some(small(index)) {
            state.violations |= Violation::RebootWithoutSeal.bit();
        }
        let stamps = 1..=node.stamps;
        let of_hold = shown.and_then(|hold| {
            stamps
                .into_iter()
                .find(|stamp| hold.holder.created == created(own, *stamp))
        });
        node.seen.issued = of_hold.or(Some(node.stamps));
        node.seen.commands += 1;
        if node.seen.commands > 2 {
            state.violations |= Violation::TooManyReboots.bit();
        }
        if node.seen.is_altered {
            state.violations |= Violation::SealedWithoutCordon.bit();
        }
        node.is_told = true;
        if node.power == Power::Up {
            node.power = if self.scenario.hosts_lag {
                Power::Issued
            } else {
                Power::GoingDown
            };
        }
    }

    pub(crate) fn fail_reboot(&self, state: &mut State, index: usize) -> bool {
        state.left.failed_reboots -= 1;
        let own = usize::from(state.agents[index].node);
        if let Some(Ask::Reboot { record }) = self.take_request(state, index).as_deref() {
            state.nodes[own].record = Some(self.host_records.id(record.clone()));
        }
        state.nodes[own].is_told = false;
        let failed = RebootFailure::Failed("exit code 1".to_owned());
        self.feed(state, index, Input::Answer(Answer::RebootIssued(Err(failed))));
        true
    }

    /// Takes the host down: its processes end, and its pods die.
    pub(crate) fn go_down(&self, state: &mut State, number: u8) {
        let view = self.read(state, number);
        let node = &mut state.nodes[usize::from(number)];
        node.power = Power::Down;
        node.pods = 0;
        let ghost = node.seen;
        let is_readable = !ghost.taken && !ghost.forged;
        if let Some(stamp) = ghost.issued.filter(|_| is_readable || ghost.deleted) {
            let shown = view.and_then(|view| hold::read(&view).present());
            let is_of_seal = |hold: &Hold| hold.holder.created == created(number, stamp);
            let is_wrong = if ghost.deleted {
                // While the host goes down, no hold of another wish may be on the new Node.
                shown.is_some_and(|hold| hold.phase != Phase::Wanted && !is_of_seal(&hold))
            } else {
                !shown.is_some_and(|hold| hold.phase == Phase::Sealed && is_of_seal(&hold))
            };
            if is_wrong {
                state.violate(Violation::DownUnsealed);
            }
            if ghost.lured {
                state.violate(Violation::DownUnderNewPods);
            }
        }
        state.nodes[usize::from(number)].seen.lured = false;
        for agent in 0..state.agents.len() {
            if state.agents[agent].node == number {
                self.forget(state, agent);
            }
        }
    }

    pub(crate) fn boot(&self, state: &mut State, number: u8) {
        let node = &mut state.nodes[usize::from(number)];
        node.power = Power::Up;
        node.is_told = false;
        if self.scenario.hosts != Hosts::Soft {
            self.clean_run(node);
        }
        node.boot += 1;
        node.wants &= self.scenario.sentinel_stays;
        node.seen.issued = None;
        node.seen.deleted = false;
        let boot = node.boot;
        if node.exists {
            let mut view = (*self.views.get(node.view)).clone();
            view.status.node_info.boot_id = self.boot_of(number, boot).id;
            if self.is_off(Rule::AttemptsAreCounted) {
                drop(view.metadata.annotations.remove(keys::ATTEMPT));
            }
            self.put_view(state, number, view);
        }
    }

    /// Empties the host's `/run`.
    pub(crate) fn clean_run(&self, node: &mut Node) {
        let record = node.record.take().map(|record| self.host_records.get(record));
        node.is_told = false;
        // A record without a phase says that the cordon was given back. Without it, a cordon found now may be anybody's.
        node.seen.unsure |= record.is_some_and(|record| record.phase.is_none());
    }
}
