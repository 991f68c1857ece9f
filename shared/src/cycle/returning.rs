//! The way back: after a boot, or after a reboot that was called off. Always the Node first, then the lock.

use super::{
    Act, ComingUp, Cycle, Failure, Input, Outcome, Patching, Reason, Release, ReleaseDelay, Releasing,
    Report, Request, Returning, Stage, Timer, is_retry,
};
use crate::Reading;
use crate::carrier::LockWrite;
use crate::hold::{self, NodePatch, Phase};
use crate::lock::{EntryId, Record};
use crate::node::NodeView;

impl Cycle {
    /// The host has booted since the node was cordoned.
    pub(super) fn come_back(&mut self) -> Outcome {
        self.ask(Stage::Returning(Returning::Reading), Request::ReadNode)
    }

    pub(super) fn returning(&mut self, step: Returning, input: Input) -> Outcome {
        match (step, input) {
            (Returning::Reading, Input::Node(Ok(node))) => self.mark_returning(&node),
            (Returning::Marking, Input::Patched(Ok(node))) => {
                self.hold = self.ours(&node).or(self.hold.take());
                self.await_ready(&node).reporting(Report::Returned)
            }
            (Returning::AwaitingReady | Returning::Soaking, input) => self.coming_up(step, input),
            (Returning::RenewReading(up), Input::Node(Ok(node))) => {
                if self.ours(&node).is_none() {
                    return self.undo(Reason::HoldLost);
                }
                let renewal = Request::PatchNode(NodePatch::renew(&node));
                self.ask(Stage::Returning(Returning::RenewWriting(up)), renewal)
            }
            (Returning::RenewWriting(up), Input::Patched(Ok(node))) => self.renewed(up, &node),
            (Returning::RenewWriting(up), Input::Patched(Err(Failure::Conflict))) => self.renew_return(up),
            (
                Returning::RenewReading(up) | Returning::RenewWriting(up),
                Input::Node(Err(failure)) | Input::Patched(Err(failure)),
            ) if failure != Failure::NotFound => self.retry(up.stage(), "renew the hold", &failure),
            (Returning::ReadingLock, Input::Lock(Ok(lock))) => {
                let record = match lock.record {
                    Reading::Malformed(why) => {
                        let retrying = Stage::Returning(Returning::Retrying);
                        return self.retry(retrying, "read the lock", &Failure::Refused(why));
                    }
                    Reading::Absent => Record::default(),
                    Reading::Present(record) => record,
                };
                if let (Some(hold), Some(entry)) = (&self.hold, record.entry(&self.entry_id())) {
                    let was_unschedulable = Some(entry.metadata.unschedulable);
                    self.hold = Some(hold::Hold {
                        was_unschedulable,
                        ..hold.clone()
                    });
                }
                self.read_to_give_back()
            }
            (Returning::GiveBackReading, Input::Node(Ok(node))) => match self.ours(&node) {
                Some(hold) => {
                    let mut patch = NodePatch::give_back(&node, &hold);
                    if self.policy.delays_release {
                        patch = patch.keeping_entry(&hold);
                    }
                    let patch = self.policy.signs.given_back(patch, &node, true);
                    self.ask(Stage::Returning(Returning::GivingBack), Request::PatchNode(patch))
                }
                None => self.undo(Reason::HoldLost),
            },
            (Returning::GivingBack, Input::Patched(Ok(node))) => {
                self.given_back(&node, self.entry_id(), false)
            }
            (Returning::GivingBack, Input::Patched(Err(Failure::Conflict))) => self.read_to_give_back(),
            (Returning::Retrying, input) if is_retry(&input) => self.come_back(),
            (_, Input::Patched(Err(Failure::Conflict))) => self.come_back(),
            (_, Input::Node(Err(failure)) | Input::Patched(Err(failure)) | Input::Lock(Err(failure))) => {
                if failure == Failure::NotFound {
                    return self.undo(Reason::HoldLost);
                }
                self.retry(Stage::Returning(Returning::Retrying), "return the node", &failure)
            }
            _ => Outcome::rest(),
        }
    }

