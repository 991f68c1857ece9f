//! From the end of the delay to the seal: fresh reads, the confirm, the seal.
//!
//! The seal is a compare-and-swap on the version that the watch has shown last. If it succeeds, the watch had shown everything
//! that happened to the Node since it was cordoned.

use super::draining::Trouble;
use super::edit::{Beside, Edit};
use super::lock_edit::LockEdit;
use super::sent::Sent;
use super::stage::{Rebooting, Sealing, Stage};
use super::{
    ATTEMPTS_MAX, Act, Answer, Ask, Blocker, CallOff, Count, Cycle, Disturbance, Event, Failure, RETRIES_MAX,
    Report, SEAL_TRIES_MAX, Step, Timer, Unsealed, is_retry,
};
use crate::hold::{Hold, NodePatch, PatchKind, Phase};
use crate::host::HostRecord;
use crate::node::NodeView;

impl Cycle {
    /// Begins the final check.
    pub(super) fn seal(&mut self) -> Step {
        // The count may come from an earlier process, which has used up the attempts of this hold.
        if self.attempts() >= ATTEMPTS_MAX {
            return self.give_up();
        }
        self.check(0)
    }

    /// Begins the check. What postpones a reboot is asked first, so that nothing is written for a reboot that is postponed.
    fn check(&mut self, tries: u8) -> Step {
        let listing = Stage::Sealing(Sealing::ListingBlockers { tries });
        self.ask(listing, Ask::ListBlockers)
    }

    fn unless_postponed(&mut self, tries: u8, blockers: Vec<Blocker>) -> Step {
        self.blockers.clone_from(&blockers);
        if blockers.is_empty() {
            return self.check_pods(tries).after([Act::Disarm(Timer::Blocked)]);
        }
        let mut said = self.say(Report::Blocked(blockers));
        said.push(Act::Count(Count::Unsealed(Unsealed::Blocked.word())));
        // `Blocked` runs on while the check is made again and again: it bounds the whole wait.
        let acts = [Act::Arm(Timer::Blocked), Act::Arm(Timer::Retry(RETRIES_MAX))];
        self.rest(Stage::Sealing(Sealing::Pausing { tries }), acts)
            .after(said)
    }

    /// Looks for pods that are left. A forced reboot leaves out this look and no other: it goes on because pods are left.
    fn check_pods(&mut self, tries: u8) -> Step {
        if self.settings.verify && !self.is_forced {
            let listing = Stage::Sealing(Sealing::ListingPods { tries });
            self.ask(listing, Ask::ListPods(self.kept.clone()))
        } else {
            self.edit_lock(LockEdit::Confirm { tries })
        }
    }

    /// Takes an answer of the final check.
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
            // A pod has come since the drain, and the drain's watch has not shown it yet.
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
            // The answer to the seal was lost, and the watch shows that it has landed.
            Event::Seen(node) if self.is_sealed() => self.sealed(&node),
            Event::Seen(node) => self.examine(&node).unwrap_or_else(Step::rest),
            event if self.undoes_drain(&event) => self.drain_undone(event),
            // Seals may be refused for long, and the hold must not lapse meanwhile.
            Event::Due(Timer::Renew) => self.edit(Edit::Renew(Beside::Sealing { tries })),
            // NOTHING-STUCK: a drained node waits no longer than a drain may take.
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

    /// Seals this version of our Node.
    pub(super) fn seal_on(&mut self, tries: u8, node: &NodeView) -> Step {
        // An earlier seal has landed although its answer was lost.
        if self.is_sealed() {
            return self.sealed(node);
        }
        if let Some(step) = self.examine(node) {
            return step;
        }
        let Some(mine) = self.hold.clone() else {
            return self.undo(CallOff::HoldLost);
        };
        // What the check has seen grows old while others write the Node faster: it is made again as a whole.
        if is_outrun(tries) {
            return self.check_again(0, &Failure::Conflict);
        }
        let leaves = Hold {
            attempts: mine.attempts.saturating_add(1),
            ..mine.written(Phase::Sealed, self.proof())
        };
        let patch = self.accounted(NodePatch::seal(node, leaves), node);
        // The deadline runs from the first seal that may have landed: the node may have been sealed since then.
        let may_have_landed = |sent: &Sent| sent.is_unknown && sent.patch.kind == PatchKind::Seal;
        let is_first = !self.sent.iter().any(may_have_landed);
        let deadline = is_first.then_some(Act::Arm(Timer::Deadline));
        let tries = tries.saturating_add(1);
        self.patch(Edit::Seal { tries }, patch).after(deadline)
    }

    /// Makes the whole check again after a pause that grows, because something failed or others were faster each time.
    ///
    /// That undoes nothing of the drain. If the seal has landed all the same, the watch will show it.
    pub(super) fn check_again(&mut self, tries: u8, failure: &Failure) -> Step {
        let count = Count::Unsealed(Unsealed::from(failure).word());
        self.retry(
            Stage::Sealing(Sealing::Pausing { tries }),
            "seal the node",
            failure,
        )
        .after([Act::Count(count)])
    }

    /// Whether the last write of ours that is known to have landed is a seal.
    fn is_sealed(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.phase == Phase::Sealed)
    }

    /// The seal has landed: runs the reboot command if the Node shows all of the seal, with its proof.
    pub(super) fn sealed(&mut self, node: &NodeView) -> Step {
        // Called for what it remembers of the write; `trouble` decides below.
        let _ = self.is_as_written(node);
        let seal = self.hold.clone().filter(|_| self.is_sealed());
        let record = seal.and_then(|seal| {
            let record = HostRecord::of(&seal, seal.write.clone()?, Some(seal.phase));
            Some(self.recording_deferred(record, &seal))
        });
        let unproven = Trouble::Disturbed(Disturbance::Tampered);
        let record = match (self.trouble(node), record) {
            (None, Some(record)) => record,
            (trouble, _) => {
                // The command is not run on this seal, so it costs no attempt.
                self.not_attempted();
                return self.meet(trouble.unwrap_or(unproven));
            }
        };
        self.retries = 0;
        let attempt = self.attempts();
        self.ask(Stage::Rebooting(Rebooting::Issuing), Ask::Reboot { record })
            .after([Act::StopDrain, Act::Disarm(Timer::Renew)])
            .reporting(Report::Sealed { attempt })
    }
}

/// Whether others were faster so many times that the whole check is made again.
pub(super) fn is_outrun(tries: u8) -> bool {
    tries >= SEAL_TRIES_MAX
}
