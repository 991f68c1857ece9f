//! From the lock to the end of the delay: cordon, drain, delay, and what happens when somebody disturbs them.

use std::collections::BTreeSet;

use super::{
    Act, Answer, Ask, CallOff, Cycle, Disturbance, DrainNews, Event, Failure, Input, Next, OnUncordon,
    Patching, RETRIES_MAX, Report, Stage, Step, Timer, Trouble, Working, is_retry, paused,
};
use crate::hold::{self, Hold, NodePatch, PatchKind, Phase};
use crate::keys;
use crate::node::NodeView;
use crate::reboot::drain::Progress;

/// What is said of a write that landed as something else.
pub(super) const ALTERED: &str =
    "the Node is not as it was written: look for a mutating webhook that changes Nodes";

impl Cycle {
    /// Cordons the node, or cordons it again, from what the watch has shown: so it tells for certain what became of a write.
    pub(super) fn cordon(&mut self) -> Step {
        match self.seen.clone() {
            Some(node) => self.cordon_on(&node),
            None => self.ask(Stage::Cordoning(Patching::Reading), Ask::ReadNode),
        }
    }

    pub(super) fn cordoning(&mut self, step: Patching, input: Input) -> Step {
        let retrying = Stage::Cordoning(Patching::Retrying);
        match (step, input) {
            (Patching::Reading, Input::Answer(Answer::Node(Ok(node)))) => {
                let watch = self.read_anew(&node);
                self.cordon_on(&node).after([watch])
            }
            (Patching::Writing, Input::Answer(Answer::Patched(Ok(node)))) if self.is_as_written(&node) => {
                self.cordoned(&node)
            }
            (Patching::Writing, Input::Answer(Answer::Patched(Ok(_)))) => {
                self.retry(retrying, "cordon the node", &Failure::Refused(ALTERED.to_owned()))
            }
            (Patching::Writing, Input::Answer(Answer::Patched(Err(Failure::Conflict)))) => {
                self.rest(Stage::Cordoning(Patching::Outrun), [])
            }
            (
                _,
                Input::Answer(Answer::Node(Err(Failure::NotFound)))
                | Input::Answer(Answer::Patched(Err(Failure::NotFound))),
            ) => self.undo(CallOff::HoldLost),
            (_, Input::Answer(Answer::Node(Err(failure))) | Input::Answer(Answer::Patched(Err(failure)))) => {
                self.retry(retrying, "cordon the node", &failure)
            }
            (Patching::Outrun | Patching::Retrying, Input::Event(Event::Seen(node))) => self.cordon_on(&node),
            (Patching::Outrun, Input::Event(Event::Gap)) => self.cordon(),
            (Patching::Retrying, input) if is_retry(&input) => self.cordon(),
            _ => Step::rest(),
        }
    }

    fn cordon_on(&mut self, node: &NodeView) -> Step {
        let Some(mine) = self.hold.clone().filter(|_| self.ours(node).is_some()) else {
            return self.undo(CallOff::HoldLost);
        };
        if let Some(why) = self.cancel(node) {
            return self.undo(CallOff::Cancelled(why));
        }
        if mine.phase == Phase::Wanted {
            if !self.is_ours_alone(node) {
                return self.undo(CallOff::Disturbed(Disturbance::Tampered));
            }
            // A pause stops what has not begun.
            if let Some(word) = paused(node) {
                return self.undo(CallOff::Paused(word));
            }
            // Somebody has changed the cordon since: the lock's entry is to say what it was.
            let said = self.acquired.as_ref().map(|(_, was)| *was);
            if said.is_some_and(|was| was != node.spec.unschedulable) {
                return self.wait();
            }
        }
        let was = mine
            .was_unschedulable
            .or_else(|| (mine.phase == Phase::Wanted).then_some(node.spec.unschedulable));
        let leaves = Hold {
            boot_id: Some(self.boot.to_string()),
            was_unschedulable: was,
            ..mine.written(Phase::Draining, self.proof())
        };
        let patch = NodePatch::cordon(node, leaves, self.policy.verify);
        let patch = self.policy.signs.cordoned(patch, node, &mine);
        self.write(Stage::Cordoning(Patching::Writing), patch)
    }

    /// After a gap nobody can tell for certain whether a first cordon has landed. Where the Node does not show the wish to the
    /// last mark, it is taken for landed: what the cordon was stays as it was decided then.
    pub(super) fn may_have_cordoned(&mut self, node: &NodeView) {
        let is_wish = self.hold.as_ref().is_some_and(|hold| hold.phase == Phase::Wanted);
        if !is_wish || self.is_ours_alone(node) {
            return;
        }
        let cordons = self
            .sent
            .iter()
            .filter(|sent| sent.patch.kind == PatchKind::Cordon);
        if let Some(leaves) = cordons.filter_map(|sent| sent.patch.leaves.clone()).next_back() {
            self.hold = Some(leaves);
        }
    }