    fn mark_returning(&mut self, node: &NodeView) -> Outcome {
        let Some(hold) = self.ours(node) else {
            return self.undo(Reason::HoldLost);
        };
        self.retries = 0;
        if hold.phase == Phase::Returning {
            return self.await_ready(node);
        }
        self.ask(
            Stage::Returning(Returning::Marking),
            Request::PatchNode(NodePatch::returning(node)),
        )
    }

    fn await_ready(&mut self, node: &NodeView) -> Outcome {
        self.retries = 0;
        self.stage = Stage::Returning(Returning::AwaitingReady);
        self.ready(node)
            .after([Act::Arm(Timer::Renew), Act::Arm(Timer::Reboot)])
    }

    /// The soak begins once the node is Ready.
    fn ready(&mut self, node: &NodeView) -> Outcome {
        if node.is_ready_in(&self.boot_id) {
            self.rest(Stage::Returning(Returning::Soaking), [Act::Arm(Timer::Soak)])
        } else {
            Outcome::rest()
        }
    }

    fn renew_return(&mut self, up: ComingUp) -> Outcome {
        self.ask(Stage::Returning(Returning::RenewReading(up)), Request::ReadNode)
    }

    /// A renewal leaves the soak running; only a node that is not Ready any more begins it anew.
    fn renewed(&mut self, up: ComingUp, node: &NodeView) -> Outcome {
        self.retries = 0;
        self.stage = up.stage();
        let ready = match up {
            ComingUp::AwaitingReady => self.ready(node),
            ComingUp::Soaking => Outcome::rest(),
        };
        ready.after([Act::Arm(Timer::Renew)])
    }

    fn coming_up(&mut self, step: Returning, input: Input) -> Outcome {
        match (step, input) {
            (_, Input::Seen(node)) if self.ours(&node).is_none() => self.undo(Reason::HoldLost),
            (_, Input::Seen(node)) if self.cancel(&node).is_some() => self.begin_give_back(),
            (Returning::AwaitingReady, Input::Seen(node)) => self.ready(&node),
            (Returning::Soaking, Input::Seen(node)) if !node.is_ready_in(&self.boot_id) => self.rest(
                Stage::Returning(Returning::AwaitingReady),
                [Act::Disarm(Timer::Soak)],
            ),
            (Returning::Soaking, Input::Due(Timer::Soak)) => self.begin_give_back(),
            (Returning::Soaking, Input::Due(Timer::Renew | Timer::Retry(_))) => {
                self.renew_return(ComingUp::Soaking)
            }
            (_, Input::Due(Timer::Renew | Timer::Retry(_))) => self.renew_return(ComingUp::AwaitingReady),
            (Returning::AwaitingReady, Input::Due(Timer::Reboot)) => {
                let why = "the host is back, and its node is not Ready: look at the kubelet".to_owned();
                Outcome::rest()
                    .after([Act::Arm(Timer::Reboot)])
                    .reporting(Report::Retrying {
                        what: "see the node Ready",
                        why,
                    })
            }
            _ => Outcome::rest(),
        }
    }

    fn begin_give_back(&mut self) -> Outcome {
        let decided = self
            .hold
            .as_ref()
            .is_some_and(|hold| hold.was_unschedulable.is_some());
        let outcome = if decided {
            self.read_to_give_back()
        } else {
            self.ask(Stage::Returning(Returning::ReadingLock), Request::ReadLock)
        };
        outcome.after([
            Act::Disarm(Timer::Renew),
            Act::Disarm(Timer::Soak),
            Act::Disarm(Timer::Reboot),
        ])
    }

    fn read_to_give_back(&mut self) -> Outcome {
        self.ask(Stage::Returning(Returning::GiveBackReading), Request::ReadNode)
    }

