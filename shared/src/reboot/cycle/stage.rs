//! Where the agent is, and who takes the next answer or event there.
//!
//! Not here: what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use super::edit::{Beside, Edit, Progress};
use super::lock_edit::LockEdit;
use super::{Answer, Cycle, Event, Step};
use crate::lock::{Entry, EntryId};
use crate::node::NodeView;
use crate::reboot::lock_object::LockView;

/// Where the agent is. Where it waits for an answer, nothing but that answer comes; everywhere else events come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// For what the host says.
    Starting,
    /// The host is going down or silent, or may yet do what another process told it: ask again when [`Timer::Host`](super::Timer) is due.
    HostBusy,
    /// The host's record, the lock and the Node decide how to go on.
    Resuming(Resuming),
    /// The marks are not ours to touch.
    Foreign,
    Idle,
    Waiting(Waiting),
    Draining,
    Delaying,
    Sealing(Sealing),
    Rebooting(Rebooting),
    ComingUp(ComingUp),
    /// The Node is as it was, and the lock entry is kept for a while.
    DelayingRelease(EntryId),
    /// Our Node is written.
    Editing(Edit, Progress),
    /// Our entry in the lock is written; `pauses` until the next try.
    EditingLock {
        edit: LockEdit,
        pauses: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Resuming {
    ReadingNode,
    ReadingLock(NodeView),
    Pausing,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Waiting {
    /// For the first look at the sentinel, a change of the lock, or a timer.
    Resting,
    ReadingLock,
    /// Where there are many peers, one LIST shows most of them.
    ListingPeers {
        survey: Survey,
        left: Vec<Entry>,
    },
    /// Peers are read one by one.
    ReadingPeers {
        survey: Survey,
        left: Vec<Entry>,
    },
    CountingPool(Survey),
    ListingHeld(Survey),
    /// The lock has room for us: does anything else postpone the reboot?
    ListingBlockers {
        survey: Survey,
        held: BTreeSet<String>,
    },
    Writing,
}

/// What a waiter has seen in one round: the lock first, and everything else after it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Survey {
    pub(super) lock: LockView,
    /// Entries that ended by evidence.
    pub(super) over: BTreeSet<EntryId>,
    /// How the Nodes of the others look, where that is to be said.
    pub(super) summaries: BTreeMap<String, String>,
}

/// The final check, but for the writes of lock and Node that end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sealing {
    ListingBlockers {
        tries: u8,
    },
    ListingPods {
        tries: u8,
    },
    /// Something failed, or postpones the reboot: the check is made again after a pause, and `until` is renewed meanwhile.
    Pausing {
        tries: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Rebooting {
    Issuing,
    /// The command failed: does the host go down all the same?
    AskingHost,
    /// The command was accepted, and [`Timer::Reboot`](super::Timer) is over: will the host still go down?
    AskingOverdue,
    Waiting,
    /// An agent that starts on a seal without a record waits for as long as a reboot may take, then asks the host.
    WaitingOut,
    WaitedOut,
    /// No attempt is left: a person has to look.
    GivenUp,
}

/// What a node that is back waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ComingUp {
    AwaitingReady,
    Soaking,
}

impl Stage {
    /// Whether the final check is under way, and a seal that lands is to be rebooted on.
    pub(super) fn is_sealing(&self) -> bool {
        match self {
            Stage::Sealing(_)
            | Stage::Editing(Edit::Seal { .. } | Edit::Renew(Beside::Sealing { .. }), _)
            | Stage::EditingLock {
                edit: LockEdit::Confirm { .. },
                ..
            } => true,
            Stage::Starting
            | Stage::HostBusy
            | Stage::Resuming(_)
            | Stage::Foreign
            | Stage::Idle
            | Stage::Waiting(_)
            | Stage::Draining
            | Stage::Delaying
            | Stage::Rebooting(_)
            | Stage::ComingUp(_)
            | Stage::DelayingRelease(_)
            | Stage::Editing(..)
            | Stage::EditingLock { .. } => false,
        }
    }

    /// For a report of a defect.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Stage::Starting => "starting",
            Stage::HostBusy => "waiting for the host",
            Stage::Resuming(_) => "resuming",
            Stage::Foreign => "leaving foreign marks alone",
            Stage::Idle => "idle",
            Stage::Waiting(_) => "waiting for the lock",
            Stage::Draining => "draining",
            Stage::Delaying => "delaying",
            Stage::Sealing(_) => "sealing",
            Stage::Rebooting(_) => "rebooting",
            Stage::ComingUp(_) => "coming up",
            Stage::DelayingRelease(_) => "delaying the release",
            Stage::Editing(..) => "writing the Node",
            Stage::EditingLock { .. } => "writing the lock",
        }
    }
}

impl Cycle {
    /// The answer to the open request.
    pub(super) fn answered(&mut self, answer: Answer) -> Step {
        match self.stage.clone() {
            Stage::Starting => self.host_answered(answer),
            Stage::Resuming(step) => self.resuming(step, answer),
            Stage::Waiting(step) => self.waiting(step, answer),
            Stage::Sealing(step) => self.sealing(step, answer),
            Stage::Rebooting(step) => self.rebooting(step, answer),
            Stage::Editing(edit, _) => self.edit_answered(edit, answer),
            Stage::EditingLock { edit, .. } => self.lock_answered(edit, answer),
            Stage::HostBusy
            | Stage::Foreign
            | Stage::Idle
            | Stage::Draining
            | Stage::Delaying
            | Stage::ComingUp(_)
            | Stage::DelayingRelease(_) => self.unexpected(&answer),
        }
    }

    /// Something happened while no request was open. Whatever a stage does not name changes nothing there.
    pub(super) fn happened(&mut self, event: Event) -> Step {
        match self.stage.clone() {
            Stage::HostBusy => self.host_busy(&event),
            Stage::Resuming(Resuming::Pausing) => self.resume_waits(&event),
            Stage::Foreign => self.foreign_changed(&event),
            Stage::Idle => self.idling(event),
            Stage::Waiting(Waiting::Resting) => self.resting(event),
            Stage::Draining => self.draining(event),
            Stage::Delaying => self.delaying(event),
            Stage::Sealing(Sealing::Pausing { tries }) => self.seal_waits(tries, event),
            Stage::Rebooting(step) => self.reboot_waits(step, event),
            Stage::ComingUp(up) => self.coming_up(up, event),
            Stage::DelayingRelease(id) => self.delaying_release(id, event),
            Stage::Editing(edit, progress) => self.edit_waits(edit, progress, event),
            Stage::EditingLock { edit, pauses: true } => self.lock_edit_waits(edit, &event),
            // An answer is open, which comes first.
            Stage::Starting
            | Stage::Resuming(_)
            | Stage::Waiting(_)
            | Stage::Sealing(Sealing::ListingBlockers { .. } | Sealing::ListingPods { .. })
            | Stage::EditingLock { pauses: false, .. } => Step::rest(),
        }
    }
}
