//! From the end of the delay to the reboot: fresh reads, the confirm, the seal, the command.
//!
//! The seal is a compare-and-swap on the version that the watch delivered last, so where it succeeds
//! the watch had seen everything that happened to the Node since it was cordoned.

use super::{
    ATTEMPTS_MAX, Act, Answer, Ask, CallOff, Cycle, Disturbance, DrainNews, Event, Failure, HostState, Input,
    Next, RebootFailure, Rebooting, Report, SEAL_TRIES_MAX, Sealing, Sent, Shutdown, Stage, Step, Timer,
    Trouble, is_retry,
};
use crate::Reading;
use crate::hold::{Hold, NodePatch, PatchKind, Phase};
use crate::host::HostRecord;
use crate::node::NodeView;
use crate::reboot::lock_object::{LockView, LockWrite};

/// What is said of a hold that has no attempt left.
const GIVEN_UP: &str = "the reboot came to nothing twice, or the host does not show that it has booted: \
    look at the host, then cancel the hold or remove what asks for the reboot";

impl Cycle {
    /// Begins the final check.
    pub(super) fn seal(&mut self) -> Step {
        if self.attempts() >= ATTEMPTS_MAX {
            return self.give_up();
        }
        self.list_pods(0)
    }

    /// A forced reboot leaves out this look alone: it begins because pods are left.
    fn list_pods(&mut self, tries: u8) -> Step {
        if self.policy.verify && !self.is_forced {
            self.ask(
                Stage::Sealing {
                    step: Sealing::ListingPods,
                    tries,
                },
                Ask::ListPods(self.kept.clone()),
            )
        } else {
            self.ask(
                Stage::Sealing {
                    step: Sealing::ReadingLock,
                    tries,
                },
                Ask::ReadLock,
            )
        }
    }

    pub(super) fn sealing(&mut self, step: Sealing, tries: u8, input: Input) -> Step {
        let stage = |step| Stage::Sealing { step, tries };
        match (step, input) {
            (Sealing::ListingPods, Input::Answer(Answer::PodsLeft(Ok(pods)))) => {
                if pods.is_empty() {
                    self.ask(stage(Sealing::ReadingLock), Ask::ReadLock)
                } else {
                    self.disturbed(Disturbance::Pods(pods))
                }
            }
            (Sealing::ReadingLock, Input::Answer(Answer::Lock(Ok(lock)))) => self.confirm(lock, tries),
            (Sealing::Confirming, Input::Answer(Answer::LockWritten(Ok(())))) => self.patch_seal(tries),
            (
                Sealing::Confirming,
                Input::Answer(Answer::LockWritten(Err(Failure::Conflict | Failure::NotFound))),
            ) => {
                let tries = tries.saturating_add(1);
                self.ask(
                    Stage::Sealing {
                        step: Sealing::ReadingLock,
                        tries,
                    },
                    Ask::ReadLock,
                )
            }
            (Sealing::Patching, Input::Answer(Answer::Patched(Ok(node)))) => self.sealed(&node),
            (Sealing::Patching, Input::Answer(Answer::Patched(Err(Failure::Conflict)))) => {
                self.rest(stage(Sealing::AwaitingNode), [])
            }
            (Sealing::Renewing, Input::Answer(Answer::Patched(Ok(node)))) => self
                .taken(&node)
                .unwrap_or_else(|| self.rest(stage(Sealing::Retrying), [Act::Arm(Timer::Renew)])),
            (Sealing::Renewing, Input::Answer(Answer::Patched(Err(Failure::Conflict)))) => {
                self.renew_later(stage(Sealing::Retrying))
            }
            (Sealing::AwaitingNode | Sealing::Retrying, input) => self.await_node(step, tries, input),
            (_, input) => self.seal_failed(tries, input),
        }
    }

    /// The entry, confirmed by a compare-and-swap that changes the object.
    fn confirm(&mut self, lock: LockView, tries: u8) -> Step {
        if tries >= SEAL_TRIES_MAX {
            return self.outrun();
        }
        let record = match lock.record {
            Reading::Malformed(why) => {
                return self.seal_failed(tries, Input::Answer(Answer::Lock(Err(Failure::Refused(why)))));
            }
            Reading::Absent => None,
            Reading::Present(record) => {
                let attempts = self.attempts().saturating_add(1);
                record.confirmed(&self.entry_id(), &self.boot, attempts)
            }
        };
        let Some(record) = record else {
            return self.undo(CallOff::EntryLost);
        };
        let write = LockWrite {
            carrier: lock.carrier,
            version: lock.version,
            record,
        };
        self.ask(
            Stage::Sealing {
                step: Sealing::Confirming,
                tries,
            },
            Ask::WriteLock(write),
        )
    }