    /// Calls the reboot off and gives the cordon back.
    pub(super) fn undo(&mut self, reason: Reason) -> Outcome {
        let acts = [
            Act::StopDrain,
            Act::WatchLock(false),
            Act::Disarm(Timer::Poll),
            Act::Disarm(Timer::Turn),
            Act::Disarm(Timer::Stall),
            Act::Disarm(Timer::Renew),
            Act::Disarm(Timer::Drain),
            Act::Disarm(Timer::Delay),
            Act::Disarm(Timer::Seal),
            Act::Report(Report::CalledOff(reason.clone())),
        ];
        self.read_to_undo(reason).after(acts)
    }

    fn read_to_undo(&mut self, reason: Reason) -> Outcome {
        self.ask(
            Stage::Undoing {
                reason,
                step: Patching::Reading,
            },
            Request::ReadNode,
        )
    }

    pub(super) fn undoing(&mut self, reason: Reason, step: Patching, input: Input) -> Outcome {
        match (step, input) {
            (Patching::Reading, Input::Node(Ok(node))) => self.undo_on(reason, &node),
            (_, Input::Node(Err(Failure::NotFound)) | Input::Patched(Err(Failure::NotFound))) => {
                self.release(self.entry_id(), true)
            }
            (Patching::Writing, Input::Patched(Ok(node))) => self.given_back(&node, self.entry_id(), true),
            (Patching::Writing, Input::Patched(Err(Failure::Conflict))) => self.read_to_undo(reason),
            (_, Input::Node(Err(failure)) | Input::Patched(Err(failure))) => self.retry(
                Stage::Undoing {
                    reason,
                    step: Patching::Retrying,
                },
                "give the cordon back",
                &failure,
            ),
            (Patching::Retrying, input) if is_retry(&input) => self.read_to_undo(reason),
            _ => Outcome::rest(),
        }
    }

    fn undo_on(&mut self, reason: Reason, node: &NodeView) -> Outcome {
        let writing = Stage::Undoing {
            reason,
            step: Patching::Writing,
        };
        if let Some(hold) = self.ours(node) {
            let patch = NodePatch::give_back(node, &hold);
            let patch = self.policy.signs.given_back(patch, node, false);
            return self.ask(writing, Request::PatchNode(patch));
        }
        match (hold::read(node), self.hold.as_ref()) {
            (Reading::Malformed(why), _) => self.foreign(why),
            // The marks were lost while our cordon stood: memory says what it was.
            (Reading::Absent, Some(mine))
                if mine.phase != Phase::Wanted
                    && mine.holder.node_uid == node.metadata.uid
                    && !hold::was_given_back(node, &mine.holder.created) =>
            {
                let patch = NodePatch::give_back_lost(node, &mine.holder.created, mine.was_unschedulable);
                let patch = self.policy.signs.given_back(patch, node, false);
                self.ask(writing, Request::PatchNode(patch))
            }
            (Reading::Absent, _) => match self.policy.signs.leftover(node) {
                Some(patch) => self.ask(writing, Request::PatchNode(patch)),
                None => self.release(self.entry_id(), true),
            },
            _ => self.release(self.entry_id(), true),
        }
    }

    /// The Node is as it was; what the watch still holds of the time before is dropped.
    pub(super) fn given_back(&mut self, node: &NodeView, id: EntryId, back_off: bool) -> Outcome {
        let watch = Act::Watch(Some(node.version().to_owned()));
        let report = Report::GivenBack {
            unschedulable: node.spec.unschedulable,
        };
        let outcome = if hold::delays_release(node, id.created()) {
            self.delay_release(id)
        } else {
            self.release(id, back_off)
        };
        outcome.after([watch]).reporting(report)
    }

    /// Keeps the entry until the time that the Node shows, whatever process comes to it.
    pub(super) fn delay_release(&mut self, id: EntryId) -> Outcome {
        self.retries = 0;
        let step = ReleaseDelay::Waiting;
        self.rest(Stage::DelayingRelease { id, step }, [Act::Arm(Timer::Release)])
            .reporting(Report::ReleaseDelayed)
    }

