//! From the lock to the end of the delay: cordon, drain, delay, and what happens when somebody disturbs them.

use std::collections::BTreeSet;

use super::edit::{Beside, Edit};
use super::stage::Stage;
use super::{
    Act, CallOff, Count, Cycle, Disturbance, DrainNews, Event, Next, OnUncordon, Report, Step, Timer,
};
use crate::hold::{self, Hold, NodePatch, Phase};
use crate::keys;
use crate::node::NodeView;
use crate::reboot::drain::Progress;

/// What a look at our Node finds wrong.
pub(super) enum Trouble {
    /// The reboot is to be called off.
    Over(CallOff),
    /// What the drain has achieved no longer holds.
    Disturbed(Disturbance),
}

impl Cycle {
    /// Cordons the node, or cordons it again.
    pub(super) fn cordon(&mut self) -> Step {
        self.edit(Edit::Cordon)
    }

    /// Cordons the node on this version of it.
    pub(super) fn cordon_on(&mut self, node: &NodeView) -> Step {
        let Some(mine) = self.hold.clone().filter(|_| self.ours(node).is_some()) else {
            return self.undo(CallOff::HoldLost);
        };
        // Looked for in the very version that is cordoned: a cancel that was planted before never stands on a held node.
        if let Some(why) = self.cancel(node) {
            return self.undo(CallOff::Cancelled(why));
        }
        if self.is_withdrawn(node) {
            return self.undo(CallOff::NoLongerWanted);
        }
        if mine.phase == Phase::Wanted {
            // This write decides once what the cordon was, so it is not made over a wish that somebody has changed.
            if !self.is_ours_alone(node) {
                return self.undo(CallOff::Disturbed(Disturbance::Tampered));
            }
            // Somebody has changed the cordon since the lock was acquired. It is acquired anew, so that its entry says the same
            // of the cordon as the Node will.
            let said = self.acquired.as_ref().map(|(_, was)| *was);
            if said.is_some_and(|was| was != node.spec.unschedulable) {
                return self.wait();
            }
        }
        // Read from the Node only by the first cordon. A later one would take our own cordon for an admin's.
        let was = mine
            .was_unschedulable
            .or_else(|| (mine.phase == Phase::Wanted).then_some(node.spec.unschedulable));
        let was = if self.recordons_done(node) {
            Some(true)
        } else {
            was
        };
        let leaves = Hold {
            // The boot of the cordon, not of the wish: a reboot while the wish waited is not the one that it asked for.
            boot_id: Some(self.boot.to_string()),
            was_unschedulable: was,
            ..mine.written(Phase::Draining, self.proof())
        };
        let patch = NodePatch::cordon(node, leaves, self.settings.verify);
        let patch = self.settings.signs.cordoned(patch, node, &mine);
        let patch = self.accounted(patch, node);
        self.patch(Edit::Cordon, patch)
    }

