//! From the lock to the end of the delay: cordon, drain, delay, and what happens when somebody disturbs them.

use super::{
    Act, Cycle, Disturbance, Failure, Input, Next, OnUncordon, Outcome, Patching, Reason, Report, Request,
    Stage, Timer, Working, is_retry, paused,
};
use crate::drain::Progress;
use crate::hold::{self, NodePatch, Phase};
use crate::keys;
use crate::node::NodeView;

impl Cycle {
    /// Cordons the node, or cordons it again.
    pub(super) fn cordon(&mut self) -> Outcome {
        self.ask(Stage::Cordoning(Patching::Reading), Request::ReadNode)
    }

    pub(super) fn cordoning(&mut self, step: Patching, input: Input) -> Outcome {
        match (step, input) {
            (Patching::Reading, Input::Node(Ok(node))) => {
                let Some(hold) = self.ours(&node) else {
                    return self.undo(Reason::HoldLost);
                };
                if let Some(why) = self.cancel(&node) {
                    return self.undo(Reason::Cancelled(why));
                }
                // A pause stops what has not begun.
                if let Some(word) = paused(&node).filter(|_| hold.phase == Phase::Wanted) {
                    return self.undo(Reason::Paused(word));
                }
                let patch = NodePatch::cordon(&node, &hold, &self.boot_id, self.policy.verify);
                let patch = self.policy.signs.cordoned(patch, &node, &hold);
                self.ask(Stage::Cordoning(Patching::Writing), Request::PatchNode(patch))
            }
            (Patching::Writing, Input::Patched(Ok(node))) => self.cordoned(node),
            (Patching::Writing, Input::Patched(Err(Failure::Conflict))) => self.cordon(),
            (_, Input::Node(Err(Failure::NotFound)) | Input::Patched(Err(Failure::NotFound))) => {
                self.undo(Reason::HoldLost)
            }
            (_, Input::Node(Err(failure)) | Input::Patched(Err(failure))) => {
                self.retry(Stage::Cordoning(Patching::Retrying), "cordon the node", &failure)
            }
            (Patching::Retrying, input) if is_retry(&input) => self.cordon(),
            _ => Outcome::rest(),
        }
    }

    /// The watch begins at this very version: everything that happens to the cordon from here on is seen.
    fn cordoned(&mut self, node: NodeView) -> Outcome {
        self.hold = self.ours(&node).or(self.hold.take());
        self.retries = 0;
        let was_unschedulable = self
            .hold
            .as_ref()
            .and_then(|hold| hold.was_unschedulable)
            .unwrap_or(true);
        let round = self.redrains.saturating_add(1);
        let version = node.version().to_owned();
        self.seen = Some(node);
        self.progress = None;
        self.is_forced = false;
        self.rest(
            Stage::Draining(Working::Going),
            [
                Act::Watch(Some(version)),
                Act::Report(Report::Draining {
                    was_unschedulable,
                    round,
                }),
                Act::StartDrain,
                Act::Arm(Timer::Renew),
                Act::Arm(Timer::Drain),
            ],
        )
    }

    pub(super) fn draining(&mut self, step: Working, input: Input) -> Outcome {
        match (step, input) {
            (Working::Going | Working::EndRetrying, Input::Seen(node)) => {
                self.examine(&node).unwrap_or_else(Outcome::rest)
            }
            (Working::Going, Input::Due(Timer::Drain)) => self.drain_timed_out(),
            (Working::Going, Input::Progress(progress)) => self.progressed(progress),
            // Nothing was reached yet that a gap could have undone.
            (Working::Going | Working::EndRetrying, Input::Gap) if self.policy.verify => {
                self.cordon().after([Act::StopDrain])
            }
            (Working::EndRetrying, Input::PodArrived(pod)) if self.policy.verify => {
                self.disturbed(Disturbance::Pods(vec![pod]))
            }
            (Working::Going, Input::Drained) => self.end_drain().after([Act::Disarm(Timer::Drain)]),
            (Working::EndRetrying, input) if is_retry(&input) => self.end_drain(),
            (Working::EndReading, Input::Node(Ok(node))) => {
                let patch = if self.is_forced {
                    let left = self.progress.as_ref().map(ToString::to_string);
                    NodePatch::delay_forced(&node, left.as_deref().unwrap_or("nobody knows what is left"))
                } else {
                    NodePatch::delay(&node)
                };
                self.examine(&node).unwrap_or_else(|| {
                    self.ask(Stage::Draining(Working::EndWriting), Request::PatchNode(patch))
                })
            }
            (Working::EndWriting, Input::Patched(Ok(_))) => {
                self.retries = 0;
                self.rest(
                    Stage::Delaying(Working::Going),
                    [
                        Act::Disarm(Timer::Drain),
                        Act::Report(Report::Delaying {
                            is_forced: self.is_forced,
                        }),
                        Act::Arm(Timer::Renew),
                        Act::Arm(Timer::Delay),
                    ],
                )
            }
            (Working::EndWriting, Input::Patched(Err(Failure::Conflict))) => self.end_drain(),
            (Working::EndReading | Working::EndWriting, input) => {
                self.failed(input, Stage::Draining(Working::EndRetrying), "begin the delay")
            }
            (step, input) => self.renewing(Stage::Draining, step, input),
        }
    }

