//! The one way in which our Node is written: read, decide, patch, confirm, try again.
//!
//! Not here: what each write decides and what follows it, which stands with its phase, and what is remembered of writes
//! whose outcome is not known ([`super::sent`]).

use super::stage::{ComingUp, Sealing, Stage};
use super::{Act, Answer, Ask, CallOff, Cycle, Event, Failure, RETRIES_MAX, Report, Step, Timer, is_retry};
use crate::hold::NodePatch;
use crate::lock::EntryId;
use crate::node::NodeView;

/// What is said of a write that landed as something else.
const ALTERED: &str = "the Node is not as it was written: look for a mutating webhook that changes Nodes";

/// A write of our Node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Edit {
    /// Removes signs of a hold that was lost.
    Tidy,
    /// Writes the wish.
    Stamp {
        created: String,
    },
    Cordon,
    /// Writes that the drain is over.
    EndDrain,
    /// Renews `until`, and leaves the work beside it where it was.
    Renew(Beside),
    Seal {
        tries: u8,
    },
    /// Writes that the host is back.
    Return,
    /// Gives the cordon back after a boot.
    GiveBack,
    /// Gives the cordon back of a reboot that is called off.
    Undo(CallOff),
    /// Writes that `--lock-release-delay` is over.
    EndReleaseDelay(EntryId),
}

/// Where a write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Progress {
    Reading,
    Writing,
    /// It lost its compare-and-swap: the watch has yet to show to what.
    Outrun,
    /// It failed, and is tried again when [`Timer::Retry`] is due.
    Pausing,
}

/// The work that a renewal goes on beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Beside {
    Draining,
    Delaying,
    Sealing {
        tries: u8,
    },
    ComingUp(ComingUp),
    /// The give-back failed and is tried again.
    GivingBack,
}

/// Which version of the Node a write is decided on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Basis {
    /// A fresh read: nothing of ours can be in flight that a read would not show.
    Read,
    /// What the watch has shown, so that it tells for certain what became of a write before; after a gap a fresh read.
    Watch,
    /// What the watch has shown, and nothing else: between it and the write nothing can have gone unseen.
    WatchAlone,
}

impl Beside {
    pub(super) fn stage(self) -> Stage {
        match self {
            Beside::Draining => Stage::Draining,
            Beside::Delaying => Stage::Delaying,
            Beside::Sealing { tries } => Stage::Sealing(Sealing::Pausing { tries }),
            Beside::ComingUp(up) => Stage::ComingUp(up),
            Beside::GivingBack => Stage::Editing(Edit::GiveBack, Progress::Pausing),
        }
    }

    /// Whether the host has booted since the node was cordoned.
    pub(super) fn is_after_boot(self) -> bool {
        match self {
            Beside::Draining | Beside::Delaying | Beside::Sealing { .. } => false,
            Beside::ComingUp(_) | Beside::GivingBack => true,
        }
    }
}

impl Edit {
    fn basis(&self) -> Basis {
        match self {
            Edit::Tidy | Edit::Stamp { .. } | Edit::Return | Edit::EndReleaseDelay(_) => Basis::Read,
            Edit::Cordon | Edit::GiveBack | Edit::Undo(_) => Basis::Watch,
            Edit::EndDrain | Edit::Seal { .. } => Basis::WatchAlone,
            Edit::Renew(beside) if beside.is_after_boot() => Basis::Read,
            Edit::Renew(_) => Basis::WatchAlone,
        }
    }

    /// What is tried, in the words of a report.
    fn what(&self) -> &'static str {
        match self {
            Edit::Tidy => "remove old signs",
            Edit::Stamp { .. } => "stamp the wish",
            Edit::Cordon => "cordon the node",
            Edit::EndDrain => "begin the delay",
            Edit::Renew(_) => "renew the hold",
            Edit::Seal { .. } => "seal the node",
            Edit::Return => "return the node",
            Edit::GiveBack | Edit::Undo(_) => "give the cordon back",
            Edit::EndReleaseDelay(_) => "end the release delay",
        }
    }
}