    /// How many reboot commands may have been run for our hold.
    fn attempts(&self) -> u8 {
        self.hold.as_ref().map_or(0, |hold| hold.attempts)
    }

    /// A compare-and-swap on what the watch has shown.
    fn patch_seal(&mut self, tries: u8) -> Step {
        let awaiting = Stage::Sealing {
            step: Sealing::AwaitingNode,
            tries,
        };
        let Some((node, mine)) = self.seen.clone().zip(self.hold.clone()) else {
            return self.rest(awaiting, []);
        };
        if let Some(outcome) = self.examine(&node) {
            return outcome;
        }
        if tries >= SEAL_TRIES_MAX {
            return self.outrun();
        }
        let stage = Stage::Sealing {
            step: Sealing::Patching,
            tries: tries.saturating_add(1),
        };
        let leaves = Hold {
            attempts: mine.attempts.saturating_add(1),
            ..mine.written(Phase::Sealed, self.proof())
        };
        let patch = NodePatch::seal(&node, leaves);
        // It runs from the first of them that may have landed.
        let may_have_landed = |sent: &Sent| sent.is_unknown && sent.patch.kind == PatchKind::Seal;
        let is_first = !self.sent.iter().any(may_have_landed);
        let deadline = is_first.then_some(Act::Arm(Timer::Deadline));
        self.write(stage, patch).after(deadline)
    }

    fn await_node(&mut self, step: Sealing, tries: u8, input: Input) -> Step {
        match input {
            // Its answer was lost, and here it is.
            Input::Event(Event::Seen(node)) if self.is_sealed() => self.sealed(&node),
            Input::Event(Event::Seen(node)) => {
                if let Some(outcome) = self.examine(&node) {
                    return outcome;
                }
                if step == Sealing::AwaitingNode {
                    self.patch_seal(tries)
                } else {
                    Step::rest()
                }
            }
            Input::Event(Event::Drain(DrainNews::PodArrived(pod))) if self.policy.verify => {
                self.disturbed(Disturbance::Pods(vec![pod]))
            }
            Input::Event(Event::Gap) if self.policy.verify => self.disturbed(Disturbance::Gap),
            Input::Event(Event::Due(Timer::Renew)) if step == Sealing::Retrying => {
                let stage = |step| Stage::Sealing { step, tries };
                self.renew(stage(step), stage(Sealing::Renewing))
            }
            Input::Event(Event::Due(Timer::Renew)) => Step::rest().after([Act::Arm(Timer::Renew)]),
            input if is_retry(&input) && step == Sealing::Retrying => self.list_pods(tries),
            _ => Step::rest(),
        }
    }

    /// Others were faster each time. That undoes nothing of the drain: the whole check is made again, after a pause that grows.
    fn outrun(&mut self) -> Step {
        self.check_again(0, &Failure::Conflict)
    }

    /// A request failed: that undoes nothing of the drain either, and the whole check is made again.
    ///
    /// Where it was the seal and it has landed all the same, the watch will show it.
    fn seal_failed(&mut self, tries: u8, input: Input) -> Step {
        let failure = match input {
            Input::Answer(Answer::Patched(Err(Failure::NotFound))) => return self.undo(CallOff::HoldLost),
            Input::Answer(Answer::Patched(Err(failure)))
            | Input::Answer(Answer::PodsLeft(Err(failure)))
            | Input::Answer(Answer::Lock(Err(failure)))
            | Input::Answer(Answer::LockWritten(Err(failure))) => failure,
            _ => return Step::rest(),
        };
        self.check_again(tries, &failure)
    }

    fn check_again(&mut self, tries: u8, failure: &Failure) -> Step {
        let step = Sealing::Retrying;
        self.retry(Stage::Sealing { step, tries }, "seal the node", failure)
    }