    /// Never taken for a success: the reboot is called off, or forced and reported as such.
    fn drain_timed_out(&mut self) -> Outcome {
        if !self.policy.force_reboot {
            return self.undo(Reason::DrainTimeout(self.progress.clone()));
        }
        self.is_forced = true;
        let report = Report::Forced(self.progress.clone());
        self.end_drain().after([Act::StopDrain]).reporting(report)
    }

    /// It is written beside `until`.
    fn progressed(&mut self, progress: Progress) -> Outcome {
        let before = self.progress.replace(progress.clone());
        let is_news = before.is_none_or(|before| {
            before == progress || before.blockers != progress.blockers || before.attached != progress.attached
        });
        let report = if progress.is_blocked() && is_news {
            Report::DrainBlocked(progress)
        } else {
            Report::Progress(progress)
        };
        self.ask(Stage::Draining(Working::RenewReading), Request::ReadNode)
            .reporting(report)
    }

    fn end_drain(&mut self) -> Outcome {
        self.ask(Stage::Draining(Working::EndReading), Request::ReadNode)
    }

    pub(super) fn delaying(&mut self, step: Working, input: Input) -> Outcome {
        match (step, input) {
            (Working::Going, Input::Seen(node)) => self.examine(&node).unwrap_or_else(Outcome::rest),
            (Working::Going, Input::Gap) if self.policy.verify => self.disturbed(Disturbance::Gap),
            (Working::Going, Input::PodArrived(pod)) if self.policy.verify => {
                self.disturbed(Disturbance::Pods(vec![pod]))
            }
            (Working::Going, Input::Due(Timer::Delay)) => self.seal(),
            (step, input) => self.renewing(Stage::Delaying, step, input),
        }
    }

    /// `until` is renewed beside the work, which it leaves where it was.
    fn renewing(&mut self, stage: fn(Working) -> Stage, step: Working, input: Input) -> Outcome {
        let going = stage(Working::Going);
        match (step, input) {
            (Working::Going, Input::Due(Timer::Renew | Timer::Retry(_))) => {
                self.ask(stage(Working::RenewReading), Request::ReadNode)
            }
            (Working::RenewReading, Input::Node(Ok(node))) => {
                if self.ours(&node).is_none() {
                    return self.undo(Reason::HoldLost);
                }
                let patch = match &self.progress {
                    Some(progress) if going == Stage::Draining(Working::Going) => {
                        NodePatch::progress(&node, &progress.to_string())
                    }
                    _ => NodePatch::renew(&node),
                };
                self.ask(stage(Working::RenewWriting), Request::PatchNode(patch))
            }
            (Working::RenewWriting, Input::Patched(Ok(_))) => {
                self.retries = 0;
                self.rest(going, [Act::Arm(Timer::Renew)])
            }
            (Working::RenewWriting, Input::Patched(Err(Failure::Conflict))) => {
                self.ask(stage(Working::RenewReading), Request::ReadNode)
            }
            (Working::RenewReading | Working::RenewWriting, input) => {
                self.failed(input, going, "renew the hold")
            }
            _ => Outcome::rest(),
        }
    }

    /// A Node request that failed for good or for now.
    fn failed(&mut self, input: Input, stage: Stage, what: &'static str) -> Outcome {
        match input {
            Input::Node(Err(Failure::NotFound)) | Input::Patched(Err(Failure::NotFound)) => {
                self.undo(Reason::HoldLost)
            }
            Input::Node(Err(failure)) | Input::Patched(Err(failure)) => self.retry(stage, what, &failure),
            _ => Outcome::rest(),
        }
    }

    /// Whether what the Node shows disturbs what the drain has achieved.
    pub(super) fn examine(&mut self, node: &NodeView) -> Option<Outcome> {
        let Some(hold) = self.ours(node) else {
            return Some(self.undo(Reason::HoldLost));
        };
        if let Some(why) = hold::cancelled(node, &hold.holder) {
            return Some(self.undo(Reason::Cancelled(why)));
        }
        if !self.policy.verify {
            return None;
        }
        let by = if !node.spec.unschedulable {
            Disturbance::Uncordoned
        } else if !node.is_tainted(keys::REBOOTING) {
            Disturbance::Untainted
        } else if !matches!(hold.phase, Phase::Draining | Phase::Delaying) {
            Disturbance::Tampered
        } else {
            return None;
        };
        Some(self.disturbed(by))
    }

    /// What was achieved no longer holds: drain again, or call the reboot off.
    pub(super) fn disturbed(&mut self, by: Disturbance) -> Outcome {
        let acts = [
            Act::StopDrain,
            Act::Disarm(Timer::Delay),
            Act::Disarm(Timer::Seal),
        ];
        let reason = match self.policy.on_uncordon {
            OnUncordon::Abort => Reason::Disturbed(by.clone()),
            OnUncordon::Redrain if self.redrains >= self.policy.redrains_max => {
                Reason::TooManyRedrains(by.clone())
            }
            OnUncordon::Redrain => {
                self.redrains = self.redrains.saturating_add(1);
                let report = Report::Disturbed {
                    by,
                    next: Next::DrainAgain,
                };
                return self.cordon().after(acts).reporting(report);
            }
        };
        self.undo(reason).after(acts).reporting(Report::Disturbed {
            by,
            next: Next::CallOff,
        })
    }
}
