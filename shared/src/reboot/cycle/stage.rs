//! The stages of the cycle, and which function takes the next answer or event in each of them.
//!
//! Not here: those functions; each is in the module of its phase.

use std::collections::{BTreeMap, BTreeSet};

use super::edit::{Beside, Edit, Progress};
use super::lock_edit::LockEdit;
use super::{Answer, Cycle, Event, Step};
use crate::lock::{Entry, EntryId, Record};
use crate::node::NodeView;
use crate::reboot::lock_object::{LockView, LockWrite};

/// What the agent is doing. A stage that waits for an answer is given only that answer; every other stage is given events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// Waits for what the host says.
    Starting,
    /// The host is going down, cannot be asked, or may still carry out a reboot command that an earlier process ran.
    /// It is asked again when [`Timer::Host`](super::Timer) is due.
    HostBusy,
    /// The host's record, the lock and the Node decide how to go on.
    Resuming(Resuming),
    /// The marks on the Node are not ours to touch: a person has to look.
    Foreign,
    Idle,
    Waiting(Waiting),
    Draining,
    Delaying,
    Sealing(Sealing),
    Rebooting(Rebooting),
    ComingUp(ComingUp),
    /// The node is Ready: asks what it still lacks. `is_soaked`: the soak is over, so it may be given back.
    ListingMissing {
        is_soaked: bool,
    },
    /// The cordon is given back, and the lock entry is kept for `--lock-release-delay`.
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
    /// Waits for the first look at the sentinel, the window, a change of the lock, or a timer.
    Resting,
    ReadingLock,
    /// With many peers, one LIST shows most of them.
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
    /// The lock has room for us: asks whether anything else postpones the reboot.
    ListingBlockers {
        survey: Survey,
        held: BTreeSet<String>,
    },
    Writing,
    /// Entries of reboots that are over are dropped, and the end of these reboots is noted.
    Noting,
}

/// What one round of waiting has read: the lock first, then everything else, so that evidence against an entry is always
/// younger than the entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Survey {
    pub(super) lock: LockView,
    /// Entries that are over by evidence.
    pub(super) over: BTreeSet<EntryId>,
    /// How the Nodes of the other holders look. Empty unless that is to be reported.
    pub(super) summaries: BTreeMap<String, String>,
}

impl Survey {
    /// The write of the lock as a compare-and-swap on what was read.
    pub(super) fn write(&self, record: Record, ends_reboot: bool) -> LockWrite {
        LockWrite {
            carrier: self.lock.carrier,
            version: self.lock.version.clone(),
            record,
            ends_reboot,
            uses: None,
        }
    }
}

/// The final check, except for the two writes that end it: the confirm of the lock entry and the seal of the Node.
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
    /// The command failed, or the host was busy when it was last asked: asks whether it goes down.
    AskingHost,
    /// [`Timer::Reboot`](super::Timer) is over: asks whether the host still goes down.
    AskingOverdue,
    Waiting,
    /// A process that starts on a seal without a record waits for as long as a reboot may take, then asks the host.
    WaitingOut,
    /// That wait is over: asks the host.
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
    /// Whether a try of the final check is under way, rather than the pause before the next.
    pub(super) fn is_checking(&self) -> bool {
        self.is_sealing()
            && !matches!(
                self,
                Stage::Sealing(Sealing::Pausing { .. })
                    | Stage::Editing(Edit::Renew(Beside::Sealing { .. }), _)
            )
    }

    /// Whether the final check is under way: only then may a seal that lands lead to a reboot.
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
            | Stage::ListingMissing { .. }
            | Stage::DelayingRelease(_)
            | Stage::Editing(..)
            | Stage::EditingLock { .. } => false,
        }
    }

    /// The stage in words, for the report of a defect.
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
            Stage::ListingMissing { .. } => "looking at what the node still lacks",
            Stage::DelayingRelease(_) => "delaying the release",
            Stage::Editing(..) => "writing the Node",
            Stage::EditingLock { .. } => "writing the lock",
        }
    }
}

impl Cycle {
    /// Takes the answer to the open request.
    pub(super) fn answered(&mut self, answer: Answer) -> Step {
        match self.stage.clone() {
            Stage::Starting => self.host_answered(answer),
            Stage::Resuming(step) => self.resuming(step, answer),
            Stage::Waiting(step) => self.waiting(step, answer),
            Stage::Sealing(step) => self.sealing(step, answer),
            Stage::Rebooting(step) => self.rebooting(step, answer),
            Stage::ListingMissing { is_soaked } => self.missing_listed(is_soaked, answer),
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

    /// Takes an event, which comes only while no request is open. A stage ignores every event that it does not name.
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
            // These wait for an answer, and the driver delivers that first.
            Stage::Starting
            | Stage::Resuming(_)
            | Stage::Waiting(_)
            | Stage::Sealing(Sealing::ListingBlockers { .. } | Sealing::ListingPods { .. })
            | Stage::ListingMissing { .. }
            | Stage::EditingLock { pauses: false, .. } => Step::rest(),
        }
    }
}
