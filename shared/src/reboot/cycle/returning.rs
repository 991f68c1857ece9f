//! The way back: after a boot, or after a reboot that was called off. Always the Node first, then the lock.

use super::working::ALTERED;
use super::{
    Act, Answer, Ask, CallOff, ComingUp, Cycle, Event, Failure, Input, Patching, Release, ReleaseDelay,
    Releasing, Report, Returning, Stage, Step, Timer, is_retry,
};
use crate::Reading;
use crate::hold::{self, NodePatch, Phase};
use crate::lock::EntryId;
use crate::node::NodeView;
use crate::reboot::lock_object::{LockView, LockWrite};

/// What is tried, in the words of a report.
const GIVE_BACK: &str = "give the cordon back";

impl Cycle {
    /// The host has booted since the node was cordoned.
    pub(super) fn come_back(&mut self) -> Step {
        self.ask(Stage::Returning(Returning::Reading), Ask::ReadNode)
    }

    pub(super) fn returning(&mut self, step: Returning, input: Input) -> Step {
        match (step, input) {
            (Returning::Reading, Input::Answer(Answer::Node(Ok(node)))) => self.mark_returning(&node),
            (Returning::Marking, Input::Answer(Answer::Patched(Ok(node)))) => {
                self.settle(&node);
                self.await_ready(&node).reporting(Report::Returned)
            }
            (Returning::Up(up), input) => self.coming_up(up, input),
            (Returning::RenewReading(up), Input::Answer(Answer::Node(Ok(node)))) => self.renew_on(up, &node),
            (Returning::RenewWriting(up), Input::Answer(Answer::Patched(Ok(node)))) => {
                self.renewed(up, &node)
            }
            (Returning::RenewWriting(up), Input::Answer(Answer::Patched(Err(Failure::Conflict)))) => {
                self.renew_return(up)
            }
            (
                Returning::RenewReading(up) | Returning::RenewWriting(up),
                Input::Answer(Answer::Node(Err(failure))) | Input::Answer(Answer::Patched(Err(failure))),
            ) if failure != Failure::NotFound => {
                self.retry(Stage::Returning(Returning::Up(up)), "renew the hold", &failure)
            }
            (Returning::GiveBackReading, Input::Answer(Answer::Node(Ok(node)))) => {
                let watch = self.read_anew(&node);
                self.give_back_on(&node).after([watch])
            }
            (Returning::GivingBack, Input::Answer(Answer::Patched(Ok(node)))) if self.has_ended(&node) => {
                self.given_back(&node, self.entry_id(), false)
            }
            (Returning::GivingBack, Input::Answer(Answer::Patched(Ok(_)))) => {
                let retrying = Stage::Returning(Returning::Up(ComingUp::GiveBackRetrying));
                self.retry(retrying, GIVE_BACK, &Failure::Refused(ALTERED.to_owned()))
            }
            (Returning::GivingBack, Input::Answer(Answer::Patched(Err(Failure::Conflict)))) => {
                self.rest(Stage::Returning(Returning::GiveBackOutrun), [])
            }
            (Returning::GiveBackOutrun, Input::Event(Event::Seen(node))) => self.give_back_on(&node),
            (Returning::GiveBackOutrun, Input::Event(Event::Gap)) => self.give_back(),
            (Returning::GiveBackOutrun, Input::Event(Event::Due(Timer::Renew))) => {
                self.renew_return(ComingUp::GiveBackRetrying)
            }
            (
                Returning::GiveBackReading | Returning::GivingBack,
                Input::Answer(Answer::Node(Err(failure))) | Input::Answer(Answer::Patched(Err(failure))),
            ) if failure != Failure::NotFound => {
                let retrying = Stage::Returning(Returning::Up(ComingUp::GiveBackRetrying));
                self.retry(retrying, GIVE_BACK, &failure)
            }
            (Returning::Retrying, input) if is_retry(&input) => self.come_back(),
            (_, Input::Answer(Answer::Patched(Err(Failure::Conflict)))) => self.come_back(),
            (_, Input::Answer(Answer::Node(Err(failure))) | Input::Answer(Answer::Patched(Err(failure)))) => {
                if failure == Failure::NotFound {
                    return self.undo(CallOff::HoldLost);
                }
                self.retry(Stage::Returning(Returning::Retrying), "return the node", &failure)
            }
            _ => Step::rest(),
        }
    }

