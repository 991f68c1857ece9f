//! How every write of our Node is made: take a version of it from a read or from the watch, decide, patch, check that the patch landed as
//! it was written, try again.
//!
//! Not here: what each write decides and which step comes after it (the module of its phase), and what is remembered of writes whose
//! outcome is unknown ([`super::sent`]).

use super::lock_edit::Ending;
use super::stage::{ComingUp, Sealing, Stage};
use super::{Act, Answer, Ask, CallOff, Cycle, Event, Failure, RETRIES_MAX, Report, Step, Timer, is_retry};
use crate::hold::NodePatch;
use crate::lock::EntryId;
use crate::node::NodeView;

/// What is reported of a write that landed as something else.
const ALTERED: &str = "the Node is not as it was written: look for a mutating webhook that changes Nodes";

/// A write of our Node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Edit {
    /// Removes signs of a hold that was lost.
    Tidy,
    /// Writes the wish.
    Stamp { created: String },
    /// Cordons the node, or cordons it again.
    Cordon,
    /// Writes that the drain is over.
    EndDrain,
    /// Renews `until`, and leaves the work beside it where it was.
    Renew(Beside),
    /// Seals the node, so that the reboot may follow.
    Seal { tries: u8 },
    /// Writes that the host is back.
    Return,
    /// Gives the cordon back after a boot.
    GiveBack,
    /// Gives the cordon back of a reboot that is called off.
    Undo(CallOff),
    /// Writes that `--lock-release-delay` is over.
    EndReleaseDelay(EntryId),
}

/// How far a write has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Progress {
    Reading,
    Writing,
    /// It lost its compare-and-swap, and waits until the watch shows the version that it lost to.
    Outrun,
    /// It failed, and is tried again when [`Timer::Retry`] is due.
    Pausing,
}

/// The work that goes on while `until` is renewed.
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
    /// A fresh read: no write of ours can be under way that a read would not show.
    Read,
    /// The version that the watch has shown last, because the next one tells for certain what became of the write.
    /// After a gap a fresh read.
    Watch,
    /// The version that the watch has shown last, and never a read: nothing can have gone unseen between it and the write.
    WatchAlone,
}

impl Beside {
    /// The stage of that work.
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
            // These begin or end the time in which the watch must miss nothing, so after a gap a read will do.
            Edit::Cordon | Edit::GiveBack | Edit::Undo(_) => Basis::Watch,
            // These rest on a drain that nobody has undone, which only a watch without gaps can show.
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
            // After a gap the watch has yet to show a version. A read would skip what happened in between.
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

    /// Takes the answer to a write, or to the read that it is decided on.
    pub(super) fn edit_answered(&mut self, edit: Edit, answer: Answer) -> Step {
        match answer {
            Answer::Node(Ok(node)) if edit.basis() == Basis::Watch => {
                let watch = self.read_anew(&node);
                self.decide(edit, &node).after([watch])
            }
            Answer::Node(Ok(node)) => self.decide(edit, &node),
            Answer::Patched(Ok(node)) => self.landed(edit, &node),
            // A conflict is not the end of a write: it may have lost to a copy of itself, which a proxy has sent too.
            // Its proof tells, on the next version that the watch or a read shows.
            Answer::Patched(Err(Failure::Conflict)) => match edit.basis() {
                Basis::Read => self.edit(edit),
                Basis::Watch | Basis::WatchAlone => self.outrun(edit),
            },
            // Nothing of ours is known to be on the Node, and a stamp that may still land is remembered at rest as well.
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
            // This version may show that the write has landed, or that it is not needed any more.
            (_, Event::Seen(node)) if progress == Progress::Outrun || self.is_moot(&edit, &node) => {
                self.decide(edit, &node)
            }
            (_, event) if progress == Progress::Pausing && is_retry(&event) => self.edit(edit),
            // Before the next arm: it is not known to be on the Node that the drain is over, so a gap is no disturbance yet.
            (Edit::EndDrain, Event::Gap) if self.settings.verify => self.gap_in_drain(),
            (Edit::EndDrain | Edit::Seal { .. }, event) if self.undoes_drain(&event) => {
                self.drain_undone(event)
            }
            // The watch may never show the version that it lost to.
            (_, Event::Gap) if progress == Progress::Outrun => self.edit(edit),
            (Edit::Seal { .. }, Event::Due(Timer::Renew)) => Step::rest().after([Act::Arm(Timer::Renew)]),
            // The give-back may be refused for long, and the hold must not lapse meanwhile.
            (Edit::GiveBack, Event::Due(Timer::Renew)) => self.edit(Edit::Renew(Beside::GivingBack)),
            _ => Step::rest(),
        }
    }

