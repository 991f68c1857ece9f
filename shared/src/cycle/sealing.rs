//! From the end of the delay to the reboot: fresh reads, the confirm, the seal, the command.
//!
//! The seal is a compare-and-swap on the version that the watch delivered last, so where it succeeds
//! the watch had seen everything that happened to the Node since it was cordoned.

use super::{
    Act, Cycle, Disturbance, Failure, HostState, Input, Outcome, Reason, RebootFailure, Rebooting, Report,
    Request, SEAL_TRIES_MAX, Sealing, Shutdown, Stage, Timer, VAIN_REBOOTS_MAX, is_retry,
};
use crate::Reading;
use crate::carrier::{LockView, LockWrite};
use crate::hold::{NodePatch, Phase};
use crate::node::NodeView;

impl Cycle {
    /// Begins the final check.
    pub(super) fn seal(&mut self) -> Outcome {
        self.list_pods(0).after([Act::Arm(Timer::Seal)])
    }

    /// A forced reboot leaves out this look alone: it begins because pods are left.
    fn list_pods(&mut self, tries: u8) -> Outcome {
        if self.policy.verify && !self.is_forced {
            self.ask(
                Stage::Sealing {
                    step: Sealing::ListingPods,
                    tries,
                },
                Request::ListPods,
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
            (Sealing::ReadingNode, Input::Node(Ok(node))) => self
                .examine(&node)
                .unwrap_or_else(|| self.send_seal(&node, tries)),
            (Sealing::Patching, Input::Patched(Ok(node))) => self.sealed(&node),
            (Sealing::Patching, Input::Patched(Err(Failure::Conflict))) if self.policy.verify => {
                self.rest(stage(Sealing::AwaitingNode), [])
            }
            (Sealing::Patching, Input::Patched(Err(Failure::Conflict))) => self.patch_seal(tries),
            (Sealing::Patching, Input::Patched(Err(Failure::Unknown(_)))) => {
                self.ask(stage(Sealing::ReadingBack), Request::ReadNode)
            }
            (Sealing::ReadingBack, Input::Node(Ok(node))) => self.read_back(&node),
            (Sealing::AwaitingNode | Sealing::Retrying, input) => self.await_node(step, tries, input),
            (_, input) => self.seal_failed(tries, input),
        }
    }

    /// The entry, confirmed by a compare-and-swap that changes the object.
    fn confirm(&mut self, lock: LockView, tries: u8) -> Outcome {
        if tries >= SEAL_TRIES_MAX {
            return self.disturbed(Disturbance::SealStarved);
        }
        let record = match lock.record {
            Reading::Malformed(why) => {
                return self.seal_failed(tries, Input::Lock(Err(Failure::Refused(why))));
            }
            Reading::Absent => None,
            Reading::Present(record) => record.confirmed(&self.entry_id(), &self.boot_id),
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

    fn patch_seal(&mut self, tries: u8) -> Outcome {
        if !self.policy.verify {
            return self.ask(
                Stage::Sealing {
                    step: Sealing::ReadingNode,
                    tries,
                },
                Request::ReadNode,
            );
        }
        match self.seen.clone() {
            Some(node) if self.ours(&node).is_some_and(|hold| hold.phase == Phase::Delaying) => {
                self.send_seal(&node, tries)
            }
            // The watch has not come to the patch that began the delay.
            _ => self.rest(
                Stage::Sealing {
                    step: Sealing::AwaitingNode,
                    tries,
                },
                [],
            ),
        }
    }

    fn send_seal(&mut self, node: &NodeView, tries: u8) -> Outcome {
        if tries >= SEAL_TRIES_MAX {
            return self.disturbed(Disturbance::SealStarved);
        }
        let stage = Stage::Sealing {
            step: Sealing::Patching,
            tries: tries.saturating_add(1),
        };
        self.ask(stage, Request::PatchNode(NodePatch::seal(node)))
            .after([Act::Arm(Timer::Deadline)])
    }

    fn await_node(&mut self, step: Sealing, tries: u8, input: Input) -> Outcome {
        match input {
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
            Input::Due(Timer::Seal) => self.disturbed(Disturbance::SealStarved),
            input if step == Sealing::Retrying && is_retry(&input) => self.list_pods(tries),
            _ => Outcome::rest(),
        }
    }

    /// A request failed: the whole check is made again.
    fn seal_failed(&mut self, tries: u8, input: Input) -> Outcome {
        let failure = match input {
            Input::Node(Err(Failure::NotFound)) | Input::Patched(Err(Failure::NotFound)) => {
                return self.undo(Reason::HoldLost);
            }
            Input::PodsLeft(Err(failure))
            | Input::Lock(Err(failure))
            | Input::LockWritten(Err(failure))
            | Input::Node(Err(failure))
            | Input::Patched(Err(failure)) => failure,
            _ => return Outcome::rest(),
        };
        self.retry(
            Stage::Sealing {
                step: Sealing::Retrying,
                tries,
            },
            "seal the node",
            &failure,
        )
    }

    /// The seal's answer never came. Where it did not land, a new cordon patch keeps it from landing later.
    fn read_back(&mut self, node: &NodeView) -> Outcome {
        match self.ours(node) {
            Some(hold) if hold.phase == Phase::Sealed && node.spec.unschedulable => self.sealed(node),
            Some(_) => self.disturbed(Disturbance::SealStarved),
            None => self.undo(Reason::HoldLost),
        }
    }

    fn sealed(&mut self, node: &NodeView) -> Outcome {
        self.hold = self.ours(node).or(self.hold.take());
        self.retries = 0;
        let holder = self.hold.as_ref().map(|hold| hold.holder.to_string());
        let reboot = Request::Reboot {
            holder: holder.unwrap_or_default(),
        };
        self.ask(Stage::Rebooting(Rebooting::Issuing), reboot)
            .after([
                Act::StopDrain,
                Act::Disarm(Timer::Seal),
                Act::Disarm(Timer::Renew),
            ])
            .reporting(Report::Sealed)
    }

    /// A seal that another process made: nobody reboots on it any more once its deadline is over.
    pub(super) fn wait_out(&mut self) -> Outcome {
        self.rest(
            Stage::Rebooting(Rebooting::WaitingOut),
            [Act::Arm(Timer::Deadline)],
        )
    }

    pub(super) fn rebooting(&mut self, step: Rebooting, input: Input) -> Outcome {
        match (step, input) {
            (Rebooting::Issuing, Input::RebootIssued(Ok(()))) => self
                .rest(Stage::Rebooting(Rebooting::Waiting), [Act::Arm(Timer::Reboot)])
                .reporting(Report::Rebooting),
            (Rebooting::Issuing, Input::RebootIssued(Err(RebootFailure::Expired))) => {
                self.disturbed(Disturbance::SealOver)
            }
            (Rebooting::Issuing, Input::RebootIssued(Err(RebootFailure::Failed(why)))) => self
                .ask(Stage::Rebooting(Rebooting::AskingHost), Request::AskHost)
                .after([Act::Arm(Timer::Reboot)])
                .reporting(Report::RebootFailed(why)),
            (Rebooting::AskingHost | Rebooting::AskingOverdue | Rebooting::WaitedOut, Input::Host(host)) => {
                self.in_vain(step, host)
            }
            (Rebooting::WaitingOut, Input::Due(Timer::Deadline | Timer::Host)) => {
                self.ask(Stage::Rebooting(Rebooting::WaitedOut), Request::AskHost)
            }
            (Rebooting::Waiting, Input::Due(Timer::Host)) => {
                self.ask(Stage::Rebooting(Rebooting::AskingHost), Request::AskHost)
            }
            (Rebooting::Waiting, Input::Due(Timer::Reboot)) => {
                self.ask(Stage::Rebooting(Rebooting::AskingOverdue), Request::AskHost)
            }
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
    pub(super) fn came_to_nothing(&mut self) -> Outcome {
        self.vain_reboots = self.vain_reboots.saturating_add(1);
        if self.vain_reboots < VAIN_REBOOTS_MAX {
            return self.disturbed(Disturbance::SealOver);
        }
        self.still_sealed("the reboot came to nothing twice: look at the host's init, then restart the agent")
    }

    fn still_sealed(&mut self, why: &str) -> Outcome {
        self.rest(Stage::Rebooting(Rebooting::Waiting), [Act::Arm(Timer::Reboot)])
            .reporting(Report::StillSealed(why.to_owned()))
    }
}