    fn mark_returning(&mut self, node: &NodeView) -> Step {
        self.settle(node);
        let Some(mine) = self.hold.clone().filter(|_| self.ours(node).is_some()) else {
            return self.undo(CallOff::HoldLost);
        };
        let leaves = mine.written(Phase::Returning, self.proof());
        self.write(
            Stage::Returning(Returning::Marking),
            NodePatch::returning(node, leaves),
        )
    }

    fn await_ready(&mut self, node: &NodeView) -> Step {
        self.retries = 0;
        self.stage = Stage::Returning(Returning::Up(ComingUp::AwaitingReady));
        self.ready(node)
            .after([Act::Arm(Timer::Renew), Act::Arm(Timer::Reboot)])
    }

    /// The soak begins once the node is Ready.
    fn ready(&mut self, node: &NodeView) -> Step {
        if node.is_ready_in(&self.boot.id) {
            self.rest(
                Stage::Returning(Returning::Up(ComingUp::Soaking)),
                [Act::Arm(Timer::Soak)],
            )
        } else {
            Step::rest()
        }
    }

    fn renew_return(&mut self, up: ComingUp) -> Step {
        self.ask(Stage::Returning(Returning::RenewReading(up)), Ask::ReadNode)
    }

    /// The whole set again: whatever somebody else made of it, the cordon is given back by what we remember.
    fn renew_on(&mut self, up: ComingUp, node: &NodeView) -> Step {
        self.settle(node);
        if self.gave_back {
            return self.given_back(node, self.entry_id(), false);
        }
        let Some(mine) = self.hold.clone().filter(|_| self.ours(node).is_some()) else {
            return self.undo(CallOff::HoldLost);
        };
        let leaves = mine.written(mine.phase, self.proof());
        let renewal = NodePatch::renew(node, leaves, None);
        self.write(Stage::Returning(Returning::RenewWriting(up)), renewal)
    }

    /// A renewal leaves the soak running; only a node that is not Ready any more begins it anew.
    fn renewed(&mut self, up: ComingUp, node: &NodeView) -> Step {
        self.settle(node);
        self.stage = Stage::Returning(Returning::Up(up));
        let next = match up {
            ComingUp::AwaitingReady => self.ready(node),
            ComingUp::Soaking => Step::rest(),
            ComingUp::GiveBackRetrying => self.give_back(),
        };
        next.after([Act::Arm(Timer::Renew)])
    }

    fn coming_up(&mut self, up: ComingUp, input: Input) -> Step {
        match (up, input) {
            (_, Input::Event(Event::Seen(node))) if self.gave_back => {
                self.given_back(&node, self.entry_id(), false)
            }
            (_, Input::Event(Event::Seen(node))) if self.ours(&node).is_none() => {
                self.undo(CallOff::HoldLost)
            }
            (ComingUp::AwaitingReady | ComingUp::Soaking, Input::Event(Event::Seen(node)))
                if self.cancel(&node).is_some() =>
            {
                self.begin_give_back()
            }
            (ComingUp::AwaitingReady, Input::Event(Event::Seen(node))) => self.ready(&node),
            (ComingUp::Soaking, Input::Event(Event::Seen(node))) if !node.is_ready_in(&self.boot.id) => self
                .rest(
                    Stage::Returning(Returning::Up(ComingUp::AwaitingReady)),
                    [Act::Disarm(Timer::Soak)],
                ),
            (ComingUp::Soaking, Input::Event(Event::Due(Timer::Soak))) => self.begin_give_back(),
            (up, Input::Event(Event::Due(Timer::Renew))) => self.renew_return(up),
            (ComingUp::GiveBackRetrying, input) if is_retry(&input) => self.give_back(),
            (up, input) if is_retry(&input) => self.renew_return(up),
            (ComingUp::AwaitingReady, Input::Event(Event::Due(Timer::Reboot))) => {
                let why = "the host is back, and its node is not Ready: look at the kubelet".to_owned();
                Step::rest()
                    .after([Act::Arm(Timer::Reboot)])
                    .reporting(Report::Retrying {
                        what: "see the node Ready",
                        why,
                    })
            }
            _ => Step::rest(),
        }
    }