    pub(super) fn delaying_release(&mut self, id: EntryId, step: ReleaseDelay, input: Input) -> Outcome {
        let stage = |step| Stage::DelayingRelease { id: id.clone(), step };
        match (step, input) {
            // A person has ended it.
            (ReleaseDelay::Waiting, Input::Seen(node)) if !hold::delays_release(&node, id.created()) => {
                self.release(id, false).after([Act::Disarm(Timer::Release)])
            }
            (ReleaseDelay::Waiting, Input::Due(Timer::Release)) => {
                self.ask(stage(ReleaseDelay::Reading), Request::ReadNode)
            }
            (ReleaseDelay::Reading, Input::Node(Ok(node))) if hold::delays_release(&node, id.created()) => {
                let patch = NodePatch::end_release_delay(&node);
                self.ask(stage(ReleaseDelay::Writing), Request::PatchNode(patch))
            }
            (ReleaseDelay::Reading, Input::Node(Ok(_) | Err(Failure::NotFound)))
            | (ReleaseDelay::Writing, Input::Patched(Ok(_) | Err(Failure::NotFound))) => {
                self.release(id, false)
            }
            (ReleaseDelay::Writing, Input::Patched(Err(Failure::Conflict))) => {
                self.ask(stage(ReleaseDelay::Reading), Request::ReadNode)
            }
            (_, Input::Node(Err(failure)) | Input::Patched(Err(failure))) => {
                self.retry(stage(ReleaseDelay::Retrying), "end the release delay", &failure)
            }
            (ReleaseDelay::Retrying, input) if is_retry(&input) => {
                self.ask(stage(ReleaseDelay::Reading), Request::ReadNode)
            }
            _ => Outcome::rest(),
        }
    }

    /// Releases the lock entry.
    pub(super) fn release(&mut self, id: EntryId, back_off: bool) -> Outcome {
        self.retries = 0;
        self.read_to_release(Releasing {
            id,
            back_off,
            step: Release::Reading,
        })
    }

    fn read_to_release(&mut self, releasing: Releasing) -> Outcome {
        self.ask(
            Stage::Releasing(Releasing {
                step: Release::Reading,
                ..releasing
            }),
            Request::ReadLock,
        )
    }

    pub(super) fn releasing(&mut self, releasing: Releasing, input: Input) -> Outcome {
        let retrying = Stage::Releasing(Releasing {
            step: Release::Retrying,
            ..releasing.clone()
        });
        match (releasing.step, input) {
            (Release::Reading, Input::Lock(Ok(lock))) => {
                let record = match lock.record {
                    Reading::Malformed(why) => {
                        return self.retry(retrying, "release the lock", &Failure::Refused(why));
                    }
                    Reading::Absent => None,
                    Reading::Present(record) => record.released(&releasing.id),
                };
                let Some(record) = record else {
                    return self.released(releasing.back_off);
                };
                let write = Request::WriteLock(LockWrite {
                    carrier: lock.carrier,
                    version: lock.version,
                    record,
                });
                self.ask(
                    Stage::Releasing(Releasing {
                        step: Release::Writing,
                        ..releasing
                    }),
                    write,
                )
            }
            (Release::Writing, Input::LockWritten(Ok(()))) => self.released(releasing.back_off),
            (Release::Writing, Input::LockWritten(Err(Failure::Conflict | Failure::NotFound))) => {
                self.read_to_release(releasing)
            }
            (_, Input::Lock(Err(failure)) | Input::LockWritten(Err(failure))) => {
                self.retry(retrying, "release the lock", &failure)
            }
            (Release::Retrying, input) if is_retry(&input) => self.read_to_release(releasing),
            _ => Outcome::rest(),
        }
    }

    fn released(&mut self, back_off: bool) -> Outcome {
        self.said = None;
        let mut acts = vec![Act::Report(Report::Released)];
        if back_off {
            self.backing_off = true;
            acts.push(Act::Arm(Timer::Backoff));
        }
        self.idle().after(acts)
    }
}

impl ComingUp {
    fn stage(self) -> Stage {
        Stage::Returning(match self {
            ComingUp::AwaitingReady => Returning::AwaitingReady,
            ComingUp::Soaking => Returning::Soaking,
        })
    }
}
