//! From the end of the delay to the reboot: fresh reads, the confirm, the seal, the command.
//!
//! The seal is a compare-and-swap on the version that the watch delivered last, so where it succeeds
//! the watch had seen everything that happened to the Node since it was cordoned.

use super::{
    ATTEMPTS_MAX, Act, Cycle, Disturbance, Failure, HostState, Input, Next, Outcome, Reason, RebootFailure,
    Rebooting, Report, Request, SEAL_TRIES_MAX, Sealing, Sent, Shutdown, Stage, Timer, Trouble, is_retry,
};
use crate::Reading;
use crate::carrier::{LockView, LockWrite};
use crate::hold::{Hold, NodePatch, PatchKind, Phase};
use crate::host::HostRecord;
use crate::node::NodeView;

/// What is said of a hold that has no attempt left.
const GIVEN_UP: &str = "the reboot came to nothing twice, or the host does not show that it has booted: \
    look at the host, then cancel the hold or remove what asks for the reboot";

impl Cycle {
    /// Begins the final check.
    pub(super) fn seal(&mut self) -> Outcome {
        if self.attempts() >= ATTEMPTS_MAX {
            return self.give_up();
        }
        self.list_pods(0)
    }

    /// A forced reboot leaves out this look alone: it begins because pods are left.
    fn list_pods(&mut self, tries: u8) -> Outcome {
        if self.policy.verify && !self.is_forced {
            self.ask(
                Stage::Sealing {
                    step: Sealing::ListingPods,
                    tries,
                },
                Request::ListPods(self.kept.clone()),
            )
        } else {
            self.ask(
                Stage::Sealing {
                    step: Sealing::ReadingLock,
                    tries,
                },
                Request::ReadLock,
            )
        }
    }

    pub(super) fn sealing(&mut self, step: Sealing, tries: u8, input: Input) -> Outcome {
        let stage = |step| Stage::Sealing { step, tries };
        match (step, input) {
            (Sealing::ListingPods, Input::PodsLeft(Ok(pods))) => {
                if pods.is_empty() {
                    self.ask(stage(Sealing::ReadingLock), Request::ReadLock)
                } else {
                    self.disturbed(Disturbance::Pods(pods))
                }
            }
            (Sealing::ReadingLock, Input::Lock(Ok(lock))) => self.confirm(lock, tries),
            (Sealing::Confirming, Input::LockWritten(Ok(()))) => self.patch_seal(tries),
            (Sealing::Confirming, Input::LockWritten(Err(Failure::Conflict | Failure::NotFound))) => {
                let tries = tries.saturating_add(1);
                self.ask(
                    Stage::Sealing {
                        step: Sealing::ReadingLock,
                        tries,
                    },
                    Request::ReadLock,
                )
            }
            (Sealing::Patching, Input::Patched(Ok(node))) => self.sealed(&node),
            (Sealing::Patching, Input::Patched(Err(Failure::Conflict))) => {
                self.rest(stage(Sealing::AwaitingNode), [])
            }
            (Sealing::Renewing, Input::Patched(Ok(node))) => self
                .taken(&node)
                .unwrap_or_else(|| self.rest(stage(Sealing::Retrying), [Act::Arm(Timer::Renew)])),
            (Sealing::Renewing, Input::Patched(Err(Failure::Conflict))) => {
                self.renew_later(stage(Sealing::Retrying))
            }
            (Sealing::AwaitingNode | Sealing::Retrying, input) => self.await_node(step, tries, input),
            (_, input) => self.seal_failed(tries, input),
        }
    }

    /// The entry, confirmed by a compare-and-swap that changes the object.
    fn confirm(&mut self, lock: LockView, tries: u8) -> Outcome {
        if tries >= SEAL_TRIES_MAX {
            return self.outrun();
        }
        let record = match lock.record {
            Reading::Malformed(why) => {
                return self.seal_failed(tries, Input::Lock(Err(Failure::Refused(why))));
            }
            Reading::Absent => None,
            Reading::Present(record) => {
                let attempts = self.attempts().saturating_add(1);
                record.confirmed(&self.entry_id(), &self.boot, attempts)
            }
        };
        let Some(record) = record else {
            return self.undo(Reason::EntryLost);
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
            Request::WriteLock(write),
        )
    }

    /// How many reboot commands may have been run for our hold.
    fn attempts(&self) -> u8 {
        self.hold.as_ref().map_or(0, |hold| hold.attempts)
    }