    /// `until` is renewed for as long as it takes.
    fn begin_give_back(&mut self) -> Step {
        self.give_back()
            .after([Act::Disarm(Timer::Soak), Act::Disarm(Timer::Reboot)])
    }

    /// As the watch has shown the Node: it tells for certain what became of a give-back before this one, and a look at the Node
    /// does not.
    fn give_back(&mut self) -> Step {
        match self.seen.clone() {
            Some(node) => self.give_back_on(&node),
            None => self.ask(Stage::Returning(Returning::GiveBackReading), Ask::ReadNode),
        }
    }

    fn give_back_on(&mut self, node: &NodeView) -> Step {
        if self.gave_back {
            return self.given_back(node, self.entry_id(), false);
        }
        let Some(mine) = self.hold.clone().filter(|_| self.ours(node).is_some()) else {
            return self.undo(CallOff::HoldLost);
        };
        let mut patch = NodePatch::give_back(node, &mine, self.proof());
        if self.policy.delays_release {
            patch = patch.keeping_entry(&mine);
        }
        let patch = self.policy.signs.given_back(patch, node, true);
        self.write(Stage::Returning(Returning::GivingBack), patch)
    }

    /// Calls the reboot off and gives the cordon back.
    pub(super) fn undo(&mut self, reason: CallOff) -> Step {
        let acts = [
            Act::StopDrain,
            Act::WatchLock(false),
            Act::Disarm(Timer::Poll),
            Act::Disarm(Timer::Turn),
            Act::Disarm(Timer::Stall),
            Act::Disarm(Timer::Renew),
            Act::Disarm(Timer::Drain),
            Act::Disarm(Timer::Delay),
            Act::Report(Report::CalledOff(reason.clone())),
        ];
        self.undo_again(reason).after(acts)
    }

    fn undo_again(&mut self, reason: CallOff) -> Step {
        if let Some(node) = self.seen.clone() {
            return self.undo_on(reason, &node);
        }
        let step = Patching::Reading;
        self.ask(Stage::Undoing { reason, step }, Ask::ReadNode)
    }

    pub(super) fn undoing(&mut self, reason: CallOff, step: Patching, input: Input) -> Step {
        match (step, input) {
            (Patching::Reading, Input::Answer(Answer::Node(Ok(node)))) => {
                let watch = self.read_anew(&node);
                self.undo_on(reason, &node).after([watch])
            }
            (
                _,
                Input::Answer(Answer::Node(Err(Failure::NotFound)))
                | Input::Answer(Answer::Patched(Err(Failure::NotFound))),
            ) => self.release(self.entry_id(), true),
            (Patching::Writing, Input::Answer(Answer::Patched(Ok(node)))) if self.has_ended(&node) => {
                self.given_back(&node, self.entry_id(), true)
            }
            (Patching::Writing, Input::Answer(Answer::Patched(Ok(_)))) => {
                let step = Patching::Retrying;
                let altered = Failure::Refused(ALTERED.to_owned());
                self.retry(Stage::Undoing { reason, step }, GIVE_BACK, &altered)
            }
            (Patching::Writing, Input::Answer(Answer::Patched(Err(Failure::Conflict)))) => {
                let step = Patching::Outrun;
                self.rest(Stage::Undoing { reason, step }, [])
            }
            (Patching::Outrun, Input::Event(Event::Seen(node))) => self.undo_on(reason, &node),
            (Patching::Outrun, Input::Event(Event::Gap)) => self.undo_again(reason),
            (Patching::Retrying, Input::Event(Event::Seen(node))) if self.gave_back => {
                self.undo_on(reason, &node)
            }
            (_, Input::Answer(Answer::Node(Err(failure))) | Input::Answer(Answer::Patched(Err(failure)))) => {
                let step = Patching::Retrying;
                self.retry(Stage::Undoing { reason, step }, GIVE_BACK, &failure)
            }
            (Patching::Retrying, input) if is_retry(&input) => self.undo_again(reason),
            _ => Step::rest(),
        }
    }

