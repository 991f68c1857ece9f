//! From a boot, or from the decision to call a reboot off, until the cordon is given back.
//!
//! Not here: the removal of the lock entry ([`super::releasing`]).

use super::edit::{Beside, Edit};
use super::lock_edit::{Ending, LockEdit};
use super::stage::{ComingUp, Stage};
use super::{Act, Answer, Ask, CallOff, Count, Cycle, Event, Missing, Report, Step, Timer, Unsealed};
use crate::Reading;
use crate::hold::{self, NodePatch, Phase};
use crate::node::NodeView;

impl Cycle {
    /// The host has booted since the node was cordoned.
    pub(super) fn come_back(&mut self) -> Step {
        self.edit(Edit::Return)
    }

    /// Writes on this version of our Node that the host is back.
    pub(super) fn mark_returning(&mut self, node: &NodeView) -> Step {
        self.settle(node);
        let Some(mine) = self.hold.clone().filter(|_| self.ours(node).is_some()) else {
            return self.undo(CallOff::HoldLost);
        };
        let leaves = mine.written(Phase::Returning, self.proof());
        let patch = NodePatch::returning(node, leaves).noting_reboot(node, self.settings.reboots_kept);
        let patch = self.accounted(patch, node);
        self.patch(Edit::Return, patch)
    }

    /// The Node says that the host is back: waits for the node to be Ready.
    pub(super) fn returned(&mut self, node: &NodeView) -> Step {
        self.settle(node);
        self.retries = 0;
        self.missing.clear();
        let acts = [
            Act::Disarm(Timer::Reboot),
            Act::Arm(Timer::Renew),
            Act::Arm(Timer::Ready),
        ];
        self.ready(node).after(acts).reporting(Report::Returned)
    }

    /// Begins the soak if the node is Ready and has what `--ready-when` names.
    fn ready(&mut self, node: &NodeView) -> Step {
        // Ready in this boot: the condition of the boot before outlives a quick reboot.
        if !node.is_ready_in(&self.boot.id) {
            self.missing.clear();
            self.rest(Stage::ComingUp(ComingUp::AwaitingReady), [])
        } else if self.settings.gates_return {
            self.list_missing(false)
        } else {
            self.soak()
        }
    }

    fn soak(&mut self) -> Step {
        let said = self.say(Report::Soaking);
        self.rest(Stage::ComingUp(ComingUp::Soaking), [Act::Arm(Timer::Soak)])
            .after(said)
    }

    fn list_missing(&mut self, is_soaked: bool) -> Step {
        self.ask(Stage::ListingMissing { is_soaked }, Ask::ListMissing)
            .after([Act::Disarm(Timer::LookAgain)])
    }

    /// Takes what the node still lacks. It is asked before the soak and after it, so that nothing that comes and goes is taken for there.
    pub(super) fn missing_listed(&mut self, is_soaked: bool, answer: Answer) -> Step {
        let Answer::Missing(result) = answer else {
            return self.unexpected(&answer);
        };
        let missing = result.unwrap_or_else(|failure| vec![Missing::Unknown(failure.to_string())]);
        self.missing.clone_from(&missing);
        match (missing.is_empty(), is_soaked) {
            (true, true) => self.begin_give_back(),
            (true, false) => self.soak(),
            (false, _) => {
                let said = self.say(Report::ReturnWaits(missing));
                let acts = [Act::Arm(Timer::LookAgain)];
                self.rest(Stage::ComingUp(ComingUp::AwaitingReady), acts)
                    .after(said)
            }
        }
    }

    /// Renews `until` on this version of our Node, and writes all marks again. Whatever somebody else has made of them, the cordon
    /// is given back by what this process remembers.
    pub(super) fn renew_after_boot(&mut self, beside: Beside, node: &NodeView) -> Step {
        self.settle(node);
        // A give-back whose answer was lost has landed: there is nothing to renew.
        if self.gave_back {
            return self.given_back(node, Ending::Rebooted);
        }
        let Some(mine) = self.hold.clone().filter(|_| self.ours(node).is_some()) else {
            return self.undo(CallOff::HoldLost);
        };
        let leaves = mine.written(mine.phase, self.proof());
        self.patch(Edit::Renew(beside), NodePatch::renew(node, leaves, None))
    }