    /// Whether the last write of ours that is known to have landed is a seal.
    fn is_sealed(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.phase == Phase::Sealed)
    }

    /// The seal has landed. Nothing is rebooted on it unless the whole of it is there, and nothing ever without its proof.
    fn sealed(&mut self, node: &NodeView) -> Step {
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

    /// A seal that another process made, and no record of it: whatever was set off may come for as long as a reboot may take.
    pub(super) fn wait_out(&mut self) -> Step {
        self.rest(Stage::Rebooting(Rebooting::WaitingOut), [Act::Arm(Timer::Reboot)])
    }

    pub(super) fn rebooting(&mut self, step: Rebooting, input: Input) -> Step {
        match (step, input) {
            (Rebooting::Issuing, Input::Answer(Answer::RebootIssued(Ok(())))) => self
                .rest(Stage::Rebooting(Rebooting::Waiting), [Act::Arm(Timer::Reboot)])
                .reporting(Report::Rebooting),
            (Rebooting::Issuing, Input::Answer(Answer::RebootIssued(Err(RebootFailure::Expired)))) => {
                self.not_attempted();
                self.disturbed(Disturbance::SealOver)
            }
            (Rebooting::Issuing, Input::Answer(Answer::RebootIssued(Err(RebootFailure::Unclear(why))))) => {
                self.rest(Stage::Rebooting(Rebooting::Waiting), [Act::Arm(Timer::Reboot)])
                    .reporting(Report::RebootFailed(why))
            }
            (Rebooting::Issuing, Input::Answer(Answer::RebootIssued(Err(RebootFailure::Failed(why))))) => {
                self.ask(Stage::Rebooting(Rebooting::AskingHost), Ask::AskHost)
                    .after([Act::Arm(Timer::Reboot)])
                    .reporting(Report::RebootFailed(why))
            }
            (
                Rebooting::AskingHost | Rebooting::AskingOverdue | Rebooting::WaitedOut,
                Input::Answer(Answer::Host(host)),
            ) => self.in_vain(step, host),
            (Rebooting::WaitingOut, Input::Event(Event::Due(Timer::Reboot | Timer::Host))) => {
                self.ask(Stage::Rebooting(Rebooting::WaitedOut), Ask::AskHost)
            }
            (Rebooting::Waiting, Input::Event(Event::Due(Timer::Host))) => {
                self.ask(Stage::Rebooting(Rebooting::AskingHost), Ask::AskHost)
            }
            (Rebooting::Waiting, Input::Event(Event::Due(Timer::Reboot))) => {
                self.ask(Stage::Rebooting(Rebooting::AskingOverdue), Ask::AskHost)
            }
            (Rebooting::GivenUp, input) => self.given_up(input),
            (_, Input::Event(Event::Seen(node))) => match self.cancel(&node) {
                Some(why) => Step::rest().after(self.say(Report::TooLateToCancel(why))),
                None => Step::rest(),
            },
            _ => Step::rest(),
        }
    }

    /// The reboot came to nothing, if the host shows that no shutdown is under way: time alone is no evidence.
    fn in_vain(&mut self, step: Rebooting, host: HostState) -> Step {
        if host.shutdown == Shutdown::No {
            return self.came_to_nothing();
        }
        let back = match step {
            Rebooting::AskingOverdue => {
                return self.still_sealed(
                    "the reboot is not done, and the host does not show that it never will be",
                );
            }
            Rebooting::WaitedOut => Rebooting::WaitingOut,
            _ => Rebooting::Waiting,
        };
        let said = self.say(Report::HostBusy(host.shutdown));
        self.rest(Stage::Rebooting(back), [Act::Arm(Timer::Host)])
            .after(said)
    }

    /// The host has shown that a reboot that was set off will not come.
    ///
    /// It is no disturbance of the drain, so the node is drained and sealed again whatever `--on-uncordon` says.
    pub(super) fn came_to_nothing(&mut self) -> Step {
        if self.wanted == Some(false) {
            return self.undo(CallOff::NoLongerWanted);
        }
        if self.attempts() >= ATTEMPTS_MAX {
            return self.give_up();
        }
        self.cordon().reporting(Report::Disturbed {
            by: Disturbance::SealOver,
            next: Next::DrainAgain,
        })
    }

    /// The command was not run on the seal that has landed last.
    pub(super) fn not_attempted(&mut self) {
        if let Some(hold) = self.hold.as_mut().filter(|hold| hold.phase == Phase::Sealed) {
            hold.attempts = hold.attempts.saturating_sub(1);
        }
    }

    /// No attempt is left, and the host does not go down: a person, or the end of the wish, ends it.
    fn given_up(&mut self, input: Input) -> Step {
        match input {
            Input::Event(Event::Sentinel(None)) => self.undo(CallOff::NoLongerWanted),
            Input::Event(Event::Seen(node)) if self.ours(&node).is_none() => self.undo(CallOff::HoldLost),
            Input::Event(Event::Seen(node)) => match self.cancel(&node) {
                Some(why) => self.undo(CallOff::Cancelled(why)),
                None => Step::rest(),
            },
            Input::Event(Event::Due(Timer::Reboot)) => self.give_up(),
            _ => Step::rest(),
        }
    }

    fn give_up(&mut self) -> Step {
        self.rest(
            Stage::Rebooting(Rebooting::GivenUp),
            [Act::StopDrain, Act::Arm(Timer::Reboot)],
        )
        .reporting(Report::StillSealed(GIVEN_UP.to_owned()))
    }

    fn still_sealed(&mut self, why: &str) -> Step {
        self.rest(Stage::Rebooting(Rebooting::Waiting), [Act::Arm(Timer::Reboot)])
            .reporting(Report::StillSealed(why.to_owned()))
    }
}