    /// Gives the cordon back by what we remember, whatever the marks on the Node say.
    fn undo_on(&mut self, reason: CallOff, node: &NodeView) -> Step {
        let mine = self
            .hold
            .clone()
            .filter(|mine| mine.holder.node_uid == node.metadata.uid);
        if self.gave_back {
            return self.given_back(node, self.entry_id(), true);
        }
        let shown = match hold::read(node) {
            Reading::Malformed(why) if mine.is_some() => return self.foreign(why),
            Reading::Present(shown) => Some(shown),
            Reading::Absent | Reading::Malformed(_) => None,
        };
        let Some(mine) = mine.filter(|mine| shown.is_some() || mine.phase != Phase::Wanted) else {
            // Another Node, or a wish that is gone.
            let step = Patching::Writing;
            return match self.policy.signs.leftover(node).filter(|_| shown.is_none()) {
                Some(patch) => self.write(Stage::Undoing { reason, step }, patch),
                None => self.release(self.entry_id(), true),
            };
        };
        let patch = NodePatch::give_back(node, &mine, self.proof());
        let patch = self.policy.signs.given_back(patch, node, false);
        let step = Patching::Writing;
        self.write(Stage::Undoing { reason, step }, patch)
    }

    /// The answer to a write that ends a hold: whether nothing of it is left. Other webhooks see our writes too.
    fn has_ended(&mut self, node: &NodeView) -> bool {
        let has_ended = self.sent.last().is_some_and(|sent| sent.patch.has_ended(node));
        if has_ended {
            self.settle(node);
        } else {
            // What has landed is not what ends it.
            self.unsent();
        }
        has_ended
    }

    /// The Node is as it was; what the watch still holds of the time before is dropped.
    pub(super) fn given_back(&mut self, node: &NodeView, id: EntryId, back_off: bool) -> Step {
        let watch = Act::Watch(Some(node.version().to_owned()));
        let report = Report::GivenBack {
            unschedulable: node.spec.unschedulable,
        };
        let outcome = if hold::delays_release(node, id.created()) {
            self.keep_entry(id)
        } else {
            self.release(id, back_off)
        };
        outcome.after([watch]).reporting(report)
    }

    /// The entry says that its Node was given back: a host that loses its record still knows that the cordon is somebody else's.
    fn keep_entry(&mut self, id: EntryId) -> Step {
        let step = ReleaseDelay::ReadingLock;
        self.ask(Stage::DelayingRelease { id, step }, Ask::ReadLock)
    }

    fn entry_kept(&mut self, id: EntryId, lock: LockView) -> Step {
        let kept = lock.record.present().and_then(|record| record.kept(&id));
        // It is gone, or cannot be read: the release says so.
        let Some(record) = kept else {
            return self.delay_release(id);
        };
        let write = Ask::WriteLock(LockWrite {
            carrier: lock.carrier,
            version: lock.version,
            record,
        });
        let step = ReleaseDelay::WritingLock;
        self.ask(Stage::DelayingRelease { id, step }, write)
    }

    /// Keeps the entry until the time that the Node shows, whatever process comes to it.
    pub(super) fn delay_release(&mut self, id: EntryId) -> Step {
        self.retries = 0;
        let step = ReleaseDelay::Waiting;
        self.rest(Stage::DelayingRelease { id, step }, [Act::Arm(Timer::Release)])
            .reporting(Report::ReleaseDelayed)
    }