    /// Whether a write that pauses is decided anew on what the Node shows now, and does not wait for its next try.
    fn is_moot(&self, edit: &Edit, node: &NodeView) -> bool {
        match edit {
            Edit::Cordon | Edit::EndDrain => true,
            Edit::GiveBack => self.gave_back || self.ours(node).is_none(),
            // An undo goes by what this process remembers, so nothing but its own end makes it needless.
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
        self.note_deferred(node);
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

    /// The API server has answered a write with the Node as it is now: goes on if that is what was written.
    fn landed(&mut self, edit: Edit, node: &NodeView) -> Step {
        match edit {
            Edit::Tidy => self.idle(),
            Edit::Stamp { .. } if self.is_as_written(node) => self.stamped(node),
            // Another webhook has changed it on the way: the wish is not ours as it stands there.
            Edit::Stamp { .. } => self.resume(),
            Edit::Cordon if self.is_as_written(node) => self.cordoned(node),
            Edit::EndDrain => match self.taken(node) {
                Some(step) => step,
                None => self.begin_delay(),
            },
            Edit::Renew(beside) => self.renewed(beside, node),
            Edit::Seal { .. } => self.sealed(node),
            Edit::Return => self.returned(node),
            Edit::GiveBack if self.has_ended(node) => self.given_back(node, Ending::Rebooted),
            Edit::Undo(_) if self.has_ended(node) => self.given_back(node, Ending::CalledOff),
            Edit::EndReleaseDelay(id) => self.release(id, Ending::Earlier),
            // Another webhook has changed the write on its way. Nothing is drained and no lock released on that: it is tried again.
            Edit::Cordon | Edit::GiveBack | Edit::Undo(_) => {
                self.edit_failed(edit, &Failure::Refused(ALTERED.to_owned()))
            }
        }
    }

    /// Waits for the version that this write is to be decided on.
    fn outrun(&mut self, edit: Edit) -> Step {
        match edit {
            // The work beside a renewal does not wait for it.
            Edit::Renew(beside) => self.renew_later(beside.stage()),
            edit => self.rest(Stage::Editing(edit, Progress::Outrun), []),
        }
    }

    fn renew_later(&mut self, beside: Stage) -> Step {
        self.retries = self.retries.saturating_add(1).min(RETRIES_MAX);
        self.rest(beside, [Act::Arm(Timer::Retry(self.retries))])
    }

    /// Tries a write again later that has failed.
    fn edit_failed(&mut self, edit: Edit, failure: &Failure) -> Step {
        let what = edit.what();
        match edit {
            Edit::Tidy => self.resume_later(what, failure),
            Edit::Stamp { .. } => self.stamp_failed(what, failure),
            Edit::Renew(beside) => self.retry(beside.stage(), what, failure),
            // What the final check saw grows old in the pause, so all of it is made again.
            Edit::Seal { tries } => self.check_again(tries, failure),
            edit => self.retry(Stage::Editing(edit, Progress::Pausing), what, failure),
        }
    }

    /// There is no such Node any more.
    fn node_is_gone(&mut self, edit: Edit) -> Step {
        match edit {
            Edit::Tidy | Edit::Stamp { .. } => self.edit_failed(edit, &Failure::NotFound),
            // No cordon is left to give back, only the lock entry.
            Edit::Undo(_) => self.release(self.entry_id(), Ending::CalledOff),
            Edit::EndReleaseDelay(id) => self.release(id, Ending::Earlier),
            Edit::Cordon
            | Edit::EndDrain
            | Edit::Renew(_)
            | Edit::Seal { .. }
            | Edit::Return
            | Edit::GiveBack => self.undo(CallOff::HoldLost),
        }
    }

    /// Reports an answer that no request of this stage can have. That is a defect, so the cycle does not guess and stays as it is.
    pub(super) fn unexpected(&mut self, answer: &Answer) -> Step {
        Step::rest().reporting(Report::Unexpected {
            stage: self.stage.name(),
            answer: answer.name(),
        })
    }
}