    /// A compare-and-swap on what the watch has shown.
    fn patch_seal(&mut self, tries: u8) -> Outcome {
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

    fn await_node(&mut self, step: Sealing, tries: u8, input: Input) -> Outcome {
        match input {
            // Its answer was lost, and here it is.
            Input::Seen(node) if self.is_sealed() => self.sealed(&node),
            Input::Seen(node) => {
                if let Some(outcome) = self.examine(&node) {
                    return outcome;
                }
                if step == Sealing::AwaitingNode {
                    self.patch_seal(tries)
                } else {
                    Outcome::rest()
                }
            }
            Input::PodArrived(pod) if self.policy.verify => self.disturbed(Disturbance::Pods(vec![pod])),
            Input::Gap if self.policy.verify => self.disturbed(Disturbance::Gap),
            Input::Due(Timer::Renew) if step == Sealing::Retrying => {
                let stage = |step| Stage::Sealing { step, tries };
                self.renew(stage(step), stage(Sealing::Renewing))
            }
            Input::Due(Timer::Renew) => Outcome::rest().after([Act::Arm(Timer::Renew)]),
            input if is_retry(&input) && step == Sealing::Retrying => self.list_pods(tries),
            _ => Outcome::rest(),
        }
    }

    /// Others were faster each time. That undoes nothing of the drain: the whole check is made again, after a pause that grows.
    fn outrun(&mut self) -> Outcome {
        self.check_again(0, &Failure::Conflict)
    }

    /// A request failed: that undoes nothing of the drain either, and the whole check is made again.
    ///
    /// Where it was the seal and it has landed all the same, the watch will show it.
    fn seal_failed(&mut self, tries: u8, input: Input) -> Outcome {
        let failure = match input {
            Input::Patched(Err(Failure::NotFound)) => return self.undo(Reason::HoldLost),
            Input::Patched(Err(failure))
            | Input::PodsLeft(Err(failure))
            | Input::Lock(Err(failure))
            | Input::LockWritten(Err(failure)) => failure,
            _ => return Outcome::rest(),
        };
        self.check_again(tries, &failure)
    }

    fn check_again(&mut self, tries: u8, failure: &Failure) -> Outcome {
        let step = Sealing::Retrying;
        self.retry(Stage::Sealing { step, tries }, "seal the node", failure)
    }

    /// Whether the last write of ours that is known to have landed is a seal.
    fn is_sealed(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.phase == Phase::Sealed)
    }

    /// The seal has landed. Nothing is rebooted on it unless the whole of it is there, and nothing ever without its proof.
    fn sealed(&mut self, node: &NodeView) -> Outcome {
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
        self.ask(Stage::Rebooting(Rebooting::Issuing), Request::Reboot { record })
            .after([Act::StopDrain, Act::Disarm(Timer::Renew)])
            .reporting(Report::Sealed)
    }

    /// A seal that another process made, and no record of it: whatever was set off may come for as long as a reboot may take.
    pub(super) fn wait_out(&mut self) -> Outcome {
        self.rest(Stage::Rebooting(Rebooting::WaitingOut), [Act::Arm(Timer::Reboot)])
    }

    pub(super) fn rebooting(&mut self, step: Rebooting, input: Input) -> Outcome {
        match (step, input) {
            (Rebooting::Issuing, Input::RebootIssued(Ok(()))) => self
                .rest(Stage::Rebooting(Rebooting::Waiting), [Act::Arm(Timer::Reboot)])
                .reporting(Report::Rebooting),
            (Rebooting::Issuing, Input::RebootIssued(Err(RebootFailure::Expired))) => {
                self.not_attempted();
                self.disturbed(Disturbance::SealOver)
            }
            (Rebooting::Issuing, Input::RebootIssued(Err(RebootFailure::Unclear(why)))) => self
                .rest(Stage::Rebooting(Rebooting::Waiting), [Act::Arm(Timer::Reboot)])
                .reporting(Report::RebootFailed(why)),
            (Rebooting::Issuing, Input::RebootIssued(Err(RebootFailure::Failed(why)))) => self
                .ask(Stage::Rebooting(Rebooting::AskingHost), Request::AskHost)
                .after([Act::Arm(Timer::Reboot)])
                .reporting(Report::RebootFailed(why)),
            (Rebooting::AskingHost | Rebooting::AskingOverdue | Rebooting::WaitedOut, Input::Host(host)) => {
                self.in_vain(step, host)
            }
            (Rebooting::WaitingOut, Input::Due(Timer::Reboot | Timer::Host)) => {
                self.ask(Stage::Rebooting(Rebooting::WaitedOut), Request::AskHost)
            }
            (Rebooting::Waiting, Input::Due(Timer::Host)) => {
                self.ask(Stage::Rebooting(Rebooting::AskingHost), Request::AskHost)
            }
            (Rebooting::Waiting, Input::Due(Timer::Reboot)) => {
                self.ask(Stage::Rebooting(Rebooting::AskingOverdue), Request::AskHost)
            }
            (Rebooting::GivenUp, input) => self.given_up(input),
            (_, Input::Seen(node)) => match self.cancel(&node) {
                Some(why) => Outcome::rest().after(self.say(Report::TooLateToCancel(why))),
                None => Outcome::rest(),
            },
            _ => Outcome::rest(),
        }
    }

    /// The reboot came to nothing, if the host shows that no shutdown is under way: time alone is no evidence.
    fn in_vain(&mut self, step: Rebooting, host: HostState) -> Outcome {
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
    pub(super) fn came_to_nothing(&mut self) -> Outcome {
        if self.wanted == Some(false) {
            return self.undo(Reason::NoLongerWanted);
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
    fn given_up(&mut self, input: Input) -> Outcome {
        match input {
            Input::Sentinel(None) => self.undo(Reason::NoLongerWanted),
            Input::Seen(node) if self.ours(&node).is_none() => self.undo(Reason::HoldLost),
            Input::Seen(node) => match self.cancel(&node) {
                Some(why) => self.undo(Reason::Cancelled(why)),
                None => Outcome::rest(),
            },
            Input::Due(Timer::Reboot) => self.give_up(),
            _ => Outcome::rest(),
        }
    }

    fn give_up(&mut self) -> Outcome {
        self.rest(
            Stage::Rebooting(Rebooting::GivenUp),
            [Act::StopDrain, Act::Arm(Timer::Reboot)],
        )
        .reporting(Report::StillSealed(GIVEN_UP.to_owned()))
    }

    fn still_sealed(&mut self, why: &str) -> Outcome {
        self.rest(Stage::Rebooting(Rebooting::Waiting), [Act::Arm(Timer::Reboot)])
            .reporting(Report::StillSealed(why.to_owned()))
    }
}