    pub(super) fn delaying_release(&mut self, id: EntryId, step: ReleaseDelay, input: Input) -> Step {
        let stage = |step| Stage::DelayingRelease { id: id.clone(), step };
        match (step, input) {
            (ReleaseDelay::ReadingLock, Input::Answer(Answer::Lock(Ok(lock)))) => self.entry_kept(id, lock),
            (ReleaseDelay::WritingLock, Input::Answer(Answer::LockWritten(Ok(())))) => self.delay_release(id),
            (
                ReleaseDelay::WritingLock,
                Input::Answer(Answer::LockWritten(Err(Failure::Conflict | Failure::NotFound))),
            ) => self.keep_entry(id),
            (
                _,
                Input::Answer(Answer::Lock(Err(failure))) | Input::Answer(Answer::LockWritten(Err(failure))),
            ) => self.retry(stage(ReleaseDelay::LockRetrying), "keep the lock entry", &failure),
            (ReleaseDelay::LockRetrying, input) if is_retry(&input) => self.keep_entry(id),
            // A person has ended it.
            (ReleaseDelay::Waiting, Input::Event(Event::Seen(node)))
                if !hold::delays_release(&node, id.created()) =>
            {
                self.release(id, false).after([Act::Disarm(Timer::Release)])
            }
            (ReleaseDelay::Waiting, Input::Event(Event::Due(Timer::Release))) => {
                self.ask(stage(ReleaseDelay::Reading), Ask::ReadNode)
            }
            (ReleaseDelay::Reading, Input::Answer(Answer::Node(Ok(node))))
                if hold::delays_release(&node, id.created()) =>
            {
                let patch = NodePatch::end_release_delay(&node);
                self.write(stage(ReleaseDelay::Writing), patch)
            }
            (ReleaseDelay::Reading, Input::Answer(Answer::Node(Ok(_) | Err(Failure::NotFound))))
            | (ReleaseDelay::Writing, Input::Answer(Answer::Patched(Ok(_) | Err(Failure::NotFound)))) => {
                self.release(id, false)
            }
            (ReleaseDelay::Writing, Input::Answer(Answer::Patched(Err(Failure::Conflict)))) => {
                self.ask(stage(ReleaseDelay::Reading), Ask::ReadNode)
            }
            (_, Input::Answer(Answer::Node(Err(failure))) | Input::Answer(Answer::Patched(Err(failure)))) => {
                self.retry(stage(ReleaseDelay::Retrying), "end the release delay", &failure)
            }
            (ReleaseDelay::Retrying, input) if is_retry(&input) => {
                self.ask(stage(ReleaseDelay::Reading), Ask::ReadNode)
            }
            _ => Step::rest(),
        }
    }

    /// Releases the lock entry.
    pub(super) fn release(&mut self, id: EntryId, back_off: bool) -> Step {
        self.retries = 0;
        self.read_to_release(Releasing {
            id,
            back_off,
            step: Release::Reading,
        })
    }

    fn read_to_release(&mut self, releasing: Releasing) -> Step {
        self.ask(
            Stage::Releasing(Releasing {
                step: Release::Reading,
                ..releasing
            }),
            Ask::ReadLock,
        )
    }

    pub(super) fn releasing(&mut self, releasing: Releasing, input: Input) -> Step {
        let retrying = Stage::Releasing(Releasing {
            step: Release::Retrying,
            ..releasing.clone()
        });
        match (releasing.step, input) {
            (Release::Reading, Input::Answer(Answer::Lock(Ok(lock)))) => {
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
                let write = Ask::WriteLock(LockWrite {
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
            (Release::Writing, Input::Answer(Answer::LockWritten(Ok(())))) => {
                self.released(releasing.back_off)
            }
            (
                Release::Writing,
                Input::Answer(Answer::LockWritten(Err(Failure::Conflict | Failure::NotFound))),
            ) => self.read_to_release(releasing),
            (
                _,
                Input::Answer(Answer::Lock(Err(failure))) | Input::Answer(Answer::LockWritten(Err(failure))),
            ) => self.retry(retrying, "release the lock", &failure),
            (Release::Retrying, input) if is_retry(&input) => self.read_to_release(releasing),
            _ => Step::rest(),
        }
    }

    fn released(&mut self, back_off: bool) -> Step {
        self.said = None;
        let mut acts = vec![Act::Forget, Act::Report(Report::Released)];
        if back_off {
            self.backing_off = true;
            acts.push(Act::Arm(Timer::Backoff));
        }
        self.idle().after(acts)
    }
}
