//! From the end of the delay to the seal: fresh reads, the confirm, the seal.
//!
//! The seal is a compare-and-swap on the version that the watch delivered last, so where it succeeds
//! the watch had seen everything that happened to the Node since it was cordoned.

use super::draining::Trouble;
use super::edit::{Beside, Edit};
use super::lock_edit::LockEdit;
use super::sent::Sent;
use super::stage::{Rebooting, Sealing, Stage};
use super::{
    ATTEMPTS_MAX, Act, Answer, Ask, Blocker, CallOff, Cycle, Disturbance, Event, Failure, RETRIES_MAX,
    Report, SEAL_TRIES_MAX, Step, Timer, is_retry,
};
use crate::hold::{Hold, NodePatch, PatchKind, Phase};
use crate::host::HostRecord;
use crate::node::NodeView;

impl Cycle {
    /// Begins the final check.
    pub(super) fn seal(&mut self) -> Step {
        if self.attempts() >= ATTEMPTS_MAX {
            return self.give_up();
        }
        self.check(0)
    }

    /// What postpones a reboot is asked first.
    fn check(&mut self, tries: u8) -> Step {
        let listing = Stage::Sealing(Sealing::ListingBlockers { tries });
        self.ask(listing, Ask::ListBlockers)
    }

    fn unless_postponed(&mut self, tries: u8, blockers: Vec<Blocker>) -> Step {
        self.blockers.clone_from(&blockers);
        if blockers.is_empty() {
            return self.check_pods(tries).after([Act::Disarm(Timer::Blocked)]);
        }
        let said = self.say(Report::Blocked(blockers));
        let acts = [Act::Arm(Timer::Blocked), Act::Arm(Timer::Retry(RETRIES_MAX))];
        self.rest(Stage::Sealing(Sealing::Pausing { tries }), acts)
            .after(said)
    }

    /// A forced reboot leaves out this look alone: it begins because pods are left.
    fn check_pods(&mut self, tries: u8) -> Step {
        if self.settings.verify && !self.is_forced {
            let listing = Stage::Sealing(Sealing::ListingPods { tries });
            self.ask(listing, Ask::ListPods(self.kept.clone()))
        } else {
            self.edit_lock(LockEdit::Confirm { tries })
        }
    }

    pub(super) fn sealing(&mut self, step: Sealing, answer: Answer) -> Step {
        match (step, answer) {
            (Sealing::ListingBlockers { tries }, Answer::Blockers(Ok(blockers))) => {
                self.unless_postponed(tries, blockers)
            }
            (Sealing::ListingBlockers { tries }, Answer::Blockers(Err(failure))) => {
                self.check_again(tries, &failure)
            }
            (Sealing::ListingPods { tries }, Answer::PodsLeft(Ok(pods))) if pods.is_empty() => {
                self.edit_lock(LockEdit::Confirm { tries })
            }
            (Sealing::ListingPods { .. }, Answer::PodsLeft(Ok(pods))) => {
                self.disturbed(Disturbance::Pods(pods))
            }
            (Sealing::ListingPods { tries }, Answer::PodsLeft(Err(failure))) => {
                self.check_again(tries, &failure)
            }
            (_, answer) => self.unexpected(&answer),
        }
    }

    /// While the check waits for its next try.
    pub(super) fn seal_waits(&mut self, tries: u8, event: Event) -> Step {
        match event {
            // The answer to the seal was lost, and here it is.
            Event::Seen(node) if self.is_sealed() => self.sealed(&node),
            Event::Seen(node) => self.examine(&node).unwrap_or_else(Step::rest),
            event if self.undoes_drain(&event) => self.drain_undone(event),
            Event::Due(Timer::Renew) => self.edit(Edit::Renew(Beside::Sealing { tries })),
            Event::Due(Timer::Blocked) => {
                let blockers = std::mem::take(&mut self.blockers);
                self.undo(CallOff::Blocked(blockers))
            }
            event if is_retry(&event) => self.check(tries),
            _ => Step::rest(),
        }
    }

    /// How many reboot commands may have been run for our hold.
    pub(super) fn attempts(&self) -> u8 {
        self.hold.as_ref().map_or(0, |hold| hold.attempts)
    }

    pub(super) fn seal_on(&mut self, tries: u8, node: &NodeView) -> Step {
        // Its answer was lost, and here it is.
        if self.is_sealed() {
            return self.sealed(node);
        }
        if let Some(step) = self.examine(node) {
            return step;
        }
        let Some(mine) = self.hold.clone() else {
            return self.undo(CallOff::HoldLost);
        };
        if is_outrun(tries) {
            return self.check_again(0, &Failure::Conflict);
        }
        let leaves = Hold {
            attempts: mine.attempts.saturating_add(1),
            ..mine.written(Phase::Sealed, self.proof())
        };
        let patch = NodePatch::seal(node, leaves);
        // It runs from the first of them that may have landed.
        let may_have_landed = |sent: &Sent| sent.is_unknown && sent.patch.kind == PatchKind::Seal;
        let is_first = !self.sent.iter().any(may_have_landed);
        let deadline = is_first.then_some(Act::Arm(Timer::Deadline));
        let tries = tries.saturating_add(1);
        self.patch(Edit::Seal { tries }, patch).after(deadline)
    }

    /// Something failed, or others were faster each time. That undoes nothing of the drain: the whole check is made again
    /// after a pause that grows. Where the seal has landed all the same, the watch will show it.
    pub(super) fn check_again(&mut self, tries: u8, failure: &Failure) -> Step {
        self.retry(
            Stage::Sealing(Sealing::Pausing { tries }),
            "seal the node",
            failure,
        )
    }

    /// Whether the last write of ours that is known to have landed is a seal.
    fn is_sealed(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.phase == Phase::Sealed)
    }

    /// The seal has landed. Nothing is rebooted on it unless the whole of it is there, and nothing ever without its proof.
    pub(super) fn sealed(&mut self, node: &NodeView) -> Step {
        let _ = self.is_as_written(node);
        let seal = self.hold.clone().filter(|_| self.is_sealed());
        let record = seal.and_then(|seal| Some(HostRecord::of(&seal, seal.write.clone()?, Some(seal.phase))));
        let unproven = Trouble::Disturbed(Disturbance::Tampered);
        let record = match (self.trouble(node), record) {
            (None, Some(record)) => record,
            (trouble, _) => {
                self.not_attempted();
                return self.meet(trouble.unwrap_or(unproven));
            }
        };
        self.retries = 0;
        self.ask(Stage::Rebooting(Rebooting::Issuing), Ask::Reboot { record })
            .after([Act::StopDrain, Act::Disarm(Timer::Renew)])
            .reporting(Report::Sealed)
    }
}

/// Others were faster each time.
pub(super) fn is_outrun(tries: u8) -> bool {
    tries >= SEAL_TRIES_MAX
}