    /// The node is cordoned: starts the drain.
    ///
    /// The watch begins at this very version, so everything that happens to the cordon from here on is seen.
    pub(super) fn cordoned(&mut self, node: &NodeView) -> Step {
        self.retries = 0;
        let was_unschedulable = self
            .hold
            .as_ref()
            .and_then(|hold| hold.was_unschedulable)
            .unwrap_or(true);
        let round = self.redrains.saturating_add(1);
        let watch = self.watch_from(node);
        self.acquired = None;
        // What is waited for after this drain is said anew, even if the same was waited for before it.
        self.said = None;
        self.progress = None;
        self.is_forced = false;
        self.kept.clear();
        self.rest(
            Stage::Draining,
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

    /// While the drain runs.
    pub(super) fn draining(&mut self, event: Event) -> Step {
        match event {
            Event::Seen(node) => self.examine(&node).unwrap_or_else(Step::rest),
            Event::Gap if self.settings.verify => self.gap_in_drain(),
            Event::Drain(DrainNews::Progress(progress)) => self.progressed(progress),
            Event::Drain(DrainNews::Drained(kept)) => self.drained(kept),
            // With `--force-reboot` it keeps trying: the operator has said by `--drain-timeout` for how long.
            Event::Drain(DrainNews::Unevictable(why)) if !self.settings.force_reboot => {
                self.undo(CallOff::Unevictable(why))
            }
            Event::Due(Timer::Drain) => self.drain_timed_out(),
            event => self.renewal_due(Beside::Draining, &event),
        }
    }

    /// Drains again after a gap in the watch.
    ///
    /// It is not counted as a disturbance: no drain was over yet, so there was nothing to undo.
    pub(super) fn gap_in_drain(&mut self) -> Step {
        self.cordon().after([Act::StopDrain])
    }

    fn drained(&mut self, kept: BTreeSet<String>) -> Step {
        let report = (!kept.is_empty()).then(|| Act::Report(Report::PodsKept(kept.clone())));
        self.kept = kept;
        // The drain was in time, however long it takes to write that it is over.
        self.edit(Edit::EndDrain)
            .after([Act::Disarm(Timer::Drain)])
            .after(report)
    }

    /// A drain that takes too long is never taken for a success: the reboot is called off, or forced and reported as forced.
    fn drain_timed_out(&mut self) -> Step {
        if !self.settings.force_reboot {
            return self.undo(CallOff::DrainTimeout(self.progress.clone()));
        }
        self.is_forced = true;
        let report = Report::Forced(self.progress.clone());
        self.edit(Edit::EndDrain)
            .after([Act::StopDrain])
            .reporting(report)
    }

    /// Reports how far the drain has come, and writes it on the Node with a renewal of `until`.
    fn progressed(&mut self, progress: Progress) -> Step {
        let before = self.progress.replace(progress.clone());
        let is_news = before.is_none_or(|before| {
            // The same progress again is the reminder that the drain sends from time to time, and is said as loudly as the first.
            before == progress || before.blockers != progress.blockers || before.attached != progress.attached
        });
        let report = if progress.is_blocked() && is_news {
            Report::DrainBlocked(progress)
        } else {
            Report::Progress(progress)
        };
        self.edit(Edit::Renew(Beside::Draining)).reporting(report)
    }

    /// Writes that the drain is over.
    pub(super) fn end_drain(&mut self, node: &NodeView) -> Step {
        if let Some(step) = self.examine(node) {
            return step;
        }
        let Some(mine) = self.hold.clone() else {
            return self.undo(CallOff::HoldLost);
        };
        // Our write has landed although its answer was lost, and the watch has shown it.
        if mine.phase == Phase::Delaying {
            return self.begin_delay();
        }
        let leaves = mine.written(Phase::Delaying, self.proof());
        let patch = if self.is_forced {
            let left = self.progress.as_ref().map(ToString::to_string);
            NodePatch::delay_forced(
                node,
                leaves,
                left.as_deref().unwrap_or("nobody knows what is left"),
            )
        } else {
            NodePatch::delay(node, leaves)
        };
        let patch = self.accounted(patch, node);
        self.patch(Edit::EndDrain, patch)
    }

    pub(super) fn begin_delay(&mut self) -> Step {
        self.retries = 0;
        self.rest(
            Stage::Delaying,
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

    /// While `--reboot-delay` runs.
    pub(super) fn delaying(&mut self, event: Event) -> Step {
        match event {
            Event::Seen(node) => self.examine(&node).unwrap_or_else(Step::rest),
            Event::Due(Timer::Delay) => self.seal(),
            event if self.undoes_drain(&event) => self.drain_undone(event),
            event => self.renewal_due(Beside::Delaying, &event),
        }
    }

    /// Whether this event undoes what a finished drain has achieved. After a gap nobody knows, which counts as undone.
    pub(super) fn undoes_drain(&self, event: &Event) -> bool {
        self.settings.verify && matches!(event, Event::Gap | Event::Drain(DrainNews::PodArrived(_)))
    }

    pub(super) fn drain_undone(&mut self, event: Event) -> Step {
        self.disturbed(match event {
            Event::Drain(DrainNews::PodArrived(pod)) => Disturbance::Pods(vec![pod]),
            _ => Disturbance::Gap,
        })
    }

    fn renewal_due(&mut self, beside: Beside, event: &Event) -> Step {
        match event {
            Event::Due(Timer::Renew | Timer::Retry(_)) => self.edit(Edit::Renew(beside)),
            _ => Step::rest(),
        }
    }

    /// Renews `until` on this version of our Node.
    pub(super) fn renew(&mut self, beside: Beside, node: &NodeView) -> Step {
        if let Some(step) = self.examine(node) {
            return step;
        }
        let Some(mine) = self.hold.clone() else {
            return self.undo(CallOff::HoldLost);
        };
        let progress = self.progress.as_ref().filter(|_| mine.phase == Phase::Draining);
        let progress = progress.map(ToString::to_string);
        let leaves = mine.written(mine.phase, self.proof());
        let patch = NodePatch::renew(node, leaves, progress.as_deref());
        self.patch(Edit::Renew(beside), patch)
    }

    pub(super) fn renewed(&mut self, beside: Beside, node: &NodeView) -> Step {
        if beside.is_after_boot() {
            return self.renewed_after_boot(beside, node);
        }
        if let Some(step) = self.taken(node) {
            return step;
        }
        // Beside a seal that is refused, a renewal that lands is not what was wanted: the pauses between the seals keep growing.
        if matches!(beside, Beside::Draining | Beside::Delaying) {
            self.retries = 0;
        }
        self.rest(beside.stage(), [Act::Arm(Timer::Renew)])
    }

    /// Takes the answer to a write, and says what follows if the Node is not as it was written.
    pub(super) fn taken(&mut self, node: &NodeView) -> Option<Step> {
        // Called for what it remembers of the write; `examine` decides.
        let _ = self.is_as_written(node);
        self.examine(node)
    }

    /// What follows if the Node shows that the hold is over or the drain undone; `None` if nothing is wrong.
    pub(super) fn examine(&mut self, node: &NodeView) -> Option<Step> {
        let trouble = self.trouble(node)?;
        Some(self.meet(trouble))
    }

    /// What follows from something that is wrong with our Node.
    pub(super) fn meet(&mut self, trouble: Trouble) -> Step {
        match trouble {
            Trouble::Over(reason) => self.undo(reason),
            Trouble::Disturbed(by) => self.disturbed(by),
        }
    }

    /// What is wrong with our Node. Others may write beside our marks; any change of the marks is a disturbance.
    pub(super) fn trouble(&self, node: &NodeView) -> Option<Trouble> {
        let Some(shown) = self.ours(node) else {
            return Some(Trouble::Over(CallOff::HoldLost));
        };
        if let Some(why) = hold::cancelled(node, &shown.holder) {
            return Some(Trouble::Over(CallOff::Cancelled(why)));
        }
        if self.is_withdrawn(node) {
            return Some(Trouble::Over(CallOff::NoLongerWanted));
        }
        // kured looks at nothing more. A lost hold and a cancel end the reboot all the same.
        if !self.settings.verify {
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

    /// Counts a disturbance for the account of the reboot, if one is kept.
    pub(super) fn count_disturbance(&mut self, by: &Disturbance) {
        if self.settings.asked_by.is_some() {
            self.tally.disturbed(by.word());
        }
    }

    /// What the drain has achieved no longer holds: drains again, or calls the reboot off.
    pub(super) fn disturbed(&mut self, by: Disturbance) -> Step {
        self.count_disturbance(&by);
        // A reboot command that was not run in time ends a seal too.
        let ends_seal = self.stage.is_checking() || by == Disturbance::SealOver;
        let count = ends_seal.then(|| Act::Count(Count::Unsealed(by.word())));
        let acts = [Act::StopDrain, Act::Disarm(Timer::Delay)]
            .into_iter()
            .chain(count);
        let reason = match self.settings.on_uncordon {
            OnUncordon::Abort => CallOff::Disturbed(by.clone()),
            // Bounded: whoever undoes each drain would keep this node cordoned, and its slot taken, for ever.
            OnUncordon::Redrain if self.redrains >= self.settings.redrains_max => {
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