    /// A renewal has landed. It leaves the soak running: only a node that is no longer Ready begins it anew.
    pub(super) fn renewed_after_boot(&mut self, beside: Beside, node: &NodeView) -> Step {
        self.settle(node);
        self.stage = beside.stage();
        let next = match beside {
            Beside::ComingUp(ComingUp::AwaitingReady) => self.ready(node),
            // The renewal came in between two tries of the give-back.
            Beside::GivingBack => self.edit(Edit::GiveBack),
            Beside::ComingUp(ComingUp::Soaking)
            | Beside::Draining
            | Beside::Delaying
            | Beside::Sealing { .. } => Step::rest(),
        };
        next.after([Act::Arm(Timer::Renew)])
    }

    /// While the node is back, and until its soak is over.
    pub(super) fn coming_up(&mut self, up: ComingUp, event: Event) -> Step {
        match (up, event) {
            // First: once the cordon is given back, the marks are gone, and that must not pass for a hold that was lost.
            (_, Event::Seen(node)) if self.gave_back => self.given_back(&node, Ending::Rebooted),
            (_, Event::Seen(node)) if self.ours(&node).is_none() => self.undo(CallOff::HoldLost),
            // The reboot is over, so a cancel only ends the wait for Ready and the soak.
            (_, Event::Seen(node)) if self.cancel(&node).is_some() => self.begin_give_back(),
            // Asked again when `LookAgain` is due: what is missing may be nothing that the Node shows.
            (ComingUp::AwaitingReady, Event::Seen(node))
                if !self.missing.is_empty() && node.is_ready_in(&self.boot.id) =>
            {
                Step::rest()
            }
            (ComingUp::AwaitingReady, Event::Seen(node)) => self.ready(&node),
            (ComingUp::AwaitingReady, Event::Due(Timer::LookAgain)) => match self.seen.clone() {
                Some(node) => self.ready(&node),
                // After a gap. The watch shows the Node again soon.
                None => Step::rest().after([Act::Arm(Timer::LookAgain)]),
            },
            (ComingUp::Soaking, Event::Seen(node)) if !node.is_ready_in(&self.boot.id) => {
                // The soak that begins anew is said again: that ends what is said of the time in between.
                self.said = None;
                self.rest(
                    Stage::ComingUp(ComingUp::AwaitingReady),
                    [Act::Disarm(Timer::Soak)],
                )
            }
            (ComingUp::Soaking, Event::Due(Timer::Soak)) if self.settings.gates_return => {
                self.list_missing(true)
            }
            (ComingUp::Soaking, Event::Due(Timer::Soak)) => self.begin_give_back(),
            (up, Event::Due(Timer::Renew | Timer::Retry(_))) => self.edit(Edit::Renew(Beside::ComingUp(up))),
            // No end by time: a node that is not ready is not uncordoned. It is reported again and again.
            (ComingUp::AwaitingReady, Event::Due(Timer::Ready)) => Step::rest()
                .after([Act::Arm(Timer::Ready)])
                .reporting(Report::ReturnOverdue(self.lacks())),
            // A node that loses Ready again is reported too.
            (ComingUp::Soaking, Event::Due(Timer::Ready)) => Step::rest().after([Act::Arm(Timer::Ready)]),
            _ => Step::rest(),
        }
    }

    /// What a node that is not ready lacks, for a report.
    fn lacks(&self) -> Vec<Missing> {
        if self.missing.is_empty() {
            return vec![Missing::Ready];
        }
        self.missing.clone()
    }

    /// Begins to give the cordon back. [`Timer::Renew`] runs on, so `until` is renewed for as long as that takes.
    fn begin_give_back(&mut self) -> Step {
        self.missing.clear();
        let timers = [Timer::Soak, Timer::Ready, Timer::LookAgain];
        self.edit(Edit::GiveBack).after(timers.map(Act::Disarm))
    }