impl Cycle {
    /// Begins this write, or begins it again.
    pub(super) fn edit(&mut self, edit: Edit) -> Step {
        match (edit.basis(), self.seen.clone()) {
            (Basis::Watch | Basis::WatchAlone, Some(node)) => self.decide(edit, &node),
            (Basis::WatchAlone, None) => self.outrun(edit),
            (Basis::Read, _) | (Basis::Watch, None) => {
                self.ask(Stage::Editing(edit, Progress::Reading), Ask::ReadNode)
            }
        }
    }

    /// Asks for the patch that was decided on.
    pub(super) fn patch(&mut self, edit: Edit, patch: NodePatch) -> Step {
        let patch = self.send(patch);
        self.ask(Stage::Editing(edit, Progress::Writing), Ask::PatchNode(patch))
    }

    pub(super) fn edit_answered(&mut self, edit: Edit, answer: Answer) -> Step {
        match answer {
            Answer::Node(Ok(node)) if edit.basis() == Basis::Watch => {
                let watch = self.read_anew(&node);
                self.decide(edit, &node).after([watch])
            }
            Answer::Node(Ok(node)) => self.decide(edit, &node),
            Answer::Patched(Ok(node)) => self.landed(edit, &node),
            Answer::Patched(Err(Failure::Conflict)) => match edit.basis() {
                Basis::Read => self.edit(edit),
                Basis::Watch | Basis::WatchAlone => self.outrun(edit),
            },
            Answer::Node(Err(failure)) if matches!(edit, Edit::Stamp { .. }) => self.unstamped(&failure),
            Answer::Node(Err(Failure::NotFound)) | Answer::Patched(Err(Failure::NotFound)) => {
                self.node_is_gone(edit)
            }
            Answer::Node(Err(failure)) | Answer::Patched(Err(failure)) => self.edit_failed(edit, &failure),
            answer => self.unexpected(&answer),
        }
    }

    /// While a write waits for the watch or for its next try.
    pub(super) fn edit_waits(&mut self, edit: Edit, progress: Progress, event: Event) -> Step {
        match (&edit, event) {
            (_, Event::Seen(node)) if progress == Progress::Outrun || self.is_moot(&edit, &node) => {
                self.decide(edit, &node)
            }
            (_, event) if progress == Progress::Pausing && is_retry(&event) => self.edit(edit),
            (Edit::EndDrain, Event::Gap) if self.settings.verify => self.gap_in_drain(),
            (Edit::EndDrain | Edit::Seal { .. }, event) if self.undoes_drain(&event) => {
                self.drain_undone(event)
            }
            (_, Event::Gap) if progress == Progress::Outrun => self.edit(edit),
            (Edit::Seal { .. }, Event::Due(Timer::Renew)) => Step::rest().after([Act::Arm(Timer::Renew)]),
            (Edit::GiveBack, Event::Due(Timer::Renew)) => self.edit(Edit::Renew(Beside::GivingBack)),
            _ => Step::rest(),
        }
    }

    /// Whether what the Node shows decides about a write that pauses, so that it does not wait for its next try.
    fn is_moot(&self, edit: &Edit, node: &NodeView) -> bool {
        match edit {
            Edit::Cordon | Edit::EndDrain => true,
            Edit::GiveBack => self.gave_back || self.ours(node).is_none(),
            Edit::Undo(_) => self.gave_back,
            Edit::Tidy
            | Edit::Stamp { .. }
            | Edit::Renew(_)
            | Edit::Seal { .. }
            | Edit::Return
            | Edit::EndReleaseDelay(_) => false,
        }
    }