    /// The watch begins at this very version: everything that happens to the cordon from here on is seen.
    fn cordoned(&mut self, node: &NodeView) -> Step {
        self.retries = 0;
        let was_unschedulable = self
            .hold
            .as_ref()
            .and_then(|hold| hold.was_unschedulable)
            .unwrap_or(true);
        let round = self.redrains.saturating_add(1);
        let watch = self.watch_from(node);
        self.acquired = None;
        self.progress = None;
        self.is_forced = false;
        self.kept.clear();
        self.rest(
            Stage::Draining(Working::Going),
            [
                watch,
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

    pub(super) fn draining(&mut self, step: Working, input: Input) -> Step {
        match (step, input) {
            (Working::Going, Input::Event(Event::Seen(node))) => {
                self.examine(&node).unwrap_or_else(Step::rest)
            }
            (Working::EndRetrying, Input::Event(Event::Seen(node))) => match self.examine(&node) {
                Some(outcome) => outcome,
                None => self.end_drain(),
            },
            (Working::Going, Input::Event(Event::Due(Timer::Drain))) => self.drain_timed_out(),
            (Working::Going, Input::Event(Event::Drain(DrainNews::Progress(progress)))) => {
                self.progressed(progress)
            }
            // Nothing was reached yet that a gap could have undone.
            (Working::Going | Working::EndRetrying, Input::Event(Event::Gap)) if self.policy.verify => {
                self.cordon().after([Act::StopDrain])
            }
            (Working::EndRetrying, Input::Event(Event::Drain(DrainNews::PodArrived(pod))))
                if self.policy.verify =>
            {
                self.disturbed(Disturbance::Pods(vec![pod]))
            }
            (Working::Going, Input::Event(Event::Drain(DrainNews::Drained(kept)))) => self.drained(kept),
            // Whoever forces the reboot has said how long the drain may try.
            (Working::Going, Input::Event(Event::Drain(DrainNews::Unevictable(why))))
                if !self.policy.force_reboot =>
            {
                self.undo(CallOff::Unevictable(why))
            }
            (Working::EndRetrying, input) if is_retry(&input) => self.end_drain(),
            (Working::Ending, Input::Answer(Answer::Patched(Ok(node)))) => match self.taken(&node) {
                Some(outcome) => outcome,
                None => self.begin_delay(),
            },
            (Working::Ending, Input::Answer(Answer::Patched(Err(Failure::Conflict)))) => {
                self.rest(Stage::Draining(Working::EndRetrying), [])
            }
            (Working::Ending, input) => {
                self.failed(input, Stage::Draining(Working::EndRetrying), "begin the delay")
            }
            (step, input) => self.renewing(Stage::Draining, step, input),
        }
    }

    fn drained(&mut self, kept: BTreeSet<String>) -> Step {
        let report = (!kept.is_empty()).then(|| Act::Report(Report::PodsKept(kept.clone())));
        self.kept = kept;
        self.end_drain().after([Act::Disarm(Timer::Drain)]).after(report)
    }

    /// Never taken for a success: the reboot is called off, or forced and reported as such.
    fn drain_timed_out(&mut self) -> Step {
        if !self.policy.force_reboot {
            return self.undo(CallOff::DrainTimeout(self.progress.clone()));
        }
        self.is_forced = true;
        let report = Report::Forced(self.progress.clone());
        self.end_drain().after([Act::StopDrain]).reporting(report)
    }

    /// It is written beside `until`.
    fn progressed(&mut self, progress: Progress) -> Step {
        let before = self.progress.replace(progress.clone());
        let is_news = before.is_none_or(|before| {
            before == progress || before.blockers != progress.blockers || before.attached != progress.attached
        });
        let report = if progress.is_blocked() && is_news {
            Report::DrainBlocked(progress)
        } else {
            Report::Progress(progress)
        };
        self.renew(
            Stage::Draining(Working::Going),
            Stage::Draining(Working::Renewing),
        )
        .reporting(report)
    }

    /// From what the watch has shown, so that it has seen all that came before.
    fn end_drain(&mut self) -> Step {
        let Some((node, mine)) = self.seen.clone().zip(self.hold.clone()) else {
            return self.rest(Stage::Draining(Working::EndRetrying), []);
        };
        if let Some(outcome) = self.examine(&node) {
            return outcome;
        }
        // Its answer was lost, and the watch has shown it.
        if mine.phase == Phase::Delaying {
            return self.begin_delay();
        }
        let leaves = mine.written(Phase::Delaying, self.proof());
        let patch = if self.is_forced {
            let left = self.progress.as_ref().map(ToString::to_string);
            NodePatch::delay_forced(
                &node,
                leaves,
                left.as_deref().unwrap_or("nobody knows what is left"),
            )
        } else {
            NodePatch::delay(&node, leaves)
        };
        self.write(Stage::Draining(Working::Ending), patch)
    }

    fn begin_delay(&mut self) -> Step {
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

    pub(super) fn delaying(&mut self, step: Working, input: Input) -> Step {
        match (step, input) {
            (Working::Going, Input::Event(Event::Seen(node))) => {
                self.examine(&node).unwrap_or_else(Step::rest)
            }
            (Working::Going, Input::Event(Event::Gap)) if self.policy.verify => {
                self.disturbed(Disturbance::Gap)
            }
            (Working::Going, Input::Event(Event::Drain(DrainNews::PodArrived(pod))))
                if self.policy.verify =>
            {
                self.disturbed(Disturbance::Pods(vec![pod]))
            }
            (Working::Going, Input::Event(Event::Due(Timer::Delay))) => self.seal(),
            (step, input) => self.renewing(Stage::Delaying, step, input),
        }
    }

    /// `until` is renewed beside the work, which it leaves where it was.
    fn renewing(&mut self, stage: fn(Working) -> Stage, step: Working, input: Input) -> Step {
        let going = stage(Working::Going);
        match (step, input) {
            (Working::Going, Input::Event(Event::Due(Timer::Renew | Timer::Retry(_)))) => {
                self.renew(going, stage(Working::Renewing))
            }
            (Working::Renewing, Input::Answer(Answer::Patched(Ok(node)))) => {
                self.taken(&node).unwrap_or_else(|| {
                    self.retries = 0;
                    self.rest(going, [Act::Arm(Timer::Renew)])
                })
            }
            (Working::Renewing, Input::Answer(Answer::Patched(Err(Failure::Conflict)))) => {
                self.renew_later(going)
            }
            (Working::Renewing, input) => self.failed(input, going, "renew the hold"),
            _ => Step::rest(),
        }
    }

    /// The watch has yet to show what has outrun the renewal.
    pub(super) fn renew_later(&mut self, going: Stage) -> Step {
        self.retries = self.retries.saturating_add(1).min(RETRIES_MAX);
        self.rest(going, [Act::Arm(Timer::Retry(self.retries))])
    }

    pub(super) fn renew(&mut self, going: Stage, renewing: Stage) -> Step {
        let Some((node, mine)) = self.seen.clone().zip(self.hold.clone()) else {
            return self.renew_later(going);
        };
        if let Some(outcome) = self.examine(&node) {
            return outcome;
        }
        let progress = self.progress.as_ref().filter(|_| mine.phase == Phase::Draining);
        let progress = progress.map(ToString::to_string);
        let leaves = mine.written(mine.phase, self.proof());
        let patch = NodePatch::renew(&node, leaves, progress.as_deref());
        self.write(renewing, patch)
    }

    /// The answer to a write beside the work: what follows where the Node is not as it was written.
    pub(super) fn taken(&mut self, node: &NodeView) -> Option<Step> {
        let _ = self.is_as_written(node);
        self.examine(node)
    }

    /// A Node request that failed for good or for now.
    fn failed(&mut self, input: Input, stage: Stage, what: &'static str) -> Step {
        match input {
            Input::Answer(Answer::Patched(Err(Failure::NotFound))) => self.undo(CallOff::HoldLost),
            Input::Answer(Answer::Patched(Err(failure))) => self.retry(stage, what, &failure),
            _ => Step::rest(),
        }
    }

    /// Whether what the Node shows disturbs what the drain has achieved, and what follows.
    pub(super) fn examine(&mut self, node: &NodeView) -> Option<Step> {
        let trouble = self.trouble(node)?;
        Some(self.meet(trouble))
    }

    pub(super) fn meet(&mut self, trouble: Trouble) -> Step {
        match trouble {
            Trouble::Over(reason) => self.undo(reason),
            Trouble::Disturbed(by) => self.disturbed(by),
        }
    }

    /// What others may rightly write beside our marks is no disturbance; anything else than the set that we wrote is.
    pub(super) fn trouble(&self, node: &NodeView) -> Option<Trouble> {
        let Some(shown) = self.ours(node) else {
            return Some(Trouble::Over(CallOff::HoldLost));
        };
        if let Some(why) = hold::cancelled(node, &shown.holder) {
            return Some(Trouble::Over(CallOff::Cancelled(why)));
        }
        if !self.policy.verify {
            return None;
        }
        let by = if !node.spec.unschedulable {
            Disturbance::Uncordoned
        } else if !node.is_tainted(keys::REBOOTING) {
            Disturbance::Untainted
        } else if !self.is_ours_alone(node) {
            Disturbance::Tampered
        } else {
            return None;
        };
        Some(Trouble::Disturbed(by))
    }

    /// What was achieved no longer holds: drain again, or call the reboot off.
    pub(super) fn disturbed(&mut self, by: Disturbance) -> Step {
        let acts = [Act::StopDrain, Act::Disarm(Timer::Delay)];
        let reason = match self.policy.on_uncordon {
            OnUncordon::Abort => CallOff::Disturbed(by.clone()),
            OnUncordon::Redrain if self.redrains >= self.policy.redrains_max => {
                CallOff::TooManyRedrains(by.clone())
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