    /// Gives the cordon back on this version of our Node, after a boot.
    pub(super) fn give_back_on(&mut self, node: &NodeView) -> Step {
        if self.gave_back {
            return self.given_back(node, Ending::Rebooted);
        }
        let Some(mine) = self.hold.clone().filter(|_| self.ours(node).is_some()) else {
            return self.undo(CallOff::HoldLost);
        };
        let mut patch = NodePatch::give_back(node, &mine, self.proof()).uncordoning(node, self.deferred());
        if self.settings.delays_release {
            patch = patch.keeping_entry(&mine);
        }
        let patch = self.settings.signs.given_back(patch, node, true);
        let patch = self.without_request(patch, node);
        let patch = self.accounted(patch, node);
        self.patch(Edit::GiveBack, patch)
    }

    /// Calls the reboot off: stops everything that runs for it, and gives the cordon back.
    pub(super) fn undo(&mut self, reason: CallOff) -> Step {
        if let CallOff::Cancelled(_) = reason {
            self.cancel_request();
        }
        let unsealed = Unsealed::by(&reason).filter(|_| self.stage.is_checking());
        let count = unsealed.map(|unsealed| Act::Count(Count::Unsealed(unsealed.word())));
        let acts = [
            Act::StopDrain,
            Act::WatchLock(false),
            Act::Disarm(Timer::Poll),
            Act::Disarm(Timer::Turn),
            Act::Disarm(Timer::Stall),
            Act::Disarm(Timer::Renew),
            Act::Disarm(Timer::Drain),
            Act::Disarm(Timer::Delay),
            Act::Disarm(Timer::Blocked),
            Act::Report(Report::CalledOff(reason.clone())),
        ];
        self.edit(Edit::Undo(reason)).after(acts).after(count)
    }

    /// Gives the cordon back on this version of our Node, by what this process remembers, whatever the marks say.
    pub(super) fn undo_on(&mut self, reason: CallOff, node: &NodeView) -> Step {
        let mine = self
            .hold
            .clone()
            .filter(|mine| mine.holder.node_uid == node.metadata.uid);
        if self.gave_back {
            return self.given_back(node, Ending::CalledOff);
        }
        if matches!(reason, CallOff::Cancelled(_)) {
            self.presume_used(node);
        }
        let shown = match hold::read(node) {
            // What cannot be read is held by somebody else, so nothing is written over it.
            Reading::Malformed(why) if mine.is_some() => return self.foreign(why),
            Reading::Present(shown) => Some(shown),
            Reading::Absent | Reading::Malformed(_) => None,
        };
        let Some(mine) = mine.filter(|mine| shown.is_some() || mine.phase != Phase::Wanted) else {
            // Another Node, or a wish whose marks are gone: no cordon of ours to give back. Signs may be left.
            return match self.settings.signs.leftover(node).filter(|_| shown.is_none()) {
                Some(patch) => self.patch(Edit::Undo(reason), patch),
                None => self.release(self.entry_id(), Ending::CalledOff),
            };
        };
        let patch =
            NodePatch::give_back(node, &mine, self.proof()).uncordoning(node, self.deferred_of(&mine));
        let patch = self.settings.signs.given_back(patch, node, false);
        let patch = self.without_request(patch, node);
        let said = self.tell_used(node);
        self.patch(Edit::Undo(reason), patch).after(said)
    }

    /// The cordon is given back: releases the lock entry, or keeps it for a while.
    ///
    /// The watch begins anew at this version: what it has not delivered yet is of the time before.
    pub(super) fn given_back(&mut self, node: &NodeView, ending: Ending) -> Step {
        let id = self.entry_id();
        let watch = Act::Watch(Some(node.version().to_owned()));
        let report = Report::GivenBack {
            unschedulable: node.spec.unschedulable,
            is_back: matches!(ending, Ending::Rebooted),
            wanted_by: self.uncordoned_for(node),
        };
        let outcome = if hold::delays_release(node, id.created()) {
            self.edit_lock(LockEdit::Keep(id))
        } else {
            self.release(id, ending)
        };
        outcome.after([watch]).reporting(report)
    }
}