    /// What to write on this version of our Node, if anything.
    fn decide(&mut self, edit: Edit, node: &NodeView) -> Step {
        match edit {
            Edit::Tidy => self.tidy(node),
            Edit::Stamp { created } => self.stamp(&created, node),
            Edit::Cordon => self.cordon_on(node),
            Edit::EndDrain => self.end_drain(node),
            Edit::Renew(beside) if beside.is_after_boot() => self.renew_after_boot(beside, node),
            Edit::Renew(beside) => self.renew(beside, node),
            Edit::Seal { tries } => self.seal_on(tries, node),
            Edit::Return => self.mark_returning(node),
            Edit::GiveBack => self.give_back_on(node),
            Edit::Undo(reason) => self.undo_on(reason, node),
            Edit::EndReleaseDelay(id) => self.end_release_delay(id, node),
        }
    }

    /// The API server has answered with the Node as it is now. What follows, if that is what was written.
    fn landed(&mut self, edit: Edit, node: &NodeView) -> Step {
        match edit {
            Edit::Tidy => self.idle(),
            Edit::Stamp { .. } if self.is_as_written(node) => self.stamped(node),
            Edit::Stamp { .. } => self.resume(),
            Edit::Cordon if self.is_as_written(node) => self.cordoned(node),
            Edit::EndDrain => match self.taken(node) {
                Some(step) => step,
                None => self.begin_delay(),
            },
            Edit::Renew(beside) => self.renewed(beside, node),
            Edit::Seal { .. } => self.sealed(node),
            Edit::Return => self.returned(node),
            Edit::GiveBack if self.has_ended(node) => self.given_back(node, self.entry_id(), false),
            Edit::Undo(_) if self.has_ended(node) => self.given_back(node, self.entry_id(), true),
            Edit::EndReleaseDelay(id) => self.release(id, false),
            // Other webhooks see our writes too.
            Edit::Cordon | Edit::GiveBack | Edit::Undo(_) => {
                self.edit_failed(edit, &Failure::Refused(ALTERED.to_owned()))
            }
        }
    }

    /// The watch has yet to show what this write is to be decided on.
    fn outrun(&mut self, edit: Edit) -> Step {
        match edit {
            Edit::Renew(beside) => self.renew_later(beside.stage()),
            edit => self.rest(Stage::Editing(edit, Progress::Outrun), []),
        }
    }

    fn renew_later(&mut self, beside: Stage) -> Step {
        self.retries = self.retries.saturating_add(1).min(RETRIES_MAX);
        self.rest(beside, [Act::Arm(Timer::Retry(self.retries))])
    }

    fn edit_failed(&mut self, edit: Edit, failure: &Failure) -> Step {
        let what = edit.what();
        match edit {
            Edit::Tidy => self.resume_later(what, failure),
            Edit::Stamp { .. } => self.stamp_failed(what, failure),
            Edit::Renew(beside) => self.retry(beside.stage(), what, failure),
            Edit::Seal { tries } => self.check_again(tries, failure),
            edit => self.retry(Stage::Editing(edit, Progress::Pausing), what, failure),
        }
    }

    /// There is no such Node any more.
    fn node_is_gone(&mut self, edit: Edit) -> Step {
        match edit {
            Edit::Tidy | Edit::Stamp { .. } => self.edit_failed(edit, &Failure::NotFound),
            Edit::Undo(_) => self.release(self.entry_id(), true),
            Edit::EndReleaseDelay(id) => self.release(id, false),
            Edit::Cordon
            | Edit::EndDrain
            | Edit::Renew(_)
            | Edit::Seal { .. }
            | Edit::Return
            | Edit::GiveBack => self.undo(CallOff::HoldLost),
        }
    }

    /// An answer that no request of this stage can have: a defect, which is said, and no reason to guess.
    pub(super) fn unexpected(&mut self, answer: &Answer) -> Step {
        Step::rest().reporting(Report::Unexpected {
            stage: self.stage.name(),
            answer: answer.name(),
        })
    }
}
